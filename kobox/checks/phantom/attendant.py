"""What a phantom has to know of its driver while that runs, and what the driver must not wait for in vain, on any bus.

request_irq()        from now on, whoever waits with a timeout is interrupted
request_firmware()   a file that is not there is made up for the next attempt
its handler runs     what it waits for in a loop comes soon
udelay()             takes no time of this computer's
a register is polled virtual time passes faster, so that a wait with a timeout ends
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from kobox.box.box import Box
from kobox.box.inspect.probes import Hit, Probe
from kobox.checks.phantom.labels import tell
from kobox.checks.phantom.solve import Bits, Solver
from kobox.devices.phantom_kinds import Identity, Phantom
from kobox.devices.phantom_policy import FIRMWARE, Policy, RegisterAt, Step
from kobox.errors import BoxError
from kobox.machine.taint import Taint

PAGE = 4096
_REQUESTS_INTERRUPT = "request_threaded_irq"  # kernel/irq/manage.c
_HANDLES = "__handle_irq_event_percpu"  # kernel/irq/handle.c
_INTERRUPT_OVER = "irq_exit_rcu"  # kernel/softirq.c: the line is open again
_WAITS = "schedule_timeout"  # kernel/time/timer.c: all that waits for something with a timeout sleeps here
# arch/x86/lib/delay.c: how many nanoseconds a unit of the argument lasts. Nothing happens meanwhile, time is let pass.
_DELAYS = {"__const_udelay": 1e3 / 0x10C7, "__udelay": 1e3, "__ndelay": 1.0}
_LOOKS_UP = "kern_path"  # fs/namei.c: (name, …): whether there is a directory of firmware
_FIRMWARES = "/lib/firmware/"
_FIRMWARE = "_request_firmware"  # drivers/base/firmware_loader/main.c: (fw, name, …); all requests end here
FILE_SIZE = 4 << 10  # of firmware, before more is known
_BEFORE_INIT = "do_init_module"  # kernel/module/main.c
_MOST_INTERRUPTS = 64
_POLLED, _MOST_POLLED = 1_000_000, 50_000_000  # ns that pass with a read of a register that is polled: more and more
_STEPS = 500  # of a solver that is asked while the driver waits
_WAYS_OUT = 3  # answers that are looked at for a decision in a loop
_STORM, _LONGEST_STORM = 16, 64  # interrupts at once; and each time that an interrupt is over


class DriverAttendant:
    """Attends to one phantom, from `attach` to `detach`. Without `taint`, nothing is followed. With `hurried`, delays
    take no time of this computer's; with `watches`, modules that are loaded from now on are looked at for what they
    read."""

    def __init__(
        self, box: Box, device: Phantom, taint: Taint | None = None, *, hurried: bool = False, watches: bool = False
    ) -> None:
        self._watches = watches
        self._box, self._taint, self._hurried = box, taint, hurried
        self._phantom = device
        self.policy = device.policy
        """How the device answered before it learned anything."""
        self._requested = self._sent = 0
        self.interrupts = True
        self._missing: list[str] = []  # files of firmware
        self._undo: list[Callable[[], None]] = []

    def attach(self) -> None:
        """Set the probes."""
        self._requested = self._sent = 0
        probes: list[Probe] = [
            self._box.probe(_REQUESTS_INTERRUPT, on_return=self._interrupt_requested),
            self._box.probe(_WAITS, self._waits),
        ]
        if self._taint is not None:
            probes.append(self._box.probe(_BEFORE_INIT, self._module_comes))
            probes.append(self._box.probe(_FIRMWARE, _keep_pointer, on_return=self._firmware_asked))
            probes.append(self._box.probe(_LOOKS_UP, _keep_name, on_return=self._path_asked))
            probes += self.probes()
        if self._phantom.storms:
            probes.append(self._box.probe(_INTERRUPT_OVER, self._storm_goes_on))
        if self._hurried:
            probes.append(self._box.probe(_HANDLES, self._handler_runs, on_return=self._handler_done))
            self._phantom.polled = self._let_time_pass
            self._phantom.expected = self._expected if self._taint is not None else None
            delays = [name for name in _DELAYS if name in self._box.inspect.symbols]
            probes += [self._box.probe(name, self._delays) for name in delays]
        self._undo = [probe.remove for probe in probes]

    def probes(self) -> Sequence[Probe]:
        """The probes that the bus of the phantom needs."""
        return ()

    def detach(self) -> None:
        """Take the probes away."""
        for undo in self._undo:
            with suppress(BoxError):
                undo()
        self._undo.clear()
        self._phantom.polled = self._phantom.expected = None

    def better(self) -> list[Policy]:
        """Devices that have what the driver has asked for in vain, one thing each."""
        policy = self.policy
        return [policy.with_firmware(name, FILE_SIZE) for name in self._missing if name not in policy.firmware]

    def calmer(self) -> Policy | None:
        """A device that does not interrupt, when this one has: the driver may refuse what an interrupt says."""
        return replace(self.policy, quiet=True) if self._sent else None

    def others(self, identity: Identity) -> list[Identity]:
        """Whom the device must be to have what the driver has asked for in vain."""
        return []

    def firmware_came(self, name: str, size: int, data: int, firmware: int) -> None:
        """The driver has got a file: its size, where its content is, and the structure that says so."""
        names = list(self._phantom.policy.firmware)
        if name in names:
            offset = FIRMWARE + 8 * names.index(name)
            tell(self._box, self._taint, self._phantom, firmware, size.to_bytes(8, "little"), offset)

    def _interrupt_requested(self, hit: Hit) -> None:
        self._requested += hit.result == 0
        device = self._phantom
        for number in range(_STORM if device.storms and device.plugged and hit.result == 0 else 0):
            device.interrupt(number % max(device.vectors, 1))

    def _storm_goes_on(self, hit: Hit) -> None:
        device = self._phantom
        if self._requested and self._sent < _LONGEST_STORM and device.plugged:
            device.interrupt(self._sent % max(device.vectors, 1))
            self._sent += 1

    def _waits(self, hit: Hit) -> None:
        device = self._phantom
        if self.interrupts and self._requested and self._sent < _MOST_INTERRUPTS and device.plugged:
            device.interrupt(self._sent % max(device.vectors, 1))
            self._sent += 1

    def _firmware_asked(self, hit: Hit) -> None:
        pointer, name = hit.data
        if hit.result:
            if ".." not in name:
                self._missing.append(name)
            return
        firmware = int.from_bytes(hit.read(pointer, 8), "little")
        size, data = (int.from_bytes(hit.read(firmware + at, 8), "little") for at in (0, 8))
        self.firmware_came(name, size, data, firmware)

    def _path_asked(self, hit: Hit) -> None:
        """A directory of firmware is a file whose name ends with a slash."""
        name = hit.data.removeprefix(_FIRMWARES).rstrip("/")
        if hit.result and hit.data.startswith(_FIRMWARES) and name and ".." not in name:
            self._missing.append(f"{name}/")

    def _module_comes(self, hit: Hit) -> None:
        if not self._watches or self._taint is None:
            return
        for module in self._box.inspect.symbols.modules():
            if module.address == hit.args[0]:
                for start, size in module.code:
                    self._taint.code(start, start + size)

    def _handler_runs(self, hit: Hit) -> None:
        self._phantom.handler_runs(bool(self._requested))

    def _handler_done(self, hit: Hit) -> None:
        self._phantom.handler_runs(False)

    def _let_time_pass(self, times: int) -> None:
        self._box.machine.pass_time(min(_POLLED << times // 8, _MOST_POLLED))

    def _expected(self, register: RegisterAt, last: int, value: int, turn: int) -> int | None:
        """What the register must say for the newest decision about its last read to go the other way; when that was
        asked before, for the one before that. Bits that the policy knows are left as they are, if that is possible."""
        assert self._taint is not None
        nodes, decisions = self._taint.recent()
        solver, ways = Solver(nodes, _STEPS), []
        for decision in decisions:
            if last in solver.reads(decision):
                answers = [answer[last] for answer in solver.flip(decision, _WAYS_OUT) if set(answer) == {last}]
                ways += [bits for bits in answers[:1] if bits not in ways]
        known = self.policy.known.get(register, ())
        ways = [bits for bits in ways if not _contradicts(bits, known)] or ways
        if not ways:
            return None
        mask, wanted = ways[turn % len(ways)]
        return value & ~mask | wanted & mask

    def _delays(self, hit: Hit) -> None:
        self._box.machine.pass_time(int(hit.args[0] * _DELAYS[str(hit.probe.where)]))
        hit.skip()


def _keep_name(hit: Hit) -> None:
    hit.data = hit.string(hit.args[0], 256)
    hit.awaited = hit.data.startswith(_FIRMWARES)


def _keep_pointer(hit: Hit) -> None:
    hit.data = hit.args[0], hit.string(hit.args[1], 256)


def _contradicts(bits: Bits, known: Sequence[Step]) -> bool:
    return any((bits.value ^ step.value) & bits.mask & step.mask for step in known)
