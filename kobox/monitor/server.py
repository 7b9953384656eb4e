"""A monitor over HTTP: metrics, a page, JSON. It answers GET only, and changes nothing.

/                the page                       /metrics          Prometheus
/graph           who needs whom, as a page      /api/status       the modules now
/healthz         200 while it looks             /api/events       events: ?since=SECONDS&module=NAME
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

from kobox.errors import KoboxError
from kobox.graph import kernel_graph
from kobox.graph.write import page as graph_page
from kobox.monitor.fleet import Fleet, fleet_data
from kobox.monitor.fleet_page import fleet_metrics, fleet_page
from kobox.monitor.history import History
from kobox.monitor.log_source import lines_of
from kobox.monitor.metrics import CONTENT_TYPE, metrics_text
from kobox.monitor.module_facts import holders_tree, module_facts
from kobox.monitor.monitor import ModuleMonitor

_MOST_EVENTS = 1000
_MOST_LINES = 100  # of the log that name a module
_SECONDS = 10  # for a request to come
_MOST_CONNECTIONS = 64  # at once; a new one ends the oldest


Answer = Callable[[dict[str, str]], tuple[str, bytes]]
"""From the question behind the path to (content type, body)."""


class PageServer:
    """Serves answers by path at `address`, in threads of its own, until it is closed. `port` 0 takes a free one.

    Beyond loopback a token is needed (`Authorization: Bearer TOKEN`): `KoboxError` without one, and when the address
    cannot be had.
    """

    def __init__(
        self,
        answers: Mapping[str, Answer],
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        token: str = "",
    ) -> None:
        if not token and not _is_loopback(address):
            raise KoboxError(
                f"{address} can be reached by others: a token is needed", hint="Give one with --token-file FILE."
            )
        handler = type("BoundHandler", (_Handler,), {"answers": dict(answers), "token": token, "address": address})
        try:
            self._server = _Server((address, port), handler)
        except OSError as error:
            raise KoboxError(f"{address} port {port}: {error.strerror}", hint="Choose another with --listen.") from None
        self.address, self.port = address, int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MonitorServer(PageServer):
    """Serves a monitor: as `PageServer`."""

    def __init__(
        self,
        monitor: ModuleMonitor,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        token: str = "",
        history: History | None = None,
    ) -> None:
        super().__init__(_Answers(monitor, history).by_path, address, port, token=token)


class FleetServer(PageServer):
    """Serves a fleet: / is the page, /metrics and /api/fleet are as they say. As `PageServer`."""

    def __init__(self, fleet: Fleet, address: str = "127.0.0.1", port: int = 0, *, token: str = "") -> None:
        answers: dict[str, Answer] = {
            "/": lambda query: ("text/html; charset=utf-8", fleet_page(fleet, query).encode(errors="replace")),
            "/metrics": lambda query: (CONTENT_TYPE, fleet_metrics(fleet)),
            "/healthz": lambda query: ("text/plain; charset=utf-8", b"ok\n"),
            "/api/fleet": lambda query: _json({"format": 1, "hosts": fleet_data(fleet.views)}),
        }
        super().__init__(answers, address, port, token=token)


class _Server(ThreadingHTTPServer):
    """A thread for each connection, but not more than that: who asks may ask slowly, and without an end."""

    daemon_threads = True
    request_queue_size = _MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: dict[socket.socket, None] = {}  # in the order in which they came
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: object, client_address: object) -> None:
        """Begin to serve a connection."""
        assert isinstance(request, socket.socket)
        with self._lock:
            oldest = next(iter(self._open)) if len(self._open) >= _MOST_CONNECTIONS else None
            if oldest is not None:
                del self._open[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and closes it
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: object) -> None:
        """End a connection."""
        assert isinstance(request, socket.socket)
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who asks may go away at any moment, and what fails here is answered to who asks."""


class _BadQueryError(ValueError):
    """A question that means nothing."""


