"""Models of disks and drives with the drivers of Debian: file systems made outside, mounted, written, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.devices.ahci import Ahci
from kobox.devices.medium import Medium
from kobox.devices.model import HardwareModel
from kobox.devices.nvme import Nvme
from kobox.devices.scsi import ScsiCdrom, ScsiDisk, ScsiTape
from kobox.devices.virtio_scsi import VirtioScsi
from kobox.errors import KoboxError
from tests.debian import Programs

MIB = 1 << 20
Make = Callable[[Medium], HardwareModel]

# name: drivers, model, the disk's name in the box
DISKS: dict[str, tuple[tuple[str, ...], Make, str]] = {
    "virtio-scsi": (("virtio_scsi", "sd_mod"), lambda medium: VirtioScsi(ScsiDisk(medium)), "sda"),
    "ahci": (("ahci", "sd_mod"), lambda medium: Ahci(ScsiDisk(medium)), "sda"),
    "nvme": (("nvme",), lambda medium: Nvme(medium), "nvme0n1"),
}


@pytest.mark.parametrize("name", DISKS)
def test_a_file_system_on_a_disk(full_box: Box, ext4: Path, ext4_programs: Programs, name: str, tmp_path: Path) -> None:
    drivers, make, disk = DISKS[name]
    for module in (*drivers, "ext4"):
        full_box.modprobe(module)
    medium = Medium(ext4)
    model = full_box.plug(make(medium))
    full_box.sleep(2)
    assert model.driver == name.replace("-", "_")
    assert int(full_box.read_text(f"/sys/block/{disk}/size")) * 512 == 24 * MIB
    before = hashlib.sha256(ext4.read_bytes()).digest()
    full_box.files.mkdir("/mnt/disk")
    full_box.files.mount(f"/dev/{disk}", "/mnt/disk", "ext4")
    content = hashlib.shake_128(name.encode()).digest(3 * MIB)
    full_box.write_bytes("/mnt/disk/file", content)
    with full_box.checkpoint():
        full_box.write_bytes("/mnt/disk/forgotten", content)
    full_box.files.umount("/mnt/disk")
    assert not full_box.findings
    out = tmp_path / "out.img"
    medium.write_to(out)
    ext4_programs.run("e2fsck", "-fn", out)
    ext4_programs.run("debugfs", "-R", f"dump /file {tmp_path}/dumped", out)
    assert (tmp_path / "dumped").read_bytes() == content
    assert "forgotten" not in ext4_programs.run("debugfs", "-R", "ls -l /", out)
    assert hashlib.sha256(ext4.read_bytes()).digest() == before
    model.unplug()
    full_box.sleep(1)
    assert disk not in full_box.listdir("/sys/block")
    assert not full_box.findings


def test_a_disk_that_cannot_be_written(full_box: Box) -> None:
    full_box.modprobe("virtio_scsi")
    full_box.modprobe("sd_mod")
    full_box.plug(VirtioScsi(ScsiDisk(bytes(range(256)) * 64, readonly=True)))
    full_box.sleep(1)
    assert full_box.read_text("/sys/block/sda/ro").strip() == "1"
    assert full_box.read_bytes("/dev/sda") == bytes(range(256)) * 64
    with pytest.raises(OSError, match=r"Operation not permitted|Permission denied|Read-only"):
        full_box.write_bytes("/dev/sda", b"x" * 512)


@pytest.mark.parametrize("controller", [VirtioScsi, Ahci])
def test_a_cdrom_is_read_ejected_and_changed(full_box: Box, controller: type[VirtioScsi] | type[Ahci]) -> None:
    for module in ("virtio_scsi", "ahci", "sr_mod"):
        full_box.modprobe(module)
    drive = ScsiCdrom(b"first".ljust(8192, b"."))
    full_box.plug(controller(drive))
    full_box.sleep(2)
    assert full_box.read_bytes("/dev/sr0").startswith(b"first")
    drive.eject()
    with pytest.raises(OSError, match="No medium"):
        full_box.read_bytes("/dev/sr0")
    drive.insert(b"second".ljust(4096, b"."))
    assert full_box.read_bytes("/dev/sr0") == b"second".ljust(4096, b".")
    assert not full_box.findings


def test_a_tape_is_written_and_read_back(full_box: Box) -> None:
    for module in ("virtio_scsi", "st"):
        full_box.modprobe(module)
    tape = ScsiTape()
    full_box.plug(VirtioScsi(tape))
    full_box.sleep(1)
    with full_box.open("/dev/nst0", "wb") as file:
        file.write(b"one block")
        file.write(b"another")
    assert tape.records == [b"one block", b"another", None]
    tape.position = 0
    with full_box.open("/dev/st0", "rb") as file:
        assert file.read(100) == b"one block"
        assert file.read(100) == b"another"
        assert file.read(100) == b""
    assert not full_box.findings


@pytest.mark.parametrize(("source", "words"), [(100, "100 bytes"), (0, "0 bytes"), ("nowhere.img", "nowhere.img")])
def test_what_is_no_medium(source: str | int, words: str) -> None:
    with pytest.raises(KoboxError, match=words):
        Medium(source)
