"""A box is watched like any kernel: what is loaded, refused, changed in it is told."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from kobox.box.box import Box
from kobox.errors import KoboxError, ModuleLoadError
from kobox.kernel.interface import Kernel
from kobox.monitor import (
    BoxLog,
    DeviceLog,
    EventKind,
    History,
    KernelModules,
    ModuleEvent,
    ModuleMonitor,
    MonitoredModule,
    drift,
    look,
    metrics_text,
)
from kobox.monitor.baseline import drift_text
from kobox.monitor.events import told_by
from kobox.monitor.history import HistoryError
from kobox.monitor.log_source import KernelLine
from kobox.monitor.never_loaded import NeverLoaded, never_loaded
from kobox.monitor.server import MonitorServer
from kobox.monitor.status import StatusFormatError
from kobox.monitor.uevents import UeventSource
from tests.building import BuiltTestModules


class FixedKernel(Kernel):
    """A kernel of files only."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files
        self.links: dict[str, str] = {}

    @property
    def release(self) -> str:
        return "6.1.0-test"

    def read_bytes(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path].encode("utf-8", "surrogateescape")

    def listdir(self, path: str) -> list[str]:
        found = {one.removeprefix(f"{path}/").split("/")[0] for one in self.files if one.startswith(f"{path}/")}
        if not found:
            raise FileNotFoundError(2, "No such file or directory", path)
        return sorted(found)

    def write_bytes(self, path: str, data: bytes) -> None:
        raise AssertionError("a monitor writes nothing")

    def stat(self, *_: object, **__: object) -> None:  # type: ignore[override]
        raise AssertionError("not asked for")

    def readlink(self, path: str) -> str:
        if path not in self.links:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.links[path]

    def init_module(self, *_: object, **__: object) -> None:
        raise AssertionError("a monitor loads nothing")

    def delete_module(self, *_: object, **__: object) -> None:
        raise AssertionError("a monitor unloads nothing")


def module_line(name: str, size: int = 16384, users: str = "-", state: str = "Live", taint: str = "") -> str:
    return f"{name} {size} 0 {users} {state} 0x0000000000000000{f' ({taint})' if taint else ''}\n"


def watched(box: Box) -> ModuleMonitor:
    return ModuleMonitor(box, BoxLog(box.log.records), clock=lambda: 1000.0)


def test_a_modules_life_in_a_box(box: Box, modules: BuiltTestModules) -> None:
    monitor = watched(box)
    params = box.insmod(modules("params"))
    (loaded,) = [one for one in monitor.poll() if one.kind is EventKind.LOADED]
    assert (loaded.module, loaded.time) == ("params", 1000.0)
    assert loaded.detail.endswith("bytes, out of tree, unsigned")
    assert monitor.status.modules["params"].parameters
    params.unload()
    assert [str(one) for one in monitor.poll() if one.kind is EventKind.UNLOADED] == ["unloaded params: "]
    assert monitor.poll() == []
    assert monitor.counts["loaded", "params", ""] == 1
    assert sum(monitor.log_lines.values()) > 0


def test_a_refused_module_comes_with_its_cause(box: Box, modules: BuiltTestModules) -> None:
    monitor = watched(box)
    with pytest.raises(KoboxError):
        box.insmod(modules("kuser"))  # its provider is not there
    (failed,) = [one for one in monitor.poll() if one.kind is EventKind.FAILED]
    assert failed.module == "kuser"
    assert failed.rule == "unknown-symbol"
    assert failed.advice
    (before,) = [one for one in monitor.events if one.kind is EventKind.FAILED]
    assert before == failed


def test_an_oops_is_a_crash(box: Box, modules: BuiltTestModules) -> None:
    monitor = watched(box)
    with pytest.raises(KoboxError):
        box.insmod(modules("faulty"), what="null")
    kinds = {one.kind for one in monitor.poll()}
    assert {EventKind.CRASH, EventKind.TAINT} <= kinds


