from __future__ import annotations

from typing import Any

from conversations.bench.matrix import (
    FOLLOWER_COLUMNS,
    IDLE_COLUMNS,
    STREAM_COLUMNS,
    Row,
    follower_cells,
    idle_cells,
    ratios,
    stream_cells,
    table,
)
from conversations.bench.measure import Load
from conversations.bench.site import Setup

LOAD = Load(streams=100, tokens=300, rate=50)


def figures(web: float, **others: float) -> dict[str, Any]:
    return {
        "cpu_ms_per_1000_tokens": web + others.get("worker", 0.0),
        "cpu_ms_by_part": {"web": web, **others},
        "latency_ms": {"p50": 50.0, "p99": 99.6},
        "first_token_ms": {"p50": 700.0},
        "tokens_per_second": 3700.0,
        "frames_per_second": 2000.0,
        "web_cpu_us_per_frame": 99.6,
        "rss_kib_per_open_tab": 40.0,
        "idle_cpu_ms_per_tab_minute": {"web": 5.04, "postgres": 1.0},
        "alone_cpu_ms_per_second": {"web": 12.0, "postgres": 2.0},
        "reads_per_append": {"web0": 0.5, "worker0": 1.0},
        "lost": 1,
        "doubled": 0,
        "reordered": 0,
        "errors": ["2 x a sentence"],
    }


def row(figures: dict[str, Any], **setup: Any) -> Row:
    return Row(Setup(**setup), LOAD, figures)


EMBEDDED = row(figures(200.0, postgres=50.0, redis=5.0), database="postgres", redis=True)
WORKERS = row(
    figures(150.0, worker=160.0, postgres=60.0, redis=7.0), database="postgres", webs=2, workers=1
)


def test_each_part_of_a_set_up_has_its_cell() -> None:
    assert stream_cells(WORKERS) == [
        *("daphne, 100", "PostgreSQL + Redis + 2 web + 1 worker"),
        *("**310 ms**", "150 / 160", "60", "7"),
        *("50 / 100 ms", "700 ms", "3700", "1, 0, 0; 2 x a sentence"),
    ]
    assert stream_cells(row(figures(190.0)))[1:6] == ["SQLite + 1 web", "**190 ms**", "", "", ""]


def test_a_stream_with_many_tabs_shows_reads_by_process() -> None:
    assert "web0 0.50, worker0 1.00" in follower_cells(WORKERS)


def test_a_load_that_ended_before_all_tabs_had_text_has_no_cost_of_a_frame() -> None:
    none = row(figures(190.0) | {"web_cpu_us_per_frame": None, "reads_per_append": {}})
    assert "none came" in follower_cells(none)
    assert "not counted" in follower_cells(none)


def test_idle_tabs_show_what_they_cost_beyond_the_processes_themselves() -> None:
    assert idle_cells(WORKERS)[2:] == ["100", "**5.0 ms**", "1.0 ms", "12.0 ms", "40 KiB"]


def test_the_distributed_mode_is_compared_with_the_embedded_one_on_postgresql() -> None:
    dearer = row(figures(200.0, worker=160.0), database="postgres", webs=3, workers=2)
    assert ratios([row(figures(100.0)), EMBEDDED, WORKERS, dearer]) == [
        ["daphne, 100", "PostgreSQL + Redis + 2 web + 1 worker", "**1.55**", "yes"],
        ["daphne, 100", "PostgreSQL + Redis + 3 web + 2 worker", "**1.80**", "no"],
    ]


def test_a_run_that_failed_is_a_whole_row_that_says_so() -> None:
    failed = Row(Setup(), LOAD, failure="TimeoutError: server starts")
    for cells, columns in [
        (stream_cells(failed), STREAM_COLUMNS),
        (follower_cells(failed), FOLLOWER_COLUMNS),
        (idle_cells(failed), IDLE_COLUMNS),
    ]:
        assert "failed: TimeoutError: server starts" in cells
        assert len(cells) == len(columns)
    assert ratios([failed]) == []


def test_a_table_is_markdown() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
