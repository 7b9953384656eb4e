"""What a module's init returned, in words: "init returned -ENOENT, from register_kprobe() at hello.c:9"."""

from __future__ import annotations

from kobox.box.inspect.errno_name import errno_name
from kobox.box.inspect.init_trace import InitOutcome
from kobox.ko.modulefile import ModuleFile
from kobox.ko.source_place import definition, source_place


def init_cause(module: ModuleFile, outcome: InitOutcome, number: int) -> str:
    """The sentence for an init that was reached; `number` is the errno that the kernel answered."""
    value = outcome.returned
    if value is None or value >= 0:
        return f"init was called, and the kernel answered {errno_name(number)}"
    said = f"init returned -{errno_name(-value)}"
    call = outcome.call
    if call is not None:
        place = source_place(module, call.place, returns_here=not call.tail)
        said += f", from {call.function}()" if call.function else ", from a call through a pointer"
        return said + (f" at {place}" if place else f" at {call.place}")
    place = definition(module, "init_module")
    return f"{said}, which none of its calls did" + (f" (init is at {place})" if place else "")
