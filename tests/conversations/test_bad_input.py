"""What bad input gets without a script: a sentence in a page, and the text that was typed."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.urls import reverse

from conversations import actions, keeping
from conversations.models import Conversation, Message, Persona
from conversations.submissions import Sent

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
GONE = "This chat no longer exists. Sending from here starts a new one."
SIGNED_OUT = "You were signed out. Sign in first;"


@pytest.fixture
def sent(owner) -> Sent:
    return actions.start_conversation(owner, "Hello", key=uuid4(), model="echo:echo")


def forms_with_a_text(sent: Sent) -> list[str]:
    chat = sent.conversation.pk
    return [
        reverse("conversations:message-create", args=[chat]),
        reverse("conversations:message-edit", args=[sent.prompt.pk]),
        reverse("conversations:queued-edit", args=[chat, 1]),
    ]


def test_what_was_written_for_a_chat_that_is_gone_comes_back(
    client_of, owner, stranger, client, sent
):
    keeping.delete_conversation(sent.conversation)
    for url in forms_with_a_text(sent):
        for person, sentence in (
            (client_of(owner), GONE),
            (client_of(stranger), GONE),
            (client, SIGNED_OUT),
        ):
            response = person.post(url, {"content": "not <lost>", "key": uuid4()})
            assert response.status_code == 404
            assert sentence in response.text
            assert "not &lt;lost&gt;</textarea>" in response.text
            # The page's script keeps it itself.
            assert "lost" not in person.post(url, {"content": "not lost"}, headers=HTMX).text
        assert client_of(owner).post(url).status_code == 404
    assert Message.objects.count() == 2


def test_a_page_of_somebody_else_gets_401_whatever_it_asks_for(client_of, owner, client, sent):
    chat = sent.conversation.get_absolute_url()
    for person in (client_of(owner), client):
        for url in ("/", chat, f"{chat}changes/", "/settings/", "/search/?q=x"):
            theirs = HTMX | {"X-Person": str(uuid4())}
            response = person.get(url, headers=theirs)
            assert (response.status_code, response.content) == (401, b"")
    mine = HTMX | {"X-Person": str(owner.pk)}
    assert client_of(owner).get(chat, headers=mine).status_code == 200
    data = {"content": "Nobody's guest", "key": uuid4()}
    assert client.post("/c/", data, headers=mine).status_code == 401
    assert Conversation.objects.count() == 1


@pytest.mark.parametrize("path", ["/settings/answers/", "/settings/prompts/", "/settings/keys/"])
def test_the_address_of_a_form_is_a_page_too_and_no_way_leads_there(client_of, owner, client, path):
    response = client_of(owner).get(path)
    assert response.status_code == 405
    assert "There is no page at this address." in response.text
    assert client_of(owner).get(path, headers=HTMX).content == b""
    response = client.post(path, {"name": "x", "prompt": "y"})
    assert response.headers["Location"] == "/accounts/sign-in/?next=/settings/"


@pytest.mark.parametrize(
    ("title", "sentence"),
    [
        (b"+%E2%80%8B%E2%80%AE+", "Enter a title first."),
        (b"a%00b", "Null characters are not allowed."),
    ],
)
def test_a_title_that_cannot_be_seen_or_stored(client_of, owner, sent, title, sentence):
    url = reverse("conversations:conversation-rename", args=[sent.conversation.pk])
    form = "application/x-www-form-urlencoded"
    response = client_of(owner).post(url, b"title=" + title, content_type=form)
    assert response.status_code == 422
    assert sentence in response.text


def test_half_a_character_becomes_the_sign_for_one_and_overrides_stay_text(client_of, owner):
    form = "application/x-www-form-urlencoded"
    body = f"key={uuid4()}&content=a%ED%A0%80b%E2%80%AEc".encode()
    response = client_of(owner).post("/c/", body, content_type=form)
    assert response.status_code == 302
    (prompt,) = Message.objects.filter(role="user")
    assert prompt.content == "a\ufffd\ufffd\ufffdb\u202ec"
    page = client_of(owner).get(response.headers["Location"]).text
    assert f'<div class="bubble" dir="auto">{prompt.content}</div>' in page


@pytest.mark.parametrize(
    ("name", "prompt", "sentence"),
    [
        ("", "kept", "Give the prompt a name."),
        ("\u200b", "kept", "Give the prompt a name."),
        ("a\0", "kept", "Null characters are not allowed."),
        ("n" * 10_000, "kept", "The name can have at most 80 characters."),
        ("Poet", "kept\0", "Null characters are not allowed."),
    ],
)
def test_a_bad_prompt_is_refused_wherever_it_is_kept(
    client_of, owner, sent, name, prompt, sentence
):
    mine = client_of(owner)
    response = mine.post("/settings/prompts/", {"name": name, "prompt": prompt})
    assert (response.status_code, sentence in response.text) == (422, True)
    assert "kept" in response.text
    response = mine.post("/settings/prompts/", {"name": name, "prompt": prompt}, headers=HTMX)
    assert response.text.strip() == f'<span class="field-error">{sentence}</span>'
    if name:
        url = reverse("conversations:conversation-settings", args=[sent.conversation.pk])
        fields = {"persona_name": name, "system_prompt": prompt}
        response = mine.post(url, fields, headers=HTMX)
        assert (response.status_code, sentence in response.text) == (422, True)
    assert not Persona.objects.exists()


def test_a_kept_prompt_brings_its_section_alone(client_of, owner):
    form = {"name": "Poet", "prompt": "Rhyme."}
    response = client_of(owner).post("/settings/prompts/", form, headers=HTMX)
    assert response.status_code == 200
    for header in ("HX-Retarget", "HX-Reselect"):
        assert response.headers[header] == "#prompts"
    assert "Poet" in response.text
    url = reverse("conversations:persona-detail", args=[Persona.objects.get().pk])
    response = client_of(owner).post(url, form, headers=HTMX)
    assert response.headers["HX-Redirect"] == "/settings/?saved=prompts#prompts"
