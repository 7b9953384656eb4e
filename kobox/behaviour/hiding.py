"""What a module hides: the kernel's own structures held against what system calls show."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress

from kobox.behaviour.report import Trait
from kobox.box.box import Box
from kobox.errors import KoboxError
from kobox.ko.elf import SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS
from kobox.ko.modulefile import ModuleFile

_NAME = re.compile(rb"(?<![\x21-\x7e])[A-Za-z0-9._-]{3,24}(?=\0)")
_MOST_NAMES = 200


def hidden_module(box: Box, name: str) -> Iterator[Trait]:
    """Whether a module that was loaded shows itself."""
    if name not in box.modules:
        yield Trait(
            "hides itself", "hostile", f"{name} is loaded, and not in /proc/modules", "/proc/modules", time=box.time
        )
    if not box.exists(f"/sys/module/{name}"):
        text = f"{name} is loaded, and there is no /sys/module/{name}"
        yield Trait("hides itself", "hostile", text, f"/sys/module/{name}", time=box.time)


def hidden_processes(box: Box) -> Iterator[Trait]:
    """Processes that the kernel schedules and /proc does not list."""
    objects = box.inspect.objects
    first = objects.address("init_task")
    with suppress(KoboxError, ValueError):
        tasks = list(objects.list(objects.member(first, "task_struct.tasks"), "task_struct.tasks"))
        running = {objects.number(task, "task_struct.pid"): objects.text(task, "task_struct.comm") for task in tasks}
        shown = {int(name) for name in box.listdir("/proc") if name.isdigit()}
        for pid in sorted(set(running) - shown):
            if box.syscall("getpid") != pid:
                text = f"process {pid} ({running[pid]}) runs, and /proc does not list it"
                yield Trait("hides processes", "hostile", text, "/proc", time=box.time)


def names_in(file: ModuleFile) -> list[str]:
    """Words in a module's constants that could be names, or beginnings of names, which it looks for."""
    found: dict[str, None] = {}
    for number, section in enumerate(file.elf.sections):
        if section.flags & SHF_ALLOC and not section.flags & SHF_EXECINSTR and section.type != SHT_NOBITS:
            for match in _NAME.finditer(file.elf.data(number)):
                found.setdefault(match[0].decode("ascii"))
    return list(found)[:_MOST_NAMES]


def hidden_files(box: Box, names: list[str]) -> Iterator[Trait]:
    """Files that are there and are not listed: one is made for each of these names."""
    place = "/tmp/listing"
    box.path(place).mkdir(exist_ok=True)
    made = set()
    for name in names:
        for each in (name, f"{name}rest"):
            with suppress(OSError):
                box.syscall("close", box.syscall("open", f"{place}/{each}", os.O_CREAT | os.O_WRONLY, 0o644))
                made.add(each)
    with suppress(OSError):
        hidden = made - set(box.listdir(place))
        for name in sorted(hidden):
            text = f"a file named {name} is there, and its directory does not list it"
            yield Trait("hides files", "hostile", text, place, time=box.time)
