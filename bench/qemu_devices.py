"""Ready models beside QEMU's devices: the same kernel, the same drivers, and their log line by line.

    python bench/qemu_devices.py [--qemu PATH] [--kernel NAME]

Lines are compared without times, addresses, numbers that a machine deals out, and the names of products. What differs
is printed; the exit status is 1 when a driver's lines do. QEMU comes from PATH (Debian: qemu-system-x86).
"""

from __future__ import annotations

import argparse
import gzip
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import kobox
from kobox.devices.ahci import Ahci
from kobox.devices.e1000 import E1000
from kobox.devices.model import HardwareModel
from kobox.devices.nvme import Nvme
from kobox.devices.rtl8139 import Rtl8139
from kobox.devices.scsi import ScsiDisk
from kobox.devices.serial_card import SerialCard
from kobox.devices.usb_keyboard import UsbKeyboard
from kobox.devices.usb_storage import UsbStick
from kobox.devices.xhci import Xhci
from kobox.images.kernel_image import KernelImage
from kobox.images.store import Store
from kobox.machine import initramfs
from tests.debian import Suite

# A card of a PC is enabled by its firmware, one that is plugged into a box by its driver.
_BY_FIRMWARE = re.compile(r"enabling device")
MAC = "02:63:61:72:64:0a"
SIZE = 24 << 20
_DEALT_OUT = (
    (r"\b[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]\b", "PLACE"),
    (r"0x[0-9a-f]{5,}", "ADDRESS"),
    (r"0x\(_*ptrval_*\)|0xf[0-9a-f]{15}", "ADDRESS"),
    (r"\bI/O 0x[0-9a-f]+", "I/O ADDRESS"),
    (r"\b(irq|IRQ)( =)? \d+", "irq N"),
    (r"\bttyS\d+", "ttySN"),
    (r"\b\d-1:1\.0", "INTERFACE"),
    (r"QEMU HARDDISK, [\d.+]+|kobox Disk, [\d.]+", "DISK"),
    (r"\b0003:[0-9A-F]{4}:[0-9A-F]{4}\.", "0003:IDS."),
    (r"\[(QEMU QEMU USB|kobox) Keyboard\]", "KEYBOARD"),
    (r"\[mem [^]]*\]|\[io [^]]*\]", "WINDOW"),
)


class Pair(NamedTuple):
    """A device in both: the driver, QEMU's options, the model, and which lines of the log are the driver's."""

    driver: str
    qemu: tuple[str, ...]
    model: Callable[[], HardwareModel]
    lines: str


