"""The first boot of a kernel: from power on to a snapshot that boxes resume.

kernel image -> vmlinux in RAM -> the kernel's own boot -> PID 1 at its hypercall
  -> file systems mounted, PID 1 at rest, the main process made, lo up, facts read -> snapshot
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kobox.arch.arch import Arch
from kobox.atomic_file import write_file
from kobox.box.boot import init_program as guest
from kobox.box.boot import snapshots
from kobox.box.boot.boot_failure import boot_failure, check_needs
from kobox.box.boot.hidden_symbols import hidden_symbols
from kobox.box.guest.heap import Arena
from kobox.box.guest.scheduler import Processes
from kobox.box.guest.syscall import Argument, Calls
from kobox.box.inspect.btf import Btf
from kobox.box.inspect.printk import KernelLog
from kobox.box.inspect.symbols import Symbols, with_symbols
from kobox.box.inspect.vmcoreinfo import VmCoreInfo, parse_note
from kobox.errors import BoxError, BoxHungError
from kobox.images.store import KernelImage
from kobox.ko.binary import c_string
from kobox.machine import native_core as native
from kobox.machine.boards import machine_class
from kobox.machine.pc import Machine
from kobox.printable import printable

_BOOT_BLOCKS = 2_000_000_000  # that a kernel may take without printing anything
_MOST_BOOT_BLOCKS = 60_000_000_000
_MOUNTS = (
    ("devtmpfs", "/dev", 0o755),
    ("proc", "/proc", 0o555),
    ("sysfs", "/sys", 0o555),
    ("tmpfs", "/run", 0o755),
    ("tmpfs", "/tmp", 0o1777),
    ("devpts", "/dev/pts", 0o755),
    ("tmpfs", "/dev/shm", 0o1777),
    ("debugfs", "/sys/kernel/debug", 0o700),
    ("tracefs", "/sys/kernel/tracing", 0o700),
    ("securityfs", "/sys/kernel/security", 0o755),
    ("bpf", "/sys/fs/bpf", 0o700),
    ("configfs", "/sys/kernel/config", 0o755),
)
# Work that an idle kernel does by the clock, and that nobody in a box waits for.
_SETTINGS = (
    ("vm/stat_interval", "86400"),
    ("vm/compaction_proactiveness", "0"),
    # A program is at the same addresses in every run, as the kernel is: its translated code then serves it again.
    ("kernel/randomize_va_space", "0"),
)


Progress = Callable[[str, int, int], None]
# Seconds in which a kernel that has just booted does what it has put off: a box begins when all is quiet, and what
# comes then is the doing of its user.
_REST = 3.0


def first_boot(
    image: KernelImage,
    place: Path,
    memory: int,
    line: str,
    cpus: int,
    progress: Progress | None,
    *,
    profile: str = "fast",
) -> None:
    """Boot from power on, set PID 1 up, and write the snapshot."""
    from kobox.images.kernel_config import embedded_config, read_config
    from kobox.images.loadable import loadable_kernel

    say = progress or (lambda *_: None)
    native.preload()
    data = image.vmlinuz.read_bytes()
    say(f"unpacking {image.vmlinuz.name}", 0, 0)
    vmlinux, header = loadable_kernel(data, str(image.vmlinuz))
    config = read_config(image) or embedded_config([bytes(segment.data) for segment in vmlinux.segments])
    check_needs(image.name, config, image.arch)
    machine = machine_class(image.arch)(memory, cpus=cpus)
    try:
        machine.load_linux(vmlinux, header, guest.root_archive(machine.arch), line)
        console: list[str] = []

        def explain() -> tuple[list[str], str]:
            console.extend(machine.console().decode(errors="replace").splitlines())
            return console[-40:], f"{machine.pc:#x}"

        processes = Processes(machine, explain)
        _reach_init(image, machine, processes, console, say)
        say(f"booted {image.release}; writing the snapshot", 0, 0)
        about, tables = _settle(machine, processes, _SETTINGS if profile == "fast" else (), _made_types(image))
        snapshots.save(place, machine, about, tables)
    finally:
        machine.close()


def _made_types(image: KernelImage) -> bytes:
    """The types that were made from the kernel's headers; nothing where none were."""
    try:
        return image.made_types.read_bytes()
    except OSError:
        return b""