class _Answers:
    """What is answered, by path: (content type, body)."""

    def __init__(self, monitor: ModuleMonitor, history: History | None) -> None:
        self._monitor, self._history = monitor, history
        self.by_path: dict[str, Answer] = {
            "/": lambda query: ("text/html; charset=utf-8", _PAGE.read_bytes()),
            "/metrics": lambda query: (CONTENT_TYPE, metrics_text(monitor)),
            "/healthz": lambda query: ("text/plain; charset=utf-8", b"ok\n"),
            "/graph": self._graph,
            "/api/status": self._status,
            "/api/module": self._module,
            "/api/events": self._events,
        }

    def _graph(self, query: dict[str, str]) -> tuple[str, bytes]:
        with self._monitor.reading:
            graph = kernel_graph(self._monitor.kernel())
        return "text/html; charset=utf-8", graph_page(graph).encode()

    def _module(self, query: dict[str, str]) -> tuple[str, bytes]:
        name, modules = query.get("name", ""), self._monitor.status.modules
        if name not in modules:
            raise _BadQueryError("name: not a module that is loaded")
        with self._monitor.reading:
            facts = module_facts(self._monitor.kernel(), name)
        log = lines_of(self._monitor.lines, name)[-_MOST_LINES:]
        return _json({"format": 1, "name": name, "facts": facts, "users": holders_tree(modules, name), "log": log})

    def _status(self, query: dict[str, str]) -> tuple[str, bytes]:
        data = self._monitor.status.plain() | {"problems": self._monitor.problems, "time": time.time()}
        return _json(data)

    def _events(self, query: dict[str, str]) -> tuple[str, bytes]:
        module = query.get("module", "")
        try:
            since = float(query.get("since", "0"))
        except ValueError:
            raise _BadQueryError("since: not a number of seconds") from None
        if self._history is not None:
            found = list(self._history.events(since=since, module=module, most=_MOST_EVENTS))
        else:
            found = [one for one in reversed(self._monitor.events) if one.time >= since and module in ("", one.module)]
        return _json({"format": 1, "events": [one.plain() for one in found]})


class _Handler(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, Answer]]
    token: ClassVar[str]
    address: ClassVar[str]
    server_version = "kobox"
    sys_version = ""
    timeout = _SECONDS
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer, or say why not."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body is not read: it must not be taken for the next request
        if not self._is_allowed():
            self._say(401, "a token is needed", ("WWW-Authenticate", "Bearer"))
            return
        try:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        except ValueError as error:
            self._say(400, str(error))
            return
        answer = self.answers.get(parts.path)
        if answer is None:
            self._say(404, "no such page")
            return
        try:
            kind, body = answer(query)
        except _BadQueryError as error:
            self._say(400, str(error))
        except (KoboxError, OSError) as error:
            self._say(503, str(error))
        except Exception as error:  # its thread has nobody else to tell
            self._say(500, f"kobox itself failed: {type(error).__name__}: {error}")
        else:
            self._send(200, kind, body)

    def do_HEAD(self) -> None:
        """The same without the body."""
        self.do_GET()

    def _is_allowed(self) -> bool:
        if self.token:
            given = self.headers.get("Authorization", "").removeprefix("Bearer ")
            return hmac.compare_digest(given.encode(), self.token.encode())
        # Else a web page could read the answers by a host name that it resolves to loopback (DNS rebinding).
        hosts = self.headers.get_all("Host", [])
        host = re.sub(r":\d*$", "", hosts[0]).strip("[]") if len(hosts) == 1 else ""
        return host in ("localhost", self.address) or _is_loopback(host)

    def _say(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{text}\n".encode(errors="replace"), *headers)

    def _send(self, status: int, kind: str, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody wants a line for each scrape."""


_PAGE = Path(__file__).parent / "page.html"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _json(data: dict[str, Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps(data).encode()
