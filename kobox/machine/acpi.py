"""The ACPI tables of the machine: just enough for a kernel to find the local APIC, and with it a timer that
sleeps long.

    RSDP -> XSDT -> FADT -> DSDT (places for virtio devices, PCI host bridge), FACS
                 -> MCFG: where configuration space of PCI Express lies in memory
                 -> MADT: a local APIC for each CPU; 8259s present; no IO-APIC

A place for a virtio device is LNRO0005 (drivers/virtio/virtio_mmio.c): a page of registers and the interrupt that all
of them share. Whether something is plugged in there, the registers say.

Source: ACPI specification 6.4, chapters 5.2, 6.4 and 20.2. The ports PM1_EVENT and PM1_CONTROL: native/pc_ports.c.
"""

from __future__ import annotations

import struct

from kobox.machine.aml import device, name, scope, sized, summed, table

RSDP = 0xE0000
# A table that is loaded at run time: where it is put, what room it has, and the ACPI device whose `sun` loads it.
LOAD_AT, LOAD_SIZE, LOADER = 0xE8000, 0x8000, "LNRO0005:0f"
DEVICES, DEVICE_SLOTS, DEVICE_IRQ = 0xFEA00000, 16, 5  # as in native/machine.h
PM1_EVENT, PM1_CONTROL, SCI = 0x600, 0x604, 9
_TABLES = RSDP + 0x40
PCI_PLACES, PCI_IRQS = 32, (10, 11)  # pin A of place n is the one or the other
# Ports, memory, and memory above 4 GiB for PCI devices: kind, flags, address and size; as in native/machine.h.
PCI_WINDOWS = ((1, 3, 0xC000, 0x4000), (0, 1, 0xE0000000, 0x1C000000), (0, 1, 0x800000000, 0x400000000))
PCI_BUSES = 16
ECAM, ECAM_SIZE = 0xFC000000, PCI_BUSES << 20  # 4096 bytes of configuration space for each function


def tables(cpus: int = 1) -> bytes:
    """All tables as one block of bytes, to be put at physical address `RSDP`, of a machine with so many CPUs."""
    place = _TABLES

    def put(table: bytes) -> int:
        nonlocal place
        at = place
        block.extend(bytes(at - RSDP - len(block)) + table)
        place = at + len(table) + 63 & -64
        return at

    block = bytearray()
    facs = put(struct.pack("<4sI24xBB30x", b"FACS", 64, 2, 0))
    dsdt = put(table(b"DSDT", 2, _namespace()))
    fadt = put(table(b"FACP", 6, _fadt_body(facs, dsdt)))
    lapic = b"".join(struct.pack("<BBBBI", 0, 8, n, n, 1) for n in range(cpus))
    madt = put(table(b"APIC", 5, struct.pack("<II", 0xFEE00000, 1) + lapic))
    mcfg = put(table(b"MCFG", 1, struct.pack("<8xQHBB4x", ECAM, 0, 0, PCI_BUSES - 1)))
    xsdt = put(table(b"XSDT", 1, struct.pack("<QQQ", fadt, madt, mcfg)))
    rsdp = struct.pack("<8sB6sBI", b"RSD PTR ", 0, b"KOBOX ", 2, 0)
    rsdp = summed(rsdp, 8) + struct.pack("<IQB3x", 36, xsdt, 0)
    block[: len(rsdp)] = summed(rsdp, 32)
    return bytes(block)


