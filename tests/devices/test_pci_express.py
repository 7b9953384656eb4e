"""What drivers ask of PCI itself, with a driver that asks for it: tests/modules/hardware/pciexpress.c."""

from __future__ import annotations

import random

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.devices import ErrorKind, Express, PciBridge, PciDevice, PciRootPort, Register, RegisterValue, expansion_rom
from kobox.errors import KoboxError
from kobox.images.kernel_image import KernelImage
from kobox.machine.acpi import ECAM
from kobox.machine.devices import DeviceWork
from kobox.machine.pci import PciBus
from kobox.machine.pci_function import Space
from tests.building import BuiltTestModules
from tests.conftest import clean_box


class Card(PciDevice):
    vendor_id, device_id = 0x1234, 0x11EC
    bar0 = PciDevice.memory(0x1000)
    control = Register(bar0, 0x00, reset=0x11)
    status = Register(bar0, 0x04)
    who = Register(bar0, 0x08, reset=0xF0)
    states: list[int]

    def __init__(self) -> None:
        self.states = []

    def power_changed(self, state: int) -> None:
        self.states.append(state)

    def ring(self) -> None:
        self.status.value = 1
        self.interrupt()


class ExpressCard(Card):
    express = Express(speed=3, width=8, payload=512)
    rom = expansion_rom(b"BOOTABLE", 0x1234, 0x11EC)
    serial_number = 0x0123456789ABCDEF
    vital = b"\x82\x08\0EXPRESS!\x90\x04\0PN\x01A\x78"


class VirtualCard(Card):
    device_id = 0x11ED
    express = Express()
    number = 0

    def reading(self, register: RegisterValue) -> None:
        if register.layout.offset == 8:
            register.value = 0xF0 + self.number


class ManyCard(ExpressCard):
    virtual_functions = 4

    def virtual_function(self, number: int) -> PciDevice:
        made = VirtualCard()
        made.number = number
        return made


@pytest.fixture(scope="session")
def pci_modules(debian_kernel: KernelImage) -> BuiltTestModules:
    return BuiltTestModules(debian_kernel, "hardware")


@pytest.fixture
def driven(box: Box, pci_modules: BuiltTestModules) -> Box:
    box.insmod(pci_modules("pciexpress"))
    return box


def said(box: Box, card: PciDevice, name: str) -> str:
    return box.read_text(f"{card.sysfs[0]}/{name}").strip()


ANSWERS = {
    "lanes": ("1 speed 3 width 8 payload 128 of 512 control 10", "0 speed 0 width 0 payload 128 of 128 control 0"),
    "sleep": ("11 ffffffff 11", "11 ffffffff 11"),
    "flr": ("0 77 11", "-25 77 77"),
    "image": ("512 BOOTABLE", "0 none"),
    "serial": ("123456789abcdef", "0"),
    "vital": ("8 EXPRESS!", "-19"),
    "errors": ("100 41 f", "0 0 0"),
}


@pytest.mark.parametrize("what", ANSWERS)
@pytest.mark.parametrize("kind", [ExpressCard, Card])
def test_what_a_driver_asks(driven: Box, kind: type[Card], what: str) -> None:
    card = driven.plug(kind())
    assert card.driver == "pciexpress"
    assert said(driven, card, what) == ANSWERS[what][kind is Card]
    assert not driven.findings


def test_a_driver_puts_its_device_to_sleep(driven: Box) -> None:
    card = driven.plug(Card())
    assert said(driven, card, "sleep") == "11 ffffffff 11"
    assert card.states == [3, 0]
    assert card.power_state == 0


def test_a_link_that_is_trained_anew(driven: Box) -> None:
    card = driven.plug(ExpressCard())
    card.set_link(1, 4)
    assert said(driven, card, "lanes").startswith("1 speed 1 width 4 ")
    with pytest.raises(KoboxError, match="no such link"):
        card.set_link(9, 4)
    with pytest.raises(KoboxError, match="has no link"):
        driven.plug(Card()).set_link(1, 1)


def test_virtual_functions_come_and_go(driven: Box) -> None:
    card = driven.plug(ManyCard())
    numbers = driven.path(f"{card.sysfs[0]}/sriov_numvfs")
    assert [part.driver for part in card.virtual_parts] == [None] * 4
    numbers.write_text("3")
    assert [part.driver for part in card.virtual_parts] == ["pciexpress"] * 3 + [None]
    assert [said(driven, part, "who") for part in card.virtual_parts[:3]] == ["f0", "f1", "f2"]
    with driven.checkpoint():
        last = card.virtual_parts[2]
        assert isinstance(last, VirtualCard)
        last.ring()
        driven.sleep(0.1)
        assert f"pciexpress {last.address}: interrupt" in driven.log.text()
        numbers.write_text("0")
        assert [part.driver for part in card.virtual_parts] == [None] * 4
    assert [part.driver for part in card.virtual_parts] == ["pciexpress"] * 3 + [None]
    card.unplug()
    assert driven.listdir("/sys/bus/pci/devices") == ["0000:00:00.0"]
    assert not driven.findings


