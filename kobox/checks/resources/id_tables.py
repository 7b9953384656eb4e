"""Tables of numbers (IDR, IDA, XArray) that a module leaves with entries in them: their nodes are the kernel's memory,
and nobody can free them once the table is gone with the module.

    idr_alloc(&ids, object, 1, 0, GFP_KERNEL);      the table has a node
    idr_for_each(&ids, free_object, NULL);          the objects are gone, the node is not
    idr_destroy(&ids);                              what is missing
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.report.finding import Resource, Severity
from kobox.checks.runner.session import Check, Examination, Trace
from kobox.errors import KoboxError

_FILLS = {
    **dict.fromkeys(("idr_alloc", "idr_alloc_u32", "idr_alloc_cyclic"), ("IDR", "idr.idr_rt.xa_head", "idr_destroy()")),
    "ida_alloc_range": ("IDA", "ida.xa.xa_head", "ida_free() of each number, or ida_destroy()"),
    **dict.fromkeys(
        ("__xa_store", "xa_store", "__xa_alloc", "__xa_alloc_cyclic", "__xa_insert", "__xa_cmpxchg"),
        ("XArray", "xarray.xa_head", "xa_destroy()"),
    ),
}
"""What puts an entry in the table that is the first argument: what that is, where its root lies, what empties it."""
_NODE = 2  # the low bits of a pointer to a node (include/linux/xarray.h, xa_is_node())
_SMALLEST_NODE = 4096
_MANY = 1024  # tables


class IdTableCheck(Check):
    """Notes which tables of the module's own data are filled, and looks at their roots when the module goes."""

    name = "id-tables"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._filled: dict[int, tuple[str, Trace]] = {}
        imports = {found.name for found in examination.file.imports}
        for name in _FILLS:
            if name in imports and name in examination.box.inspect.symbols:
                examination.probe(name, partial(self._fills, name), when=FROM_MODULE)

    def linked(self, examination: Examination) -> None:
        self._filled.clear()

    def _fills(self, name: str, hit: Hit) -> None:
        table = hit.args[0]
        if table not in self._filled and len(self._filled) < _MANY and self._examination.in_module(table):
            self._filled[table] = name, self._examination.trace(hit, limit=24)

    def leaving(self, examination: Examination) -> None:
        for table, (name, trace) in self._filled.items():
            what, root, empties = _FILLS[name]
            with suppress(KoboxError, ValueError):
                head = examination.box.inspect.objects.number(table, root)
                if head & 3 == _NODE and head > _SMALLEST_NODE:
                    self._report(f"{what} {examination.symbol(table)}".rstrip(), table, trace, empties)
        self._filled.clear()

    def _report(self, label: str, table: int, trace: Trace, empties: str) -> None:
        chain = self._examination.chain(trace)
        self._examination.report(
            "leak",
            Severity.ERROR,
            f"{label} goes with the module, and its nodes stay allocated",
            chain=chain,
            object=Resource(label, table, made_at=chain),
            advice=f"Empty it with {empties} in the exit function.",
        )
