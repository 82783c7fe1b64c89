from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.http import HttpResponse, JsonResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import reverse

from chatsite.accounts.guests import COOKIE, guest_key
from chatsite.accounts.middleware import guest_cookie
from chatsite.accounts.models import User

SIGN_IN = reverse("accounts:sign-in")
SIGN_IN_GUEST = reverse("accounts:sign-in-guest")

pytestmark = pytest.mark.django_db


def signed_in(client: Client) -> int:
    return int(client.session["_auth_user_id"])


def test_a_page_gives_a_visitor_a_cookie_and_makes_no_row(client: Client) -> None:
    cookie = client.get(SIGN_IN).cookies[COOKIE]

    assert len(cookie.value) == 43
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == 365 * 86_400
    assert not cookie["secure"]
    assert not User.objects.exists()


def test_the_cookie_is_secure_where_the_session_is(client: Client, settings) -> None:
    settings.SESSION_COOKIE_SECURE = True

    assert client.get(SIGN_IN).cookies[COOKIE]["secure"]


def test_a_second_page_keeps_the_cookie(client: Client) -> None:
    client.get(SIGN_IN)

    assert COOKIE not in client.get(SIGN_IN).cookies


async def test_the_cookie_comes_by_the_asynchronous_path_too(async_client: AsyncClient) -> None:
    assert COOKIE in (await async_client.get(SIGN_IN)).cookies


def test_a_cookie_that_is_not_ours_is_replaced(client: Client) -> None:
    client.cookies[COOKIE] = "guessable"

    assert client.get(SIGN_IN).cookies[COOKIE].value != "guessable"


def test_people_who_are_signed_in_get_no_guest_cookie(guest_client: Client) -> None:
    assert COOKIE not in guest_client.get(SIGN_IN).cookies


def test_answers_that_are_no_html_carry_no_cookie(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = AnonymousUser()

    assert COOKIE not in guest_cookie(lambda request: JsonResponse({}))(request).cookies
    assert COOKIE in guest_cookie(lambda request: HttpResponse())(request).cookies


def test_the_button_signs_in_a_new_guest(client: Client) -> None:
    client.get(SIGN_IN)
    response = client.post(SIGN_IN_GUEST)

    guest = User.objects.get()
    assert response.headers["Location"] == settings.LOGIN_REDIRECT_URL
    assert signed_in(client) == guest.pk
    assert guest.is_guest
    assert not guest.has_usable_password()


def test_the_database_holds_a_hash_of_the_cookie(client: Client) -> None:
    cookie = client.get(SIGN_IN).cookies[COOKIE].value
    client.post(SIGN_IN_GUEST)

    assert User.objects.get().guest_key == hashlib.sha256(cookie.encode()).hexdigest()


def test_the_button_without_a_cookie_works_too(client: Client) -> None:
    client.post(SIGN_IN_GUEST)

    assert User.objects.get().guest_key is None


def test_the_button_is_no_link(client: Client) -> None:
    assert client.get(SIGN_IN_GUEST).status_code == 405
    assert not User.objects.exists()


def test_the_button_needs_the_csrf_token() -> None:
    assert Client(enforce_csrf_checks=True).post(SIGN_IN_GUEST).status_code == 403
    assert not User.objects.exists()


def test_the_button_leaves_who_is_signed_in_as_they_are(client_of, owner: User) -> None:
    client = client_of(owner)
    client.post(SIGN_IN_GUEST)

    assert signed_in(client) == owner.pk
    assert User.objects.count() == 1


def test_signing_in_changes_the_session_key(client: Client) -> None:
    session = client.session
    session["before"] = True
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
    client.post(SIGN_IN_GUEST)

    assert client.session.session_key != session.session_key


def test_a_guest_whose_session_is_gone_comes_back_by_the_cookie(client: Client) -> None:
    client.get(SIGN_IN)
    client.post(SIGN_IN_GUEST)
    del client.cookies[settings.SESSION_COOKIE_NAME]
    client.post(SIGN_IN_GUEST)

    assert signed_in(client) == User.objects.get().pk


def test_a_blocked_guest_stays_outside(client: Client) -> None:
    client.get(SIGN_IN)
    client.post(SIGN_IN_GUEST)
    User.objects.update(is_active=False)

    assert client.post(SIGN_IN_GUEST).status_code == 403
    assert User.objects.count() == 1


@pytest.mark.parametrize("cookie", ["", "short", "x" * 44, "ü" * 43, "x" * 42 + "\n"])
def test_only_cookies_of_our_form_are_keys(cookie: str) -> None:
    request = RequestFactory().get("/")
    request.COOKIES[COOKIE] = cookie

    assert guest_key(request) is None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/c/1/", "/c/1/"),
        ("https://evil.example/", settings.LOGIN_REDIRECT_URL),
        ("//evil.example/", settings.LOGIN_REDIRECT_URL),
        ("javascript:alert(1)", settings.LOGIN_REDIRECT_URL),
        ("", settings.LOGIN_REDIRECT_URL),
    ],
)
def test_the_button_goes_on_to_pages_of_this_site_only(
    client: Client, target: str, expected: str
) -> None:
    response = client.post(SIGN_IN_GUEST, {"next": target})

    assert response.headers["Location"] == expected


def test_ten_parallel_first_posts_are_one_guest(transactional_db: None) -> None:
    page = Client(enforce_csrf_checks=True)
    page.get(SIGN_IN)
    together = Barrier(10)

    def post() -> tuple[int, int]:
        client = Client(enforce_csrf_checks=True)
        client.cookies.load({name: morsel.value for name, morsel in page.cookies.items()})
        token = {"csrfmiddlewaretoken": page.cookies["csrftoken"].value}
        try:
            together.wait(10)
            return client.post(SIGN_IN_GUEST, token).status_code, signed_in(client)
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as threads:
        answers = [future.result() for future in [threads.submit(post) for _ in range(10)]]

    assert {status for status, _ in answers} == {302}
    assert len({guest for _, guest in answers}) == 1
