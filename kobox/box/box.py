"""The box: a stock kernel, really booted, inside this process.

    with kobox.boot() as box:
        hello = box.insmod("hello.ko", greeting="hi")
        print(box.path("/sys/module/hello/parameters/greeting").read_text())
        hello.unload()
        assert not box.findings

A box implements `Kernel`, so every tool works in it. What happens in it is done by real processes making real system
calls (`kobox/box/guest/scheduler.py`); Python gives them their registers.

    box.files      mounts, device nodes, copies, shared directories      box.inspect    symbols, types, memory, objects
    box.network    network cards, sockets                                box.events     to hear of what happens
    box.disks      image files as block devices                          box.guest      the processes that make calls
    box.schedule   the turns of several CPUs
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias, Unpack, overload

from kobox.arch.arch import Arch
from kobox.box.boot import snapshots
from kobox.box.events import BoxEvents
from kobox.box.guest.answers import answered, written
from kobox.box.guest.box_files import BoxFiles
from kobox.box.guest.box_process import BoxProcess
from kobox.box.guest.files import BoxFile, open_file
from kobox.box.guest.ftrace_speedup import FtraceSpeedup
from kobox.box.guest.guest_side import GuestSide
from kobox.box.guest.paths import BoxPath
from kobox.box.guest.process import Limits, Process
from kobox.box.guest.schedule import Schedule
from kobox.box.guest.syscall import AnyPath, Argument, path_text
from kobox.box.inspect.inspector import Inspector
from kobox.box.inspect.oops import KernelReport, findings_in
from kobox.box.inspect.printk import KernelLog
from kobox.box.inspect.vmcoreinfo import VmCoreInfo
from kobox.box.module_handle import LoadedModule, ParameterValue, parameter_text
from kobox.box.module_source import ModuleSource, module_bytes, module_name
from kobox.errors import KoboxError, ModuleLoadError, ModuleUnloadError
from kobox.images.store import KernelImage
from kobox.kernel.interface import DeleteFlags, InitFlags, Kernel
from kobox.machine.pc import Checkpoint, Machine

if TYPE_CHECKING:
    import subprocess

    import drgn

    from kobox.box.bpf.bpf_object import Bpf
    from kobox.box.devices.disks import Disks
    from kobox.box.devices.network import Network
    from kobox.box.devices.plug import Plugged
    from kobox.box.guest.program import Program
    from kobox.box.guest.subprocess import Argv, PopenOptions, RunOptions
    from kobox.box.inspect.probes import Callback, Probe
    from kobox.box.profile.recorder import Profile
    from kobox.box.trace.trace import CallTrace
    from kobox.kmod.modprobe import Loaded

TextMode: TypeAlias = Literal[
    "r", "w", "a", "x", "r+", "+r", "w+", "+w", "a+", "+a", "x+", "+x", "rt", "wt", "at", "xt"
]
BinaryMode: TypeAlias = Literal[
    "rb", "br", "wb", "bw", "ab", "ba", "xb", "bx", "r+b", "rb+", "+rb", "w+b", "wb+", "a+b", "ab+", "x+b", "xb+"
]


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


_MOST_UEVENTS = 4096  # in one call: more than a socket's queue holds
_REPORT = 1000  # records: a report of the kernel's is shorter


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
        facts = VmCoreInfo(about["facts"])
        self.log = KernelLog(machine, facts)
        self._mark = 0
        self.guest = GuestSide(machine, self._explain, self._begin_call)
        self.files = BoxFiles(self)
        self._place = place
        self.inspect = Inspector(machine, facts, place, self._table, lambda: self.read_bytes("/proc/kallsyms"))
        self._load(about)
        self.events.slice.subscribe(self.log.collect)
        self.events.request.subscribe(self._answer)
        if about["patcher"]:
            machine.set_patcher(about["patcher"])
        self._reset_point = BoxCheckpoint(self, machine.checkpoint_of(state), about)
        self._uevents = int(about["uevents"])
        self._ftrace = FtraceSpeedup(self.inspect)
        self.schedule = Schedule(self.guest, machine)
        self._network: Network | None = None
        self._disks: Disks | None = None
        self._bpf: Bpf | None = None

    # -- life --------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether the box can still make calls: it is open, and its kernel has not died."""
        return self.guest.alive

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.guest.closed

    def close(self) -> None:
        """Free the box. Files and modules in it are gone."""
        if not self.closed:
            self.guest.closed = True
            self.inspect.close()
            self._reset_point.release()
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
        self._reset_point.restore()

    def set_reset_point(self) -> None:
        """Make this state of the box the one that `reset` goes back to."""
        old, self._reset_point = self._reset_point, self.checkpoint()
        old.release()

    def save(self, place: Path) -> None:
        """Write this state of the box as a snapshot, for `resume`. Raises `KoboxError` when there is no room."""
        self.syscall("getpid")  # the main process has the CPU, as in the snapshot of a boot
        sums = self._about["tables"]
        tables = {name: data for name in sums if (data := self._table(name)) is not None}
        snapshots.save(place, self._machine, {**self._about, **self._state()}, tables)

    def _table(self, name: str) -> bytes | None:
        """A table of the kernel as it was when it had booted: see `Symbols.tables`."""
        return snapshots.table(self._place, name, self._about["tables"]) if self._place else None

    def _state(self) -> dict[str, Any]:
        return {
            "processes": self.guest.processes.save(),
            "main": self.guest.main_number,
            "findings": self._findings_from,
            "workers": self.guest.workers.save(),
            "warm_shell": self.guest.warm_shell,
            "shares": self.files.save(),
            "copies": self.files.save_copies(),
        }

    def _load(self, about: dict[str, Any]) -> None:
        """Undo `_state`."""
        self.guest.load(about["processes"], about.get("main", 1), about.get("workers", ()))
        self.guest.warm_shell = about.get("warm_shell")
        self.files.load(about.get("shares", ()), about.get("copies", ()))
        self._findings_from = int(about["findings"])

    def _go_back(self, checkpoint: Checkpoint, about: dict[str, Any]) -> None:
        before = self._machine.time
        self._machine.restore(checkpoint)
        self._about = self._about | about
        self.log.forget()
        self._mark = 0
        self._load(self._about)
        self.inspect.restored()
        self._bpf = None  # its descriptors are those of another state
        self.events.restored.notify(before)

    # -- time ---------------------------------------------------------------------------------------------------

    @property
    def time(self) -> float:
        """Virtual seconds of the kernel's own clock (CLOCK_MONOTONIC, ktime_get()). It begins some time after power
        on; that of the log (sched_clock()) begins at yet another moment."""
        return float(self._machine.time - self._about["clock_start"]) / 1e9

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass: timers fire and work runs, at once in wall time."""
        self.guest.processes.pass_time(seconds)

    @property
    def limits(self) -> Limits:
        """How long a call may take in virtual seconds (`timeout`), and how much CPU time it may burn (`cpu`)."""
        return self.guest.processes.limits

    @property
    def events(self) -> BoxEvents:
        """What happens in the box, to subscribe to."""
        return self.guest.processes.events

    # -- system calls and programs ------------------------------------------------------------------------------

    def syscall(self, name: str, *arguments: Argument, limits: Limits | None = None) -> int:
        """Make a system call in the box's main process; its value.

        Arguments are int, None, str and paths, bytes, and writable buffers, which get back what the kernel wrote
        (see `kobox.box.guest.syscall`). Raises `OSError` with errno; `ProcessDiedError` when the process is killed
        in the call (another takes its place); `BoxTimeoutError`, `BoxHungError`, `KernelPanicError`.
        """
        return self.guest.syscall(name, *arguments, limits=limits)

    def process(self, *, cpu: int = 0) -> BoxProcess:
        """Another process of the box, which shares files and memory with the main one: for calls that block, and for
        those on another CPU. Raises `ValueError` when the box has no such CPU."""
        self.guest.must_be_open()
        if not 0 <= cpu < self.cpus:
            raise ValueError(f"cpu={cpu}: this box has {self.cpus} (`kobox.boot(cpus=...)`)")
        process = BoxProcess(self.guest, self.guest.processes.spawn())
        if cpu:
            process.move(cpu)
        return process

    @property
    def cpus(self) -> int:
        """How many CPUs it has."""
        return self._machine.cpus

    def _begin_call(self) -> None:
        self._mark = self.log.position()

    @overload
    def run(
        self, argv: Argv, *, text: Literal[True], input: str | None = ..., **options: Unpack[RunOptions]
    ) -> subprocess.CompletedProcess[str]: ...
    @overload
    def run(
        self, argv: Argv, *, text: Literal[False] = ..., input: bytes | None = ..., **options: Unpack[RunOptions]
    ) -> subprocess.CompletedProcess[bytes]: ...
    def run(
        self, argv: Argv, *, text: bool = False, input: str | bytes | None = None, **options: Unpack[RunOptions]
    ) -> subprocess.CompletedProcess[str] | subprocess.CompletedProcess[bytes]:
        """Run a program in the box to its end, as `subprocess.run`.

        `argv` is a list of words. Options are subprocess's: `input`, `capture_output`, `stdin`, `stdout`,
        `stderr`, `env`, `cwd`, `check`, `timeout` (virtual seconds), `text`, `user` (a number). A program that the box
        does not have is brought from this machine, with its loader and libraries. Without a pipe, output goes to this
        process's own.

        Raises `CalledProcessError`, `TimeoutExpired` as subprocess does; `ProgramError` for a program that cannot run;
        `OSError`; `KernelPanicError`, `BoxHungError`.
        """
        from kobox.box.guest import subprocess as programs

        self.guest.must_be_open()
        return programs.run(self, argv, text=text, input=input, **options)

    @overload
    def popen(self, argv: Argv, *, text: Literal[True], **options: Unpack[PopenOptions]) -> Program[str]: ...
    @overload
    def popen(self, argv: Argv, *, text: Literal[False] = ..., **options: Unpack[PopenOptions]) -> Program[bytes]: ...
    def popen(
        self, argv: Argv, *, text: bool = False, **options: Unpack[PopenOptions]
    ) -> Program[str] | Program[bytes]:
        """Start a program in the box, as `subprocess.Popen`: see `run`, and `kobox.box.guest.program.Program`."""
        from kobox.box.guest import subprocess as programs

        self.guest.must_be_open()
        return programs.popen(self, argv, text=text, **options)

    # -- files --------------------------------------------------------------------------------------------------

    @overload
    def open(
        self,
        path: AnyPath,
        mode: TextMode = ...,
        *,
        flags: int = ...,
        permissions: int = ...,
        encoding: str | None = ...,
        errors: str | None = ...,
        newline: str | None = ...,
    ) -> IO[str]: ...
    @overload
    def open(self, path: AnyPath, mode: BinaryMode, *, flags: int = ..., permissions: int = ...) -> BoxFile: ...
    def open(
        self,
        path: AnyPath,
        mode: str = "r",
        *,
        flags: int = 0,
        permissions: int = 0o666,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[str] | BoxFile:
        """Open a file of the box, as Python's `open` does. Binary files are unbuffered and offer ioctl, poll and mmap
        (`BoxFile`); text is UTF-8 unless another `encoding` is given. `flags` are added to open(2)'s, such as
        os.O_NONBLOCK."""
        return open_file(
            self,
            path_text(path),
            mode,
            flags=flags,
            permissions=permissions,
            encoding=encoding,
            errors=errors,
            newline=newline,
        )

    def path(self, *parts: AnyPath) -> BoxPath:
        """A path of the box, with pathlib's methods."""
        return BoxPath(self, *parts)

    def read_bytes(self, path: AnyPath) -> bytes:
        with self.open(path, "rb") as file:
            return file.readall()

    def read_text(self, path: AnyPath) -> str:
        return super().read_text(path_text(path))

    def write_bytes(self, path: AnyPath, data: bytes) -> None:
        with self.open(path, "wb") as file:
            view = memoryview(data)
            while len(view):
                view = view[written(file.write(view), len(view)) :]

    def listdir(self, path: AnyPath) -> list[str]:
        return list(self.files.scandir(path))

    def mkdir(self, path: AnyPath) -> None:
        self.files.mkdir(path)

    def rmdir(self, path: AnyPath) -> None:
        self.syscall("rmdir", path)

    def stat(self, path: AnyPath, *, follow_symlinks: bool = True) -> os.stat_result:
        buffer = bytearray(144)
        self.syscall("stat" if follow_symlinks else "lstat", path, buffer)
        return self.arch.abi.parse_stat(bytes(buffer))

    def exists(self, path: AnyPath) -> bool:
        return super().exists(path_text(path))

    def readlink(self, path: AnyPath) -> str:
        buffer = bytearray(4096)
        count = answered(self.syscall("readlink", path, buffer, len(buffer)), len(buffer), path_text(path))
        return os.fsdecode(bytes(buffer[:count]))

    # -- network and disks --------------------------------------------------------------------------------------

    @property
    def network(self) -> Network:
        """The box's network cards, whose other ends are here, and its sockets (`kobox.box.devices.network`)."""
        if self._network is None:
            from kobox.box.devices.network import Network

            self._network = Network(self)
        return self._network

    def plug(self, device: Plugged) -> Plugged:
        """Plug a device that Python models into the box (`kobox.devices`); returns it.

        The kernel finds it and asks the drivers that are loaded. `device.unplug()` takes it out by surprise.
        Raises `KoboxError` when it is plugged in already, there is no room, or the kernel has no such bus.
        """
        from kobox.box.devices.plug import plug

        return plug(self, device)

    def load_drivers(self) -> list[str]:
        """Load the drivers of the kernel's own tree for the devices that have none, as udev does when a device comes;
        and again, for the devices that those bring. The aliases that a module was loaded for."""
        from kobox.box.devices.drivers import load_drivers

        return load_drivers(self)

    @property
    def bpf(self) -> Bpf:
        """eBPF programs in the box (`kobox.box.bpf.bpf_object`)."""
        if self._bpf is None:
            from kobox.box.bpf.bpf_object import Bpf
            from kobox.box.bpf.loader_program import loader_program
            from kobox.images.store import Store

            self._bpf = Bpf(self, lambda: loader_program(Store(), self.arch))
        return self._bpf

    @property
    def disks(self) -> Disks:
        """Image files of this machine as the box's disks (`kobox.box.devices.disks`)."""
        if self._disks is None:
            from kobox.box.devices.disks import Disks

            self._disks = Disks(self)
        return self._disks

    # -- modules ------------------------------------------------------------------------------------------------

    @property
    def release(self) -> str:
        return str(self._about["release"])

    def init_module(self, image: bytes, parameters: str = "", flags: InitFlags = InitFlags.NONE) -> None:
        with self._ftrace.loading(image):
            self._init_module(image, parameters, flags)

    def quicken_program_loads(self) -> None:
        """Let a large module that a program in the box loads take no longer than one that `insmod` loads."""
        self._ftrace.loads_of_programs()

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
        self, source: ModuleSource | BoxPath, parameters: str = "", *, force: bool = False, **values: ParameterValue
    ) -> LoadedModule:
        """Load a module: a real init_module(2). `source` is a path of this machine or a `BoxPath`, the file's bytes or
        a file object; compressed or not.

        Parameters are text as on insmod's command line, or keywords. `force` ignores version magic and symbol versions.
        Raises `ModuleLoadError` with errno and the kernel's lines; `ProcessDiedError` when the module's init oopses;
        `ModuleFormatError` for a damaged compressed file; `BoxHungError`, `BoxTimeoutError`, `KernelPanicError`.
        """
        path, image = module_bytes(source.read_bytes() if isinstance(source, BoxPath) else source)
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

    def modprobe(self, name: str, parameters: str = "", **values: ParameterValue) -> Loaded:
        """Load a module of the kernel's own tree, by name or alias, with everything it needs, in the right order.

        Returns what was loaded. Raises `KoboxError` when there is no such module, `ModuleLoadError` as `insmod` does.
        """
        loaded = self.events.load.ask(name, parameter_text(parameters, values))
        if loaded is None:
            raise KoboxError("this box has no module tree", hint="Boot it with `kobox.boot`.")
        return loaded

    def uevents(self) -> list[tuple[str, dict[str, str]]]:
        """What appeared, changed or went since the last call, as the kernel tells udev: (action, facts).

        Facts have lower-case names: devpath, subsystem, devname, major … (lib/kobject_uevent.c).
        """
        found = []
        buffer = bytearray(16384)
        for _ in range(_MOST_UEVENTS if self._uevents >= 0 else 0):
            try:
                count = answered(self.syscall("read", self._uevents, buffer, len(buffer)), len(buffer))
            except OSError as error:
                if error.errno == errno.ENOBUFS:  # the socket's queue ran over; the rest is still there
                    continue
                break  # EAGAIN: there is no more; or a module lies
            if not count:
                break
            words = bytes(buffer[:count]).decode(errors="replace").split("\0")
            facts = {
                name.lower(): value for name, _, value in (word.partition("=") for word in words[1:] if "=" in word)
            }
            found.append((facts.pop("action", ""), facts))
        return found

    @property
    def modules(self) -> list[str]:
        """The names of the loaded modules, newest first, as /proc/modules has them."""
        return [line.split(" ", 1)[0] for line in self.read_text("/proc/modules").splitlines()]

    def _answer(self, program: Process) -> bool | None:
        """The kernel has run a program: /sbin/modprobe, by its first argument's name, with an alias as its last."""
        arguments = program.arguments
        self.guest.requests.append(arguments)
        if not arguments[0].endswith("modprobe"):
            return None
        with self.guest.serving(program):
            return self.events.load.ask(arguments[-1], "") is not None or None

    # -- what is wrong ------------------------------------------------------------------------------------------

    @property
    def findings(self) -> list[KernelReport]:
        """What the kernel has reported since boot (or the checkpoint that was restored): warnings, bugs,
        oopses, panics."""
        return findings_in(self.log.since(self._findings_from))

    def _explain(self) -> tuple[list[str], str]:
        """For errors: what the kernel has said in the last call, and where the CPU is. A report that was begun before
        the call is given whole."""
        try:
            records = self.log.since_position(self._mark)
            nearby = self.log.since(max(self._findings_from, records[0].seq - _REPORT)) if records else ()
            for found in findings_in(nearby):
                if found.records[0].seq < records[0].seq <= found.records[-1].seq:
                    records = self.log.since(found.records[0].seq)
            lines = [record.text for record in records[-2000:]]
        except (KoboxError, ValueError):
            lines = [line.decode(errors="replace") for line in self._machine.console().splitlines()[-40:]]
        pc = self._machine.pc
        where = f"{pc:#x} in user space" if not self.arch.addresses.is_kernel(pc) else f"{pc:#x}"
        with suppress(KoboxError, ValueError):
            where = self.inspect.symbols.describe(pc) if self.arch.addresses.is_kernel(pc) else where
            if not where.endswith("]"):  # an interrupt's entry, or a kernel function: the module that led there
                led = map(self.inspect.symbols.describe, (frame.address for frame in self.inspect.unwinder.walk()))
                module = next((place for place in led if place.endswith("]")), "")
                where = f"{where}, from {module}" if module else where
        return lines, where

    # -- looking inside -----------------------------------------------------------------------------------------

    def probe(
        self, where: str | int, on_entry: Callback | None = None, on_return: Callback | None = None, *, when: int = 0
    ) -> Probe:
        """Be called when the kernel reaches a function or address (`kobox.box.inspect.probes`)."""
        self.guest.must_be_open()
        return self.inspect.probes.add(where, on_entry, on_return, when=when)

    def trace(
        self,
        *modules: str | os.PathLike[str],
        kernel_depth: int = 1,
        syscalls: bool = False,
        most: int = 100_000,
        background: bool = False,
    ) -> CallTrace:
        """Record the calls of modules, as a context manager (`kobox.box.trace.trace`).

        `modules` are names of modules that are loaded or will be, or paths of their files: only then are arguments and
        lines known. Without any, every module that is loaded meanwhile is traced. `kernel_depth` is how many calls deep
        the kernel is followed under the module, `syscalls` whether system calls that do not come to the module are
        told too. Recording ends after `most` calls. A trace in the `background` ends when another one begins.

        Raises `OSError` and `ModuleFormatError` for a file that cannot be read; when it begins, `KoboxError` for a
        kernel without type information, `MachineError` when the box is traced already.
        """
        from kobox.box.trace.recorder import TraceOptions
        from kobox.box.trace.trace import CallTrace, named

        self.guest.must_be_open()
        found = [named(module) for module in modules]
        options = TraceOptions(tuple(name for name, _ in found), kernel_depth, syscalls, most, background)
        files = tuple(file for _, file in found if file is not None)
        return CallTrace(self, files, options, self.events.restored.subscribe)

    def profile(self, *modules: str | os.PathLike[str]) -> Profile:
        """Count what modules execute, and the kernel for them, as a context manager (`kobox.box.profile.recorder`).

        `modules` are names of modules that are loaded or will be, or paths of their files: only then are lines known.
        Without any, every module counts. Raises `OSError` and `ModuleFormatError` for a file that cannot be read; when
        it begins, `MachineError` when the box is profiled already.
        """
        from kobox.box.profile.recorder import Profile

        self.guest.must_be_open()
        return Profile(self._machine, self.inspect, self.events.restored, modules, self.release)

    def drgn(self, *modules: str | os.PathLike[str]) -> drgn.Program:
        """The kernel as a program of drgn, on the box's memory as it is whenever something is read
        (`kobox.box.drgn_program`). `modules` are files of modules that are loaded, for their variables and types.

        Raises `KoboxError` without drgn (`pip install 'kobox[drgn]'`) or for a kernel without BTF; `OSError`,
        `ModuleFormatError`.
        """
        from kobox.box.drgn_program import drgn_program
        from kobox.ko.modulefile import ModuleFile

        self.guest.must_be_open()
        return drgn_program(self, [ModuleFile(module) for module in modules])

    def save_core(self, path: str | os.PathLike[str], symbols: str | os.PathLike[str] | None = None) -> None:
        """Write the kernel's memory and registers as a vmcore, which drgn and crash open elsewhere, with the file
        that `save_symbols` writes (`kobox.box.vmcore`). With `symbols` that file is written as well: both or none.

        Raises `OSError`; `KoboxError` for a kernel that says too little of itself.
        """
        from kobox.box.vmcore import save_core

        self.guest.must_be_open()
        save_core(self, path, symbols)

    def save_symbols(self, path: str | os.PathLike[str]) -> None:
        """Write the kernel's symbols, types and unwinding as a file that debuggers read: a `vmlinux` made of what the
        kernel has of itself (`kobox.box.symbol_file`). Raises `OSError`, `KoboxError` for a kernel without BTF."""
        from kobox.box.symbol_file.kernel_symbol_file import save_symbols

        self.guest.must_be_open()
        save_symbols(self, path)

    @property
    def machine(self) -> Machine:
        """The machine below: registers, console, counters."""
        return self._machine

    @property
    def arch(self) -> Arch:
        """The architecture of the box's CPU: registers by role, addresses, system calls (`kobox.arch.arch.Arch`)."""
        return self._machine.arch
