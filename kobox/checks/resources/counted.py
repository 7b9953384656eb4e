"""Objects that are freed by their last reference: kobjects, and devices, which hold one.

kobject_init_and_add(&thing->kobject, &type, parent, "name") gives the kobject a name and a reference, also when it
fails. Memory that holds it must be freed by the release function of its type: who calls kfree() himself loses the name,
and frees under the feet of whoever has another reference. The memory check asks what is noted here when something is
freed.
"""

from __future__ import annotations

from functools import partial

from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.runner.session import Check, Counted, Examination

_READY = {
    "kobject_init": ("kobject", ""),
    "kobject_init_and_add": ("kobject", ""),
    "kset_init": ("kset", "kset.kobj"),
    "kset_register": ("kset", "kset.kobj"),
    "device_initialize": ("device", "device.kobj"),
    "device_register": ("device", "device.kobj"),
}
"""What makes the object ready that its first argument points to: what it is, and where its kobject lies."""
_LIMIT = 24  # frames of a chain
_MANY = 4096  # kobjects that are noted


class CountedCheck(Check):
    """Notes which kobjects the module has made ready."""

    name = "counted"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        examination.counted.clear()
        imports = {found.name for found in examination.file.imports}
        for name, (what, member) in _READY.items():
            if name in imports and name in examination.box.inspect.symbols:
                examination.probe(name, partial(self._made_ready, what, member), when=FROM_MODULE)

    def linked(self, examination: Examination) -> None:
        examination.counted.clear()

    def _made_ready(self, what: str, member: str, hit: Hit) -> None:
        examination = self._examination
        address = hit.args[0] + (examination.box.inspect.objects.offset(member) if member else 0)
        if len(examination.counted) < _MANY:
            examination.counted[address] = Counted(what, examination.trace(hit, limit=_LIMIT))
            examination.box.inspect.watch.armed(address)
