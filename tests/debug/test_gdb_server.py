"""What gdb asks, however strange it is, gets an answer, and the life that is debugged goes on."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kobox.box.box import Box
from kobox.debug.gdb_session import GdbSession
from kobox.ko.modulefile import ModuleFile
from kobox.machine.pc import MachineError
from tests.building import BuiltTestModules

_HEADS = [
    *(b"m", b"M", b"X", b"Z", b"z", b"H", b"T", b"p", b"P", b"G", b"g", b"?", b"b", b"q", b"v", b"\xff"),
    *(b"qXfer:", b"qXfer:features:read:target.xml:", b"qRcmd,", b"qfThreadInfo", b"vCont;r", b"QNonStop:2"),
]
_TAILS = [
    *(b"", b"0,0", b"ffffffffffffffff,ffffffffffffffff", b"-1,-1", b"1,2,3", b"0,ffffffff81000000,1", b"zz", b"g-1"),
    *(b"2,ffffffff82000000,ffffffffffff", b"g7fffffffffff", b"3,41,-5", b"0=00", b"7=ffffffffffffffff", b"999=00"),
    *(b"ffffffff81000000,8:zz", b"0,10:0011", b"read::0,10", b"read:-5,-5", b"6c6f67", b"00" * 300, b"11" * 300),
]


@pytest.mark.parametrize("seed", [1, 2])
def test_packets_of_any_kind_are_answered(box: Box, journal: Path, life_of: Callable[..., object], seed: int) -> None:
    session = GdbSession(box, life_of(box, ("one",)), [ModuleFile(str(journal))])  # type: ignore[arg-type]
    session.survey()
    ours, theirs = socket.socketpair()
    answered = []

    def ask() -> None:
        generator = random.Random(seed)
        with theirs, suppress(OSError):
            theirs.settimeout(60)
            for _ in range(3000):
                packet = generator.choice(_HEADS) + generator.choice(_TAILS)
                theirs.sendall(b"$%s#%02x" % (packet, sum(packet) & 255))
                got = b""
                while b"#" not in got:
                    got += theirs.recv(1 << 17)
                answered.append(packet)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        session.serve(ours)
    finally:
        asking.join()
        session.close()
    assert len(answered) == 3000
    box.reset()
    assert box.syscall("getpid") > 0


def test_a_register_is_set_or_refused(box: Box) -> None:
    """None of those that gdb knows ends in another error."""
    machine, refused = box.machine, set()
    for register in filter(None, (register.source for register in box.arch.debugger.registers)):
        try:
            machine.set_register(register, getattr(machine.registers(), register))
        except MachineError:
            refused.add(register)
    assert refused == {"rflags", "cs", "ss", "gs_base"}


_CONTROLS = frozenset(map(chr, (*range(9), *range(11, 32), 127)))


@pytest.mark.parametrize(
    "parameters",
    ["attack=task_name text=\x1b[2J\x01<&>", "attack=task_name text=\xff\xfe", "attack=task_id number=0xfffffffb"]
    + ["attack=task_id number=0x7fffffff", "attack=task_list"],
)
def test_tasks_and_log_of_a_hostile_kernel(box: Box, modules: BuiltTestModules, parameters: str) -> None:
    path, answers = modules("attacks"), list[str]()
    life = lambda: box.insmod(path, parameters)  # noqa: E731
    session = GdbSession(box, life, [ModuleFile(str(path))])  # type: ignore[arg-type]
    session.survey()
    ours, theirs = socket.socketpair()

    def ask() -> None:
        with theirs, suppress(OSError):
            theirs.settimeout(60)
            for packet in (b"c", b"qXfer:threads:read::0,fff0", b"qfThreadInfo", b"qRcmd,6c6f67", b"qRcmd,7768657265"):
                theirs.sendall(b"$%s#%02x" % (packet, sum(packet) & 255))
                got = b""
                while (got.find(b"#") < 0 or got.count(b"$") < 1) or b"$O" in got[-400:]:
                    got += theirs.recv(1 << 17)
                    got = got[got.rfind(b"$") :] if b"$O" in got else got
                answers.append(got.partition(b"$")[2].partition(b"#")[0].decode(errors="replace"))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        session.serve(ours)
    finally:
        asking.join()
        session.close()
        box.reset()
    _, threads, numbers, log, _ = answers
    rows = ElementTree.fromstring(threads.removeprefix("l").removeprefix("m"))
    assert len(rows) == len({row.get("id") for row in rows}) >= 1
    assert all(int(number, 16) > 0 for number in numbers.removeprefix("m").split(","))
    assert not _CONTROLS.intersection(bytes.fromhex(log).decode())
