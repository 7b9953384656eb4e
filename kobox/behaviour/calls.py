"""What a module asks of the kernel while it lives: calls of functions that matter, with their arguments in words."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from kobox.behaviour.report import Level, Trait
from kobox.box.box import Box
from kobox.box.inspect.probes import Hit, Probe
from kobox.box.inspect.symbols import LoadedAt
from kobox.errors import KoboxError

HZ = 250.0
"""Jiffies a second, as Debian's kernels have them (CONFIG_HZ)."""


class _Watched(NamedTuple):
    kind: str
    level: Level
    say: Callable[[Hit, Box], str]


def _path(hit: Hit, _: Box) -> str:
    return f"opens {hit.string(hit.args[0], 256)}"


def _program(hit: Hit, _: Box) -> str:
    words = [hit.string(hit.args[0], 256)]
    for number in range(1, 8):
        pointer = int.from_bytes(hit.read(hit.args[1] + 8 * number, 8), "little") if hit.args[1] else 0
        if not pointer:
            break
        words.append(hit.string(pointer, 256))
    return f"starts {' '.join(words)}"


def _kprobe(hit: Hit, box: Box) -> str:
    objects = box.inspect.objects
    name = objects.text(hit.args[0], "kprobe.symbol_name")
    return f"probes {name or box.inspect.symbols.describe(objects.number(hit.args[0], 'kprobe.addr'))}"


def _kretprobe(hit: Hit, box: Box) -> str:
    return f"probes the return of {box.inspect.objects.text(hit.args[0], 'kretprobe.kp.symbol_name')}"


def _plain(text: str) -> Callable[[Hit, Box], str]:
    return lambda hit, box: text


def _named(text: str, argument: int = 0) -> Callable[[Hit, Box], str]:
    return lambda hit, box: f"{text} {hit.string(hit.args[argument], 256)}"


def _file(what: str) -> Callable[[Hit, Box], str]:
    """The file that an argument (struct file *) is, by its last name."""

    def say(hit: Hit, box: Box) -> str:
        objects = box.inspect.objects
        entry = objects.number(hit.args[0], "file.f_path.dentry")
        return f"{what} {objects.string(objects.number(entry, 'dentry.d_name.name'))}"

    return say


def _key(hit: Hit, _: Box) -> str:
    size = hit.args[2]
    shown = hit.read(hit.args[1], min(size, 64)).hex()
    return f"sets a key of {size} bytes for a cipher or a hash: {shown}{'…' * (size > 64)}"


def _address(what: str) -> Callable[[Hit, Box], str]:
    """The address that the second argument (struct sockaddr *) is."""

    def say(hit: Hit, _: Box) -> str:
        data = hit.read(hit.args[1], 8)
        family, port = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "big")
        if family != socket.AF_INET:
            return f"{what} an address of family {family}"
        return f"{what} {socket.inet_ntoa(data[4:8])} port {port}"

    return say


def _filter(hit: Hit, box: Box) -> str:
    """What ftrace_set_filter_ip(ops, ip, remove, reset) or ftrace_set_filter(ops, name, length, reset) names."""
    if box.arch.addresses.is_kernel(hit.args[1]) and box.inspect.symbols.lookup(hit.args[1]) is not None:
        symbol = box.inspect.symbols.describe(hit.args[1])
        if "set_filter_ip" in str(hit.probe.where):
            return f"hooks {symbol.partition('+')[0]} by ftrace"
    return f"hooks {hit.string(hit.args[1], 64)} by ftrace"


