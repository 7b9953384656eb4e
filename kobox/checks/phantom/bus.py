"""What a search must know of the bus that a driver's device is on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kobox.box.box import Box
from kobox.box.inspect.probes import Hit
from kobox.checks.phantom.attendant import DriverAttendant
from kobox.checks.phantom.solve import Bits
from kobox.devices.phantom_kinds import Identity, Phantom
from kobox.devices.phantom_policy import BarLayout, Policy, Read
from kobox.machine.taint import Taint


class PhantomBus(Protocol):
    """A bus, for one driver. `drivers` begins the names of its drivers in /sys/module/NAME/drivers; `probe` is the
    kernel function that calls a driver's probe function; `registers` says that the driver reads them itself; `layouts`
    are the ways to lay a device out; `blind` are functions, "module:function", through which nothing is followed."""

    title: str
    drivers: tuple[str, ...]
    probe: str
    registers: bool
    layouts: Sequence[BarLayout]
    blind: Sequence[str]

    @property
    def identities(self) -> Sequence[Identity]:
        """Whom the device may be: what the driver's own table waits for."""
        ...

    def prepare(self, box: Box) -> None:
        """Give a box what the bus needs. Raises `KoboxError`."""
        ...

    def attendant(self, box: Box, device: Phantom, taint: Taint, *, hurried: bool) -> DriverAttendant:
        """Who attends to the device while its driver probes it."""
        ...

    def probe_function(self, box: Box, hit: Hit) -> int:
        """The address of the driver's probe function, at the entry of `probe`; 0 when it is not known."""
        ...

    def is_bound(self, box: Box, device: Phantom) -> bool:
        """Whether a driver has the device."""
        ...

    def follows(self, module: str) -> bool:
        """Whether values are followed through the code of a module: not through a bus's own controller."""
        ...

    def kernel_code(self, box: Box) -> Sequence[tuple[int, int]]:
        """The parts of the kernel, start and size, through which they are followed as well."""
        ...

    def with_header(self, identity: Identity, policy: Policy, read: Read, bits: Bits) -> tuple[Identity, Policy] | None:
        """The device of which the kernel knows that (`HEADER`); None when there can be none, or the driver would not
        want it."""
        ...


class PlainBus:
    """What holds for a bus that needs nothing of its own."""

    def prepare(self, box: Box) -> None:
        """Every box has the bus."""

    def is_bound(self, box: Box, device: Phantom) -> bool:
        return device.driver is not None

    def follows(self, module: str) -> bool:
        return True

    def kernel_code(self, box: Box) -> Sequence[tuple[int, int]]:
        return ()
