"""The modules of a kernel at one moment, out of /proc/modules, /proc/sys/kernel/tainted and /sys/module.

Sources: kernel/module/procfs.c, kernel/params.c, Documentation/admin-guide/tainted-kernels.rst.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kobox.errors import KoboxError
from kobox.kernel import sysfs_modules
from kobox.kernel.interface import Kernel

FORMAT = 1
# Letters of /sys/module/*/taint, and what they say of the module (kernel/panic.c, taint_flags[]).
TAINTS = {
    "P": "proprietary",
    "O": "out of tree",
    "F": "loaded by force",
    "C": "staging",
    "E": "unsigned",
    "K": "livepatch",
    "N": "test",
    "X": "auxiliary",
}
_LONGEST_VALUE = 256
_MOST_PARAMETERS = 256


class StatusFormatError(KoboxError):
    """What was read is no status of a kernel's modules."""


@dataclass(frozen=True, slots=True)
class MonitoredModule:
    """A loaded module. `size` in bytes; `refcount` -1 where the kernel does not count; `parameters` are those that can
    be read; `version` and `srcversion` as the module says, or ""."""

    name: str
    size: int
    refcount: int
    users: tuple[str, ...] = ()
    state: str = "live"
    taint: str = ""
    version: str = ""
    srcversion: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KernelModules:
    """All modules of a kernel, by name; `tainted` is the kernel's own taint mask (0: none)."""

    release: str
    modules: Mapping[str, MonitoredModule]
    tainted: int = 0

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "format": FORMAT,
            "release": self.release,
            "tainted": self.tainted,
            "modules": [asdict(self.modules[name]) for name in sorted(self.modules)],
        }

    @classmethod
    def of_plain(cls, data: object) -> KernelModules:
        """What `plain` wrote. Raises `StatusFormatError` for anything else."""
        try:
            table: dict[str, Any] = dict(data)  # type: ignore[call-overload]
            if table.get("format") != FORMAT:
                raise ValueError(f"format {table.get('format')!r}")
            found = [_module_of(one) for one in table["modules"]]
            return cls(str(table["release"]), {one.name: one for one in found}, int(table["tainted"]))
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise StatusFormatError(f"no status of a kernel's modules: {error}") from None


def look(kernel: Kernel, before: KernelModules | None = None, *, parameters: bool = True) -> KernelModules:
    """The modules that are loaded now. Versions of modules that `before` knows are not read again, nor without
    `parameters` their parameters.

    Raises `OSError` when /proc/modules cannot be read; what else cannot be read is empty.
    """
    known = before.modules if before is not None else {}
    found: dict[str, MonitoredModule] = {}
    for one in _loaded(kernel):
        old = known.get(one.name)
        if old is not None and not parameters and _is_as_before(old, one):
            found[one.name] = old
            continue
        version, srcversion = (
            (old.version, old.srcversion)
            if old is not None and old.state == one.state
            else (
                sysfs_modules.attribute(kernel, one.name, "version"),
                sysfs_modules.attribute(kernel, one.name, "srcversion"),
            )
        )
        found[one.name] = MonitoredModule(
            one.name,
            one.size,
            one.refcount,
            tuple(sorted(one.users)),
            one.state,
            one.taint,
            version,
            srcversion,
            old.parameters if old is not None and not parameters else _parameters(kernel, one.name),
        )
    return KernelModules(kernel.release, found, _tainted(kernel))


def _loaded(kernel: Kernel) -> list[sysfs_modules.ModuleStatus]:
    """The modules; a recording or another machine may say anything."""
    try:
        return sysfs_modules.loaded_modules(kernel)
    except ValueError:
        raise OSError(errno.EIO, "not as a kernel writes it", "/proc/modules") from None


def _is_as_before(old: MonitoredModule, now: sysfs_modules.ModuleStatus) -> bool:
    same = (old.size, old.refcount, old.state, old.taint) == (now.size, now.refcount, now.state, now.taint)
    return same and len(old.users) == len(now.users) and old.users == tuple(sorted(now.users))


def _parameters(kernel: Kernel, name: str) -> dict[str, str]:
    try:
        values = sysfs_modules.parameters(kernel, name)
    except OSError:  # it has just gone
        return {}
    return {key: values[key][:_LONGEST_VALUE] for key in sorted(values)[:_MOST_PARAMETERS]}


def _tainted(kernel: Kernel) -> int:
    try:
        return int(kernel.read_text("/proc/sys/kernel/tainted"))
    except (OSError, ValueError):
        return 0


def _module_of(data: Mapping[str, Any]) -> MonitoredModule:
    texts = {key: str(data[key]) for key in ("name", "state", "taint", "version", "srcversion")}
    return MonitoredModule(
        size=int(data["size"]),
        refcount=int(data["refcount"]),
        users=tuple(map(str, data["users"])),
        parameters={str(key): str(value) for key, value in dict(data["parameters"]).items()},
        **texts,
    )
