"""What a module hides: the kernel's own structures held against what system calls show."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from collections.abc import Container, Iterator
from contextlib import suppress

from kobox.behaviour.calls import is_nobody_s
from kobox.behaviour.instructions import arch_of
from kobox.behaviour.report import Trait
from kobox.behaviour.shown_symbols import shown_symbols
from kobox.box.box import Box
from kobox.box.inspect.symbols import LoadedAt
from kobox.errors import KoboxError
from kobox.ko.elf import SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS, STT_FUNC
from kobox.ko.modulefile import ModuleFile

_KNOWN_PORTS = (1337, 2222, 3333, 4444, 5555, 6666, 6667, 7777, 8080, 8888, 9001, 9999, 12345, 13337, 31337, 54321)
_LARGEST_SECTION, _MOST_PORTS, _MOST_CODE = 1 << 16, 400, 1 << 18
_MOST_RECORDS, _MOST_LINES = 100_000, 40
_AT_ONCE, _BETWEEN = 8, 6.0  # the kernel takes ten lines in five seconds (kernel/printk/printk.c, ratelimit_state_user)
_NAME = re.compile(rb"(?<![\x21-\x7e])[A-Za-z0-9._-]{3,24}(?=\0)")
_MOST_NAMES = 200


def hidden_module(box: Box, file: ModuleFile) -> Iterator[Trait]:
    """Whether a module that was loaded shows itself."""
    name = file.name
    if name not in box.modules:
        yield Trait(
            "hides itself", "hostile", f"{name} is loaded, and not in /proc/modules", "/proc/modules", time=box.time
        )
    if not box.exists(f"/sys/module/{name}"):
        text = f"{name} is loaded, and there is no /sys/module/{name}"
        yield Trait("hides itself", "hostile", text, f"/sys/module/{name}", time=box.time)
    if any(symbol.type == STT_FUNC for symbol in file.elf.symbols()):
        with suppress(OSError):
            if f"[{name}]".encode() not in shown_symbols(box):
                text = f"{name} is loaded, and none of its functions is in /proc/kallsyms"
                yield Trait("hides itself", "hostile", text, "/proc/kallsyms", time=box.time)


def hidden_processes(box: Box) -> Iterator[Trait]:
    """Processes that the kernel schedules and /proc does not list."""
    objects = box.inspect.objects
    first = objects.address("init_task")
    with suppress(KoboxError, ValueError):
        tasks = list(objects.list(objects.member(first, "task_struct.tasks"), "task_struct.tasks"))
        running = {objects.number(task, "task_struct.pid"): objects.text(task, "task_struct.comm") for task in tasks}
        shown = {int(name) for name in box.listdir("/proc") if name.isdigit()}
        for pid in sorted(set(running) - shown):
            if box.syscall("getpid") != pid:
                text = f"process {pid} ({running[pid]}) runs, and /proc does not list it"
                yield Trait("hides processes", "hostile", text, "/proc", time=box.time)


def threads_of(box: Box) -> dict[int, tuple[str, int]]:
    """The kernel's threads by number: name, and the address of the function that each runs (0: not known)."""
    objects = box.inspect.objects
    first = objects.address("init_task")
    found = {}
    for task in objects.list(objects.member(first, "task_struct.tasks"), "task_struct.tasks"):
        if objects.number(task, "task_struct.mm"):
            continue
        function = 0
        with suppress(KoboxError, ValueError):  # struct kthread: worker_private since 5.17
            function = objects.number(objects.number(task, "task_struct.worker_private"), "kthread.threadfn")
        pid = objects.number(task, "task_struct.pid")
        found[pid] = objects.text(task, "task_struct.comm"), function
    return found


def threads_that_stay(box: Box, before: Container[int]) -> Iterator[Trait]:
    """Threads that came with a module, are there when it has gone, and run code that is nobody's."""
    box.sleep(2)
    for pid, (name, function) in threads_of(box).items():
        if pid not in before and is_nobody_s(box, function):
            text = f"thread {name} (process {pid}) runs on when the module is unloaded, in memory that is nobody's"
            yield Trait("survives rmmod", "hostile", text, f"{function:#x}", time=box.time)


def names_in(file: ModuleFile) -> list[str]:
    """Words in a module's constants that could be names, or beginnings of names, which it looks for."""
    found: dict[str, None] = {}
    for number, section in enumerate(file.elf.sections):
        if section.flags & SHF_ALLOC and not section.flags & SHF_EXECINSTR and section.type != SHT_NOBITS:
            found.update(_names(file.elf.data(number)))
    return list(found)[:_MOST_NAMES]


def names_in_memory(box: Box, module: LoadedAt, known: Container[str]) -> list[str]:
    """Words that a loaded module holds in its memory and are not `known`: it has made them when it was loaded."""
    found: dict[str, None] = {}
    for start, size in module.parts:
        first = next((at + length for at, length in module.code if at == start), start)  # code comes first
        with suppress(ValueError):
            found.update(_names(box.inspect.memory.read(first, min(start + size - first, _LARGEST_SECTION))))
    own = {symbol.name for symbol in box.inspect.symbols.symbols_of(module.name)}
    return [name for name in found if name not in known and name not in own][:_MOST_NAMES]


def _names(data: bytes | memoryview) -> Iterator[tuple[str, None]]:
    return ((match[0].decode("ascii"), None) for match in _NAME.finditer(data))


