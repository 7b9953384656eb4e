"""The kmod tools as commands of their own: links in a directory, with man pages and completion.

    DIR/kmod                a program that starts Python without its `site` module, which takes half of a tool's time
    DIR/modprobe -> kmod                                                     depmod, insmod, lsmod, modinfo, rmmod too
    PREFIX/share/man/man8/modprobe.8
    PREFIX/share/bash-completion/completions/modprobe

PREFIX is DIR, or its parent when DIR is called `bin` or `sbin` (hier(7)).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from kobox.atomic_file import write_file
from kobox.errors import KoboxError

PROGRAM = "kmod"
_LONGEST = 255  # bytes of a first line that names an interpreter: BINPRM_BUF_SIZE, fs/binfmt_script.c


def program(interpreter: str, places: Sequence[str]) -> str:
    """The text of the program that all tools are: `places` are the directories of Python's packages.

    -I: nothing of the caller's environment or directory is imported. -S: no `site`.
    """
    return f"""#!{interpreter} -IS
# kobox's kmod tools, each by its own name; written by `kobox kmod links`.
import sys
sys.path += {list(places)!r}
from kobox.cli.main import entry
entry()
"""


def can_be_interpreter(path: str) -> bool:
    """Whether the first line of a program can name it."""
    return not any(character.isspace() for character in path) and len(os.fsencode(path)) + len("#! -IS\n") < _LONGEST


def make_links(
    directory: str,
    executable: str,
    tools: Iterable[str],
    *,
    pages: Mapping[str, str],
    completions: Mapping[str, str],
    replace: bool = False,
) -> list[str]:
    """Make the links, and write the pages and completion scripts (by the tools' names); the paths of all of them.

    `executable` is what the links lead to: the path of a program, or the text of one, which is then `kmod` itself.
    What is there already is an error, and then nothing is made: unless it is what would be made, or `replace`.
    Raises `KoboxError`, `OSError`.
    """
    place = os.path.abspath(directory)
    prefix = os.path.dirname(place) if os.path.basename(place) in ("bin", "sbin") else place
    own = executable.startswith("#!")
    links = {os.path.join(place, tool): PROGRAM if own else executable for tool in tools if not own or tool != PROGRAM}
    programs = {os.path.join(place, PROGRAM): executable} if own else {}
    files = {os.path.join(prefix, "share/man/man8", f"{tool}.8"): text for tool, text in pages.items()}
    files |= {os.path.join(prefix, "share/bash-completion/completions", tool): t for tool, t in completions.items()}
    if not replace:
        _check(links, {**files, **programs})
    for path, text in programs.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_file(path, text.encode(), mode=0o755, follow=False)
    for path, target in links.items():
        _link(path, target)
    for path, text in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_file(path, text.encode(), mode=0o644, follow=False)
    return [*programs, *links, *files]


def _check(links: Mapping[str, str], files: Mapping[str, str]) -> None:
    for path, target in links.items():
        if os.path.lexists(path) and not (os.path.islink(path) and os.readlink(path) == target):
            raise _in_the_way(path)
    for path, text in files.items():
        if os.path.lexists(path):
            with open(path, "rb") as file:
                if file.read(len(text.encode()) + 1) != text.encode():
                    raise _in_the_way(path)


def _in_the_way(path: str) -> KoboxError:
    return KoboxError(f"{path} is there already", hint="Name another directory, or replace it with --force.")


def _link(path: str, target: str) -> None:
    """Make a symbolic link, in place of what is there."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(path) and os.readlink(path) == target:
        return
    aside = f"{path}.{os.urandom(8).hex()}.tmp"
    os.symlink(target, aside)
    try:
        os.rename(aside, path)
    except OSError:
        os.unlink(aside)
        raise
