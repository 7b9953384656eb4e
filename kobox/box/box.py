"""The box: a stock kernel, really booted, inside this process.

    with kobox.boot() as box:
        hello = box.insmod("hello.ko", greeting="hi")
        print(box.path("/sys/module/hello/parameters/greeting").read_text())
        hello.unload()
        assert not box.findings

A box implements `Kernel`, so every tool works in it. What happens in it is done by real processes making real system
calls (`processes.py`); Python gives them their registers.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kobox.arch.arch import Arch
from kobox.arch.unwind import KernelView, Unwinder
from kobox.box.boot import snapshots
from kobox.box.guest.answers import MOST_NAMES, answered, written
from kobox.box.guest.files import BoxPath, open_file, parse_dirents
from kobox.box.guest.ftrace_speedup import Loading, module_bytes, module_name
from kobox.box.guest.heap import Arena
from kobox.box.guest.scheduler import Limits, Process, Processes, State
from kobox.box.guest.syscall import Call, Calls
from kobox.box.inspect.memory import Memory
from kobox.box.inspect.oops import Finding, findings_in
from kobox.box.inspect.printk import KernelLog
from kobox.box.inspect.vmcoreinfo import VmCoreInfo
from kobox.box.module_handle import LoadedModule, parameter_text
from kobox.errors import KoboxError, ModuleLoadError, ModuleUnloadError
from kobox.images.store import KernelImage
from kobox.kernel.interface import DeleteFlags, InitFlags, Kernel
from kobox.machine.pc import Checkpoint, Machine

if TYPE_CHECKING:
    import subprocess

    from kobox.box.devices.disks import Disk
    from kobox.box.devices.link import InStep
    from kobox.box.devices.network import Network
    from kobox.box.guest.subprocess import Program
    from kobox.box.inspect.layout_cache import Places


class BoxCheckpoint:
    """A state of a box. `restore()` goes back to it; as a context manager it does so at the end of the block."""

    def __init__(self, box: Box, machine: Checkpoint, about: dict[str, Any]) -> None:
        self._box = box
        self._machine = machine
        self._about = about

    @property
    def size(self) -> int:
        """Bytes of memory it takes."""
        return self._machine.size

    def restore(self) -> None:
        """Make the box what it was."""
        self._box._go_back(self._machine, self._about)

    def release(self) -> None:
        """Give its memory back."""
        self._machine.release()

    def __enter__(self) -> BoxCheckpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
        self.release()


class Box(Kernel):
    """A booted kernel. Make one with `kobox.boot`; close it, or use it in a `with` block.

    Not for two threads at once. Any number of boxes may exist, in one process or in forked ones.
    """

    def __init__(
        self, image: KernelImage, machine: Machine, about: dict[str, Any], place: Path | None, state: bytes
    ) -> None:
        self.image = image
        self._machine = machine
        self._about = about
        self._place = place
        self._closed = False
        self._facts = VmCoreInfo(about["facts"])
        self.log = KernelLog(machine, self._facts)
        self._mark = 0
        self._processes = Processes(machine, self._explain)
        self._processes.load(about["processes"])
        self._processes.on_slice = self._look
        self._calls = Calls(self._processes, Arena(machine, self._processes.space))
        if about["patcher"]:
            machine.set_patcher(about["patcher"])
        self._main: Process = self._processes.by_number[about.get("main", 1)]
        self._start = BoxCheckpoint(self, machine.checkpoint_of(state), about)
        # How often it has gone back in time: what was read from its memory before may not be so any more.
        self.epoch = 0
        self._findings_from = int(about["findings"])
        self._symbols: Any = None
        self._places: Places | None = None
        self._probes: Any = None
        self._watch: Any = None
        self._unwinder: Unwinder | None = None
        self._objects: Any = None
        # What loads a module by name or alias, with all it needs: set by whoever knows about module trees.
        self.loader: Callable[[Box, str, str], Any] | None = None
        # Called some ten times a second while a call is under way, to look and to tell; it must make no calls itself.
        self.on_slice: Callable[[], Any] | None = None
        self._processes.on_program = self._answer
        self._uevents = int(about["uevents"])
        self._network: Network | None = None
        self._loading = Loading(self)
        self.in_step: InStep | None = None  # the boxes that wires connect it with
        self._helpers: Any = None
        self._spare: Any = about.get("spare")
        self._shares: Any = None
        if about.get("shares"):
            self._resume_shares(about["shares"])
        self.known: dict[str, Any] = {}  # what others have found out of this kernel, for as long as it runs
        self.requests: list[list[str]] = []  # the programs that the kernel ran, with their arguments

    # -- life --------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether the box can still make calls: it is open, and its kernel has not died."""
        return not self._closed and not self._processes.dead

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Free the box. Files and modules in it are gone."""
        if not self._closed:
            self._closed = True
            if self._places is not None:
                self._places.keep()
            self._start.release()
            self._machine.close()

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Box {self.image.release}{'' if self.alive else ' (dead)'}>"

    def checkpoint(self) -> BoxCheckpoint:
        """Remember this state of the whole box: memory, processes, devices, time."""
        return BoxCheckpoint(self, self._machine.checkpoint(), self._state())

    def reset(self) -> None:
        """Make the box what it was when it was booted: the clean state, in a few milliseconds. Also heals a
        dead box."""
        self._start.restore()

    def keep_as_start(self) -> None:
        """Make this state of the box the one that `reset` goes back to."""
        old, self._start = self._start, self.checkpoint()
        old.release()

    def save(self, place: Path) -> None:
        """Write this state of the box as a snapshot, for `resume`. Raises `KoboxError` when there is no room."""
        self.syscall("getpid")  # the main process has the CPU, as in the snapshot of a boot
        snapshots.save(place, self._machine, {**self._about, **self._state()})

    def _state(self) -> dict[str, Any]:
        return {
            "processes": self._processes.save(),
            "main": self._main.number,
            "findings": self._findings_from,
            "helpers": self.helpers.save(),
            "spare": self._spare,
            "shares": self._shares.save() if self._shares is not None else [],
        }

    def _go_back(self, checkpoint: Checkpoint, about: dict[str, Any]) -> None:
        before = self._machine.time
        self._machine.restore(checkpoint)
        if self.in_step is not None:
            self.in_step.gone_back(self, before)
        self.epoch += 1
        self._about = self._about | about
        self._processes.load(about["processes"])
        self._main = self._processes.by_number[about.get("main", 1)]
        self._calls = Calls(self._processes, Arena(self._machine, self._processes.space))
        self.log.forget()
        self._mark = 0
        self._helpers = None
        self._spare = self._about.get("spare")
        self._resume_shares(self._about.get("shares", ()))
        self._findings_from = about["findings"]
        if self._probes is not None:
            self._probes.follow()

    # -- time ---------------------------------------------------------------------------------------------------

    @property
    def time(self) -> float:
        """Virtual seconds of the kernel's own clock (CLOCK_MONOTONIC, ktime_get()). It begins some time after power
        on; that of the log (sched_clock()) begins at yet another moment."""
        return float(self._machine.time - self._about["clock_start"]) / 1e9

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass: timers fire and work runs, at once in wall time."""
        self._processes.pass_time(seconds)

    @property
    def limits(self) -> Limits:
        """How long a call may take in virtual seconds (`timeout`), and how much CPU time it may burn (`cpu`)."""
        return self._processes.limits

    # -- system calls -------------------------------------------------------------------------------------------

    def syscall(self, name: str, *arguments: Any, limits: Limits | None = None) -> int:
        """Make a system call in the box's main process; its value.

        Arguments are int, None, str and paths, bytes, and writable buffers, which get back what the kernel wrote
        (see `kobox.box.guest.syscall`). Raises `OSError` with errno; `ProcessDiedError` when the process is killed
        in the call (another takes its place); `BoxTimeoutError`, `BoxHungError`, `KernelPanicError`.
        """
        return self._calls.call(self._main_process(), name, arguments, limits)

    def process(self) -> BoxProcess:
        """Another process of the box, which shares files and memory with the main one: for calls that block."""
        self._must_be_open()
        return BoxProcess(self, self._processes.spawn())

    def _look(self) -> None:
        self.log.collect()
        if self.on_slice is not None:
            self.on_slice()

    def _main_process(self) -> Process:
        self._must_be_open()
        if not self._processes.usable(self._main):
            self._main = self._processes.spawn()
        self._mark = self.log.position()
        return self._main

    def _must_be_open(self) -> None:
        if self._closed:
            raise KoboxError("the box is closed")

    # -- programs -----------------------------------------------------------------------------------------------

    @property
    def helpers(self) -> Any:
        """The processes that serve the streams of programs (`kobox.box.guest.subprocess.Helpers`)."""
        if self._helpers is None:
            from kobox.box.guest.subprocess import Helpers

            self._helpers = Helpers(self, self._about.get("helpers", ()))
        return self._helpers

    def run(self, argv: Any, **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a program in the box to its end, as `subprocess.run`.

        `argv` is a list of words. Options are subprocess's: `input`, `capture_output`, `stdin`, `stdout`,
        `stderr`, `env`,
        `cwd`, `check`, `timeout` (virtual seconds), `text`, `user` (a number). A program that the box does not have is
        brought from this machine, with its loader and libraries. Without a pipe, output goes to this process's own.

        Raises `CalledProcessError`, `TimeoutExpired` as subprocess does; `ProgramError` for a program that cannot run;
        `OSError`; `KernelPanicError`, `BoxHungError`.
        """
        from kobox.box.guest import subprocess as programs

        self._must_be_open()
        return programs.run(self, argv, **options)

    def popen(self, argv: Any, **options: Any) -> Program:
        """Start a program in the box, as `subprocess.Popen`: see `run`, and `kobox.box.guest.subprocess.Program`."""
        from kobox.box.guest import subprocess as programs

        self._must_be_open()
        return programs.popen(self, argv, **options)

    def share(
        self, directory: str | os.PathLike[str], target: str, *, private_copy: bool = False, lasting: float = 1.0
    ) -> None:
        """Have a directory of this machine in the box at `target`, read only, or (`private_copy`) writable there, with
        what is written kept in the box. Nothing is ever written here.

        Files are read when they are used. `lasting`: virtual seconds for which the box need not look for changes.
        Raises `OSError`; `BoxError` when the kernel has no FUSE or overlay file system.
        """
        self._must_be_open()
        if self._shares is None:
            from kobox.box.guest.host_share import Shares

            self._shares = Shares(self, [])
        self._shares.add(os.fspath(directory), target, private_copy=private_copy, lasting=lasting)

    def _resume_shares(self, saved: Any) -> None:
        """The helpers that serve shared directories go on with the call that they are in."""
        self._shares = None
        if saved:
            from kobox.box.guest.host_share import Shares

            self._shares = Shares(self, saved)

    def start_spare(self) -> None:
        """Start a shell that waits for a command, to be kept in a snapshot (`kobox.box.guest.subprocess.Spare`)."""
        from kobox.box.guest.subprocess import Spare

        self._spare = Spare.start(self).row

    def take_spare(self, command: str, stdout: Any, stderr: Any) -> Program | None:
        """Have the shell that waits run a command of one line; None when there is none."""
        from kobox.box.guest.subprocess import Spare

        row, self._spare = self._spare, None
        return None if row is None or "\n" in command else Spare(row).take(self, command, stdout, stderr)

    def copy_in(self, source: str | os.PathLike[str], target: str) -> None:
        """Copy a file or a directory tree of this machine into the box, to `target`, or into it where it is a
        directory."""
        from kobox.box.guest import host_copy as bringing

        bringing.copy_in(self, source, target)

    def copy_out(self, source: str, target: str | os.PathLike[str]) -> None:
        """Copy a file or a directory tree of the box to this machine: to `target`, or into it where it is a directory.

        The box is not trusted: see `kobox.box.guest.copy_out`. Raises `BoxError` for an answer that is impossible.
        """
        from kobox.box.guest.copy_out import copy_out

        copy_out(self, source, target)

    # -- files --------------------------------------------------------------------------------------------------

    def open(self, path: str | BoxPath, mode: str = "r", *, flags: int = 0, permissions: int = 0o666) -> IO[Any]:
        """Open a file of the box, as Python's `open` does. Binary files are unbuffered and offer ioctl, poll and mmap
        (`BoxFile`). `flags` are added to open(2)'s, such as os.O_NONBLOCK."""
        return open_file(self, str(path), mode, flags, permissions)

    def path(self, path: str) -> BoxPath:
        """A path of the box, with pathlib's methods."""
        return BoxPath(self, path)

    def read_bytes(self, path: str) -> bytes:
        with self.open(path, "rb") as file:
            return bytes(file.readall())  # type: ignore[attr-defined]

    def write_bytes(self, path: str, data: bytes) -> None:
        with self.open(path, "wb") as file:
            view = memoryview(data)
            while len(view):
                view = view[written(file.write(view), len(view)) :]

    def listdir(self, path: str) -> list[str]:
        return self.list_until(path, None)

    def list_until(self, path: str, last: Callable[[str], bool] | None) -> list[str]:
        """The names in a directory up to the first for which `last(name)` is true; the kernel is asked for no more."""
        fd = self.syscall("open", path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0)
        names: list[str] = []
        buffer = bytearray(1 << 15 if last is None else 512)
        try:
            while count := self.syscall("getdents64", fd, buffer, len(buffer)):
                for name in parse_dirents(bytes(buffer[: answered(count, len(buffer))]), path):
                    if len(names) >= MOST_NAMES:
                        raise OSError(errno.E2BIG, f"getdents64: more than {MOST_NAMES} names", path)
                    if last is not None and last(name):
                        return names
                    names.append(name)
        finally:
            self.syscall("close", fd)
        return names

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        buffer = bytearray(144)
        self.syscall("stat" if follow_symlinks else "lstat", path, buffer)
        return self.arch.abi.parse_stat(bytes(buffer))

    def readlink(self, path: str) -> str:
        buffer = bytearray(4096)
        count = answered(self.syscall("readlink", path, buffer, len(buffer)), len(buffer), path)
        return os.fsdecode(bytes(buffer[:count]))

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        """mkdir(2)."""
        self.syscall("mkdir", path, mode)

    def mknod(self, path: str, mode: int, device: tuple[int, int] = (0, 0)) -> None:
        """mknod(2); `mode` has the type (stat.S_IFCHR …), `device` is (major, minor)."""
        self.syscall("mknod", path, mode, os.makedev(*device))

    def mount(self, source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
        """mount(2)."""
        self.syscall("mount", source, target, kind, flags, data or None)

    def umount(self, target: str, flags: int = 0) -> None:
        """umount2(2)."""
        self.syscall("umount2", target, flags)

    def unlink(self, path: str) -> None:
        """unlink(2)."""
        self.syscall("unlink", path)

    def socket(self, family: int, kind: int, protocol: int = 0) -> Any:
        """A socket of the box's own network (`kobox.box.guest.sockets.BoxSocket`)."""
        from kobox.box.guest.sockets import BoxSocket

        return BoxSocket(self, family, kind, protocol)

    # -- network and disks --------------------------------------------------------------------------------------

    @property
    def network(self) -> Network:
        """The box's network cards, whose other ends are here (`kobox.box.devices.network`)."""
        from kobox.box.devices.network import Network

        if self._network is None:
            self._network = Network(self)
        return self._network

    def attach_disk(
        self,
        path: str | os.PathLike[str],
        *,
        readonly: bool = False,
        copy_on_write: bool = True,
        most_changes: int = 1 << 30,
    ) -> Disk:
        """Make an image file a disk of the box, `/dev/vda` and so on (`kobox.box.devices.disks.Disk`).

        What the box writes is kept here, up to `most_changes` bytes, and written out by `Disk.save`; with
        `copy_on_write=False` it goes straight to the image.

        Raises `KoboxError` when the image is missing, no whole number of sectors or in use, and when the kernel has no
        driver for it.
        """
        from kobox.box.devices import disks

        self._must_be_open()
        return disks.attach(self, path, readonly=readonly, copy_on_write=copy_on_write, most_changes=most_changes)

    @property
    def disks(self) -> list[Disk]:
        """The disks that are attached."""
        from kobox.box.devices import disks

        return disks.attached(self)

    # -- modules ------------------------------------------------------------------------------------------------

    @property
    def release(self) -> str:
        return str(self._about["release"])

    def init_module(self, image: bytes, parameters: str = "", flags: InitFlags = InitFlags.NONE) -> None:
        with self._loading.of(image):
            self._init_module(image, parameters, flags)

    def _init_module(self, image: bytes, parameters: str, flags: InitFlags) -> None:
        if not flags:
            self.syscall("init_module", image, len(image), parameters)
            return
        fd = self.syscall("memfd_create", "module", 1)
        try:
            for start in range(0, len(image), 1 << 19):
                chunk = image[start : start + (1 << 19)]
                self.syscall("write", fd, chunk, len(chunk))
            self.syscall("finit_module", fd, parameters, int(flags))
        finally:
            if self.alive:
                self.syscall("close", fd)

    def delete_module(self, name: str, flags: DeleteFlags = DeleteFlags.NONBLOCK) -> None:
        self.syscall("delete_module", name, int(flags))

    def insmod(
        self,
        source: str | os.PathLike[str] | bytes | IO[bytes],
        parameters: str = "",
        *,
        force: bool = False,
        **values: Any,
    ) -> LoadedModule:
        """Load a module: a real init_module(2). `source` is a path, the file's bytes or a file object;
        compressed or not.

        Parameters are text as on insmod's command line, or keywords. `force` ignores version magic and symbol versions.
        Raises `ModuleLoadError` with errno and the kernel's lines; `ProcessDiedError` when the module's init oopses;
        `ModuleFormatError` for a damaged compressed file; `BoxHungError`, `BoxTimeoutError`, `KernelPanicError`.
        """
        path, image = module_bytes(source)
        name = module_name(image, path)
        start = self.log.next_seq
        text = parameter_text(parameters, values)
        flags = InitFlags.IGNORE_MODVERSIONS | InitFlags.IGNORE_VERMAGIC if force else InitFlags.NONE
        try:
            self.init_module(image, text, flags)
        except OSError as error:
            if isinstance(error, KoboxError):
                raise
            lines = [record.text for record in self.log.since(start)]
            raise ModuleLoadError(error.errno or 0, f"{path or name}: not loaded", module=name, log=lines) from None
        return LoadedModule(self, name, start)

    def rmmod(self, name: str, *, force: bool = False) -> None:
        """Unload a module: a real delete_module(2). Raises `ModuleUnloadError` with errno and the kernel's lines."""
        name = name.replace("-", "_")
        start = self.log.next_seq
        flags = DeleteFlags.NONBLOCK | (DeleteFlags.FORCE if force else DeleteFlags.NONE)
        try:
            self.delete_module(name, flags)
        except OSError as error:
            if isinstance(error, KoboxError):
                raise
            lines = [record.text for record in self.log.since(start)]
            raise ModuleUnloadError(error.errno or 0, f"{name}: not unloaded", module=name, log=lines) from None

    def modprobe(self, name: str, parameters: str = "", **values: Any) -> Any:
        """Load a module of the kernel's own tree, by name or alias, with everything it needs, in the right order.

        Returns what was loaded (`kobox.kmod.modprobe.Loaded`). Raises `KoboxError` when there is no such module,
        `ModuleLoadError` as `insmod` does.
        """
        if self.loader is None:
            raise KoboxError("this box has no module tree", hint="Boot it with `kobox.boot`.")
        return self.loader(self, name, parameter_text(parameters, values))

    def uevents(self) -> list[tuple[str, dict[str, str]]]:
        """What appeared, changed or went since the last call, as the kernel tells udev: (action, facts).

        Facts have lower-case names: devpath, subsystem, devname, major … (lib/kobject_uevent.c).
        """
        found = []
        buffer = bytearray(16384)
        while self._uevents >= 0:
            try:
                count = self.syscall("read", self._uevents, buffer, len(buffer))
            except BlockingIOError:
                break
            except OSError:
                continue  # ENOBUFS: the socket's queue ran over; the rest is still there
            words = bytes(buffer[:count]).decode(errors="replace").split("\0")
            facts = {
                name.lower(): value for name, _, value in (word.partition("=") for word in words[1:] if "=" in word)
            }
            found.append((facts.pop("action", ""), facts))
        return found

    def modules(self) -> list[str]:
        """The names of the loaded modules, newest first, as /proc/modules has them."""
        return [line.split(" ", 1)[0] for line in self.read_text("/proc/modules").splitlines()]

    def _answer(self, program: Process) -> None:
        """The kernel has run a program: /sbin/modprobe, by its first argument's name, with an alias as its last."""
        arguments = program.arguments
        self.requests.append(arguments)
        if not arguments[0].endswith("modprobe") or self.loader is None:
            raise KoboxError(f"{arguments[0]}: no such program in this box")
        before = self._main, self._calls
        self._main, self._calls = program, Calls(self._processes, Arena(self._machine, program.space))
        try:
            self.loader(self, arguments[-1], "")
        finally:
            self._main, self._calls = before

    # -- what is wrong ------------------------------------------------------------------------------------------

    @property
    def findings(self) -> list[Finding]:
        """What the kernel has reported since boot (or the checkpoint that was restored): warnings, bugs,
        oopses, panics."""
        return findings_in(self.log.since(self._findings_from))

    def _explain(self) -> tuple[list[str], str]:
        """For errors: what the kernel has said in the last call, and where the CPU is. A report that was begun before
        the call is given whole."""
        try:
            records = self.log.since_position(self._mark)
            for found in self.findings if records else ():
                if found.records[0].seq < records[0].seq <= found.records[-1].seq:
                    records = self.log.since(found.records[0].seq)
            lines = [record.text for record in records[-2000:]]
        except (KoboxError, ValueError):
            lines = [line.decode(errors="replace") for line in self._machine.console().splitlines()[-40:]]
        pc = self._machine.pc
        where = f"{pc:#x} in user space" if not self.arch.addresses.is_kernel(pc) else f"{pc:#x}"
        with suppress(KoboxError, ValueError):
            where = self.symbols.describe(pc) if self.arch.addresses.is_kernel(pc) else where
        return lines, where

    # -- looking inside -----------------------------------------------------------------------------------------

    @property
    def symbols(self) -> Any:
        """Addresses and names (`kobox.box.inspect.symbols.Symbols`)."""
        if self._symbols is None:
            from kobox.box.inspect.symbols import Symbols

            cache = self._place / "symbols" if self._place else None
            self._symbols = Symbols(self._machine, self._facts, cache, lambda: self.read_bytes("/proc/kallsyms"))
        return self._symbols

    @property
    def places(self) -> Places:
        """Where the kernel's variables and the members of its structures are."""
        if self._places is None:
            from kobox.box.inspect.layout_cache import Places

            self._places = Places(lambda: self.symbols, self._place / "places" if self._place else None)
        return self._places

    @property
    def memory(self) -> Memory:
        """The box's memory, virtual and physical."""
        return Memory(self._machine)

    def probe(self, where: str | int, on_entry: Any = None, on_return: Any = None, *, when: int = 0) -> Any:
        """Be called when the kernel reaches a function or address (`kobox.box.inspect.probes`)."""
        self._must_be_open()
        return self.probes.add(where, on_entry, on_return, when=when)

    @property
    def watch(self) -> Any:
        """The watcher of memory and of modules' instructions (`kobox.machine.watch`)."""
        self._must_be_open()
        if self._watch is None:
            from kobox.machine.watch import Watch

            self._watch = Watch(self._machine)
        return self._watch

    @property
    def probes(self) -> Any:
        """All probes of this box."""
        if self._probes is None:
            from kobox.box.inspect.probes import Probes

            self._probes = Probes(self._machine, self.symbols)
        return self._probes

    def user_read(self, address: int, size: int) -> bytes:
        """Memory of the box's processes; pages that are not there yet are brought in by the kernel, as for a
        program."""
        try:
            return self._machine.read(address, size, self._processes.space)
        except ValueError:
            self.syscall("madvise", address & -4096, size + (address & 4095) + 4095 & -4096, 22)  # MADV_POPULATE_READ
            return self._machine.read(address, size, self._processes.space)

    def user_write(self, address: int, data: bytes) -> None:
        """Write memory of the box's processes, as `user_read` reads it."""
        try:
            self._machine.write(address, data, self._processes.space)
        except ValueError:
            size = len(data) + (address & 4095) + 4095 & -4096
            self.syscall("madvise", address & -4096, size, 23)  # MADV_POPULATE_WRITE
            self._machine.write(address, data, self._processes.space)

    @property
    def processes(self) -> Processes:
        """Who has the CPU."""
        return self._processes

    @property
    def objects(self) -> Any:
        """The kernel's objects in memory, by BTF (`kobox.box.inspect.objects.Objects`)."""
        self._must_be_open()
        if self._objects is None:
            from kobox.box.inspect.objects import Objects

            self._objects = Objects(self)
        return self._objects

    @property
    def unwinder(self) -> Unwinder:
        """Which calls have led to where the CPU is."""
        self._must_be_open()
        if self._unwinder is None:
            machine = self._machine
            view = KernelView(machine.registers, machine.read, self.symbols, lambda: self.epoch)
            self._unwinder = machine.arch.unwinder(view)
        return self._unwinder

    @property
    def machine(self) -> Machine:
        """The machine below: registers, console, counters."""
        return self._machine

    @property
    def arch(self) -> Arch:
        """The architecture of the box's CPU: registers by role, addresses, system calls (`kobox.arch.arch.Arch`)."""
        return self._machine.arch


class BoxProcess:
    """Another process of a box: it shares memory and files with the main one, and may block in a call of its own."""

    def __init__(self, box: Box, process: Process) -> None:
        self._box = box
        self._process = process

    @property
    def pid(self) -> int:
        """Its process ID in the box."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.state is not State.DEAD

    def syscall(self, name: str, *arguments: Any, limits: Limits | None = None) -> int:
        """As `Box.syscall`, made by this process."""
        return self._box._calls.call(self._process, name, arguments, limits)

    def start(self, name: str, *arguments: Any) -> Call:
        """Begin a call that may block: comes back when it has returned or everything in the box waits."""
        return self._box._calls.start(self._process, name, arguments)

    def start_later(self, seconds: float, name: str, *arguments: Any) -> Callable[[], bool]:
        """Begin to sleep, and make the call at once on waking; what is returned tells whether it has begun."""
        return self._box._calls.start_later(self._process, seconds, name, arguments)

    def kill(self) -> None:
        """SIGKILL it."""
        self._box._processes.kill(self._process)

    def __enter__(self) -> BoxProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._box.alive:
            self.kill()
