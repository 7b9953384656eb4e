"""The modules in a kernel, from /proc/modules and /sys/module (Documentation/ABI/testing/sysfs-module)."""

from __future__ import annotations

from kobox.kernel.interface import Kernel
from kobox.startup import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

LIVE, COMING, GOING, BUILTIN = "live", "coming", "going", "builtin"
_STATES = {"Live": LIVE, "Loading": COMING, "Unloading": GOING}  # as /proc/modules says it (m_show() in procfs.c)


class ModuleStatus(NamedTuple):
    """A module in the kernel: `size` in bytes, `users` the modules that use it, `address` 0 if it is hidden."""

    name: str
    size: int
    refcount: int
    users: tuple[str, ...]
    state: str
    address: int
    taint: str


def loaded_modules(kernel: Kernel) -> list[ModuleStatus]:
    """The modules of /proc/modules, the last loaded first. Raises `OSError`."""
    return [_parse(line) for line in kernel.read_text("/proc/modules").splitlines() if line]


def _parse(line: str) -> ModuleStatus:
    words = line.split()
    name, size, refcount, users, state, address = words[:6]
    names = tuple(user for user in users.split(",") if user not in ("-", "", "[permanent]"))
    count = int(refcount) if refcount.lstrip("-").isdigit() else -1
    taint = words[6].strip("()") if len(words) > 6 else ""
    return ModuleStatus(name, int(size), count, names, _STATES.get(state, state.lower()), int(address, 16), taint)


def init_state(kernel: Kernel, name: str) -> str:
    """`live`, `coming`, `going`, `builtin`, or "" for a module that is not in the kernel."""
    folder = f"/sys/module/{name}"
    try:
        return kernel.read_text(f"{folder}/initstate").strip()
    except OSError:
        pass
    # A built-in module has a directory only if it has parameters or a version, and never an initstate; one that is
    # just coming may not have its initstate yet.
    if not kernel.exists(folder):
        return ""
    return COMING if kernel.exists(f"{folder}/coresize") else BUILTIN


def is_in_kernel(kernel: Kernel, name: str) -> bool:
    """Whether a module is loaded and alive, or built in."""
    return init_state(kernel, name) in (LIVE, BUILTIN)


def refcount(kernel: Kernel, name: str) -> int:
    """How many references are held on a loaded module; -1 when the kernel does not count them."""
    try:
        return int(kernel.read_text(f"/sys/module/{name}/refcnt"))
    except (OSError, ValueError):
        return -1


def holders(kernel: Kernel, name: str) -> list[str]:
    """The modules that use a loaded module."""
    try:
        return kernel.listdir(f"/sys/module/{name}/holders")
    except OSError:
        return []


def core_size(kernel: Kernel, name: str) -> int:
    """How many bytes a loaded module takes; -1 when that is unknown."""
    try:
        return int(kernel.read_text(f"/sys/module/{name}/coresize"))
    except (OSError, ValueError):
        return -1


def parameters(kernel: Kernel, name: str) -> dict[str, str]:
    """The parameters of a module and their values now; those that may not be read are left out."""
    folder = f"/sys/module/{name}/parameters"
    found = {}
    try:
        names = kernel.listdir(folder)
    except OSError:
        return {}
    for parameter in names:
        try:
            found[parameter] = kernel.read_text(f"{folder}/{parameter}").rstrip("\n")
        except OSError:
            continue
    return dict(sorted(found.items()))


def attribute(kernel: Kernel, name: str, which: str) -> str:
    """One of a module's plain files in /sys/module: `taint`, `srcversion`, `version`; "" when there is none."""
    try:
        return kernel.read_text(f"/sys/module/{name}/{which}").strip()
    except OSError:
        return ""


def sections(kernel: Kernel, name: str) -> dict[str, int]:
    """Where each section of a loaded module is, by name; 0 for one whose address is hidden."""
    try:
        return section_addresses(kernel, name, kernel.listdir(f"/sys/module/{name}/sections"))
    except OSError:
        return {}


def section_addresses(kernel: Kernel, name: str, names: Iterable[str]) -> dict[str, int]:
    """Where some sections of a loaded module are, by name; 0 for one that is not there, or whose address is hidden."""
    found = {}
    for section in names:
        try:
            found[section] = int(kernel.read_text(f"/sys/module/{name}/sections/{section}"), 16)
        except (OSError, ValueError):
            found[section] = 0
    return found


def obstacle(kernel: Kernel) -> str:
    """Why this kernel loads no module, or no unsigned one, as one sentence; "" when it does."""
    try:
        if kernel.read_text("/proc/sys/kernel/modules_disabled").strip() == "1":
            return "Loading and unloading is turned off until the next boot (kernel.modules_disabled = 1)."
    except OSError:
        pass
    try:
        level = kernel.read_text("/sys/kernel/security/lockdown").partition("[")[2].partition("]")[0]
    except OSError:
        return ""
    if level in ("integrity", "confidentiality"):
        return f"The kernel is locked down ({level}): only modules signed by a key it trusts are loaded."
    return ""
