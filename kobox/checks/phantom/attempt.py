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
from kobox.checks.phantom.attendant import PLATFORM_PROBE, PROBE, PhantomAttendant, surround
from kobox.devices.errors import DeviceModelError
from kobox.devices.phantom import PhantomDevice, Policy, Read, phantom
from kobox.errors import (
    BoxError,
    BoxHungError,
    BoxTimeoutError,
    KernelPanicError,
    KoboxError,
    ModuleLoadError,
    ProcessDiedError,
)
from kobox.machine.pci_function import PciIdentity
from kobox.machine.taint import Decision, Nodes, Ran, Taint

_BEFORE_INIT = "do_init_module"  # kernel/module/main.c
_LARGEST_CODE = 4 << 20  # of one module: larger ones are looked at only if they are the driver
_BRANCHES = re.compile(rb"[\2-\7]")
CPU_SECONDS = 0.5
TIMEOUT = 300.0
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
    """One try: as whom, with which policy, how it ended (`errno` when refused), how many instructions of the driver ran
    and how much of its probe function (0 to 1), what was read and what was decided by it, and whether code ran or a
    branch was taken that no attempt before had."""

    identity: PciIdentity
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
    better: Sequence[Policy]
    """Devices that have what the driver has asked for in vain."""

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """More is better."""
        return self.result is Result.BOUND, self.result is not Result.OOPS, self.executed


class Prober:
    """Makes attempts for the driver `name`. With `load`, the driver is loaded by it in each, after the device is there;
    without, it is loaded already."""

    def __init__(self, box: Box, name: str, load: Callable[[], None] | None = None) -> None:
        self._box, self._name, self._load = box, name, load
        self._taint = Taint(box.machine)
        self._watched: list[tuple[int, int]] = []
        self._driver: list[tuple[int, int]] = []
        self.seen: set[tuple[int, bool]] = set()
        """Branches by their address, and whether they were taken."""
        self._executed = 0
        self._probe_code: tuple[int, int, int] | None = None  # where the driver's probe function is, its instructions
        self.loaded_without_error = False
        for module in box.inspect.symbols.modules():
            self._watch(module.name, module.code or module.parts[:1])
        if load is None and not self._driver:
            raise KoboxError(f"{name}: not loaded in this box", hint="Load it, and what it needs, before the search.")

    def close(self) -> None:
        """Follow nothing any more."""
        self._taint.close()

    def _watch(self, name: str, parts: Sequence[tuple[int, int]]) -> None:
        for part in parts:
            if part in self._watched or not part[1] or (part[1] > _LARGEST_CODE and name != self._name):
                continue
            self._taint.code(part[0], part[0] + part[1])
            self._watched.append(part)
            if name == self._name:
                self._driver.append(part)

    def attempt(self, start: BoxCheckpoint, identity: PciIdentity, policy: Policy) -> Attempt:
        """Go back to `start`, plug in a phantom with this identity and policy, and see what the driver makes of it."""
        start.restore()
        box, device = self._box, phantom(identity, policy)
        self._taint.reset()
        returned: list[int] = []
        before = box.machine.work
        companions: list[PhantomDevice] = []
        with suppress(BoxError):
            companions = surround(box, policy)
        with self._listening(device, returned) as attendant:
            result = self._run(device, returned)
        errno = -returned[-1] if returned else 0
        branches = {start: self._taint.executed(start, size) for start, size in self._watched}
        executed = sum(len(branches[start]) - branches[start].count(0) for start, _ in self._driver)
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
            attendant.better(),
        )

    def _run(self, device: PhantomDevice, returned: list[int]) -> Result:
        box = self._box
        box.limits.cpu, box.limits.timeout = CPU_SECONDS, TIMEOUT
        loaded = False
        try:
            box.plug(device)
            if self._load is not None:
                with suppress(ModuleLoadError):
                    self._load()
                    loaded = True
            box.sleep(SETTLE)
            if device.driver or (loaded and not any(returned[-1:])):
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
    def _listening(self, device: PhantomDevice, returned: list[int]) -> Iterator[PhantomAttendant]:
        """Probes for what a phantom has to know of its driver."""
        box = self._box
        attendant = PhantomAttendant(box, device, self._taint, hurried=True)

        def probed(hit: Hit) -> None:
            returned.append(hit.result or 0)

        attendant.attach()
        with ExitStack() as stack:
            stack.callback(attendant.detach)
            for probe in (
                box.probe(PROBE, self._find_probe, on_return=probed),
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
        """`struct drv_dev_and_id`: its first member is the driver."""
        if self._probe_code is not None:
            return
        driver = int.from_bytes(hit.read(hit.args[0], 8), "little")
        offset = self._box.inspect.symbols.btf.offset("pci_driver", "probe")
        address = int.from_bytes(hit.read(driver + offset, 8), "little")
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


def waits_for_device(box: Box, name: str) -> bool:
    """Whether a module that is loaded has registered a PCI driver; others look for a device only while they are
    loaded."""
    drivers = f"/sys/module/{name}/drivers"
    return box.exists(drivers) and any(entry.startswith("pci:") for entry in box.listdir(drivers))


def _remove(remove: Callable[[], None]) -> None:
    with suppress(BoxError):
        remove()
