"""Phantoms on the board: ACPI announces them on a PC, a device tree on arm64; what they must say is read from the code
of either processor."""

from __future__ import annotations

import errno

import pytest

import kobox
from kobox.apps.hardware import find_phantom
from kobox.arch.arm64.arm64 import ARM64
from kobox.box.boot.bare_boot import boot
from kobox.checks.phantom.announced import announced
from kobox.checks.phantom.search import PhantomSearch
from kobox.devices.phantom_board import PhantomBoard
from kobox.devices.phantom_kinds import phantom_of
from kobox.errors import ModuleLoadError
from kobox.images.kernel_image import KernelImage
from kobox.ko.modulefile import ModuleFile
from kobox.machine import aml
from tests.building import BuiltTestModules

# offset in the registers: (bits that decide, what they must be); picky.c wants each by another kind of instruction
WANTED = {
    0x00: (0xFFFFFFFF, 0x5CA1AB1E),
    0x08: (0x40000000, 0x40000000),
    0x0C: (0x000FF000, 0x00042000),
    0x10: (0xFF, ord("k")),
    0x12: (0xFFFF, 0xB0C5),
    0x18: (0xFFFFFFFF, 0x3C651603),
    0x1C: (0xFF, 6),
}
WHO = {"debian_kernel": "ACME0042", "arm64_kernel": "acme,picky"}


@pytest.mark.parametrize("kernel", WHO)
def test_what_a_driver_wants_is_read_from_its_code(request: pytest.FixtureRequest, kernel: str) -> None:
    image: KernelImage = request.getfixturevalue(kernel)
    file = ModuleFile(BuiltTestModules(image, "picky")("picky"))
    with boot(image) as box:
        box.insmod(file.content)
        found = PhantomSearch(box, file).run(200)
        assert found.best.result == "bound"
        assert str(found.best.identity) == WHO[kernel]
        assert found.probed > 0.6
        device = phantom_of(found.best.identity, found.best.policy)
        assert isinstance(device, PhantomBoard)
        box.plug(device)
        assert device.driver == "picky"
        assert "all is well" in box.log.text()
        for offset, (mask, value) in WANTED.items():
            size = 1 if mask == 0xFF else 2 if mask == 0xFFFF else 4
            assert device.read_memory(0, offset, size) & mask == value, hex(offset)
        version = device.read_memory(0, 4, 4)
        assert version >> 8 & 0xFF == 7
        assert version & 0xFF >= 3


def test_a_board_with_a_device_tree_knows_no_acpi(debian_kernel: KernelImage, arm64_kernel: KernelImage) -> None:
    pc, arm = (ModuleFile(BuiltTestModules(kernel, "picky")("picky")) for kernel in (debian_kernel, arm64_kernel))
    assert any(alias.startswith("acpi") for alias in announced(pc))
    assert not any(alias.startswith("acpi") for alias in announced(arm))
    assert any(alias.startswith("of:") for alias in announced(arm))


@pytest.mark.parametrize("size", [1, 16, 255, 256, 4096])
def test_a_device_has_as_many_ports_as_it_says(box: kobox.Box, size: int) -> None:
    resource = aml.ports(0x2000, size)
    assert resource[0] == (0x47 if size < 256 else 0x88)
    made = type("Wide", (kobox.devices.PlatformDevice,), {"hid": "ACME0043", "window": PhantomBoard.ports(size)})()
    box.plug(made)
    line = next(line for line in box.read_text("/proc/ioports").splitlines() if line.endswith("ACME0043:00"))
    first, last = (int(end, 16) for end in line.split()[0].split("-"))
    assert last - first + 1 == size


@pytest.mark.parametrize(
    ("start", "where"),
    [
        (0, 0xFFFF000000000000),
        (0x40000000, 0xFFFEFFFFC0000000),
        (-0x000F000000000000 & (1 << 64) - 1, 0xFFFF000000000000),  # 52 bits of addresses, on a CPU with 48: since 6.9
    ],
)
def test_where_arm64_maps_all_memory(start: int, where: int) -> None:
    assert ARM64.direct_map is not None
    assert ARM64.direct_map({"memstart_addr": start}.__getitem__) == where


def test_a_driver_that_the_kernel_refuses_is_given_no_device(
    debian_kernel: KernelImage, arm64_kernel: KernelImage
) -> None:
    other = ModuleFile(BuiltTestModules(debian_kernel, "picky")("picky"))
    with boot(arm64_kernel) as box:
        with pytest.raises(ModuleLoadError) as refused:
            find_phantom(box, [other], [""])
        assert refused.value.errno == errno.ENOEXEC
