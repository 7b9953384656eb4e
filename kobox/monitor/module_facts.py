"""What a kernel shows of one module beside /proc/modules: sections, devices of its drivers, memory, as lines of text.

Sources: /sys/module/NAME/{sections,drivers} (kernel/module/sysfs.c), /sys/bus/BUS/drivers/DRIVER, /proc/vmallocinfo
(mm/vmalloc.c; root only), /proc/slabinfo (mm/slab_common.c; root only).
"""

from __future__ import annotations

import re
from contextlib import suppress

from kobox.graph.text import size_text
from kobox.kernel.interface import Kernel

_NO_DEVICES = frozenset(("bind", "unbind", "uevent", "module", "new_id", "remove_id"))
_MOST = 8
_VMALLOC = re.compile(r"^\S+\s+(\d+) \S+ \[(\w+)\]", re.MULTILINE)


def module_facts(kernel: Kernel, name: str) -> list[str]:
    """Lines; what cannot be read is left out."""
    lines: list[str] = []
    with suppress(OSError):
        sections = sorted(kernel.listdir(f"/sys/module/{name}/sections"))
        lines.append(f"{len(sections)} sections: {_some(sections)}")
    with suppress(OSError):
        for driver in sorted(kernel.listdir(f"/sys/module/{name}/drivers")):
            bus, _, plain = driver.partition(":")
            with suppress(OSError):
                devices = sorted(set(kernel.listdir(f"/sys/bus/{bus}/drivers/{plain}")) - _NO_DEVICES)
                lines.append(f"driver {driver}: {_some(devices) or 'no device'}")
    with suppress(OSError):
        areas = [int(size) for size, owner in _VMALLOC.findall(kernel.read_text("/proc/vmallocinfo")) if owner == name]
        if areas:
            lines.append(f"vmalloc: {size_text(sum(areas))} in {len(areas)} areas")
    with suppress(OSError, ValueError):
        for row in kernel.read_text("/proc/slabinfo").splitlines()[2:]:
            words = row.split()
            if len(words) > 3 and words[0].replace("-", "_").startswith(name) and int(words[2]):
                lines.append(f"cache {words[0]}: {words[1]} of {words[2]} objects of {words[3]} bytes")
    return lines


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return " ".join(names[:_MOST]) + more
