"""What of an unloaded module the kernel still points to, as a story tells it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from kobox.box.box import Box
from kobox.box.inspect.module_memory import ModuleMemory
from kobox.errors import KoboxError

_NEAR = 256  # bytes: what is known of a variable by another of its members


def dangling(
    box: Box, gone: Sequence[ModuleMemory], known: Collection[int], before: Mapping[int, bytes]
) -> dict[str, list[str]]:
    """Variables and functions of unloaded modules that the kernel still points to: by name, with the names of what
    holds each. Left out is what lies at or near one of the addresses `known`: that was told by another name.
    `before` is `data_of_modules` before they were loaded."""
    from kobox.box.inspect.gone_modules import what_still_leads_to

    found: dict[str, list[str]] = {}
    if not gone or not box.alive:
        return found
    told = {name for module in gone for at in known if (name := module.symbol(at))}
    try:
        for pointer in what_still_leads_to(box.inspect.objects, box.inspect.symbols, gone, before):
            symbol = pointer.module.symbol(pointer.target)
            near = any(at in pointer.module and abs(at - pointer.target) < _NEAR for at in known)
            if symbol not in told and (symbol or not near):
                holders = found.setdefault(pointer.what, [])
                holders += [] if pointer.holder in holders else [pointer.holder]
    except (KoboxError, ValueError):  # a kernel without type information, or memory that a module has damaged
        pass
    return found
