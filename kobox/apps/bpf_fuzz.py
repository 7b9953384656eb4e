"""Inputs for a program of eBPF, made at random and kept where they reach something new: packets, contexts.

    packets of each kind, the caller's inputs --> changed: fields, bits, lengths, numbers that the program compares with
    BPF_PROG_TEST_RUN, observed               --> a new side of a branch, a new block: the input is kept, and changed on

The verifier promises that a program ends and touches what it may. What is left to find: code that no input reaches,
results that nobody wants, the input that takes longest, what the kernel logs.
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from kobox.apps.bpf_exercise import PACKETS
from kobox.apps.bpf_listing import RunCosts, costs, listing
from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfObject
from kobox.box.bpf.observation import BpfObservation, ProgramRun
from kobox.box.bpf.programs import BpfProgram
from kobox.bpf.instructions import BpfInstruction, instructions
from kobox.errors import KoboxError

_WARNING = 4
_LONGEST = 2048
_MOST_KEPT = 512
_MOST_PAIRS = 256
_HEADERS = (0, 14, 34)  # where Ethernet, IPv4 and what it carries begin
# Kinds that take a packet, and the size of the context beside it (struct __sk_buff, bpf_sk_lookup; 0: none is taken).
_PACKETS = {
    "xdp": 0,
    "sched_cls": 192,
    "sched_act": 192,
    "socket_filter": 192,
    "cgroup_skb": 192,
    "lwt_in": 192,
    "lwt_out": 192,
    "lwt_xmit": 192,
    "flow_dissector": 0,
}
# Kinds that take a context alone: arguments of a tracepoint, whatever a syscall program expects, a socket's look-up.
_CONTEXTS = {
    "raw_tracepoint": tuple(map(bytes, (0, 8, 16, 40, 96))),
    "syscall": tuple(map(bytes, (0, 8, 16, 64))),
    "sk_lookup": tuple(bytes(8) + struct.pack("<II", family, 6).ljust(64, b"\0") for family in (2, 10)),
}
# Members of struct __sk_buff that are taken: mark, priority, cb, tstamp (convert___skb_to_skb() in net/bpf/test_run.c).
_OF_SKB = (8, 32, 48, 52, 56, 60, 64, 152)
# Members of struct bpf_sk_lookup: family, protocol, addresses and ports (include/uapi/linux/bpf.h).
_OF_LOOKUP = ((8, 4), (12, 4), (16, 4), (36, 4), (40, 4), (60, 4))
_FIELDS = (12, 14, 16, 17, 20, 22, 23, 26, 30, 34, 36, 38, 46, 47, 54)
_NUMBERS = (0, 1, 2, 6, 17, 47, 0x7F, 0x80, 0xFF, 0x100, 0x800, 0x806, 0x86DD, 0x8100, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class FuzzInput:
    """What a program is called with."""

    packet: bytes
    context: bytes = b""


@dataclass(frozen=True, slots=True)
class KeptInput:
    """An input that reached something new: `result` by name or number, `own` instructions of the program."""

    input: FuzzInput
    result: str
    own: int

    def plain(self) -> dict[str, object]:
        """For JSON: bytes in hexadecimal digits."""
        return {
            "packet": self.input.packet.hex(),
            "context": self.input.context.hex(),
            "result": self.result,
            "instructions": self.own,
        }


@dataclass(frozen=True, slots=True)
class FuzzReport:
    """What came of it. `results` counts what the program returned, `refused` the inputs that the kernel did not take;
    `sides` of `of_sides` sides of branches were seen, `missed` names the others; `costs` is None where nothing ran;
    `slowest` took the most instructions; `problems` is what the kernel logged, and an oops."""

    program: str
    runs: int
    seed: int
    results: dict[str, int]
    refused: int
    sides: int
    of_sides: int
    missed: tuple[str, ...]
    costs: RunCosts | None
    kept: tuple[KeptInput, ...]
    slowest: KeptInput | None
    problems: tuple[str, ...]

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            **{name: getattr(self, name) for name in ("program", "runs", "seed", "results", "refused", "sides")},
            "of_sides": self.of_sides,
            "missed": list(self.missed),
            "costs": asdict(self.costs) if self.costs else None,
            "kept": [one.plain() for one in self.kept],
            "slowest": self.slowest.plain() if self.slowest else None,
            "problems": list(self.problems),
        }


def can_be_fuzzed(program: BpfProgram) -> bool:
    """Whether the kernel runs programs of this kind with an input of one's own."""
    return program.kind in _PACKETS or program.kind in _CONTEXTS


