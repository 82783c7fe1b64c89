"""`manage.py copydatabase SOURCE TARGET`: move a site from SQLite to PostgreSQL, or back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import ConnectionHandler
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chatsite import copying
from chatsite.copying import LEFT_OUT_APPS, SOURCE, TARGET, Table, Told
from chatsite.env import database_from_url
from streaming.models import Stream


class Command(BaseCommand):
    help = (
        "Copies all rows of the database SOURCE (a URL as in DATABASE_URL: sqlite:////path or "
        "postgres://...) into the empty database TARGET of either kind, which is migrated first; "
        "then it proves by counts and SHA-256 hashes of each table that both hold the same. Stop "
        "the servers and workers first: what they write to the source after its table was copied "
        "would be missing. When it is cut short, the same command goes on where it stood. Waiting "
        "jobs of procrastinate are not copied; the servers find what is due by themselves."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", metavar="SOURCE_URL")
        parser.add_argument("target", metavar="TARGET_URL")
        parser.add_argument(
            "--force",
            action="store_true",
            help="Copy although streams are open in the source. Their text up to now is copied.",
        )
        parser.add_argument(
            "--page-rows",
            type=int,
            default=500,
            help="Rows that are in memory, and in a transaction, at once (default: %(default)s).",
        )

    def handle(
        self, *, source: str, target: str, force: bool, page_rows: int, **options: Any
    ) -> None:
        with both_connected(source, target):
            try:
                self.copy(source, force, page_rows)
            except DatabaseError as error:
                raise CommandError(
                    f"A database refused: {error}\nThe same command goes on where it stood."
                ) from error

    def copy(self, source: str, force: bool, page_rows: int) -> None:
        check_source(force)
        ordered = copying.tables()
        late = copying.late_fields(ordered)
        # Which source it is, without its password.
        name = hashlib.sha256(source.encode()).hexdigest()
        if not copying.has_notes():
            migrate_target()
            if found := copying.strangers(ordered):
                raise CommandError(
                    f"The target holds other data ({', '.join(found)}); it must be empty."
                )
            copying.begin(name)
        elif copying.last_of("source") != name:
            raise CommandError("The target holds part of a copy of another source.")
        else:
            self.stdout.write("Going on with the copy that was cut short.")
        with self.progress() as step:
            for model in ordered:
                with step(model._meta.db_table, copying.count(model)) as tell:
                    copying.copy_rows(model, late.get(model, []), page_rows, tell)
            for model, fields in late.items():
                with step(f"{model._meta.db_table}: links", copying.count(model)) as tell:
                    copying.copy_links(model, fields, page_rows, tell)
        copying.reset_sequences(ordered)
        self.prove(ordered)
        copying.finish()

    def prove(self, ordered: Sequence[Table]) -> None:
        """Compare counts and hashes of all tables. Raises CommandError."""
        total, different = 0, []
        for model in ordered:
            wanted, found = copying.digest(model, SOURCE), copying.digest(model, TARGET)
            self.stdout.write(f"{model._meta.db_table}: {found[0]} rows, {found[1]}")
            total += found[0]
            if wanted != found:
                different.append(model._meta.db_table)
        if different:
            raise CommandError(
                f"The copy differs from the source in {', '.join(different)}. Was the source "
                "written meanwhile? Stop what writes it, and copy into an empty database again."
            )
        self.stdout.write(f"{total} rows of {len(ordered)} tables were copied and proved equal.")

    @contextmanager
    def progress(self) -> Iterator[Any]:
        """`with step("table", rows) as tell`: a bar on a terminal, elsewhere a line for each."""
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(
            *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
        ) as progress:

            @contextmanager
            def step(name: str, rows: int) -> Iterator[Told]:
                task = progress.add_task(name, total=rows)
                done = 0

                def tell(more: int) -> None:
                    nonlocal done
                    done += more
                    progress.advance(task, more)

                yield tell
                progress.update(task, total=done, completed=done)
                if not console.is_terminal and done:
                    self.stdout.write(f"{name}: {done} rows copied.")

            yield step


def check_source(force: bool) -> None:
    """Raises CommandError when the source should not be copied as it is."""
    executor = MigrationExecutor(connections[SOURCE])
    newest = executor.loader.graph.leaf_nodes()
    if executor.migration_plan([one for one in newest if one[0] not in LEFT_OUT_APPS]):
        raise CommandError("The source is of another release: run `migrate` on it first.")
    running = Stream.objects.using(SOURCE).open().count()
    if running and not force:
        raise CommandError(
            f"{running} streams are open in the source: their text would go on there and be "
            "missing in the copy. Stop the servers (running answers end first), then "
            "`sweepstreams` ends what is left; or copy them as they stand with --force."
        )


def migrate_target() -> None:
    """Make the target's tables; on SQLite without those of apps that need PostgreSQL."""
    options = {"database": TARGET, "verbosity": 0, "interactive": False}
    graph = MigrationExecutor(connections[TARGET]).loader.graph
    labels = {label for label, _name in graph.leaf_nodes()}
    if connections[TARGET].vendor == "postgresql" or not labels & LEFT_OUT_APPS:
        call_command("migrate", **options)
        return
    for label in sorted(labels - LEFT_OUT_APPS):
        call_command("migrate", label, **options)


@contextmanager
def both_connected(source: str, target: str) -> Iterator[None]:
    """The two databases under their aliases, and closed at the end. Raises CommandError."""
    settings = {}
    for alias, url in ((SOURCE, source), (TARGET, target)):
        try:
            if not url:
                raise ImproperlyConfigured("A URL is empty.")
            settings[alias] = database_from_url(url, Path())
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        # One connection is enough.
        settings[alias]["OPTIONS"].pop("pool", None)
    places = [[one.get(key) for key in ("HOST", "PORT", "NAME")] for one in settings.values()]
    if places[0] == places[1]:
        raise CommandError("Source and target are the same database.")
    if "sqlite" in settings[SOURCE]["ENGINE"] and not Path(settings[SOURCE]["NAME"]).is_file():
        raise CommandError(f"There is no file {settings[SOURCE]['NAME']}.")
    configured = ConnectionHandler({"default": {}, **settings}).settings
    connections.settings.update({alias: configured[alias] for alias in settings})
    try:
        yield
    finally:
        for alias in settings:
            connections[alias].close()
            del connections[alias], connections.settings[alias]
