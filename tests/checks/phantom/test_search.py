"""Phantoms: what registers must say is found by trying; the drivers are tests/modules/pcifinicky.c and Debian's own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.checks.phantom.attempt import Result, waits_for_device
from kobox.checks.phantom.model_file import model_text
from kobox.checks.phantom.search import PhantomSearch
from kobox.checks.phantom.surround import surround
from kobox.devices.phantom import PhantomDevice, identities_for
from kobox.devices.phantom_kinds import phantom_of
from kobox.devices.phantom_policy import CONFIGURATION, BarLayout, RegisterAt, Step
from kobox.errors import KoboxError
from kobox.images.kernel_image import KernelImage
from kobox.ko.modulefile import ModuleFile
from kobox.machine.pci_function import PciIdentity
from tests.building import BuiltTestModules

MOST = 400
ROOT = Path(__file__).parent.parent.parent.parent


def search(box: Box, path: object, most: int = MOST, **parameters: object) -> PhantomSearch:
    file = ModuleFile(path)  # type: ignore[arg-type]
    box.insmod(path, **parameters)  # type: ignore[arg-type]
    return PhantomSearch(box, file)


def test_a_chip_number_a_bit_and_a_length_are_found(box: Box, modules: BuiltTestModules) -> None:
    found = search(box, modules("pcifinicky")).run(MOST)
    assert found.best.result is Result.BOUND
    assert found.best.policy.known[RegisterAt(0, 0x00)] == (Step(0, 0xFFFFFFFF, 0xC0FFEE01),)
    assert (found.best.identity.vendor, found.best.identity.device) == (0x1234, 0x11E9)


def test_the_same_search_finds_the_same(box: Box, modules: BuiltTestModules) -> None:
    def run() -> tuple[object, int, int]:
        box.reset()
        found = search(box, modules("pcifinicky")).run(MOST)
        return found.best.policy, found.best.executed, found.attempts

    assert run() == run()


def test_a_driver_that_wants_ports_gets_them(box: Box, modules: BuiltTestModules) -> None:
    found = search(box, modules("pcifinicky"), ports=1).run(MOST)
    assert found.best.result is Result.BOUND
    assert found.best.policy.layout is not BarLayout.MEMORY


@pytest.mark.parametrize(("how", "result"), [("oops", Result.OOPS), ("hang", Result.HUNG), ("never", Result.REFUSED)])
def test_how_a_probe_can_end(box: Box, modules: BuiltTestModules, how: str, result: Result) -> None:
    found = search(box, modules("pcifinicky"), end=how).run(2)
    assert found.best.result is result
    assert found.best.errno == (19 if result is Result.REFUSED else 0)
    assert found.attempts == 2
    box.reset()
    assert box.alive


def test_the_box_is_as_it_was(box: Box, modules: BuiltTestModules) -> None:
    found = search(box, modules("pcifinicky"))
    before = box.time
    found.run(3)
    assert box.time == before
    assert not box.machine.pci.functions
    box.rmmod("pcifinicky")


def test_a_module_that_is_no_pci_driver(box: Box, modules: BuiltTestModules) -> None:
    with pytest.raises(KoboxError, match="no alias of a device"):
        search(box, modules("hello"))
    with pytest.raises(KoboxError, match="not loaded"):
        PhantomSearch(box, ModuleFile(modules("pcifinicky")))


ALIASES = [
    (["pci:v00008086d0000100Esv*sd*bc*sc*i*"], [(0x8086, 0x100E, 0xFF0000)]),
    (["pci:v*d*sv*sd*bc01sc08i02*"], [(0x1AF4, 0x10F0, 0x010802)]),
    (["pci:v*d*sv*sd*bc01sc08i02"], [(0x1AF4, 0x10F0, 0x010802)]),
    (["pci:v000017CCd00002280sv*sd*bc0Csc03iFE*"], [(0x17CC, 0x2280, 0x0C03FE)]),
    (
        ["pci:v*d*sv*sd*bc0Csc03i*", "pci:v0000104Cd00000001sv*sd*bc*sc*i*"],
        [(0x104C, 1, 0xFF0000), (0x1AF4, 0x10F0, 0x0C0300)],
    ),
    (
        [f"pci:v00000001d{n:08X}sv*sd*bc*sc*i*" for n in range(1, 12)],
        [(1, 1, 0xFF0000), (1, 6, 0xFF0000), (1, 11, 0xFF0000)],
    ),
    (["usb:v1234p5678", "of:N*T*Cacme"], []),
]


@pytest.mark.parametrize(("aliases", "who"), ALIASES)
def test_who_a_driver_waits_for(aliases: list[str], who: list[tuple[int, int, int]]) -> None:
    assert [(found.vendor, found.device, found.class_code) for found in identities_for(aliases)] == who


# tests/modules/pcipuzzle.c: a way from what a device says to a decision each.
RIDDLES = (
    *("number", "field", "byte", "word", "swapped", "inverted", "sum", "mixed", "halves", "signs", "range", "result"),
    *("product", "pointer", "memory", "switched", "waits", "twice", "checksum", "block", "configuration", "ring"),
    *("nested", "ticks", "mailbox", "streaming"),
    *("interrupt", "revision", "subsystem", "kind", "size", "port", "file", "companion", "header"),
)


@pytest.mark.parametrize("riddle", RIDDLES)
def test_what_a_driver_wants_is_found_in_its_own_code(box: Box, modules: BuiltTestModules, riddle: str) -> None:
    found = search(box, modules("pcipuzzle"), riddle=riddle).run(MOST)
    assert found.best.result is Result.BOUND
    assert found.attempts < 60
    if riddle in ("nested", "ticks", "waits"):  # what was learned while the driver waited is part of the answer
        assert box.plug(phantom_of(found.best.identity, found.best.policy)).driver == "pcipuzzle"


def test_a_driver_that_looks_for_its_device_while_it_is_loaded(box: Box, modules: BuiltTestModules) -> None:
    file = ModuleFile(modules("pcipuzzle"))
    found = PhantomSearch(box, file, lambda: box.insmod(file.content, "early=1") and None).run(MOST)
    assert found.best.result is Result.BOUND
    assert found.best.policy.known[RegisterAt(CONFIGURATION, 0x44)] == (Step(0, 0xFFFFFFFF, 0xFEED),)


# tests/modules/hardware/pciriddle.c: what the device must have for the kernel to give the driver what it asks for.
WANTED = {
    "express": ["PCI Express"],
    "serial": ["PCI Express"],
    "image": ["an expansion ROM", "expansion ROM + 0x100 = 0x424f4f54"],
    "region": ["BAR 0: 0x4000000 bytes of memory"],
    "beside": ["beside it 1234:7777", "beside it, device 1: configuration space + 0x5e & 0x1e = 0x12"],
    "partly": ["configuration space + 0x84 = 0x80005000"],
    "number": [],
    "capability": ["capability 0x2", "configuration space + 0x74 & 0xff000000 = 0x1f000000"],
    "vendors": ["PCI Express", "configuration space + 0x1ac = 0x600df00d"],
    "sibling": ["beside it, device 1: configuration space + 0x44 & 0x1 = 0x1"],
    "alike": ["beside it 1234:5678 at 01.2"],
    "unseen": ["beside it, device 1: configuration space + 0x50 = 0x51"],
    "slot": ["device 1e of bus 0"],
    "started": ["command register 0x4 at first"],
    "legacy": ["port 0x3cf = 0x5a"],
    "directory": ["firmware pciriddle/ of 4096 bytes"],
}
# What is asked of the bus or the kernel's own structures is followed in the probe function of a PCI driver.
TOGETHER = {"number", "unseen", "slot"}


@pytest.fixture(scope="session")
def pci_modules(debian_kernel: KernelImage) -> BuiltTestModules:
    return BuiltTestModules(debian_kernel, "hardware")


@pytest.mark.parametrize(
    ("riddle", "apart"), [(name, apart) for name in WANTED for apart in (0, 1) if not apart or name not in TOGETHER]
)
def test_what_the_device_must_have(box: Box, pci_modules: BuiltTestModules, riddle: str, apart: int) -> None:
    file = ModuleFile(pci_modules("pciriddle"))

    def load() -> None:
        box.insmod(file.content, riddle=riddle, apart=apart)

    with box.checkpoint():
        load()
        assert waits_for_device(box, file) is not bool(apart)
    found = PhantomSearch(box, file, load).run(MOST)
    assert found.best.result is Result.BOUND
    assert found.attempts < 60
    said = found.best.policy.lines()
    assert [line for line in WANTED[riddle] if line not in said] == [], said
    assert isinstance(found.best.identity, PciIdentity)
    assert found.best.identity.device == 0x1042 or riddle != "number"
    text = model_text(found.best, "pciriddle", found.places)
    scope: dict[str, object] = {}
    exec(text, scope)
    model = scope["Model"]
    assert isinstance(model, type)
    assert issubclass(model, PhantomDevice)
    device = model()
    companions = surround(box, device)
    box.plug(device)
    assert all(companion.plugged for companion in companions)
    load()
    with box.checkpoint() as checkpoint:  # a check goes back and forth with all that is plugged in
        device.unplug()
        checkpoint.restore()
    assert all(one.plugged for one in (device, *companions))
    assert device.driver == "pciriddle" or apart
    assert not apart or box.listdir("/sys/bus/platform/drivers/pciriddle").count("pciriddle")


SEARCHING = """
import kobox
from kobox.checks.phantom.search import PhantomSearch
from kobox.checks.phantom.surround import surround
from kobox.ko.modulefile import ModuleFile

with kobox.boot({kernel!r}) as box:
    driver = box.insmod({path!r}, end={end!r})
    search = PhantomSearch(box, ModuleFile({path!r}))
    try:
        search.run(100_000, lambda attempt: print("attempt", flush=True))
        print("finished", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    box.reset()
    driver = box.insmod({path!r})
    PhantomSearch(box, ModuleFile({path!r})).run(3)
    driver.unload()
    print("fine again", flush=True)
"""


@pytest.mark.parametrize("end", ["hang", ""])
def test_ctrl_c_ends_a_search_and_the_box_is_fine_after_a_reset(modules: BuiltTestModules, end: str) -> None:
    program = SEARCHING.format(kernel=modules.kernel.name, path=str(modules("pcifinicky")), end=end)
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    assert child.stdout.readline() == "attempt\n"
    child.send_signal(signal.SIGINT)
    said = child.stdout.read().splitlines()
    assert child.wait() == 0
    assert [line for line in said if line != "attempt"] == ["interrupted", "fine again"]
