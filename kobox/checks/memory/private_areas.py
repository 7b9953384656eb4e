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

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from kobox.box.box import Box
from kobox.box.inspect.probes import Hit
from kobox.checks.memory.lent_buffers import LentBuffers
from kobox.checks.runner.session import Examination
from kobox.errors import KoboxError

MAKERS = {
    "alloc_netdev_mqs": 0,
    "alloc_etherdev_mqs": 0,
    "devm_alloc_etherdev_mqs": 1,
    "scsi_host_alloc": 1,
    "sk_alloc": 3,
}
"""Functions that make objects with a private area: which argument says its size, or (sk_alloc) points to who does."""

_NETDEV_ALIGN = 32


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


class AlgorithmContexts:
    """The probes on a module's algorithms, whose contexts are lent."""

    def __init__(self, examination: Examination, buffers: LentBuffers) -> None:
        self._examination = examination
        self._objects = examination.box.inspect.objects
        self._buffers = buffers
        self._functions: set[int] = set()
        imports = {wanted.name for wanted in examination.file.imports}
        for name, contexts in _CONTEXTS.items():
            for called, many in ((name, False), (_plural(name), True)):
                if called in imports and called in examination.box.inspect.symbols:
                    examination.probe(called, partial(self._registers, contexts, many))

    def linked(self) -> None:
        """Another life begins: functions lie elsewhere."""
        self._functions.clear()

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
            self._examination.probe_code(function, given, self._buffers.returned)

    def _before(self, what: str) -> int:
        """How many bytes lie between what a function is given and the context."""
        if what.endswith(".base"):
            return self._objects.offset(what) + self._objects.size("crypto_tfm")
        return self._objects.size(what or "crypto_tfm")

    def _given(self, before: int, size: int, name: str, hit: Hit) -> None:
        hit.data = self._buffers.lend(hit.args[0] + before, size, f"context of {name}", hit.args[1:4])


def _plural(name: str) -> str:
    return f"{name}es" if name.endswith("sh") else f"{name}s"
