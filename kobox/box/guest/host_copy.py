"""Files of this machine that are brought into a box: programs with their loader and libraries, and whatever is
asked for.

A program is looked for in the box first. One that is not there is taken from this machine, to the same path, with
everything that ldd(1) would name; so `box.run(["strace", …])` needs nothing to be set up. What was brought
stays until the box is reset. Nothing is ever written on this machine.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import NoReturn

from kobox.box.booted import BootedKernel
from kobox.box.guest.answers import written
from kobox.errors import ProgramError

_CHUNK = 1 << 19


def locate(box: BootedKernel, program: str, path: str, cwd: str | os.PathLike[str] | None) -> str:
    """The path in the box of a program, brought there when only this machine has it.

    Raises `ProgramError` when neither has it, a library is missing, or it is for another architecture.
    """
    if "/" in program:
        inside = program if program.startswith("/") else os.path.join(os.fspath(cwd or "/"), program)
        if is_file(box, inside):
            return program
        here = os.path.abspath(program)
        if not os.path.isfile(here):
            raise FileNotFoundError(2, "No such file or directory", program)
    else:
        for directory in path.split(":"):
            if is_file(box, candidate := f"{directory or '.'}/{program}"):
                return candidate
        import shutil

        found = shutil.which(program, path=f"{path}:{os.environ.get('PATH', '')}")
        if found is None:
            raise FileNotFoundError(2, "No such program, neither in the box nor on this machine", program)
        here = os.path.abspath(found)
    bring_program(box, here)
    return here


def bring_program(box: BootedKernel, program: str) -> None:
    """Copy a program of this machine into the box, to the same path, with its loader and libraries."""
    from kobox.images.host_libraries import needs

    needed = needs(program)
    if needed.missing:
        name, wanted_by = needed.missing[0]
        raise ProgramError(
            f"{program}: {name} is missing, which {wanted_by} needs",
            hint=_package_hint(name),
        )
    for inside, here in {**needed.files, program: program}.items():
        if not is_file(box, inside):
            copy_file(box, here, inside)


def _package_hint(library: str) -> str:
    """The Debian package that has a library, as far as its name follows Debian's policy (8.1)."""
    import re

    name, _, version = os.path.basename(library).partition(".so")
    version = version.lstrip(".").split(".")[0]
    if not name or not re.fullmatch(r"[\w.+-]+", name):
        return ""
    dash = "-" if name[-1:].isdigit() and version else ""
    package = f"{name.lower().replace('_', '-')}{dash}{version}"
    return f"In Debian it is probably the package {package}: `apt-get install {package}`, or `--with {package}`."


def explain_refusal(box: BootedKernel, path: str, errno: int) -> NoReturn:
    """Raise what an errno of execve(2) means: `ProgramError` where a program is there and what it is run by is not."""
    with suppress(OSError, UnicodeDecodeError):
        with box.open(path, "rb") as file:
            head = file.read(4096) or b""
        if errno == 2 and head.startswith(b"#!"):
            interpreter = head[2:].split(b"\n")[0].split()[0].decode()
            raise ProgramError(f"{path}: the box has no {interpreter}, which its first line names")
        if errno == 2 and head.startswith(b"\x7fELF"):
            raise ProgramError(
                f"{path}: the box lacks its loader",
                hint="Run it by its path on this machine: then loader and libraries are brought along.",
            )
        if errno == 8 and head.startswith(b"\x7fELF"):
            raise ProgramError(
                f"{path}: a program for another architecture", hint=f"The box runs programs for {box.arch.title}."
            )
    raise OSError(errno, os.strerror(errno), path)


def is_file(box: BootedKernel, path: str) -> bool:
    """Whether a path of the box exists and is not a directory."""
    try:
        return not stat.S_ISDIR(box.stat(path).st_mode)
    except OSError:
        return False


def copy_in(box: BootedKernel, source: str | os.PathLike[str], target: str) -> None:
    """Copy a file or a directory tree of this machine into the box: see `BoxFiles.copy_in`."""
    source = os.fspath(source)
    with suppress(OSError):
        if stat.S_ISDIR(box.stat(target).st_mode):
            target = f"{target.rstrip('/')}/{os.path.basename(os.path.abspath(source))}"
    _copy_in(box, source, target)


def _copy_in(box: BootedKernel, source: str, target: str) -> None:
    facts = os.lstat(source) if not os.path.exists(source) else os.stat(source)
    if os.path.isdir(source):
        make_directories(box, target)
        for entry in sorted(os.listdir(source)):
            here, there = os.path.join(source, entry), f"{target.rstrip('/')}/{entry}"
            if os.path.islink(here):
                _link(box, os.readlink(here), there)
            else:
                _copy_in(box, here, there)
    elif stat.S_ISREG(facts.st_mode):
        copy_file(box, source, target)


def _link(box: BootedKernel, text: str, place: str) -> None:
    """A symbolic link, in place of a file or link that is there; a directory stays."""
    try:
        box.syscall("symlink", text, place)
    except FileExistsError:
        with suppress(IsADirectoryError):
            box.syscall("unlink", place)
            box.syscall("symlink", text, place)


def copy_file(box: BootedKernel, source: str, target: str) -> None:
    """Copy one file, with its permissions and time; directories on the way are made."""
    with open(source, "rb") as file:
        facts = os.fstat(file.fileno())
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            fd = box.syscall("open", target, flags, 0o600)
        except FileNotFoundError:
            make_directories(box, os.path.dirname(target))
            fd = box.syscall("open", target, flags, 0o600)
        try:
            while chunk := file.read(_CHUNK):
                while chunk:
                    chunk = chunk[written(box.syscall("write", fd, chunk, len(chunk)), len(chunk)) :]
            box.syscall("fchmod", fd, stat.S_IMODE(facts.st_mode))
        finally:
            if box.alive:
                box.syscall("close", fd)


def make_directories(box: BootedKernel, path: str) -> None:
    """mkdir -p."""
    at = ""
    for part in path.strip("/").split("/"):
        at = f"{at}/{part}"
        with suppress(FileExistsError):
            box.syscall("mkdir", at, 0o755)
