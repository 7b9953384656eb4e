"""Pages of user space that a module takes and does not give back: get_user_pages_fast() and its kin.

put_page() is an inline function: no call tells that a page is given back. So the page's own count is read. A page of
a process has a reference for each place where it is mapped; what is beyond that when the module is gone, and was not
there before it took the page, is the module's.

    struct page: _refcount, _mapcount (-1: not mapped), mapping (bit 0: anonymous memory, PAGE_MAPPING_ANON)

Pages on their way to the kernel's lists have one reference more for a while (lru_add_drain()); so one alone is not
reported.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from kobox.box.inspect.objects import Objects
from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.report.finding import Resource, Severity
from kobox.checks.report.quantities import quantity
from kobox.checks.runner.session import Check, Examination, Trace
from kobox.errors import KoboxError

_PAGES_AT = {
    "get_user_pages": 3,
    "get_user_pages_fast": 3,
    "get_user_pages_unlocked": 2,
    "get_user_pages_remote": 4,
    "pin_user_pages": 3,
    "pin_user_pages_fast": 3,
    "pin_user_pages_unlocked": 2,
    "pin_user_pages_remote": 4,
}
"""Which argument points to the array of pages."""
_PIN = 1024  # GUP_PIN_COUNTING_BIAS: what a pin adds to the count
_MANY = 1024  # pages that are followed
_AT_ONCE = 64  # of one call
_CERTAIN = 2  # references too many; the kernel's own lists have one at most
_ANONYMOUS = 1
_LIMIT = 24  # frames of a chain


@dataclass(slots=True)
class TakenPage:
    """A page that the module has taken: how many references nobody's mapping explained before, and by which calls."""

    before: int
    function: str
    traces: list[Trace] = field(default_factory=list)


class UserPagesCheck(Check):
    """Watches the functions that take pages of user space."""

    name = "user-pages"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._objects: Objects = examination.box.inspect.objects
        self._taken: dict[int, TakenPage] = {}
        imports = {found.name for found in examination.file.imports}
        for name, at in _PAGES_AT.items():
            if name in imports and name in examination.box.inspect.symbols:
                leave = partial(self._got, name, at)
                examination.probe(name, self._asked, leave, when=FROM_MODULE)

    def linked(self, examination: Examination) -> None:
        self._taken.clear()

    def _asked(self, hit: Hit) -> None:
        hit.data = self._examination.trace(hit, limit=_LIMIT)

    def _got(self, function: str, at: int, hit: Hit) -> None:
        count = (hit.result or 0) & 0xFFFFFFFF
        if hit.data is None or not 0 < count < 1 << 31:
            return
        step = _PIN if function.startswith("pin_") else 1
        with suppress(KoboxError, ValueError):
            for number in range(min(count, _AT_ONCE)):
                page = self._objects.u64(hit.args[at] + 8 * number)
                unexplained = self._unexplained(page)
                if unexplained is None or (page not in self._taken and len(self._taken) >= _MANY):
                    continue
                one = self._taken.setdefault(page, TakenPage(max(unexplained - step, 0), function))
                if len(one.traces) < _AT_ONCE:
                    one.traces.append(hit.data)

    def _unexplained(self, page: int) -> int | None:
        """How many references a page has beside those of its mappings; None for what is no single anonymous page."""
        objects = self._objects
        with suppress(KoboxError, ValueError):
            if objects.number(page, "page.compound_head") & 1 or not objects.number(page, "page.mapping") & _ANONYMOUS:
                return None
            count = objects.number(page, "page._refcount")
            mapped = objects.number(page, "page._mapcount") + 1 & 0xFFFFFFFF
            return count - mapped if mapped <= count < 1 << 31 else None
        return None

    def gone(self, examination: Examination) -> None:
        lost: dict[tuple[int, ...], tuple[Trace, int, str]] = {}
        for page, one in self._taken.items():
            left = (self._unexplained(page) or 0) - one.before
            if left < _CERTAIN:
                continue
            step = _PIN if one.function.startswith("pin_") else 1
            for trace in one.traces[:1]:
                key = tuple(frame.address for frame in trace.frames[:3])
                _, before, _ = lost.get(key, (trace, 0, ""))
                lost[key] = trace, before + max(left // step, 1), one.function
        self._taken.clear()
        for trace, count, function in lost.values():
            chain = examination.chain(trace)
            undo = "unpin_user_page()" if function.startswith("pin_") else "put_page()"
            examination.report(
                "reference-leak",
                Severity.ERROR,
                f"pages of user space that {function}() gave are never given back: {quantity(count, 'reference')} left",
                chain=chain,
                object=Resource("pages of user space", made_at=chain),
                advice=f"Give each back with {undo}, on each way out of the function.",
            )