WATCHED: dict[str, _Watched] = {
    "register_kprobe": _Watched("kprobe", "note", _kprobe),
    "register_kretprobe": _Watched("kretprobe", "note", _kretprobe),
    "register_ftrace_function": _Watched("ftrace hook", "note", _plain("hooks functions by ftrace")),
    "ftrace_set_filter": _Watched("ftrace hook", "note", _filter),
    "ftrace_set_filter_ip": _Watched("ftrace hook", "note", _filter),
    "tracepoint_probe_register": _Watched("tracepoint", "note", _plain("attaches to a tracepoint")),
    "register_keyboard_notifier": _Watched("keyboard notifier", "suspicious", _plain("sees every key that is pressed")),
    "register_module_notifier": _Watched("module notifier", "note", _plain("is told of every module that loads")),
    "register_netdevice_notifier": _Watched("network notifier", "note", _plain("is told of network devices")),
    "register_die_notifier": _Watched("die notifier", "note", _plain("is told of oopses")),
    "nf_register_net_hook": _Watched("netfilter hook", "note", _plain("sees packets (netfilter)")),
    "nf_register_net_hooks": _Watched("netfilter hook", "note", _plain("sees packets (netfilter)")),
    "dev_add_pack": _Watched("packet handler", "note", _plain("sees packets (packet type)")),
    "__register_binfmt": _Watched("binary format", "note", _plain("is asked about programs that start")),
    "security_add_hooks": _Watched("security hooks", "suspicious", _plain("adds hooks of a security module")),
    "call_usermodehelper": _Watched("starts a program", "note", _program),
    "call_usermodehelper_setup": _Watched("starts a program", "note", _program),
    "filp_open": _Watched("opens a file", "note", _path),
    "kernel_read": _Watched("reads a file", "note", _file("reads")),
    "kernel_write": _Watched("writes a file", "note", _file("writes")),
    "commit_creds": _Watched("credentials", "hostile", _plain("gives the running process other credentials")),
    "prepare_kernel_cred": _Watched("kernel credentials", "note", _plain("makes root's credentials")),
    "access_process_vm": _Watched("process memory", "suspicious", _plain("reads or writes the memory of a process")),
    "kallsyms_lookup_name": _Watched("symbol lookup", "suspicious", _named("looks up")),
    "kallsyms_on_each_symbol": _Watched("symbol lookup", "suspicious", _plain("goes through all symbols")),
    "set_memory_rw": _Watched("memory made writable", "suspicious", _plain("makes pages of the kernel writable")),
    "set_memory_x": _Watched("memory made executable", "suspicious", _plain("makes data executable")),
    "text_poke": _Watched("code patched", "hostile", _plain("patches code of the kernel (text_poke)")),
    "text_poke_kgdb": _Watched("code patched", "hostile", _plain("patches code of the kernel (text_poke_kgdb)")),
    "native_write_cr0": _Watched(
        "control register", "suspicious", _plain("has the kernel write a control register for it")
    ),
    "sock_create_kern": _Watched("socket", "note", _plain("opens a socket")),
    "sock_create": _Watched("socket", "note", _plain("opens a socket")),
    "kernel_connect": _Watched("connects", "suspicious", _address("connects to")),
    "kernel_bind": _Watched("listens", "note", _address("binds a socket to")),
    "kthread_create_on_node": _Watched("thread", "note", _named("starts a thread", 3)),
    "orderly_poweroff": _Watched("power", "suspicious", _plain("turns the machine off")),
    "kernel_restart": _Watched("power", "suspicious", _plain("restarts the machine")),
    "dmi_get_system_info": _Watched("machine identity", "note", _plain("asks which machine this is (DMI)")),
    "dmi_match": _Watched("machine identity", "note", _plain("asks which machine this is (DMI)")),
    "dmi_name_in_vendors": _Watched("machine identity", "note", _plain("asks which machine this is (DMI)")),
    "ktime_get_real_ts64": _Watched("date", "note", _plain("reads the date")),
    "ktime_get_real_seconds": _Watched("date", "note", _plain("reads the date")),
    "crypto_skcipher_setkey": _Watched("key", "note", _key),
    "crypto_aead_setkey": _Watched("key", "note", _key),
    "crypto_cipher_setkey": _Watched("key", "note", _key),
    "crypto_shash_setkey": _Watched("key", "note", _key),
    "crypto_ahash_setkey": _Watched("key", "note", _key),
}
# Functions that wait or arm a timer: (argument, in milliseconds) or (argument, in jiffies from now, or absolute).
_WAITS: dict[str, tuple[int, str]] = {
    "msleep": (0, "ms"),
    "msleep_interruptible": (0, "ms"),
    "schedule_timeout": (0, "jiffies"),
    "mod_timer": (1, "absolute"),
    "queue_delayed_work_on": (3, "jiffies"),
    "mod_delayed_work_on": (3, "jiffies"),
    "hrtimer_start_range_ns": (1, "ns"),
}
_MOST = 100  # traits of one kind: a module may do one thing a million times, each time in other words
_IMAGE = (("_text", "_stext"), ("_end", "_etext"))
_LONG = 600.0  # seconds: who waits longer than that is told
_SHELLS = frozenset(("/bin/sh", "/bin/bash", "/bin/dash", "/usr/bin/sh", "/usr/bin/bash", "sh", "bash", "-c"))
_PLACES = ("/tmp/", "/var/tmp/", "/dev/shm/", "/home/", "/root/")
_REMOTE = ("/dev/tcp", "nc ", "ncat", "socat", "curl ", "wget ", "http://", "https://")
_SECRETS = ("/etc/shadow", "/root/.ssh", "/etc/ssh/", "authorized_keys")


def is_nobody_s(box: Box, address: int) -> bool:
    """Whether an address of the kernel's half is neither in the kernel's image nor in a module."""
    if not box.arch.addresses.is_kernel(address):
        return False
    return not known_memory(box)(address)


def known_memory(box: Box) -> Callable[[int], bool]:
    """A function that says whether an address lies in the kernel's image or in a module. The modules are those that are
    loaded when it is first asked about an address outside the image: ask for a new one when they may have changed."""
    symbols = box.inspect.symbols
    # Without CONFIG_KALLSYMS_ALL (Debian's arm64) only code has symbols.
    start, end = (symbols.of_kernel(whole) or symbols.address(code) for whole, code in _IMAGE)
    modules: list[LoadedAt] | None = None

    def known(address: int) -> bool:
        nonlocal modules
        if start <= address < end:
            return True
        if modules is None:
            modules = symbols.modules()
        return any(address in module for module in modules)

    return known


