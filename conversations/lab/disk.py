"""A small disk, which can be filled; for PostgreSQL, since SQLite's process can be limited."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .process import NotRoot
from .services import Postgres

SIZE = "24m"


@dataclass(frozen=True)
class Disk:
    """A small file system with a tablespace on it."""

    folder: Path

    @property
    def tablespace(self) -> str:
        """Its name, which is the whole cluster's."""
        return self.folder.name.replace("-", "_").lower()

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self) -> None:
        with suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(postgres: Postgres) -> Iterator[Disk]:
    """A disk with an empty tablespace; whoever uses that is done with it at the end.

    Raises NotRoot.
    """
    import psycopg

    with _mounted() as folder:
        disk = Disk(folder)
        data = folder / "data"
        data.mkdir()
        os.chown(data, pwd.getpwnam("postgres").pw_uid, -1)
        with psycopg.connect(postgres.url, autocommit=True) as database:
            database.execute(f"CREATE TABLESPACE {disk.tablespace} LOCATION '{data}'")
        try:
            yield disk
        finally:
            disk.free()
            with psycopg.connect(postgres.url, autocommit=True) as database:
                database.execute(f"DROP TABLESPACE {disk.tablespace}")


def check() -> None:
    """Raises NotRoot where no disk can be made."""
    if os.geteuid() != 0:
        raise NotRoot("A small disk")


@contextmanager
def _mounted() -> Iterator[Path]:
    # PostgreSQL's user must be able to enter the folders above.
    folder = Path(tempfile.mkdtemp(prefix="chatsite-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", str(folder)]
    try:
        check()
        if subprocess.run(mount, capture_output=True).returncode:
            raise NotRoot("A small disk")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()
