"""Where events go besides the screen and the history: a webhook, systemd's journal.

Webhook    POST of a JSON array, some events each; kept and tried again while nobody answers, 10,000 at most
Journal    systemd's native protocol: a datagram an event, a field a line (systemd.journal-fields(7))
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from kobox.errors import KoboxError
from kobox.monitor.events import EventKind, ModuleEvent

JOURNAL = "/run/systemd/journal/socket"
_MOST_WAITING = 10_000
_MOST_AT_ONCE = 500
_TIMEOUT, _LONGEST_PAUSE = 10.0, 60.0  # seconds
_LONGEST_FIELD = 4096
_PRIORITY = {EventKind.CRASH: 2, EventKind.FAILED: 4, EventKind.TAINT: 4}  # syslog's: 2 critical, 4 warning; else 6


class EventSink(Protocol):
    """Takes events."""

    @property
    def problem(self) -> str:
        """What is wrong with it, "" when nothing is."""

    def add(self, events: Sequence[ModuleEvent]) -> None:
        """Take events; it never waits and never raises."""

    def close(self) -> None:
        """Take no more."""


class Webhook:
    """POSTs events to `url`, with `host` in each. Raises `KoboxError` for a URL that is none of http or https."""

    def __init__(self, url: str, host: str, *, pause: float = 1.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise KoboxError(f"{url}: no URL of a webhook", hint="It begins with http:// or https://.")
        self.problem = ""
        self._url, self._host, self._pause = url, host, pause
        self._waiting: deque[ModuleEvent] = deque()
        self._dropped = 0
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._send, name="kobox-webhook", daemon=True)
        self._thread.start()

    def add(self, events: Sequence[ModuleEvent]) -> None:
        """See `EventSink`. While nobody answers, the oldest go first."""
        with self._changed:
            self._waiting.extend(events)
            while len(self._waiting) > _MOST_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._changed.notify()

    def close(self) -> None:
        """Send what waits, once more, and end."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(_TIMEOUT)

    def _send(self) -> None:
        pause = self._pause
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
                ended = self._ended
            if not batch:
                return
            if self._post(batch):
                pause = self._pause
                continue
            if ended:
                return
            with self._changed:
                self._waiting.extendleft(reversed(batch))
                self._changed.wait_for(lambda: self._ended, pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _post(self, batch: Sequence[ModuleEvent]) -> bool:
        """Whether the events were taken. Of redirections none is followed: a POST would become a GET."""
        body = json.dumps([{"format": 1, "host": self._host, **event.plain()} for event in batch]).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"}, method="POST")
        try:
            with urllib.request.build_opener(NoRedirection).open(request, timeout=_TIMEOUT) as answer:
                taken = bool(200 <= answer.status < 300)
                said = f"HTTP {answer.status}"
        except urllib.error.HTTPError as error:
            taken, said = False, f"HTTP {error.code}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            taken, said = False, f"{getattr(error, 'reason', error)}"
        with self._changed:
            lost = f"; {self._dropped} events were dropped" if self._dropped else ""
            self.problem = "" if taken and not lost else f"the webhook: {'' if taken else said}{lost}"
        return taken


class NoRedirection(urllib.request.HTTPRedirectHandler):
    """A redirection is an error: what was sent (events, a token) goes where it was told to, and nowhere else."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        return None


class Journal:
    """systemd's journal: MESSAGE, PRIORITY, KOBOX_KIND, KOBOX_MODULE, KOBOX_RULE, KOBOX_ADVICE, KOBOX_HOST."""

    def __init__(self, host: str, path: str = JOURNAL) -> None:
        self.problem = ""
        self._host, self._path = host, path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def add(self, events: Sequence[ModuleEvent]) -> None:
        """See `EventSink`."""
        for event in events:
            fields = {
                "MESSAGE": str(event),
                "PRIORITY": str(_PRIORITY.get(event.kind, 6)),
                "SYSLOG_IDENTIFIER": "kobox-monitor",
                "KOBOX_KIND": event.kind.value,
                "KOBOX_MODULE": event.module,
                "KOBOX_RULE": event.rule,
                "KOBOX_ADVICE": event.advice,
                "KOBOX_HOST": self._host,
            }
            try:
                self._socket.sendto(b"".join(_field(name, text) for name, text in fields.items()), self._path)
            except OSError as error:
                self.problem = f"{self._path}: {error.strerror}; the journal does not get events"
                return
        self.problem = ""

    def close(self) -> None:
        """See `EventSink`."""
        self._socket.close()


def _field(name: str, text: str) -> bytes:
    """A field as the journal reads it: a value with an end of line could forge another, so its length stands first."""
    value = text.encode(errors="backslashreplace")[:_LONGEST_FIELD]
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"