def fuzz(
    box: Box, loaded: BpfObject, name: str, *, runs: int = 1000, seed: int = 0, inputs: Sequence[FuzzInput] = ()
) -> FuzzReport:
    """Call a program `runs` times. The same box, object, seed and `inputs` give the same report.

    Raises `KeyError`; `KoboxError` for a kind that cannot be called so.
    """
    program = loaded.programs[name]
    if not can_be_fuzzed(program):
        raise KoboxError(
            f"{name}: a program of section {program.section} takes no input of one's own (BPF_PROG_TEST_RUN)",
            hint=f"It can be done for: {', '.join([*_PACKETS, *_CONTEXTS])}. Look at it with `kobox bpf cover`.",
        )
    with loaded.observe(name) as seen:
        one = _Fuzz(box, program, seen, random.Random(seed))
        problems = one.run(runs, inputs)
        told = listing(box, program, seen) if box.alive else None
    return FuzzReport(
        name,
        one.calls,
        seed,
        dict(one.results.most_common()),
        one.refused,
        told.sides if told else 0,
        told.of_sides if told else 0,
        tuple(told.missed()) if told else (),
        costs(one.costs) if one.costs else None,
        tuple(one.kept),
        one.slowest,
        tuple(problems),
    )


class _Fuzz:
    """One campaign."""

    def __init__(self, box: Box, program: BpfProgram, seen: BpfObservation, rng: random.Random) -> None:
        self._box = box
        self._program = program
        self._seen = seen
        self._rng = rng
        code = list(instructions(program.original))
        self._compared = _constants(code)
        self._numbers = [*_NUMBERS, *self._compared]
        self._loads = sorted({(one.offset, one.load_size) for one in code if one.load_size and 0 <= one.offset < 512})
        self._exact = sorted({one.constant & 0xFFFFFFFF for one in code if one.branches and not one.code & 8})
        self._queue: list[FuzzInput] = []
        self._progress = 0
        self.calls = 0
        self.results: Counter[str] = Counter()
        self.refused = 0
        self.kept: list[KeptInput] = []
        self.costs: list[ProgramRun] = []
        self.slowest: KeptInput | None = None

    def run(self, runs: int, inputs: Sequence[FuzzInput]) -> list[str]:
        """Do it; what the kernel logged of it."""
        said = self._box.log.next_seq
        first = [*inputs, *self._first()]
        try:
            for n in range(runs):
                self._call(first[n] if n < len(first) else self._next(first))
        except KoboxError as error:
            if self._box.alive:
                raise
            return [str(error).splitlines()[0]]
        return [record.text.splitlines()[0] for record in self._box.log.since(said) if record.level <= _WARNING][:20]

    def _first(self) -> list[FuzzInput]:
        if self._program.kind in _PACKETS:
            return [FuzzInput(packet) for packet in PACKETS.values()]
        return [FuzzInput(b"", context) for context in _CONTEXTS[self._program.kind]]

    def _next(self, first: Sequence[FuzzInput]) -> FuzzInput:
        if self._queue:
            return self._queue.pop()
        rng = self._rng
        which = rng.random()  # the newest came furthest
        kept = self.kept[-1:] if which < 0.4 else self.kept if which < 0.8 else []
        base = rng.choice(kept).input if kept else rng.choice(first)
        packet, context = base.packet, base.context
        for _ in range(rng.choice((1, 1, 2, 4))):
            if self._program.kind in _CONTEXTS:
                context = self._changed_context(context)
            elif _PACKETS[self._program.kind] and rng.random() < 0.2:
                context = self._changed_skb(context)
            else:
                packet = self._changed(packet)
        return FuzzInput(packet[:_LONGEST], context)

    def _call(self, given: FuzzInput) -> None:
        self.calls += 1
        before = len(self._seen.runs(self._program.name))
        try:
            run = self._program.test_run(given.packet, context=given.context)
        except OSError:
            self.refused += 1
            return
        result = run.name or str(run.result - (run.result >> 31 << 32))
        self.results[result] += 1
        new = self._seen.runs(self._program.name)[before:]
        own = new[-1].own if new else 0
        self.costs += new
        kept = KeptInput(given, result, own)
        if self.slowest is None or own > self.slowest.own:
            self.slowest = kept
        if (progress := self._seen.progress(self._program.name)) > self._progress:
            self._progress = progress
            self.kept = [*self.kept, kept][-_MOST_KEPT:]
            self._queue += self._with_numbers(given.packet)

    def _with_numbers(self, packet: bytes) -> list[FuzzInput]:
        """A packet with each number that the program compares with, at each place that it loads."""
        if self._program.kind not in _PACKETS:
            return []
        places = [(at + head, size) for head in _HEADERS for at, size in self._loads]
        pairs = [(at, size, number) for at, size in places for number in self._exact]
        found = []
        for at, size, number in pairs[:_MOST_PAIRS]:
            data = bytearray(packet.ljust(at + size, b"\0"))
            data[at : at + size] = (number & (1 << 8 * size) - 1).to_bytes(size, "little")
            found.append(FuzzInput(bytes(data)))
        return found

    def _changed(self, packet: bytes) -> bytes:
        rng, data = self._rng, bytearray(packet or bytes(14))
        if self._loads and self._compared and rng.random() < 0.5:
            # What is loaded from a packet is compared as it stands there: in this machine's order.
            at, size = rng.choice(self._loads)
            at += rng.choice((0, *_HEADERS))
            number = rng.choice(self._compared) & (1 << 8 * size) - 1
            data = data.ljust(at + size, b"\0")
            data[at : at + size] = number.to_bytes(size, "little")
            return bytes(data)
        how = rng.randrange(6)
        at = rng.choice(_FIELDS) if rng.random() < 0.6 else rng.randrange(len(data))
        if how <= 2:
            size, number = rng.choice((1, 2, 2, 4, 8)), rng.choice(self._numbers)
            value = (number & (1 << 8 * size) - 1).to_bytes(size, rng.choice(("big", "big", "little")))
            if at + size > len(data):
                data += bytes(at + size - len(data))
            data[at : at + size] = value
        elif how == 3:
            at = rng.randrange(len(data))
            data[at] ^= 1 << rng.randrange(8)
        elif how == 4:
            del data[rng.randrange(1, len(data) + 1) :]
        else:
            data[at:at] = rng.randbytes(rng.choice((1, 4, 4, 8, 20, 40, 400)))
        return bytes(data)

    def _changed_skb(self, context: bytes) -> bytes:
        data = bytearray(context.ljust(192, b"\0"))
        at = self._rng.choice(_OF_SKB)
        data[at : at + 4] = (self._rng.choice(self._numbers) & 0xFFFFFFFF).to_bytes(4, "little")
        return bytes(data)

    def _changed_context(self, context: bytes) -> bytes:
        rng, data = self._rng, bytearray(context)
        if self._program.kind == "sk_lookup":
            at, size = rng.choice(_OF_LOOKUP)
        elif not data or rng.random() < 0.1:
            return rng.choice(_CONTEXTS[self._program.kind])
        else:
            size = rng.choice((1, 2, 4, 8))
            at = rng.randrange(len(data)) // size * size
        number = rng.choice(self._numbers) if rng.random() < 0.7 else rng.getrandbits(8 * size)
        value = struct.pack("<Q", number & 0xFFFFFFFFFFFFFFFF)[:size]
        data[at : at + size] = value[: len(data) - at]
        return bytes(data)


def _constants(code: Iterable[BpfInstruction]) -> list[int]:
    """The numbers that a program compares with, and the numbers beside them."""
    found: dict[int, None] = {}
    for one in code:
        if one.branches and not one.code & 8:
            for number in (one.constant, one.constant + 1, one.constant - 1):
                found[number & 0xFFFFFFFF] = None
    return list(found)
