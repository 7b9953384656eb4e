"""PCI devices that Python plays, with a driver that uses all that there is: tests/modules/pcicounter.c."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.devices import PciDevice, Register, RegisterValue
from kobox.errors import BoxHungError, KoboxError, ModuleLoadError
from kobox.images.kernel_image import KernelImage
from kobox.machine.pci_capabilities import own
from kobox.machine.pci_function import Space
from tests.building import BuiltTestModules
from tests.conftest import clean_box


class Counter(PciDevice):
    vendor_id, device_id, class_code = 0x1234, 0x11E8, 0x0880FF
    bar0 = PciDevice.memory(0x1000)
    bar2 = PciDevice.ports(0x20)
    control = Register(bar0, 0x00, bits={"run": 0})
    value = Register(bar0, 0x04, read_only=True)
    status = Register(bar0, 0x08, clear_on_write=0xFFFFFFFF)
    where = Register(bar0, 0x10, size=8)
    length = Register(bar0, 0x18)
    byte = Register(bar0, 0x1C, size=1, reset=0x5A)
    port = Register(bar2, 0x04, size=2, reset=0x1234)
    seen: list[bytes]

    def __init__(self) -> None:
        self.seen = []

    def written(self, register: RegisterValue) -> None:
        if register is self.control and self.control.run:
            self.value.value += 1
            self.status.value = 1
            self.interrupt()
        elif register is self.length:
            data = self.dma.read(self.where.value, register.value)
            self.seen.append(data)
            self.dma.write(self.where.value, data[::-1])


def attribute(box: Box, card: PciDevice, name: str) -> Path:
    return box.path(f"/sys/bus/pci/devices/{card.address}/{name}")  # type: ignore[return-value]


MODES = {"any": "MSI-X", "msix": "MSI-X", "msi": "MSI", "wire": "wire"}


@pytest.mark.parametrize("mode", MODES)
def test_registers_ports_interrupts_and_memory(box: Box, modules: BuiltTestModules, mode: str) -> None:
    driver = box.insmod(modules("pcicounter"), irq=mode)
    card = box.plug(Counter())
    assert card.driver == "pcicounter"
    assert f"{card.address}: {MODES[mode]}" in box.log.text()
    assert attribute(box, card, "value").read_text() == "0 0 90 4660\n"
    for _ in range(3):
        attribute(box, card, "run").write_text("1")
    assert attribute(box, card, "value").read_text() == "3 3 90 4660\n"
    attribute(box, card, "reverse").write_text("a word")
    assert attribute(box, card, "reverse").read_text() == "drow a"
    assert card.seen == [b"a word"]
    card.unplug()
    assert not card.plugged
    assert card.driver is None
    assert "removed, value ffffffff" in box.log.text()
    driver.unload()
    assert not box.findings


@pytest.mark.parametrize("suite", ["trixie_kernel", "sid_kernel"])
def test_other_kernels(request: pytest.FixtureRequest, suite: str) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    with boot(kernel) as box:
        driver = box.insmod(BuiltTestModules(kernel)("pcicounter"))
        card = box.plug(Counter())
        assert card.driver == "pcicounter"
        attribute(box, card, "run").write_text("1")
        attribute(box, card, "reverse").write_text("a word")
        assert attribute(box, card, "value").read_text() == "1 1 90 4660\n"
        assert attribute(box, card, "reverse").read_text() == "drow a"
        card.unplug()
        driver.unload()
        assert not box.findings


def test_a_wire_that_is_held_high_interrupts_until_it_is_answered(box: Box, modules: BuiltTestModules) -> None:
    class Level(Counter):
        def written(self, register: RegisterValue) -> None:
            if register is self.control:
                self.value.value += 1
                self.status.value = 1
            self.set_interrupt_level(bool(self.status.value))

    box.insmod(modules("pcicounter"), irq="wire")
    first, second = box.plug(Level()), box.plug(Level())  # places 1 and 2: two wires
    third = box.plug(Level())  # shares the first one's
    for card in (first, second, third, first):
        attribute(box, card, "run").write_text("1")
    assert [attribute(box, card, "value").read_text().split()[:2] for card in (first, second, third)] == [
        ["2", "2"],
        ["1", "1"],
        ["1", "1"],
    ]
    assert not box.findings


def test_a_driver_that_comes_later_finds_the_device(box: Box, modules: BuiltTestModules) -> None:
    card = box.plug(Counter())
    assert card.driver is None
    assert attribute(box, card, "modalias").read_text().strip() == card.modalias
    box.insmod(modules("pcicounter"))
    assert card.driver == "pcicounter"
    again = box.plug(Counter())
    assert again.driver == "pcicounter"
    assert again.address != card.address


def test_devices_go_back_with_checkpoints(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("pcicounter"))
    card = box.plug(Counter())
    attribute(box, card, "run").write_text("1")
    attribute(box, card, "reverse").write_text("one")
    with box.checkpoint():
        attribute(box, card, "run").write_text("1")
        attribute(box, card, "reverse").write_text("two")
        card.seen.append(b"by the test")
        assert card.value.value == 2
        card.unplug()
        assert not card.plugged
    assert card.plugged
    assert (card.value.value, card.seen) == (1, [b"one"])
    attribute(box, card, "run").write_text("1")
    assert attribute(box, card, "value").read_text().split()[:2] == ["2", "2"]
    box.reset()
    assert not card.plugged
    assert box.path("/sys/bus/pci/devices").listdir() == ["0000:00:00.0"] if hasattr(box.path("/"), "listdir") else True


def test_the_same_run_twice_has_the_same_log(box: Box, modules: BuiltTestModules) -> None:
    def life() -> list[str]:
        box.reset()
        driver = box.insmod(modules("pcicounter"))
        card = box.plug(Counter())
        attribute(box, card, "run").write_text("1")
        card.unplug()
        driver.unload()
        return [f"{record.time} {record.text}" for record in box.log]

    assert life() == life()


def test_memory_of_64_bits_lies_above_4_gib(box: Box) -> None:
    class Wide(PciDevice):
        vendor_id, device_id = 0x1234, 0x0001
        bar0 = PciDevice.memory(1 << 26, wide=True, prefetchable=True)

    card = box.plug(Wide())
    first = attribute(box, card, "resource").read_text().splitlines()[0].split()
    assert int(first[0], 16) >= 1 << 32 or int(first[0], 16) >= 0xE0000000
    assert int(first[1], 16) - int(first[0], 16) == (1 << 26) - 1


# -- what goes wrong ------------------------------------------------------------------------------------------


def test_a_model_that_raises_tells_its_line_and_the_box_lives(box: Box, modules: BuiltTestModules) -> None:
    class Broken(Counter):
        def written(self, register: RegisterValue) -> None:
            raise ZeroDivisionError("by a bug")

    box.insmod(modules("pcicounter"))
    card = box.plug(Broken())
    with pytest.raises(KoboxError, match=r"test_pci\.py:\d+: the model Broken failed: ZeroDivisionError: by a bug"):
        attribute(box, card, "run").write_text("1")
    box.reset()
    box.insmod(modules("pcicounter")).unload()


@pytest.mark.parametrize("answer", [None, "7", 1.5])
def test_a_model_that_answers_with_nonsense_tells_its_class(answer: object) -> None:
    class Nonsense(Counter):
        def read_memory(self, bar: int, offset: int, size: int) -> int:
            return answer  # type: ignore[return-value]

    model = Nonsense()
    assert model.function
    with pytest.raises(KoboxError, match="the model Nonsense failed: TypeError"):
        model.bar_read(0, 0x800, 4)


@pytest.mark.parametrize(("answer", "read"), [(-1, 0xFFFF), (0x12345, 0x2345), (True, 1)])
def test_an_answer_is_as_wide_as_the_read(answer: int, read: int) -> None:
    class Wide(Counter):
        def read_memory(self, bar: int, offset: int, size: int) -> int:
            return answer

    model = Wide()
    assert model.function
    assert model.bar_read(0, 0x800, 2) == read


@pytest.mark.parametrize(
    ("master", "where", "text"),
    [
        (0, None, "has not made the device a bus master"),
        (1, 1 << 40, "the box has RAM up to 0x"),
        (1, (1 << 64) - 8, "the box has RAM up to 0x"),
    ],
)
def test_memory_that_a_device_cannot_reach(
    box: Box, modules: BuiltTestModules, master: int, where: int | None, text: str
) -> None:
    class Astray(Counter):
        def written(self, register: RegisterValue) -> None:
            if register is self.length:
                self.dma.write(self.where.value if where is None else where, b"x" * register.value)

    box.insmod(modules("pcicounter"), master=master)
    card = box.plug(Astray())
    with pytest.raises(KoboxError, match=text):
        attribute(box, card, "reverse").write_text("some words")
    box.reset()
    assert box.alive


def test_a_driver_that_polls_for_ever_is_ended_by_the_limit(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("pcicounter"), poll=1)
    box.limits.cpu = 0.5
    with pytest.raises(BoxHungError):
        box.plug(Counter())
    box.reset()
    assert box.alive


def test_a_device_is_plugged_in_once_and_the_bus_has_an_end(box: Box) -> None:
    card = box.plug(Counter())
    with pytest.raises(KoboxError, match="plugged in already"):
        box.plug(card)
    for function in range(30):
        box.machine.pci.attach(Counter().function)
        assert function < 31
    with pytest.raises(KoboxError, match="all 31 places"):
        box.plug(Counter())
    card.unplug()
    with pytest.raises(KoboxError, match="not plugged in"):
        card.unplug()


def test_memory_for_registers_runs_out(box: Box, modules: BuiltTestModules) -> None:
    class Huge(PciDevice):
        vendor_id, device_id = 0x1234, 0x11E8
        bar0 = PciDevice.memory(1 << 30)
        bar2 = PciDevice.ports(0x20)

    box.insmod(modules("pcicounter"))
    card = box.plug(Huge())
    assert card.driver is None  # the kernel says why
    assert re.search(r"BAR 0.*(no space|failed to assign)", box.log.text())


def test_a_kernel_without_pci_says_so(machine_room: dict[str, Box], debian_kernel: object) -> None:
    box = clean_box(machine_room, debian_kernel, "pci=off")  # type: ignore[arg-type]
    with pytest.raises(KoboxError, match="the kernel does not see it"):
        box.plug(Counter())
    assert not box.machine.pci.functions


def test_a_box_with_cards_is_not_kept_as_a_snapshot(box: Box, tmp_path: Path) -> None:
    box.plug(Counter())
    with pytest.raises(KoboxError, match="devices"):
        box.save(tmp_path / "kept")


def test_a_driver_with_a_wish_that_the_device_cannot_grant(box: Box, modules: BuiltTestModules) -> None:
    class Wired(Counter):
        vectors = 0

    box.insmod(modules("pcicounter"), irq="msix")
    assert box.plug(Wired()).driver is None
    with pytest.raises(ModuleLoadError):
        box.insmod(modules("pcicounter"))


class Byte(PciDevice):
    bar0 = PciDevice.memory(0x1000)
    number = Register(bar0, 0x00)


def enabled(box: Box, number: int) -> tuple[Byte, int]:
    """A card whose register says a number, and where its BAR is."""
    card = box.plug(Byte())
    attribute(box, card, "enable").write_text("1")
    card.number.value = number
    return card, card.function.base(card.function.bars[0])


def test_a_bar_that_moves_takes_its_registers_along(box: Box) -> None:
    (card, at), (other, there) = enabled(box, 1), enabled(box, 2)
    bus = box.machine.pci

    def read(address: int) -> int:
        return bus.access(Space.MEMORY, address, 4, 0, 0)

    def move(device: Byte, address: int) -> None:
        bus.access(Space.CONFIG, device.function.place << 11 | 0x10, 4, address, 1)

    assert (read(at), read(there), read(at)) == (1, 2, 1)
    move(other, at)  # two on one address: the first one answers
    assert (read(at), read(there), read(at)) == (1, 0xFFFFFFFF, 1)
    move(card, there)
    assert (read(at), read(there)) == (2, 1)
    checkpoint = box.checkpoint()
    move(card, at + 0x10000)
    assert (read(at + 0x10000), read(there)) == (1, 0xFFFFFFFF)
    checkpoint.restore()
    assert (read(at + 0x10000), read(there)) == (0xFFFFFFFF, 1)
    card.unplug()
    assert (read(at), read(there)) == (2, 0xFFFFFFFF)


PLACES = [(30, 30), (0, 2), (1, None), (32, None)]


@pytest.mark.parametrize(("wanted", "place"), PLACES)
def test_the_place_that_a_card_is_plugged_into(box: Box, wanted: int, place: int | None) -> None:
    box.plug(Byte())
    card = Byte()
    card.device_number = wanted
    if place is None:
        with pytest.raises(KoboxError, match=f"place {wanted} of the PCI bus is taken, or there is none"):
            box.plug(card)
        assert not card.plugged
    else:
        assert box.plug(card).address == f"0000:00:{place:02x}.0"


def test_functions_have_the_numbers_that_they_ask_for(box: Box) -> None:
    class Several(Byte):
        numbers = (3, 0, 5)

        def other_functions(self) -> list[PciDevice]:
            others: list[PciDevice] = [Byte() for _ in self.numbers]
            for one, number in zip(others, self.numbers, strict=True):
                one.function_number = number
            return others

    card = box.plug(Several())
    assert [part.address for part in card.parts] == [f"0000:00:01.{number}" for number in (0, 3, 2, 5)]
    twice = Several()
    twice.numbers = (3, 3, 9)
    with pytest.raises(KoboxError, match="functions 0, 3, 3, 9 of a PCI device: each has its own, 0 to 7"):
        box.plug(twice)


def test_own_capabilities_and_what_firmware_left(box: Box) -> None:
    class Old(Byte):
        initial_command = 5
        own_capabilities = (own(0x09, b"\x10\0somewhere", 0x70),)

        def read_configuration(self, register: int, size: int, value: int) -> int:
            return 0x42 if register == 0x74 else value

    card = box.plug(Old())
    config = (box.path("/sys/bus/pci/devices") / card.address / "config").read_bytes()
    assert config[4] == 5
    at = config[0x34]
    kinds = {}
    while at:
        kinds[config[at]] = at
        at = config[at + 1]
    assert kinds[0x09] == 0x70
    assert {0x01, 0x05, 0x11} <= kinds.keys()
    assert bytes(config[0x72:0x74]) == b"\x10\0"
    card.unplug()
    assert not box.findings
