"""What modules say in a box of another processor, beside QEMU: the same kernel and modules, their log line by line.

    python bench/qemu_logs.py [--kernel NAME] [--keep DIRECTORY]

Lines are compared without times, addresses and what a machine measures. What differs is printed; exit status 1 when a
module's lines do. The kernel is the cache's newest for arm64; QEMU comes from PATH (Debian: qemu-system-arm;
qemu-system-misc and opensbi for riscv64).
"""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import kobox
from kobox.box.boot.init_program import command_line
from kobox.errors import KoboxError
from kobox.images.debian.packages import packages
from kobox.images.kernel_image import KernelImage
from kobox.images.store import Store
from kobox.kbuild.build import build
from kobox.ko.modulefile import ModuleFile
from kobox.machine import initramfs

SOURCES = Path(__file__).parent.parent / "tests" / "modules"
OWN = (
    *("boardcounter", "chatty", "clocks", "divided", "entries", "good", "hello", "kbase", "kprobed", "memories"),
    *("miscdev", "noexit", "notified", "params", "udpfilter", "workers"),
)
TREE = (
    *("dummy", "ifb", "raid6_pq", "zstd_compress", "nbd", "null_blk", "brd", "tun", "macvlan", "vxlan", "geneve"),
    *("act_bpf", "9pnet", "crc_itu_t", "nf_conntrack", "xt_mark", "cuse", "dm_mod", "md_mod", "sch_fq", "tcp_bbr"),
    *("loop", "cmac", "xcbc", "ccm", "authenc", "lz4", "tls", "sch_sfq", "sch_red", "em_u32", "xt_comment"),
    *("team", "hmac"),
)
MACHINES = {
    "aarch64": ("qemu-system-aarch64", "-M", "virt,gic-version=2", "-cpu", "cortex-a72"),
    "riscv64": ("qemu-system-riscv64", "-M", "virt"),
}
_MARK = "kobox: "
_DEALT_OUT = (
    (r"\b[0-9a-f]{16}\b|0x[0-9a-f]{5,}", "ADDRESS"),
    (r" +\d+ MB/s", " N MB/s"),
    (r"using algorithm \S+ gen\(\)|using algorithm \S+", "using algorithm X"),
    (r"(Comm: |pid[: ]+|PID: )\S+", r"\1X"),
    (r"\b\d+:\d+\b", "NUMBERS"),
    (r"\b\d{3,}\b|\b\d+(?= jiffies)", "N"),
)


def normal(line: str) -> str:
    """A line without what a machine deals out."""
    for pattern, word in _DEALT_OUT:
        line = re.sub(pattern, word, line)
    return line.rstrip()


def chosen(image: KernelImage, aside: Path) -> list[Path]:
    """The modules: our own, built for the kernel, and those of its tree that need no other. Unpacked."""
    assert image.modules is not None
    for name in OWN:
        shutil.copy(SOURCES / f"{name}.c", aside)
    build(aside, image, output=aside / "built")
    found = [aside / "built" / f"{name}.ko" for name in OWN]
    for name in TREE:
        for path in image.modules.rglob(f"{name}.ko*"):
            module = ModuleFile(path)
            if not any(module.depends):
                (aside / f"{name}.ko").write_bytes(module.content)
                found.append(aside / f"{name}.ko")
    return found


def in_box(image: KernelImage, modules: list[Path]) -> list[str]:
    """What the kernel in a box says."""
    with kobox.boot(image) as box:
        start = box.log.next_seq
        for module in modules:
            box.write_bytes("/dev/kmsg", f"{_MARK}{module.stem}\n".encode())
            with suppress(KoboxError):  # one of them has no exit function
                box.insmod(module).unload()
            box.sleep(1)
        return [line for record in box.log.since(start) for line in record.text.splitlines()]


