"""The kernel log of a box as records, read from the kernel's own ring buffer in memory.

It needs no system call, so it works in a box that is busy, hung or dead, and does not disturb what it reads.

    prb -> printk_ringbuffer                    (kernel/printk/printk_ringbuffer.c)
             desc_ring:  descs[] (state, where the text is)   infos[] (seq, time, level, …)   head_id, tail_id
             text_data_ring:  blocks of { unsigned long id; text } one after another, wrapping at the end

A descriptor's state is in its top two bits: 0 reserved, 1 committed (pr_cont may still extend it), 2 finalized,
3 reusable (its text is overwritten). `lost` counts records that were overwritten before they were read.
Layouts come from vmcoreinfo.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from kobox.box.inspect.kept_rows import KeptRows
from kobox.box.inspect.vmcoreinfo import VmCoreInfo
from kobox.ko.binary import c_string
from kobox.machine.pc import Machine

LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_RESERVED, _COMMITTED, _FINALIZED, _REUSABLE = range(4)


class LogRecord(NamedTuple):
    """One record of the kernel log.

    `time` is in seconds of the kernel's clock since boot; `level` 0 (emerg) to 7 (debug); `facility` 0 for the kernel;
    `caller` such as "T1" (task) or "C0" (CPU) where the kernel records it, else ""; `device` the subsystem
    and device a driver's message is about ("platform", "…"), or ("", "").
    """

    seq: int
    time: float
    level: int
    facility: int
    text: str
    caller: str = ""
    device: tuple[str, str] = ("", "")

    @property
    def level_name(self) -> str:
        """The level in words: emerg, alert, crit, err, warning, notice, info, debug."""
        return LEVELS[self.level]

    def __str__(self) -> str:
        return f"[{self.time:12.6f}] {self.text}"


class KernelLog:
    """All records since power on, in order, also of boxes that cannot run any more."""

    def __init__(self, machine: Machine, facts: VmCoreInfo) -> None:
        self._machine = machine
        self._facts = facts
        self._space = machine.arch.addresses
        self._id = self._space.mask >> 2  # of an unsigned long: the top two bits are the state
        self._ring = self._word(facts.symbol("prb"))
        self._records: KeptRows[LogRecord] = KeptRows(LogRecord._make)  # finalized ones, oldest first
        self._next_id: int | None = None
        self.lost = 0
        offset, size = facts.offset, facts.size
        desc_ring = self._ring + offset("printk_ringbuffer.desc_ring")
        text_ring = self._ring + offset("printk_ringbuffer.text_data_ring")
        self._head, self._tail = (
            desc_ring + offset("prb_desc_ring.head_id"),
            desc_ring + offset("prb_desc_ring.tail_id"),
        )
        self._count = 1 << self._u32(desc_ring + offset("prb_desc_ring.count_bits"))
        self._descs = self._word(desc_ring + offset("prb_desc_ring.descs"))
        self._infos = self._word(desc_ring + offset("prb_desc_ring.infos"))
        self._text_size = 1 << self._u32(text_ring + offset("prb_data_ring.size_bits"))
        self._text = self._word(text_ring + offset("prb_data_ring.data"))
        self._desc_size, self._info_size = size("prb_desc"), size("printk_info")
        self._state, self._block = offset("prb_desc.state_var"), offset("prb_desc.text_blk_lpos")

    def __iter__(self) -> Iterator[LogRecord]:
        return iter(self.records())

    def __len__(self) -> int:
        return len(self.records())

    def records(self) -> list[LogRecord]:
        """Every record so far, the one still being extended (by pr_cont) included."""
        open_ones = self._read_new()
        return [*self._records, *open_ones]

    def since(self, what: object) -> list[LogRecord]:
        """Records after a point: a record, a sequence number, or anything with `log_start` (a loaded module has)."""
        if isinstance(what, LogRecord):
            start = what.seq + 1
        elif isinstance(what, int):
            start = what
        else:
            start = what.log_start  # type: ignore[attr-defined]
        if self._next_id is None:  # nobody has asked for the whole log: no need to read what came before
            return list(self._back_to(start))[::-1]
        open_ones = self._read_new()
        return self._records.since(start) + [record for record in open_ones if record.seq >= start]

    @property
    def next_seq(self) -> int:
        """The sequence number that the next record will get."""
        if self._next_id is None:
            newest = next(self._back_to(0), None)
        else:
            open_ones = self._read_new()
            newest = open_ones[-1] if open_ones else self._records.last
        return newest.seq + 1 if newest else 0

    def position(self) -> int:
        """Where the log ends now, for `since_position`: cheaper to ask for than a sequence number."""
        try:
            return self._word(self._head) & self._id
        except ValueError:
            return 0

    def since_position(self, position: int) -> list[LogRecord]:
        """Records after a `position()`."""
        new = self.position() - position
        if new <= 0:
            return []
        open_ones = self._read_new()
        return [*self._records.tail(max(new - len(open_ones), 0)), *open_ones[-new:]]

    def of(self, module: str) -> list[LogRecord]:
        """What one module said: records with its name as their prefix, in the field's convention (`pr_fmt`,
        `dev_err`)."""
        names = {module, module.replace("_", "-"), module.replace("-", "_")}
        return [r for r in self.records() if r.text.split(":", 1)[0].split(" ", 1)[0] in names]

    def text(self) -> str:
        """The whole log as `dmesg` prints it."""
        return "".join(f"{record}\n" for record in self.records())

    def follow(self) -> Iterator[LogRecord]:
        """Records as they come: each `for` over the same iterator gives those that were added since the last one.

        new = box.log.follow()
        for record in new: …        # what is there by now (and, the first time, nothing older than the call)
        """
        return _Follower(self)

    def forget(self) -> None:
        """Read everything anew: the box has gone back to an earlier state."""
        self._records.clear()
        self._next_id = None
        self.lost = 0

    def collect(self) -> None:
        """Read what is new, before the ring overwrites it: asked for now and then while the box runs."""
        self._read_new()

    def _read_new(self) -> list[LogRecord]:
        try:
            return self._read_ring()
        except ValueError:  # the kernel's page tables are gone: what was read before is all there is
            return []

    def _read_ring(self) -> list[LogRecord]:
        head, tail = self._word(self._head) & self._id, self._word(self._tail) & self._id
        at = tail if self._next_id is None else self._next_id
        if (at - tail & self._id) > (head - tail & self._id) + 1:  # the ring has overtaken us
            at = tail
        open_ones: list[LogRecord] = []
        while (head - at & self._id) < self._count:
            record, state = self._read(at)
            at = at + 1 & self._id
            if state in (_FINALIZED, _REUSABLE) and not open_ones:
                self._next_id = at
                if record is not None:
                    self._keep(record)
            elif record is not None:
                open_ones.append(record)
            elif state == _RESERVED:  # it will be a record, and those after it are kept only then
                break
        return open_ones

    def _back_to(self, start: int) -> Iterator[LogRecord]:
        """Records from the newest backwards, down to sequence number `start`."""
        try:
            head, tail = self._word(self._head) & self._id, self._word(self._tail) & self._id
        except ValueError:
            return
        for distance in range(min(head - tail & self._id, self._count) + 1):
            try:
                record, _ = self._read(head - distance & self._id)
            except ValueError:
                return
            if record is not None:
                if record.seq < start:
                    return
                yield record

    def _keep(self, record: LogRecord) -> None:
        before = self._records.last
        self.lost += record.seq - (before.seq + 1 if before is not None else 0)
        self._records.append(record)

    def _read(self, number: int) -> tuple[LogRecord | None, int]:
        """The record of a descriptor, None if there is none (yet, or any more), and the descriptor's state."""
        slot = number % self._count
        desc = self._machine.read(self._descs + slot * self._desc_size, self._desc_size)
        state = self._space.number(desc, self._state)
        if state & self._id != number:
            return None, _RESERVED
        if state >> 8 * self._space.word - 2 not in (_COMMITTED, _FINALIZED):
            return None, state >> 8 * self._space.word - 2
        begin, end = self._space.numbers(desc[self._block : self._block + 2 * self._space.word])
        info = self._machine.read(self._infos + slot * self._info_size, self._info_size)
        seq, nanoseconds, length, facility, flags = struct.unpack_from("<QQHBB", info)
        (caller,) = struct.unpack_from("<I", info, self._facts.offset("printk_info.caller_id"))
        device = self._facts.offset("printk_info.dev_info")
        subsystem, name = (
            c_string(part).decode(errors="backslashreplace")
            for part in (info[device : device + 16], info[device + 16 : device + 64])
        )
        record = LogRecord(
            seq,
            nanoseconds / 1e9,
            flags >> 5,
            facility,
            self._text_of(begin, end, length),
            _caller(caller),
            (subsystem, name),
        )
        return record, state >> 8 * self._space.word - 2

    def _text_of(self, begin: int, end: int, length: int) -> str:
        if begin & 1 or not length:
            return ""
        start = begin % self._text_size
        if begin // self._text_size != (end - 1) // self._text_size:
            start = 0  # the block did not fit before the end of the ring
        word = self._space.word
        data = self._machine.read(self._text + start + word, min(length, self._text_size - start - word))
        return data.decode(errors="backslashreplace")

    def _word(self, address: int) -> int:
        """The pointer, or the unsigned long, at an address."""
        return self._space.number(self._machine.read(address, self._space.word))

    def _u32(self, address: int) -> int:
        return int.from_bytes(self._machine.read(address, 4), "little")


class _Follower(Iterator[LogRecord]):
    """The next record. After `StopIteration` it can be asked again: new records may have come."""

    def __init__(self, log: KernelLog) -> None:
        self._log = log
        self._next = log.next_seq

    def __next__(self) -> LogRecord:
        new = self._log.since(self._next)
        if not new:
            raise StopIteration
        self._next = new[0].seq + 1
        return new[0]


def _caller(number: int) -> str:
    if not number:
        return ""
    return f"C{number & 0x7FFFFFFF}" if number >> 31 else f"T{number}"
