"""The files that a module has made: what differs between a box with it and the clean box.

/dev nodes        of what appeared in /sys/dev/char and /sys/dev/block
device numbers    of what appeared in /proc/devices and has no node: one is made
/proc, debugfs    what appeared, directories with all that is in them
/sys              attributes of its devices, and its parameters
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kobox.checks.module.netlink_families import netlink_families
from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.box.box import Box

_WITH_FILES = (
    "/proc",
    "/proc/1/net",
    "/proc/fs",
    "/proc/driver",
    *(f"/proc/sys{part}" for part in ("", "/dev", "/kernel", "/net", "/net/core", "/net/ipv4", "/vm", "/fs", "/debug")),
    "/sys/kernel/debug",
    "/sys/kernel",
    "/sys/fs",
)
_LISTED = (
    *_WITH_FILES,
    "/sys/dev/char",
    "/sys/dev/block",
    "/sys/class",
    "/sys/class/net",
    "/sys/bus",
)
_PACKETS = frozenset(
    (
        *("nf_register_net_hook", "nf_register_net_hooks", "nf_register_sockopt", "dev_add_pack", "inet_add_protocol"),
        *("inet6_add_protocol", "inet_add_offload", "tcp_register_congestion_control", "register_qdisc"),
        *(
            "tcf_register_action",
            "xt_register_target",
            "xt_register_targets",
            "xt_register_match",
            "xt_register_matches",
        ),
        "netdev_rx_handler_register",
    )
)
_CONFIGFS = "/sys/kernel/config"
_MOST_FAMILIES = 46  # AF_MAX, include/linux/socket.h
_ALGORITHMS = {
    "shash": "hash",
    "ahash": "hash",
    "skcipher": "skcipher",
    "cipher": "skcipher",
    "aead": "aead",
    "rng": "rng",
    "lskcipher": "skcipher",
}
"""What /proc/crypto calls a type, and what AF_ALG does."""
_DIRECTORIES = 40  # that are looked into at most
_ATTRIBUTES = 48  # of devices that are used at most
_NOT_LOOKED_INTO = frozenset(("/sys/class/net", "/sys/class/bdi", "/sys/bus/workqueue/devices"))  # the kernel's own
_TAKEN = 4  # types of frames, and protocols, that are sent
_PTYPE_HASH_SIZE, _MAX_INET_PROTOS = 16, 256  # include/linux/netdevice.h, include/net/protocol.h
_ALIKE = 2  # device nodes of one major number that are used, and files of one name
_OF_EVERY_MODULE = frozenset(
    ("coresize", "initsize", "initstate", "refcnt", "scmversion", "srcversion", "taint", "uevent", "version")
)
_NOT_ATTRIBUTES = frozenset(
    (
        "uevent",
        "power",
        "subsystem",
        "driver",
        "device",
        "dev",
        "bind",
        "unbind",
        "waiting_for_supplier",
        "async",
        "driver_override",
        "modalias",
        "numa_node",
        "inhibited",  # an input device with that set gets no events
    )
)


@dataclass(frozen=True, slots=True)
class Target:
    """A file that can be used. `flags` are those to open it with; `node` the arguments of mknod(2) when it must be made
    first; `value` what it holds, for files of text that can be written back.

    Not files are: a network `interface` with its `index`, `packets` through the stack, and a protocol of `netlink` with
    its family (of the generic one)."""

    path: str
    flags: int
    is_device: bool = False
    node: tuple[str, int, int] | tuple[()] = ()
    value: bytes = b""
    interface: str = ""
    index: int = 0
    packets: bool = False
    types: tuple[int, ...] = ()
    """Types of Ethernet frames, and below protocols of IP, that the module takes."""
    protocols: tuple[int, ...] = ()
    netlink: tuple[int, int] | tuple[()] = ()
    subsystem: tuple[str, ...] = ()
    """What else can be used: ("file system", name), ("algorithm", type, name), ("key type", name), ("sockets",
    family)."""
    made_by: tuple[str, int] | tuple[()] = ()
    """A directory that must be made before (mkdir(2): path, mode) and removed afterwards: an item of configfs."""


class FileTargets:
    """What a box looks like without the module."""

    def __init__(self, box: Box) -> None:
        self._before = {directory: _names(box, directory) for directory in _LISTED}
        self._before |= {directory: _names(box, directory) for directory in _places_of_devices(box)}
        self._devices = _device_numbers(box)
        self._families = netlink_families(box)
        self._taken = _taken(box)
        self._subsystems = set(_subsystems(box))
        self._groups = _groups(box)

    def new_files(self, box: Box, module: str, imports: frozenset[str] = frozenset()) -> list[Target]:
        """The files that have come, in a fixed order: devices, then /proc and debugfs, then attributes. Behind the
        devices, what is no file: interfaces, families of netlink, and packets for a module that calls one of the
        functions (`imports`) that hook into the network."""
        devices = _few_of_each(list(self._nodes(box)))
        found = [*devices, *self._nodeless(box, {target.path for target in devices})]
        for directory in _WITH_FILES:
            for name in self._come(box, directory):
                found += _files_below(box, f"{directory}/{name}")
        attributes = [target for directory in self._device_directories(box) for target in _attributes(box, directory)]
        found += attributes[:_ATTRIBUTES]
        found += _attributes(box, f"/sys/module/{module}", _OF_EVERY_MODULE)
        for name in sorted(_names(box, f"/sys/module/{module}/parameters")):
            found += _file(box, f"/sys/module/{module}/parameters/{name}")
        found[len(devices) : len(devices)] = [
            *(_interface(box, name) for name in self._come(box, "/sys/class/net")),
            *self._packets(box, imports),
            *(
                Target(f"netlink {protocol}:{family}", 0, netlink=(protocol, family))
                for protocol, family in sorted(netlink_families(box) - self._families)
            ),
            *(
                Target(" ".join(found), 0, subsystem=found)
                for found in sorted(set(_subsystems(box)) - self._subsystems)
            ),
            *(target for group in sorted(_groups(box) - self._groups) for target in _items(box, group)),
        ]
        return _alike_left_out(_each_once(box, found))

    def _packets(self, box: Box, imports: frozenset[str]) -> Iterator[Target]:
        """Packets, with what the module alone takes: what has come to the kernel's tables."""
        if imports & _PACKETS:
            types, protocols = (sorted(new - old) for new, old in zip(_taken(box), self._taken, strict=True))
            yield Target("packets", 0, packets=True, types=tuple(types[:_TAKEN]), protocols=tuple(protocols[:_TAKEN]))

    def _come(self, box: Box, directory: str) -> list[str]:
        return sorted(_names(box, directory) - self._before[directory])

    def _nodes(self, box: Box) -> Iterator[Target]:
        for directory, kind in (("/sys/dev/char", stat.S_IFCHR), ("/sys/dev/block", stat.S_IFBLK)):
            for number in self._come(box, directory):
                name = _device_name(box, f"{directory}/{number}")
                major, minor = map(int, number.split(":"))
                path = f"/dev/{name}"
                if name and box.exists(path):
                    yield Target(path, os.O_RDWR, True)
                else:
                    yield _made(f"kobox-{major}-{minor}", kind, major, minor)

    def _nodeless(self, box: Box, have: set[str]) -> Iterator[Target]:
        """Majors that came and have no device in /sys: register_chrdev() without a class."""
        with_nodes = {name.split(":")[0] for name in self._come(box, "/sys/dev/char")}
        for major in sorted(_device_numbers(box) - self._devices):
            if str(major) not in with_nodes:
                for minor in (0, 1):
                    yield _made(f"kobox-{major}-{minor}", stat.S_IFCHR, major, minor)

    def _device_directories(self, box: Box) -> Iterator[str]:
        for directory in _places_of_devices(box):
            for device in sorted(_names(box, directory) - self._before.get(directory, set())):
                yield f"{directory}/{device}"
        for directory in ("/sys/dev/char", "/sys/dev/block"):
            for number in self._come(box, directory):
                yield f"{directory}/{number}"


