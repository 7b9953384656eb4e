"""Phantoms on I2C, SPI, USB, virtio and the board: Debian's own drivers find their device there."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.checks.phantom.attempt import Result
from kobox.checks.phantom.buses import bus_of
from kobox.checks.phantom.model_file import model_text
from kobox.checks.phantom.search import PhantomSearch, SearchResult
from kobox.checks.phantom.surround import surround
from kobox.checks.phantom.usb_header import ALTERNATES, DEVICE, ENDPOINT_AT, INTERFACE, SPEED, with_endpoint, with_shape
from kobox.devices.model import HardwareModel
from kobox.devices.phantom_board import BoardIdentity, board_identities
from kobox.devices.phantom_i2c import I2cIdentity, PhantomI2c, i2c_identities
from kobox.devices.phantom_kinds import PHANTOMS, Identity, phantom_of, title_of
from kobox.devices.phantom_policy import CONTROL, ENDPOINT, I2C, SPI, VIRTQUEUE, Policy, RegisterAt, Step, name_of
from kobox.devices.phantom_spi import PhantomSpi, SpiIdentity, spi_identities
from kobox.devices.phantom_usb import ENDPOINTS, UsbIdentity, hid_identities, usb_identities, usb_wanted_by
from kobox.devices.phantom_virtio import TRANSPORT_FEATURES, VirtioIdentity, virtio_identities
from kobox.images.kernel_image import KernelImage
from kobox.ko.modulefile import ModuleFile

MOST = 60


def driver_file(kernel: KernelImage, name: str) -> ModuleFile:
    assert kernel.modules is not None
    (path,) = (kernel.modules / "kernel").rglob(f"{name}.ko*")
    return ModuleFile(path)


def search(box: Box, file: ModuleFile, most: int = MOST) -> SearchResult:
    box.modprobe(file.name)
    return PhantomSearch(box, file).run(most)


# Driver, and a line of what its device must say or be.
DRIVERS = [
    ("bmp280-i2c", "I2C register 0x0, byte 0 = 0x50"),  # a chip number, by regmap
    ("apds9960", ""),  # an interrupt
    ("bmp280-spi", "SPI register 0x0, byte 1 = 0x50"),
    ("ad7292", "SPI register"),  # two bytes of a vendor's number
    ("adf7242", ""),  # an interrupt that it requests without a look
    ("virtiofs", "BAR 0 + 0x24 = 0x1"),  # no shared memory, one queue
    ("9pnet_virtio", ""),  # a feature
    ("virtio_crypto", ""),
    ("usbdux", "firmware usbdux_firmware.bin of 4096 bytes"),  # firmware, alternate settings
    ("powermate", ""),  # one endpoint
    ("shark2", ""),  # one version
    ("hid-belkin", ""),  # usbhid has the interface
]


@pytest.mark.parametrize(("name", "line"), DRIVERS, ids=[name for name, _ in DRIVERS])
def test_a_device_is_found_and_written_down(
    full_box: Box, full_kernel: KernelImage, name: str, line: str, tmp_path: Path
) -> None:
    file = driver_file(full_kernel, name)
    before = len(full_box.machine.pci.functions)
    found = search(full_box, file)
    assert found.best.result is Result.BOUND
    assert found.probed > 0.5
    assert any(line in known for known in found.best.policy.lines()) or not line, found.best.policy.lines()
    assert len(full_box.machine.pci.functions) == before
    scope: dict[str, object] = {}
    exec(model_text(found.best, file.name, found.places), scope)
    model = scope["Model"]
    assert isinstance(model, type)
    assert issubclass(model, HardwareModel)
    if not found.best.policy.firmware:
        device = model()
        assert isinstance(device, PHANTOMS)
        surround(full_box, device)
        full_box.plug(device)
        full_box.sleep(1)
        assert device.driver is not None


def test_an_interrupt_is_described_by_acpi(full_box: Box, full_kernel: KernelImage) -> None:
    found = search(full_box, driver_file(full_kernel, "apds9960"))
    assert found.best.identity == I2cIdentity(compatible="avago,apds9960", interrupt=True)


def test_the_same_search_finds_the_same_on_another_bus(full_box: Box, full_kernel: KernelImage) -> None:
    def run() -> tuple[object, ...]:
        full_box.reset()
        found = search(full_box, driver_file(full_kernel, "powermate"))
        return found.best.identity, found.best.policy, found.best.executed, found.attempts

    assert run() == run()


# -- whom a driver waits for ---------------------------------------------------------------------------------------

I2C_ALIASES = [
    (["i2c:lm75", "i2c:tmp75"], [I2cIdentity("lm75"), I2cIdentity("tmp75")]),
    (["i2c:a", "of:N*T*Cacme,aC*", "of:N*T*Cacme,a"], [I2cIdentity("a"), I2cIdentity(compatible="acme,a")]),
    (["acpi*:BOSC0200:*"], [I2cIdentity(hid="BOSC0200")]),
    (["acpi*:BOSC0200:*", "of:N*T*Cbosch,bmc"], [I2cIdentity(compatible="bosch,bmc")]),
    (["usb:v1234p5678d*dc*dsc*dp*ic*isc*ip*in*", "of:N*T*", "acpi*:*"], []),
]


@pytest.mark.parametrize(("aliases", "who"), I2C_ALIASES)
def test_whom_an_i2c_driver_waits_for(aliases: list[str], who: list[I2cIdentity]) -> None:
    assert i2c_identities(aliases) == who


SPI_ALIASES = [
    (["spi:lm70", "spi:lm74"], [SpiIdentity(compatible="kobox,lm70"), SpiIdentity(compatible="kobox,lm74")]),
    (["spi:lm70", "of:N*T*Cti,lm70C*", "of:N*T*Cti,lm70"], [SpiIdentity(compatible="ti,lm70")]),
    (["acpi*:BOSC0200:*"], [SpiIdentity(hid="BOSC0200")]),
    (["i2c:lm75"], []),
]


@pytest.mark.parametrize(("aliases", "who"), SPI_ALIASES)
def test_whom_an_spi_driver_waits_for(aliases: list[str], who: list[SpiIdentity]) -> None:
    assert spi_identities(aliases) == who


def test_of_many_names_some_are_taken() -> None:
    found = spi_identities([f"spi:chip{n}" for n in range(9)])
    assert [one.compatible for one in found] == ["kobox,chip0", "kobox,chip4", "kobox,chip8"]


VIRTIO_ALIASES = [
    (["virtio:d00000004v*"], 4),
    (["virtio:d00000002v00001AF4"], 2),
    (["virtio:d0000001Dv*", "platform:x"], 29),
    (["virtio:d*v*"], 0),
    (["pci:v00001AF4d*sv*sd*bc*sc*i*"], 0),
]


@pytest.mark.parametrize(("aliases", "kind"), VIRTIO_ALIASES)
def test_whom_a_virtio_driver_waits_for(aliases: list[str], kind: int) -> None:
    everything = (1 << 64) - 1 & ~TRANSPORT_FEATURES
    wanted = [VirtioIdentity(kind), VirtioIdentity(kind, everything)] if kind else []
    assert virtio_identities(aliases) == wanted


USB_ALIASES = [
    ("usb:v046DpC52Bd*dc*dsc*dp*ic*isc*ip*in*", UsbIdentity(0x046D, 0xC52B)),
    ("usb:v046DpC52Bd0100dc*dsc*dp*ic*isc*ip*in*", UsbIdentity(0x046D, 0xC52B)),
    ("usb:v1199p68A3d*dc*dsc*dp*icFFiscFFipFFin03*", UsbIdentity(0x1199, 0x68A3, interface_class=(255,) * 3, number=3)),
    ("usb:v*p*d*dcE0dsc01dp01ic*isc*ip*in*", UsbIdentity(0x16C0, 0x05DC, device_class=(0xE0, 1, 1))),
    ("usb:v*p*d*dc*dsc*dp*ic03isc*ip*in*", UsbIdentity(0x16C0, 0x05DC, interface_class=(3, 0, 0))),
    ("usb:v077Dp0410d1[5-9]*dc*dsc*dp*ic*isc*ip*in*", UsbIdentity(0x077D, 0x0410, 0x1500)),
    ("usb:v077Dp627Ad0010dc*dsc*dp*ic*isc*ip*in*", UsbIdentity(0x077D, 0x627A, 0x0010)),
    ("usb:v1234p5678d0[2-9]*dc*dsc*dp*ic*isc*ip*in*", UsbIdentity(0x1234, 0x5678, 0x0200)),
    ("usb:v1234p5678d020[3-9A-F]dc*dsc*dp*ic*isc*ip*in*", UsbIdentity(0x1234, 0x5678, 0x0203)),
]


@pytest.mark.parametrize(("alias", "who"), USB_ALIASES)
def test_whom_a_usb_driver_waits_for(alias: str, who: UsbIdentity) -> None:
    assert usb_identities([alias]) == [who]
    assert usb_wanted_by([alias])(who)
    assert not usb_wanted_by(["usb:v0001p0002d*dc*dsc*dp*ic*isc*ip*in*"])(who)
    assert usb_identities(["pci:v00008086d0000100Esv*sd*bc*sc*i*"]) == []


def test_whom_a_driver_of_hid_devices_waits_for() -> None:
    who = hid_identities(["hid:b0005g*v0000046Dp0000B034", "hid:b0003g*v0000050Dp00003201", "hid:b0003g0103v*p*"])
    assert [(one.vendor, one.product, one.interface_class[0]) for one in who] == [(0x050D, 0x3201, 3)]


def test_whom_a_driver_of_the_board_waits_for() -> None:
    aliases = ["acpi*:INT33A1:*", "of:N*T*Cacme,blinker", "platform:blinker"]
    assert board_identities(aliases) == [BoardIdentity(hid="INT33A1"), BoardIdentity(compatible="acme,blinker")]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("e1000", "PCI"),
        ("cp210x", "USB"),
        ("lm75", "I2C"),
        ("intel-hid", "platform"),
        ("hid-belkin", "HID"),
        ("adxl345_spi", "SPI"),
        ("virtio-rng", "virtio"),
        ("ext4", ""),
        ("dummy", ""),
    ],
)
def test_which_bus_a_driver_is_for(full_kernel: KernelImage, name: str, title: str) -> None:
    bus = bus_of(driver_file(full_kernel, name))
    assert (bus.title if bus is not None else "") == title


# -- what a driver reads of descriptors ----------------------------------------------------------------------------

WHO = UsbIdentity(0x1234, 0x5678)
SHAPES = [
    (DEVICE + 12, 0x34, WHO._replace(version=0x0134)),
    (DEVICE + 8, 0x35, WHO._replace(vendor=0x1235)),
    (DEVICE + 4, 0xE0, WHO._replace(device_class=(0xE0, 0, 0))),
    (DEVICE + 17, 2, None),
    (INTERFACE + 2, 3, WHO._replace(number=3)),
    (INTERFACE + 2, 200, None),
    (INTERFACE + 4, 1, WHO._replace(endpoints=ENDPOINTS[:1])),
    (INTERFACE + 4, 200, None),
    (INTERFACE + 6, 9, WHO._replace(interface_class=(255, 9, 0))),
    (ALTERNATES, 3, WHO._replace(alternates=3)),
    (ALTERNATES, 0, None),
    (SPEED, 5, WHO._replace(speed=5)),
    (SPEED, 4, None),
    (ENDPOINT_AT + 2, 0x87, WHO._replace(endpoints=(ENDPOINTS[0]._replace(address=0x87), *ENDPOINTS[1:]))),
    (ENDPOINT_AT + 2, 0x70, None),
    (ENDPOINT_AT + 3, 3, WHO._replace(endpoints=(ENDPOINTS[0]._replace(attributes=3, size=64), *ENDPOINTS[1:]))),
    (ENDPOINT_AT + 3, 0, WHO._replace(endpoints=(ENDPOINTS[0]._replace(attributes=0, size=64), *ENDPOINTS[1:]))),
    (ENDPOINT_AT + 4, 8, WHO._replace(endpoints=(ENDPOINTS[0]._replace(size=0x208), *ENDPOINTS[1:]))),
    (ENDPOINT_AT + 5, 0xFF, None),
    (ENDPOINT_AT + 16 * 14 + 2, 1, None),
]


@pytest.mark.parametrize(("offset", "wanted", "who"), SHAPES)
def test_a_byte_of_a_descriptor_makes_another_device(offset: int, wanted: int, who: UsbIdentity | None) -> None:
    assert with_shape(WHO, offset, wanted) == who


@pytest.mark.parametrize("count", range(1, 16))
def test_any_number_of_endpoints_has_addresses_of_its_own(count: int) -> None:
    who = with_shape(WHO, INTERFACE + 4, count)
    assert who is not None
    assert len({one.address for one in who.endpoints}) == count


def test_an_address_that_is_taken_is_exchanged() -> None:
    who = with_shape(WHO, ENDPOINT_AT + 2, ENDPOINTS[1].address)
    assert who is not None
    assert [one.address for one in who.endpoints[:2]] == [ENDPOINTS[1].address, ENDPOINTS[0].address]
    assert {one.address for one in with_endpoint(WHO, 0x8E, 2).endpoints} == {one.address for one in ENDPOINTS} | {0x8E}


REGISTERS = [
    (RegisterAt(I2C + 1, 0x0F << 12), "I2C register 0xf, byte 0"),
    (RegisterAt(I2C + 2 + 16 * 0x51, 0x1234 << 12 | 3), "I2C 0x51 register 0x1234, byte 3"),
    (RegisterAt(SPI + 1, 0x8F << 12 | 1), "SPI register 0x8f, byte 1"),
    (RegisterAt(VIRTQUEUE + 2, 7), "queue 2, byte 7"),
    (RegisterAt(CONTROL + 0xC012, (0x34 << 16 | 7) << 12 | 1), "request 0xc0 0x12, value 0x34, index 0x7, byte 1"),
    (RegisterAt(ENDPOINT + 0x81, 5), "endpoint 0x81, byte 5"),
]


@pytest.mark.parametrize(("register", "name"), REGISTERS)
def test_what_a_register_is_called(register: RegisterAt, name: str) -> None:
    assert name_of(register) == name


TITLES: list[tuple[Identity, str]] = [
    (UsbIdentity(0x046D, 0xC52B), "USB phantom 046d:c52b"),
    (I2cIdentity("lm75"), "I2C phantom lm75 at 0x48"),
    (SpiIdentity(compatible="ti,lm70"), "SPI phantom ti,lm70"),
    (VirtioIdentity(4), "virtio phantom type 4"),
    (VirtioIdentity(4, 3), "virtio phantom type 4 with features 0x3"),
    (BoardIdentity(hid="INT33A1"), "platform phantom INT33A1"),
]


@pytest.mark.parametrize(("identity", "title"), TITLES, ids=["usb", "i2c", "spi", "virtio", "features", "board"])
def test_what_a_phantom_is_called(identity: Identity, title: str) -> None:
    assert title_of(identity) == title


def test_an_i2c_phantom_keeps_what_is_written() -> None:
    device = phantom_of(I2cIdentity("x"), Policy(known={RegisterAt(I2C + 1, 0x0F << 12): (Step(0, 0xFF, 0x33),)}))
    assert isinstance(device, PhantomI2c)

    def transfer(data: bytes, size: int = 0) -> bytes:
        device.start(read=False)
        for byte in data:
            device.write_byte(byte)
        device.start(read=True)
        read = bytes(device.read_byte() for _ in range(size))
        device.stop()
        return read

    transfer(struct.pack(">BH", 0x20, 0x1234))
    assert transfer(b"\x20", 2) == b"\x12\x34"
    assert transfer(b"\x21", 1) == b"\x34"
    assert transfer(b"\x0f", 1) == b"\x33"
    transfer(b"\x01\x02\x99")
    assert transfer(b"\x01\x02", 1) == b"\x99"


SPI_WRITES = [
    (b"\x0f\x13", b"\x8f\0", 0x13),  # bit 7 says that it is a read
    (b"\x8f\x13", b"\x0f\0", 0x13),  # … or a write
    (b"\x40\x07", b"\x00\0", 0x07),  # bit 6
    (b"\x0f\x13", b"\x0f\0", 0x13),
    (b"\x01\x02\x33", b"\x81\x02\0", 0x33),  # two bytes choose a register
    (b"\x0f\x13\x14", b"\x8f\0\0", 0x14),
    (b"\x0f", b"\x8f\0", 0),
]


@pytest.mark.parametrize(("written", "asked", "answer"), SPI_WRITES)
def test_an_spi_phantom_keeps_what_is_written(written: bytes, asked: bytes, answer: int) -> None:
    device = phantom_of(SpiIdentity("x"), Policy())
    assert isinstance(device, PhantomSpi)

    def message(words: bytes) -> list[int]:
        device.select()
        answers = [device.exchange(word) for word in words]
        device.deselect()
        return answers

    message(written)
    assert message(asked)[-1] == answer


def test_words_of_two_bytes() -> None:
    known = {RegisterAt(SPI, 0): (Step(0, 0xFF, 0x34),), RegisterAt(SPI, 1): (Step(0, 0xFF, 0x12),)}
    device = phantom_of(SpiIdentity("x"), Policy(known=known))
    assert isinstance(device, PhantomSpi)
    device.select()
    device.bits = 16
    assert device.exchange(0xFFFF) == 0x1234


def test_a_driver_that_writes_without_end_fills_no_memory() -> None:
    device = phantom_of(I2cIdentity("x"), Policy())
    assert isinstance(device, PhantomI2c)
    device.start(read=False)
    for _ in range(100_000):
        device.write_byte(1)
    assert len(device._message) < 5000
    for offset in range(100_000):
        device.keep(RegisterAt(0, offset), 1, 1)
        device.answer(RegisterAt(0, 4 * offset), 1)
    assert len(device._bytes) <= 1 << 16
    assert len(device._visits) <= 1 << 16
    assert len(device.reads) <= 1 << 14
