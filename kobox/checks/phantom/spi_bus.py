"""The SPI bus, for a search: what a driver reads comes in messages, through the kernel's SPI core and its regmap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from kobox.box.box import Box
from kobox.box.devices.spi import controller_for
from kobox.box.inspect.probes import Hit, Probe
from kobox.checks.phantom.announced import announced
from kobox.checks.phantom.attendant import DriverAttendant
from kobox.checks.phantom.bus import PlainBus
from kobox.checks.phantom.kernel_code import bound_function, code_of
from kobox.checks.phantom.labels import label, tell, with_file
from kobox.checks.phantom.solve import Bits
from kobox.devices.phantom_kinds import Identity, Phantom
from kobox.devices.phantom_policy import CONTROL, FIRMWARE, SPI, BarLayout, Policy, Read
from kobox.devices.phantom_spi import PhantomSpi, SpiIdentity, spi_identities
from kobox.ko.modulefile import ModuleFile
from kobox.machine.taint import Taint

_PROBE = "spi_probe"  # drivers/spi/spi.c: (dev)
_DONE = "spi_finalize_current_message"  # the same: (controller)
_CODE = ("spi_write_then_read", "regmap_", "_regmap_", "__regmap_")
_IRQ = 0  # in HEADER
_MOST_TRANSFERS = 64


class SpiPhantoms(PlainBus):
    """Phantoms on an SPI bus."""

    title = "SPI"
    drivers: tuple[str, ...] = ("spi:",)
    probe = _PROBE
    registers = False
    layouts: Sequence[BarLayout] = (BarLayout.MEMORY,)
    blind: Sequence[str] = ()

    def __init__(self, file: ModuleFile) -> None:
        self.identities = spi_identities(announced(file))

    def prepare(self, box: Box) -> None:
        controller_for(box)

    def attendant(self, box: Box, device: Phantom, taint: Taint, *, hurried: bool) -> DriverAttendant:
        assert isinstance(device, PhantomSpi)
        return SpiAttendant(box, device, taint, hurried=hurried)

    def probe_function(self, box: Box, hit: Hit) -> int:
        return bound_function(box.inspect.symbols.btf, hit, "spi_driver", ("probe",))

    def follows(self, module: str) -> bool:
        return not module.startswith("spi_pxa2xx")

    def kernel_code(self, box: Box) -> Sequence[tuple[int, int]]:
        return code_of(box, _CODE)

    def with_header(self, identity: Identity, policy: Policy, read: Read, bits: Bits) -> tuple[Identity, Policy] | None:
        """An interrupt; a file of firmware of another size."""
        assert isinstance(identity, SpiIdentity)
        offset, wanted = read.register.offset, read.value & ~bits.mask | bits.value & bits.mask
        if offset >= FIRMWARE:
            better = with_file(policy, offset, wanted)
            return (identity, better) if better is not None else None
        if _IRQ <= offset < _IRQ + 4 and wanted and not identity.interrupt:
            return identity._replace(interrupt=True), policy
        return None


class SpiAttendant(DriverAttendant):
    """Attends to a phantom on an SPI bus."""

    def __init__(self, box: Box, device: PhantomSpi, taint: Taint | None = None, *, hurried: bool = False) -> None:
        super().__init__(box, device, taint, hurried=hurried)
        self._device = device
        self._done = 0  # reads of messages that are over

    def probes(self) -> Sequence[Probe]:
        return self._box.probe(_DONE, self._message_done), self._box.probe(_PROBE, self._probed)

    def others(self, identity: Identity) -> list[Identity]:
        """The kernel says -ENOENT where there is no interrupt: drivers that do not expect that fail to request it."""
        return (
            [] if not isinstance(identity, SpiIdentity) or identity.interrupt else [identity._replace(interrupt=True)]
        )

    def _message_done(self, hit: Hit) -> None:
        """Each word that was received is where its transfer says, in the order in which they were exchanged."""
        reads = self._device.reads
        places = [n for n in range(self._done, len(reads)) if SPI <= reads[n].register.bar < CONTROL]
        self._done = len(reads)
        with suppress(ValueError):  # a driver may have freed them meanwhile
            btf = self._box.inspect.symbols.btf
            message = self._pointer(hit, hit.args[0] + btf.offset("spi_controller", "cur_msg"))
            for size, buffer in self._transfers(hit, message):
                if buffer:
                    self._number(buffer, places[:size])
                places = places[size:]

    def _transfers(self, hit: Hit, message: int) -> Iterator[tuple[int, int]]:
        """Of each transfer of a `struct spi_message`: how many bytes, and where they were received, 0 when nowhere."""
        btf = self._box.inspect.symbols.btf
        head = message + btf.offset("spi_message", "transfers")
        member, at = btf.offset("spi_transfer", "transfer_list"), self._pointer(hit, head)
        for _ in range(_MOST_TRANSFERS):
            if at == head:
                return
            transfer = at - member
            length = int.from_bytes(hit.read(transfer + btf.offset("spi_transfer", "len"), 4), "little")
            yield length, self._pointer(hit, transfer + btf.offset("spi_transfer", "rx_buf"))
            at = self._pointer(hit, at)

    def _pointer(self, hit: Hit, at: int) -> int:
        return int.from_bytes(hit.read(at, 8), "little")

    def _number(self, buffer: int, places: Sequence[int]) -> None:
        reads, done = self._device.reads, 0
        for first, count in label(self._box, self._taint, buffer, len(places)):
            for n in range(count):
                at = places[done + n]
                reads[at] = reads[at]._replace(number=first + n)
            done += count

    def _probed(self, hit: Hit) -> None:
        """`struct spi_device`: what the kernel knows of the device."""
        btf = self._box.inspect.symbols.btf
        at = hit.args[0] - btf.offset("spi_device", "dev") + btf.offset("spi_device", "irq")
        with suppress(ValueError):
            tell(self._box, self._taint, self._device, at, hit.read(at, 4), _IRQ)