def _fadt_body(facs: int, dsdt: int) -> bytes:
    body = bytearray(276 - 36)

    def put(offset: int, layout: str, *values: int) -> None:
        struct.pack_into("<" + layout, body, offset - 36, *values)

    put(36, "II", facs, dsdt)
    put(46, "H", SCI)
    put(56, "I", PM1_EVENT)
    put(64, "I", PM1_CONTROL)
    put(88, "BB", 4, 2)  # lengths of the two blocks
    put(109, "H", 0x0001)  # boot architecture: legacy devices, no 8042
    put(112, "I", 1 << 0 | 1 << 2 | 1 << 4 | 1 << 5)  # WBINVD, C1; no power button, no sleep button
    put(131, "B", 4)  # minor version
    put(140, "Q", dsdt)
    for offset, address, bits in ((148, PM1_EVENT, 32), (172, PM1_CONTROL, 16)):
        put(offset, "BBBBQ", 1, bits, 0, 2, address)
    return bytes(body)


def _namespace() -> bytes:
    """\\_SB with the places for devices, in AML."""
    places = (_device(slot, _load_method() if slot == DEVICE_SLOTS - 1 else b"") for slot in range(DEVICE_SLOTS))
    return scope(b"\\_SB_", *places, _host_bridge())


def _load_method() -> bytes:
    """_SUN, which is evaluated only when somebody reads it: it loads the table at `LOAD_AT` (`platform.py`)."""
    region = b"\x5b\x80TABL\x00" + struct.pack("<BIBI", 0x0C, LOAD_AT, 0x0C, LOAD_SIZE)
    body = region + b"\x5b\x20TABLHNDL" + b"\xa4\x00"  # Load (TABL, HNDL); Return (Zero)
    return name("HNDL", 0) + b"\x14" + sized(b"_SUN\x08" + body)


def _device(slot: int, more: bytes) -> bytes:
    memory = struct.pack("<BHBII", 0x86, 9, 1, DEVICES + 0x1000 * slot, 0x1000)
    interrupt = struct.pack("<BHBBI", 0x89, 6, 0b1001, 1, DEVICE_IRQ)  # consumer, level, active high, shared
    resources = memory + interrupt + b"\x79\0"
    return device(f"VD{slot:02X}", name("_HID", "LNRO0005"), name("_UID", slot), name("_CRS", resources), more)


def _host_bridge() -> bytes:
    """PCI0: bus 0, the windows that its devices may be put in, and which IRQ pin A of each is."""

    def window(layout: str, tag: int, kind: int, flags: int, first: int, last: int) -> bytes:
        body = struct.pack("<BBB5" + layout, kind, 0x0C, flags, 0, first, last, 0, last - first + 1)
        return struct.pack("<BH", tag, len(body)) + body

    resources = window("H", 0x88, 2, 0, 0, PCI_BUSES - 1)  # bus numbers
    resources += struct.pack("<BBHHBB", 0x47, 1, 0xCF8, 0xCF8, 1, 8)  # the ports of configuration space itself
    for layout, tag, (kind, flags, first, size) in zip("HIQ", (0x88, 0x87, 0x8A), PCI_WINDOWS, strict=True):
        resources += window(layout, tag, kind, flags, first, first + size - 1)
    resources += b"\x79\0"
    routes = b""
    for place in range(PCI_PLACES):
        route = (
            b"\x0c" + struct.pack("<I", place << 16 | 0xFFFF) + b"\0\0\x0a" + bytes([PCI_IRQS[place % len(PCI_IRQS)]])
        )
        routes += b"\x12" + sized(b"\x04" + route)
    body = b"PCI0\x08_HID\x0c" + bytes.fromhex("41d00a08")  # PNP0A08: PCI Express
    body += b"\x08_CID\x0c" + bytes.fromhex("41d00a03") + b"\x08_UID\x0a\0" + b"\x08_BBN\x0a\0"  # PNP0A03: PCI
    body += b"\x14" + sized(b"_OSC\x04\xa4\x6b")  # Method (_OSC, 4) { Return (Arg3) }: the kernel may control all
    body += b"\x08_CRS\x11" + sized(b"\x0a" + bytes([len(resources)]) + resources)
    body += b"\x08_PRT\x12" + sized(bytes([PCI_PLACES]) + routes)
    return b"\x5b\x82" + sized(body)
