"""Answers that are malformed, huge, endless, or cut where no character ends."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..apart import apart
from ..process import Process
from ..run import ANSWERS, RATE, Run
from ..watched import Watched
from . import fault
from .providers import LONG_ENOUGH, expect_end, said

MIB = 1024 * 1024
LINE_BYTES = 10 * MIB
LINES = 4
# Words of a delta of 5 MiB: each is a mark of nine characters or more.
LARGE_TOKENS = 560_000
DELAY, SLOW_RATE = 8.0, 10.0
FRAME_BYTES = 64 * 1024
SMALL_CAP = 12_000
# Letters of one to four bytes, combining marks, a joined emoji, what some take for line ends or a
# byte order mark, and the first and last of each length.
CORPORA = (
    "aé한😀 \x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff ",
    "n\u0303 👩\u200d👩\u200d👧 \u202eabc\u202c ﷽ ",
    "\ufeffx\u2028y\u2029z\x85w\xa0v\x0b\x0c ",
    "\ud7ff\ue000\ufffd\ufffe 𝔘𝔫𝔦 \U000e0001 ",
)
# JSON of one delta each; \udcXX stands for the byte XX.
BROKEN = (
    # A character's bytes cut short, alone, too long, of a surrogate, beyond the last character.
    ('"a\udcffb "', '"\udce2\udc82"', '"x\udcc3"', '"\udc80\udcbf z "'),
    (
        '"\udcc0\udcaf"',
        '"\udced\udca0\udcbd"',
        '"\udcf4\udc90\udc80\udc80"',
        '"\udcf0\udc9f\udc98 "',
    ),
    # The two halves of a pair: in two deltas, apart, turned round, at the very end.
    (
        '"\\ud83d"',
        '"\\ude00 ok "',
        '"\\ud83d"',
        '"x\\ude00"',
        '"\\ude00\\ud83d"',
        '"\\ud83d\\ude00"',
    ),
    ('"a \\ud83d"', '"\\ud83d\\ude00 \\ude00"', '"b\\ud83d"'),
    ('"a\\u0000b"', '"\\u0000"', '"\\u0000\\u0000c "', '"d\\r"', '"\\ne\\r"', '"f\\r\\ng\\r"'),
)
# More than the bytes of any of their events.
BOUNDARIES = 400


@fault("F18", "malformed server-sent events, and a line of 10 MiB")
async def malformed(run: Run) -> None:
    """Legal forms are parsed exactly; the rest ends `error`, within 16 MiB of memory."""
    forms: list[dict[str, Any]] = [
        {"line_end": "\r"},
        {"line_end": "\r\n", "comments": True},
        {"line_end": "mixed"},
        {"bom": True, "comments": True},
        {"multiline": True},
        {"multiline": True, "line_end": "mixed", "comments": True, "bom": True, "split": 7},
        {"split": 1},
        {"split": 1, "line_end": "mixed", "multiline": True},
        {"malformed_after": SAID_BEFORE},
        {"malformed_after": 0, "delay": LONG_ENOUGH},
    ]
    asked = await run.ask(tokens=2 * SAID_BEFORE, each=forms)
    await run.until_over()
    for watched in asked:
        expect_parsed(run, watched)
    for _ in range(LINES):
        await _long_line(run)
    (after,) = await run.ask(1, tokens=SAID_BEFORE)
    await run.until_over()
    expect_parsed(run, after)


SAID_BEFORE = 50


def expect_parsed(run: Run, watched: Watched) -> None:
    after = watched.script.malformed_after
    if after is None:
        expect_end(run, watched, "done", "stop")
    else:
        said(watched, after)
        expect_end(run, watched, "error", "provider")


async def _long_line(run: Run) -> None:
    """One line that is longer than anything may be."""
    before = {process.pid: resident(process) for process in run.site.generators}
    for process in run.site.generators:
        forget_peak(process)
    (watched,) = await run.ask(
        1, tokens=SAID_BEFORE, malformed_after=SAID_BEFORE // 2, line_bytes=LINE_BYTES
    )
    await run.until_over()
    for process in run.site.generators:
        grown = resident(process, "VmHWM") - before[process.pid]
        run.expect(grown <= 16 * MIB, f"a generator grew by {grown / MIB:.1f} MiB")
    expect_parsed(run, watched)


def resident(process: Process, field: str = "VmRSS") -> int:
    """Bytes of memory that the process holds, or has held at most (VmHWM)."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def forget_peak(process: Process) -> None:
    """Let VmHWM begin anew (proc_pid_clear_refs(5))."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


@fault("F19", "one delta of 5 MiB beside twenty answers")
async def large_delta(run: Run) -> None:
    """Ends at the cap, or comes whole in frames of 64 KiB; others lag by 1 s at most (p99)."""
    # Slow ones, of which the observers make little work: their lags are judged.
    others = await run.ask(tokens=250, rate=SLOW_RATE)
    await run.moment(0.05, 0.15)
    # The delay is for the lab's own work on such texts, which must not be taken for the site's.
    sizes: dict[str, Any] = {"tokens": LARGE_TOKENS, "per_event": LARGE_TOKENS, "delay": DELAY}
    large = await run.ask(2, **sizes, observers=("sse",))
    # One paragraph.
    flat = await run.ask(2, **sizes, flat=True, observers=("sse", "long-poll"))
    tabs = apart(flat, run.fronts, run.site.env["DATABASE_URL"], checks_frames=False)
    with ExitStack() as stack:
        browser = await run.do(stack.enter_context, tabs)
        await run.until_over(120)
        await run.do(browser.wait_until_flowing)
        await run.do(browser.take_sights)
    run.samples = ANSWERS
    for watched in [*large, *flat]:
        length = run.site.store.length(watched.stream) or 0
        is_whole = length == len(watched.oracle)
        watched.oracle = watched.oracle[:length]
        expect_end(run, watched, "done", "stop" if is_whole else "cap")
        largest = max(sight.largest for sight in watched.sights)
        run.expect(
            not is_whole or largest <= FRAME_BYTES, f"{watched.name}: a frame of {largest} bytes"
        )
    came = large[0].asked_at + DELAY
    lags = sorted(lag for watched in others for lag in lags_of(watched, came))
    p99 = lags[len(lags) * 99 // 100]
    run.recovery += lags
    run.expect(p99 <= run.limit(1), f"the others lag by {p99:.2f} s (p99)")


def lags_of(watched: Watched, since: float) -> list[float]:
    """Seconds by which each observer was later than a provider that never falls behind.

    Of what came `since` that moment; the provider's clock begins with whatever came soonest.
    """
    ends = [0]
    for piece in watched.script.pieces():
        ends.append(ends[-1] + len(piece))
    number = {end: index for index, end in enumerate(ends)}
    lags: list[float] = []
    for sight in watched.sights:
        late = [
            (at, at - number[length] / watched.script.rate)
            for at, length in sight.growth
            if length in number
        ]
        soonest = min(seconds for _, seconds in late)
        lags += [seconds - soonest for at, seconds in late if at >= since]
    return lags


@fault("F20", "endless answer", variables={"STREAMING_MAX_CHARS": str(SMALL_CAP)})
async def endless(run: Run) -> None:
    """Ends `done` (cap) with the flush that reaches it; the provider is left within 1 s."""
    asked = await run.ask(
        endless=True,
        tokens=2_000,
        each=[{"rate": 100}, {"rate": 200}, {"rate": 100, "usage_each": True}],
    )
    await run.until_over()
    await run.until(
        lambda: run.site.provider_stats()["open"] == 0, "the provider's close", run.limit(1)
    )
    for watched in asked:
        expect_end(run, watched, "done", "cap")
        chunks = run.site.store.chunks(watched.stream)
        start, text, _ = chunks[-1]
        run.expect(
            start < SMALL_CAP <= start + len(text),
            f"{watched.name}: the last flush stands from {start} to {start + len(text)}",
        )
        watched.oracle = watched.oracle[: start + len(text)]
        (call,) = await run.calls(watched)
        ended = min(sight.ended_at for sight in watched.sights)
        run.recovery.append(max(0.0, call.ended_at - ended))
        run.expect(
            call.was_left and call.ended_at - ended <= run.limit(1),
            f"{watched.name}: the provider was left {call.ended_at - ended:.1f} s after the end",
        )


@fault("F21", "UTF-8 cut at every byte, invalid bytes, halves of pairs, U+0000")
async def broken_text(run: Run) -> None:
    """The text is that of the reference decoder and our normaliser, in either database."""
    cases: list[dict[str, Any]] = [
        {"text": text, "size": len(text), "repeat": BOUNDARIES, "parted": True} for text in CORPORA
    ]
    cases += [{"deltas": deltas * 10, "parted": True} for deltas in BROKEN]
    # Every byte alone.
    cases.append({"text": "".join(CORPORA), "repeat": 4, "split": 1})
    await run.ask(each=cases, rate=RATE * 2)
    await run.until_over()
    for watched in run.answers:
        expect_end(run, watched, "done", "stop")
    for process in run.site.processes:
        run.expect("Traceback" not in process.output(), f"{process.log.name} has an exception")
