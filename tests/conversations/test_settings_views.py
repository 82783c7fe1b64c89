from __future__ import annotations

from uuid import uuid4

import pytest
from django.urls import reverse

from conversations import actions, replies
from conversations.models import Conversation, Defaults, Persona
from streaming.models import Stream

SETTINGS = "/settings/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def mine(client_of, owner):
    return client_of(owner)


@pytest.fixture
def sent(owner):
    return actions.start_conversation(owner, "Hello", key=uuid4(), model="echo:echo")


@pytest.fixture
def persona(owner):
    return Persona.objects.create(owner=owner, name="Pirate", prompt="Arr.")


def chat_settings(conversation: Conversation) -> str:
    return reverse("conversations:conversation-settings", args=[conversation.pk])


def prompt_url(persona: Persona, name: str = "persona-detail") -> str:
    return reverse(f"conversations:{name}", args=[persona.pk])


# --- The page and its sections


def test_a_visitor_is_asked_to_sign_in(client, db):
    assert client.get(SETTINGS).headers["Location"] == f"/accounts/sign-in/?next={SETTINGS}"
    assert client.post(SETTINGS + "answers/").status_code == 302


def test_the_page_shows_what_is_stored(mine, owner, persona, django_assert_max_num_queries):
    Defaults.objects.create(user=owner, system_prompt="Be brief.", parameters={"temperature": 0})
    with django_assert_max_num_queries(12):
        text = mine.get(SETTINGS).content.decode()
    assert "Be brief." in text
    assert 'name="temperature" inputmode="decimal" autocomplete="off" value="0"' in text
    assert "Pirate" in text


@pytest.mark.parametrize("section", ["answers/", "appearance/", "prompts/"])
def test_sections_are_saved_by_post_alone(mine, section):
    assert mine.get(SETTINGS + section).status_code == 405


def test_the_defaults_are_saved_with_and_without_htmx(mine, owner):
    fields = {"model": "echo:echo", "system_prompt": "A\r\nB", "temperature": "0.5"}
    response = mine.post(SETTINGS + "answers/", fields, headers=HTMX)
    assert response.content.strip() == b"Saved."
    row = Defaults.objects.get(pk=owner.pk)
    assert (row.model, row.system_prompt) == ("echo:echo", "A\nB")
    assert row.parameters == {"temperature": 0.5}

    response = mine.post(SETTINGS + "answers/", {"max_tokens": "100"})
    assert response.headers["Location"] == f"{SETTINGS}?saved=answers#answers"
    row.refresh_from_db()
    assert (row.model, row.system_prompt, row.parameters) == ("", "", {"max_tokens": 100})
    assert b"Saved." in mine.get(f"{SETTINGS}?saved=answers").content


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"temperature": "2.1"}, "The temperature must be a number from 0 to 2."),
        ({"temperature": "nan"}, "The temperature must be a number from 0 to 2."),
        ({"temperature": "warm"}, "The temperature must be a number from 0 to 2."),
        ({"max_tokens": "0"}, "The maximum answer length must be a whole number of tokens"),
        ({"model": "openai:gone"}, "The model openai:gone is not available."),
        ({"system_prompt": "x" * 32_001}, "The prompt is too long: 32,001 characters"),
    ],
)
def test_bad_defaults_are_refused_with_a_sentence_and_kept(mine, owner, fields, sentence):
    fields = {"system_prompt": "keep me", **fields}
    for headers in ({}, HTMX):
        response = mine.post(SETTINGS + "answers/", fields, headers=headers)
        assert response.status_code == 422
        assert sentence in response.content.decode()
        assert headers or fields["system_prompt"] in response.content.decode()
    assert not Defaults.objects.exists()


def test_a_default_model_that_is_gone_may_stay(mine, owner):
    Defaults.objects.create(user=owner, model="openai:gone")
    response = mine.post(SETTINGS + "answers/", {"model": "openai:gone", "system_prompt": "x"})
    assert response.status_code == 302
    assert "openai:gone" in mine.get(SETTINGS).content.decode()
    new = actions.start_conversation(owner, "Hello", key=uuid4())
    assert new.answer.model == "echo:echo", "the site's, as long as it is gone"


def test_the_theme_is_drawn_by_the_server_on_all_pages(mine, owner):
    assert "data-theme" not in mine.get("/").content.decode()
    response = mine.post(SETTINGS + "appearance/", {"theme": "dark"}, headers=HTMX)
    assert response.headers["HX-Refresh"] == "true"
    for page in ("/", SETTINGS, "/accounts/password/", "/nowhere/"):
        text = mine.get(page).content.decode()
        assert '<html lang="en" dir="ltr" data-theme="dark">' in text or page == "/nowhere/"
    assert mine.post(SETTINGS + "appearance/", {"theme": "pink"}).status_code == 422
    owner.refresh_from_db()
    assert owner.theme == "dark"


def test_the_language_is_the_persons_on_every_device(mine, client_of, owner, client):
    response = mine.post(SETTINGS + "appearance/", {"language": "ko"})
    assert response.status_code == 302
    other_device = client_of(owner)
    for page in ("/", "/accounts/password/"):
        text = other_device.get(page, headers={"Accept-Language": "en"}).content.decode()
        assert '<html lang="ko"' in text
    assert '<html lang="en"' in client.get("/").content.decode()
    assert mine.post(SETTINGS + "appearance/", {"language": "xx"}).status_code == 422


# --- Saved prompts


