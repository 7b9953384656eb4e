"""How fast a device is that Python plays: a register read, DMA, an interrupt to its handler. In CPU time.

$ python bench/hardware.py [--kernel NAME]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import kobox
from kobox.devices import PciDevice, Register, RegisterValue
from kobox.images.store import Store
from kobox.kbuild.build import build

READS, INTERRUPTS, SIZE = 100_000, 500, 65536


class Card(PciDevice):
    """Answers reads, and interrupts when it is told to go."""

    vendor_id, device_id = 0x1234, 0x11EC
    bar0 = PciDevice.memory(0x1000)
    value = Register(bar0, 0, reset=7)
    go = Register(bar0, 4)
    acknowledge = Register(bar0, 8)
    where = Register(bar0, 12)

    def __init__(self) -> None:
        self.began = 0.0
        self.latencies: list[float] = []

    def written(self, register: RegisterValue) -> None:
        if register is self.go:
            self.began = time.process_time()
            self.interrupt()
        elif register is self.acknowledge:
            self.latencies.append(time.process_time() - self.began)


def figures(kernel: str) -> dict[str, float]:
    """Name -> seconds."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(__file__).parent / "pcibench.c"
        (module,) = list(build(source, Store().get(kernel), output=Path(directory)))
        with kobox.boot(kernel) as box:
            card = box.plug(Card())
            box.insmod(module)
            place = f"/sys/bus/pci/devices/{card.address}"
            times = []
            for count in (0, READS):
                began = time.process_time()
                box.write_bytes(f"{place}/reads", str(count).encode())
                times.append(time.process_time() - began)
            box.write_bytes(f"{place}/go", str(INTERRUPTS).encode())
            moved = []
            for _ in range(200):
                began = time.process_time()
                card.dma.write(card.where.value, card.dma.read(card.where.value, SIZE))
                moved.append(time.process_time() - began)
            return {
                "a register read, answered by Python": (times[1] - times[0]) / READS,
                "interrupt to its handler's write": statistics.median(card.latencies),
                "64 KiB of DMA, there and back": statistics.median(moved),
            }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", help="a kernel of the cache (default: the default one)")
    arguments = parser.parse_args()
    kernel = Store().get(arguments.kernel) if arguments.kernel else Store().default()
    for name, seconds in figures(kernel.name).items():
        print(f"{name:<40} {seconds * 1e6:8.2f} µs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
