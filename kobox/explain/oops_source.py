"""An oops in the module's own words: file and line, the source around it, inlined functions, registers by the variables
that they hold, and which pointer was bad.

    for oops in oopses_in(log_text, [ModuleFile("hello.ko")]):
        print("\\n".join(oops.lines()))

What is needed is the report as the kernel prints it (its own machine may be anywhere) and the very .ko file, built with
debugging information. Registers and the instruction's bytes stand in the report; no memory is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kobox.arch.arch import Arch
from kobox.arch.registry import architecture
from kobox.box.inspect.errno_name import errno_name
from kobox.errors import KoboxError
from kobox.explain.log_lines import log_lines
from kobox.ko.dwarf.live import HeldAt, LiveVariable, Where
from kobox.ko.dwarf.places import Place
from kobox.ko.modulefile import ModuleFile
from kobox.ko.source_lines import SourceLine, source_around

_PLACE = re.compile(
    r"(?P<function>[\w.$]+)\+0x(?P<offset>[0-9a-f]+)/0x(?P<size>[0-9a-f]+)(?: \[(?P<module>[\w-]+)[^\]]*\])?"
)
_TRACE = re.compile(r"^Call [Tt]race:")
_END = re.compile(r"---\[ end (?:trace|Kernel panic)|^------------\[ cut here \]")
_ACCESS = re.compile(r"supervisor (?P<kind>read|write|instruction fetch)|(?P<write>WnR = 1)|(?P<read>WnR = 0)")
_LONGEST = 200  # lines of a report
_KASAN, _EQUALS = re.compile(r"^BUG: KASAN: "), re.compile(r"^={20,}$")
_STACKS = re.compile(r"^(?P<what>Allocated|Freed) by task \d+")
_KASAN_ACCESS = re.compile(r"^(?:Read|Write|Free) of (?:size \d+ at )?addr [0-9a-f]+ by task \S+")
_ABOVE = 20  # lines that can stand above those that show registers
_ADDRESS = re.compile(r"address:? ([0-9a-f]{16})\b")
_WORD = (1 << 64) - 1
_PAGE, _MOST_ERRNO = 4096, 4095
# What the kernel writes where a pointer must not be used any more (include/linux/poison.h), and what that means.
_POISON = (
    (0x6B6B6B6B6B6B6B6B, 0x1000, "memory that was freed (slab poison 0x6b)"),
    (0x5A5A5A5A5A5A5A5A, 0x1000, "memory that was never written (slab poison 0x5a)"),
    (0xDEAD000000000100, 0x1000, "an entry that was deleted from its list (LIST_POISON1)"),
    (0xDEAD000000000122, 0x1000, "an entry that was deleted from its list (LIST_POISON2)"),
    (0xCCCCCCCCCCCCCCCC, 0x1000, "memory of init that was freed (0xcc)"),
)


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """A call of the trace in a module that is known. `places` are its lines, the innermost inlined function first;
    `context` the source around the first line that is there."""

    place: str
    places: tuple[Place, ...]
    context: tuple[SourceLine, ...] = ()


@dataclass(frozen=True, slots=True)
class NamedRegister:
    """A register of a report and the variables that it holds there."""

    name: str
    value: int
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecodedOops:
    """A report, decoded. `message` is the kernel's first line; `why` says which pointer was bad, "" when that is not to
    be told; `variables` are those whose value is known at the instruction, (name, type, value as text)."""

    message: str
    frames: tuple[SourceFrame, ...]
    registers: tuple[NamedRegister, ...] = ()
    why: str = ""
    variables: tuple[tuple[str, str, str], ...] = ()
    allocated: tuple[SourceFrame, ...] = ()
    """Of a report of KASAN's: the calls in the module that allocated the memory, the innermost first."""
    freed: tuple[SourceFrame, ...] = ()
    """Likewise those that freed it."""

    def lines(self) -> Iterator[str]:
        """As text."""
        yield self.message
        if self.why:
            yield f"  {self.why}"
        for first, frames in (("at", self.frames), ("allocated at", self.allocated), ("freed at", self.freed)):
            for number, frame in enumerate(frames):
                yield f"  {first if not number else 'called from'} {frame.place}"
                yield from _frame_lines(frame)
        for name, kind, value in self.variables:
            yield f"  {kind}{'' if kind.endswith('*') else ' '}{name} = {value}"
        for register in self.registers:
            yield f"  {register.name} {register.value:#018x}  {', '.join(register.variables)}"


