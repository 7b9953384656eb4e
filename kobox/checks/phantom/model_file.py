"""What was learned of a device, as a file of Python: the first draft of a model made by hand.

    kobox run driver.ko --phantom --write-model model.py
    kobox run driver.ko --plug model.py

Names in it come from a stranger's module: nothing of them is written but letters, digits and a few signs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from kobox.checks.phantom.attempt import Attempt
from kobox.checks.phantom.solve import Solver
from kobox.devices.phantom import bars_of, capabilities_of
from kobox.devices.phantom_board import BoardIdentity, windows_of
from kobox.devices.phantom_i2c import I2cIdentity
from kobox.devices.phantom_policy import RegisterAt, name_of
from kobox.devices.phantom_spi import SpiIdentity
from kobox.devices.phantom_usb import SPEEDS
from kobox.devices.phantom_virtio import VirtioIdentity
from kobox.errors import KoboxError
from kobox.ko.modulefile import ModuleFile
from kobox.machine.pci_function import PciIdentity

_IMPORT = "from kobox.devices.phantom_policy import BarLayout, Policy, RegisterAt, Rest, Step"
_UNSAFE = re.compile(r"[^\w.,+/ -]")
_MOST_REGISTERS = 400
_MOST_PLACES = 6

Places = Mapping[RegisterAt, Sequence[str]]


def places_of(attempt: Attempt, file: ModuleFile, describe: Mapping[int, str]) -> dict[RegisterAt, list[str]]:
    """Register -> where the driver decided by what it said: function and line, or function and offset. `describe` are
    the names of addresses, "function+0x12"."""
    solver, registers = Solver(attempt.nodes), {read.number: read.register for read in attempt.reads}
    lines = _Lines(file)
    found: dict[RegisterAt, list[str]] = {}
    for decision in attempt.decisions:
        for number in sorted(solver.reads(decision)):
            where = lines.at(describe.get(decision.pc, ""))
            if number in registers and where:
                places = found.setdefault(registers[number], [])
                if where not in places:
                    places.append(where)
    return found


class _Lines:
    """From "function+0x12/0x40 [module]" to a line of source, where the module has debugging information."""

    def __init__(self, file: ModuleFile) -> None:
        self._file = file
        self._functions: dict[str, tuple[int, int]] = {}
        if file.debug.available:
            for function in file.debug.functions:
                self._functions.setdefault(function.name, (function.section, function.offset))

    def at(self, described: str) -> str:
        name, _, rest = described.partition("+")
        offset = rest.partition("/")[0]
        if name in self._functions and offset:
            section, start = self._functions[name]
            try:
                places = self._file.debug.lines(section, start + int(offset, 16))
            except (KoboxError, ValueError):
                places = ()
            if places:
                return _clean(f"{places[0].function} {places[0].file} line {places[0].line}")
        return _clean(f"{name}+{offset}") if offset else ""


def model_text(attempt: Attempt, driver: str, places: Places) -> str:
    """The file: one class, whose policy is what was found, and what was read as comments.

    Each register has a line: its size, how often it was read, what it said first, and where that decided something.
    """
    return "\n".join([*_head(attempt, driver), *_policy(attempt, places), *_registers(attempt, places)]) + "\n"


def _head(attempt: Attempt, driver: str) -> Iterator[str]:
    yield f'"""A device for the driver {_clean(driver)}, made up by `kobox run --phantom`; probe: {attempt.result}.'
    yield ""
    yield "The policy has the registers that matter: the first draft of a model written by hand."
    yield '"""'
    yield ""
    yield from _class(attempt)


