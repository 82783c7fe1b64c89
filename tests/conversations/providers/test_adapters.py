"""Both adapters against a server that answers well and badly."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import aclosing
from typing import Any

import pytest

from conversations.lab.provider import ProviderServer, Script
from conversations.providers.anthropic import Anthropic
from conversations.providers.base import (
    ChatRequest,
    Provider,
    ProviderError,
    Reasoning,
    Text,
    Turn,
    Usage,
)
from conversations.providers.openai import OpenAI

CORPUS = "Zoë's naïve café €5 — 日本語 😀👩‍👩‍👧 \u2028\u0085 ende"
KEY = "sk-canary-key"


async def test_text_usage_and_end_arrive(provider: Provider, server: ProviderServer, ask) -> None:
    answer = await ask(provider)
    assert answer.text == Script().answer
    assert answer.usage == Usage(7, 20)
    assert answer.finished == "stop"
    assert answer.error is None


@pytest.mark.parametrize(
    "script",
    [
        Script(text=CORPUS, size=1, line_end="\r\n"),
        Script(text=CORPUS, size=1, line_end="\r"),
        Script(text=CORPUS, size=2, bom=True, comments=True),
        Script(text=CORPUS, size=3, multiline=True, line_end="\r\n"),
        Script(text=CORPUS, size=1, split=1, bom=True),
        Script(text=CORPUS, size=5, split=7, multiline=True, comments=True, line_end="\r\n"),
    ],
    ids=["crlf", "cr", "bom-comments", "multiline", "each-byte", "mixed"],
)
async def test_every_legal_form_gives_the_same_text(
    provider: Provider, server: ProviderServer, ask, script: Script
) -> None:
    server.scripts["default"] = script
    answer = await ask(provider)
    assert (answer.text, answer.finished) == (CORPUS, "stop")


async def test_text_is_handed_on_as_it_arrives(
    provider: Provider, server: ProviderServer, ask
) -> None:
    server.scripts["default"] = Script(tokens=5, stall_after=4)
    seen = ""
    async with aclosing(provider.stream(ChatRequest("default", [Turn("user", "x")]))) as events:
        async for event in events:
            seen += event.text
            if seen == Script(tokens=4).answer:
                break
    await server.until(left=1)


async def test_a_huge_delta_comes_in_parts(provider: Provider, server: ProviderServer, ask) -> None:
    size = 5 * 1024 * 1024
    server.scripts["default"] = Script(tokens=1, size=size)
    answer = await ask(provider)
    assert answer.text == Script(tokens=1, size=size).answer
    assert max(map(len, answer.pieces)) <= 64 * 1024


async def test_a_line_of_ten_mebibytes_is_refused_and_the_next_answer_works(
    provider: Provider, server: ProviderServer, ask
) -> None:
    server.scripts["huge"] = Script(tokens=1, size=10 * 1024 * 1024)
    answer = await ask(provider, "huge")
    assert answer.error.code == "provider"
    assert (await ask(provider)).finished == "stop"


# --- what people read


@pytest.mark.parametrize(
    ("script", "code", "sentence"),
    [
        (Script(status=401), "refused", "The provider refused the key."),
        (Script(status=403), "refused", "The provider refused the key."),
        (Script(status=404), "no_model", "The provider does not know this model."),
        (Script(status=402), "rate_limit", "The provider refused the request: no credit is left."),
        (Script(status=413), "too_long", "This chat is too long for this model."),
        (Script(status=400), "provider", "The provider rejected the request (status 400)."),
        (Script(status=500), "provider", "The provider returned an error (status 500)."),
        (Script(status=529), "provider", "The provider is overloaded."),
        (
            Script(status=302),
            "provider",
            "The provider redirected the request; redirects are not followed.",
        ),
        (
            Script(status=429, retry_after="45"),
            "rate_limit",
            "The provider refused: rate limit, try again in 45 s.",
        ),
        (
            Script(status=429),
            "rate_limit",
            "The provider refused: rate limit, try again later.",
        ),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Script) else "",
)
async def test_a_refusal_is_a_code_and_a_sentence(
    provider: Provider,
    server: ProviderServer,
    ask,
    caplog: pytest.LogCaptureFixture,
    script: Script,
    code: str,
    sentence: str,
) -> None:
    server.scripts["default"] = script
    with caplog.at_level(logging.DEBUG, "conversations"):
        answer = await ask(provider, message="a private matter")
    assert (answer.error.code, answer.error.detail) == (code, sentence)
    told = caplog.text + str(answer.error)
    assert caplog.text
    for secret in ("canary", "secret-body", "127.0.0.1", "a private matter"):
        assert secret not in told


@pytest.mark.parametrize(
    "error",
    [
        {"code": "context_length_exceeded", "message": "…"},
        {"message": "This model's maximum context length is 8192 tokens."},
        {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens"},
        {"type": "exceed_context_size_error", "message": "…"},
    ],
)
async def test_a_prompt_that_does_not_fit_is_too_long(
    provider: Provider, server: ProviderServer, ask, error: dict[str, str]
) -> None:
    server.scripts["default"] = Script(status=400, error=error)
    answer = await ask(provider)
    assert answer.error.code == "too_long"
    assert server.stats.requests == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, "provider"),
        ({"type": "rate_limit_error", "message": "…"}, "rate_limit"),
        ({"code": "context_length_exceeded"}, "too_long"),
    ],
)
async def test_an_error_inside_the_stream_ends_it_and_keeps_the_text_before_it(
    provider: Provider, server: ProviderServer, ask, error: dict[str, str], code: str
) -> None:
    server.scripts["default"] = Script(error_after=3, error=error)
    answer = await ask(provider)
    assert answer.text == Script(tokens=3).answer
    assert answer.error.code == code
    assert server.stats.requests == 1


@pytest.mark.parametrize("how", ["fin", "rst", "eof"])
@pytest.mark.parametrize("after", [0, 7])
async def test_a_cut_answer_is_never_complete_and_never_asked_for_again(
    provider: Provider, server: ProviderServer, ask, how: str, after: int
) -> None:
    server.scripts["default"] = Script(cut_after=after, cut=how, rate=200)
    answer = await ask(provider)
    # A reset may overtake text that is still on its way.
    expected = Script(tokens=after).answer
    assert answer.text == expected or (how == "rst" and expected.startswith(answer.text))
    assert answer.error.code == "cut"
    assert answer.finished is None
    assert server.stats.requests == 1


@pytest.mark.parametrize("how", ["fin", "eof"])
async def test_text_that_waits_to_be_read_at_the_cut_counts(
    provider: Provider, server: ProviderServer, how: str
) -> None:
    server.scripts["default"] = Script(tokens=60, cut_after=50, cut=how, rate=500)
    pieces: list[str] = []

    async def read_slowly() -> None:
        async for event in provider.stream(ChatRequest("default", [Turn("user", "x")])):
            pieces.append(event.text)
            # As a reader that waits for the log, until everything has come, the end of it too.
            await server.until(open=0)
            await asyncio.sleep(0.1)

    with pytest.raises(ProviderError, match="cut"):
        await read_slowly()
    assert "".join(pieces) == Script(tokens=50).answer


async def test_what_is_no_text_is_a_sign_of_life_after_the_first_token(
    provider: Provider, server: ProviderServer
) -> None:
    server.scripts["default"] = Script(split=40)
    events = [event async for event in provider.stream(ChatRequest("default", [Turn("user", "x")]))]
    assert isinstance(events[0], Text)
    assert Reasoning("") in events


async def test_broken_json_ends_the_answer_and_keeps_the_text_before_it(
    provider: Provider, server: ProviderServer, ask
) -> None:
    server.scripts["default"] = Script(malformed_after=3)
    answer = await ask(provider)
    assert answer.text == Script(tokens=3).answer
    assert answer.error.code == "provider"


@pytest.mark.parametrize(
    "data", ["[]", "3", '{"choices": 5}', '{"choices": [7]}', "[" * 100_000, '{"usage": "many"}']
)
async def test_strange_shapes_are_an_error_of_the_provider(
    providers: dict[str, Provider], server: ProviderServer, ask, data: str
) -> None:
    server.scripts["default"] = Script(raw=(data,))
    answer = await ask(providers["openai"])
    assert answer.error.code == "provider"


@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
async def test_a_page_instead_of_a_stream_is_an_error_of_the_provider(
    provider: Provider, server: ProviderServer, ask, content_type: str
) -> None:
    server.scripts["default"] = Script(content_type=content_type)
    answer = await ask(provider)
    assert answer.error.code == "provider"
    assert answer.text == ""


async def test_nobody_listening_is_tried_three_times_and_said(ask, settings: Any) -> None:
    answer = await ask(OpenAI("http://127.0.0.1:9/v1"))
    assert (answer.error.code, answer.error.detail) == (
        "provider",
        "The provider cannot be reached.",
    )


# --- retries


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
async def test_a_passing_refusal_is_tried_twice_again(
    provider: Provider, server: ProviderServer, ask, status: int
) -> None:
    server.scripts["default"] = Script(status=status, refusals=2)
    answer = await ask(provider)
    assert answer.finished == "stop"
    assert server.stats.requests == 3


@pytest.mark.parametrize(("status", "requests"), [(503, 3), (429, 3), (401, 1), (400, 1), (504, 1)])
async def test_a_lasting_refusal_is_given_up(
    provider: Provider, server: ProviderServer, ask, status: int, requests: int
) -> None:
    server.scripts["default"] = Script(status=status)
    assert (await ask(provider)).error is not None
    assert server.stats.requests == requests


async def test_used_up_credit_is_not_asked_for_again(
    provider: Provider, server: ProviderServer, ask
) -> None:
    server.scripts["default"] = Script(status=429, error={"code": "insufficient_quota"})
    answer = await ask(provider)
    assert answer.error.detail == "The provider refused the request: no credit is left."
    assert server.stats.requests == 1


async def test_the_wait_that_the_provider_asks_for_is_kept(
    provider: Provider, server: ProviderServer, ask
) -> None:
    server.scripts["default"] = Script(status=429, refusals=1, retry_after="0.3")
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = await ask(provider)
    assert answer.finished == "stop"
    assert loop.time() - began >= 0.3


async def test_a_wait_above_thirty_seconds_is_not_begun(
    provider: Provider, server: ProviderServer, ask
) -> None:
    server.scripts["default"] = Script(status=503, retry_after="31")
    answer = await ask(provider)
    assert answer.error.retry_after == 31
    assert server.stats.requests == 1


# --- deadlines


async def test_silence_before_the_first_token_ends_the_answer(
    provider: Provider, server: ProviderServer, ask, settings: Any
) -> None:
    settings.PROVIDER_FIRST_TOKEN_SECONDS = 0.2
    server.scripts["headers"] = Script(delay=30)
    server.scripts["tokens"] = Script(stall_after=0)
    for model in server.scripts:
        answer = await ask(provider, model)
        assert answer.error.code == "idle"
    await server.until(left=2, requests=2)


async def test_silence_within_the_answer_ends_it(
    provider: Provider, server: ProviderServer, ask, settings: Any
) -> None:
    settings.PROVIDER_IDLE_SECONDS = 0.2
    server.scripts["default"] = Script(stall_after=5)
    async with asyncio.timeout(3):
        answer = await ask(provider)
    assert answer.text == Script(tokens=5).answer
    assert answer.error.code == "idle"
    await server.until(left=1)


async def test_a_slow_reader_is_not_taken_for_a_silent_provider(
    provider: Provider, server: ProviderServer, settings: Any
) -> None:
    settings.PROVIDER_IDLE_SECONDS = 0.1
    server.scripts["default"] = Script(tokens=8, rate=40)
    text = ""
    async with aclosing(provider.stream(ChatRequest("default", [Turn("user", "x")]))) as events:
        async for event in events:
            if isinstance(event, Text):
                text += event.text
                if len(text) <= 44:
                    await asyncio.sleep(0.3)
    assert text == Script(tokens=8).answer


async def test_an_endless_answer_ends_at_the_deadline(
    provider: Provider, server: ProviderServer, ask, settings: Any
) -> None:
    settings.PROVIDER_TOTAL_SECONDS = 0.4
    server.scripts["default"] = Script(endless=True, rate=100)
    answer = await ask(provider)
    assert answer.error.code == "deadline"
    assert answer.text.startswith(Script(tokens=10).answer)
    await server.until(left=1)


# --- closing


async def test_leaving_the_iterator_closes_the_connection_at_once(
    provider: Provider, server: ProviderServer
) -> None:
    server.scripts["default"] = Script(endless=True, rate=100)
    events = provider.stream(ChatRequest("default", [Turn("user", "x")]))
    await anext(events)
    began = asyncio.get_running_loop().time()
    await events.aclose()
    await server.until(left=1, open=0)
    assert asyncio.get_running_loop().time() - began < 1


@pytest.mark.parametrize("script", [Script(stall_after=2), Script(delay=30)])
async def test_a_cancelled_reader_closes_the_connection_at_once(
    provider: Provider, server: ProviderServer, ask, script: Script
) -> None:
    server.scripts["default"] = script
    task = asyncio.create_task(ask(provider))
    await server.until(open=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(left=1, open=0)


# --- what is sent


async def test_the_request_is_the_path_of_messages_without_empty_ones(
    providers: dict[str, Provider], server: ProviderServer
) -> None:
    turns = [Turn("user", "a"), Turn("assistant", ""), Turn("user", "b")]
    parameters = {"temperature": 0.5, "max_tokens": 9, "secret": "x"}
    request = ChatRequest("default", turns, system="Be brief.", parameters=parameters)
    for provider in providers.values():
        async for _event in provider.stream(request):
            pass
    (openai_headers, openai), (anthropic_headers, anthropic) = server.seen
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert openai["messages"] == [{"role": "system", "content": "Be brief."}, *messages]
    assert anthropic["messages"] == messages
    assert anthropic["system"] == "Be brief."
    for body in (openai, anthropic):
        assert (body["temperature"], body["max_tokens"], body["stream"]) == (0.5, 9, True)
        assert "secret" not in body
    assert openai_headers["Authorization"] == f"Bearer {KEY}"
    assert anthropic_headers["x-api-key"] == KEY
    assert anthropic_headers["anthropic-version"] == "2023-06-01"


async def test_a_server_without_key_gets_no_authorization(server: ProviderServer, ask) -> None:
    assert (await ask(OpenAI(server.openai_url))).finished == "stop"
    assert "Authorization" not in server.seen[0][0]


async def test_the_wish_for_usage_is_dropped_where_it_is_refused(
    server: ProviderServer, ask
) -> None:
    server.scripts["default"] = Script(refuse_field="stream_options")
    provider = OpenAI(server.openai_url, KEY)
    answer = await ask(provider)
    assert (answer.text, answer.usage, answer.finished) == (Script().answer, None, "stop")
    assert server.stats.requests == 2
    await ask(provider)
    assert server.stats.requests == 3, "it is remembered"


async def test_a_prefix_goes_to_servers_that_carry_on_only(server: ProviderServer, ask) -> None:
    for carries_on in (True, False):
        provider = OpenAI(server.openai_url, KEY, carries_on=carries_on)
        await ask(provider, prefix="Once upon a")
    carried, not_carried = (body["messages"] for _headers, body in server.seen)
    assert carried[-1] == {"role": "assistant", "content": "Once upon a"}
    assert not_carried[-1]["role"] == "user"


async def test_one_connection_serves_one_answer_after_the_other(
    provider: Provider, server: ProviderServer, ask
) -> None:
    for _ in range(5):
        await ask(provider)
    assert len(set(server.clients)) == 1
    assert server.stats.left == 0


# --- what is understood


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "length"), ("content_filter", "filter"), ("odd", "stop")]
)
async def test_openai_says_why_it_ended(
    providers: dict[str, Provider], server: ProviderServer, ask, finish: str, reason: str
) -> None:
    server.scripts["default"] = Script(finish=finish)
    assert (await ask(providers["openai"])).finished == reason


@pytest.mark.parametrize(
    ("finish", "reason"), [("max_tokens", "length"), ("refusal", "filter"), ("odd", "stop")]
)
async def test_anthropic_says_why_it_ended(
    providers: dict[str, Provider], server: ProviderServer, ask, finish: str, reason: str
) -> None:
    server.scripts["default"] = Script(finish=finish)
    assert (await ask(providers["anthropic"])).finished == reason


@pytest.mark.parametrize("after", ["finish", "done"])
async def test_a_server_that_never_closes_after_its_last_word_has_ended(
    providers: dict[str, Provider], server: ProviderServer, ask, after: str
) -> None:
    server.scripts["default"] = Script(hold_open=after)
    async with asyncio.timeout(4):
        answer = await ask(providers["openai"])
    assert (answer.text, answer.finished) == (Script().answer, "stop")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_is_not_part_of_the_answer(
    providers: dict[str, Provider], server: ProviderServer, ask, name: str
) -> None:
    server.scripts["default"] = Script(reasoning="Hm.", reasoning_field=name)
    for provider in providers.values():
        answer = await ask(provider)
        assert (answer.reasoning, answer.text) == ("Hm.", Script().answer)


@pytest.mark.parametrize("size", [1, 2, 5, 7, 100])
@pytest.mark.parametrize(
    ("said", "reasoning", "text"),
    [
        ("<think>a < b</thin</think>\n\nYes", "a < b</thin", "Yes"),
        ("\n <think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("Use <think> tags", "", "Use <think> tags"),
        ("<thin air>", "", "<thin air>"),
        ("  indented", "", "  indented"),
        ("<think>never ended</thi", "never ended</thi", ""),
        ("<thin", "", "<thin"),
    ],
)
async def test_think_tags_at_the_very_beginning_are_reasoning(
    providers: dict[str, Provider],
    server: ProviderServer,
    ask,
    size: int,
    said: str,
    reasoning: str,
    text: str,
) -> None:
    server.scripts["default"] = Script(text=said, size=size, rate=2_000)
    answer = await ask(providers["openai"])
    assert (answer.reasoning, answer.text) == (reasoning, text)


async def test_half_surrogates_pass_in_order(
    providers: dict[str, Provider], server: ProviderServer, ask
) -> None:
    first, second = (
        json.dumps({"choices": [{"index": 0, "delta": {"content": half}}]})
        for half in ("a\ud83d", "\ude00b")
    )
    server.scripts["default"] = Script(raw=(first, second, "[DONE]"))
    answer = await ask(providers["openai"])
    assert answer.text == "a\ud83d\ude00b"


async def test_an_end_without_a_reason_is_an_end(
    providers: dict[str, Provider], server: ProviderServer, ask
) -> None:
    server.scripts["default"] = Script(raw=('{"choices": [{"delta": {"content": "a"}}]}', "[DONE]"))
    answer = await ask(providers["openai"])
    assert (answer.text, answer.finished) == ("a", "stop")


async def test_what_arrives_together_is_one_piece(
    providers: dict[str, Provider], server: ProviderServer, ask
) -> None:
    deltas = tuple(
        json.dumps({"choices": [{"delta": {"content": f"{number} "}}]}) for number in range(500)
    )
    # One event of many lines would be another thing: these are written as fast as they are read.
    server.scripts["default"] = Script(raw=(*deltas, "[DONE]"))
    answer = await ask(providers["openai"])
    assert answer.text == "".join(f"{number} " for number in range(500))
    assert len(answer.pieces) < 250


async def test_errors_carry_their_code_and_sentence() -> None:
    error = ProviderError("cut", "The connection to the provider was lost.")
    assert str(error) == "cut: The connection to the provider was lost."


def test_the_adapters_say_whether_they_carry_on() -> None:
    assert Anthropic("http://127.0.0.1:9", KEY).carries_on is False
    assert OpenAI("http://127.0.0.1:9").carries_on is False
