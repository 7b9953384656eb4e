"""Private areas: what lies behind an object of the kernel's own and is the module's.

    alloc_netdev_mqs(sizeof_priv, …)     struct net_device | sizeof_priv bytes    netdev_priv()
    scsi_host_alloc(template, size)      struct Scsi_Host | size bytes            shost_priv()
    sk_alloc(…, proto, …)                proto->obj_size bytes, struct sock first
    shash_alg.descsize                   struct shash_desc | descsize bytes       shash_desc_ctx()
    crypto_alg.cra_ctxsize               struct crypto_tfm | cra_ctxsize bytes    crypto_tfm_ctx()

The kernel allocates more: the slot of a slab. What is behind the private area in that slot is nobody's, so it is
marked: of objects that the module makes, for as long as they live; of contexts that an algorithm is given, while it
runs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from kobox.box.box import Box
from kobox.box.inspect.probes import Hit
from kobox.checks.report.quantities import beside, sized
from kobox.checks.runner.session import Examination
from kobox.errors import KoboxError
from kobox.machine.watch import Mark

MAKERS = {
    "alloc_netdev_mqs": 0,
    "alloc_etherdev_mqs": 0,
    "devm_alloc_etherdev_mqs": 1,
    "scsi_host_alloc": 1,
    "sk_alloc": 3,
}
"""Functions that make objects with a private area: which argument says its size, or (sk_alloc) points to who does."""

_NETDEV_ALIGN = 32
_MOST = 64  # bytes behind a context that are marked


def private_end(box: Box, function: str, hit: Hit) -> int:
    """Where the private area of an object ends that `function` has given; 0 where that is not known."""
    objects, given = box.inspect.objects, (hit.result or 0) & (1 << 64) - 1
    with suppress(KoboxError, ValueError):
        argument = hit.args[MAKERS[function]]
        if function == "sk_alloc":
            return given + objects.number(argument, "proto.obj_size")
        if function == "scsi_host_alloc":
            return given + objects.offset("Scsi_Host.hostdata") + (argument & 0x7FFFFFFF)
        if objects.has("net_device.priv"):
            return given + objects.offset("net_device.priv") + (argument & 0x7FFFFFFF)
        return given + (objects.size("net_device") + _NETDEV_ALIGN - 1 & -_NETDEV_ALIGN) + (argument & 0x7FFFFFFF)
    return 0


@dataclass(frozen=True, slots=True)
class AlgorithmFunction:
    """A function of an algorithm: in which structure it stands, and where; what its first argument points to ("" for
    struct crypto_tfm itself); which member says how large the context is that follows that."""

    algorithm: str
    function: str
    before: str
    size: str


_CONTEXTS = {
    "crypto_register_shash": (
        *(AlgorithmFunction("shash_alg", name, "shash_desc", "descsize") for name in ("init", "update", "final")),
        AlgorithmFunction("shash_alg", "setkey", "crypto_shash.base", "base.cra_ctxsize"),
    ),
    "crypto_register_skcipher": (
        AlgorithmFunction("skcipher_alg", "setkey", "crypto_skcipher.base", "base.cra_ctxsize"),
    ),
    "crypto_register_alg": (AlgorithmFunction("crypto_alg", "cra_u.cipher.cia_setkey", "", "cra_ctxsize"),),
}


@dataclass(slots=True)
class _LentContext:
    """A context that a function is using: which bytes behind it are marked, where it begins, its size."""

    start: int
    end: int
    context: int
    name: str


class AlgorithmContexts:
    """The probes on a module's algorithms. `slot_end(address)` says where the slab's slot ends that an address lies
    in; 0 for what is in none."""

    def __init__(self, examination: Examination, slot_end: Callable[[int], int]) -> None:
        self._examination = examination
        self._objects = examination.box.inspect.objects
        self._watch = examination.box.inspect.watch
        self._slot_end = slot_end
        self._functions: set[int] = set()
        self._lent: list[_LentContext] = []
        imports = {wanted.name for wanted in examination.file.imports}
        for name, contexts in _CONTEXTS.items():
            for called, many in ((name, False), (_plural(name), True)):
                if called in imports and called in examination.box.inspect.symbols:
                    examination.probe(called, partial(self._registers, contexts, many))

    def linked(self) -> None:
        """Another life begins: functions lie elsewhere."""
        self._functions.clear()
        self._lent.clear()

    def _registers(self, contexts: tuple[AlgorithmFunction, ...], many: bool, hit: Hit) -> None:
        with suppress(KoboxError, ValueError):
            step = self._objects.size(contexts[0].algorithm)
            for number in range(min(hit.args[1], 64) if many else 1):
                for one in contexts:
                    self._watch_function(one, hit.args[0] + number * step)

    def _watch_function(self, one: AlgorithmFunction, algorithm: int) -> None:
        function = self._objects.number(algorithm, f"{one.algorithm}.{one.function}")
        size = self._objects.number(algorithm, f"{one.algorithm}.{one.size}")
        base = "" if one.algorithm == "crypto_alg" else "base."
        name = self._objects.text(algorithm, f"{one.algorithm}.{base}cra_name")
        if function not in self._functions and self._examination.in_module(function):
            self._functions.add(function)
            given = partial(self._given, self._before(one.before), size, name)
            self._examination.probe_code(function, given, self._done)

    def _before(self, what: str) -> int:
        """How many bytes lie between what a function is given and the context."""
        if what.endswith(".base"):
            return self._objects.offset(what) + self._objects.size("crypto_tfm")
        return self._objects.size(what or "crypto_tfm")

    def _given(self, before: int, size: int, name: str, hit: Hit) -> None:
        context = hit.args[0] + before
        start = context + size
        with suppress(KoboxError, ValueError):
            end = min(self._slot_end(context), start + _MOST)
            if not start < end or any(start <= argument < end for argument in hit.args[1:4]):
                return
            if any(mark != Mark.UNKNOWN for mark in self._watch.marks(start, end - start)):
                return
            self._watch.mark(start, end - start, Mark.BEHIND_CONTEXT)
            hit.data = _LentContext(start, end, context, f"context of {name}")
            self._lent.append(hit.data)

    def _done(self, hit: Hit) -> None:
        if hit.data in self._lent:
            self._lent.remove(hit.data)
            self._unmark(hit.data.start, hit.data.end)

    def _unmark(self, start: int, end: int) -> None:
        for at, mark in enumerate(self._watch.marks(start, end - start)):
            if mark == Mark.BEHIND_CONTEXT:
                self._watch.mark(start + at, 1, Mark.UNKNOWN)

    def judge(self, address: int, size: int) -> str:
        """What is wrong with an access of marked bytes, in words; "" if nothing is."""
        lent = next((one for one in self._lent if one.start < address + size and address < one.end), None)
        if lent is None:
            self._unmark(address, address + size)
            return ""
        self._unmark(lent.start, lent.end)
        return beside(max(address, lent.start), lent.context, lent.start, sized(lent.start - lent.context, lent.name))


def _plural(name: str) -> str:
    return f"{name}es" if name.endswith("sh") else f"{name}s"