def _class(attempt: Attempt) -> Iterator[str]:
    who, policy = attempt.identity, attempt.policy
    if isinstance(who, PciIdentity):
        yield "from kobox.devices import Express, PciDevice, expansion_rom"
        yield "from kobox.devices.phantom import PhantomDevice"
        if policy.capabilities:
            yield "from kobox.machine.pci_capabilities import own"
        yield _IMPORT
        yield from ("", "", "class Model(PhantomDevice):")
        yield f"    vendor_id, device_id, class_code = {who.vendor:#06x}, {who.device:#06x}, {who.class_code:#08x}"
        yield f"    subsystem, vectors = ({who.subsystem[0]:#06x}, {who.subsystem[1]:#06x}), {who.vectors}"
        yield f"    revision = {who.revision}"
        for number, size, is_ports in bars_of(policy):
            yield f"    bar{number} = PciDevice.{'ports' if is_ports else 'memory'}({size:#x})"
    elif isinstance(who, I2cIdentity):
        yield "from kobox.devices import GpioLine"
        yield "from kobox.devices.phantom_i2c import PhantomI2c"
        yield _IMPORT
        yield from ("", "", "class Model(PhantomI2c):")
        yield f"    device_name, address = {_clean(who.name)!r}, {who.address:#x}"
        yield f"    hid, compatible = {_clean(who.hid)!r}, {_clean(who.compatible)!r}"
        if who.interrupt:
            yield '    gpios = {"irq": GpioLine(20, interrupt="falling")}'
    elif isinstance(who, SpiIdentity):
        yield "from kobox.devices import GpioLine"
        yield "from kobox.devices.phantom_spi import PhantomSpi"
        yield _IMPORT
        yield from ("", "", "class Model(PhantomSpi):")
        yield f"    hid, compatible = {_clean(who.hid)!r}, {_clean(who.compatible)!r}"
        if who.interrupt:
            yield '    gpios = {"irq": GpioLine(20, interrupt="falling")}'
    elif isinstance(who, VirtioIdentity):
        yield "from kobox.devices.phantom_virtio import PhantomVirtio"
        yield _IMPORT
        yield from ("", "", "class Model(PhantomVirtio):")
        yield f"    device_type, feature_bits = {who.kind}, {who.features:#x}"
    elif isinstance(who, BoardIdentity):
        yield "from kobox.devices.phantom_board import PhantomBoard"
        yield _IMPORT
        yield from ("", "", "class Model(PhantomBoard):")
        yield f"    hid, compatible, interrupts = {_clean(who.hid)!r}, {_clean(who.compatible)!r}, 2"
        for name, ports in windows_of(policy):
            yield f"    {name} = PhantomBoard.{'ports(0x100)' if ports else 'memory(0x10000)'}"
    else:
        yield "from kobox.devices.phantom_usb import EndpointShape, PhantomUsb, UsbIdentity, interfaces_of"
        yield _IMPORT
        yield from ("", "", "class Model(PhantomUsb):")
        yield f"    vendor_id, product_id, version = {who.vendor:#06x}, {who.product:#06x}, {who.version:#06x}"
        yield f"    device_class, speed = {who.device_class!r}, {SPEEDS[who.speed]!r}"
        yield f"    interfaces = interfaces_of({who!r})"
    yield f"    policy = Policy(BarLayout.{policy.layout.name}, Rest.{policy.rest.name}, {{"


def _policy(attempt: Attempt, places: Places) -> Iterator[str]:
    for register, steps in sorted(attempt.policy.known.items()):
        for place in places.get(register, ())[:_MOST_PLACES]:
            yield f"        # {place}"
        rows = ", ".join(f"Step({step.since}, {step.mask:#x}, {step.value:#x})" for step in steps)
        yield f"        RegisterAt({register.bar}, {register.offset:#x}): ({rows},),  # {name_of(register)}"
    firmware = {_clean(name): size for name, size in attempt.policy.firmware.items()}
    quiet = ", quiet=True" if attempt.policy.quiet else ""
    companions = tuple((*one[:2], *(place for place in one[2:] if place >= 0)) for one in attempt.policy.companions)
    place = f", place={attempt.policy.place}" if attempt.policy.place else ""
    yield f"    }}, firmware={firmware!r}, companions={companions!r}{place}{quiet})"
    if not isinstance(attempt.identity, PciIdentity):
        return
    if attempt.policy.express:
        yield "    express, serial_number = Express(speed=3, width=8), 0x0000C0FFEE000001"
    if attempt.policy.command:
        yield f"    initial_command = {attempt.policy.command:#x}"
    if attempt.policy.capabilities:
        yield "    own_capabilities = ("
        for one in capabilities_of(attempt.policy):
            yield f"        own({one.kind:#x}, bytes.fromhex({one.body.hex()!r}), {one.at:#x}),"
        yield "    )"
    if attempt.policy.rom:
        yield "    rom = expansion_rom(bytes(0xFFCC), vendor_id, device_id, class_code)"


def _registers(attempt: Attempt, places: Places) -> Iterator[str]:
    times: dict[RegisterAt, int] = {}
    first: dict[RegisterAt, tuple[int, int]] = {}
    for read in attempt.reads:
        times[read.register] = times.get(read.register, 0) + 1
        first.setdefault(read.register, (read.size, read.value))
    if first:
        yield ""
        yield "    # What was read: its size in bytes, how often, the first answer, and where it decided something."
    for register, (size, value) in list(first.items())[:_MOST_REGISTERS]:
        where = "; ".join(places.get(register, ())[:_MOST_PLACES])
        yield f"    # {name_of(register)}: {size}, {times[register]} times, {value:#x}{f'; {where}' if where else ''}"


def _clean(text: str) -> str:
    return _UNSAFE.sub("?", text)[:200]