def test_changes_between_two_looks() -> None:
    kernel = FixedKernel(
        {
            "/proc/modules": module_line("one") + module_line("two"),
            "/sys/module/one/parameters/size": "4\n",
            "/sys/module/two/srcversion": "AAAA\n",
            "/proc/sys/kernel/tainted": "0\n",
        }
    )
    monitor = ModuleMonitor(kernel)
    monitor.poll()
    kernel.files["/proc/modules"] = module_line("one", state="Unloading") + module_line("two", size=20480, taint="OE")
    kernel.files["/proc/sys/kernel/tainted"] = "12288\n"
    kernel.files["/sys/module/one/parameters/size"] = "8\x1b[2J\n"
    found = [str(one) for _ in range(10) for one in monitor.poll()]
    assert found == [
        "unloaded two: ",  # another size: it was loaded anew in between
        "state one: live -> going",
        "loaded two: 20480 bytes, out of tree, unsigned",
        "taint kernel: the kernel is tainted by bit 12, 13; the mask is 12288",
        r"parameter one: size: 4 -> 8\x1b[2J",
    ]


class ToldUevents(UeventSource):
    """A kernel's words as they are given."""

    def __init__(self, *told: str) -> None:
        self.problem = ""
        self._ours, self._socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        for one in told:
            self._ours.send(f"{one}\0ACTION={one.partition('@')[0]}\0SUBSYSTEM=module\0".encode())


@pytest.mark.parametrize(
    ("before", "after", "told", "events"),
    [
        ("", "", ["add@/module/x", "remove@/module/x"], ["loaded", "unloaded"]),
        ("x", "x", ["remove@/module/x", "add@/module/x"], ["unloaded", "loaded"]),
        ("", "x", ["add@/module/x"], ["loaded"]),
        ("x", "", ["remove@/module/x"], ["unloaded"]),
        ("", "x", ["add@/module/x", "remove@/module/x", "add@/module/x"], ["loaded", "unloaded", "loaded"]),
        ("x", "", ["remove@/module/x", "add@/module/x", "remove@/module/x"], ["unloaded", "loaded", "unloaded"]),
        ("", "", ["add@/module/x/holders", "change@/module/x", "add@/devices/x", "add@/module/"], []),
        ("x", "x", [], []),
    ],
    ids=["flash", "anew", "comes", "goes", "three-come", "three-go", "others", "nothing"],
)
def test_what_comes_and_goes_between_two_looks(before: str, after: str, told: list[str], events: list[str]) -> None:
    kernel = FixedKernel({"/proc/modules": module_line(before) if before else ""})
    monitor = ModuleMonitor(kernel, uevents=ToldUevents(*told))
    kernel.files["/proc/modules"] = module_line(after) if after else ""
    found = monitor.poll()
    assert sorted(one.kind.value for one in found if one.module) == sorted(events)
    assert {one.module for one in found} <= {"x"}


def test_each_refusal_of_a_burst_is_told_once() -> None:
    def line(number: int) -> KernelLine:
        text = f"m{number}: version magic '6.1.0-1-amd64 SMP mod_unload ' should be '6.1.0-56-amd64 SMP mod_unload '"
        return KernelLine(6, 1.0, text)

    found = list(told_by([line(number) for number in [*range(900), *range(900)]], 1.0))
    assert [one.module for one in found] == [f"m{number}" for number in range(900)]


def test_modules_that_nobody_loads(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db", "here")
    history.add(
        [ModuleEvent(5.0, EventKind.LOADED, "was_there", ""), ModuleEvent(6.0, EventKind.FAILED, "refused", "")]
    )
    now = KernelModules("6.1", {"here": MonitoredModule("here", 1, 0)})
    found = never_loaded(["here", "was-there", "refused", "other"], [now], history)
    assert found == NeverLoaded(("other", "refused"), 4, 5.0)
    assert never_loaded(["here", "other"], [now]) == NeverLoaded(("other",), 2)
    history.close()


def test_a_kernel_that_cannot_be_read() -> None:
    with pytest.raises(FileNotFoundError):
        ModuleMonitor(FixedKernel({}))
    kernel = FixedKernel({"/proc/modules": module_line("one")})
    monitor = ModuleMonitor(kernel)
    del kernel.files["/proc/modules"]
    told: list[ModuleEvent] = []

    def stop(events: list[ModuleEvent]) -> None:
        told.extend(events)
        monitor.stop()

    monitor.watch(stop, interval=0.1)
    assert "modules cannot be read" in told[0].detail
    assert monitor.status.modules.keys() == {"one"}


def test_the_log_device(tmp_path: Path) -> None:
    log = DeviceLog(str(tmp_path / "none"))
    assert "No such file" in log.problem
    assert log.new_lines() == []
    import os

    fifo = tmp_path / "kmsg"
    os.mkfifo(fifo)
    log = DeviceLog.__new__(DeviceLog)
    log.problem, log.lost = "", 0
    log._fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY)
    os.write(writer, b"4,17,2500000,-;usb 1-1: new device\n")
    (line,) = log.new_lines()
    assert line == (4, 2.5, "usb 1-1: new device")
    for odd in (b"12,1,1,-;a program\n", b"rubbish\n", b"", b"x,y,z;t\n"):
        if odd:
            os.write(writer, odd)
        assert log.new_lines() == []
    os.close(writer)
    log.close()


