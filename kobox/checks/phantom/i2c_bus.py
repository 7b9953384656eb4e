"""The I2C bus, for a search: what a driver reads comes in messages, through the kernel's I2C core and its regmap."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress

from kobox.box.box import Box
from kobox.box.devices.i2c import controller_for
from kobox.box.inspect.probes import Hit, Probe
from kobox.checks.phantom.announced import announced
from kobox.checks.phantom.attendant import DriverAttendant
from kobox.checks.phantom.bus import PlainBus
from kobox.checks.phantom.kernel_code import bound_function, code_of
from kobox.checks.phantom.labels import label, tell, with_file
from kobox.checks.phantom.solve import Bits
from kobox.devices.phantom_i2c import I2cIdentity, PhantomI2c, i2c_identities
from kobox.devices.phantom_kinds import Identity, Phantom
from kobox.devices.phantom_policy import FIRMWARE, BarLayout, Policy, Read
from kobox.ko.modulefile import ModuleFile
from kobox.machine.taint import Taint

_PROBE = "i2c_device_probe"  # drivers/i2c/i2c-core-base.c: (dev)
_TRANSFER = "__i2c_transfer"  # the same: (adapter, messages, number)
_MESSAGE = struct.Struct("<HHH2xQ")  # struct i2c_msg (include/uapi/linux/i2c.h): address, flags, length, buffer
_READS, _MOST_MESSAGES = 1, 64
_CODE = ("i2c_smbus_", "__i2c_smbus_", "i2c_transfer_buffer", "regmap_", "_regmap_", "__regmap_")
_ADDRESS, _IRQ = 0, 8  # in HEADER


class I2cPhantoms(PlainBus):
    """Phantoms on an I2C bus."""

    title = "I2C"
    drivers: tuple[str, ...] = ("i2c:",)
    probe = _PROBE
    registers = False
    layouts: Sequence[BarLayout] = (BarLayout.MEMORY,)
    blind: Sequence[str] = ()

    def __init__(self, file: ModuleFile) -> None:
        self.identities = i2c_identities(announced(file))
        self._described = next((one for one in self.identities if not one.name), None)

    def prepare(self, box: Box) -> None:
        controller_for(box, plain_messages=True)

    def attendant(self, box: Box, device: Phantom, taint: Taint, *, hurried: bool) -> DriverAttendant:
        assert isinstance(device, PhantomI2c)
        return I2cAttendant(box, device, taint, hurried=hurried)

    def probe_function(self, box: Box, hit: Hit) -> int:
        return bound_function(box.inspect.symbols.btf, hit, "i2c_driver", ("probe_new", "probe"))

    def follows(self, module: str) -> bool:
        return not module.startswith("i2c_designware")

    def kernel_code(self, box: Box) -> Sequence[tuple[int, int]]:
        return code_of(box, _CODE)

    def with_header(self, identity: Identity, policy: Policy, read: Read, bits: Bits) -> tuple[Identity, Policy] | None:
        """Another address; an interrupt, which only ACPI describes."""
        assert isinstance(identity, I2cIdentity)
        offset, wanted = read.register.offset, read.value & ~bits.mask | bits.value & bits.mask
        if offset >= FIRMWARE:
            better = with_file(policy, offset, wanted)
            return (identity, better) if better is not None else None
        if offset == _ADDRESS and 3 <= wanted <= 0x77 and wanted != identity.address:
            return identity._replace(address=wanted), policy
        if _IRQ <= offset < _IRQ + 4 and wanted and not identity.interrupt:
            # A name of the driver's own table is what comes behind the comma.
            described = self._described or I2cIdentity(compatible=f"kobox,{identity.name}")
            return described._replace(address=identity.address, interrupt=True), policy
        return None


class I2cAttendant(DriverAttendant):
    """Attends to a phantom on an I2C bus."""

    def __init__(self, box: Box, device: PhantomI2c, taint: Taint | None = None, *, hurried: bool = False) -> None:
        super().__init__(box, device, taint, hurried=hurried)
        self._device = device

    def probes(self) -> Sequence[Probe]:
        return (
            self._box.probe(_TRANSFER, self._transfer_begins, on_return=self._transfer_done),
            self._box.probe(_PROBE, self._probed),
        )

    def _transfer_begins(self, hit: Hit) -> None:
        hit.data = hit.args[1], min(hit.args[2] & 0xFFFFFFFF, _MOST_MESSAGES), len(self._device.reads)

    def _transfer_done(self, hit: Hit) -> None:
        """The bytes that were read are where the messages say, in the order in which they were asked for."""
        messages, count, before = hit.data
        place, reads, table = before, self._device.reads, b""
        with suppress(ValueError):  # a driver may have freed them meanwhile
            table = hit.read(messages, _MESSAGE.size * count) if hit.result == count else b""
        for _, flags, size, buffer in _MESSAGE.iter_unpack(table):
            size = min(size, len(reads) - place)
            if flags & _READS and size > 0:
                self._number(buffer, size, place)
                place += size

    def _number(self, buffer: int, size: int, place: int) -> None:
        for first, count in label(self._box, self._taint, buffer, size):
            for n in range(count):
                self._device.reads[place + n] = self._device.reads[place + n]._replace(number=first + n)
            place += count

    def _probed(self, hit: Hit) -> None:
        """`struct i2c_client`: what the kernel knows of the device."""
        with suppress(ValueError):
            self._tell_client(hit)

    def _tell_client(self, hit: Hit) -> None:
        btf = self._box.inspect.symbols.btf
        client = hit.args[0] - btf.offset("i2c_client", "dev")
        for member, size, offset in (("addr", 1, _ADDRESS), ("irq", 4, _IRQ)):
            at = client + btf.offset("i2c_client", member)
            tell(self._box, self._taint, self._device, at, hit.read(at, size), offset)
