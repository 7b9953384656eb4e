"""One attempt: a phantom is plugged in, and what the driver's probe function makes of it is kept.

What an attempt gives is what the next ones are made of: which code ran, which reads there were, and what was decided by
them. While it runs, the phantom interrupts whoever waits for an interrupt, and knows the memory that the driver shares
with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from kobox.box.box import Box, BoxCheckpoint
from kobox.box.inspect.probes import Hit, Probe
from kobox.checks.phantom.attendant import DriverAttendant
from kobox.checks.phantom.board_bus import PLATFORM_PROBE
from kobox.checks.phantom.bus import PhantomBus
from kobox.checks.phantom.buses import bus_of
from kobox.checks.phantom.kernel_code import COPIERS
from kobox.checks.phantom.surround import surround
from kobox.devices.errors import DeviceModelError
from kobox.devices.phantom import PhantomDevice
from kobox.devices.phantom_kinds import Identity, Phantom, phantom_of
from kobox.devices.phantom_policy import Policy, Read
from kobox.errors import (
    BoxError,
    BoxHungError,
    BoxTimeoutError,
    KernelPanicError,
    KoboxError,
    ModuleLoadError,
    ProcessDiedError,
)
from kobox.ko.modulefile import ModuleFile
from kobox.machine.taint import Decision, Nodes, Ran, Taint

_RESULT = 1  # where it is decided whether probe has succeeded: in the kernel
_BEFORE_INIT = "do_init_module"  # kernel/module/main.c
_LARGEST_CODE = 4 << 20  # of one module: larger ones are looked at only if they are the driver
_BRANCHES = re.compile(rb"[\2-\7]")
CPU_SECONDS, MORE_CPU_SECONDS = 0.5, 3.0  # of one attempt; of one that got on, but was not through
TIMEOUT = 100_000.0  # virtual seconds: they pass fast while a register is polled
SETTLE = 1.0  # virtual seconds for probes that the kernel runs later


class Result(StrEnum):
    """How a probe ended."""

    BOUND = "bound"
    REFUSED = "refused"  # it returned an error
    OOPS = "oops"
    HUNG = "hung"
    UNSEEN = "unseen"  # the driver was never asked


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: as whom, with which policy (`learned`: with the answers, too, that were found while the driver waited
    for them), how it ended (`errno` when refused), how many instructions of modules ran and how much of its probe
    function (0 to 1), what was read and what was decided by it, and whether code ran or a branch was taken that no
    attempt before had."""

    identity: Identity
    policy: Policy
    result: Result
    errno: int
    executed: int
    probed: float
    reads: Sequence[Read]
    nodes: Nodes
    decisions: Sequence[Decision]
    is_new: bool
    work: int
    waits: int
    """How often the driver has waited for a register in vain."""
    better: Sequence[tuple[Identity, Policy]]
    """Devices that have what the driver has asked for in vain."""
    learned: Policy
    calmer: Policy | None
    """A device that does not interrupt, when this one has."""

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """More is better."""
        return self.result is Result.BOUND, self.result is not Result.OOPS, self.executed


