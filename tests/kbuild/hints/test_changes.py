"""The table of changed interfaces, against the kernels themselves: each example is compiled.

All examples of one column go into one file, each under a #line of its own, so that the compiler's messages say which
of them it refuses: two files a kernel, and no build of hundreds.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from kobox.images.exports import KernelExports
from kobox.images.kernel_image import KernelImage
from kobox.kbuild.hints.changes import KINDS, InterfaceChange, changes, changes_of

SUITES = ["debian_kernel", "trixie_kernel", "sid_kernel"]
_RELEASE = re.compile(r"\d+(\.\d+){1,2}(-\d+(\.\d+){1,2})?")


def number(release: str) -> tuple[int, ...]:
    """6.12.118+deb13 -> (6, 12); patch releases change no interface."""
    first, second = re.findall(r"\d+", release)[:2]
    return int(first), int(second)


def is_new(change: InterfaceChange, release: str) -> bool | None:
    """Whether a release has the new form; None where the table leaves it open."""
    first, _, last = change.since.partition("-")
    if number(release) >= number(last or first):
        return True
    return False if number(release) < number(first) else None


def example(index: int, change: InterfaceChange, text: str) -> str:
    """One example as a piece of a C file. Names that begin with `thing` are made its own."""
    if text.startswith("#include"):
        header = text.split()[1]
        return f'#line 1 "change_{index}"\n#if !__has_include({header})\n#error no {header}\n#endif\n'
    if not text.startswith("static "):
        text = f"static void thing({change.given or 'void'}) {{ {text} }}"
    text = re.sub(r"\bthing", f"thing_{index}", text)
    return f'#line 1 "change_{index}"\n{text}\n'


def source(rows: Sequence[InterfaceChange], column: str) -> str:
    """All examples of a column, `before` or `after`, in one file."""
    headers = dict.fromkeys(["linux/module.h", *(header for row in rows for header in row.include)])
    lines = [f"#if __has_include(<{header}>)\n#include <{header}>\n#endif\n" for header in headers]
    lines += [example(index, row, getattr(row, column)) for index, row in enumerate(rows) if getattr(row, column)]
    return "".join(lines)


def refused(kernel: KernelImage, room: Path) -> dict[str, dict[int, str]]:
    """The examples that do not compile for a kernel: column -> row -> the compiler's first words."""
    (room / "Kbuild").write_text("obj-m := before.o after.o\nccflags-y := -fmax-errors=0\n")
    for column in ("before", "after"):
        (room / f"{column}.c").write_text(source(changes(), column))
    found: dict[str, dict[int, str]] = {}
    for column in ("before", "after"):
        done = subprocess.run(
            ["make", "-C", str(kernel.headers), f"M={room}", f"{column}.o"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        assert "change_" in done.stderr or done.returncode == 0, done.stderr[-2000:]
        found[column] = attributed(done.stderr)
    return found


def attributed(output: str) -> dict[int, str]:
    """The first error of each example. One inside of a macro stands in a header; a note below it names the example."""
    errors: dict[int, str] = {}
    pending = ""
    for line in output.splitlines():
        message = re.match(r"([^:\s]+):\d+:(?:\d+:)? (?:fatal )?(error|warning|note): (.*)", line)
        if message is None:
            continue
        file, level, text = message.groups()
        pending = {"error": text, "warning": ""}.get(level, pending)
        if file.startswith("change_") and pending:
            errors.setdefault(int(file.removeprefix("change_")), pending)
    return errors


def applies(change: InterfaceChange, kernel: KernelImage) -> bool:
    """Whether a kernel has the new form of a change at all, as far as the table says."""
    release = number(kernel.release)
    if change.after_since and release < number(change.after_since):
        return False
    if change.after_until and release > number(change.after_until):
        return False
    assert kernel.headers is not None
    config = (kernel.headers / "include/config/auto.conf").read_text()
    return not change.needs or f"\n{change.needs}=" in config


@pytest.mark.parametrize("suite", SUITES)
def test_every_example_compiles_where_the_table_says_so(
    suite: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The old form is refused by the kernels since the change and taken by those before; the new form is taken."""
    kernel: KernelImage = request.getfixturevalue(suite)
    errors = refused(kernel, tmp_path)
    wrong = []
    for index, row in enumerate(changes()):
        new = is_new(row, kernel.release)
        if new and row.before and index not in errors["before"]:
            wrong.append(f"{row.name}: the old form compiles")
        if new and row.after and applies(row, kernel) and index in errors["after"]:
            wrong.append(f"{row.name}: the new form: {errors['after'][index]}")
        was = not row.before_since or number(kernel.release) >= number(row.before_since)
        if new is False and was and index in errors["before"]:
            wrong.append(f"{row.name}: the old form, before the change: {errors['before'][index]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("suite", SUITES)
def test_what_is_no_longer_exported_is_exported_by_no_newer_kernel(suite: str, request: pytest.FixtureRequest) -> None:
    exports = KernelExports(request.getfixturevalue(suite))
    rows = [row for row in changes() if row.kind == "unexported" and is_new(row, exports.kernel.release)]
    assert rows
    assert [row.name for row in rows if row.name in exports.table] == []


def test_the_table_is_whole() -> None:
    rows = changes()
    assert len(rows) >= 150
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.kind in KINDS, row
        assert _RELEASE.fullmatch(row.since), row
        assert row.new, row
        assert not row.new.endswith("."), row
        assert row.kind in ("unexported", "changed") or row.before, row
        assert changes_of(row.name) == (row,)
        assert row.sentence().count("since") >= 1
    assert changes_of("no_such_name") == ()