def test_devices_behind_bridges(driven: Box) -> None:
    bridge = driven.plug(PciBridge(Card(), Card(), PciBridge(ExpressCard())))
    port = driven.plug(PciRootPort(ExpressCard()))
    first, second, inner = bridge.behind
    assert isinstance(inner, PciBridge)
    (deep,), (fast,) = inner.behind, port.behind
    cards = [first, second, deep, fast]
    assert [card.address for card in cards] == ["0000:01:00.0", "0000:01:04.0", "0000:02:00.0", "0000:03:00.0"]
    assert [card.driver for card in cards] == ["pciexpress"] * 4
    assert port.driver == "pcieport"
    for card in cards:
        assert isinstance(card, Card)
        assert said(driven, card, "sleep") == "11 ffffffff 11"
        card.ring()
        driven.sleep(0.1)
        assert f"pciexpress {card.address}: interrupt" in driven.log.text()
    with driven.checkpoint():
        bridge.unplug()
        assert not any(card.plugged for card in cards[:3])
    assert [card.driver for card in cards] == ["pciexpress"] * 4
    first.unplug()  # all that is behind the bridge, with it
    port.unplug()
    assert driven.listdir("/sys/bus/pci/devices") == ["0000:00:00.0"]
    assert not driven.findings


class TwoFunctions(Card):
    def other_functions(self) -> list[PciDevice]:
        return [ExpressCard(), Card()]


def test_a_card_of_several_functions(driven: Box) -> None:
    card = driven.plug(TwoFunctions())
    assert [part.address for part in card.parts] == [f"0000:00:01.{n}" for n in range(3)]
    assert [part.driver for part in card.parts] == ["pciexpress"] * 3
    assert [said(driven, part, "lanes")[0] for part in card.parts] == ["0", "1", "0"]
    with driven.checkpoint():
        card.other_parts[1].unplug()
        assert not any(part.plugged for part in card.parts)
    assert driven.plug(Card()).address == "0000:00:02.0"
    assert [part.driver for part in card.parts] == ["pciexpress"] * 3


RECOVERIES = {
    ErrorKind.CORRECTABLE: ([], 6),
    ErrorKind.NONFATAL: (["error detected, channel 1", "resume"], 20),
    ErrorKind.FATAL: (["error detected, channel 2", "slot reset", "resume"], 4),
}


@pytest.mark.parametrize("kind", ErrorKind, ids=lambda kind: kind.name)
def test_errors_that_a_device_reports(driven: Box, kind: ErrorKind) -> None:
    card = ExpressCard()
    driven.plug(PciRootPort(card))
    start = driven.log.next_seq
    lines, bit = RECOVERIES[kind]
    card.report_error(kind, bit)
    driven.sleep(3)
    said_then = [record.text for record in driven.log.since(start)]
    words = [text.partition(": ")[2] for text in said_then if text.startswith(f"pciexpress {card.address}: ")]
    assert [word for word in words if word.startswith(("error detected", "slot reset", "resume"))] == lines
    assert any("AER" in text and card.address in text for text in said_then), said_then
    assert said(driven, card, "lanes").startswith("1 speed 3")


@pytest.mark.parametrize("suite", ["trixie_kernel", "sid_kernel"])
def test_other_kernels(request: pytest.FixtureRequest, suite: str) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    with boot(kernel) as box:
        box.insmod(BuiltTestModules(kernel, "hardware")("pciexpress"))
        card, port = box.plug(ManyCard()), box.plug(PciRootPort(ExpressCard()))
        box.write_bytes(f"{card.sysfs[0]}/sriov_numvfs", b"4")
        for one in (card, *card.virtual_parts, *port.behind):
            assert one.driver == "pciexpress"
            assert said(box, one, "sleep") == "11 ffffffff 11"
        for what in ("lanes", "flr", "serial", "vital", "image"):
            assert said(box, port.behind[0], what) == ANSWERS[what][0]


# -- what goes wrong ------------------------------------------------------------------------------------------


def made(base: type[PciDevice] = Card, **attributes: object) -> PciDevice:
    kind = type("Wrong", (base,), attributes)
    device = kind()
    assert isinstance(device, PciDevice)
    return device


