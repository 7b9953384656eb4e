"""What a phantom has to know of its driver while that runs, and what the driver must not wait for in vain.

request_irq()          from now on, whoever waits with a timeout is interrupted
dma_alloc_coherent()   the memory is the phantom's as well: what the driver reads there, it is asked for
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from kobox.box.box import Box
from kobox.box.inspect.probes import Hit, Probe
from kobox.devices.phantom import PhantomDevice
from kobox.errors import BoxError
from kobox.machine.taint import Taint

_REQUESTS_INTERRUPT = "request_threaded_irq"  # kernel/irq/manage.c
_WAITS = "schedule_timeout"  # kernel/time/timer.c: all that waits for something with a timeout sleeps here
_SHARES = "dma_alloc_attrs"  # kernel/dma/mapping.c
# arch/x86/lib/delay.c: how many nanoseconds a unit of the argument lasts. Nothing happens meanwhile, time is let pass.
_DELAYS = {"__const_udelay": 1e3 / 0x10C7, "__udelay": 1e3, "__ndelay": 1.0}
_BEFORE_INIT = "do_init_module"  # kernel/module/main.c
_MOST_INTERRUPTS = 64


class PhantomAttendant:
    """Attends to one phantom, from `attach` to `detach`. Without `taint`, shared memory is the driver's alone. With
    `hurried`, delays take no time of this computer's; with `watches`, modules that are loaded from now on are looked at
    for what they read of shared memory."""

    def __init__(
        self,
        box: Box,
        device: PhantomDevice,
        taint: Taint | None = None,
        *,
        hurried: bool = False,
        watches: bool = False,
    ) -> None:
        self._watches = watches
        self._box, self._device, self._taint, self._hurried = box, device, taint, hurried
        self._requested = self._sent = 0
        self.interrupts = True
        self._undo: list[Callable[[], None]] = []

    def attach(self) -> None:
        """Set the probes."""
        self._requested = self._sent = 0
        probes: list[Probe] = [
            self._box.probe(_REQUESTS_INTERRUPT, on_return=self._interrupt_requested),
            self._box.probe(_WAITS, self._waits),
        ]
        if self._taint is not None:
            probes.append(self._box.probe(_SHARES, _keep_size, on_return=self._shared))
            probes.append(self._box.probe(_BEFORE_INIT, self._module_comes))
        if self._hurried:
            delays = [name for name in _DELAYS if name in self._box.inspect.symbols]
            probes += [self._box.probe(name, self._delays) for name in delays]
        self._undo = [probe.remove for probe in probes]

    def detach(self) -> None:
        """Take the probes away."""
        for undo in self._undo:
            with suppress(BoxError):
                undo()
        self._undo.clear()

    def _interrupt_requested(self, hit: Hit) -> None:
        self._requested += hit.result == 0

    def _waits(self, hit: Hit) -> None:
        device = self._device
        if self.interrupts and self._requested and self._sent < _MOST_INTERRUPTS and device.plugged:
            device.interrupt(self._sent % max(device.vectors, 1))
            self._sent += 1

    def _shared(self, hit: Hit) -> None:
        address = self._box.machine.translate(hit.result & (1 << 64) - 1) if hit.result else None
        if address is not None and self._taint is not None and self._taint.memory(address, hit.data):
            self._device.share_memory(address, hit.data)

    def _module_comes(self, hit: Hit) -> None:
        if not self._watches or self._taint is None:
            return
        for module in self._box.inspect.symbols.modules():
            if module.address == hit.args[0]:
                for start, size in module.code:
                    self._taint.code(start, start + size)

    def _delays(self, hit: Hit) -> None:
        self._box.machine.pass_time(int(hit.args[0] * _DELAYS[str(hit.probe.where)]))
        hit.skip()


def _keep_size(hit: Hit) -> None:
    hit.data = hit.args[1]
