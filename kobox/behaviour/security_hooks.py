"""What the kernel asks before it lets something be done (security modules): which functions, before and after.

until 6.11   security_hook_heads.NAME -> struct security_hook_list { list, hook } -> ...      lists of functions
since 6.12   __SCK__lsm_static_call_NAME_N                                                    pointers (static calls)

Sources: include/linux/lsm_hooks.h, security/security.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from kobox.behaviour.calls import is_nobody_s
from kobox.behaviour.report import Trait
from kobox.box.box import Box
from kobox.errors import KoboxError

_HEADS, _CALL = "security_hook_heads", "__SCK__lsm_static_call_"


class SecurityHooks:
    """The functions as they were when this was made."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._calls = self._static_calls()
        self._before = self._functions()

    def traits(self, inside: Callable[[int], bool]) -> Iterator[Trait]:
        """What is asked now and was not, or is not asked any more; `inside` tells the addresses of the module."""
        now, describe = self._functions(), self._box.inspect.symbols.describe
        for name in sorted({*now, *self._before}):
            before, after = self._before.get(name, ()), now.get(name, ())
            for address in after:
                if address not in before and (inside(address) or is_nobody_s(self._box, address)):
                    text = f"the kernel asks it before it allows {name}"
                    yield self._trait(text, name, " ".join(map(describe, before)), describe(address))
            for address in before:
                if address not in after:
                    text = f"the kernel does not ask {describe(address).partition('+')[0]} about {name} any more"
                    yield self._trait(text, name, describe(address), " ".join(map(describe, after)))

    def _trait(self, text: str, name: str, before: str, now: str) -> Trait:
        return Trait("security hooks", "hostile", text, name, before or "nobody", now or "nobody", self._box.time)

    def _functions(self) -> dict[str, tuple[int, ...]]:
        with suppress(KoboxError, ValueError):
            return dict(self._of_lists())
        with suppress(KoboxError, ValueError):
            return dict(self._of_static_calls())
        return {}

    def _of_lists(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        objects = self._box.inspect.objects
        heads = objects.address(_HEADS)
        for name, offset in self._box.inspect.symbols.btf.members(_HEADS).items():
            nodes = objects.chain(objects.u64(heads + offset))
            yield name, tuple(objects.number(self._entry(node), "security_hook_list.hook") for node in nodes)

    def _entry(self, node: int) -> int:
        return self._box.inspect.objects.container(node, "security_hook_list.list")

    def _of_static_calls(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        objects = self._box.inspect.objects
        found: dict[str, list[int]] = {}
        for name, key in self._calls.items():
            functions = found.setdefault(name.rpartition("_")[0], [])
            if function := objects.number(key, "static_call_key.func"):
                functions.append(function)
        for name, functions in found.items():
            yield name, tuple(functions)

    def _static_calls(self) -> dict[str, int]:
        """The keys of all static calls that ask security modules, by the name of the hook and its place there."""
        symbols = self._box.inspect.symbols
        if symbols.of_kernel(_HEADS) is not None:
            return {}
        start = len(_CALL) + 1  # behind the letter of the symbol's type
        rows = symbols.of_the_kernel()
        return {name[start:].decode(): at for at, name in rows if name.startswith(_CALL.encode(), 1)}
