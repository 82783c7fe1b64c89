from __future__ import annotations

import gzip
import re

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import AsyncRequestFactory, Client, RequestFactory
from django.utils.module_loading import import_string

from chatsite.middleware import ContentSecurityPolicyMiddleware, PrivatePagesMiddleware


def nonce_of(response) -> str:
    return re.search(r"'nonce-([\w-]{20,})' 'strict-dynamic'", policy_of(response)).group(1)


def policy_of(response) -> str:
    return response.headers["Content-Security-Policy"]


def test_each_answer_has_a_nonce_of_its_own():
    middleware = ContentSecurityPolicyMiddleware(lambda request: HttpResponse(request.csp_nonce))
    first, second = (middleware(RequestFactory().get("/")) for _ in range(2))
    assert nonce_of(first) == first.text
    assert nonce_of(first) != nonce_of(second)


def test_nothing_runs_inline_and_nobody_frames_a_page(client, db):
    policy = policy_of(client.get("/"))
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy


async def test_an_async_chain_gets_the_same_headers():
    async def view(request):
        return HttpResponse(request.csp_nonce)

    chain = ContentSecurityPolicyMiddleware(PrivatePagesMiddleware(view))
    response = await chain(AsyncRequestFactory().get("/"))
    assert nonce_of(response) == response.text
    assert response.headers["Cache-Control"] == "private, no-store"


def test_a_page_is_kept_out_of_shared_caches(client, db):
    response = client.get("/")
    assert response.headers["Cache-Control"] == "private, no-store"
    assert "Cookie" in response.headers["Vary"]


def test_a_view_may_say_otherwise():
    def view(request):
        return HttpResponse(headers={"Cache-Control": "max-age=60", "Vary": "HX-Request"})

    response = PrivatePagesMiddleware(view)(RequestFactory().get("/"))
    assert response.headers["Cache-Control"] == "max-age=60"
    assert response.headers["Vary"] == "HX-Request, Cookie"


def test_debug_pages_keep_their_inline_styles(settings):
    settings.DEBUG = True
    middleware = ContentSecurityPolicyMiddleware(lambda request: HttpResponse(status=404))
    assert "Content-Security-Policy" not in middleware(RequestFactory().get("/")).headers


@pytest.mark.parametrize(
    "page", ["", "accounts/user/", "accounts/user/add/", "auth/group/add/", "streaming/stream/"]
)
def test_the_admins_pages_work_under_the_policy(client_of, auditor, page):
    response = client_of(auditor).get(f"/admin/{page}")
    assert response.status_code == 200
    assert "script-src 'self';" in policy_of(response)
    inline = [
        attributes
        for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script>", response.text, re.S)
        if body.strip() and "application/json" not in attributes
    ]
    assert inline == []
    assert not re.search(r"<style|\son\w+=|javascript:", response.text)


def test_every_middleware_spares_async_requests_a_thread():
    sync_only = [name for name in settings.MIDDLEWARE if not import_string(name).async_capable]
    assert sync_only == []


@pytest.mark.parametrize("charset", ["raw_unicode_escape", "idna", "rot13", "undefined", "utf-16"])
def test_a_body_in_another_encoding_is_400(db, charset):
    form = (
        b'--B\r\nContent-Disposition: form-data; name="content"\r\n\r\n\\ud800\r\n'
        b'--B\r\nContent-Disposition: form-data; name="key"\r\n\r\n'
        b"00000000-0000-4000-8000-000000000000\r\n--B--\r\n"
    )
    response = Client(raise_request_exception=False).generic(
        "POST", "/c/", form, f"multipart/form-data; boundary=B; charset={charset}"
    )
    assert response.status_code == 400


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8"])
def test_a_body_that_says_utf_8_is_read(db, charset):
    response = Client().generic(
        "POST", "/c/", b"content=", f"application/x-www-form-urlencoded; charset={charset}"
    )
    assert response.status_code == 422


def test_an_answer_to_a_wrong_host_has_the_headers_too(client):
    response = client.get("/", headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in policy_of(response)
    assert response.headers["Cache-Control"] == "private, no-store"


def test_pages_are_compressed_for_who_can_unpack_them(client, db):
    plain = client.get("/")
    packed = client.get("/", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert {"Accept-Encoding", "Cookie"} <= set(packed.headers["Vary"].split(", "))
    assert len(packed.content) < len(plain.content) / 2
    assert "<title>" in gzip.decompress(packed.content).decode()


def test_what_is_no_page_is_not_compressed(client, db):
    response = client.get("/manifest.webmanifest", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in response.headers
