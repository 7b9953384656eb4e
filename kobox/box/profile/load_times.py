"""How long modules take to load, and their drivers to probe devices: synchronously, or while the load has ended.

do_init_module()                                   from linked to live
    init -> driver_register() -> really_probe()    the load waits
    kworker -> really_probe()                      PROBE_PREFER_ASYNCHRONOUS, async_probe: it does not
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kobox.box.profile.resources import LoadTime, ProbeTime
from kobox.errors import KoboxError
from kobox.ko.binary import c_string

if TYPE_CHECKING:
    from kobox.box.inspect.inspector import Inspector
    from kobox.box.inspect.probes import Hit
    from kobox.machine.pc import Machine

_LONGEST_NAME = 56


class LoadTimes:
    """Notes loads and probes of the modules of which `is_profiled(name)`."""

    def __init__(self, machine: Machine, inspect: Inspector, is_profiled: Callable[[str], bool]) -> None:
        self._machine, self._inspect, self._is_profiled = machine, inspect, is_profiled
        self._loads: list[LoadTime] = []
        self._probes: list[tuple[str, str, str, int, int]] = []  # module, driver, device, start, end
        self._ends: dict[str, int] = {}  # of loads, by module

    def start(self) -> Callable[[], None]:
        """Note from now on, until what is returned is called."""
        probes = self._inspect.probes
        found = [probes.add("do_init_module", self._load_begins, self._load_ended)]
        if self._inspect.symbols.of_kernel("really_probe") is not None:
            found.append(probes.add("really_probe", self._probe_begins, self._probe_ended))

        def stop() -> None:
            for probe in found:
                probe.remove()

        return stop

    def rows(self) -> tuple[tuple[LoadTime, ...], tuple[ProbeTime, ...]]:
        """Loads in their order, and probes, the longest first."""
        probes = [
            ProbeTime(driver, device, end - start, module in self._ends and end <= self._ends[module])
            for module, driver, device, start, end in self._probes
        ]
        return tuple(self._loads), tuple(sorted(probes, key=lambda one: (-one.ns, one.device)))

    def _load_begins(self, hit: Hit) -> None:
        with suppress(KoboxError, ValueError):
            at = self._inspect.objects.member(hit.argument(0), "module.name")
            hit.data = c_string(hit.read(at, _LONGEST_NAME)).decode(errors="replace"), self._machine.time
        hit.awaited = hit.data is not None and self._is_profiled(hit.data[0])

    def _load_ended(self, hit: Hit) -> None:
        name, start = hit.data
        self._ends[name] = self._machine.time
        self._loads.append(LoadTime(name, self._machine.time - start))

    def _probe_begins(self, hit: Hit) -> None:
        objects, (device, driver, *_) = self._inspect.objects, hit.args
        with suppress(KoboxError, ValueError):
            owner = objects.pointer(objects.member(driver, "device_driver.owner"))
            module = objects.text(owner, "module.name") if owner else ""
            named = objects.text(driver, "device_driver.name"), objects.text(device, "device.kobj.name")
            hit.data = (module, *named, self._machine.time) if module and self._is_profiled(module) else None
        hit.awaited = hit.data is not None

    def _probe_ended(self, hit: Hit) -> None:
        self._probes.append((*hit.data, self._machine.time))
