"""Values as text, by their type: "0xffff…", `"one"`, -ENOMEM, &journal_device.

Read while the CPU stands at the call: what a pointer leads to is looked at then.
"""

from __future__ import annotations

from kobox.box.inspect.errno_name import errno_name
from kobox.box.inspect.inspector import Inspector
from kobox.errors import KoboxError
from kobox.ko.binary import c_string
from kobox.ko.ctype import CType, Kind, Prototype

_MOST_ERRNO = 4095  # MAX_ERRNO, include/linux/err.h
_TEXT = 48  # bytes of a text that are shown
_LENGTHS = frozenset({"count", "len", "size", "n", "nbytes", "length", "buflen"})
# The member of a structure that names it.
_NAMES = {
    "net_device": "net_device.name",
    "task_struct": "task_struct.comm",
    "module": "module.name",
    "kmem_cache": "kmem_cache.name",
    "kobject": "kobject.name",
    "device": "device.kobj.name",
    "device_driver": "device_driver.name",
    "class": "class.name",
    "bus_type": "bus_type.name",
    "miscdevice": "miscdevice.name",
    "proc_dir_entry": "proc_dir_entry.name",
    "dentry": "dentry.d_name.name",
    "file_system_type": "file_system_type.name",
    "gendisk": "gendisk.disk_name",
}


class Values:
    """Shows values of one box."""

    def __init__(self, inspect: Inspector) -> None:
        self._inspect = inspect
        self._objects = inspect.objects
        self._addresses = inspect.arch.addresses
        self._symbols: dict[int, str] = {}

    def forget(self) -> None:
        """Modules have come or gone."""
        self._symbols.clear()

    # -- arguments -------------------------------------------------------------------------------------------------

    def arguments(self, prototype: Prototype, values: list[int]) -> tuple[tuple[str, str], ...]:
        """(name, value as text) for each parameter of which there is a value."""
        found = []
        for number, (parameter, value) in enumerate(zip(prototype.parameters, values, strict=False)):
            if parameter.type.kind is Kind.OTHER and parameter.type.size > 8:
                break  # a structure by value: where the others are is not known then
            limit = _TEXT
            if number + 1 < len(prototype.parameters) and prototype.parameters[number + 1].name in _LENGTHS:
                limit = min(values[number + 1], _TEXT) if number + 1 < len(values) else _TEXT
            found.append((parameter.name, self.text(parameter.type, value, limit)))
        return tuple(found)

    def text(self, kind: CType, register: int, limit: int = _TEXT) -> str:
        """A value of a type, as a register holds it."""
        value = kind.number(register)
        if kind.kind is Kind.BOOLEAN:
            return "true" if value else "false"
        if kind.kind is Kind.ENUMERATION:
            return next((name for number, name in kind.names if number == value), str(value))
        if kind.kind is Kind.CHARACTER:
            return repr(chr(value & 0xFF))
        if kind.kind is Kind.INTEGER:
            return f"{value:#x}" if kind.text in ("gfp_t", "fmode_t") or value > 1 << 47 else str(value)
        if kind.is_pointer:
            return self._pointer(kind, register, limit)
        return "" if kind.kind is Kind.VOID else f"{register:#x}"

    def _pointer(self, kind: CType, address: int, limit: int) -> str:
        if not address:
            return "NULL"
        last = self._addresses.mask
        if address > last - _MOST_ERRNO:
            return f"ERR_PTR(-{errno_name(last + 1 - address)})"
        if kind.kind is Kind.TEXT and kind.text.startswith("const"):
            return self._string(address, limit)
        text = self._symbol(address) or f"{address:#x}"
        name = self._name(kind.structure, address) if self._addresses.is_kernel(address) else ""
        return f'{text} "{name}"' if name else text

    def _string(self, address: int, limit: int) -> str:
        """What a text holds: up to its NUL, or so many bytes."""
        out = b""
        try:
            while len(out) < limit and 0 not in out:
                at = address + len(out)
                out += self._objects.read(at, min(limit - len(out), 4096 - (at & 4095)))
        except ValueError:
            if not out:
                return f"{address:#x}"
        return quoted(c_string(out), cut=0 not in out and len(out) == _TEXT)

    def _symbol(self, address: int) -> str:
        """A variable or function by its name, "" for an address that is neither."""
        known = self._addresses
        if address < known.image_start and not known.is_module(address):
            return ""
        if address not in self._symbols:
            symbol = self._inspect.symbols.lookup(address)
            exact = symbol is not None and symbol.address == address and symbol.name
            self._symbols[address] = symbol.name if exact and symbol is not None else ""
        return self._symbols[address] and f"&{self._symbols[address]}"

    def _name(self, structure: str, address: int) -> str:
        """What a structure is called."""
        try:
            if structure == "file":
                dentry = self._objects.number(address, "file.f_path.dentry")
                return self._name("dentry", dentry) if self._addresses.is_kernel(dentry) else ""
            if structure not in _NAMES:
                return ""
            return "".join(
                c if c.isprintable() else "?" for c in self._objects.text(address, _NAMES[structure])[:_TEXT]
            )
        except (KoboxError, ValueError):
            return ""

    # -- results ---------------------------------------------------------------------------------------------------

    def result(self, kind: CType | None, register: int) -> tuple[int | None, str, int]:
        """(number, text, errno or 0) of what a function returns; (None, "", 0) for nothing. Of a function of which
        nothing is known the whole register counts."""
        if kind is None:
            return register, f"{register:#x}", 0
        if kind.kind is Kind.VOID:
            return None, "", 0
        value = kind.number(register)
        if kind.is_pointer:
            last = self._addresses.mask
            errno = last + 1 - register if register > last - _MOST_ERRNO else 0
            return register, self._pointer(kind, register, _TEXT), errno
        errno = -value if kind.signed and -_MOST_ERRNO <= value < 0 else 0
        return value, f"-{errno_name(errno)}" if errno and known(errno) else self.text(kind, register), errno


def known(errno: int) -> bool:
    """Whether an errno has a name."""
    return not errno_name(errno).startswith("errno ")


def quoted(data: bytes, *, cut: bool = False) -> str:
    """Bytes as a text of C; a message's level is left out. `cut`: there is more."""
    if data[:1] == b"\x01" and len(data) > 1:  # KERN_SOH, include/linux/kern_levels.h
        data = data[2:]
    text = data.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() and c not in '"\\' else _escaped(c) for c in text)
    return f'"{shown}"' + ("..." if cut else "")


def _escaped(character: str) -> str:
    simple = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\", "\0": "\\0"}
    if character in simple:
        return simple[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"
