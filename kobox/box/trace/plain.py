"""A trace as plain data, for JSON."""

from __future__ import annotations

from collections.abc import Sequence

from kobox.box.trace.call import Allocation, Call


def plain_trace(
    roots: Sequence[Call], modules: Sequence[str], allocations: Sequence[Allocation], *, is_whole: bool
) -> dict[str, object]:
    """The whole tree. Times are in nanoseconds of virtual time; `result` is a number or null, `said` that as text.
    Addresses are text, "0x…": readers of JSON keep integers below 2 ** 53 only."""
    left = [one for one in allocations if one.freed_by is None]
    return {
        "modules": list(modules),
        "whole": is_whole,
        "allocated": sum(one.size for one in allocations),
        "not_freed": [{"address": hex(one.address), "size": one.size, "by": one.call.name} for one in left],
        "calls": [_plain(root) for root in roots],
    }


def _plain(root: Call) -> dict[str, object]:
    """A call and those inside it: without recursion, since a guest decides how deep they are."""
    top = _one(root)
    todo = [(root, top)]
    while todo:
        call, plain = todo.pop()
        inner = [_one(child) for child in call.children]
        plain["calls"] = inner
        todo.extend(zip(call.children, inner, strict=True))
    return top


def _one(call: Call) -> dict[str, object]:
    return {
        "kind": str(call.kind),
        "name": call.name,
        "module": call.module,
        "arguments": dict(call.arguments),
        "result": _number(call.result),
        "said": call.said,
        "error": call.errno,
        "start": call.start,
        "end": call.end,
        "cpu": call.cpu,
        "context": call.context,
        "place": call.place,
        "allocated": call.allocated,
        "log": [record.text for record in call.log],
    }


def _number(value: int | None) -> int | str | None:
    return value if value is None or abs(value) < 1 << 53 else hex(value & (1 << 64) - 1)
