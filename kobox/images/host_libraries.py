"""What a program of this machine needs to run: its loader and its libraries, as ldd(1) names them, without running it.

    PT_INTERP                      the loader
    PT_DYNAMIC  DT_NEEDED          names of libraries, each looked for in
                DT_RPATH           its own and its callers' (only where there is no DT_RUNPATH),
                DT_RUNPATH         its own,
                /etc/ld.so.conf    and what that includes, then /lib, /usr/lib and their multiarch directories

Sources: System V ABI chapter 5, ld.so(8), elf.h. `$ORIGIN`, `$LIB` and `$PLATFORM` are replaced as ld.so does.
"""

from __future__ import annotations

import glob
import os
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from kobox.errors import ProgramError
from kobox.ko.binary import c_string, u64

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29
_DEFAULT = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
_MACHINES = {3: "i386", 40: "arm", 62: "x86-64", 183: "aarch64", 243: "riscv", 21: "ppc64", 22: "s390x", 8: "mips"}


class DynamicElf(NamedTuple):
    """One ELF file: its loader ("" when static or a library), what it needs, and where it says to look for it."""

    path: str
    interpreter: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]


class Needs(NamedTuple):
    """All files that a program needs besides itself: {path that the loader opens: file of this machine}, and what is
    missing: (library, the file that wants it)."""

    files: dict[str, str]
    missing: tuple[tuple[str, str], ...]


def needs(program: str | os.PathLike[str], *, root: str = "") -> Needs:
    """The loader and libraries of a program, or of the interpreter that its `#!` line names.

    `root` is where the tree begins that the program belongs to ("": this machine's own).
    Raises `ProgramError` for a program of another architecture, or no program; `OSError` when it cannot be read.
    """
    files: dict[str, str] = {}
    missing: list[tuple[str, str]] = []
    start = os.fspath(program)
    while (interpreter := shebang(start)) and len(files) < 5:
        start = _within(root, interpreter) or ""
        if not start:
            return Needs(files, ((interpreter, os.fspath(program)),))
        files[interpreter] = start
    first = read(start)
    if first.interpreter:
        loader = _within(root, first.interpreter)
        if loader is None:
            missing.append((first.interpreter, start))
        else:
            files[first.interpreter] = loader
    seen = {os.path.basename(first.interpreter)}
    queue: list[tuple[DynamicElf, tuple[DynamicElf, ...]]] = [(first, ())]
    while queue:
        image, callers = queue.pop(0)
        for name in image.needed:
            if name in seen:
                continue
            seen.add(name)
            found = _find(name, image, callers, root)
            if found is None:
                missing.append((name, image.path))
                continue
            files[found] = root + found
            queue.append((read(root + found), (image, *callers)))
    return Needs(files, tuple(missing))


def shebang(path: str) -> str:
    """The interpreter that a script names in its first line; "" for anything else."""
    with open(path, "rb") as file:
        line = file.read(256).split(b"\n")[0]
    words = line[2:].split() if line.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else ""


