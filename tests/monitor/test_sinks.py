"""Events go to a webhook and to the journal, and what cannot be reached loses as little as can be."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import kobox.monitor
from kobox.errors import KoboxError
from kobox.monitor.events import EventKind, ModuleEvent
from kobox.monitor.metrics import metrics_text
from kobox.monitor.monitor import ModuleMonitor
from kobox.monitor.sinks import Journal, Webhook
from tests.monitor.test_monitor import FixedKernel

FORGED = "why\nPRIORITY=0\nMESSAGE=forged"
CONTRIB = Path(kobox.monitor.__file__).with_name("contrib")


def event(number: int, detail: str = "16384 bytes") -> ModuleEvent:
    return ModuleEvent(float(number), EventKind.LOADED, f"m{number}", detail)


def wait_for(done: Callable[[], object]) -> None:
    while not done():
        time.sleep(0.01)


class Receiver:
    """An HTTP server on loopback that answers with the statuses that it is given, then with 204."""

    def __init__(self, *statuses: int) -> None:
        self.got: list[Any] = []
        left = list(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = left.pop(0) if left else 204
                if status == 204:
                    receiver.got.append((self.path, self.headers["Content-Type"], body))
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    made = Receiver(*getattr(request, "param", ()))
    yield made
    made.close()


@pytest.mark.parametrize("receiver", [(), (500,), (404, 503), (307,)], indirect=True, ids=str)
def test_a_webhook_gets_every_event_once_and_in_order(receiver: Receiver) -> None:
    sink = Webhook(receiver.url, "far", pause=0.01)
    sink.add([event(1), event(2)])
    wait_for(lambda: receiver.got)
    sink.add([event(3)])
    sink.close()
    assert {(path, kind) for path, kind, _ in receiver.got} == {("/hook", "application/json")}
    told = [one for _, _, body in receiver.got for one in body]
    assert [one["module"] for one in told] == ["m1", "m2", "m3"]
    assert {(one["format"], one["host"]) for one in told} == {(1, "far")}
    assert sink.problem == ""


def test_events_wait_while_nobody_answers() -> None:
    receiver = Receiver()
    url = receiver.url
    receiver.close()
    sink = Webhook(url, "far", pause=0.01)
    sink.add([event(1)])
    wait_for(lambda: sink.problem)
    assert "refused" in sink.problem
    sink.add([event(number) for number in range(2, 10_500)])
    sink.close()
    assert sink._dropped >= 400, "ten thousand wait at most"


@pytest.mark.parametrize("url", ["", "ftp://a/b", "file:///etc/passwd", "http://", "http:///x", "example.org/hook"])
def test_what_is_no_url_of_a_webhook(url: str) -> None:
    with pytest.raises(KoboxError, match="no URL of a webhook"):
        Webhook(url, "far")


def test_the_journal_gets_fields_that_a_module_cannot_forge(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        sink = Journal("far", path)
        sink.add([ModuleEvent(1.0, EventKind.FAILED, "hello", FORGED, "do this", "vermagic")])
        data = journal.recv(1 << 16)
        sink.close()
    assert sink.problem == ""
    name, _, rest = data.partition(b"\n")
    assert name == b"MESSAGE"
    size = int.from_bytes(rest[:8], "little")
    assert rest[8 : 8 + size] == b"failed hello: why\nPRIORITY=0\nMESSAGE=forged"
    fields = dict(line.split(b"=", 1) for line in rest[8 + size :].split(b"\n") if line)
    assert fields == {
        b"PRIORITY": b"4",
        b"SYSLOG_IDENTIFIER": b"kobox-monitor",
        b"KOBOX_KIND": b"failed",
        b"KOBOX_MODULE": b"hello",
        b"KOBOX_RULE": b"vermagic",
        b"KOBOX_ADVICE": b"do this",
        b"KOBOX_HOST": b"far",
    }


def test_a_machine_without_a_journal_is_told(tmp_path: Path) -> None:
    sink = Journal("far", str(tmp_path / "none"))
    sink.add([event(1)])
    assert "the journal does not get events" in sink.problem
    sink.close()


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    board = json.loads((CONTRIB / "grafana.json").read_text())
    offered = set(
        re.findall(
            rb"^# TYPE (\w+)",
            metrics_text(ModuleMonitor(FixedKernel({"/proc/modules": "hello 16384 0 - Live 0x0\n"}))),
            re.M,
        )
    )
    asked = {name for panel in board["panels"] for target in panel["targets"] for name in NAMES.findall(target["expr"])}
    assert asked
    assert {name.encode() for name in asked} <= offered
    places = [panel["gridPos"] for panel in board["panels"]]
    squares = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(squares) == len(set(squares)), "no panel covers another"


NAMES = re.compile(r"\bkobox_\w+")
