"""The virtio bus, for a search: configuration registers, and what the device has written into buffers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from kobox.box.box import Box
from kobox.box.devices.virtio_mmio import load_transport
from kobox.box.inspect.btf import Btf
from kobox.box.inspect.probes import Hit, Probe
from kobox.checks.phantom.attendant import DriverAttendant
from kobox.checks.phantom.bus import PlainBus
from kobox.checks.phantom.kernel_code import bound_function
from kobox.checks.phantom.labels import tell
from kobox.checks.phantom.solve import Bits
from kobox.devices.phantom_kinds import Identity, Phantom
from kobox.devices.phantom_policy import FIRMWARE, BarLayout, Policy, Read
from kobox.devices.phantom_virtio import TRANSPORT_FEATURES, PhantomVirtio, VirtioIdentity, virtio_identities
from kobox.ko.modulefile import ModuleFile
from kobox.machine.taint import Taint

_PROBE = "virtio_dev_probe"  # drivers/virtio/virtio.c: (dev)
_AGREED = "vm_finalize_features"  # drivers/virtio/virtio_mmio.c: (vdev); what both know stands in vdev->features
_FEATURES = 0  # in HEADER


def _types_of(box: Box) -> Btf:
    """The types of a kernel in which virtio may be a module."""
    known = box.inspect.symbols.btf
    return known if known.has("virtio_driver", "probe") else known.with_module(box.read_bytes("/sys/kernel/btf/virtio"))


class VirtioPhantoms(PlainBus):
    """Phantoms on the virtio bus."""

    title = "virtio"
    drivers: tuple[str, ...] = ("virtio:",)
    probe = _PROBE
    registers = True
    layouts: Sequence[BarLayout] = (BarLayout.MEMORY,)
    blind: Sequence[str] = ()

    def __init__(self, file: ModuleFile) -> None:
        self.identities = virtio_identities(file.aliases)
        self._types: Btf | None = None

    def prepare(self, box: Box) -> None:
        load_transport(box)
        self._types = _types_of(box)

    def attendant(self, box: Box, device: Phantom, taint: Taint, *, hurried: bool) -> DriverAttendant:
        assert isinstance(device, PhantomVirtio)
        return VirtioAttendant(box, device, taint, hurried=hurried, types=self._types)

    def probe_function(self, box: Box, hit: Hit) -> int:
        return bound_function(self._types or _types_of(box), hit, "virtio_driver", ("probe",))

    def with_header(self, identity: Identity, policy: Policy, read: Read, bits: Bits) -> tuple[Identity, Policy] | None:
        """A device that offers other features."""
        assert isinstance(identity, VirtioIdentity)
        offset, wanted = read.register.offset, read.value & ~bits.mask | bits.value & bits.mask
        if offset >= FIRMWARE:
            return None
        shift = 8 * (offset - _FEATURES)
        features = (identity.features & ~(0xFF << shift) | wanted << shift) & ~TRANSPORT_FEATURES
        return (identity._replace(features=features), policy) if features != identity.features else None


class VirtioAttendant(DriverAttendant):
    """Attends to a phantom on the virtio bus."""

    def __init__(
        self,
        box: Box,
        device: PhantomVirtio,
        taint: Taint | None = None,
        *,
        hurried: bool = False,
        types: Btf | None = None,
    ) -> None:
        super().__init__(box, device, taint, hurried=hurried)
        self._device, self._types = device, types
        if taint is not None:
            device.filled = taint.sent

    def probes(self) -> Sequence[Probe]:
        return (self._box.probe(_AGREED, self._agreed),)

    def _agreed(self, hit: Hit) -> None:
        """`struct virtio_device`: the features that device and driver know."""
        types = self._types or _types_of(self._box)
        at = hit.args[0] + types.offset("virtio_device", "features")
        with suppress(ValueError):
            tell(self._box, self._taint, self._device, at, hit.read(at, 8), _FEATURES)