def read(path: str) -> DynamicElf:
    """The dynamic section of an ELF file. Raises `ProgramError`."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF" or len(head) < 64:
            raise ProgramError(f"{path}: neither an ELF program nor a script with a #! line")
        machine = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)[0]
        if head[4] != 2 or machine != 62:
            bits = "" if machine in (62, 183, 243) and head[4] == 2 else f", {32 * head[4]} bit"
            raise ProgramError(
                f"{path}: a program for {_MACHINES.get(machine, f'machine {machine}')}{bits}; the box is an x86-64 PC",
                hint="Build it for x86-64.",
            )
        offset, size, count = (
            u64(head, 32),
            *struct.unpack_from("<HH", head, 54),
        )
        file.seek(offset)
        table = file.read(size * count)
        headers = [struct.unpack_from("<IIQQQQQQ", table, size * n) for n in range(len(table) // size if size else 0)]

        def at(place: int, length: int) -> bytes:
            file.seek(place)
            return file.read(length)

        interpreter = next((at(h[2], h[5]).rstrip(b"\0") for h in headers if h[0] == _PT_INTERP), b"")
        dynamic = next((at(h[2], h[5]) for h in headers if h[0] == _PT_DYNAMIC), b"")
        tags = list(struct.iter_unpack("<QQ", dynamic[: len(dynamic) & -16]))
        tags = tags[: next((n for n, (tag, _) in enumerate(tags) if tag == 0), len(tags))]
        strings = next((value for tag, value in tags if tag == _DT_STRTAB), 0)
        where = next((strings - h[3] + h[2] for h in headers if h[0] == _PT_LOAD and h[3] <= strings < h[3] + h[5]), 0)

        def words(wanted: int) -> tuple[str, ...]:
            found = (c_string(at(where + value, 4096)) for tag, value in tags if tag == wanted)
            return tuple(os.fsdecode(word) for word in found)

        def directories(wanted: int) -> tuple[str, ...]:
            origin = os.path.dirname(os.path.realpath(path))
            joined = ":".join(words(wanted))
            for name, value in (("ORIGIN", origin), ("LIB", "lib/x86_64-linux-gnu"), ("PLATFORM", "x86_64")):
                joined = joined.replace(f"${name}", value).replace(f"${{{name}}}", value)
            return tuple(part for part in joined.split(":") if part)

        return DynamicElf(
            path, os.fsdecode(interpreter), words(_DT_NEEDED), directories(_DT_RPATH), directories(_DT_RUNPATH)
        )


def _find(name: str, image: DynamicElf, callers: Sequence[DynamicElf], root: str) -> str | None:
    """The path under which the loader would open a library, or None."""
    if "/" in name:
        return name if _within(root, name) else None
    for directory in _search(image, callers, root):
        candidate = os.path.join(directory, name)
        if (found := _within(root, candidate)) and _fits(found):
            return candidate
    return None


def _search(image: DynamicElf, callers: Sequence[DynamicElf], root: str) -> Iterator[str]:
    def inside(directories: tuple[str, ...]) -> Iterator[str]:
        # $ORIGIN was replaced by the file's own place, which begins with the tree's root
        return (d[len(root) :] if root and d.startswith(root) else d for d in directories)

    if not image.runpath:
        for one in (image, *callers):
            yield from inside(one.rpath)
    yield from inside(image.runpath)
    yield from configured(root)
    yield from _DEFAULT


@cache
def configured(root: str = "") -> tuple[str, ...]:
    """The directories that /etc/ld.so.conf names."""
    return tuple(_configured(f"{root}/etc/ld.so.conf", root, 0))


def _configured(path: str, root: str, depth: int) -> Iterator[str]:
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split("#")[0].split()
        if words[:1] == ["include"] and depth < 8:
            for pattern in words[1:]:
                base = pattern if pattern.startswith("/") else os.path.join("/etc", pattern)
                for other in sorted(glob.glob(root + base)):
                    yield from _configured(other, root, depth + 1)
        elif words and words[0].startswith("/"):
            yield words[0]


def _within(root: str, path: str) -> str | None:
    """The file of a tree that a path names there, symbolic links followed inside the tree; None when there is none."""
    if not root:
        return path if os.path.isfile(path) else None
    for _ in range(40):
        parts, at = [part for part in path.split("/") if part], ""
        for n, part in enumerate(parts):
            at = f"{at}/{part}"
            if os.path.islink(root + at):
                target = os.readlink(root + at)
                base = target if target.startswith("/") else os.path.join(os.path.dirname(at), target)
                path = os.path.normpath("/".join((base, *parts[n + 1 :])))
                break
        else:
            return root + at if os.path.isfile(root + at) else None
    return None


def _fits(path: str) -> bool:
    """Whether a library is one for x86-64: others of the same name are passed over, as by ld.so."""
    try:
        with open(path, "rb") as file:
            head = file.read(20)
    except OSError:
        return False
    return head[:5] == b"\x7fELF\x02" and head[18:20] == b"\x3e\x00"
