"""What people do at the worst moment: send twice, stop at the end, delete in mid-answer."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from uuid import UUID

from ..dom import parse
from ..people import Answer, Person
from ..run import ANSWERS, Run
from ..watched import Watched
from . import fault

TIMES_SENT = 10
STOPS, STOPS_AT_ONCE = 200, 25
# An answer of F29 takes four seconds: many a stop is on its way when the end comes.
STOP_TOKENS, STOP_RATE = 60, 15.0
ORPHANS = (
    "SELECT count(*) FROM streaming_chunk WHERE stream_id NOT IN (SELECT id FROM streaming_stream)",
    "SELECT count(*) FROM streaming_stream WHERE generator = 'conversations.reply' AND id NOT IN "
    "(SELECT stream_id FROM conversations_message WHERE stream_id IS NOT NULL)",
    "SELECT count(*) FROM conversations_submission WHERE message_id IS NULL",
)
DELETE_PERSON = (
    "from chatsite.accounts.actions import delete_person; "
    "from chatsite.accounts.models import User; "
    "[delete_person(user) for user in User.objects.filter(pk__in={})]"
)


@fault("F23", "the same form ten times at once, again after a restart")
async def same_form(run: Run) -> None:
    """One message, one stream, one call of the provider; another text under the key is refused."""
    people = [Person(run.site.webs, first=number) for number in range(ANSWERS)]
    # Signed in before: a sign-in changes the token of the forms that are open.
    await asyncio.gather(*(person.sign_in() for person in people))
    forms = [
        await person.compose(f'script {{"tokens": 50, "rate": 100, "name": "f{number}"}}', "")
        for number, person in enumerate(people)
    ]
    sent = [
        person.ask_for(action, fields)
        for person, (action, fields) in zip(people, forms, strict=True)
        for _ in range(TIMES_SENT)
    ]
    answers = await asyncio.gather(*sent)
    firsts = answers[::TIMES_SENT]
    await run.do(run.site.webs[0].stop)
    await run.do(run.site.webs[0].start)
    for number, (person, (action, fields)) in enumerate(zip(people, forms, strict=True)):
        mine = answers[number * TIMES_SENT :][:TIMES_SENT]
        again = await person.ask_for(action, fields)
        run.expect(
            {(one.status, one.url) for one in [*mine, again]} == {(200, firsts[number].url)},
            f"form {number} was answered {sorted({(a.status, a.url) for a in [*mine, again]})}",
        )
        other = await person.ask_for(action, fields | {"content": "another text"})
        run.expect(
            other.status == 422 and "another text" in other.text,
            f"form {number} with another text was answered {other.status}",
        )
        await person.close()
    run.samples = len(people)
    (prompts,) = run.site.store.ask("SELECT count(*) FROM conversations_message")[0]
    (streams,) = run.site.store.ask("SELECT count(*) FROM streaming_stream")[0]
    run.expect(
        (prompts, streams) == (2 * ANSWERS, ANSWERS), f"{prompts} messages, {streams} streams"
    )
    await run.until(lambda: run.site.provider_stats()["open"] == 0, "the answers end", 30)
    stats = run.site.provider_stats()
    # A writer that stalls on a busy machine is replaced: an epoch, and a call, more.
    (claims,) = run.site.store.ask("SELECT sum(epoch) FROM streaming_stream")[0]
    run.expect(
        ANSWERS <= stats["requests"] <= claims,
        f"the provider was called {stats['requests']} times for {claims} claims",
    )


@fault("F29", "stop as the end arrives, 200 tries")
async def stop_at_the_end(run: Run) -> None:
    """One final state, nothing after it, and the provider's connection closed within 1 s."""
    run.complete = False
    for _ in range(STOPS // STOPS_AT_ONCE):
        await run.ask(
            STOPS_AT_ONCE,
            tokens=STOP_TOKENS,
            rate=STOP_RATE,
            observers=("tab", "sse"),
            then=partial(_stop, run),
        )
        await run.until(lambda: run.site.provider_stats()["open"] == 0, "the provider's close", 1)
        await run.until_over()
    ends = [row for watched in run.answers if (row := run.site.store.row(watched.stream))]
    run.expect({row.status for row in ends} <= {"done", "stopped"}, "an answer ended otherwise")
    for status in ("done", "stopped"):
        share = sum(row.status == status for row in ends)
        # Both must have happened, or the moments were no race.
        run.expect(share >= STOPS // 20, f"only {share} of {STOPS} ended {status}")


async def _stop(run: Run, watched: Watched) -> None:
    assert watched.first_page is not None
    forms = [one for one in watched.first_page.elements() if one.get("class") == "stop-form"]
    if not forms:
        return
    (token,) = (
        one.get("value") for one in forms[0].elements() if one.get("name") == "csrfmiddlewaretoken"
    )
    # Near enough to the end for a request to be overtaken by it: often with the last text, however
    # fast the machine is.
    due = len(watched.oracle) * min(1, run.chance.uniform(0.5, 1.25))
    await run.until(
        lambda: any(sight.length >= due or sight.status for sight in watched.sights), "the end", 60
    )
    answer = await watched.person.ask_for(forms[0].get("action"), {"csrfmiddlewaretoken": token})
    run.expect(answer.status == 200, f"{watched.name}: the stop was answered {answer.status}")


@fault(
    "F30",
    "conversation or account deleted in mid-answer",
    # Rows wait as long as their owner may have them back.
    variables={"UNDO_SECONDS": "1"},
)
async def delete(run: Run) -> None:
    """Generators stop and readers are told within 2 s; no row is left behind."""
    # Long enough for the command that deletes people to start.
    asked = await run.ask(tokens=1_000)
    await run.moment(0.05, 0.2)
    deleted = time.monotonic()
    half = len(asked) // 2
    await asyncio.gather(*(_delete_chat(run, watched) for watched in asked[:half]))
    owners = [_owner(run, watched) for watched in asked[half:]]
    chats_gone = time.monotonic()
    await run.do(run.site.manage, "shell", "--verbosity=0", "-c", DELETE_PERSON.format(owners))
    people_gone = time.monotonic()
    await run.until(lambda: run.site.provider_stats()["open"] == 0, "the generators stop", 2)
    await run.until(lambda: all(one.is_over for one in asked), "the readers are told", 2)
    for watched in asked:
        since = deleted if watched in asked[:half] else chats_gone
        within = 2 + (chats_gone if watched in asked[:half] else people_gone) - since
        for sight in watched.sights:
            run.recovery.append(sight.ended_at - since)
            run.expect(sight.ended_at - since <= within, f"{watched.name} was told late")
            run.expect(sight.status in ("gone", "stopped"), f"{watched.name} ended {sight.status}")
            run.problems += [f"{watched.name}: {one}" for one in sight.problems]
    run.gone = {watched.name for watched in asked}
    await run.until(lambda: not _left(run, asked), "the rows go", run.limit(15))
    run.expect(not _left(run, asked), f"rows are left: {_left(run, asked)}")


async def _delete_chat(run: Run, watched: Watched) -> Answer:
    page = parse((await watched.person.ask_for(watched.path)).text)
    token = next(
        one.get("value") for one in page.elements() if one.get("name") == "csrfmiddlewaretoken"
    )
    answer = await watched.person.ask_for(f"{watched.path}delete/", {"csrfmiddlewaretoken": token})
    run.expect(answer.status == 200, f"{watched.name}: the delete was answered {answer.status}")
    return answer


def _owner(run: Run, watched: Watched) -> int:
    """The id of the answer's owner."""
    is_sqlite = run.site.is_sqlite
    query = f"SELECT owner_id FROM streaming_stream WHERE id = {'?' if is_sqlite else '%s'}"
    key = UUID(watched.stream).hex if is_sqlite else watched.stream
    owner: int = run.site.store.ask(query, key)[0][0]
    return owner


def _left(run: Run, asked: list[Watched]) -> int:
    """Rows of the deleted answers, and orphans."""
    orphans = sum(run.site.store.ask(query)[0][0] for query in ORPHANS)
    return orphans + sum(run.site.store.row(one.stream) is not None for one in asked)