def test_a_prompt_is_added_edited_and_deleted(mine, owner):
    mine.post(SETTINGS + "prompts/", {"name": " My  cook ", "prompt": "Cook."})
    persona = Persona.objects.get()
    assert (persona.owner, persona.name, persona.prompt) == (owner, "My cook", "Cook.")
    assert b"Cook." in mine.get(prompt_url(persona)).content
    response = mine.post(prompt_url(persona), {"name": "Cook", "prompt": "Bake."})
    assert response.headers["Location"].endswith("#prompts")
    persona.refresh_from_db()
    assert (persona.name, persona.prompt) == ("Cook", "Bake.")
    mine.post(prompt_url(persona, "persona-delete"))
    assert not Persona.objects.exists()


def test_a_name_is_there_once(mine, persona):
    mine.post(SETTINGS + "prompts/", {"name": "Pirate", "prompt": "Ahoy."})
    assert [one.prompt for one in Persona.objects.all()] == ["Ahoy."]


@pytest.mark.parametrize(
    "fields", [{"name": "", "prompt": "kept"}, {"name": "n" * 81, "prompt": "kept"}]
)
def test_a_bad_prompt_keeps_its_text(mine, persona, fields):
    for url in (SETTINGS + "prompts/", prompt_url(persona)):
        response = mine.post(url, fields)
        assert response.status_code == 422
        assert b"kept" in response.content
    persona.refresh_from_db()
    assert persona.prompt == "Arr."


def test_a_stranger_finds_no_prompt(client_of, stranger, persona):
    theirs = client_of(stranger)
    assert theirs.get(prompt_url(persona)).status_code == 404
    assert theirs.post(prompt_url(persona), {"name": "x", "prompt": "x"}).status_code == 404
    assert theirs.post(prompt_url(persona, "persona-delete")).status_code == 404
    assert theirs.get(prompt_url(persona, "persona-delete")).status_code == 405
    start = {"content": "Hi", "key": uuid4(), "persona": persona.pk}
    response = theirs.post("/c/", start)
    assert response.status_code == 422
    assert not Conversation.objects.exists()


def test_a_chat_begins_with_a_prompt(mine, persona):
    assert b'name="persona"' in mine.get("/").content
    mine.post("/c/", {"content": "Hi", "key": uuid4(), "persona": persona.pk})
    assert Conversation.objects.get().system_prompt == "Arr."


def test_who_has_none_is_not_asked(mine):
    assert b'name="persona"' not in mine.get("/").content


# --- A chat's own


def test_a_chat_has_its_own_settings(mine, sent):
    url = chat_settings(sent.conversation)
    assert b"<html" in mine.get(url).content
    assert b"<html" not in mine.get(url, headers=HTMX).content
    fields = {"model": "echo:echo", "system_prompt": "Rhyme.", "temperature": "1.5"}
    response = mine.post(url, fields, headers=HTMX)
    assert response.content.strip() == b"Saved."
    before = sent.conversation.version
    sent.conversation.refresh_from_db()
    assert sent.conversation.system_prompt == "Rhyme."
    assert sent.conversation.parameters == {"temperature": 1.5}
    assert sent.conversation.version > before, "all tabs learn of it"
    assert mine.post(url, fields).headers["Location"] == sent.conversation.get_absolute_url()


def test_bad_settings_of_a_chat_are_refused(mine, sent):
    url = chat_settings(sent.conversation)
    fields = {"system_prompt": "keep me", "temperature": "9"}
    response = mine.post(url, fields)
    assert response.status_code == 422
    assert b"keep me" in response.content
    response = mine.post(url, fields, headers=HTMX)
    assert response.status_code == 422
    assert b"The temperature must be a number" in response.content
    assert mine.put(url).status_code == 405


def test_a_stranger_finds_no_settings_of_a_chat(client_of, stranger, sent):
    theirs = client_of(stranger)
    url = chat_settings(sent.conversation)
    assert theirs.get(url).status_code == 404
    assert theirs.post(url, {"system_prompt": "x"}).status_code == 404


def test_the_prompt_of_a_chat_is_kept_for_others(mine, sent):
    fields = {"system_prompt": "Rhyme.", "persona_name": "Poet"}
    mine.post(chat_settings(sent.conversation), fields)
    assert Persona.objects.values_list("name", "prompt").get() == ("Poet", "Rhyme.")


def test_what_a_chat_refuses_leaves_no_prompt_behind(mine, sent):
    fields = {"system_prompt": "Rhyme.", "persona_name": "Poet", "model": "openai:nothing"}
    assert mine.post(chat_settings(sent.conversation), fields).status_code == 422
    assert not Persona.objects.exists()
    sent.conversation.refresh_from_db()
    assert sent.conversation.system_prompt == ""


def test_answers_are_asked_with_the_chats_own_before_the_defaults(sent, owner):
    Defaults.objects.create(
        user=owner, system_prompt="Default.", parameters={"temperature": 0.1, "max_tokens": 9}
    )
    stream = Stream.objects.get(pk=sent.answer.stream_id)
    plan = replies.plan_of(stream)
    assert (plan.system, plan.parameters) == ("Default.", {"temperature": 0.1, "max_tokens": 9})
    actions.set_options(sent.conversation, "", "Own.", {"temperature": 2})
    plan = replies.plan_of(stream)
    assert (plan.system, plan.parameters) == ("Own.", {"temperature": 2, "max_tokens": 9})
