"""`kobox doctor`: what this machine offers kobox, and what it lacks.

Exit status: 0 when everything that boxes need is there; 1 otherwise; 2 wrong usage.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.errors import KoboxError
from kobox.printable import one_line


@dataclass(frozen=True, slots=True)
class MachineFact:
    """One thing that kobox can use. `needed`: nothing runs without it. `advice` is the next step if not `ok`."""

    name: str
    ok: bool
    needed: bool
    text: str
    advice: str = ""


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = CommandParser(prog=prog, description="Show what this machine offers kobox, and what it lacks.")
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")
    arguments = parser.parse_args(argv)
    facts = [*_core(), *_cache(), *_isolation(), *_tools()]
    if arguments.json:
        print(to_json("doctor", [asdict(fact) for fact in facts]))
    else:
        width = max(len(fact.name) for fact in facts)
        for fact in facts:
            mark = "ok  " if fact.ok else "FAIL" if fact.needed else "note"
            print(one_line(f"{mark}  {fact.name:<{width}}  {fact.text}"))
            if fact.advice and not fact.ok:
                print(one_line(f"      {'':<{width}}  {fact.advice}"))
    return 0 if all(fact.ok or not fact.needed for fact in facts) else 1


def _core() -> Iterator[MachineFact]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield MachineFact("python", sys.version_info >= (3, 11), True, version, "Install Python 3.11 or newer.")
    try:
        from kobox.machine.native_core import core, unicorn_library

        core()
        yield MachineFact("emulator", True, True, unicorn_library())
    except (OSError, KoboxError, ImportError) as error:
        yield MachineFact(
            "emulator", False, True, str(error), "Install kobox again: pip install --force-reinstall kobox"
        )


def _cache() -> Iterator[MachineFact]:
    from kobox.images.store import Store

    store = Store()
    try:
        kernels = store.list()
    except KoboxError as error:
        yield MachineFact("cache", False, True, error.message, error.hint)
        return
    names = ", ".join(kernel.name for kernel in kernels) or "no kernel yet"
    yield MachineFact("cache", bool(kernels), False, f"{store.root}: {names}", "`kobox kernel add debian` fetches one.")
    place = store.root if store.root.exists() else store.root.parent
    while not place.exists():
        place = place.parent
    room = shutil.disk_usage(place).free >> 20
    yield MachineFact("disk", room > 500, False, f"{room} MB free", "A kernel takes 100 to 600 MB, a snapshot 60 MB.")
    yield MachineFact("cache may be written", os.access(place, os.W_OK), True, str(place), "Set XDG_CACHE_HOME.")


def _isolation() -> Iterator[MachineFact]:
    from kobox.isolation import landlock, seccomp

    version = landlock.abi()
    text = f"Landlock ABI {version}" if version else "no Landlock"
    advice = "The worker of `kobox run` could read your files if it broke out: Linux 5.13 or newer, lsm=landlock."
    yield MachineFact("isolation of files", version > 0, False, text, advice)
    filters = seccomp.available()
    advice = "The worker of `kobox run` could make any system call if it broke out: CONFIG_SECCOMP_FILTER, x86-64."
    yield MachineFact(
        "isolation of calls", filters, False, "seccomp filters" if filters else "no seccomp filters", advice
    )


def _tools() -> Iterator[MachineFact]:
    for name, tools, what in (
        ("Debian's archive", ("apt-get", "dpkg-deb"), "`kobox kernel add debian` needs them."),
        ("building", ("make", "gcc"), "`kobox build` takes the kernel's own compiler where it has one."),
        ("Secure Boot", ("mokutil",), "`kobox keys enroll` runs it."),
    ):
        absent = [tool for tool in tools if shutil.which(tool) is None]
        text = ", ".join(tools) if not absent else f"without {', '.join(absent)}"
        yield MachineFact(name, not absent, False, text, what)
