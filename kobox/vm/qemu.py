"""A QEMU process: the system's own qemu-system-x86_64, with a kernel, an initramfs and two serial lines.

    ttyS0    the console, to a file         ttyS1    the agent's, to this process by pipes
    RAM      a file that both map           monitor  a socket: snapshots are made and taken over by it

Nothing else is plugged in: no disk, no network, no display. QEMU gives up its rights by seccomp (-sandbox), and dies
with this process. A kernel with CONFIG_PVH is started as the ELF file in its image: an emulated CPU unpacks slowly.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from kobox.errors import BoxHungError, KernelPanicError, KoboxError
from kobox.images.kernel_config import read_config
from kobox.images.kernel_image import KernelImage
from kobox.images.vmlinux import extract_vmlinux
from kobox.vm.memory import VmMemory
from kobox.vm.monitor import QemuMonitor

_CHUNK = 1 << 16
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


def qemu_for(kernel: KernelImage) -> str:
    """The path of the program that runs a kernel. Raises `KoboxError` where there is none."""
    if kernel.architecture != "x86_64":
        raise KoboxError(
            f"{kernel.name}: a kernel for {kernel.architecture}; virtual machines are x86-64 only",
            hint="Boxes run it.",
        )
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        raise KoboxError(
            "qemu-system-x86_64 is not installed, and virtual machines run under it",
            hint="Debian and Ubuntu: apt-get install qemu-system-x86; Fedora: dnf install qemu-system-x86-core.",
        )
    return program


class Qemu:
    """One machine that runs. Raises `KoboxError` where QEMU is not installed, or the kernel is not for x86-64."""

    def __init__(
        self,
        kernel: KernelImage,
        initramfs: bytes,
        command_line: str,
        *,
        memory: VmMemory,
        cpus: int,
        accel: str,
        resumed: bool = False,
    ) -> None:
        program = qemu_for(kernel)
        self._room = room = Path(tempfile.mkdtemp(prefix="kobox-vm-"))
        started = [] if resumed else _files_of(kernel, initramfs, command_line, room)
        self._console = room / "console"
        self._console.touch()
        ours, theirs = socket.socketpair()
        os.set_inheritable(theirs.fileno(), True)
        self.monitor = QemuMonitor(ours)
        self._process = subprocess.Popen(
            [
                *(program, "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot", "-sandbox", _SANDBOX),
                *("-M", "q35,memory-backend=ram", "-accel", accel, "-m", f"{memory.total >> 20}M", "-smp", str(cpus)),
                *(
                    "-object",
                    f"memory-backend-file,id=ram,size={memory.total},mem-path=/proc/self/fd/{memory.fd},share=on",
                ),
                *started,
                *("-chardev", f"file,id=console,path={self._console}", "-device", "isa-serial,chardev=console"),
                *("-chardev", "stdio,id=agent,signal=off", "-device", "isa-serial,chardev=agent"),
                *("-chardev", f"socket,id=monitor,fd={theirs.fileno()}", "-mon", "chardev=monitor,mode=control"),
                *(("-incoming", "defer") if resumed else ()),
            ],
            pass_fds=(theirs.fileno(), memory.fd),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        theirs.close()
        self._guard, self._guardian = _guardian_of(self._process.pid, room)
        self._reader = os.open(self._console, os.O_RDONLY | os.O_CLOEXEC)  # behind a wall nothing more is opened

    def send(self, data: bytes) -> None:
        """Send bytes to the agent. Raises `KernelPanicError` when the machine has stopped."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._stopped() from error

    def receive(self, size: int, seconds: float) -> bytes:
        """So many bytes of the agent's. Raises `BoxHungError` when they do not come in time, `KernelPanicError` when
        the machine has stopped."""
        assert self._process.stdout is not None
        out, end = bytearray(), time.monotonic() + seconds
        while len(out) < size:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise BoxHungError(
                    f"the virtual machine did not answer within {seconds:g} s",
                    log=self.console()[-40:],
                    hint="Start another one. What the call waits for, its log may say.",
                )
            data = os.read(self._process.stdout.fileno(), min(size - len(out), _CHUNK))
            if not data:
                raise self._stopped()
            out += data
        return bytes(out)

    def console(self) -> list[str]:
        """What the kernel has printed on its console, from the beginning; of more than 4 MiB the end."""
        size = os.fstat(self._reader).st_size
        begin = max(0, size - (4 << 20))
        return os.pread(self._reader, size - begin, begin).decode(errors="replace").replace("\r", "").splitlines()

    def remove_files(self) -> None:
        """Remove what QEMU has read: it has what it needs once the kernel runs, and nobody may remove anything behind a
        wall."""
        shutil.rmtree(self._room, ignore_errors=True)

    def close(self) -> None:
        """End the process."""
        self.monitor.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with suppress(OSError):  # what a machine that has stopped did not take any more
                    stream.close()
        if self._guard >= 0:
            os.close(self._guard)
            self._guard = -1
            os.waitpid(self._guardian, 0)
            self._process.wait()
            os.close(self._reader)

    def _stopped(self) -> KernelPanicError:
        error = b""
        if self._process.stderr is not None and select.select([self._process.stderr], [], [], 1.0)[0]:
            error = os.read(self._process.stderr.fileno(), 4096)
        console = self.console()
        panic = next((line for line in console if "Kernel panic" in line), "")
        said = panic.partition("] ")[2] or error.decode(errors="replace").strip() or "it ended"
        return KernelPanicError(
            f"the virtual machine stopped: {said}", log=console[-40:], hint="Start another one; its log says why."
        )


def _files_of(kernel: KernelImage, initramfs: bytes, command_line: str, room: Path) -> list[str]:
    """What QEMU starts a kernel from, as options; a machine that is resumed has it in its memory."""
    (room / "initramfs").write_bytes(initramfs)
    image = kernel.vmlinuz
    if read_config(kernel).get("PVH") == "y":
        image = room / "vmlinux"
        image.write_bytes(extract_vmlinux(kernel.vmlinuz.read_bytes(), str(kernel.vmlinuz)))
    return ["-kernel", str(image), "-initrd", str(room / "initramfs"), "-append", command_line]


def _guardian_of(pid: int, room: Path) -> tuple[int, int]:
    """A process that kills another and removes its files once the descriptor that is returned is closed, by the end of
    this process, too; and its number. Behind a wall this process may send no signal, nor does the kernel in its name
    (PR_SET_PDEATHSIG)."""
    theirs, ours = os.pipe()
    guardian = os.fork()
    if guardian:
        os.close(theirs)
        return ours, guardian
    try:
        os.setsid()
        os.dup2(theirs, 0)
        os.closerange(1, 1 << 16)
        while os.read(0, 1):
            pass
        os.kill(pid, signal.SIGKILL)
        shutil.rmtree(room, ignore_errors=True)
    finally:
        os._exit(0)
