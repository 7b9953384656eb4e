r"""Which lines of the log are the kernel's own words about a module, and which the module has written itself.

The log does not say who has written a line. But a module's messages come from its format strings, which stand in its
file: `\x01` `3` `probe of %s failed: %d\n` fits the line "probe of eth0 failed: -5". What fits none of them, at the
level of a warning or above, is the kernel's (include/linux/kern_levels.h; KERN_SOH is \x01).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kobox.box.inspect.printk import LogRecord
from kobox.ko.modulefile import ModuleFile

_WARNING = 4
_CONVERSION = re.compile(rb"%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|ll|[hlzjtqL])?([diouxXcsp%])(?:[A-Za-z]\w*)?")
_TEXT = re.compile(rb"[\t\n\x01\x1b\x20-\x7e\x80-\xff]{3,}")
_LETTERS = 4  # that a format must have besides its conversions, to say whose line it is
_LARGEST = 1 << 16
# What the kernel says of every module that is not its own, and what says no more than what the user has asked for.
_NOTES = re.compile(
    r"taint|module verification failed|module is from the staging directory|^livepatch: |^Loading of unsigned module"
    r"|^s(?:d|r|csi) .*: Power-on or device reset occurred",  # of every new disk
    re.IGNORECASE,
)


class ModuleMessages:
    """The messages that one module may write."""

    def __init__(self, module: ModuleFile) -> None:
        self._patterns: list[re.Pattern[str]] = []
        self._writes_anything = False
        for index, section in enumerate(module.elf.sections):
            name = module.elf.section_name(index)
            if section.size and (name.startswith((b".rodata", b".data", b".init.rodata", b".init.data"))):
                for text in _TEXT.findall(module.elf.data(index)):
                    self._add(text[:_LARGEST])

    def _add(self, text: bytes) -> None:
        is_message = text.startswith(b"\x01")
        body = re.sub(rb"^\x01[0-7c]", b"", text).strip(b"\n")
        literal = _CONVERSION.sub(b"", body)
        if sum(chr(byte).isalpha() for byte in literal) < _LETTERS:
            self._writes_anything |= is_message and b"%s" in body
            return
        parts = [re.escape(part.decode(errors="backslashreplace")) for part in _split(body)]
        # dev_err() and its kin put the device's name before it.
        self._patterns.append(re.compile(rf"(?:.*: )?{'.*'.join(parts)}\s*\Z", re.DOTALL))

    def writes(self, text: str) -> bool:
        """Whether the module may have written this line."""
        return self._writes_anything or any(pattern.match(text) for pattern in self._patterns)


def kernel_warnings(records: Iterable[LogRecord], modules: Iterable[ModuleMessages]) -> list[LogRecord]:
    """The kernel's own words at the level of a warning or above: not those of these modules, and no notes on taint."""
    known = list(modules)
    return [
        record
        for record in records
        if record.level <= _WARNING
        and not _NOTES.search(record.text)
        and not any(messages.writes(record.text) for messages in known)
    ]


def _split(text: bytes) -> list[bytes]:
    """The literal parts of a format, between its conversions; `%%` is one percent sign."""
    parts, at = [b""], 0
    for found in _CONVERSION.finditer(text):
        parts[-1] += text[at : found.start()]
        if found[1] == b"%":
            parts[-1] += b"%"
        else:
            parts.append(b"")
        at = found.end()
    parts[-1] += text[at:]
    return parts
