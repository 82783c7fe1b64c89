"""`manage.py serve`: an ASGI server whose stop drains the answers first."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from chatsite.addresses import LOOPBACK, allow_own_names, refuse_taken_port, url_host
from chatsite.servers import SERVERS, Addresses
from chatsite.warmup import limit_memory_arenas


class Command(BaseCommand):
    help = (
        "Serves the site by Daphne or uvicorn. SIGTERM lets running answers finish for up to "
        "STREAMING_DRAIN_SECONDS, Ctrl-C for 2 seconds; a second signal stops at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
        parser.add_argument("--port", type=int, default=8000, help="Port; 0 takes a free one.")
        parser.add_argument("--migrate", action="store_true", help="Apply new migrations first.")
        parser.add_argument(
            "--server",
            choices=sorted(SERVERS),
            default="daphne",
            help="uvicorn takes less CPU for each open page.",
        )

    def handle(self, *, host: str, port: int, migrate: bool, server: str, **options: Any) -> None:
        refuse_taken_port(host, port)
        if migrate:
            call_command("migrate", verbosity=0, skip_checks=True)
        else:
            self.check_migrations()
        # The server's threads open their own.
        connections.close_all()
        if host not in LOOPBACK:
            allow_own_names(host)
        limit_memory_arenas()
        SERVERS[server](host, port, self.started)

    def started(self, addresses: Addresses) -> None:
        """Runs when the site already listens."""
        for host, port in addresses:
            self.stdout.write(f"Serving on http://{url_host(host)}:{port}/ (Ctrl-C stops)")
        self.stdout.flush()
