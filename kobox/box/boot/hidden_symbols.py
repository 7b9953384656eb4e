"""Variables that a kernel's table of symbols does not name: without CONFIG_KALLSYMS_ALL it names functions only.

Code that uses a variable holds its address, and what lies there tells it from others.
"""

from __future__ import annotations

import struct

from kobox.box.inspect.symbols import Symbols
from kobox.machine.pc import Machine

_USERS = ("print_modules", "find_module_all", "module_get_kallsym")  # kernel/module/main.c, kallsyms.c
_LOOKED_AT = 512  # bytes of a function's code
_LIST_HEAD = struct.Struct("<QQ")  # next, prev


def find_modules(machine: Machine, symbols: Symbols) -> int | None:
    """The address of `modules`, the list of modules, before any is loaded: a list head that points to itself, and that
    print_modules() or one of its kin uses. None where there is none, or more than one."""
    found: set[int] = set()
    for function in _USERS:
        start = symbols.of_kernel(function)
        if start is None:
            continue
        code = machine.read(start, _LOOKED_AT)
        for address in machine.arch.code.references(code, start):
            if machine.arch.addresses.is_pointer(address) and _is_empty_list(machine, address):
                found.add(address)
        if found:
            break
    return found.pop() if len(found) == 1 else None


def _is_empty_list(machine: Machine, address: int) -> bool:
    try:
        return _LIST_HEAD.unpack(machine.read(address, _LIST_HEAD.size)) == (address, address)
    except ValueError:
        return False