def _subsystems(box: Box) -> Iterator[tuple[str, ...]]:
    """File systems without a device, line disciplines, algorithms, families of sockets, and types of keys."""
    with suppress(OSError):
        for line in box.read_text("/proc/filesystems").splitlines():
            device, _, name = line.partition("\t")
            if device == "nodev":
                yield "file system", name
    with suppress(OSError):
        for block in box.read_text("/proc/crypto").split("\n\n"):
            rows = [line.partition(":") for line in block.splitlines()]
            said = {name.strip(): value.strip() for name, _, value in rows}
            kind = _ALGORITHMS.get(said.get("type", ""))
            if kind and "driver" in said:
                yield "algorithm", kind, said["driver"]
    with suppress(OSError):
        for line in box.read_text("/proc/tty/ldiscs").splitlines():
            yield "line discipline", line.split()[-1]
    objects = box.inspect.objects
    with suppress(KoboxError, ValueError):
        table = objects.address("net_families")
        for family in range(_MOST_FAMILIES):
            if objects.u64(table + 8 * family):
                yield "sockets", str(family)
    with suppress(KoboxError, ValueError):
        for key_type in objects.list(objects.address("key_types_list"), "key_type.link"):
            yield "key type", objects.string(objects.number(key_type, "key_type.name"))


