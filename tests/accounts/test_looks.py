from __future__ import annotations

import pytest
from django.conf import settings as site
from django.test import Client
from django.urls import reverse

from chatsite.accounts.models import User
from tests.conftest import PASSWORD

SIGN_IN = reverse("accounts:sign-in")
SIGN_UP = reverse("accounts:sign-up")
THEME = reverse("accounts:theme")
LANGUAGE = reverse("set-language")
APPEARANCE = reverse("conversations:settings-appearance")

pytestmark = pytest.mark.django_db


def html_of(client: Client, path: str = "/") -> str:
    """The first tag of a page."""
    page = client.get(path).text
    return page[page.index("<html") : page.index("<head>")]


@pytest.fixture
def visitor(client: Client) -> Client:
    """A visitor who chose to read Korean in the dark."""
    client.post(THEME, {"theme": "dark"})
    client.post(LANGUAGE, {"language": "ko"})
    return client


@pytest.mark.parametrize("path", ["/", SIGN_IN, SIGN_UP, "/nothing/"])
def test_what_a_visitor_chose_is_drawn_by_the_server(visitor: Client, path: str) -> None:
    assert 'lang="ko"' in html_of(visitor, path)
    assert 'data-theme="dark"' in html_of(visitor, path)
    assert 'name="color-scheme" content="dark"' in visitor.get(path).text


def test_each_language_is_offered_in_its_own_words(visitor: Client) -> None:
    for language in ("ko", "en"):
        visitor.post(LANGUAGE, {"language": language})
        page = visitor.get("/").text
        assert ">English</button>" in page
        assert ">한국어</button>" in page


@pytest.mark.parametrize("path", ["/", SIGN_IN, f"{SIGN_UP}?next=/settings/"])
def test_the_choice_is_offered_to_visitors_and_leads_back(
    client: Client, client_of, guest: User, path: str
) -> None:
    page = client.get(path).text
    assert f'action="{THEME}"' in page
    assert f'action="{LANGUAGE}"' in page
    assert f'name="next" value="{path}"' in page
    assert f'action="{THEME}"' not in client_of(guest).get(path).text


def test_the_choice_is_kept_for_a_year_and_makes_no_row(client: Client) -> None:
    kept = client.post(THEME, {"theme": "light", "next": SIGN_IN})
    assert kept["Location"] == SIGN_IN
    assert kept.cookies[site.THEME_COOKIE_NAME]["max-age"] == 365 * 86_400
    kept = client.post(LANGUAGE, {"language": "ko", "next": SIGN_IN})
    assert kept["Location"] == SIGN_IN
    assert kept.cookies[site.LANGUAGE_COOKIE_NAME]["max-age"] == 365 * 86_400
    assert not User.objects.exists()


@pytest.mark.parametrize("theme", ["", "pink"])
def test_the_system_s_theme_comes_back(visitor: Client, theme: str) -> None:
    visitor.post(THEME, {"theme": theme})
    assert "data-theme" not in html_of(visitor)


@pytest.mark.parametrize("url", [THEME, LANGUAGE])
def test_nobody_is_led_elsewhere(client: Client, url: str) -> None:
    for response in (
        client.post(url, {"theme": "dark", "language": "ko", "next": "https://evil.example/"}),
        client.get(url, {"next": "https://evil.example/"}),
    ):
        assert response.headers.get("Location", "/") == "/"


def sign_up(client: Client) -> None:
    form = {"email": "ann@example.com", "password1": PASSWORD, "password2": PASSWORD}
    client.post(SIGN_UP, form)


def sign_in_as_guest(client: Client) -> None:
    client.post(reverse("accounts:sign-in-guest"))


def send_a_message(client: Client) -> None:
    key = "6b8a3f54-0000-4000-8000-000000000000"
    client.post("/c/", {"content": "Hello", "key": key, "model": "echo:echo"})


@pytest.mark.parametrize("come_in", [sign_up, sign_in_as_guest, send_a_message])
def test_a_new_person_keeps_what_they_chose(visitor: Client, client_of, come_in) -> None:
    come_in(visitor)
    person = User.objects.get()
    assert (person.theme, person.language) == ("dark", "ko")
    # On their other devices too.
    assert 'data-theme="dark"' in html_of(client_of(person))


def test_a_guest_who_signs_up_keeps_their_own_settings(client_of, guest: User) -> None:
    User.objects.filter(pk=guest.pk).update(theme="light", language="en")
    client = client_of(guest)
    client.cookies[site.THEME_COOKIE_NAME] = "dark"
    client.cookies[site.LANGUAGE_COOKIE_NAME] = "ko"
    sign_up(client)
    guest.refresh_from_db()
    assert (guest.theme, guest.language) == ("light", "en")


def test_cookies_that_are_not_ours_are_nothing(client: Client) -> None:
    client.cookies[site.THEME_COOKIE_NAME] = '"><script>'
    client.cookies[site.LANGUAGE_COOKIE_NAME] = "xx"
    assert "<script>" not in html_of(client)
    assert 'lang="en"' in html_of(client)
    sign_in_as_guest(client)
    person = User.objects.get()
    assert (person.theme, person.language) == ("", "")


def test_an_account_has_its_own_before_the_browsers(visitor: Client, owner: User) -> None:
    User.objects.filter(pk=owner.pk).update(theme="light", language="en")
    visitor.post(SIGN_IN, {"username": owner.email, "password": PASSWORD})
    assert 'data-theme="light"' in html_of(visitor)
    assert 'lang="en"' in html_of(visitor)


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_who_leaves_it_to_the_system_gets_the_systems(visitor: Client, headers) -> None:
    sign_in_as_guest(visitor)
    visitor.post(APPEARANCE, {"theme": "", "language": ""}, headers=headers)
    assert "data-theme" not in html_of(visitor)
    assert 'lang="en"' in html_of(visitor)