def _reach_init(image: KernelImage, machine: Machine, processes: Processes, console: list[str], say: Progress) -> None:
    """Run the kernel up to its first process; as long as it prints, it has time. `console` is what it printed.

    Raises `KernelPanicError` or `BoxHungError`, which say where it stopped and why.
    """

    def running() -> bool:
        said = machine.console().decode(errors="replace").splitlines()
        console.extend(said)
        say(f"booting {image.release}", machine.time // 1_000_000, 0)
        return bool(said)

    try:
        processes.wait_for_init(blocks=_BOOT_BLOCKS, most=_MOST_BOOT_BLOCKS, progress=running)
    except BoxError as error:
        found = boot_failure(console, hung=isinstance(error, BoxHungError))
        where = f"; the last that it printed{f', at {found.time:.3f} s' if found.time else ''}: {found.last}"
        log = image.directory / "boot-failed.log"
        with suppress(OSError):
            write_file(log, "".join(f"{printable(line)}\n" for line in console).encode())
            found = found._replace(hint=f"{found.hint} Its log: {log}")
        message = f"{image.name} did not come up: {found.reason}{where if found.last else ''}"
        raise type(error)(message, log=error.log, pc=error.pc, hint=found.hint) from None


def _settle(
    machine: Machine, processes: Processes, settings: Sequence[tuple[str, str]], types: bytes
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Turn the fresh PID 1 into the box's supervisor: file systems, its rest, the main process. What a `Box`
    must know, and the tables of its kernel. `types` are BTF for a kernel that has none, or nothing."""
    init = processes.by_number[0]
    machine.set_hypercall(guest.hypercall_address(machine.arch))
    processes.call(init, "mlockall", (1,))
    calls = Calls(processes, Arena(machine, processes.space))
    if (
        machine.cpus > 1
    ):  # kobox's own processes take turns, as Python does: all of them on CPU 0, unless a user moves one
        calls.call(init, "sched_setaffinity", (0, 8, (1).to_bytes(8, "little")))

    def call(name: str, *arguments: Argument) -> int:
        return calls.call(init, name, arguments)

    for kind, target, mode in _MOUNTS:
        with _unless_missing():
            with _unless_missing():
                call("mkdir", target, mode)
            call("mount", kind, target, kind, 0, f"mode={mode:o}" if kind == "tmpfs" else None)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1")):
        with _unless_missing():
            call("symlink", target, f"/dev/{name}")
    with _unless_missing():
        call("symlink", "/proc/mounts", "/etc/mtab")
    _watch(machine.arch, call, processes)
    # Whatever eats the box's memory, the processes that serve it are not killed for that: all inherit it from PID 1.
    with _unless_missing():
        fd = call("open", "/proc/self/oom_score_adj", os.O_WRONLY, 0)
        call("write", fd, b"-1000", 5)
        call("close", fd)
    main = processes.spawn()
    calls_main = Calls(processes, Arena(machine, processes.space))

    def main_call(name: str, *arguments: Argument) -> int:
        return calls_main.call(main, name, arguments)

    main_call("prctl", 15, "kobox", 0, 0, 0)  # PR_SET_NAME
    for setting, value in settings:
        with _unless_missing():
            fd = main_call("open", f"/proc/sys/{setting}", os.O_WRONLY, 0)
            main_call("write", fd, value.encode(), len(value))
            main_call("close", fd)
    _loopback_up(main_call)
    processes.pass_time(_REST)
    uevents = _uevent_socket(main_call)
    facts = _vmcoreinfo(machine, main_call)
    release = bytearray(390)
    main_call("uname", release)
    records = KernelLog(machine, VmCoreInfo(facts)).next_seq
    main_call("syslog", 8, 0, 1)  # the log is read from memory: the console need not repeat it
    symbols = Symbols(machine, VmCoreInfo(facts), lambda _: None, lambda: _read_file(main_call, "/proc/kallsyms"))
    tables = symbols.tables()
    if "btf" not in tables:  # kallsyms names no data without CONFIG_KALLSYMS_ALL
        with _unless_missing():
            tables["btf"] = _read_file(main_call, "/sys/kernel/btf/vmlinux")
    if "btf" not in tables and types:
        tables["btf"] = types
    if symbols.of_kernel("modules") is None:
        places = _read_file(main_call, "/proc/iomem").decode("latin-1")
        btf = Btf(tables["btf"], machine.arch.addresses.word) if "btf" in tables else None
        hidden = hidden_symbols(machine, symbols, btf, places)
        tables["symbols"] = with_symbols(tables["symbols"], hidden)
    kept = ("SYMBOL", "OFFSET", "SIZE", "NUMBER")
    about = {
        "facts": {name: value for name, value in facts.items() if name.startswith(kept)},
        "patcher": symbols.of_kernel("__text_poke") or 0,
        "clock_start": _clock_start(machine, main_call),
        "release": c_string(release[130:195]).decode(),
        "processes": processes.save(),
        "findings": records,
        "uevents": uevents,
    }
    return about, tables


def _read_file(call: Callable[..., int], path: str) -> bytes:
    fd, out, chunk = call("open", path, os.O_RDONLY, 0), bytearray(), bytearray(1 << 16)
    while count := call("read", fd, chunk, len(chunk)):
        out += chunk[:count]
    call("close", fd)
    return bytes(out)


def _clock_start(machine: Machine, call: Callable[..., int]) -> int:
    """The machine's time, in ns, at which the kernel's monotonic clock was zero."""
    spec = bytearray(16)
    call("clock_gettime", 1, spec)
    seconds, nanoseconds = struct.unpack("<qq", spec)
    return machine.time - int(seconds) * 1_000_000_000 - int(nanoseconds)


@contextmanager
def _unless_missing() -> Iterator[None]:
    """Kernels differ in what they were built with: a file system or setting that one lacks is left out."""
    with suppress(OSError):
        yield


def _watch(arch: Arch, call: Callable[..., int], processes: Processes) -> None:
    """Give PID 1 what it rests on: the second serial line, raw, and a signalfd for SIGCHLD."""
    serial = call("open", arch.boot.second_serial, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC, 0)
    termios = bytearray(60)
    call("ioctl", serial, arch.abi.terminal.tcgets, termios)
    (control,) = struct.unpack_from("<I", termios, 8)
    struct.pack_into("<IIII", termios, 0, 0, 0, control | 0x800, 0)  # CLOCAL; no processing of any kind
    termios[17 + 5], termios[17 + 6] = 0, 1  # VTIME, VMIN
    call("ioctl", serial, arch.abi.terminal.tcsets, termios)
    mask = struct.pack("<Q", 1 << 16)  # SIGCHLD
    call("rt_sigprocmask", 0, mask, None, 8)
    signals = call("signalfd4", -1 & 0xFFFFFFFFFFFFFFFF, mask, 8, os.O_NONBLOCK | os.O_CLOEXEC)
    processes.watch_children(serial, signals)


def _uevent_socket(call: Callable[..., int]) -> int:
    """A socket on which the kernel tells what appears and goes (lib/kobject_uevent.c); -1 without CONFIG_NET."""
    try:
        fd = call("socket", 16, 3 | os.O_NONBLOCK | os.O_CLOEXEC, 15)  # AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT
        call("bind", fd, struct.pack("<HHII", 16, 0, 0, 1), 12)
    except OSError:
        return -1
    return fd


def _loopback_up(call: Callable[..., int]) -> None:
    with _unless_missing():
        fd = call("socket", 2, 2, 0)
        request = bytearray(struct.pack("<16sH22x", b"lo", 0))
        call("ioctl", fd, 0x8913, request)  # SIOCGIFFLAGS
        (flags,) = struct.unpack_from("<H", request, 16)
        call("ioctl", fd, 0x8914, struct.pack("<16sH22x", b"lo", flags | 1))  # SIOCSIFFLAGS: IFF_UP
        call("close", fd)


def _vmcoreinfo(machine: Machine, call: Callable[..., int]) -> dict[str, str]:
    try:
        fd = call("open", "/sys/kernel/vmcoreinfo", os.O_RDONLY, 0)
    except OSError as error:
        raise BoxError(
            "this kernel does not publish vmcoreinfo (CONFIG_CRASH_CORE or CONFIG_VMCORE_INFO), which boxes need",
            hint="Every distribution's kernel has it; enable it in your own.",
        ) from error
    buffer = bytearray(128)
    text = bytes(buffer[: call("read", fd, buffer, len(buffer))]).split()
    call("close", fd)
    address, size = int(text[0], 16), int(text[1], 16)
    return parse_note(bytes(machine.ram[address : address + size]))