def _frame_lines(frame: SourceFrame) -> Iterator[str]:
    for place in frame.places:
        yield f"    {place.file}:{place.line}  {place.function}(){' (inlined)' if place.inlined else ''}"
    for line in frame.context:
        yield f"    {'>' if line.is_here else ' '} {line.number:5}  {line.text}"


@dataclass(frozen=True, slots=True)
class _Report:
    message: str
    module: str
    pc: str
    calls: tuple[str, ...]
    registers: Mapping[str, int]
    code: bytes
    access: str


def oopses_in(log: str, modules: Sequence[ModuleFile]) -> list[DecodedOops]:
    """The reports of a log in whose innermost calls one of these modules is, decoded by its file."""
    by_name = {module.name.replace("-", "_"): module for module in modules}
    texts = [line.plain for line in log_lines(log)]
    found = [_decode_kasan(lines, by_name) for lines in _kasan_reports(texts)]
    return [oops for oops in found if oops.frames] + [
        _decode(report, by_name, arch)
        for arch in {module.elf.architecture: architecture(module.elf.architecture) for module in modules}.values()
        for report in _reports(texts, arch)
        if any(module_of(place) in by_name for place in (report.pc, *report.calls))
    ]


def module_of(place: str) -> str:
    """The module of a place as the kernel writes one, "" for the kernel's own code."""
    match = _PLACE.match(place)
    return (match["module"] or "").replace("-", "_") if match else ""


# -- reading -----------------------------------------------------------------------------------------------------------


def _reports(lines: Sequence[str], arch: Arch) -> Iterator[_Report]:
    """The reports that show registers: each begins with the words for the place where the CPU was."""
    words, at, last = arch.oops, 0, ""
    while at < len(lines):
        if words.pc not in lines[at] or not (place := _PLACE.search(lines[at])):
            at += 1
            continue
        end = at + 1
        while end < min(len(lines), at + _LONGEST) and not _END.search(lines[end]):
            end += 1
        begins = (*words.starts, *words.exceptions, "Oops", "kernel BUG at ", "WARNING: ", "BUG: ")
        first = _first_line(lines, at, begins)
        if first is not None or place[0] != last:  # registers are shown once more behind the end of a report
            yield _report(lines[at if first is None else first : end], place[0], arch)
        at, last = end, place[0]


def _first_line(lines: Sequence[str], at: int, begins: tuple[str, ...]) -> int | None:
    """The number of the line that a report begins with, whose registers stand from line `at` on."""
    first = None
    for number in range(at - 1, max(at - _ABOVE, -1), -1):
        if _END.search(lines[number]):
            break
        if lines[number].startswith(begins):
            first = number
    return first


def _report(lines: Sequence[str], place: str, arch: Arch) -> _Report:
    registers: dict[str, int] = {}
    calls: list[str] = []
    code, access, in_trace = b"", "", False
    for line in lines:
        if found := _ACCESS.search(line):
            access = access or found["kind"] or ("write" if found["write"] else "read")
        in_trace = in_trace or bool(_TRACE.match(line))
        if in_trace:
            if "? " not in line and (call := _PLACE.match(line.strip())):
                calls.append(call[0])
            continue
        for shown in re.finditer(arch.oops.shown, line):
            registers.setdefault(shown["name"].lower(), int(shown["value"], 16))
        if not code and (bytes_shown := re.search(arch.oops.code, line)):
            digits = re.sub(r"[^0-9a-f]", "", bytes_shown["code"])
            code = bytes.fromhex(digits)[:: -1 if arch.oops.words else 1]
    return _Report(lines[0].strip(), module_of(place), place, tuple(calls), registers, code, access)


def _kasan_reports(lines: Sequence[str]) -> Iterator[Sequence[str]]:
    """The reports of KASAN (mm/kasan/report.c): from their first line to the one of equals signs."""
    at = 0
    while at < len(lines):
        if _KASAN.match(lines[at]):
            end = next(
                (n for n in range(at + 1, min(len(lines), at + _LONGEST)) if _EQUALS.match(lines[n])), len(lines)
            )
            yield lines[at : min(end, at + _LONGEST)]
            at = end
        at += 1


