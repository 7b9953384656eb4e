"""System calls by number, with the names and types of their arguments, as the kernel itself keeps them.

syscalls_metadata -> [number] -> struct syscall_metadata { name; syscall_nr; nb_args; types[]; args[] }
                                                                        kernel/trace/trace_syscalls.c
"""

from __future__ import annotations

from kobox.box.inspect.inspector import Inspector
from kobox.errors import KoboxError
from kobox.ko.ctype import CType, FunctionParameter, Kind, Prototype

_MOST_ARGUMENTS = 6


class SyscallNames:
    """The system calls of one box."""

    def __init__(self, inspect: Inspector) -> None:
        self._inspect = inspect
        self._names = {number: name for name, number in inspect.arch.syscalls.numbers.items()}
        self._known: dict[int, tuple[str, Prototype]] = {}

    def of(self, number: int) -> tuple[str, Prototype]:
        """(name, what it takes). Of a kernel that does not keep that (CONFIG_FTRACE_SYSCALLS) the name alone."""
        if number not in self._known:
            self._known[number] = self._find(number)
        return self._known[number]

    def _find(self, number: int) -> tuple[str, Prototype]:
        name = self._names.get(number, f"syscall_{number}")
        result = CType(Kind.INTEGER, "long", 8, True)
        try:
            return name, Prototype(self._parameters(number), result)
        except (KoboxError, ValueError):
            return name, Prototype((), result)

    def _parameters(self, number: int) -> tuple[FunctionParameter, ...]:
        objects = self._inspect.objects
        table = self._inspect.symbols.find("syscalls_metadata")
        if number not in self._names or table is None:
            return ()
        data = objects.pointer(objects.pointer(table) + objects.word * number)
        if not data:
            return ()
        count = min(objects.number(data, "syscall_metadata.nb_args"), _MOST_ARGUMENTS)
        types, names = (objects.number(data, f"syscall_metadata.{member}") for member in ("types", "args"))
        return tuple(
            FunctionParameter(
                objects.string(objects.pointer(names + objects.word * n)),
                _c_type(objects.string(objects.pointer(types + objects.word * n))),
            )
            for n in range(count)
        )


def _c_type(text: str) -> CType:
    """A type by how the kernel's source writes it."""
    if text.endswith("*"):
        return CType(Kind.TEXT if text == "const char *" else Kind.POINTER, text)
    if text in ("int", "pid_t", "long", "clockid_t", "key_serial_t", "timer_t", "loff_t", "off_t"):
        return CType(
            Kind.INTEGER, text, 4 if text in ("int", "pid_t", "clockid_t", "key_serial_t", "timer_t") else 8, True
        )
    return CType(Kind.INTEGER, text, 4 if text in ("unsigned int", "unsigned", "umode_t", "u32", "uid_t") else 8)
