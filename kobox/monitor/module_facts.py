"""What a kernel shows of one module beside /proc/modules: sections, devices of its drivers, memory, as lines of text.

Sources: /sys/module/NAME/{sections,drivers} (kernel/module/sysfs.c), /sys/bus/BUS/drivers/DRIVER, /proc/vmallocinfo
(mm/vmalloc.c; root only), /proc/slabinfo (mm/slab_common.c; root only), /sys/kernel/debug/kmemleak (mm/kmemleak.c; root
only, kernels with CONFIG_DEBUG_KMEMLEAK).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

from kobox.graph.text import size_text
from kobox.kernel.interface import Kernel
from kobox.monitor.status import MonitoredModule

_NO_DEVICES = frozenset(("bind", "unbind", "uevent", "module", "new_id", "remove_id"))
_MOST = 8
_DEEPEST = 16
_VMALLOC = re.compile(r"^\S+\s+(\d+) \S+ \[(\w+)\]", re.MULTILINE)
_LEAK = re.compile(r"^unreferenced object 0x[0-9a-f]+ \(size (\d+)\):$")


def module_facts(kernel: Kernel, name: str) -> list[str]:
    """Lines; what cannot be read is left out."""
    return [*_sections(kernel, name), *_devices(kernel, name), *_memory(kernel, name), *_leaks(kernel, name)]


def holders_tree(modules: Mapping[str, MonitoredModule], name: str) -> list[str]:
    """Who uses a module, who uses these, and so on: a line each, drawn as a tree; `(above)`: it was shown before."""
    lines: list[str] = []
    seen = {name}

    def below(parent: str, indent: str, depth: int) -> None:
        users = modules[parent].users if parent in modules else ()
        for number, user in enumerate(users, 1):
            last = number == len(users)
            again = user in seen or depth == _DEEPEST
            more = bool(again and user in modules and modules[user].users)
            lines.append(f"{indent}{'└─ ' if last else '├─ '}{user}{' (above)' if more else ''}")
            if not again:
                seen.add(user)
                below(user, indent + ("   " if last else "│  "), depth + 1)

    below(name, "", 0)
    return lines


def _sections(kernel: Kernel, name: str) -> Iterator[str]:
    with suppress(OSError):
        sections = sorted(kernel.listdir(f"/sys/module/{name}/sections"))
        yield f"{_count(len(sections), 'section')}: {_some(sections)}"


def _devices(kernel: Kernel, name: str) -> Iterator[str]:
    """Drivers, the devices that are bound to them, and each device's parent."""
    try:
        drivers = sorted(kernel.listdir(f"/sys/module/{name}/drivers"))
    except OSError:
        return
    for driver in drivers:
        bus, _, plain = driver.partition(":")
        place = f"/sys/bus/{bus}/drivers/{plain}"
        with suppress(OSError):
            devices = sorted(set(kernel.listdir(place)) - _NO_DEVICES)
            shown = [f"{device}{_parent(kernel, f'{place}/{device}')}" for device in devices[:_MOST]]
            yield f"driver {driver}: {_some(shown + devices[_MOST:]) or 'no device'}"


def _parent(kernel: Kernel, link: str) -> str:
    """` (below PARENT)`, from where the link of a device leads: …/devices/PARENT/DEVICE."""
    try:
        words = kernel.readlink(link).split("/")
    except OSError:
        return ""
    return f" (below {words[-2]})" if len(words) > 2 and words[-2] not in ("devices", "..") else ""


def _memory(kernel: Kernel, name: str) -> Iterator[str]:
    with suppress(OSError):
        areas = [int(size) for size, owner in _VMALLOC.findall(kernel.read_text("/proc/vmallocinfo")) if owner == name]
        if areas:
            yield f"vmalloc: {size_text(sum(areas))} in {_count(len(areas), 'area')}"
    with suppress(OSError, ValueError):
        for row in kernel.read_text("/proc/slabinfo").splitlines()[2:]:
            words = row.split()
            if len(words) > 3 and words[0].replace("-", "_").startswith(name) and int(words[2]):
                yield f"cache {words[0]}: {words[1]} of {words[2]} objects of {words[3]} bytes"


def _leaks(kernel: Kernel, name: str) -> Iterator[str]:
    """Objects of the last scan of kmemleak's with a function of the module in the stack of their allocation."""
    sizes: list[int] = []
    size: int | None = None
    with suppress(OSError):
        for line in kernel.read_text("/sys/kernel/debug/kmemleak").splitlines():
            if (found := _LEAK.match(line)) is not None:
                size = int(found[1])
            elif size is not None and line.endswith(f" [{name}]"):
                sizes.append(size)
                size = None
    if sizes:
        yield f"kmemleak: {_count(len(sizes), 'unreferenced object')}, {size_text(sum(sizes))}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return " ".join(names[:_MOST]) + more


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
