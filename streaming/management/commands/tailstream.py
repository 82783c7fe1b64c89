"""`manage.py tailstream ID`: a stream's text in the terminal, also while another process writes."""

from __future__ import annotations

import time
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from streaming.exceptions import BadOffset
from streaming.models import Status, Stream
from streaming.reader import Batch, read

POLL_SECONDS = 0.25


class Command(BaseCommand):
    help = (
        "Prints the text of a stream from an offset on, then follows it until its end, by reading "
        "the database every 250 ms: it works from any process. The end state goes to standard "
        "error; the exit code is 1 when the stream ended in an error or was lost."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("stream_id", type=uuid.UUID, metavar="ID", help="The stream's id.")
        parser.add_argument(
            "--from",
            dest="offset",
            type=int,
            default=0,
            metavar="OFFSET",
            help="Start at this offset, in Unicode code points (default: 0).",
        )

    def handle(self, *, stream_id: uuid.UUID, offset: int, **options: Any) -> None:
        try:
            last = self.follow(stream_id, offset)
        except Stream.DoesNotExist:
            raise CommandError(f"There is no stream {stream_id}.") from None
        except BadOffset as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            raise CommandError("Interrupted; the stream itself goes on.", returncode=130) from None
        stream = Stream.objects.get(pk=stream_id)
        line = f"{stream.status}: {stream.sentence} {last.end} characters."
        if stream.status in (Status.ERROR, Status.TIMEOUT):
            raise CommandError(line)
        self.stderr.write(line, self.style.SUCCESS)

    def follow(self, stream_id: uuid.UUID, offset: int) -> Batch:
        """Print the stream's text as it comes; the last batch, which has all text behind it.

        Raises Stream.DoesNotExist and BadOffset.
        """
        while True:
            batch = read(stream_id, offset)
            if batch.text:
                self.stdout.write(batch.text, ending="")
                self.stdout.flush()
            if batch.closed:
                self.stdout.write("")
                return batch
            if not batch.text:
                time.sleep(POLL_SECONDS)
            offset = batch.end
