from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.core.management import CommandError, call_command

from chatsite.accounts.throttles import PER_PERSON
from conversations import actions, own_keys, preferences, replies
from conversations.encryption import CannotDecrypt, decrypt, encrypt
from conversations.exceptions import Refused, UnknownModel
from conversations.lab.provider import ProviderServer, Script
from conversations.models import ProviderKey
from conversations.providers.addresses import PublicResolver, is_public
from streaming.exceptions import StreamFailed
from streaming.generators import End
from streaming.models import Stream
from tests.conftest import PASSWORD

SECRET = "sk-canary-0123456789wxyz"
OLD, NEW = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def allowed(settings) -> None:
    cache.clear()
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    settings.OWN_KEYS = ["openai", "anthropic"]
    settings.OWN_BASE_URLS = ["127.0.0.1"]
    settings.PROVIDER_RETRY_SECONDS = 0.01


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    """The scripted server, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ProviderServer({"own": Script(text="Hello there", size=4)})
    server.models = [{"id": "own"}, {"id": "text-embedding"}]
    runner = asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    yield server
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def key(transactional_db, owner, server) -> ProviderKey:
    key = own_keys.add(owner, "openai", SECRET, server.openai_url)
    assert own_keys.try_key(key) == own_keys.Tried("fine", 1)
    return key


def generate(stream: Stream) -> str:
    async def collect() -> list[str | End]:
        return [item async for item in replies.generate(stream, stream.params, "")]

    return "".join(item for item in async_to_sync(collect)() if isinstance(item, str))


# --- Encryption


def test_what_is_encrypted_comes_back_and_looks_like_nothing() -> None:
    sealed = encrypt(SECRET, bound_to="1 openai")
    assert SECRET not in sealed
    assert sealed != encrypt(SECRET, bound_to="1 openai"), "a nonce each"
    assert decrypt(sealed, bound_to="1 openai") == SECRET


@pytest.mark.parametrize("sealed", ["", "?", "AAAA", encrypt.__name__])
def test_what_is_no_ciphertext_cannot_be_decrypted(sealed: str) -> None:
    with pytest.raises(CannotDecrypt):
        decrypt(sealed, bound_to="x")


def test_a_ciphertext_is_of_no_use_to_others_or_for_another_server(key, stranger) -> None:
    assert own_keys.secret_of(key) == SECRET
    for change in ({"user": stranger}, {"base_url": "https://other.example/v1"}):
        stolen = ProviderKey(
            user=change.get("user", key.user),
            provider="openai",
            base_url=change.get("base_url", key.base_url),
            ciphertext=key.ciphertext,
        )
        with pytest.raises(CannotDecrypt):
            own_keys.secret_of(stolen)


def test_keys_of_the_site_are_rotated(key, settings, capsys) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    assert own_keys.secret_of(key) == SECRET, "all decrypt"
    call_command("rotatekeys")
    assert "1 keys were encrypted anew." in capsys.readouterr().out
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    key.refresh_from_db()
    assert own_keys.secret_of(key) == SECRET
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    with pytest.raises(CommandError, match=str(key.pk)):
        call_command("rotatekeys")


# --- Addresses


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.0.0.7", False),
        ("172.16.3.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("127.1", False),
        ("localhost", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("allowed", "url", "expected"),
    [
        ([], "", False),
        ([], "https://api.openai.com/v1/", False),
        ([], "https://other.example/v1", None),
        (["other.example"], "https://OTHER.example/v1", False),
        (["other.example"], "https://not-other.example/v1", None),
        (["other.example"], "https://other.example@evil.example/v1", None),
        (["127.0.0.1:11434"], "http://127.0.0.1:11434/v1", False),
        (["127.0.0.1:11434"], "http://127.0.0.1:22/v1", None),
        (["*"], "https://any.example/v1", True),
        (["*"], "http://any.example/v1", None),
        (["*"], "https://user:pw@any.example/v1", None),
        (["*"], "https://any.example/v1?x=1", None),
        (["*"], "https://127.0.0.1/v1", None),
        (["*"], "https://127.1/v1", None),
        (["*"], "https://2130706433/v1", None),
        (["*"], "https://[::1]/v1", None),
        (["*"], "https://[::ffff:169.254.169.254]/v1", None),
        (["*"], "https://any.example:port/v1", None),
        (["*"], "https://any.example\\@127.0.0.1/v1", None),
        (["*"], "file:///etc/passwd", None),
        (["*"], "//any.example", None),
    ],
)
def test_which_addresses_a_key_may_be_for(settings, allowed, url, expected) -> None:
    settings.OWN_BASE_URLS = allowed
    if expected is None:
        with pytest.raises(Refused):
            own_keys.checked_address("openai", url)
    else:
        assert own_keys.checked_address("openai", url)[1] is expected


@pytest.mark.parametrize("host", ["localhost", "0x7f000001"])
async def test_a_name_that_means_this_machine_is_not_connected_to(host: str) -> None:
    resolver = PublicResolver()
    with pytest.raises(OSError, match="no public address"):
        await resolver.resolve(host, 443, socket.AF_UNSPEC)
    await resolver.close()


def test_a_name_is_looked_up_by_the_connection_itself(
    transactional_db, owner, server, settings
) -> None:
    settings.OWN_BASE_URLS = ["*"]
    url = f"https://localhost:{server.port}/v1"
    assert own_keys.try_key(own_keys.add(owner, "openai", SECRET, url)).outcome == "unreachable"
    assert server.clients == []


# --- Trying a key


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "fine"), (401, "refused"), (403, "refused"), (302, "unreadable"), (500, "unreadable")],
)
def test_what_comes_of_trying(key, server, status, outcome) -> None:
    server.models_status = status
    assert own_keys.try_key(key).outcome == outcome


def test_a_server_that_is_not_there_and_one_that_is_silent(
    transactional_db, owner, monkeypatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        key = own_keys.add(owner, "openai", SECRET, url)
        monkeypatch.setattr(own_keys, "TRY_SECONDS", 0.3)
        assert own_keys.try_key(key).outcome == "late"
    assert own_keys.try_key(key).outcome == "unreachable"


# --- Answers


def test_an_answer_runs_with_the_persons_key(key, owner, stranger, server) -> None:
    (choice,) = own_keys.choices_of(owner.pk)
    assert (choice.id, choice.note) == ("own-openai:own", "your own key")
    sent = actions.start_conversation(owner, "Hi", key=uuid4(), model=choice.id)
    stream = Stream.objects.get(pk=sent.answer.stream_id)
    assert stream.params == {"model": choice.id, "own_key": key.pk, "language": "en"}
    assert generate(stream) == "Hello there"
    headers, body = server.seen[-1]
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert body["model"] == "own"

    assert preferences.choice_of(stranger, choice.id) is None
    with pytest.raises(UnknownModel):
        actions.start_conversation(stranger, "Hi", key=uuid4(), model=choice.id)


def test_an_answer_without_its_key_says_what_to_do(key, owner, server, settings) -> None:
    sent = actions.start_conversation(owner, "Hi", key=uuid4(), model="own-openai:own")
    stream = Stream.objects.get(pk=sent.answer.stream_id)
    server.scripts["own"] = Script(status=401)
    with pytest.raises(StreamFailed, match="Check it in the settings") as refused:
        generate(stream)
    assert SECRET not in str(refused.value)
    settings.OWN_BASE_URLS = []
    with pytest.raises(StreamFailed, match="no longer allows this key"):
        generate(stream)
    settings.OWN_KEYS = []
    with pytest.raises(StreamFailed, match="no longer lets you use"):
        generate(stream)
    settings.OWN_KEYS = ["openai"]
    key.delete()
    with pytest.raises(StreamFailed, match=r"was deleted\. Add one in the settings"):
        generate(stream)


def test_another_persons_key_answers_for_nobody(key, stranger) -> None:
    sent = actions.start_conversation(stranger, "Hi", key=uuid4(), model="echo:echo")
    stream = Stream.objects.get(pk=sent.answer.stream_id)
    stream.params["own_key"] = key.pk
    with pytest.raises(Exception, match="was deleted"):
        own_keys.provider_for(stream, "own-openai:own")


# --- Views


@pytest.fixture
def mine(client_of, owner):
    return client_of(owner)


def test_a_key_is_added_tried_and_never_shown(transactional_db, mine, owner, server, caplog):
    fields = {"provider": "openai", "secret": SECRET, "base_url": server.openai_url}
    response = mine.post("/settings/keys/", fields, follow=True)
    page = response.content.decode()
    assert "The connection works." in page
    assert "…wxyz" in page
    assert SECRET not in page
    assert SECRET[:12] not in caplog.text
    key = ProviderKey.objects.get(user=owner)
    assert SECRET not in repr(key) + key.ciphertext
    assert b"own-openai:own" in mine.get("/").content

    again = fields | {"secret": "sk-another-key-abcd"}
    mine.post("/settings/keys/", again)
    assert ProviderKey.objects.get(user=owner).last4 == "abcd"


def test_a_key_is_tested_in_place_and_by_a_form(key, mine, server):
    url = f"/settings/keys/{key.pk}/test/"
    assert b"1 model available." in mine.post(url, headers=HTMX).content
    server.models_status = 401
    assert b"The provider refused the key." in mine.post(url, headers=HTMX).content
    assert b"The provider refused the key." in mine.post(url, follow=True).content
    assert mine.get(url).status_code == 405


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_key_is_tested_so_often_and_no_more(key, mine, server, client_of, stranger, headers):
    url = f"/settings/keys/{key.pk}/test/"
    sentence = "Too many key tests in a short time."
    for _ in range(PER_PERSON):
        assert sentence not in mine.post(url, headers=headers, follow=True).text
    assert sentence in mine.post(url, headers=headers, follow=True).text
    # Nor by adding it again; it is kept all the same.
    fields = {"provider": "openai", "secret": "sk-another-key-abcd", "base_url": server.openai_url}
    assert sentence in mine.post("/settings/keys/", fields, follow=True).text
    added = ProviderKey.objects.get(user=key.user)
    assert (added.last4, added.listed) == ("abcd", []), "its provider was not asked"
    # Others, and what else is counted, are not held up.
    theirs = client_of(stranger)
    assert "The connection works." in theirs.post("/settings/keys/", fields, follow=True).text
    signed_in = {"username": key.user.email, "password": PASSWORD}
    assert mine.post("/accounts/sign-in/", signed_in).status_code == 302


def test_a_stranger_can_neither_test_nor_delete_a_key(key, client_of, stranger, mine):
    theirs = client_of(stranger)
    for verb in ("test", "delete"):
        assert theirs.post(f"/settings/keys/{key.pk}/{verb}/").status_code == 404
    assert b"wxyz" not in theirs.get("/settings/").content
    mine.post(f"/settings/keys/{key.pk}/delete/")
    assert not ProviderKey.objects.exists()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"secret": ""}, "Paste the key first."),
        ({"secret": f"{SECRET}\n {SECRET}"}, "A key must be 8 to 500 letters"),
        ({"provider": "magic"}, "Select a valid choice"),
        ({"base_url": "http://10.0.0.1/v1"}, "does not allow keys for this address"),
    ],
)
def test_a_bad_key_is_refused_and_not_drawn_again(mine, fields, sentence):
    sound = {"provider": "openai", "secret": SECRET, "base_url": "http://127.0.0.1/kept"}
    response = mine.post("/settings/keys/", sound | fields)
    assert response.status_code == 422
    page = response.content.decode()
    assert sentence in page
    assert SECRET not in page
    assert (sound | fields)["base_url"] in page
    assert not ProviderKey.objects.exists()


def test_where_the_operator_allows_none_there_is_no_such_section(mine, settings):
    settings.OWN_KEYS = []
    assert b'id="keys"' not in mine.get("/settings/").content
    fields = {"provider": "openai", "secret": SECRET}
    assert mine.post("/settings/keys/", fields).status_code == 422
    settings.OWN_KEYS, settings.FIELD_ENCRYPTION_KEYS = ["openai"], []
    assert b'id="keys"' not in mine.get("/settings/").content


def test_keys_go_with_their_person_or_move_to_their_account(key, guest, owner):
    theirs = own_keys.add(guest, "anthropic", SECRET, "")
    second = own_keys.add(guest, "openai", "sk-of-the-guest-0000", "")
    from chatsite.accounts.actions import bring_chats_along, delete_person

    bring_chats_along(guest.pk, owner)
    theirs.refresh_from_db()
    assert theirs.user == owner
    assert own_keys.secret_of(theirs) == SECRET
    assert not ProviderKey.objects.filter(pk=second.pk).exists(), "the account has its own"
    delete_person(owner)
    assert not ProviderKey.objects.exists()