EVENT = ModuleEvent(100.0, EventKind.LOADED, "one", "16384 bytes")


def test_history_outlives_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    code = (
        "import os, sys; from pathlib import Path; from kobox.monitor import *\n"
        "history = History(Path(sys.argv[1]), 'host')\n"
        "for n in range(50): history.add([ModuleEvent(n, EventKind.LOADED, f'm{n}', '')])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    history = History(path, "host")
    assert [one.module for one in history.events(most=2)] == ["m49", "m48"]
    assert len(history.events()) == 50
    history.close()
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_history_keeps_what_cannot_be_written_yet(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db", "host")
    history._file.execute("PRAGMA max_page_count=12")
    many = [ModuleEvent(1.0, EventKind.LOADED, "m", "x" * 2000) for _ in range(100)]
    history.add(many)
    assert "100 events wait in memory" in history.problem
    history._file.execute("PRAGMA max_page_count=100000")
    history.add([EVENT])
    assert history.problem == ""
    assert len(history.events()) == 101


def test_a_clock_that_jumps_throws_nothing_away(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db", "host", days=1)
    history.add([ModuleEvent(1000.0 + n, EventKind.LOADED, "old", "") for n in range(50)])
    history._pruned = 0.0
    history.add([ModuleEvent(9e9, EventKind.LOADED, "future", "")])
    assert len(history.events()) == 51
    history._pruned = 0.0
    history.add([ModuleEvent(9e9 + n, EventKind.LOADED, "now", "") for n in range(200)])
    assert {one.module for one in history.events()} == {"future", "now"}


def test_what_is_no_history(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, it is a text of some length\n" * 30)
    with pytest.raises(HistoryError, match="not a database"):
        History(tmp_path / "text", "host")
    with sqlite3.connect(tmp_path / "newer") as newer:
        newer.execute("PRAGMA user_version=9")
    with pytest.raises(HistoryError, match="format 9"):
        History(tmp_path / "newer", "host")
    with pytest.raises(HistoryError, match="unable to open"):
        History(tmp_path / "no" / "such", "host")


def test_drift_between_two_looks() -> None:
    def of(*modules: MonitoredModule, release: str = "1") -> KernelModules:
        return KernelModules(release, {one.name: one for one in modules})

    before = of(MonitoredModule("a", 1, 0, version="1"), MonitoredModule("b", 1, 0, parameters={"x": "1", "gone": "2"}))
    now = of(
        MonitoredModule("a", 2, 0, version="2", taint="OE"), MonitoredModule("c", 1, 0), MonitoredModule("pcspkr", 1, 0)
    )
    found = drift(before, now, frozenset({"pcspkr", "floppy"}))
    assert (found.added, found.removed) == (("c", "pcspkr"), ("b",))
    assert found.changed == (("a", "version", "1", "2"), ("a", "taint", "", "OE"), ("a", "size", "1", "2"))
    assert found.blacklisted == ("pcspkr",)
    assert "blacklisted and loaded: pcspkr" in drift_text(found)
    assert not drift(before, before)
    assert drift_text(drift(before, before)) == "no difference"
    assert KernelModules.of_plain(json.loads(json.dumps(before.plain()))) == before


@pytest.mark.parametrize(
    "data", [None, [], {}, {"format": 2, "modules": []}, {"format": 1, "release": "1", "tainted": 0, "modules": [{}]}]
)
def test_what_is_no_status(data: object) -> None:
    with pytest.raises(StatusFormatError):
        KernelModules.of_plain(data)


def test_metrics_are_prometheus(box: Box, modules: BuiltTestModules) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    monitor = watched(box)
    box.insmod(modules("params"))
    monitor.poll()
    families = {family.name: family for family in text_string_to_metric_families(metrics_text(monitor).decode())}
    assert {"kobox_modules", "kobox_module_size_bytes", "kobox_module_info", "kobox_kernel_tainted"} <= set(families)
    (info,) = families["kobox_module_info"].samples
    assert (info.labels["module"], info.labels["taint"], info.value) == ("params", "OE", 1)
    assert families["kobox_module_events"].samples[0].name == "kobox_module_events_total"
    assert [families[f"kobox_modules_{what}"].samples[0].value for what in ("unsigned", "out_of_tree")] == [1, 1]
    totals = ("module_loads", "module_unloads", "module_failures", "kernel_crashes")
    assert [families[f"kobox_{name}"].samples[0].value for name in totals] == [1, 0, 0, 0]
    with pytest.raises(ModuleLoadError):
        box.insmod(modules("kuser"))
    box.rmmod("params")
    monitor.poll()
    families = {family.name: family for family in text_string_to_metric_families(metrics_text(monitor).decode())}
    assert [families[f"kobox_{name}"].samples[0].value for name in totals] == [1, 1, 1, 0]


def test_a_label_is_a_strangers_text() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    name = 'a"}\\nkobox_modules'
    monitor = ModuleMonitor(
        FixedKernel({"/proc/modules": module_line(name), f"/sys/module/{name}/version": 'x"\n# HELP'})
    )
    families = list(text_string_to_metric_families(metrics_text(monitor).decode()))
    (modules,) = [one for one in families if one.name == "kobox_modules"]
    assert [sample.value for sample in modules.samples] == [1]
    (info,) = [one for one in families if one.name == "kobox_module_info"]
    assert info.samples[0].labels["module"] == name


@pytest.fixture
def server() -> Iterator[MonitorServer]:
    kernel = FixedKernel({"/proc/modules": module_line("one", users="two,") + module_line("two")})
    with MonitorServer(ModuleMonitor(kernel)) as found:
        yield found


def ask(server: MonitorServer, path: str, **headers: str) -> tuple[int, str]:
    request = Request(f"http://{server.address}:{server.port}{path}", headers=headers)
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/", 200, "<title>kobox monitor</title>"),
        ("/metrics", 200, 'kobox_module_size_bytes{module="one"} 16384.0'),
        ("/healthz", 200, "ok"),
        ("/graph", 200, '"user":"two","provider":"one"'),
        ("/api/status", 200, '"release": "6.1.0-test"'),
        ("/api/events?since=5&module=x", 200, '"events": []'),
        ("/api/module?name=one", 200, '"users": ["\\u2514\\u2500 two"]'),
        ("/api/module?name=none", 400, "not a module that is loaded"),
        ("/api/module", 400, "not a module that is loaded"),
        ("/api/events?since=x", 400, "since: not a number of seconds"),
        ("/../../etc/passwd", 404, "no such page"),
        ("/page.html", 404, "no such page"),
    ],
)
def test_the_server_answers(server: MonitorServer, path: str, status: int, said: str) -> None:
    found = ask(server, path)
    assert found[0] == status
    assert said in found[1]


def test_who_may_ask() -> None:
    monitor = ModuleMonitor(FixedKernel({"/proc/modules": ""}))
    with pytest.raises(KoboxError, match="a token is needed"):
        MonitorServer(monitor, "0.0.0.0")
    with MonitorServer(monitor) as open_server:
        assert ask(open_server, "/healthz", Host="evil.example:80")[0] == 401
        with pytest.raises(KoboxError, match="Address already in use"):
            MonitorServer(monitor, port=open_server.port)
    with MonitorServer(monitor, token="0123456789abcdef") as guarded:
        assert ask(guarded, "/metrics")[0] == 401
        assert ask(guarded, "/metrics", Authorization="Bearer x")[0] == 401
        assert ask(guarded, "/metrics", Authorization="Bearer 0123456789abcdef")[0] == 200


HEAD = b"Host: localhost\r\nConnection: close\r\n\r\n"


def ask_raw(server: MonitorServer, request: bytes) -> bytes:
    with socket.create_connection((server.address, server.port), timeout=60) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer


@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        pytest.param(b"GET http://[ HTTP/1.1\r\n" + HEAD, [400], id="no address"),
        pytest.param(b"GET /\0 HTTP/1.1\r\n" + HEAD, [404], id="a zero byte"),
        pytest.param(b"GET /..%2f..%2fetc/passwd HTTP/1.1\r\n" + HEAD, [404], id="out of the directory"),
        pytest.param(b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n" + HEAD, [414], id="too long"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + HEAD, [431], id="many headers"),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60\r\n\r\nGET / HTTP/1.1\r\n" + HEAD,
            [200],
            id="a request in a body",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
            [200],
            id="a request behind chunks",
        ),
        pytest.param(b"GET /healthz HTTP/1.0\r\n\r\n", [401], id="no host"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n" + HEAD, [401], id="two hosts"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1.example\r\n\r\n", [401], id="looks like loopback"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", [200], id="loopback, version 6"),
        pytest.param(b"GET /api/events?since=nan&module=%ff%00 HTTP/1.1\r\n" + HEAD, [200], id="odd values"),
        pytest.param(b"DELETE / HTTP/1.1\r\n" + HEAD, [501], id="another method"),
        pytest.param(b"\x16\x03\x01\0\xff\r\n\r\n", [], id="TLS"),
    ],
)
def test_requests_that_no_browser_makes(
    server: MonitorServer, request_: bytes, statuses: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    answer = ask_raw(server, request_)
    assert [int(one) for one in re.findall(rb"^HTTP/1.1 (\d+)", answer, re.M)] == statuses
    assert capfd.readouterr().err == ""


def test_clients_that_go_away_or_stay_for_ever(server: MonitorServer, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(10):  # each with a reset: SO_LINGER of 0 s
        with socket.create_connection((server.address, server.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(b"GET /graph HTTP/1.1\r\n" + HEAD)
    threads = threading.active_count()
    with ExitStack() as stack:
        for _ in range(200):
            silent = stack.enter_context(socket.create_connection((server.address, server.port)))
            silent.sendall(b"GET / HT")
            assert threading.active_count() <= threads + 70
        assert ask(server, "/healthz") == (200, "ok\n")
    assert capfd.readouterr().err == ""


def test_a_history_that_somebody_else_has_written(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db", "here")
    with sqlite3.connect(tmp_path / "h.db") as file:
        file.execute("INSERT INTO events VALUES (1, 5, 'here', 'no such kind', 'm', '', '', '')")
    monitor = ModuleMonitor(FixedKernel({"/proc/modules": ""}))
    with MonitorServer(monitor, history=history) as server:
        status, said = ask(server, "/api/events")
        assert (status, "the history cannot be read" in said) == (503, True)
        with sqlite3.connect(tmp_path / "h.db") as file:
            file.execute("DROP TABLE events")
        assert ask(server, "/api/events")[0] == 503
    history.close()


def test_nothing_is_written_over_http(server: MonitorServer) -> None:
    request = Request(f"http://{server.address}:{server.port}/api/status", data=b"{}", method="POST")
    with pytest.raises(HTTPError) as caught:
        urlopen(request, timeout=60)
    assert caught.value.code == 501


def test_a_look_at_a_thousand_modules_reads_versions_once() -> None:
    files = {"/proc/modules": "".join(module_line(f"m{n}") for n in range(1000))}
    kernel = FixedKernel(files)
    first = look(kernel)
    read: list[str] = []
    kernel.read_bytes = lambda path: (read.append(path), FixedKernel.read_bytes(kernel, path))[1]  # type: ignore[method-assign]
    kernel.listdir = lambda path: pytest.fail(path)  # type: ignore[method-assign]
    assert look(kernel, first, parameters=False) == first
    assert sorted(read) == ["/proc/modules", "/proc/sys/kernel/tainted"]
