"""Events in an SQLite file, which any tool reads: what happened outlives the monitor, a kill and a power cut.

events(id INTEGER PRIMARY KEY, time REAL, host TEXT, kind TEXT, module TEXT, detail TEXT, advice TEXT, rule TEXT)
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from kobox.errors import KoboxError
from kobox.monitor.events import EventKind, ModuleEvent

_VERSION = 1
_WAITING = 10_000  # events that are kept in memory while the file cannot be written
_PRUNE_EVERY = 3600.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, host TEXT NOT NULL, kind TEXT NOT NULL, module TEXT NOT NULL,
    detail TEXT NOT NULL, advice TEXT NOT NULL, rule TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_time ON events (time);
CREATE INDEX IF NOT EXISTS events_by_module ON events (module, time);
"""


class HistoryError(KoboxError):
    """A file cannot serve as a history."""


class History:
    """The events of one host in a file. They are on the disk when `add` returns; while that fails (a full disk), they
    wait in memory, and `problem` says why.

    `days` is how long events are kept; what the clock says does not matter to what is kept already, only to when it is
    thrown away. Raises `HistoryError` for a file that is no history.
    """

    def __init__(self, path: Path, host: str, *, days: float = 90) -> None:
        self.problem = ""
        self._host, self._days = host, days
        self._lock = threading.Lock()
        self._waiting: deque[ModuleEvent] = deque(maxlen=_WAITING)
        self._pruned = 0.0
        try:
            self._file = sqlite3.connect(path, check_same_thread=False, timeout=5)
            version = self._file.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise HistoryError(f"{path}: a history of format {version}; this kobox knows {_VERSION}")
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=FULL")
            self._file.executescript(_SCHEMA)
            self._file.execute(f"PRAGMA user_version={_VERSION}")
            self._file.commit()
        except sqlite3.Error as error:
            raise HistoryError(f"{path}: {error}", hint="Name another file, or move this one away.") from None

    def add(self, events: Iterable[ModuleEvent]) -> None:
        """Write events, and those that wait."""
        with self._lock:
            self._waiting.extend(events)
            if not self._waiting:
                return
            rows = [
                (one.time, self._host, one.kind.value, one.module, one.detail, one.advice, one.rule)
                for one in self._waiting
            ]
            try:
                with self._file:
                    self._file.executemany(
                        "INSERT INTO events (time, host, kind, module, detail, advice, rule) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?)",
                        rows,
                    )
                    self._prune()
            except sqlite3.Error as error:
                self.problem = f"the history cannot be written: {error}; {len(rows)} events wait in memory"
                return
            self.problem = ""
            self._waiting.clear()

    def events(self, *, since: float = 0, module: str = "", most: int = 1000) -> Sequence[ModuleEvent]:
        """Events from a time on, the newest first; of one module, if it is named. Raises `HistoryError` when the file
        cannot be read, or somebody has written something else into it."""
        try:
            with self._lock:
                rows = self._file.execute(
                    "SELECT time, kind, module, detail, advice, rule FROM events "
                    "WHERE time >= ? AND (? = '' OR module = ?) ORDER BY id DESC LIMIT ?",
                    (since, module, module, most),
                ).fetchall()
            return [ModuleEvent(row[0], EventKind(row[1]), *row[2:]) for row in rows]
        except (sqlite3.Error, ValueError) as error:
            raise HistoryError(f"the history cannot be read: {error}") from error

    def modules(self) -> list[str]:
        """The modules that were loaded, unloaded, or changed: they were in the kernel. Raises `HistoryError`."""
        kinds = (EventKind.LOADED, EventKind.UNLOADED, EventKind.STATE, EventKind.PARAMETER)
        marks = ",".join("?" * len(kinds))
        rows = self._rows(f"SELECT DISTINCT module FROM events WHERE kind IN ({marks})", [kind.value for kind in kinds])
        return [str(row[0]) for row in rows if row[0]]

    def begins(self) -> float:
        """The time of the oldest event; 0 without any. Raises `HistoryError`."""
        found = self._rows("SELECT MIN(time) FROM events", [])[0][0]
        return float(found) if isinstance(found, int | float) else 0.0

    def _rows(self, query: str, values: Sequence[str]) -> list[tuple[object, ...]]:
        try:
            with self._lock:
                return self._file.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise HistoryError(f"the history cannot be read: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def _prune(self) -> None:
        """Throw away what is older than `days`, counted from the newest event: a clock that jumps throws away nothing
        that a right one would keep."""
        now = time.monotonic()
        if self._pruned and now - self._pruned < _PRUNE_EVERY:
            return
        self._pruned = now
        self._file.execute(
            "DELETE FROM events WHERE time < (SELECT time FROM events ORDER BY time DESC LIMIT 1 OFFSET 100) - ?",
            (self._days * 86400,),
        )