def in_qemu(image: KernelImage, modules: list[Path], aside: Path) -> list[str]:
    """What it says under QEMU."""
    trees = packages(Store(), ["busybox-static"], port=image.arch.debian)
    busybox = next(path for tree in trees for path in tree.glob("**/bin/busybox") if path.is_file())
    script = ["#!/bin/busybox sh", "/bin/busybox mount -t proc proc /proc", "/bin/busybox mount -t sysfs sysfs /sys"]
    script += ["/bin/busybox ifconfig lo up"]  # as in a box
    for module in modules:
        script += [f"echo {_MARK}{module.stem} > /dev/kmsg", f"/bin/busybox insmod /m/{module.name}"]
        script += [f"/bin/busybox rmmod {module.stem}", "/bin/busybox sleep 1"]
    script += [f"echo {_MARK}end > /dev/kmsg", "/bin/busybox poweroff -f"]
    entries = [initramfs.directory(name) for name in ("bin", "proc", "sys", "dev", "m", "sbin")]
    entries += [initramfs.character_device("dev/console", 5, 1), initramfs.character_device("dev/kmsg", 1, 11)]
    entries += [initramfs.file("bin/busybox", busybox.read_bytes(), 0o755)]
    entries += [initramfs.file("init", "\n".join(script).encode() + b"\n", 0o755)]
    entries += [initramfs.file(f"m/{module.name}", module.read_bytes()) for module in modules]
    archive = aside / "initramfs.gz"
    archive.write_bytes(gzip.compress(initramfs.pack(entries), 1))
    program, *machine = MACHINES[image.architecture]
    command = [program, *machine, "-m", "512", "-display", "none", "-no-reboot", "-serial", "stdio"]
    command += ["-kernel", str(image.vmlinuz), "-initrd", str(archive)]
    command += ["-append", f"{command_line(image.arch)} loglevel=8 ignore_loglevel"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=900, check=False)
    lines = [
        re.sub(r"^\[ *[\d.]+\] ", "", line)
        for line in done.stdout.replace("\r", "").splitlines()
        if re.match(r"\[ *[\d.]+\] ", line)
    ]
    if f"{_MARK}end" not in lines:
        raise SystemExit(f"{program}: {done.stderr or done.stdout[-2000:]}")
    start = next(n for n, line in enumerate(lines) if line.startswith(_MARK))
    return lines[start : lines.index(f"{_MARK}end")]


def by_module(lines: list[str]) -> dict[str, list[str]]:
    """The lines behind each mark."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if line.startswith(_MARK):
            current = found[line.removeprefix(_MARK)] = []
        else:
            current.append(normal(line))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", help="a kernel of the cache")
    parser.add_argument("--keep", type=Path, help="write both logs into this directory")
    arguments = parser.parse_args()
    store = Store()
    newest = [kernel.name for kernel in store.list() if kernel.architecture == "aarch64"]
    image = store.get(arguments.kernel or newest[-1])
    with tempfile.TemporaryDirectory() as name:
        modules = chosen(image, Path(name))
        logs = {"qemu": in_qemu(image, modules, Path(name)), "kobox": in_box(image, modules)}
    if arguments.keep:
        for where, lines in logs.items():
            (arguments.keep / where).write_text("\n".join(lines) + "\n")
    theirs, ours = by_module(logs["qemu"]), by_module(logs["kobox"])
    same = [name for name in theirs if theirs[name] == ours.get(name)]
    for name in theirs.keys() - set(same):
        print(f"{name}: differs")
        for mark, here, there in (
            ("qemu ", theirs[name], ours.get(name, [])),
            ("kobox", ours.get(name, []), theirs[name]),
        ):
            print("".join(f"    {mark}  {line}\n" for line in here if line not in there), end="")
    lines = sum(len(theirs[name]) for name in same)
    print(f"{image.name}: {len(same)} of {len(theirs)} modules say the same, {lines} lines")
    return 0 if len(same) == len(theirs) else 1


if __name__ == "__main__":
    sys.exit(main())