def _taken(box: Box) -> tuple[set[int], set[int]]:
    """The types of frames that are in ptype_base (net/core/dev.c), and the protocols that are in inet_protos
    (net/ipv4/protocol.c)."""
    objects = box.inspect.objects
    types: set[int] = set()
    protocols: set[int] = set()
    with suppress(KoboxError, ValueError):
        table, size = objects.address("ptype_base"), objects.size("list_head")
        for slot in range(_PTYPE_HASH_SIZE):
            for one in objects.list(table + slot * size, "packet_type.list"):
                types.add(int.from_bytes(objects.number(one, "packet_type.type").to_bytes(2, "little"), "big"))
    with suppress(KoboxError, ValueError):
        table = objects.address("inet_protos")
        protocols.update(number for number in range(_MAX_INET_PROTOS) if objects.u64(table + 8 * number))
    return types, protocols


def _groups(box: Box) -> set[str]:
    """What stands in configfs, which is mounted for that where it is not yet."""
    if not _names(box, _CONFIGFS):
        with suppress(OSError):
            box.syscall("mount", "none", _CONFIGFS, "configfs", 0, 0)
    return _names(box, _CONFIGFS)


def _items(box: Box, group: str) -> list[Target]:
    """The files of a group of configfs, and of an item that is made in it, for as long as it is looked at."""
    above, item = f"{_CONFIGFS}/{group}", f"{_CONFIGFS}/{group}/kobox"
    found = [target for name in sorted(_names(box, above)) for target in _file(box, f"{above}/{name}")]
    with suppress(OSError):
        box.syscall("mkdir", item, 0o755)
        try:
            names = sorted(_names(box, item))
            found += [replace(one, made_by=(item, 0o755)) for name in names for one in _file(box, f"{item}/{name}")]
        finally:
            box.syscall("rmdir", item)
    return found


def _interface(box: Box, name: str) -> Target:
    index = 0
    with suppress(OSError, ValueError):
        index = int(box.read_text(f"/sys/class/net/{name}/ifindex"))
    return Target(f"network interface {name}", 0, interface=name, index=index)


