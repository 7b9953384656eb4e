"""A trace as text: a line for each call, indented; what was logged stands where it was said.

12.3 us  write(1, "one", 3) = 3   sh[53]
11.0 us    journal_write(file=0xffff…, from="one", count=3, at=0x…) = 3
 0.8 us      kmalloc_trace(…) = 0xffff…   64 bytes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kobox.box.inspect.oops import is_detail
from kobox.box.inspect.printk import LogRecord
from kobox.box.trace.call import Call, CallKind

Chosen = Callable[[Call], bool]


def tree_text(roots: Sequence[Call], *, depth: int = 0, chosen: Chosen = lambda call: True, lines: bool = False) -> str:
    """The tree. `depth` is how many levels are shown (0: all), `chosen` says of each call whether it is; the calls
    inside one that is not move up. `lines`: where the module's source calls is told too."""
    return "".join(f"{line}\n" for root in roots for line in _lines(root, 0, depth, chosen, lines))


def _lines(call: Call, level: int, depth: int, chosen: Chosen, lines: bool) -> Iterator[str]:
    todo: list[tuple[Call | LogRecord, int]] = [(call, level)]
    while todo:
        one, at = todo.pop()
        if isinstance(one, LogRecord):
            if not is_detail(one.text):
                yield f"{'':>9}  {'  ' * at}log: {_plain(one.text)}"
            continue
        shown = chosen(one)
        if shown:
            yield f"{duration(one.duration):>9}  {'  ' * at}{line(one, lines=lines)}"
        if not shown:
            todo.extend((inner, at) for inner in reversed(one.children))
        elif not depth or at + 1 < depth:
            todo.extend((inner, at + 1) for inner in reversed(list(one.inside())))


def line(call: Call, *, lines: bool = False) -> str:
    """One call, as strace writes it."""
    tail = [text for text in (_size(call), call.place if lines else "", call.context) if text]
    return signature(call) + (f"   {'  '.join(tail)}" if tail else "")


def signature(call: Call) -> str:
    """The function with its arguments and what it returned."""
    names = call.kind is not CallKind.SYSCALL
    arguments = ", ".join(f"{name}={value}" if name and names else value for name, value in call.arguments)
    end = "" if call.returned else "  (did not return)"
    return f"{call.name}({arguments})" + (f" = {call.said}" if call.said else "") + end


def duration(nanoseconds: int | None) -> str:
    """Virtual time in the unit that fits."""
    if nanoseconds is None:
        return "-"
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.1f} {unit}"
    return f"{nanoseconds} ns"


def error_text(call: Call) -> str:
    """The calls that led to one that returned an error, it last."""
    return "".join(f"{'  ' * level}{line(one, lines=True)}\n" for level, one in enumerate(call.chain()))


def _size(call: Call) -> str:
    return f"{call.allocated} bytes" if call.allocated else ""


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
