"""Makes SQLite behave like the database servers that OpenStack is written for; importing this is enough."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

PRAGMAS = (
    # Without it ON DELETE CASCADE does nothing: a deleted application credential leaves its role rows behind, and
    # when SQLite uses the id again the next one cannot be made.
    "foreign_keys = ON",
    # Wait for another connection's write instead of failing at once.
    "busy_timeout = 30000",
    # Readers and one writer at a time; no waiting for the disk, as nothing here has to survive a power cut.
    "journal_mode = WAL",
    "synchronous = OFF",
)


@event.listens_for(Engine, "connect")
def _prepare(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