WRONG = {
    "speed": (lambda: made(express=Express(speed=7)), "there is no such link"),
    "width": (lambda: made(express=Express(width=3)), "there is no such link"),
    "payload": (lambda: made(express=Express(payload=100)), "there is no such link"),
    "serial": (lambda: made(serial_number=1), "are in the capabilities of PCI Express"),
    "virtual": (lambda: made(virtual_functions=1, virtual_function=lambda self, number: VirtualCard()), "PCI Express"),
    "too many": (lambda: made(ManyCard, virtual_functions=33), "33 virtual functions: 32 are the most"),
    "small BAR": (
        lambda: made(ManyCard, virtual_function=lambda self, number: made(bar1=PciDevice.memory(256))),
        "at least 4096 bytes",
    ),
    "window": (
        lambda: made(bar0=PciDevice.memory(0x2000)),
        "Wrong.control is in a window that the class",
    ),
    "nine functions": (lambda: made(other_functions=lambda self: [Card() for _ in range(8)]), "8 are the most"),
    "nine behind": (lambda: PciBridge(*(Card() for _ in range(9))), "9 devices behind a bridge that has 8 places"),
    "two in a slot": (lambda: PciRootPort(Card(), Card()), "2 devices behind a bridge that has 1 place"),
    "virtual behind": (lambda: PciRootPort(ManyCard()), "cannot be behind a bridge"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_device_that_cannot_be(box: Box, what: str) -> None:
    make, text = WRONG[what]
    with pytest.raises(KoboxError, match=text):
        box.plug(make())
    assert not box.machine.pci.functions
    assert box.plug(Card()).plugged


def raising(self: PciDevice, *arguments: object) -> None:
    if self.plugged:
        raise ZeroDivisionError("by a bug")


@pytest.mark.parametrize(
    ("hook", "file"), [("reset", "flr"), ("power_changed", "sleep"), ("write_configuration", "errors")]
)
def test_a_model_that_raises_tells_its_line(driven: Box, hook: str, file: str) -> None:
    card = driven.plug(made(ExpressCard, **{hook: raising}))
    if hook == "write_configuration":
        with pytest.raises(KoboxError, match="the model Wrong failed: ZeroDivisionError: by a bug"):
            driven.open(f"{card.sysfs[0]}/config", "r+b").pwrite(b"x", 0x44)
        return
    with pytest.raises(
        KoboxError, match=r"test_pci_express\.py:\d+: the model Wrong failed: ZeroDivisionError: by a bug"
    ):
        said(driven, card, file)


def test_an_error_that_nobody_hears_of(box: Box) -> None:
    with pytest.raises(KoboxError, match="there is none above this one"):
        box.plug(ExpressCard()).report_error()


@pytest.mark.parametrize("cmdline", ["pci=off"])
def test_a_kernel_without_pci_says_so(machine_room: dict[str, Box], debian_kernel: KernelImage, cmdline: str) -> None:
    box = clean_box(machine_room, debian_kernel, cmdline)
    with pytest.raises(KoboxError, match="the kernel does not see it"):
        box.plug(PciRootPort(ExpressCard()))
    assert not box.machine.pci.functions


_REGISTERS = (
    *(0x04, 0x10, 0x18, 0x19, 0x1C, 0x20, 0x24, 0x30, 0x3E, 0xA4, 0xAA, 0xBA, 0xC2, 0xD4, 0xD5),
    *(0x104, 0x130, 0x168, 0x170, 0x184),
)
_VALUES = (0, 2, 7, 0x8000, 0xE0000000, 0xFFFFFFFF)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_kernel_does_to_configuration_space(seed: int) -> None:
    """Bus numbers, windows, power states, resets and virtual functions, all at random: no exception, no endless
    loop."""
    chance = random.Random(seed)
    bus = PciBus(memoryview(bytearray(1 << 20)), _nothing, _nothing, _nothing, _nothing, DeviceWork())
    devices = [ManyCard(), PciRootPort(ExpressCard()), PciBridge(Card(), PciBridge(ExpressCard())), TwoFunctions()]
    for device in devices:
        for part in device.parts:
            part.power_on()
        bus.attach(device.function, *device.card_functions)
    for _ in range(3000):
        size = chance.choice((1, 2, 4))
        place = chance.choice((0, 0, 1, 2, 15)) << 20 | chance.choice((0, 8, 16, 24, 32, 33, 248)) << 12
        where = [ECAM | place | chance.choice((*_REGISTERS, chance.randrange(4096))), 0xE0000000, 0x800000000]
        value = chance.choice((*_VALUES, chance.getrandbits(32))) & (1 << 8 * size) - 1
        answer = bus.access(Space.MEMORY, chance.choices(where, (8, 1, 1))[0], size, value, chance.randrange(2))
        assert 0 <= answer < 1 << 8 * size
    bus.load(bus.save())
    for device in devices:
        bus.detach(device.function)
        for other in device.card_functions:
            bus.detach(other)
    assert not bus.functions


def _nothing(*arguments: object) -> None:
    return
