from __future__ import annotations

from conversations.bench.statements import reads

LOG = """\
web0|LOG:  statement: SELECT "id" FROM "streaming_stream"
web0|LOG:  statement: BEGIN
web0|LOG:  statement: INSERT INTO "streaming_chunk" VALUES ('SELECT')
web1|LOG:  execute <unnamed>: select 1
\tweb1|LOG:  statement: SELECT in a text that goes on in this line
worker0|LOG:  execute _pg3_0: SELECT * FROM procrastinate_fetch_job_v2(1)
worker0|LOG:  parameter "log_statement" changed to "none"
"""


def test_selects_are_counted_by_process_without_the_job_queue() -> None:
    assert reads(LOG.splitlines()) == {"web0": 1, "web1": 1}