def _decode_kasan(lines: Sequence[str], by_name: Mapping[str, ModuleFile]) -> DecodedOops:
    """The three stacks of a report: where memory was used, allocated and freed."""
    stacks: dict[str, list[str]] = {"": [], "Allocated": [], "Freed": []}
    which = None
    for line in lines:
        if _TRACE.match(line):
            which = ""
        elif begins := _STACKS.match(line):
            which = begins["what"]
        elif which is not None and (place := _PLACE.match(line.strip())):
            stacks[which].append(place[0])
        elif line.startswith(("The buggy address", "Last potentially", "Memory state", "Second to last")):
            which = None
    decoded = {
        name: tuple(frame for call in calls if (frame := _frame(call, by_name, returns_here=True)) is not None)
        for name, calls in stacks.items()
    }
    access = next((match[0] for line in lines if (match := _KASAN_ACCESS.match(line))), "")
    return DecodedOops(
        lines[0].strip(), decoded[""], why=access, allocated=decoded["Allocated"], freed=decoded["Freed"]
    )


# -- decoding ----------------------------------------------------------------------------------------------------------


def _decode(report: _Report, by_name: Mapping[str, ModuleFile], arch: Arch) -> DecodedOops:
    frames = [_frame(report.pc, by_name, returns_here=False)]
    frames += [_frame(call, by_name, returns_here=True) for call in report.calls if call != report.pc]
    known = tuple(frame for frame in frames if frame is not None)
    module = by_name.get(report.module)
    if module is None:
        outer = known[0].places[-1] if known and known[0].places else None
        why = f"{_PLACE.match(report.pc)['function']}() of the kernel was called by {outer.function}()" if outer else ""  # type: ignore[index]
        return DecodedOops(report.message, known, why=why)
    live = _live(module, report.pc)
    numbers = {arch.oops.numbers[name]: value for name, value in report.registers.items() if name in arch.oops.numbers}
    source = next((line.text for frame in known[:1] for line in frame.context if line.is_here), "")
    return DecodedOops(
        report.message,
        known,
        tuple(_registers(report.registers, live, arch)),
        _why(report, module, live, arch, source),
        tuple(_values(live, numbers)),
    )


def _found(module: ModuleFile, place: str, before: int) -> tuple[int, int] | None:
    """(section, offset) of a place as the kernel writes one."""
    match = _PLACE.match(place)
    if match is None:
        return None
    size, offset = int(match["size"], 16), int(match["offset"], 16)
    same = [one for one in module.debug.functions if one.name == match["function"]]
    for one in sorted(same, key=lambda one: one.size != size):
        if offset - before <= max(one.size, 1):
            return one.section, one.offset + offset - before
    return None


def _frame(place: str, by_name: Mapping[str, ModuleFile], *, returns_here: bool) -> SourceFrame | None:
    module = by_name.get(module_of(place))
    if module is None:
        return None
    with suppress(KoboxError):
        found = _found(module, place, int(returns_here))
        places = module.debug.lines(*found) if found is not None else ()
        first = next((one for one in places if not one.file.endswith(".h")), places[0] if places else None)
        return SourceFrame(place, places, source_around(first.path, first.line) if first is not None else ())
    return SourceFrame(place, ())


def _live(module: ModuleFile, place: str) -> tuple[LiveVariable, ...]:
    with suppress(KoboxError):
        found = _found(module, place, 0)
        return module.debug.live(*found) if found is not None else ()
    return ()


def _registers(registers: Mapping[str, int], live: Sequence[LiveVariable], arch: Arch) -> Iterator[NamedRegister]:
    for name, value in registers.items():
        number = arch.oops.numbers.get(name)
        names = [one.name for one in live if number is not None and _is_in(one.held({}), number)]
        if names:
            yield NamedRegister(name, value, tuple(dict.fromkeys(names)))


def _is_in(held: HeldAt | None, number: int) -> bool:
    return held is not None and held.where is Where.REGISTER and held.register == number


