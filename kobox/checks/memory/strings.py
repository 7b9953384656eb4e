"""Text that a module hands to functions of the kernel: strings that are printed, numbers that are parsed, and the page
that an attribute of sysfs fills.

    pr_info("%d %s\n", 3, name)     what %s names is read up to its NUL, or for as long as its precision
    kstrtoint(text, 0, &value)      digits are read, and one character behind them
    show(kobject, attribute, buf)   has the PAGE_SIZE bytes that fs/sysfs/file.c allocates; what follows is nobody's

Sources: lib/vsprintf.c (format_decode), lib/kstrtox.c, fs/sysfs/file.c (sysfs_kf_seq_show).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from kobox.box.inspect.probes import FROM_MODULE, UNFIT, Hit
from kobox.checks.memory.module_heap import ROOM
from kobox.checks.report.finding import Severity
from kobox.checks.report.quantities import quantity
from kobox.checks.runner.session import Examination, Trace
from kobox.machine.watch import MOST_STRINGS, Mark

# Functions with a format, and which of their arguments it is.
FORMATS = {
    "_printk": 0,
    "panic": 0,
    "alloc_workqueue": 0,
    "sprintf": 1,
    "seq_printf": 1,
    "sysfs_emit": 1,
    "kasprintf": 1,
    "dev_set_name": 1,
    "kobject_set_name": 1,
    "__request_module": 1,
    "snprintf": 2,
    "scnprintf": 2,
    "sysfs_emit_at": 2,
    "devm_kasprintf": 2,
    "kthread_create_on_node": 3,
    "device_create": 4,
} | {
    f"{kind}_{level}": 1
    for kind in ("_dev", "netdev")
    for level in ("emerg", "alert", "crit", "err", "warn", "notice", "info")
}
NUMBERS = (
    *("kstrtoull", "kstrtoll", "_kstrtoul", "_kstrtol", "kstrtouint", "kstrtoint", "kstrtou16", "kstrtos16"),
    *("kstrtou8", "kstrtos8", "simple_strtoull", "simple_strtoul", "simple_strtol", "simple_strtoll"),
)

_DIRECTIVE = re.compile(
    rb"%[-+ #0]*(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d*))?(?:hh|h|ll|l|z|t|j|L|q)?(?P<kind>[A-Za-z%])"
)
_CONVERSION = re.compile(rb"%(?P<skip>\*)?(?P<width>\d+)?(?:hh|h|ll|l|z|t|j|L|q)?(?P<kind>\[\^?\]?[^\]]*\]|[A-Za-z%])")
SCANNERS = ("sscanf", "vsscanf")
_LONGEST = 4096
_PAGE = 4096

Room = Callable[[int, int, Trace, str], None]
"""Asked to look whether there is room: address, size, the calls, the function that writes there."""

Bad = Callable[[int, int, bool, int, Trace, str], None]
"""Told of a bad access: address, size, whether it writes, the mark there, the calls, the function that does it."""


class Texts:
    """The probes of one examination."""

    def __init__(self, examination: Examination, bad: Bad, room: Room, is_constant: Callable[[int], bool]) -> None:
        self._examination = examination
        self._watch = examination.box.inspect.watch
        self._addresses = examination.box.arch.addresses
        self._bad = bad
        self._room = room
        self._is_constant = is_constant
        self._lent = 0  # where the page ended that was lent last
        symbols, sequence = examination.box.inspect.symbols, "sysfs_kf_seq_show"
        imports = {wanted.name for wanted in examination.file.imports if symbols.of_kernel(wanted.name) is not None}
        for name, number in FORMATS.items():
            for found in (name, f"{name}_noprof"):
                if found in imports:
                    self._watch.prints_by(symbols.address(found), number)
                    examination.probe(found, partial(self._prints, number), when=UNFIT)
        for name in NUMBERS:
            if name in imports:
                examination.probe(name, self._parses, when=FROM_MODULE)
        if "sscanf" in imports:
            examination.probe("sscanf", self._scans, self._scanned, when=FROM_MODULE)
        if symbols.of_kernel(sequence) is not None and symbols.btf.has("seq_file", "buf"):
            self._buffer_at = symbols.btf.offset("seq_file", "buf")
            examination.probe(sequence, self._lends, self._takes_back)

    def _prints(self, number: int, hit: Hit) -> None:
        with suppress(ValueError):
            text = hit.text(hit.args[number])
            if b"%" in text and not self._is_constant(hit.args[number]):
                self._format_from_data(hit, text)
                return
            fixed = fixed_strings_of(text)
            if fixed is not None and len(fixed) <= MOST_STRINGS and self._is_constant(hit.args[number]):
                self._watch.know_format(hit.args[number], fixed)
            strings = strings_of(text, lambda n: _argument(hit, number + 1 + n))
            for address, limit in strings:
                if self._addresses.is_pointer(address):
                    self._look(hit, address, min(len(hit.text(address, limit)) + 1, limit))

    def _format_from_data(self, hit: Hit, text: bytes) -> None:
        """A format that is no constant, and has directives: whoever writes it has the function read what he likes."""
        name, shown = str(hit.probe.where).lstrip("_"), text[:32].decode(errors="backslashreplace")
        self._examination.report(
            "format-string",
            Severity.ERROR,
            f"the format of {name}() is data that can change: {shown!r}",
            chain=self._examination.chain(hit),
            advice=f'Pass it as an argument: {name}("%s", …).',
        )

    def _scans(self, hit: Hit) -> None:
        with suppress(ValueError):
            pointers = unbounded_of(hit.text(hit.args[1]), lambda n: _argument(hit, 2 + n))
            hit.data = (pointers, self._examination.trace(hit)) if pointers else None

    def _scanned(self, hit: Hit) -> None:
        """What was written for %s without a width, against the room that there is."""
        if hit.data is None:
            return
        pointers, trace = hit.data
        for number, address in pointers:
            if number < (hit.result or 0) and self._examination.box.arch.addresses.is_kernel(address):
                with suppress(ValueError):
                    self._room(address, len(hit.text(address)) + 1, trace, str(hit.probe.where))

    def _parses(self, hit: Hit) -> None:
        address = hit.args[0]
        if self._addresses.is_kernel(address):
            with suppress(ValueError):
                text = hit.text(address, 64)
                digits = re.match(rb"[-+]?[0-9A-Fa-fxX]*\n?", text)
                self._look(hit, address, (digits.end() if digits else 0) + 1)

    def _look(self, hit: Hit, address: int, size: int) -> None:
        """Whether a string may be read; only the first byte that may not is told of."""
        if (wrong := self._watch.first_bad(address, size)) is not None:
            place, mark = wrong
            trace = self._examination.trace(hit)
            self._bad(address + place, size - place, False, mark, trace, str(hit.probe.where).lstrip("_"))

    # -- attributes of sysfs -----------------------------------------------------------------------------------

    def _lends(self, hit: Hit) -> None:
        with suppress(ValueError):
            behind = int.from_bytes(hit.read(hit.args[0] + self._buffer_at, 8), "little") + _PAGE
            if self._addresses.is_kernel(behind) and not behind % _PAGE and not any(self._watch.marks(behind, ROOM)):
                hit.data = self._lent = behind  # nothing is known to lie there
                self._watch.mark(behind, ROOM, Mark.REDZONE)

    def _takes_back(self, hit: Hit) -> None:
        if hit.data is not None:
            self._watch.mark(hit.data, ROOM, Mark.UNKNOWN)

    def behind_page(self, address: int) -> str:
        """What an address lies behind, in words, when it is the page that an attribute fills; else ""."""
        past = address - self._lent
        if not self._lent or not 0 <= past < ROOM:
            return ""
        return f"{quantity(past, 'byte')} past the end of the page of a sysfs attribute"


def unbounded_of(text: bytes, argument: Callable[[int], int]) -> list[tuple[int, int]]:
    """The strings that a format for scanning writes without a width: (number of the conversion, address)."""
    found, at = [], 0
    for directive in _CONVERSION.finditer(text):
        if directive["kind"] == b"%" or directive["skip"]:
            continue
        if directive["kind"][:1] in (b"s", b"[") and directive["width"] is None:
            found.append((at, argument(at)))
        at += 1
    return found


def strings_of(text: bytes, argument: Callable[[int], int]) -> list[tuple[int, int]]:
    """The strings that a format prints: (address, how many bytes of it at most). `argument(n)` is the value of the nth
    argument behind the format."""
    found, at = [], 0
    for directive in _DIRECTIVE.finditer(text):
        kind, limit = directive["kind"], _LONGEST
        if kind == b"%":
            continue
        at += directive["width"] == b"*"
        if directive["precision"] == b"*":
            limit, at = argument(at) & 0x7FFFFFFF, at + 1
        elif directive["precision"] is not None:
            limit = int(directive["precision"] or 0)
        if kind == b"s":
            found.append((argument(at), min(limit, _LONGEST)))
        at += 1
    return found


def fixed_strings_of(text: bytes) -> list[tuple[int, int]] | None:
    """The same as numbers of arguments: (number behind the format, how many bytes at most). None when that depends on
    the arguments."""
    if any(directive["precision"] == b"*" for directive in _DIRECTIVE.finditer(text)):
        return None
    return strings_of(text, lambda number: number)


def _argument(hit: Hit, number: int) -> int:
    """An argument of a function with as many as its caller likes. Raises `ValueError` where there is no memory."""
    return int(hit.argument(number))
