"""gdb's non-stop and asynchronous modes, as IDEs use them: by gdb's machine interface, with real gdb."""

from __future__ import annotations

import queue
import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kobox.box.box import Box
from kobox.box.symbol_file.kernel_symbol_file import kernel_symbol_file
from kobox.debug.gdb_program import gdb_words
from kobox.debug.gdb_session import GdbSession
from kobox.debug.mi import MiGdb, MiRecord
from kobox.debug.non_stop import TaskStops, thread_actions
from kobox.images.store import KernelImage, Store
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules

ASYNC = "-gdb-set mi-async on"
NON_STOP = [ASYNC, "-gdb-set non-stop on"]


class Ide:
    """A gdb as an IDE drives it: commands, and stops that come by themselves."""

    def __init__(self, path: Path, symbols: Path, settings: list[str]) -> None:
        self.stops: queue.Queue[dict[str, Any]] = queue.Queue()
        self.gdb = MiGdb([*gdb_words(Store(), ""), str(symbols)], self._heard)
        for command in [*settings, "-gdb-set confirm off", "-gdb-set sysroot /"]:
            self(command)
        self(f"-target-select remote {path}")

    def __call__(self, command: str) -> Any:
        return self.gdb.command(command)

    def _heard(self, record: MiRecord) -> None:
        if (record.kind, record.name) == ("*", "stopped"):
            self.stops.put(dict(record.results))

    def stop(self) -> tuple[str, str, str]:
        """The next stop: its reason, its function and its thread."""
        stop = self.stops.get(timeout=20)
        return str(stop.get("reason", "")), stop["frame"]["func"], stop["thread-id"]

    def value(self, expression: str) -> str:
        found: str = self(f"-data-evaluate-expression {expression}")["value"]
        return found

    def states(self) -> dict[str, str]:
        """The state of each thread."""
        return {row["id"]: row["state"] for row in self("-thread-info")["threads"]}


