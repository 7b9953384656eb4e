"""How fast the box is, and how small: the table of docs/speed.md. With QEMU on the PATH, ratios against it in
the same run.

    python bench/box.py [--repeat N] [--json FILE]

Every figure is the median of N runs; wall time unless it says otherwise. Machines are shared and noisy:
compare within a run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kobox
from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import build
from kobox.machine import initramfs

HERE = Path(__file__).parent


def median(repeat: int, action: Callable[[], object]) -> float:
    """The median wall time of an action in seconds."""
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def resident() -> int:
    """This process's resident memory in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def first_boot(kernel: KernelImage, scratch: Path) -> float:
    """From power on to a snapshot on disk."""
    elsewhere = kernel._replace(directory=scratch / "first-boot")
    began = time.perf_counter()
    kobox.boot(elsewhere).close()
    spent = time.perf_counter() - began
    shutil.rmtree(elsewhere.directory)
    return spent


def warm_figures(kernel: KernelImage, module: Path, repeat: int) -> dict[str, float]:
    """What a box that has been used before needs."""
    image = module.read_bytes()
    with kobox.boot(kernel) as box:
        for _ in range(3):
            box.insmod(image).unload()
            box.reset()

        def clean() -> float:
            box.insmod(image).unload()
            return median(1, box.reset)

        return {
            "insmod + rmmod in a warm box": median(repeat * 5, lambda: box.insmod(image).unload()),
            "back to a clean state (reset)": statistics.median(clean() for _ in range(repeat * 2)),
            "one getpid() through the box, warm": median(repeat, lambda: [box.syscall("getpid") for _ in range(1000)])
            / 1000,
        }


def memory_figure(kernel: KernelImage, module: Path) -> float:
    """Resident bytes of a fresh process that has resumed a box and run one module."""
    code = (
        "import kobox, sys\n"
        "box = kobox.boot(sys.argv[1]); box.insmod(sys.argv[2]).unload()\n"
        "print(next(l for l in open('/proc/self/status') if l.startswith('VmRSS')).split()[1])"
    )
    run = subprocess.run([sys.executable, "-c", code, kernel.name, str(module)], capture_output=True, check=True)
    return int(run.stdout) * 1024


def qemu_figure(kernel: KernelImage, module: Path, scratch: Path) -> float | None:
    """QEMU without KVM: boot the same kernel, load and unload the same module, power off."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        return None
    subprocess.run(["apt-get", "download", "busybox-static"], cwd=scratch, check=True, capture_output=True)
    package = next(scratch.glob("busybox-static_*.deb"))
    subprocess.run(["dpkg-deb", "-x", package.name, "busybox"], cwd=scratch, check=True)
    busybox = next(
        path for path in (scratch / "busybox").rglob("busybox") if path.is_file() and path.stat().st_size > 10**6
    )
    script = b"#!/bin/busybox sh\n/bin/busybox insmod /m.ko\n/bin/busybox rmmod /m.ko\n/bin/busybox reboot -f\n"
    archive = scratch / "initrd"
    archive.write_bytes(
        initramfs.pack(
            [
                *(initramfs.directory(name) for name in ("bin", "dev", "proc")),
                initramfs.character_device("dev/console", 5, 1),
                initramfs.file("bin/busybox", busybox.read_bytes(), 0o755),
                initramfs.file("m.ko", module.read_bytes()),
                initramfs.file("init", script, 0o755),
            ]
        )
    )
    line = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off cryptomgr.notests"
    command = [
        qemu,
        "-M",
        "microvm,acpi=off",
        "-nodefaults",
        "-no-user-config",
        "-nographic",
        "-no-reboot",
        "-m",
        "256M",
    ]
    command += [
        "-kernel",
        str(kernel.vmlinuz),
        "-initrd",
        str(archive),
        "-append",
        line + " reboot=t",
        "-serial",
        "stdio",
    ]
    began = time.perf_counter()
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        print("QEMU has not come to its end in 120 s: no comparison")
        return None
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as it is where kobox is installed
    kernel = Store().ensure()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        module = next(iter(build(HERE.parent / "demo", kernel, output=scratch)))
        command = [str(Path(sys.executable).with_name("kobox")), "run", str(module)]
        rows: dict[str, float] = {"first boot of a kernel to a snapshot": first_boot(kernel, scratch)}
        subprocess.run(command, check=True, capture_output=True)
        rows["kobox run, fresh process, snapshot there"] = median(
            arguments.repeat, lambda: subprocess.run(command, check=True, capture_output=True)
        )
        rows |= warm_figures(kernel, module, arguments.repeat)
        rows["resident memory after one module (MB)"] = memory_figure(kernel, module) / 1e6
        qemu = qemu_figure(kernel, module, scratch)
    for what, value in rows.items():
        unit = f"{value:8.1f} MB" if "MB" in what else f"{value * 1000:8.2f} ms"
        print(f"{what:42} {unit}")
    if qemu is None:
        print("QEMU is not installed: no comparison (Debian: apt-get install qemu-system-x86)")
    else:
        run = rows["kobox run, fresh process, snapshot there"]
        print(f"{'the same by QEMU microvm, no KVM, cold':42} {qemu * 1000:8.2f} ms   {qemu / run:.1f} times as long")
        rows["qemu"] = qemu
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