def _values(live: Sequence[LiveVariable], numbers: Mapping[int, int]) -> Iterator[tuple[str, str, str]]:
    """Variables whose value is in registers, or is computed from them."""
    for one in live:
        held = one.held(numbers)
        if held is None or held.value is None or held.where is Where.MEMORY:
            continue
        value = one.type.number(held.value)
        yield one.name, one.type.text, pointer_text(held.value) if one.type.is_pointer else str(value)


def pointer_text(value: int) -> str:
    """A pointer as text: NULL, ERR_PTR(-ENOENT), or its address and what is known of such an address."""
    if not value:
        return "NULL"
    meaning = _meaning(value)
    return meaning if meaning.startswith("ERR_PTR") else f"{value:#x}" + (f" ({meaning})" if meaning else "")


def _meaning(value: int) -> str:
    """What kind of pointer a value is, "" for one that may be good."""
    if value < _PAGE:
        return "NULL"
    if value > _WORD - _MOST_ERRNO:
        return f"ERR_PTR(-{errno_name(_WORD + 1 - value)})"
    for poison, around, text in _POISON:
        if abs(value - poison) < around:
            return text
    if value < 1 << 47:
        return "an address of user space"
    if value >> 47 not in (0, (1 << 17) - 1):
        return "no address at all"
    return ""


def _why(report: _Report, module: ModuleFile, live: Sequence[LiveVariable], arch: Arch, source: str) -> str:
    """Which pointer was bad, by the instruction's memory operand: base register and displacement."""
    operand = arch.code.pointer_operand(report.code or _code_of(module, report.pc))
    does = {"write": "wrote to", "read": "read"}.get(report.access, "used")
    if operand is None or operand[0] not in report.registers or not _meaning(report.registers[operand[0]]):
        return _by_address(report, module, live, arch, does)
    register, displacement = operand
    meaning = _meaning(report.registers[register])
    number = arch.oops.numbers.get(register, -1)
    pointers = [one for one in live if one.type.is_pointer]
    held = [one for one in pointers if _is_in(one.held({}), number)]
    if held:
        return _sentence(module, held[-1], displacement, meaning, does)
    # The register was loaded from memory: the line names a variable that points to something with such a member.
    named = set(re.findall(r"\w+", source))
    held = [one for one in pointers if one.name in named and _member(module, one, displacement)]
    if held:
        return _sentence(module, held[-1], displacement, f"{meaning}, it seems", does)
    return f"the pointer in {register} is {meaning}; the instruction {does} what lies {displacement} bytes behind it"


def _code_of(module: ModuleFile, place: str) -> bytes:
    """The instruction at a place, by the file: the kernel does not always show it ("Unable to access opcode bytes")."""
    with suppress(KoboxError):
        if (found := _found(module, place, 0)) is not None:
            return bytes(module.elf.data(found[0])[found[1] : found[1] + 16])
    return b""


def _by_address(report: _Report, module: ModuleFile, live: Sequence[LiveVariable], arch: Arch, does: str) -> str:
    """Which pointer was bad, by the address that the kernel says: one that lies a little before it."""
    told = _ADDRESS.search(report.message)
    numbers = {arch.oops.numbers[name]: value for name, value in report.registers.items() if name in arch.oops.numbers}
    for one in reversed(live if told is not None else ()):
        assert told is not None
        held = one.held(numbers)
        if not one.type.is_pointer or held is None or held.value is None or held.where is Where.MEMORY:
            continue
        offset = int(told[1], 16) - held.value & _WORD
        if offset < _PAGE and (meaning := _meaning(held.value)):
            return _sentence(module, one, offset, meaning, does)
    return ""


def _sentence(module: ModuleFile, one: LiveVariable, offset: int, meaning: str, does: str) -> str:
    member = _member(module, one, offset)
    target = f"{one.name}->{member}" if member else f"{one.name} + {offset}" if offset else f"*{one.name}"
    return f"{one.name} ({one.type.text}) is {meaning}; {one.function}() {does} {target}"


def _member(module: ModuleFile, variable: LiveVariable, offset: int) -> str:
    if not variable.type.is_pointer or offset < 0:
        return ""
    with suppress(KoboxError):
        return module.debug.member_at(variable, offset)
    return ""