class ModuleCalls:
    """Watches the calls of one module, also those that it makes by a jump, or from memory that is nobody's.

    `place` is told where it lies, once it is there.
    """

    def __init__(self, box: Box) -> None:
        self._box = box
        self._module: LoadedAt | None = None
        self.traits: dict[tuple[str, str], Trait] = {}
        self._kinds: dict[str, int] = {}
        self.longest_wait = 0.0
        """Seconds that it waits, or has a timer wait, at most."""
        self._probes = [probe for name in WATCHED if (probe := self._watch(name)) is not None]
        for name, (argument, unit) in _WAITS.items():
            if box.inspect.symbols.of_kernel(name) is not None:
                self._probes.append(box.probe(name, partial(self._waits, argument, unit)))

    def place(self, module: LoadedAt) -> None:
        """Say where the module is: only its calls count."""
        self._module = module
        if self._box.arch.watched:
            for start, size in module.code:
                self._box.inspect.watch.code(start, start + size)

    def close(self) -> None:
        """Watch no more."""
        for probe in self._probes:
            probe.remove()
        if self._box.arch.watched:
            self._box.inspect.watch.forget()

    def _watch(self, name: str) -> Probe | None:
        if self._box.inspect.symbols.of_kernel(name) is None:
            return None
        watched = WATCHED[name]
        return self._box.probe(name, lambda hit: self._called(hit, watched))

    def _caller(self, hit: Hit) -> str:
        """Which code of the module has made a call, in words; "" for calls of others."""
        if self._module is None:
            return ""
        if hit.caller in self._module:
            return hit.caller_name
        if self._box.arch.watched and self._box.inspect.watch.from_module:
            return self._box.inspect.symbols.describe(self._box.inspect.watch.caller)
        if is_nobody_s(self._box, hit.caller):
            text = "code runs in memory that belongs to no module and calls the kernel"
            self._add(Trait("hidden code", "hostile", text, f"{hit.caller:#x}", time=self._box.time))
            return f"{hit.caller:#x}"
        return ""

    def _add(self, trait: Trait) -> None:
        if (trait.kind, trait.text) in self.traits:
            return
        number = self._kinds[trait.kind] = self._kinds.get(trait.kind, 0) + 1
        if number == _MOST:
            trait = replace(trait, text="does that with more words and addresses than are shown here")
        if number <= _MOST:
            self.traits[trait.kind, trait.text] = trait

    def _called(self, hit: Hit, watched: _Watched) -> None:
        if not (where := self._caller(hit)):
            return
        try:
            text = watched.say(hit, self._box)
        except (KoboxError, ValueError):  # an argument that leads nowhere
            text = f"calls {hit.probe.where}"
        for trait in _judged(watched, text, where, self._box.time):
            self._add(trait)
        if watched.kind == "kprobe" and self._has_no_handler(hit.args[0]):
            name = text.partition(" ")[2]
            text = f"finds {name} by a kprobe without a handler: that is how modules get at what is not exported"
            self._add(Trait("symbols that are not exported", "suspicious", text, where, time=self._box.time))

    def _has_no_handler(self, probe: int) -> bool:
        objects = self._box.inspect.objects
        with suppress(KoboxError, ValueError):
            return not any(objects.number(probe, f"kprobe.{name}_handler") for name in ("pre", "post"))
        return False

    def _waits(self, argument: int, unit: str, hit: Hit) -> None:
        if not (where := self._caller(hit)):
            return
        value = hit.args[argument]
        if unit in ("jiffies", "absolute"):
            objects = self._box.inspect.objects
            now = objects.u64(objects.address("jiffies")) if unit == "absolute" else 0
            value = (value - now) & (1 << 64) - 1
        seconds = value / {"ms": 1e3, "ns": 1e9}.get(unit, HZ)
        if value >= 1 << 62:  # MAX_SCHEDULE_TIMEOUT, KTIME_MAX: until it is woken
            return
        self.longest_wait = max(self.longest_wait, seconds)
        if seconds > _LONG:
            text = f"waits {seconds:.0f} seconds before it goes on"
            self._add(Trait("waits", "note", text, where, time=self._box.time))


def _judged(watched: _Watched, text: str, where: str, time: float) -> Iterator[Trait]:
    yield Trait(watched.kind, watched.level, text, where, time=time)
    if watched.kind == "opens a file" and any(secret in text for secret in _SECRETS):
        yield Trait("secrets", "suspicious", text, where, time=time)
    if watched.kind == "starts a program":
        words = text.split()[1:]
        if _SHELLS.intersection(words):
            level: Level = "hostile" if any(word in text for word in _REMOTE) else "suspicious"
            yield Trait("runs a shell", level, text, where, time=time)
        elif words and words[0].startswith(_PLACES):
            yield Trait("runs a program of a user's", "suspicious", text, where, time=time)