@pytest.fixture(scope="module")
def symbols(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the kernel's symbols are kept for all tests of this file."""
    return tmp_path_factory.mktemp("symbols")


def debug(
    box: Box, life: Callable[[], object], module: Path, directory: Path, settings: list[str], use: Callable[[Ide], None]
) -> None:
    """Debug a life by what `use` does in a thread of its own; the box is this one's."""
    session = GdbSession(box, life, [ModuleFile(str(module))])  # type: ignore[arg-type]
    session.survey()
    kernel = kernel_symbol_file(box, directory)
    failed: list[BaseException] = []
    with socket.socket(socket.AF_UNIX) as listener:
        (directory / "box").unlink(missing_ok=True)
        listener.bind(str(directory / "box"))
        listener.listen(1)
        listener.settimeout(60)

        def ask() -> None:
            client = None
            try:
                client = Ide(directory / "box", kernel, settings)
                use(client)
            except BaseException as error:  # told in the test's own thread
                failed.append(error)
            finally:
                if client is not None:
                    client.gdb.close()

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            connection, _ = listener.accept()
            connection.settimeout(None)
            session.serve(connection)
        finally:
            asking.join()
            session.close()
            box.reset()
    if failed:
        raise failed[0]


def test_one_task_stops_and_the_others_are_let_go(
    box: Box, journal: Path, life_of: Callable[..., Callable[[], None]], symbols: Path
) -> None:
    def use(gdb: Ide) -> None:
        reason, function, first = gdb.stop()
        assert (reason, function) == ("signal-received", "journal_init")
        assert set(gdb.states().values()) == {"stopped", "running"}
        gdb("-break-insert add_entry")
        gdb("-exec-continue --all")
        reason, function, thread = gdb.stop()
        assert (reason, function) == ("breakpoint-hit", "add_entry")
        states = gdb.states()
        assert [number for number, state in states.items() if state == "stopped"] == [thread]
        other = next(number for number, state in states.items() if state == "running" and number != first)
        gdb(f"-exec-next --thread {thread}")
        assert gdb.stop() == ("end-stepping-range", "add_entry", thread)
        gdb(f"-exec-interrupt --thread {other}")  # a task that sleeps is stopped where it sleeps
        assert gdb.stop()[::2] == ("signal-received", other)
        frames = gdb(f"-stack-list-frames --thread {other}")["stack"]
        assert "schedule" in frames[0]["func"]
        gdb(f"-exec-continue --thread {other}")
        gdb("-break-delete")
        gdb(f"-exec-finish --thread {thread}")
        assert gdb.stop() == ("function-finished", "journal_write", thread)
        assert gdb.value("written") == "1"
        gdb("-exec-interrupt --all")
        stopped = {gdb.stop()[2] for _ in range(len(states) - 1)}
        assert stopped == set(states) - {thread}
        gdb("-exec-continue --all")
        assert gdb.stop()[0] == ""  # no more history: the life has ended
        assert first in gdb.states()

    debug(box, life_of(box, ("one", "two")), journal, symbols, NON_STOP, use)


def test_backwards_in_non_stop_mode(
    box: Box, journal: Path, life_of: Callable[..., Callable[[], None]], symbols: Path
) -> None:
    def use(gdb: Ide) -> None:
        gdb.stop()
        gdb("-break-insert -c written==1 add_entry")
        gdb("-exec-continue --all")
        _, function, thread = gdb.stop()
        assert function == "add_entry"
        gdb("-break-delete")
        gdb(f"-thread-select {thread}")
        gdb("-break-watch written")
        gdb(f"-exec-continue --thread {thread} --reverse")
        assert gdb.stop()[:2] == ("watchpoint-trigger", "add_entry")
        assert gdb.value("written") == "0"
        gdb(f"-exec-next --thread {thread} --reverse")
        assert gdb.stop()[0] == "end-stepping-range"
        for _ in range(2):  # the second time it is at the beginning already
            gdb(f"-exec-continue --thread {thread} --reverse")
            reason, function, thread = gdb.stop()
            assert (reason, function) == ("", "journal_init")

    debug(box, life_of(box, ("one", "two")), journal, symbols, NON_STOP, use)


@pytest.mark.parametrize(
    ("settings", "everybody"),
    [([ASYNC], ""), (NON_STOP, "--all"), ([ASYNC, "maint set target-non-stop on"], "")],
    ids=["async", "non-stop", "all-stop over non-stop"],
)
def test_a_running_target_is_asked_and_interrupted(
    box: Box, debian_kernel: KernelImage, symbols: Path, settings: list[str], everybody: str
) -> None:
    """An endless loop in a module's init; gdb's prompt is there meanwhile."""
    spinner = BuiltTestModules(debian_kernel, "debug")("spinner")

    def use(gdb: Ide) -> None:
        _, function, thread = gdb.stop()
        assert function == "spinner_init"
        gdb(f"-exec-continue {everybody}")
        if everybody:  # memory, threads and breakpoints while it runs
            assert set(gdb.states().values()) == {"running"}
            assert gdb.value("init_task.pid") == "0"
            gdb("-break-insert -t panic")
        gdb(f"-exec-interrupt --thread {thread}" if everybody else "-exec-interrupt")
        reason, _, stopped = gdb.stop()
        assert (reason, stopped) == ("signal-received", thread)
        frames = gdb(f"-stack-list-frames --thread {thread}")["stack"]
        assert "spinner_init" in [frame["func"] for frame in frames]
        gdb(f"-exec-step-instruction --thread {thread}")
        assert gdb.stop()[::2] == ("end-stepping-range", thread)

    spins = iter(["0x0001", "0x9999"])  # milliseconds: when the life is surveyed, and under gdb, which ends it
    life = lambda: box.insmod(spinner, f"spin={next(spins)}")  # noqa: E731
    debug(box, life, spinner, symbols, settings, use)


# What gdb sends, and strangers do; each is followed by a packet that has to be answered.
PACKETS = [
    *(
        "vCont;c",
        "vCont;c:1",
        "vCont;s:1;c",
        "vCont;",
        "vCont;r0,ffffffffffffffff",
        "vCont;s",
        "vCont;C05:50",
        "bc",
        "bs",
    ),
    *("vCont;s:2", "vCont;r1,2:3", "vCtrlC"),
]
QUIET = [
    *("vStopped", "?", "vCont;t", "vCont;t:-1", "vCont;t:p1.1", "vCont;r1", "vCont;x:1", "vCont;c:zz", "QNonStop:1"),
    *("QNonStop:2", "qfThreadInfo", "g", "Hg1", "Hg0", "vCont?", "mffffffff81000000,8", "T1", "Z0,ffffffff81145440,1"),
    *("z0,ffffffff81145440,1", "qXfer:threads:read::0,1000", "vCtrlC"),
]


@pytest.mark.parametrize("seed", range(4))
def test_packets_of_any_kind_in_non_stop_mode(
    box: Box, journal: Path, life_of: Callable[..., Callable[[], None]], seed: int
) -> None:
    session = GdbSession(box, life_of(box, ("one",)), [ModuleFile(str(journal))])
    session.survey()
    ours, theirs = socket.socketpair()
    answered = [0]

    def ask() -> None:
        generator = random.Random(seed)
        with theirs, suppress(OSError):
            theirs.settimeout(60)
            for text in ["QNonStop:1", *generator.choices([*QUIET * 5, *PACKETS], k=200)]:
                for packet in (text.encode(), b"qC", b"QNonStop:1"):
                    theirs.sendall(b"$%s#%02x" % (packet, sum(packet) & 255))
                    got = b""
                    while packet == b"qC" and b"$QC" not in got:
                        if not (more := theirs.recv(1 << 17)):
                            return  # the life has ended, and gdb has let it
                        got += more
                answered[0] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        session.serve(ours)
    finally:
        asking.join()
        session.close()
    assert answered[0] > 1
    box.reset()
    assert box.syscall("getpid") > 0


def test_stops_are_announced_once_and_fetched_one_by_one() -> None:
    sent: list[bytes] = []
    stops = TaskStops(sent.append)
    stops.start(7, b"T05thread:7;")
    assert stops.all() == b"T05thread:7;"
    assert stops.fetched() == b"OK"
    stops.let_go(7)
    assert stops.all() == b"OK"
    for thread in (7, 8, 9):
        stops.stop(thread, b"T00thread:%x;" % thread)
        stops.tell()
    assert sent == [b"Stop:T00thread:7;"]
    assert [stops.fetched() for _ in range(3)] == [b"T00thread:8;", b"T00thread:9;", b"OK"]
    stops.tell()
    stops.stop(7, b"T05thread:7;")
    stops.tell()
    assert sent[1:] == [b"Stop:T05thread:7;"]


@pytest.mark.parametrize(
    ("packet", "actions"),
    [
        ("vCont;c", {1: "c", 2: "c", 3: "c"}),
        ("vCont;c:-1", {1: "c", 2: "c", 3: "c"}),
        ("vCont;s:2;c", {1: "c", 2: "s", 3: "c"}),
        ("vCont;t:3", {3: "t"}),
        ("vCont;r10,20:1;t:2", {1: "r10,20", 2: "t"}),
        ("vCont;c:p1.2", {2: "c"}),
        ("vCont;c:p1.-1", {1: "c", 2: "c", 3: "c"}),
        ("vCont;t:ff", {}),
    ],
)
def test_the_first_action_that_names_a_thread_counts(packet: str, actions: dict[int, str]) -> None:
    assert thread_actions(packet, [1, 2, 3]) == actions