def _places_of_devices(box: Box) -> list[str]:
    """Where devices stand in /sys: one directory for each bus and each class."""
    buses = [f"/sys/bus/{name}/devices" for name in sorted(_names(box, "/sys/bus"))]
    classes = [f"/sys/class/{name}" for name in sorted(_names(box, "/sys/class"))]
    return [directory for directory in (*buses, *classes) if directory not in _NOT_LOOKED_INTO]


def _few_of_each(targets: list[Target]) -> list[Target]:
    """Two nodes of each family: loop0 and loop1, not all eight."""
    seen: dict[str, int] = {}
    out = []
    for target in targets:
        family = target.path.rstrip("0123456789")
        seen[family] = seen.get(family, 0) + 1
        if seen[family] <= _ALIKE:
            out.append(target)
    return out


def _each_once(box: Box, targets: list[Target]) -> Iterator[Target]:
    """Without those that are there already by another path: a device's attribute is below its bus, its class and its
    number."""
    seen: set[object] = set()
    for target in targets:
        keys: set[object] = {target.path}
        if target.path.startswith("/sys/") and not target.made_by:
            with suppress(OSError):
                about = box.stat(target.path)
                keys.add((about.st_dev, about.st_ino))
        if not keys & seen:
            yield target
        seen |= keys


def _alike_left_out(targets: Iterable[Target]) -> list[Target]:
    """Two files of each name in directories that differ by a number: `chan0/stats` and `chan1/stats`, not all eight."""
    seen: Counter[tuple[str, str]] = Counter()
    out = []
    for target in targets:
        directory, _, name = target.path.rpartition("/")
        key = re.sub(r"\d+", "0", directory), name
        seen[key] += 1
        if target.is_device or seen[key] <= _ALIKE:
            out.append(target)
    return out


def _made(name: str, kind: int, major: int, minor: int) -> Target:
    path = f"/tmp/{name}"
    return Target(path, os.O_RDWR, True, (path, kind | 0o600, os.makedev(major, minor)))


def _names(box: Box, directory: str) -> set[str]:
    with suppress(OSError):
        return set(box.files.scandir(directory, str.isdigit if directory == "/proc" else None)) - {".", ".."}
    return set()


def _device_name(box: Box, directory: str) -> str:
    with suppress(OSError):
        for line in box.read_text(f"{directory}/uevent").splitlines():
            if line.startswith("DEVNAME="):
                return line[8:]
    return ""


def _device_numbers(box: Box) -> set[int]:
    """The majors of character devices."""
    with suppress(OSError):
        text = box.read_text("/proc/devices").partition("Block devices:")[0]
        return {int(line.split()[0]) for line in text.splitlines() if line.strip()[:1].isdigit()}
    return set()


def _files_below(box: Box, path: str) -> list[Target]:
    found: list[Target] = []
    waiting = [path]
    for _ in range(_DIRECTORIES):
        if not waiting:
            break
        here = waiting.pop(0)
        with suppress(OSError):
            mode = box.stat(here, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                waiting += [f"{here}/{name}" for name in sorted(_names(box, here))]
            elif stat.S_ISREG(mode):
                found += _file(box, here)
    return found


def _attributes(box: Box, directory: str, without: frozenset[str] = _NOT_ATTRIBUTES) -> list[Target]:
    found: list[Target] = []
    for name in sorted(_names(box, directory) - without):
        with suppress(OSError):
            if stat.S_ISREG(box.stat(f"{directory}/{name}", follow_symlinks=False).st_mode):
                found += _file(box, f"{directory}/{name}")
    return found


def _file(box: Box, path: str) -> list[Target]:
    """A regular file, with what it holds."""
    value = b""
    try:
        mode = box.stat(path).st_mode
    except OSError:
        return []
    readable, writable = bool(mode & 0o444), bool(mode & 0o222)
    if path.startswith("/sys/module/") and readable:
        with suppress(OSError):
            value = box.read_bytes(path)[:256]
    flags = os.O_RDWR if readable and writable else os.O_WRONLY if writable else os.O_RDONLY
    return [Target(path, flags, False, (), value)]
