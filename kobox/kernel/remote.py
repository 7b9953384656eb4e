"""Another machine's kernel, through a shell there: nothing of kobox is installed on it.

    this machine ──ssh HOST sh──▶ a POSIX shell, with cat, ls, stat, grep, insmod, rmmod (coreutils or busybox)
        a script, printf MARK $?
        ◀── its output, MARK and the exit status

What the other machine says is bounded and believed no further: it is text about its modules.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import selectors
import shlex
import subprocess
import time
from collections.abc import Sequence

from kobox.errors import KoboxError
from kobox.kernel.interface import DeleteFlags, InitFlags, Kernel

_MOST = 64 << 20  # bytes of one answer
_FRESH = 1.0  # seconds for which what was read in one go is taken as it is
_WAIT = 20.0  # seconds for one answer
_CHUNK = 12 << 10  # bytes of a file a command: a line of a shell may have 128 KiB
_ERRNOS = {os.strerror(number): number for number in errno.errorcode}
_KMOD_S = (  # what insmod and rmmod say in place of an errno's own text (kmod: tools/insmod.c, tools/rmmod.c)
    ("Invalid module format", errno.ENOEXEC),
    ("Unknown symbol in module", errno.ENOENT),
    ("Module has wrong symbol version", errno.EINVAL),
    ("is not currently loaded", errno.ENOENT),
    (" is in use", errno.EWOULDBLOCK),
    ("Directory nonexistent", errno.ENOENT),  # dash
    ("nonexistent directory", errno.ENOENT),  # busybox
)
_ONE_GO = """cd /sys/module && ls -d */parameters/* 2>/dev/null | sed 's/^/%/'
grep -s '' */version */srcversion */initstate */coresize */refcnt */taint */parameters/* \\
    /proc/modules /proc/sys/kernel/tainted"""


class RemoteShell:
    """A shell that was started by `command`, such as `ssh HOST sh`, and stays. Raises `ConnectionError` when it does
    not answer, or is gone."""

    def __init__(self, command: Sequence[str], name: str) -> None:
        self._name = name
        self._errors = b""
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            raise ConnectionError(f"{command[0]}: {error.strerror}") from None
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)
        self._output = bytearray()
        self.run("true")

    def run(self, script: str) -> tuple[int, bytes]:
        """The exit status of a script, and what it printed on both channels."""
        mark = secrets.token_hex(12)
        text = f"{{ {script}\n}} </dev/null 2>&1; printf '\\n{mark} %d\\n' $?\n".encode(errors="surrogateescape")
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(text)
        except OSError:
            raise self._gone() from None
        pattern = re.compile(rb"\n" + mark.encode() + rb" (\d{1,3})\n")
        end = time.monotonic() + _WAIT
        while (found := pattern.search(self._output, max(0, len(self._output) - (1 << 16)))) is None:
            self._read(end)
        end_of = found.end()
        status, output = int(found[1]), bytes(self._output[: found.start()])
        del found, self._output[:end_of]
        return status, output

    def close(self) -> None:
        """End it."""
        self._selector.close()
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _read(self, end: float) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise ConnectionError(f"{self._name}: no answer in {_WAIT:.0f} seconds")
        for key, _ in self._selector.select(left):
            data = os.read(key.fd, 1 << 16)
            if key.fileobj is self._process.stderr:
                self._errors = (self._errors + data)[-4096:]
                if not data:
                    self._selector.unregister(key.fileobj)
            elif not data:
                raise self._gone()
            else:
                self._output += data
        if len(self._output) > _MOST:
            raise ConnectionError(f"{self._name}: an answer of more than {_MOST >> 20} MiB")

    def _gone(self) -> ConnectionError:
        stderr = self._process.stderr
        assert stderr is not None
        self._errors += stderr.read(4096) or b""
        said = self._errors.decode(errors="replace").strip().splitlines()
        return ConnectionError(f"{self._name}: {said[-1] if said else 'the connection ended'}")


class RemoteKernel(Kernel):
    """The kernel of the machine that a shell runs on, which `command` starts; `name` is what messages call it.

    /proc/modules and what stands below /sys/module are read in one go, and taken as they are for a second. A connection
    that ends is an `OSError`, and is made anew by the next call. Raises `KoboxError` when it cannot be made at first.
    """

    def __init__(self, command: Sequence[str], name: str) -> None:
        self._command, self.name = command, name
        self._shell: RemoteShell | None = None
        self._files: dict[str, bytes] = {}
        self._read_at = -_FRESH
        try:
            self._release = self._text("uname -r")
        except OSError as error:
            self.close()
            raise KoboxError(
                str(error), hint="`ssh HOST true` has to work without a question: a key, and the host in known_hosts."
            ) from None

    @property
    def release(self) -> str:
        """The release string."""
        return self._release

    def read_bytes(self, path: str) -> bytes:
        """The whole content of a file. A line's end at the end of the file is always there."""
        if path == "/proc/modules" or time.monotonic() - self._read_at > _FRESH:
            self._read_all()
        known = self._files.get(path)
        return known if known is not None else self._do(f"cat -- {shlex.quote(path)}")

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write to a file, in one go as far as it fits in a line of a shell."""
        how = ">"
        for start in range(0, max(len(data), 1), _CHUNK):
            octal = "".join(f"\\{byte:03o}" for byte in data[start : start + _CHUNK])
            self._do(f"printf '{octal}' {how} {shlex.quote(path)}")
            how = ">>"
        self._read_at = -_FRESH

    def listdir(self, path: str) -> list[str]:
        """The names in a directory."""
        folder = f"{path.rstrip('/')}/"
        if folder.endswith("/parameters/") and time.monotonic() - self._read_at <= _FRESH:
            return [name.removeprefix(folder) for name in self._files if name.startswith(folder)]
        return self._do(f"ls -1A -- {shlex.quote(path)}").decode(errors="surrogateescape").splitlines()

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        """Mode, inode, links, owner and size, as stat(1) prints them."""
        option = "-L " if follow_symlinks else ""
        words = self._do(f"stat {option}-c '%f %i %h %u %g %s %X %Y %Z' -- {shlex.quote(path)}").split()
        if len(words) != 9 or not all(word.isalnum() for word in words):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        mode, (inode, links, owner, group, size, *times) = int(words[0], 16), map(int, words[1:])
        return os.stat_result((mode, inode, 0, links, owner, group, size, *times))

    def readlink(self, path: str) -> str:
        """Where a symbolic link points."""
        return self._do(f"readlink -- {shlex.quote(path)}").decode(errors="surrogateescape").removesuffix("\n")

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        self._do(f"mkdir -- {shlex.quote(path)}")

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        self._do(f"rmdir -- {shlex.quote(path)}")

    def init_module(self, image: bytes, parameters: str = "", flags: InitFlags = InitFlags.NONE) -> None:
        """Load a module: its file is sent, and insmod(8) loads it there, which takes root."""
        force = " -f" if flags & (InitFlags.IGNORE_MODVERSIONS | InitFlags.IGNORE_VERMAGIC) else ""
        place = self._text("mktemp /tmp/kobox-XXXXXX")
        try:
            self.write_bytes(place, image)
            words = " ".join(map(shlex.quote, shlex.split(parameters)))
            self._do(f"insmod{force} {shlex.quote(place)} {words}")
        finally:
            self._run(f"rm -f -- {shlex.quote(place)}")
            self._read_at = -_FRESH

    def delete_module(self, name: str, flags: DeleteFlags = DeleteFlags.NONBLOCK) -> None:
        """Unload a module by rmmod(8), which takes root."""
        self._do(f"rmmod {'-f ' if flags & DeleteFlags.FORCE else ''}-- {shlex.quote(name)}")
        self._read_at = -_FRESH

    def close(self) -> None:
        """End the connection."""
        if self._shell is not None:
            self._shell.close()
            self._shell = None

    def _read_all(self) -> None:
        _, output = self._run(_ONE_GO)
        files: dict[str, bytes] = {}
        for line in output.split(b"\n"):
            path, _, content = line.partition(b":")
            if line.startswith(b"%"):
                files[f"/sys/module/{line[1:].decode(errors='surrogateescape')}"] = b""
            elif content or line.endswith(b":"):
                name = path.decode(errors="surrogateescape")
                name = name if name.startswith("/") else f"/sys/module/{name}"
                files[name] = files.get(name, b"") + content + b"\n"
        self._files, self._read_at = files, time.monotonic()

    def _run(self, script: str) -> tuple[int, bytes]:
        if self._shell is None:
            self._shell = RemoteShell(self._command, self.name)
        try:
            return self._shell.run(script)
        except ConnectionError:
            self.close()
            raise

    def _text(self, script: str) -> str:
        return self._do(script).decode(errors="replace").strip()

    def _do(self, script: str) -> bytes:
        """What a command prints. Raises `OSError` with the errno whose text it ends with."""
        status, output = self._run(f"LC_ALL=C {script}")
        if status:
            said = output.decode(errors="replace").strip()
            number = _errno_of(said)
            raise (
                OSError(number, said or os.strerror(number))
                if number == errno.EIO
                else OSError(number, os.strerror(number))
            )
        return output


def _errno_of(said: str) -> int:
    """The errno that a tool's message is about; EIO for one that says none."""
    for text, number in (*_KMOD_S, *((text, number) for text, number in _ERRNOS.items())):
        if said.endswith(text) or (text in said and (text, number) in _KMOD_S):
            return number
    return errno.EIO


def by_ssh(host: str, command: str) -> list[str]:
    """ssh(1) with a command for another machine's shell. Raises `KoboxError` for what is no name of a host."""
    if not host or host.startswith("-") or any(char.isspace() for char in host):
        raise KoboxError(f"{host!r} is no host", hint="Name it as ssh does: HOST, USER@HOST, or of ~/.ssh/config.")
    return ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", host, command]
