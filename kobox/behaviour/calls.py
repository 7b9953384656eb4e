"""What a module asks of the kernel while it lives: calls of functions that matter, with their arguments in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from kobox.behaviour.report import Level, Trait
from kobox.box.box import Box
from kobox.box.inspect.probes import Hit, Probe
from kobox.box.inspect.symbols import LoadedAt


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


WATCHED: dict[str, _Watched] = {
    "register_kprobe": _Watched("kprobe", "note", _kprobe),
    "register_kretprobe": _Watched("kretprobe", "note", _kretprobe),
    "register_ftrace_function": _Watched("ftrace hook", "note", _plain("hooks functions by ftrace")),
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
    "call_usermodehelper": _Watched("starts a program", "suspicious", _program),
    "call_usermodehelper_setup": _Watched("starts a program", "suspicious", _program),
    "filp_open": _Watched("opens a file", "note", _path),
    "commit_creds": _Watched("credentials", "hostile", _plain("gives the running process other credentials")),
    "prepare_kernel_cred": _Watched("kernel credentials", "note", _plain("makes root's credentials")),
    "access_process_vm": _Watched("process memory", "suspicious", _plain("reads or writes the memory of a process")),
    "kallsyms_lookup_name": _Watched("symbol lookup", "suspicious", _named("looks up")),
    "kallsyms_on_each_symbol": _Watched("symbol lookup", "suspicious", _plain("goes through all symbols")),
    "set_memory_rw": _Watched("memory made writable", "suspicious", _plain("makes pages of the kernel writable")),
    "set_memory_x": _Watched("memory made executable", "suspicious", _plain("makes data executable")),
    "sock_create_kern": _Watched("socket", "note", _plain("opens a socket")),
    "sock_create": _Watched("socket", "note", _plain("opens a socket")),
    "kernel_connect": _Watched("connects", "suspicious", _plain("connects to another machine")),
    "kernel_bind": _Watched("listens", "note", _plain("binds a socket to an address")),
    "kthread_create_on_node": _Watched("thread", "note", _named("starts a thread", 3)),
    "orderly_poweroff": _Watched("power", "suspicious", _plain("turns the machine off")),
    "kernel_restart": _Watched("power", "suspicious", _plain("restarts the machine")),
}
_SECRETS = ("/etc/shadow", "/root/.ssh", "/etc/ssh/", "authorized_keys")


class ModuleCalls:
    """Watches the calls of one module. `place` is told where it lies, once it is there."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._module: LoadedAt | None = None
        self.traits: dict[tuple[str, str], Trait] = {}
        self.unseen: list[str] = []
        self._probes = [probe for name in WATCHED if (probe := self._watch(name)) is not None]

    def place(self, module: LoadedAt) -> None:
        """Say where the module is: only its calls count."""
        self._module = module

    def close(self) -> None:
        """Watch no more."""
        for probe in self._probes:
            probe.remove()

    def _watch(self, name: str) -> Probe | None:
        if self._box.inspect.symbols.of_kernel(name) is None:
            return None
        watched = WATCHED[name]
        return self._box.probe(name, lambda hit: self._called(hit, watched))

    def _called(self, hit: Hit, watched: _Watched) -> None:
        if self._module is None or hit.caller not in self._module:
            return
        try:
            text = watched.say(hit, self._box)
        except ValueError:  # an argument that leads nowhere
            text = f"calls {hit.probe.where}"
        for trait in _judged(watched, text, hit.caller_name, self._box.time):
            self.traits.setdefault((trait.kind, trait.text), trait)


def _judged(watched: _Watched, text: str, where: str, time: float) -> Iterator[Trait]:
    yield Trait(watched.kind, watched.level, text, where, time=time)
    if watched.kind == "kprobe" and "kallsyms_lookup_name" in text:
        what = "finds kallsyms_lookup_name by a kprobe: that is how modules get at what is not exported"
        yield Trait("symbols that are not exported", "suspicious", what, where, time=time)
    if watched.kind == "opens a file" and any(secret in text for secret in _SECRETS):
        yield Trait("secrets", "suspicious", text, where, time=time)
    if watched.kind == "starts a program" and any(word in text.split() for word in ("/bin/sh", "/bin/bash", "-c")):
        yield Trait("runs a shell", "hostile" if "/dev/tcp" in text else "suspicious", text, where, time=time)
