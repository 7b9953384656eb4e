"""A USB host controller (xHCI) with four ports for USB 2 and four for USB 3: the driver is `xhci_hcd`.

    0x000 capabilities   0x020 command, status   0x420 ports   0x600 interrupter   0x800 doorbells

    command ring  -> enable slot, address device, configure endpoint, stop endpoint ...  -> event ring
    transfer ring -> the device's control(), data_in(), data_out()                        -> event ring

A transfer is done while the driver rings the doorbell. One for which the device has no data yet stays in its ring until
the device says that it is `ready`; isochronous ones are done one each interval of virtual time.

Source: Intel, eXtensible Host Controller Interface for USB, 1.1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from kobox.devices.computer import Timer
from kobox.devices.errors import model_errors
from kobox.devices.model import HardwareModel
from kobox.devices.pci import PciDevice
from kobox.devices.usb import DevicesByPort, SetupPacket, StallError, UsbDevice, UsbPort
from kobox.devices.usb_hub import device_behind
from kobox.devices.xhci_rings import EventRing, Ring, Transfer, Trb
from kobox.errors import KoboxError

PORTS, SLOTS = 8, 16
_USB3_FIRST = 4
_OPERATIONAL, _PORT_REGISTERS, _PROTOCOLS, _RUNTIME, _DOORBELLS = 0x20, 0x420, 0x500, 0x600, 0x800
_RUN, _RESET, _INTERRUPTS = 1, 2, 4
_HALTED, _EVENT, _PORT_CHANGE = 1, 8, 16
_CONNECTED, _ENABLED, _PORT_RESET, _POWER, _LINK_WRITE = 1, 2, 1 << 4, 1 << 9, 1 << 16
_CHANGES = 0xFE0000
_CONNECT_CHANGE, _RESET_CHANGE, _LINK_CHANGE = 1 << 17, 1 << 21, 1 << 22
_SPEEDS = {"full": 1, "low": 2, "high": 3, "super": 4}
SUCCESS, TRANSACTION_ERROR, TRB_ERROR, STALLED, NO_SLOTS, SLOT_DISABLED, SHORT = 1, 4, 5, 6, 9, 11, 13
_TRANSFER_EVENT, _COMMAND_EVENT, _PORT_EVENT = 32, 33, 34
_STOPPED, _RUNNING, _ENDPOINT_HALTED = 3, 1, 2
_MICROFRAME = 125_000  # ns
_LARGEST = 16 << 20  # bytes of one transfer: Linux makes them of 64 KiB to some MiB


class EndpointState:
    """An endpoint of a slot: its transfer ring, and whether it runs."""

    def __init__(self, number: int, ring: Ring, kind: int, interval: int) -> None:
        self.number, self.ring = number, ring
        self.isochronous = kind in (1, 5)
        self.interval = _MICROFRAME << min(interval, 15)
        self.state = _RUNNING
        self.setup: SetupPacket | None = None

    @property
    def address(self) -> int:
        """As USB names it: bit 7 is to the host."""
        return self.number // 2 | (0x80 if self.number & 1 else 0)


class _Port(UsbPort):
    def __init__(self, host: Xhci, device: UsbDevice) -> None:
        self.host, self.device = host, device

    def ready(self, endpoint: int) -> None:
        self.host.device_ready(self.device, endpoint)


class SlotPlace(NamedTuple):
    """Where the device of a slot is: a port of the controller, and the way from there through hubs."""

    port: int
    route: int


_NOWHERE = SlotPlace(-1, 0)


class Xhci(PciDevice):
    """A USB host controller (1b36:000d) with eight ports for `UsbDevice`s."""

    vendor_id, device_id, class_code, revision = 0x1B36, 0x000D, 0x0C0330, 0x01
    subsystem: ClassVar[tuple[int, int]] = (0x1AF4, 0x1100)
    bar0 = PciDevice.memory(0x1000, wide=True)

    def __init__(self) -> None:
        self.devices = DevicesByPort()
        self.frames = Timer(self, self._frame)
        self.reset()

    def reset(self) -> None:
        self.command, self.status, self.config = 0, _HALTED, 0
        self.held: dict[int, int] = {}
        self.portsc = [_POWER | 5 << 5 for _ in range(PORTS)]
        self.commands = Ring(0, 1)
        self.events = EventRing()
        self.slots: dict[int, SlotPlace] = {}
        self.endpoints: dict[tuple[int, int], EndpointState] = {}
        for port in self.devices.by_port:
            self._connect(port)

    # -- devices -------------------------------------------------------------------------------------------------

    @property
    def attached(self) -> list[HardwareModel]:
        return list(self.devices.by_port.values())

    def free_port(self, device: UsbDevice) -> int:
        """The port that a device comes into, from 0. Raises `KoboxError` when all of its speed are taken."""
        places = range(_USB3_FIRST, PORTS) if device.speed == "super" else range(_USB3_FIRST)
        port = next((n for n in places if n not in self.devices.by_port), None)
        if port is None:
            raise KoboxError(f"all {len(places)} USB ports of that speed are taken", hint="Unplug a device first.")
        return port

    def attach(self, device: UsbDevice) -> int:
        """Plug a device in; the number of its port. Raises `KoboxError` as `free_port` does."""
        port = self.free_port(device)
        self.devices.by_port[port] = device
        self.join(device)
        self._connect(port)
        self._port_event(port)
        return port

    def detach(self, device: UsbDevice) -> None:
        """Pull a device out."""
        port = self.devices.take_out(device)
        if port is not None:
            self.portsc[port] = _POWER | 5 << 5 | _CONNECT_CHANGE
            self._port_event(port)

    def join(self, device: UsbDevice) -> None:
        """A device is on the controller's wires from now on: in one of its ports, or behind a hub."""
        device.usb_port = _Port(self, device)

    def _connect(self, port: int) -> None:
        speed = _SPEEDS[self.devices.by_port[port].speed]
        ready = _ENABLED if speed == 4 else 7 << 5  # a USB 3 port is trained at once, a USB 2 port waits for its reset
        self.portsc[port] = _POWER | _CONNECTED | _CONNECT_CHANGE | speed << 10 | ready

    def _port_event(self, port: int) -> None:
        self.status |= _PORT_CHANGE
        if self.command & _RUN:
            self._post(Trb((port + 1) << 24, SUCCESS << 24, _PORT_EVENT << 10))

    def _device(self, slot: int) -> UsbDevice | None:
        place = self.slots.get(slot, _NOWHERE)
        return device_behind(self.devices.by_port.get(place.port), place.route)

    def device_ready(self, device: UsbDevice, address: int) -> None:
        """A device has data for an endpoint."""
        number = (address & 15) * 2 + (1 if address & 0x80 else 0)
        for slot in list(self.slots):
            if self._device(slot) is device and (endpoint := self.endpoints.get((slot, number))) is not None:
                self._transfers(slot, endpoint)

    # -- registers -----------------------------------------------------------------------------------------------

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        if size == 8:
            return self._read(offset) | self._read(offset + 4) << 32
        return self._read(offset & ~3) >> 8 * (offset & 3)

    def _read(self, offset: int) -> int:
        if offset < _OPERATIONAL:
            slots = SLOTS | 1 << 8 | PORTS << 24
            known = (0x01000020, slots, 0x31, 0, _PROTOCOLS // 4 << 16 | 1, _DOORBELLS, _RUNTIME, 0)
            return known[offset // 4]
        if _PORT_REGISTERS <= offset < _PORT_REGISTERS + 16 * PORTS:
            return self.portsc[(offset - _PORT_REGISTERS) // 16] if offset % 16 == 0 else 0
        if _PROTOCOLS <= offset < _PROTOCOLS + 32:
            count = PORTS - _USB3_FIRST
            two = (0x02000402, 0x20425355, _USB3_FIRST << 8 | 1, 0)
            three = (0x03000002, 0x20425355, count << 8 | _USB3_FIRST + 1, 0)
            return (*two, *three)[(offset - _PROTOCOLS) // 4]
        match offset:
            case 0x20:
                return self.command
            case 0x24:
                return self.status
            case 0x28:
                return 1  # pages of 4096 bytes
            case 0x38 | 0x3C:
                return 0  # the command ring's pointer cannot be read
            case 0x58:
                return self.config
            case 0x600:
                return self.computer.now // _MICROFRAME & 0x3FFF
            case 0x620:
                return self.events.management
            case 0x638:
                return self.events.dequeue & 0xFFFFFFF0 | (8 if self.events.busy else 0)
        return self.held.get(offset, 0)

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        if size == 8:
            self._write(offset, value & 0xFFFFFFFF)
            self._write(offset + 4, value >> 32)
        else:
            self._write(offset, value)

    def _write(self, offset: int, value: int) -> None:
        self.held[offset] = value
        if offset >= _DOORBELLS:
            self._doorbell((offset - _DOORBELLS) // 4, value & 0xFF)
        elif _PORT_REGISTERS <= offset < _PORT_REGISTERS + 16 * PORTS:
            if offset % 16 == 0:
                self._write_port((offset - _PORT_REGISTERS) // 16, value)
        elif offset == 0x20:
            self._write_command(value)
        elif offset == 0x24:
            self.status &= ~(value & 0x41C)
        elif offset in (0x38, 0x3C):
            pointer = self.held.get(0x38, 0) | self.held.get(0x3C, 0) << 32
            self.commands = Ring(pointer & ~63, pointer & 1)
        elif offset == 0x58:
            self.config = value
        elif 0x620 <= offset < 0x640:
            self._write_interrupter(offset, value)
        self._signal()

    def _write_command(self, value: int) -> None:
        if value & _RESET:
            self.reset()
            return
        started = value & _RUN and not self.command & _RUN
        self.command = value
        self.status = self.status & ~_HALTED if value & _RUN else self.status | _HALTED
        if started:
            for port, state in enumerate(self.portsc):
                if state & _CHANGES:
                    self._port_event(port)

    def _write_interrupter(self, offset: int, value: int) -> None:
        events = self.events
        if offset == 0x620:
            events.management = (events.management & ~value & 1) | value & 2
        elif offset in (0x630, 0x634):
            table = self.held.get(0x630, 0) | self.held.get(0x634, 0) << 32
            events.start(self.dma.read, table & ~63, self.held.get(0x628, 1) & 0xFFFF)
        elif offset in (0x638, 0x63C):
            events.dequeue = (self.held.get(0x638, 0) | self.held.get(0x63C, 0) << 32) & ~15
            if offset == 0x638 and value & 8:
                events.busy = False
            if offset == 0x63C:  # the driver writes the high half last
                for event in events.take_waiting():
                    self._post(event)
                if not events.empty and not events.busy:
                    self._interrupt()

    def _write_port(self, port: int, value: int) -> None:
        state = self.portsc[port] & ~(value & _CHANGES)
        device = self.devices.by_port.get(port)
        if value & _ENABLED:
            state &= ~_ENABLED
        if value & _LINK_WRITE:
            link, before = value >> 5 & 15, state >> 5 & 15
            state = state & ~(15 << 5) | link << 5
            if link == 0 and before in (3, 15):
                state |= _LINK_CHANGE
        if value & _PORT_RESET and device is not None:
            state = state & ~(15 << 5) | _ENABLED | _RESET_CHANGE
            with model_errors(device):
                device.reset()
        changed = state & _CHANGES & ~self.portsc[port]
        self.portsc[port] = state
        if changed:
            self._port_event(port)

    # -- events --------------------------------------------------------------------------------------------------

    def _post(self, event: Trb) -> None:
        if self.events.put(self.dma.write, event):
            self._interrupt()

    def _interrupt(self) -> None:
        self.status |= _EVENT
        self.events.management |= 1
        if not self.events.busy and self.command & _INTERRUPTS and self.events.management & 2:
            self.events.busy = True
            if self.function.uses_messages:
                self.events.management &= ~1
                self.interrupt()
        self._signal()

    def _signal(self) -> None:
        pending = self.events.management & 3 == 3 and self.command & _INTERRUPTS
        self.set_interrupt_level(bool(pending))

    # -- commands ------------------------------------------------------------------------------------------------

    def _doorbell(self, slot: int, target: int) -> None:
        if not self.command & _RUN:
            return
        if slot == 0:
            while (found := self.commands.next(self.dma.read)) is not None:
                where, command = found
                code, slot_of = self._run_command(command)
                event = Trb(where, code << 24, _COMMAND_EVENT << 10 | slot_of << 24)
                self._post(event)
        elif (endpoint := self.endpoints.get((slot, target))) is not None:
            if endpoint.state == _STOPPED:
                self._set_state(slot, endpoint, _RUNNING)
            if endpoint.isochronous:
                self.frames.start(endpoint.interval)
            else:
                self._transfers(slot, endpoint)

    def _run_command(self, command: Trb) -> tuple[int, int]:
        """Carry out a command: the completion code, and the slot that it is about."""
        slot = command.control >> 24
        if command.kind == 9:
            free = next((n for n in range(1, SLOTS + 1) if n not in self.slots), 0)
            if free:
                self.slots[free] = _NOWHERE
            return (SUCCESS if free else NO_SLOTS), free
        if command.kind == 23:
            return SUCCESS, 0
        if slot not in self.slots:
            return SLOT_DISABLED, slot
        handlers: dict[int, Callable[[int, Trb], int]] = {
            10: self._disable_slot,
            11: self._address_device,
            12: self._configure,
            13: self._evaluate,
            14: self._stop_endpoint,
            15: self._stop_endpoint,
            16: self._set_dequeue,
            17: self._reset_device,
        }
        handler = handlers.get(command.kind)
        return (handler(slot, command) if handler else TRB_ERROR), slot

    def _context(self, slot: int) -> int:
        """Where the device context of a slot is."""
        table = self.held.get(0x50, 0) | self.held.get(0x54, 0) << 32
        return int.from_bytes(self.dma.read(table + 8 * slot, 8), "little") & ~63

    def _drop_endpoints(self, slot: int, first: int) -> None:
        for key in [key for key in self.endpoints if key[0] == slot and key[1] >= first]:
            del self.endpoints[key]

    def _disable_slot(self, slot: int, command: Trb) -> int:
        self._drop_endpoints(slot, 0)
        del self.slots[slot]
        return SUCCESS

    def _address_device(self, slot: int, command: Trb) -> int:
        given, ours = command.parameter & ~15, self._context(slot)
        description = bytearray(self.dma.read(given + 32, 32))
        route = int.from_bytes(description[:3], "little") & 0xFFFFF
        place = self.slots[slot] = SlotPlace(description[6] - 1, route)
        device = self._device(slot)
        if device is None or not self.portsc[place.port] & _ENABLED:
            return TRANSACTION_ERROR
        only_default = bool(command.control >> 9 & 1)
        struct.pack_into("<I", description, 12, 1 << 27 if only_default else 2 << 27 | slot)
        self.dma.write(ours, bytes(description))
        self._add_endpoint(slot, 1, given + 64, ours)
        return SUCCESS

    def _add_endpoint(self, slot: int, number: int, given: int, ours: int) -> None:
        context = bytearray(self.dma.read(given, 32))
        first, second, pointer = struct.unpack_from("<IIQ", context)
        context[0] = context[0] & ~7 | _RUNNING
        self.dma.write(ours + 32 * number, bytes(context))
        ring = Ring(pointer & ~15, pointer & 1)
        self.endpoints[slot, number] = EndpointState(number, ring, second >> 3 & 7, first >> 16 & 0xFF)

    def _configure(self, slot: int, command: Trb) -> int:
        given, ours = command.parameter & ~15, self._context(slot)
        if command.control >> 9 & 1:  # deconfigure
            self._drop_endpoints(slot, 2)
            self._set_slot(ours, 2)
            return SUCCESS
        dropped, added = struct.unpack("<II", self.dma.read(given, 8))
        for number in range(2, 32):
            if (dropped | added) >> number & 1:
                self.endpoints.pop((slot, number), None)
                self.dma.write(ours + 32 * number, bytes(32))
            if added >> number & 1:
                self._add_endpoint(slot, number, given + 32 + 32 * number, ours)
        first = self.dma.read(given + 32, 4)
        self.dma.write(ours, first)
        self._set_slot(ours, 3)
        return SUCCESS

    def _set_slot(self, ours: int, state: int) -> None:
        (last,) = struct.unpack("<I", self.dma.read(ours + 12, 4))
        self.dma.write(ours + 12, struct.pack("<I", last & 0xFF | state << 27))

    def _evaluate(self, slot: int, command: Trb) -> int:
        given, ours = command.parameter & ~15, self._context(slot)
        (added,) = struct.unpack("<I", self.dma.read(given + 4, 4))
        if added & 2:  # the size of a packet of endpoint 0
            self.dma.write(ours + 32 + 4, self.dma.read(given + 64 + 4, 4))
        return SUCCESS

    def _endpoint_of(self, slot: int, command: Trb) -> EndpointState | None:
        return self.endpoints.get((slot, command.control >> 16 & 31))

    def _stop_endpoint(self, slot: int, command: Trb) -> int:
        endpoint = self._endpoint_of(slot, command)
        if endpoint is None:
            return 12  # endpoint not enabled
        endpoint.setup = None
        self._set_state(slot, endpoint, _STOPPED)
        return SUCCESS

    def _set_dequeue(self, slot: int, command: Trb) -> int:
        endpoint = self._endpoint_of(slot, command)
        if endpoint is None:
            return 12
        endpoint.ring = Ring(command.parameter & ~15, command.parameter & 1)
        self._set_state(slot, endpoint, _STOPPED)
        return SUCCESS

    def _reset_device(self, slot: int, command: Trb) -> int:
        self._drop_endpoints(slot, 2)
        self._set_slot(self._context(slot), 1)
        return SUCCESS

    def _set_state(self, slot: int, endpoint: EndpointState, state: int) -> None:
        endpoint.state = state
        ours = self._context(slot) + 32 * endpoint.number
        (first,) = struct.unpack("<I", self.dma.read(ours, 4))
        self.dma.write(ours, struct.pack("<I", first & ~7 | state))
        self.dma.write(ours + 8, struct.pack("<Q", endpoint.ring.pointer | endpoint.ring.cycle))

    # -- transfers -----------------------------------------------------------------------------------------------

    def _frame(self) -> None:
        """An interval has passed: each isochronous endpoint does one transfer."""
        due = [(slot, endpoint) for (slot, _), endpoint in self.endpoints.items() if endpoint.isochronous]
        again = 0
        for slot, endpoint in due:
            if endpoint.state == _RUNNING and self._transfer(slot, endpoint):
                again = min(again or endpoint.interval, endpoint.interval)
        if again:
            self.frames.start(again)

    def _transfers(self, slot: int, endpoint: EndpointState) -> None:
        while endpoint.state == _RUNNING and self._transfer(slot, endpoint):
            if self.endpoints.get((slot, endpoint.number)) is not endpoint:
                return

    def _transfer(self, slot: int, endpoint: EndpointState) -> bool:
        """Do what stands first in a ring; whether it was done."""
        before = endpoint.ring.mark()
        transfer = Transfer.take(endpoint.ring, self.dma.read)
        if transfer is None:
            return False
        device = self._device(slot)
        try:
            code, moved = self._move(endpoint, transfer, device)
        except StallError:
            self._set_state(slot, endpoint, _ENDPOINT_HALTED)
            code, moved, endpoint.setup = STALLED, 0, None
        if code == 0:
            endpoint.ring.go_back(before)
            return False
        for where, left, final in transfer.reports(code, moved):
            event = _TRANSFER_EVENT << 10 | endpoint.number << 16 | slot << 24
            self._post(Trb(where, left | final << 24, event))
        return True

    def _move(self, endpoint: EndpointState, transfer: Transfer, device: UsbDevice | None) -> tuple[int, int]:
        """Do a transfer: the completion code (0: the device has nothing yet), and how many bytes were moved."""
        if device is None:
            return TRANSACTION_ERROR, 0
        if transfer.size > _LARGEST:
            return TRB_ERROR, 0
        with model_errors_but_stalls(device):
            if endpoint.number == 1:
                return self._control(endpoint, transfer, device)
            if endpoint.number & 1:
                data = device.data_in(endpoint.address, transfer.size)
                if data is None:
                    return (SUCCESS, 0) if endpoint.isochronous else (0, 0)
                return SUCCESS, self._deliver(endpoint, transfer, device, data)
            device.data_out(endpoint.address, transfer.gather(self.dma.read))
        return SUCCESS, transfer.size

    def _deliver(self, endpoint: EndpointState, transfer: Transfer, device: UsbDevice, data: bytes) -> int:
        moved = transfer.scatter(self.dma.write, data)
        device.delivered(0 if endpoint.number == 1 else endpoint.address, list(transfer.pieces(moved)))
        return moved

    def _control(self, endpoint: EndpointState, transfer: Transfer, device: UsbDevice) -> tuple[int, int]:
        """A stage of a control transfer: the request is carried out at its data stage, else at its status stage."""
        if transfer.kind == 2:
            words = transfer.trbs[0][1].parameter.to_bytes(8, "little")
            endpoint.setup = SetupPacket(*struct.unpack("<BBHHH", words))
            return SUCCESS, 8
        setup = endpoint.setup
        if setup is None:
            return (SUCCESS, 0) if transfer.kind == 4 else (TRB_ERROR, 0)
        if transfer.kind == 4:
            endpoint.setup = None
            if not setup.length:
                device.control(setup, b"")
            return SUCCESS, 0
        if setup.to_host:
            data = device.control(setup, b"")
            if setup.kind & 0x60:
                return SUCCESS, self._deliver(endpoint, transfer, device, data)
            return SUCCESS, transfer.scatter(self.dma.write, data)
        device.control(setup, transfer.gather(self.dma.read))
        return SUCCESS, transfer.size


class model_errors_but_stalls(model_errors):  # noqa: N801  a context manager, used as a function
    """`model_errors`, but `StallError` is no error of the model's."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, StallError):
            super().__exit__(kind, error, trace)