def hidden_files(box: Box, names: list[str]) -> Iterator[Trait]:
    """Files that are there and are not listed: one is made for each of these names."""
    place = "/tmp/listing"
    box.path(place).mkdir(exist_ok=True)
    made = set()
    for name in names:
        for each in (name, f"{name}rest"):
            with suppress(OSError):
                box.syscall("close", box.syscall("open", f"{place}/{each}", os.O_CREAT | os.O_WRONLY, 0o644))
                made.add(each)
    with suppress(OSError):
        hidden = made - set(box.listdir(place))
        for name in sorted(hidden):
            text = f"a file named {name} is there, and its directory does not list it"
            yield Trait("hides files", "hostile", text, place, time=box.time)


def ports_in(file: ModuleFile) -> list[int]:
    """Numbers in a module's code and constants that could be ports which it looks for, in both byte orders; before them
    those that are known from such modules."""
    found: dict[int, None] = dict.fromkeys(_KNOWN_PORTS)
    for value in (*_immediates(file), *_constants(file)):
        if 1024 <= value < 1 << 16:
            found.setdefault(value)
            found.setdefault(int.from_bytes(value.to_bytes(2, "little"), "big"))
    return [port for port in found if port >= 1024][:_MOST_PORTS]


def _immediates(file: ModuleFile) -> Iterator[int]:
    """Numbers in instructions, those that something is compared with."""
    arch = arch_of(file)
    for number, section in enumerate(file.elf.sections if arch is not None else ()):
        if section.flags & SHF_EXECINSTR and section.type != SHT_NOBITS:
            code = bytes(file.elf.data(number)[:_MOST_CODE])
            for row in arch.code.instructions(code, 0, len(code)) if arch is not None else ():
                if row.immediate is not None and row.compares:
                    yield row.immediate & 0xFFFF


def _constants(file: ModuleFile) -> Iterator[int]:
    """Numbers in variables and constants."""
    for number, section in enumerate(file.elf.sections):
        plain = section.flags & SHF_ALLOC and not section.flags & SHF_EXECINSTR and section.type != SHT_NOBITS
        if plain and section.size <= _LARGEST_SECTION:
            data = file.elf.data(number)
            yield from (int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data) - 3, 4))


def hidden_sockets(box: Box, ports: list[int]) -> Iterator[Trait]:
    """Sockets that are there and are not listed: one listens, and one waits for datagrams, at each of these ports."""
    for kind, name in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
        opened: dict[int, int] = {}
        try:
            for port in ports:
                with suppress(OSError):
                    opened[port] = _bound(box, kind, port)
            path = f"/proc/net/{name}"
            shown = {int(row.split()[1].split(b":")[1], 16) for row in box.read_bytes(path).splitlines()[1:]}
            for port in sorted(set(opened) - shown):
                text = f"a socket has {name} port {port}, and {path} does not list it"
                yield Trait("hides ports", "hostile", text, path, time=box.time)
        finally:
            for fd in opened.values():
                with suppress(OSError):
                    box.syscall("close", fd)


def _bound(box: Box, kind: socket.SocketKind, port: int) -> int:
    """A socket at a port of all addresses; one for streams listens."""
    fd = box.syscall("socket", int(socket.AF_INET), int(kind), 0)
    try:
        address = struct.pack("<H", int(socket.AF_INET)) + struct.pack(">H", port) + bytes(12)
        box.syscall("bind", fd, address, len(address))
        if kind == socket.SOCK_STREAM:
            box.syscall("listen", fd, 1)
    except OSError:
        box.syscall("close", fd)
        raise
    return fd


def hidden_log_lines(box: Box, names: list[str]) -> Iterator[Trait]:
    """Records of the kernel's log that are in its ring and that /dev/kmsg does not show: one is written for each of
    these words."""
    mark = "kobox-inspect"
    with suppress(OSError):
        fd = box.syscall("open", "/dev/kmsg", os.O_RDWR | os.O_NONBLOCK)
        try:
            for number, name in enumerate((mark, *names[:_MOST_LINES])):
                line = f"{mark} {name}\n".encode()
                box.syscall("write", fd, line, len(line))
                if number % _AT_ONCE == _AT_ONCE - 1:
                    box.sleep(_BETWEEN)
            box.syscall("lseek", fd, 0, os.SEEK_SET)
            shown = _kmsg(box, fd)
        finally:
            box.syscall("close", fd)
        in_ring = {record.seq: record.text for record in box.log.records()}
        oldest = min(shown, default=0)
        hidden = [text for seq, text in in_ring.items() if seq >= oldest and seq not in shown]
        if hidden:
            text = f"{len(hidden)} records of the kernel's log are not shown, such as {hidden[0][:80]!r}"
            yield Trait("hides log lines", "hostile", text, "/dev/kmsg", time=box.time)


def _kmsg(box: Box, fd: int) -> set[int]:
    """The sequence numbers of all records that /dev/kmsg shows (Documentation/ABI/testing/dev-kmsg)."""
    shown: set[int] = set()
    buffer = bytearray(8192)
    while len(shown) < _MOST_RECORDS:
        try:
            count = box.syscall("read", fd, buffer, len(buffer))
        except OSError as error:
            if error.errno == errno.EPIPE:  # what was next has been overwritten
                continue
            return shown
        fields = bytes(buffer[:count]).split(b";", 1)[0].split(b",")
        if len(fields) < 3:
            return shown
        shown.add(int(fields[1]))
    return shown