PAIRS = (
    Pair("e1000", ("-netdev", "user,id=n", "-device", f"e1000,netdev=n,mac={MAC}"), E1000, r"^e1000"),
    Pair("8139cp", ("-netdev", "user,id=n", "-device", f"rtl8139,netdev=n,mac={MAC}"), Rtl8139, r"^8139cp"),
    Pair(
        "nvme",
        ("-drive", "file=DISK,format=raw,if=none,id=d", "-device", "nvme,drive=d,serial=kobox-1"),
        lambda: Nvme(SIZE),
        r"^nvme|^ nvme",
    ),
    Pair(
        "ahci",
        (
            "-device",
            "ich9-ahci,id=a",
            "-drive",
            "file=DISK,format=raw,if=none,id=d",
            "-device",
            "ide-hd,drive=d,bus=a.0",
        ),
        lambda: Ahci(ScsiDisk(SIZE)),
        r"^ata1|^sd |^ahci",
    ),
    Pair("xhci-pci", ("-device", "qemu-xhci"), Xhci, r"^xhci_hcd|^hub|^usb usb"),
    Pair(
        "usb-storage",
        ("-device", "qemu-xhci", "-drive", "file=DISK,format=raw,if=none,id=d", "-device", "usb-storage,drive=d"),
        lambda: UsbStick(SIZE),
        r"^usb-storage|^scsi host|^sd ",
    ),
    Pair("usbhid", ("-device", "qemu-xhci", "-device", "usb-kbd"), UsbKeyboard, r"^hid-generic|^usbcore.*usbhid"),
    Pair(
        "8250_pci",
        ("-chardev", "null,id=c", "-device", "pci-serial,chardev=c"),
        SerialCard,
        r"^\w{4}:\w\w:\w\w\.\w: ttyS",
    ),
)
# Modules that a driver's device needs besides its own dependencies.
_MORE = {"ahci": ("sd_mod",), "usb-storage": ("xhci-pci", "sd_mod"), "usbhid": ("xhci-pci", "hid-generic")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--qemu", default="qemu-system-x86_64", help="the program (default: the one in PATH)")
    parser.add_argument("--kernel", help="a kernel of the cache (default: Debian bookworm's full one)")
    parser.add_argument("--keep", type=Path, help="write both logs into this directory")
    parser.add_argument("drivers", nargs="*", help="only these")
    arguments = parser.parse_args()
    store = Store()
    names = [kernel.name for kernel in store.list() if kernel.name.startswith("6.1.") and "cloud" not in kernel.name]
    image = store.get(arguments.kernel or names[-1])
    wrong = 0
    pairs = [pair for pair in PAIRS if not arguments.drivers or pair.driver in arguments.drivers]
    for pair in pairs:
        theirs, ours = in_qemu(arguments.qemu, image, pair), in_box(image, pair)
        if arguments.keep:
            for name, lines in (("qemu", theirs), ("kobox", ours)):
                (arguments.keep / f"{pair.driver}.{name}").write_text("\n".join(lines) + "\n")
        said = [own(pair, lines) for lines in (theirs, ours)]
        same = [line for line in said[0] if line in said[1]]
        print(
            f"{pair.driver:12} {len(said[0]):3} lines in QEMU, {len(said[1]):3} in a box, {len(same):3} the same",
            flush=True,
        )
        for mark, here, there in (("qemu ", said[0], said[1]), ("kobox", said[1], said[0])):
            for line in here:
                if line not in there:
                    print(f"    {mark}  {line}")
        wrong += sorted(said[0]) != sorted(said[1])
    print(f"{len(pairs) - wrong} of {len(pairs)} drivers say the same")
    return 1 if wrong else 0


def own(pair: Pair, lines: Sequence[str]) -> list[str]:
    """The lines of a driver, comparable."""
    return [normal(line) for line in lines if re.search(pair.lines, line) and not _BY_FIRMWARE.search(line)]


def normal(line: str) -> str:
    """A line without what a machine deals out."""
    for pattern, word in _DEALT_OUT:
        line = re.sub(pattern, word, line)
    return line.rstrip()


def in_box(image: KernelImage, pair: Pair) -> list[str]:
    """What the kernel in a box says."""
    with kobox.boot(image) as box:
        for name in _order(pair):
            box.modprobe(name)
        start = box.log.next_seq
        box.plug(pair.model())
        if pair.driver != "8250_pci":
            box.modprobe(pair.driver)
        box.sleep(5)
        return [line for record in box.log.since(start) for line in record.text.splitlines()]


def _order(pair: Pair) -> Sequence[str]:
    return _MORE.get(pair.driver, ())


def in_qemu(qemu: str, image: KernelImage, pair: Pair) -> list[str]:
    """What it says under QEMU."""
    with tempfile.TemporaryDirectory() as aside:
        disk = Path(aside, "disk.img")
        with disk.open("wb") as file:
            file.truncate(SIZE)
        archive = Path(aside, "initramfs.gz")
        archive.write_bytes(gzip.compress(_initramfs(image, pair), 1))
        options = [option.replace("DISK", str(disk)) for option in pair.qemu]
        command = [qemu, "-M", "pc", "-m", "512", "-nodefaults", "-vga", "none", "-display", "none", "-no-reboot"]
        command += ["-serial", "stdio", "-kernel", str(image.vmlinuz), "-initrd", str(archive)]
        command += ["-append", "console=ttyS0 loglevel=8 panic=-1 no_timer_check", *options]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600, check=False)
    lines = [re.sub(r"^\[ *[\d.]+\] ", "", line) for line in done.stdout.replace("\r", "").splitlines()]
    if "kobox: begin" not in lines:
        raise SystemExit(f"{qemu}: {done.stderr or done.stdout[-2000:]}")
    return lines[lines.index("kobox: begin") + 1 : lines.index("kobox: end")]


def _initramfs(image: KernelImage, pair: Pair) -> bytes:
    busybox = Suite("bookworm").package("busybox-static") / "bin/busybox"
    before, driver = _files(image, _order(pair)), _files(image, [pair.driver])
    script = ["#!/bin/busybox sh", *(f"/bin/busybox mount -t {kind} {kind} /{kind}" for kind in ("proc", "sysfs"))]
    script += [f"/bin/busybox insmod /{file.name}" for file in before]
    if pair.driver == "8250_pci":
        script += ["echo kobox: begin > /dev/kmsg", "/bin/busybox dmesg | /bin/busybox grep -a ttyS"]
    else:
        script += [f"/bin/busybox insmod /{file.name}" for file in driver[:-1] if file not in before]
        script += ["echo kobox: begin > /dev/kmsg", f"/bin/busybox insmod /{driver[-1].name}"]
    script += ["/bin/busybox sleep 5", "echo kobox: end > /dev/kmsg", "/bin/busybox poweroff -f"]
    entries = [initramfs.directory(name) for name in ("bin", "proc", "sysfs", "dev")]
    entries += [initramfs.character_device("dev/console", 5, 1), initramfs.character_device("dev/kmsg", 1, 11)]
    entries += [initramfs.file("bin/busybox", busybox.read_bytes(), 0o755)]
    entries += [initramfs.file("init", "\n".join(script).encode() + b"\n", 0o755)]
    entries += [initramfs.file(file.name, file.read_bytes()) for file in dict.fromkeys((*before, *driver))]
    return initramfs.pack(entries)


def _files(image: KernelImage, names: Sequence[str]) -> list[Path]:
    """The files of modules with what they need, as modules.dep orders them."""
    assert image.modules is not None
    rows = {}
    for line in (image.modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        rows[Path(path).name.partition(".")[0].replace("-", "_")] = [*reversed(needed.split()), path]
    found: list[Path] = []
    for name in names:
        found += [image.modules / path for path in rows.get(name.replace("-", "_"), ())]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    sys.exit(main())
