"""What a race costs: what two calls at the same moment answer and leave, beside what they do one after the other.

A schedule that gives what no order of the calls gives has lost or mixed something: that is certain. What changes
by itself from run to run (times, addresses of allocated memory) shows in one more run in order, a little later,
and is left out.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import NamedTuple

_FREED = b"\x6b" * 6  # POISON_FREE


@dataclass(frozen=True, slots=True)
class Outcome:
    """What two calls answered (`results`), gave to user space (`data`), left in the memory that they race for (`left`)
    and round it (`nearby`), what calls that read it give then (`seen`), and, of calls one after the other, whether the
    second wrote there as well."""

    results: tuple[int | None, ...]
    data: tuple[bytes, ...]
    left: bytes
    nearby: bytes
    seen: tuple[object, ...]
    second_wrote: bool


class Cost(NamedTuple):
    """What a race has done, in words; `shows` when user space gets to see it, or the module cannot recover."""

    words: str
    shows: bool


def cost_of(
    raced: Outcome, orders: tuple[Outcome, Outcome], later: Outcome, names: str, *, both_wrote: bool, exposed: bool
) -> Cost:
    """What the race has done that neither order of the calls `names` does; no words when that is not certain.

    `later` is the first order again, begun at another time; `both_wrote`, that both have written the bytes that they
    race for; `exposed`, that user space reads those, as a parameter of the module.
    """
    one, two = orders
    shows = exposed or (one.seen == later.seen and raced.seen not in (one.seen, two.seen))
    if broken := broken_order(raced, orders, later, names):
        return Cost(broken, True)
    if one.left == two.left == later.left != raced.left:
        words = f"{names} leave {_value(one.left)} there in either order, and together {_value(raced.left)}"
        return Cost(words, shows)
    if both_wrote and not (one.second_wrote or two.second_wrote):
        return Cost(f"{names} both write there, and in either order only the first of them does", True)
    if one.nearby == later.nearby and raced.nearby not in (one.nearby, two.nearby):
        return Cost(f"{names} leave a mixture there that neither order of them does", shows)
    return Cost("", False)


def broken_order(raced: Outcome, orders: tuple[Outcome, Outcome], later: Outcome, names: str) -> str:
    """What the calls answer together and in neither order; "" when that is not certain."""
    return outcome_of_no_order(raced, orders, later, names, with_data=True)


def outcome_of_no_order(
    raced: Outcome, orders: tuple[Outcome, Outcome], later: Outcome, names: str, *, with_data: bool
) -> str:
    """As `broken_order`; with `with_data`, what they give to user space counts as well."""
    one = orders[0]
    if passed := both_passed(raced, orders, later, names) or stuck(raced, orders, later, names):
        return passed
    given = [data for order in orders for data in order.data]
    if any(_FREED in data for data in raced.data) and not any(_FREED in data for data in given):
        return f"what {names} return was read from memory that was freed"
    if with_data and (one.results, one.data) == (later.results, later.data) and _mixes(raced, orders):
        return f"what {names} return is a mixture that neither order of them gives"
    return ""


def _mixes(raced: Outcome, orders: tuple[Outcome, Outcome]) -> bool:
    """Whether calls that answer what they answer in an order give something else to user space."""
    same = [order.data for order in orders if order.results == raced.results]
    return bool(same) and raced.data not in same


def stuck(raced: Outcome, orders: tuple[Outcome, Outcome], later: Outcome, names: str) -> str:
    """Whether a call does not come back, or only after its time is over, that does in either order; "" when not."""
    one, two = orders
    if one.results != later.results:
        return ""
    for now, first, second in zip(raced.results, one.results, two.results, strict=True):
        if now in (None, -errno.ETIMEDOUT) and now not in (first, second):
            how = "one of them sleeps on" if now is None else "one of them waits until its time is over"
            return f"{how} when {names} are made together, and not in either order: it has missed its wake-up"
    return ""


def both_passed(raced: Outcome, orders: tuple[Outcome, Outcome], later: Outcome, names: str) -> str:
    """Whether both calls succeed together, and in either order one of them is refused; "" when not. How much each reads
    says nothing: calls on one open file share its position, which is the kernel's."""
    one, two = orders
    refused = [[answer for answer in order.results if answer is not None and answer < 0] for order in (one, two)]
    succeed = all(answer is not None and answer >= 0 for answer in raced.results)
    if one.results != later.results or not succeed or [len(answers) for answers in refused] != [1, 1]:
        return ""
    allowed = " or ".join(sorted({_answers(one.results), _answers(two.results)}))
    return f"{names} answer {_answers(raced.results)}, and in order {allowed}"


def without_pointers(data: bytes) -> bytes:
    """Words that look like addresses of the kernel's are left out: which memory a call gets is chance."""
    words = (data[n : n + 8] for n in range(0, len(data), 8))
    return b"".join(bytes(8) if _is_pointer(word) else word for word in words)


def _is_pointer(word: bytes) -> bool:
    return len(word) == 8 and word[6:] == b"\xff\xff" and word[4:] != b"\xff" * 4


def _answers(results: tuple[int | None, ...]) -> str:
    return " and ".join(map(str, results))


def _value(data: bytes) -> str:
    if len(data) in (1, 2, 4, 8):
        return str(int.from_bytes(data, "little"))
    return data[:16].hex()
