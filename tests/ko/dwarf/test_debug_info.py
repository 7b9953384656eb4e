"""Debugging information: the same lines and inlined calls as addr2line finds, and variables as the source has them."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import pytest

from kobox.errors import ModuleFormatError
from kobox.ko.dwarf.debug_info import DebugInfo
from kobox.ko.dwarf.places import Function, Local
from kobox.ko.modulefile import ModuleFile
from tests.building import SOURCES, BuiltTestModules


@pytest.fixture(scope="module", params=["debian_kernel", "trixie_kernel"])
def built(request: pytest.FixtureRequest) -> BuiltTestModules:
    return BuiltTestModules(request.getfixturevalue(request.param), "lines")


@pytest.fixture
def debug(built: BuiltTestModules) -> DebugInfo:
    return ModuleFile(built("both")).debug


def line_of(text: str, file: str = "lines.c") -> int:
    lines = (SOURCES / "lines" / file).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def function(debug: DebugInfo, name: str) -> Function:
    return next(found for found in debug.functions if found.name == name)


def all_places(debug: DebugInfo, name: str) -> list[list[tuple[str, str, int, bool]]]:
    it = function(debug, name)
    return [
        [(place.function, place.file, place.line, place.inlined) for place in debug.lines(it.section, offset)]
        for offset in range(it.offset, it.offset + it.size)
    ]


def test_every_instruction_s_line_is_addr2line_s(built: BuiltTestModules, modules: BuiltTestModules) -> None:
    compared = 0
    for path in (built("both"), *sorted(modules("good").parent.glob("*.ko"))):
        file = ModuleFile(path)
        assert file.debug.available
        for section in {found.section for found in file.debug.functions}:
            offsets = [
                offset
                for found in file.debug.functions
                if found.section == section
                for offset in range(found.offset, found.offset + found.size, 5)
            ]
            theirs = addr2line(path, file.elf.section_name(section).decode(), offsets)
            for offset in offsets:
                mine = [(place.function, place.path, place.line) for place in file.debug.lines(section, offset)]
                if mine != theirs[offset]:
                    assert_only_the_file_differs(mine, theirs[offset], path)
                compared += 1
    assert compared > 1000


def assert_only_the_file_differs(
    mine: list[tuple[str, str, int]], theirs: list[tuple[str, str, int]], module: Path
) -> None:
    """When the compiler makes a header's inline function a function of its own, binutils' addr2line names the unit's
    source for it; its objdump reads the same rows rightly."""
    assert [(name, line) for name, _, line in mine] == [(name, line) for name, _, line in theirs]
    shown = subprocess.run(
        ["objdump", "--dwarf=decodedline", module], capture_output=True, text=True, check=True
    ).stdout
    rows = {tuple(line.split()[:2]) for line in shown.splitlines()}
    for (_, path, line), (_, other, _) in zip(mine, theirs, strict=True):
        assert path == other or (path.endswith(".h") and (Path(path).name, str(line)) in rows)


def addr2line(path: Path, section: str, offsets: list[int]) -> dict[int, list[tuple[str, str, int]]]:
    asked = "\n".join(map(hex, offsets))
    ran = subprocess.run(
        ["addr2line", "-j", section, "-i", "-f", "-a", "-e", path],
        input=asked, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[int, list[tuple[str, str, int]]] = {}
    lines = iter(ran.stdout.splitlines())
    for line in lines:
        if line.startswith("0x"):
            current = found[int(line, 16)] = []
        else:
            place, _, number = next(lines).partition(" (")[0].rpartition(":")
            current.append((line, os.path.normpath(place), 0 if number == "?" else int(number)))
    return found


def test_the_functions_inlined_in_a_function_are_those_of_its_instructions(debug: DebugInfo) -> None:
    for found in debug.functions:
        offsets = range(found.offset, found.offset + found.size)
        lines = [line for offset in offsets for line in debug.lines(found.section, offset)]
        assert debug.inlined_in(found.section, found.offset) == {line.function for line in lines if line.inlined}


def test_inlined_calls_innermost_first(debug: DebugInfo) -> None:
    expected = [
        ("lines_innermost", "lines.c", line_of("innermost line"), True),
        ("lines_middle", "lines.c", line_of("middle line"), True),
        ("lines_outer", "lines.c", line_of("outer line"), False),
    ]
    parts = [found.name for found in debug.functions if found.name.partition(".")[0] == "lines_outer"]  # .cold
    assert any(expected in all_places(debug, part) for part in parts)
    assert debug.function_at(function(debug, "lines_use").section, function(debug, "lines_use").offset + 1) == function(
        debug, "lines_use"
    )


def test_files_are_named_from_the_module_s_directory(debug: DebugInfo) -> None:
    part = [place[0] for place in all_places(debug, "part_of_lines")]
    assert ("part_of_lines", "part.c", line_of("line of the part", "part.c"), False) in part
    headers = {place.file for row in debug.rows() for place in debug.lines(row.section, row.start) if place.inlined}
    assert headers <= {"lines.c", *(name for name in headers if name.startswith(("include/", "arch/")))}
    init = function(debug, "lines_init")
    definition = debug.definition(init.section, init.offset)
    assert definition is not None
    assert (definition.function, definition.file, definition.line) == (
        "lines_init",
        "lines.c",
        line_of("lines_init(void)"),
    )


def test_variables_of_a_frame(debug: DebugInfo) -> None:
    it = function(debug, "lines_outer")
    found = {local.name: local for local in debug.locals(it.section, it.offset)}
    assert {name: (local.size, local.function) for name, local in found.items()} == {
        "record": (4 + 20 + 3 * 4, "lines_outer"),
        "matrix": (60, "lines_outer"),
        "room": (24, "lines_middle"),
    }
    assert found["room"].ranges
    assert all(-400 < local.offset <= -local.size for local in found.values())
    part = function(debug, "part_of_lines")
    (buffer,) = debug.locals(part.section, part.offset)
    assert buffer == Local("buffer", buffer.offset, 64, "part_of_lines")


def test_variables_elsewhere(debug: DebugInfo) -> None:
    found = {variable.name.partition(".")[0]: variable for variable in debug.variables}
    assert found["lines_records"].size == 7 * 36
    assert found["lines_names"].size == 16
    assert found["lines_times"].size == 16


def test_all_rows(debug: DebugInfo) -> None:
    rows = list(debug.rows())
    assert {Path(row.path).name for row in rows} >= {"lines.c", "part.c"}
    assert line_of("to the other file") in {row.line for row in rows if row.path.endswith("lines.c")}
    for row in rows:
        assert row.start < row.end
        assert debug.lines(row.section, row.start)[0].line == row.line


def test_only_the_unit_concerned_is_read(debug: DebugInfo) -> None:
    part = function(debug, "part_of_lines")
    debug.lines(part.section, part.offset)
    starts = debug._sections.unit_starts
    assert len(starts) >= 3
    assert starts[0] not in debug._units._known


def test_a_module_without_debugging_information(built: BuiltTestModules, tmp_path: Path) -> None:
    stripped = tmp_path / "both.ko"
    subprocess.run(["objcopy", "--strip-debug", built("both"), stripped], check=True)
    debug = ModuleFile(stripped).debug
    outer = function(debug, "lines_outer")
    assert not debug.available
    assert debug.lines(outer.section, outer.offset) == debug.locals(outer.section, outer.offset) == ()
    assert debug.definition(outer.section, outer.offset) is None
    assert not list(debug.rows())
    assert debug.function_at(outer.section, outer.offset + 3) == outer


def test_compressed_debugging_information(built: BuiltTestModules, tmp_path: Path) -> None:
    packed = tmp_path / "both.ko"
    subprocess.run(["objcopy", "--compress-debug-sections=zlib", built("both"), packed], check=True)
    assert packed.stat().st_size < built("both").stat().st_size
    assert all_places(ModuleFile(packed).debug, "lines_outer") == all_places(
        ModuleFile(built("both")).debug, "lines_outer"
    )


def test_without_a_table_of_ranges_the_units_themselves_are_asked(built: BuiltTestModules, tmp_path: Path) -> None:
    """clang writes no .debug_aranges."""
    without = tmp_path / "both.ko"
    subprocess.run(["objcopy", "--remove-section=.debug_aranges", built("both"), without], check=True)
    assert all_places(ModuleFile(without).debug, "lines_outer") == all_places(
        ModuleFile(built("both")).debug, "lines_outer"
    )


def test_damage_is_said_to_be_that(built: BuiltTestModules) -> None:
    content = bytearray(built("both").read_bytes())
    module = ModuleFile(bytes(content))
    header = module.elf.section_at(module.elf.find(b".debug_abbrev"))
    content[header.offset : header.offset + header.size] = b"\xff" * header.size
    damaged = ModuleFile(bytes(content)).debug
    outer = function(damaged, "lines_outer")
    with pytest.raises(ModuleFormatError, match="debugging information"):
        damaged.lines(outer.section, outer.offset)


def everything(debug: DebugInfo) -> None:
    """Ask for all that there is, at every function."""
    _ = debug.root, debug.variables
    for found in debug.functions:
        for offset in {found.offset, found.offset + found.size // 2}:
            debug.lines(found.section, offset)
            debug.locals(found.section, offset)
            debug.definition(found.section, offset)
    for _row in debug.rows():
        pass


@pytest.fixture(scope="module")
def whole(built: BuiltTestModules) -> bytes:
    return built("both").read_bytes()


SECTIONS = (".debug_info", ".debug_abbrev", ".debug_line", ".debug_line_str", ".debug_str", ".debug_aranges")
MORE = (".debug_rnglists", ".debug_ranges", ".debug_loclists", ".symtab", ".rela.debug_info", ".rela.debug_line")


@pytest.mark.parametrize("seed", range(4))
def test_any_damage_gives_only_the_one_error(whole: bytes, seed: int) -> None:
    """Bytes changed where they matter most: nothing but `ModuleFormatError` comes out, and it always ends."""
    module = ModuleFile(whole)
    places = []
    for name in (*SECTIONS, *MORE):
        if number := module.elf.find(name.encode()):
            header = module.elf.section_at(number)
            places.append((header.offset, header.size))
    chosen = random.Random(seed)
    reached = 0
    for _ in range(25):
        damaged = bytearray(whole)
        for _ in range(chosen.choice((1, 1, 3, 40))):
            start, size = chosen.choice(places)
            at = start + chosen.randrange(min(size, 4096) if chosen.random() < 0.7 else size)
            damaged[at] = chosen.choice((0, 1, 0x7F, 0x80, 0xFF, chosen.randrange(256)))
        with contextlib.suppress(ModuleFormatError):
            everything(ModuleFile(bytes(damaged)).debug)
            reached += 1
    assert reached < 25


def patched(whole: bytes, section: str, offset: int, data: bytes) -> DebugInfo:
    module = ModuleFile(whole)
    header = module.elf.section_at(module.elf.find(section.encode()))
    content = bytearray(whole)
    content[header.offset + offset : header.offset + offset + len(data)] = data
    return ModuleFile(bytes(content)).debug


@pytest.mark.parametrize(
    ("section", "offset", "data", "what"),
    [
        (".debug_info", 0, bytes(4), "is said to have 0 bytes"),
        (".debug_info", 4, b"\xff\xff", "version"),
        (".debug_info", 0, b"\xff\xff\xff\xff" + bytes(8), "is said to have 0 bytes"),
        (".debug_line", 0, b"\0\0\0\x7f", "line number program"),
        (".debug_line", 17, b"\xff", "line number program|table|form|beyond|reach"),
    ],
)
def test_lengths_that_cannot_be_true(whole: bytes, section: str, offset: int, data: bytes, what: str) -> None:
    with pytest.raises(ModuleFormatError, match=what):
        everything(patched(whole, section, offset, data))


def test_a_section_that_unpacks_to_gigabytes_is_refused_before_it_does(whole: bytes) -> None:
    """An Elf64_Chdr that promises 3 GB, and one that promises little over data that give more."""
    module = ModuleFile(whole)
    number = module.elf.find(b".debug_str")
    header = module.elf.section_at(number)
    for promised in (3 << 30, 100):
        packed = zlib.compress(bytes(200 << 20), 1)[: header.size - 24]
        content = bytearray(whole)
        content[header.offset : header.offset + 24] = struct.pack("<IIQQ", 1, 0, promised, 1)
        content[header.offset + 24 : header.offset + 24 + len(packed)] = packed
        table = int.from_bytes(whole[40:48], "little") + 64 * number
        content[table + 8 : table + 16] = (header.flags | 0x800).to_bytes(8, "little")
        tracemalloc.start()
        try:
            with pytest.raises(ModuleFormatError, match="unpacks to"):
                everything(ModuleFile(bytes(content)).debug)
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()
