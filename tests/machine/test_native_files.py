"""How the files of the native cores meet: a file calls only files below it, and no two call each other in a circle."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
NATIVE = ROOT / "kobox" / "machine" / "native"
CORES = {  # directory, the library in it, what the compiler is told
    "machine": (NATIVE, "core.so", ()),
    "machine of arm64": (NATIVE, "core_aarch64.so", ("-DKOBOX_ARM64",)),
    "machine of riscv64": (NATIVE, "core_riscv64.so", ("-DKOBOX_RISCV64",)),
    "machine of armv7l": (NATIVE, "core_armv7l.so", ("-DKOBOX_ARMV7",)),
    "kmod": (ROOT / "kobox" / "kmod" / "native", "core.so", ()),
}


def left_out(directory: Path, library: str) -> tuple[str, ...]:
    """The files in a core's directory that are another core's: by hatch_build.py."""
    if directory != NATIVE:
        return ()
    (table,) = re.findall(r"^PARTS = (\{.*?^\})", (ROOT / "hatch_build.py").read_text(), re.MULTILINE | re.DOTALL)
    parts: dict[str, tuple[str, ...]] = ast.literal_eval(table)
    return tuple({part for some in parts.values() for part in some} - set(parts[library]))


@pytest.fixture(scope="module", params=sorted(CORES))
def calls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """File -> the files that define what it uses, of one core: by the symbol tables of its object files."""
    if shutil.which("nm") is None:
        pytest.fail("nm is missing (Debian: apt-get install binutils)")
    (core, library, processor), objects = CORES[request.param], tmp_path_factory.mktemp("objects")
    others = left_out(core, library)
    spec = importlib.util.find_spec("unicorn")
    assert spec is not None
    assert spec.submodule_search_locations
    headers = Path(spec.submodule_search_locations[0], "include")
    defined: dict[str, str] = {}
    wanted: dict[str, set[str]] = {}
    for source in sorted(core.rglob("*.c")):
        name = source.relative_to(core).as_posix()
        if name.startswith(others):
            continue
        made = objects / name.replace("/", "_")
        subprocess.run(["cc", *processor, "-std=c11", "-c", "-w", "-isystem", headers, "-o", made, source], check=True)
        table = subprocess.run(["nm", made], capture_output=True, text=True, check=True).stdout
        symbols = re.findall(r"^[0-9a-f ]{16} ([A-Z]) (\w+)$", table, re.MULTILINE)
        wanted[name] = {symbol for kind, symbol in symbols if kind == "U"}
        defined.update((symbol, name) for kind, symbol in symbols if kind != "U")
    return {name: {defined[symbol] for symbol in symbols if symbol in defined} for name, symbols in wanted.items()}


def test_no_files_call_each_other_in_a_circle(calls: dict[str, set[str]]) -> None:
    left = dict(calls)
    while left:
        lowest = [name for name, used in left.items() if not used & left.keys()]
        assert lowest, f"a circle among {sorted(left)}: {left}"
        for name in lowest:
            del left[name]


def test_the_files_of_a_processor_stand_apart() -> None:
    """What is x86's is in a directory of its own: only these files outside of it may include its header."""
    core = NATIVE
    mixed = {"pc.c", "processor.h"}
    found = {
        path.relative_to(core).as_posix()
        for path in core.rglob("*.[ch]")
        if "x86_64" not in path.parts and "x86_64/" in "".join(re.findall(r"#include .*", path.read_text()))
    }
    assert found == mixed
