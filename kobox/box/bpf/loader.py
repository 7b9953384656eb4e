"""The loader under way in a box: lines to `loader.c`, rows back. It holds one object and its links."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import cast

from kobox.box.booted import BootedKernel
from kobox.box.guest.program import Program
from kobox.box.guest.subprocess import DEVNULL, PIPE, popen
from kobox.errors import KoboxError

_PLACE = "/run/kobox-bpf"
_LONGEST_ROW = 64 << 20
_MOST_ROWS = 1 << 20


# enum libbpf_errno, as libbpf_strerror() says it.
_LIBBPF = {
    4000: "something is wrong in libelf",
    4001: "the format of the object is invalid",
    4002: "the section 'version' is incorrect or lost",
    4003: "the endianness does not match",
    4004: "an internal error in libbpf",
    4005: "a relocation failed",
    4006: "the verifier refuses a program",
    4007: "a program is too large",
    4008: "a program does not fit this kernel's version",
    4009: "the kernel does not know this type of program",
}


@dataclass(frozen=True, slots=True)
class LoaderAnswer:
    """What a command came to: its rows of fields, what libbpf printed, the errno of a failure or 0."""

    rows: tuple[tuple[str, ...], ...] = ()
    said: tuple[str, ...] = ()
    errno: int = 0

    def of(self, kind: str) -> list[tuple[str, ...]]:
        """The fields of the rows of one kind, without the kind."""
        return [row[1:] for row in self.rows if row[0] == kind]


@dataclass(slots=True)
class BpfLoader:
    """One process of the loader. `box` is where, `program` the loader's file."""

    box: BootedKernel
    program: bytes
    _process: Program[bytes] | None = field(default=None, init=False)

    def ask(self, *words: str | int) -> LoaderAnswer:
        """Give a command and wait for its end. Raises `KoboxError` when the loader has died."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        text = "\t".join(map(str, words))
        if "\n" in text:
            raise KoboxError(f"{words[-1]!r}: a name without a line break is wanted")
        process.stdin.write(os.fsencode(text) + b"\n")
        process.stdin.flush()
        rows: list[tuple[str, ...]] = []
        said: list[str] = []
        for _ in range(_MOST_ROWS):
            row = process.stdout.readline(_LONGEST_ROW)
            if not row.endswith(b"\n"):
                break
            fields = row[:-1].decode(errors="replace").split("\t")
            if fields[0] == "ok":
                return LoaderAnswer(tuple(rows), tuple(said))
            if fields[0] == "error":
                number = int(fields[1])
                if number in _LIBBPF:
                    said.append(f"libbpf: {_LIBBPF[number]}")
                return LoaderAnswer(tuple(rows), tuple(said), errno.EINVAL if number in _LIBBPF else number)
            if fields[0] == "say":
                said.append(text_of(fields[2]).rstrip())
            else:
                rows.append(tuple(fields))
        raise self._death()

    def _start(self) -> Program[bytes]:
        box = self.box
        path = f"{_PLACE}-loader"
        if not box.exists(path):
            self.place(path, self.program)
            box.syscall("chmod", path, 0o700)
        self._process = popen(box, [path], stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
        return self._process

    def _death(self) -> KoboxError:
        process = cast("Program[bytes]", self._process)
        process.kill()
        status = process.wait()
        self._process = None
        return KoboxError(
            f"the loader of eBPF objects ended ({os.strerror(errno.EPIPE)}): status {status}",
            hint="The kernel's log (`box.log`) says more when the kernel killed it.",
        )

    def place(self, path: str, data: bytes) -> None:
        """Write a file of the box under /run."""
        if not self.box.exists("/run"):
            self.box.syscall("mkdir", "/run", 0o755)
        self.box.write_bytes(path, data)

    @property
    def started(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    def idle(self) -> None:
        """Start the process, let it find the end of its input, and wait for its end."""
        process = self._start()
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        process.close()
        self._process = None

    def end(self) -> None:
        """End the process: the kernel detaches and frees what only it held."""
        if self._process is not None and self.box.alive:
            self._process.kill()
            self._process.wait()
            self._process.close()
        self._process = None


def text_of(digits: str) -> str:
    """Text that the loader wrote in hexadecimal digits."""
    try:
        return bytes.fromhex(digits).decode(errors="replace")
    except ValueError:
        return digits
