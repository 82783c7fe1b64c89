"""The index of all messages' text that makes a search quick; the database keeps it itself.

PostgreSQL: a GIN index of pg_trgm, made by migration 0004. SQLite: a table of FTS5 with the trigram
tokenizer and three triggers, which see what any code writes, bulk and raw statements too. Django
alters an SQLite table by making another in its place, and triggers go with the old one: so they are
looked for after each `migrate`, and the index is built anew when they were not there.

Neither default tokenizer would find a Korean word that carries a particle; trigrams find any three
characters, wherever they stand.
"""

from __future__ import annotations

from typing import Any

from django.db import connections, transaction

TABLE = "conversations_search"
MIN_CHARS = 3
CREATE_TABLE = f"""
CREATE VIRTUAL TABLE IF NOT EXISTS {TABLE} USING fts5(
    content, content='conversations_message', content_rowid='id', tokenize='trigram'
)"""
ADD = f"INSERT INTO {TABLE}(rowid, content) VALUES (new.id, new.content);"
# The index keeps no text: to forget one it must be told which.
FORGET = f"INSERT INTO {TABLE}({TABLE}, rowid, content) VALUES ('delete', old.id, old.content);"
TRIGGERS = {
    f"{TABLE}_insert": f"AFTER INSERT ON conversations_message BEGIN {ADD} END",
    f"{TABLE}_delete": f"AFTER DELETE ON conversations_message BEGIN {FORGET} END",
    f"{TABLE}_update": f"""
        AFTER UPDATE OF id, content ON conversations_message
        WHEN old.content <> new.content OR old.id <> new.id BEGIN {FORGET} {ADD} END""",
}


def ensure(*, using: str, **kwargs: Any) -> None:
    """Make the index of an SQLite database `using` whole; called after each `migrate` of it."""
    connection = connections[using]
    if connection.vendor != "sqlite":
        return
    with transaction.atomic(using), connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE tbl_name = 'conversations_message'")
        names = {name for (name,) in cursor.fetchall()}
        if not names or names.issuperset(TRIGGERS):
            return
        cursor.execute(CREATE_TABLE)
        for name, body in TRIGGERS.items():
            cursor.execute(f"CREATE TRIGGER IF NOT EXISTS {name} {body}")
        cursor.execute(f"INSERT INTO {TABLE}({TABLE}) VALUES ('rebuild')")