class Prober:
    """Makes attempts for the driver `name`. With `load`, the driver is loaded by it in each, after the device is there;
    without, it is loaded already."""

    def __init__(self, box: Box, name: str, bus: PhantomBus, load: Callable[[], None] | None = None) -> None:
        self._box, self._name, self._load, self._bus = box, name, load, bus
        self._taint = Taint(box.machine, registers=bus.registers)
        if not bus.registers:
            for address in {box.inspect.symbols.find(name) for name in COPIERS}:
                if address is not None:
                    self._taint.copier(address)
        self._watched: list[tuple[int, int]] = []
        self._modules: list[int] = []  # where the code of the driver begins, and of what it stands on
        self._has_driver = False
        self.seen: set[tuple[int, bool]] = set()
        """Branches by their address, and whether they were taken."""
        self._executed = 0
        self._probe_code: tuple[int, int, int] | None = None  # where the driver's probe function is, its instructions
        self.loaded_without_error = False
        self._watch("", bus.kernel_code(box))
        for module in box.inspect.symbols.modules():
            self._watch(module.name, module.code or module.parts[:1])
        if load is None and not self._has_driver:
            raise KoboxError(f"{name}: not loaded in this box", hint="Load it, and what it needs, before the search.")

    def close(self) -> None:
        """Follow nothing any more."""
        self._taint.close()

    def _watch(self, name: str, parts: Sequence[tuple[int, int]]) -> None:
        for part in self._seen(parts) if self._bus.follows(name) else ():
            if part in self._watched or not part[1] or (part[1] > _LARGEST_CODE and name != self._name):
                continue
            self._taint.code(part[0], part[0] + part[1])
            self._watched.append(part)
            if name:
                self._modules.append(part[0])
            self._has_driver |= name == self._name

    def _seen(self, parts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Parts of code without the functions that the bus does not want to be looked at."""
        symbols, left = self._box.inspect.symbols, list(parts)
        for function in self._bus.blind:
            address = symbols.find(function)
            symbol = symbols.lookup(address) if address is not None else None
            for start, size in left if symbol is not None else ():
                if symbol is not None and start <= symbol.address < start + size:
                    after = symbol.address + symbol.size
                    left.remove((start, size))
                    left += [(start, symbol.address - start), (after, start + size - after)]
                    break
        return [part for part in left if part[1] > 0]

    def attempt(self, start: BoxCheckpoint, identity: Identity, policy: Policy, cpu: float = CPU_SECONDS) -> Attempt:
        """Go back to `start`, plug in a phantom with this identity and policy, and see what the driver makes of it. A
        call may take `cpu` seconds of CPU time."""
        start.restore()
        box, device = self._box, phantom_of(identity, policy)
        self._taint.reset()
        returned: list[int] = []
        before = box.machine.work
        companions: list[PhantomDevice] = []
        with suppress(BoxError):
            companions = surround(box, device)
        with self._listening(device, returned) as attendant:
            result = self._run(device, returned, cpu)
        errno = -returned[-1] if returned else 0
        branches = {start: self._taint.executed(start, size) for start, size in self._watched}
        executed = sum(len(branches[start]) - branches[start].count(0) for start in self._modules)
        return Attempt(
            identity,
            policy,
            result,
            errno,
            executed,
            self._probed(branches),
            sorted(read for one in (device, *companions) for read in one.reads) if companions else device.reads,
            self._taint.nodes(),
            self._taint.decisions(),
            self._add(branches),
            box.machine.work - before,
            device.waits,
            [(identity, other) for other in attendant.better()] + [(one, policy) for one in attendant.others(identity)],
            device.policy,
            attendant.calmer(),
        )

    def _run(self, device: Phantom, returned: list[int], cpu: float) -> Result:
        box = self._box
        box.limits.cpu, box.limits.timeout = cpu, TIMEOUT
        loaded = False
        try:
            box.plug(device)
            if self._load is not None:
                with suppress(ModuleLoadError):
                    self._load()
                    loaded = True
            box.sleep(SETTLE)
            bound = self._bus.is_bound(box, device) or (loaded and not any(returned[-1:]))
            if bound or _has_device(box, self._name):
                return Result.BOUND
            return Result.REFUSED if returned else Result.UNSEEN
        except (ProcessDiedError, KernelPanicError):
            return Result.OOPS
        except (BoxHungError, BoxTimeoutError):
            return Result.HUNG
        except DeviceModelError:
            raise
        except KoboxError:  # it was never found on the bus: the kernel was busy with something that did not end
            return Result.HUNG if box.alive else Result.OOPS

    # -- while it runs -----------------------------------------------------------------------------------------

    @contextmanager
    def _listening(self, device: Phantom, returned: list[int]) -> Iterator[DriverAttendant]:
        """Probes for what a phantom has to know of its driver."""
        box = self._box
        attendant = self._bus.attendant(box, device, self._taint, hurried=True)

        def probed(hit: Hit) -> None:
            low = (hit.result or 0) & 0xFFFFFFFF  # an int, though nothing says so of a module's functions
            returned.append(low - (low >> 31 << 32))
            if low:
                self._taint.returned(_RESULT)

        attendant.attach()
        with ExitStack() as stack:
            stack.callback(attendant.detach)
            for probe in (
                box.probe(self._bus.probe, self._find_probe, on_return=probed),
                *(self._loading(probed) if self._load is not None else ()),
            ):
                stack.callback(_remove, probe.remove)
            yield attendant

    def _loading(self, probed: Callable[[Hit], None]) -> list[Probe]:
        """Probes for a driver that looks for its device while it is loaded: some make a platform device of it."""
        box = self._box
        return [box.probe(_BEFORE_INIT, self._module_comes), box.probe(PLATFORM_PROBE, on_return=probed)]

    def _module_comes(self, hit: Hit) -> None:
        for module in self._box.inspect.symbols.modules():
            if module.address == hit.args[0]:
                self._watch(module.name, module.code or module.parts[:1])

    def _find_probe(self, hit: Hit) -> None:
        if self._probe_code is not None:
            return
        address = self._bus.probe_function(self._box, hit)
        symbol = self._box.inspect.symbols.lookup(address)
        size = symbol.size if symbol is not None else 0
        code = hit.read(address, size)
        self._probe_code = address, size, sum(1 for _ in self._box.arch.code.instructions(code, 0, size))

    # -- what has run ------------------------------------------------------------------------------------------

    def _probed(self, branches: dict[int, bytes]) -> float:
        if self._probe_code is None:
            return 0.0
        address, size, instructions = self._probe_code
        for start, flags in branches.items():
            if start <= address < start + len(flags):
                part = flags[address - start : address - start + size]
                return (len(part) - part.count(0)) / max(instructions, 1)
        return 0.0

    def _add(self, branches: dict[int, bytes]) -> bool:
        """Note what has run; whether some of it had not before."""
        whole = b"".join(branches.values())
        both = self._executed | int.from_bytes(whole, "little")
        is_new, self._executed = both != self._executed, both
        for start, flags in branches.items():
            for branch in _BRANCHES.finditer(flags):
                flag, address = branch[0][0], start + branch.start()
                if flag & Ran.TAKEN:
                    self.seen.add((address, True))
                if flag & Ran.NOT_TAKEN:
                    self.seen.add((address, False))
        return is_new


def waits_for_device(box: Box, file: ModuleFile) -> bool:
    """Whether a module that is loaded has registered a driver for the bus of its device; others look for a device only
    while they are loaded."""
    drivers, bus = f"/sys/module/{file.name}/drivers", bus_of(file)
    return bus is not None and box.exists(drivers) and any(one.startswith(bus.drivers) for one in box.listdir(drivers))


def _has_device(box: Box, module: str) -> bool:
    """Whether any driver of a module has a device: some refuse the one on the bus, and make a platform device of it."""
    with suppress(OSError):
        for driver in box.listdir(directory := f"/sys/module/{module}/drivers"):
            if any(":" in name or "." in name for name in box.listdir(f"{directory}/{driver}")):
                return True
    return False


def _remove(remove: Callable[[], None]) -> None:
    with suppress(BoxError):
        remove()
