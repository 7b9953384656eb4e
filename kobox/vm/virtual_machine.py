"""`VirtualMachine`: a kernel under QEMU as a `Kernel`: files, modules, the log; every call is one of its first process.

The first machine of a kernel boots, and leaves a snapshot (`kobox.vm.vm_snapshot`) that the next ones resume.

A call that loads or unloads a module is made in a child: when the kernel oopses in it, the child dies and the machine
goes on.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from kobox.arch.registry import architecture
from kobox.box.boot import snapshots
from kobox.box.boot.boot_failure import boot_failure
from kobox.box.boot.init_program import command_line
from kobox.box.guest.files import parse_dirents
from kobox.errors import BoxHungError, KernelPanicError, KoboxError, ProcessDiedError, SnapshotError
from kobox.images.kernel_image import KernelImage
from kobox.kernel.interface import DeleteFlags, InitFlags, Kernel
from kobox.machine import initramfs
from kobox.vm import vm_snapshot
from kobox.vm.agent import DATA, DATA_SIZE, HELLO, agent_elf
from kobox.vm.memory import WINDOW, VmMemory
from kobox.vm.qemu import Qemu, qemu_for

VmArgument: TypeAlias = "int | str | bytes | bytearray | None"

_CALL, _WRITE, _READ, _IN_CHILD, _SPAWN = range(5)
_LEAST_DATA = 4096  # bytes that are left free at the end of where arguments lie
_CHUNK = 1 << 14  # bytes on the serial line at once: the kernel's terminal keeps that many
_RECORD = 8192  # the longest record of /dev/kmsg
_MOUNTS = (("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run"), ("tmpfs", "/tmp"))
_DIRECTORIES = ("dev", "proc", "sys", "run", "tmp", "root", "etc", "sbin", "bin", "lib", "lib/modules", "mnt", "var")


class VirtualMachine(Kernel):
    """A kernel that was booted under QEMU. Close it, or use it in a `with` block.

    `memory` is in bytes; `cmdline` is added to the command line that boxes have; `seconds` are for the boot, and for
    each call; `accel` is QEMU's accelerator: "tcg", or "kvm" where that works (a nested one may crawl). Without
    `snapshot` none is resumed and none is left.

    Raises `KoboxError` without QEMU; `KernelPanicError`, `BoxHungError` when the kernel does not come up.
    """

    def __init__(
        self,
        kernel: KernelImage,
        *,
        memory: int = 256 << 20,
        cpus: int = 1,
        cmdline: str = "",
        profile: str = "fast",
        seconds: float = 240.0,
        accel: str = "tcg",
        snapshot: bool = True,
    ) -> None:
        self.image = kernel
        self.arch = architecture("x86_64")
        self._seconds = seconds
        self._window = 0
        self._kmsg = -1
        self._cpus, self._accel = cpus, accel
        self._size = memory
        line = command_line(self.arch, cmdline, cpus, profile)
        if not snapshot:
            self._boot(line)
            return
        place = vm_snapshot.place_of(kernel, qemu_for(kernel), line, memory, cpus, accel)
        with snapshots.lock(place):
            if not self._resumed(place):
                self._boot(line)
                try:
                    self._keep(place)
                except BaseException:
                    self.close()
                    raise

    def _boot(self, line: str) -> None:
        self._memory = VmMemory(self._size)
        line = f"{line} {self._memory.argument}"
        self._start(_root(), line)
        try:
            self._await_agent()
            self._qemu.remove_files()
            for kind, target in _MOUNTS:
                self.call("mount", kind, target, kind, 0, None)
            self._kmsg = self.call("open", "/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, 0)
            self._open_window()
            self.new_lines()  # of the boot
        except BaseException:
            self.close()
            raise

    def _start(self, initramfs: bytes, line: str, *, resumed: bool = False) -> None:
        try:
            self._qemu = Qemu(
                self.image,
                initramfs,
                line,
                memory=self._memory,
                cpus=self._cpus,
                accel=self._accel,
                resumed=resumed,
            )
        except BaseException:
            self._memory.close()
            raise

    def _open_window(self) -> None:
        """Map the window into the agent; a kernel without /dev/mem does without."""
        if not self._memory.windowed:
            return
        with suppress(OSError):
            file = self.call("open", "/dev/mem", os.O_RDWR | os.O_CLOEXEC, 0)
            self._window = self.call("mmap", 0, WINDOW, 3, 1, file, self._size)  # PROT_READ | PROT_WRITE, MAP_SHARED
            self.call("close", file)

    def _keep(self, place: Path) -> None:
        """Leave a snapshot, and go on; a QEMU that cannot make one does without."""
        remembered = {"kmsg": self._kmsg, "window": self._window}
        with suppress(KoboxError, OSError):
            vm_snapshot.save(place, self._qemu.monitor, self._memory, remembered)
        self._qemu.monitor.go_on()

    def _resumed(self, place: Path) -> bool:
        """Whether there was a snapshot, and the machine runs from it. A damaged one is removed."""
        try:
            found = vm_snapshot.find(place)
            if found is None:
                return False
            self._kmsg, self._window = int(found.memory["kmsg"]), int(found.memory["window"])
            self._memory = VmMemory(self._size)
            self._start(b"", "", resumed=True)
        except (SnapshotError, KeyError, TypeError, ValueError):
            shutil.rmtree(place, ignore_errors=True)
            self._window = 0
            return False
        try:
            vm_snapshot.load(found, self._qemu.monitor, self._memory)
            self._qemu.monitor.go_on()
            self._qemu.remove_files()
        except (KoboxError, OSError):
            self.close()
            shutil.rmtree(place, ignore_errors=True)
            self._window = 0
            return False
        except BaseException:
            self.close()
            raise
        return True

    def _await_agent(self) -> None:
        try:
            self._qemu.receive(len(HELLO), self._seconds)
        except (BoxHungError, KernelPanicError) as error:
            found = boot_failure(self._qemu.console(), hung=isinstance(error, BoxHungError))
            message = f"{self.image.name} did not come up in the virtual machine: {found.reason}"
            raise type(error)(message, log=error.log, hint=found.hint) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the machine."""
        self._qemu.close()
        self._memory.close()

    @property
    def kernel(self) -> Kernel:
        """This machine, where a place with a kernel and its log is wanted."""
        return self

    # -- the interface ---------------------------------------------------------------------------------------------

    @property
    def release(self) -> str:
        """As `uname -r` prints it."""
        buffer = bytearray(390)
        self.call("uname", buffer)
        return bytes(buffer[130:195]).partition(b"\0")[0].decode()

    def read_bytes(self, path: str) -> bytes:
        fd = self.call("open", path, os.O_RDONLY | os.O_CLOEXEC, 0)
        try:
            out, chunk = bytearray(), bytearray(1 << 16)
            while count := self.call("read", fd, chunk, len(chunk)):
                out += chunk[:count]
            return bytes(out)
        finally:
            self.call("close", fd)

    def write_bytes(self, path: str, data: bytes) -> None:
        fd = self.call("open", path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            while data:
                data = data[self.call("write", fd, data[: 1 << 18], min(len(data), 1 << 18)) :]
        finally:
            self.call("close", fd)

    def listdir(self, path: str) -> list[str]:
        fd = self.call("open", path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0)
        try:
            found: list[str] = []
            chunk = bytearray(1 << 15)
            while count := self.call("getdents64", fd, chunk, len(chunk)):
                found += parse_dirents(bytes(chunk[:count]), path)
            return found
        finally:
            self.call("close", fd)

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        buffer = bytearray(144)
        self.call("stat" if follow_symlinks else "lstat", path, buffer)
        return self.arch.abi.parse_stat(bytes(buffer))

    def readlink(self, path: str) -> str:
        buffer = bytearray(4096)
        return os.fsdecode(bytes(buffer[: self.call("readlink", path, buffer, len(buffer))]))

    def init_module(self, image: bytes, parameters: str = "", flags: InitFlags = InitFlags.NONE) -> None:
        fd = self._file_of(image)
        try:
            if flags:
                self.call_in_child("finit_module", fd, parameters, int(flags))
                return
            address = self.call("mmap", 0, len(image), 1, 2, fd, 0)  # PROT_READ, MAP_PRIVATE
            try:
                self.call_in_child("init_module", address, len(image), parameters)
            finally:
                self.call("munmap", address, len(image))
        finally:
            self.call("close", fd)

    def _file_of(self, image: bytes) -> int:
        """A descriptor of a file with that content."""
        fd = self.call("memfd_create", "module", 1)
        for start in range(0, len(image), 1 << 18):
            part = image[start : start + (1 << 18)]
            self.call("write", fd, part, len(part))
        return fd

    def delete_module(self, name: str, flags: DeleteFlags = DeleteFlags.NONBLOCK) -> None:
        self.call_in_child("delete_module", name, int(flags))

    def new_lines(self) -> list[tuple[int, float, str]]:
        """(level, seconds since boot, text) of the kernel's log since the last call."""
        found: list[tuple[int, float, str]] = []
        while True:
            record = bytearray(_RECORD)
            try:
                count = self.call("read", self._kmsg, record, len(record))
            except BlockingIOError:
                return found
            except BrokenPipeError:  # records were overwritten before they were read
                continue
            head, _, rest = bytes(record[:count]).partition(b";")
            level, _, time = head.split(b",")[:3]
            text = rest.partition(b"\n")[0].decode(errors="surrogateescape")
            found.append((int(level) & 7, int(time) / 1e6, _unescaped(text)))

    # -- system calls ----------------------------------------------------------------------------------------------

    def call(self, name: str, *arguments: VmArgument) -> int:
        """A system call of the machine's first process. Bytearrays go there as they are, and come back as it left them.

        Raises `OSError` as the call does, with the first path among the arguments.
        """
        return self._made(_CALL, name, arguments)

    def call_in_child(self, name: str, *arguments: VmArgument) -> int:
        """The same in a child of it. Raises `ProcessDiedError` too, when the kernel kills that."""
        return self._made(_IN_CHILD, name, arguments)

    def _made(self, operation: int, name: str, arguments: Sequence[VmArgument]) -> int:
        values, back = [], []
        at, end = (self._window, self._window + WINDOW) if self._window else (DATA, DATA + DATA_SIZE)
        for argument in arguments:
            if isinstance(argument, int) or argument is None:
                values.append((argument or 0) & 0xFFFFFFFFFFFFFFFF)
                continue
            data = os.fsencode(argument) + b"\0" if isinstance(argument, str) else bytes(argument)
            if at + len(data) > end - _LEAST_DATA:
                raise ValueError(f"{name}: arguments of more than 1 MiB")
            if isinstance(argument, bytearray):
                back.append((at, argument))
            if not isinstance(argument, bytearray) or any(argument):
                self._write(at, data)
            values.append(at)
            at += len(data) + 63 & -64
        result, status = self._answer_to(operation, name, values)
        if status & 0x7F:
            log = [text for _, _, text in self.new_lines()]
            raise ProcessDiedError(f"{name}: the call was killed by an oops", status=int(status), log=log)
        if -4096 < result < 0:
            path = next((one for one in arguments if isinstance(one, str)), None)
            raise OSError(-result, os.strerror(-result), path)
        for address, target in back:
            wanted = result if name in ("read", "getdents64", "readlink") else len(target)
            target[:wanted] = self._read(address, wanted)
        return int(result)

    def _answer_to(self, operation: int, name: str, values: Sequence[int]) -> tuple[int, int]:
        values = [*values, *[0] * (6 - len(values))]
        self._qemu.send(struct.pack("<8Q", operation, self.arch.syscalls.numbers[name], *values))
        result, status = struct.unpack("<qQ", self._qemu.receive(16, self._seconds))
        return result, status

    def spawn(self, path: str, words: Sequence[str], environment: Mapping[str, str]) -> int:
        """Start a program of the machine's, as the leader of a session of its own; its process ID.

        It has the first process's directory, and its descriptors without FD_CLOEXEC. Raises `OSError` as execve(2)
        does.
        """
        base = self._window or DATA
        texts = [path, *words, *(f"{name}={value}" for name, value in environment.items())]
        strings = [os.fsencode(text) + b"\0" for text in texts]
        heads = 8 * (len(texts) + 2)  # two arrays with a null pointer at their ends
        places, at = list[int](), base + heads
        for string in strings:
            places.append(at)
            at += len(string)
        argv, envp = places[1 : 1 + len(words)], places[1 + len(words) :]
        data = struct.pack(f"<{len(texts) + 1}Q", *argv, 0, *envp, 0) + bytes(8) + b"".join(strings)
        if len(data) > DATA_SIZE - _LEAST_DATA:
            raise ValueError("the program's arguments take more than 1 MiB")
        self._write(base, data)
        result, _ = self._answer_to(_SPAWN, "execve", [places[0], base, base + 8 * (len(words) + 1)])
        if result < 0:
            raise OSError(-result, os.strerror(-result), path)
        return result

    def call_in_program(self, words: Sequence[str]) -> int:
        """Run a program to its end; its exit status, negative for a signal. Raises `OSError`."""
        pid, status = self.spawn(words[0], words, {}), bytearray(4)
        self.call("wait4", pid, status, 0, None)
        return os.waitstatus_to_exitcode(int.from_bytes(status, "little"))

    def _write(self, address: int, data: bytes) -> None:
        if self._memory.window is not None and self._window:
            at = address - self._window
            self._memory.window[at : at + len(data)] = data
            return
        for start in range(0, len(data), _CHUNK):
            part = data[start : start + _CHUNK]
            self._qemu.send(struct.pack("<8Q", _WRITE, address + start, len(part), *[0] * 5))
            self._qemu.send(part)
            self._qemu.receive(16, self._seconds)

    def _read(self, address: int, size: int) -> bytes:
        if not size:
            return b""
        if self._memory.window is not None and self._window:
            at = address - self._window
            return self._memory.window[at : at + size]
        self._qemu.send(struct.pack("<8Q", _READ, address, size, *[0] * 5))
        return self._qemu.receive(size, self._seconds)


def _root() -> bytes:
    """The initramfs: the agent, the console, and the second serial line for it."""
    return initramfs.pack(
        [
            *(initramfs.directory(path) for path in _DIRECTORIES),
            initramfs.character_device("dev/console", 5, 1),
            initramfs.character_device("dev/ttyS1", 4, 65),
            initramfs.file("init", agent_elf(), 0o755),
        ]
    )


def _unescaped(text: str) -> str:
    r"""/dev/kmsg shows bytes that cannot be printed, and backslashes, as \xNN (Documentation/ABI/testing/dev-kmsg)."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), text)
