"""Other kernels: those that would refuse a module's file are one note, and a source is built for each of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kobox.checks.report.text import finding_lines
from kobox.checks.runner.other_kernels import look_elsewhere, newest_of_each_series
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules, builds
from tests.checks.report.test_reports import kobox_check

# class_create() has lost its first parameter in 6.4: each call builds for one of bookworm's kernel and trixie's.
SOURCE = """
#include <linux/device/class.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/version.h>

static struct class *things;
static int __init ported_init(void)
{
	things = CREATE;
	return PTR_ERR_OR_ZERO(things);
}
static void __exit ported_exit(void) { class_destroy(things); }
module_init(ported_init);
module_exit(ported_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Makes a class");
"""
OLD, NEW = 'class_create(THIS_MODULE, "things")', 'class_create("things")'
BOTH = f"\n#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)\n\t{OLD};\n#else\n\t{NEW};\n#endif\n"
FILE = Path("ported.c")


@pytest.fixture
def other_kernel(request: pytest.FixtureRequest) -> KernelImage:
    kernel: KernelImage = request.getfixturevalue(request.param)
    return kernel


@pytest.mark.parametrize(
    ("call", "other_kernel"), [(OLD, "trixie_kernel"), (NEW, "debian_kernel")], indirect=["other_kernel"]
)
def test_a_source_that_does_not_build_for_another_kernel(call: str, other_kernel: KernelImage, tmp_path: Path) -> None:
    source = tmp_path / FILE
    source.write_text(SOURCE.replace("CREATE", call))
    line = 1 + source.read_text().splitlines().index(f"\tthings = {call};")
    told = look_elsewhere(tmp_path / "ported.ko", [], [other_kernel.name], source, builds())
    (found,) = told.findings
    assert (found.kind, found.severity) == ("refused-elsewhere", "note")
    assert found.message.startswith(f"it does not build for {other_kernel.name}: ")
    assert f"ported.c:{line}:" in found.message
    assert all("\n" not in line for line in finding_lines(found))
    assert (told.asked, told.unchecked) == ((other_kernel.name,), ())


def test_a_source_that_knows_both_kernels_is_clean(
    debian_kernel: KernelImage, trixie_kernel: KernelImage, tmp_path: Path
) -> None:
    source = tmp_path / FILE
    source.write_text(SOURCE.replace("CREATE;", BOTH))
    names = [debian_kernel.name, trixie_kernel.name]
    told = look_elsewhere(tmp_path / "ported.ko", [], names, source, builds())
    assert (told.findings, told.asked, told.unchecked) == ((), tuple(names), ())
    assert [path.name for path in tmp_path.iterdir()] == ["ported.c"]  # what was built lies elsewhere


def test_a_file_that_other_kernels_refuse_is_one_note(
    modules: BuiltTestModules, debian_kernel: KernelImage, trixie_kernel: KernelImage, sid_kernel: KernelImage
) -> None:
    others = [trixie_kernel.name, sid_kernel.name]
    told = look_elsewhere(modules("chardev"), [], [debian_kernel.name, *others])
    (found,) = told.findings
    assert (found.kind, found.severity) == ("refused-elsewhere", "note")
    assert f"{trixie_kernel.name} with ENOEXEC (another struct module; it lacks __class_register" in found.message
    assert "; other CRCs of " in found.message
    assert f"{sid_kernel.name} with ENOEXEC (another version magic; " in found.message
    assert debian_kernel.name not in found.message
    assert told.refused == tuple(others)
    assert look_elsewhere(modules("chardev"), [], [debian_kernel.name]).findings == ()
    quiet = look_elsewhere(modules("chardev"), [], others, news=False)
    assert (quiet.findings, quiet.refused) == ((), tuple(others))


def test_a_kernel_that_is_not_there_is_told(modules: BuiltTestModules) -> None:
    told = look_elsewhere(modules("hello"), [], ["1.2.3-nowhere"])
    assert (told.findings, told.asked) == ((), ())
    assert told.unchecked[0].startswith("kernel 1.2.3-nowhere: ")


def test_the_command_asks_the_kernels_that_are_named_or_none(
    modules: BuiltTestModules, debian_kernel: KernelImage, trixie_kernel: KernelImage, tmp_path: Path
) -> None:
    options = ("-k", debian_kernel.name, "--exercise", "none", "--json", "--loads", "1", "--no-faults")
    done = kobox_check(tmp_path, modules("hello"), *options, "--elsewhere", trixie_kernel.name)
    (report,) = json.loads(done.stdout)
    assert report["elsewhere"] == [trixie_kernel.name]
    assert [finding["kind"] for finding in report["findings"]] == ["refused-elsewhere"]
    assert done.returncode == 0
    (report,) = json.loads(kobox_check(tmp_path, modules("hello"), *options).stdout)
    assert trixie_kernel.name in report["elsewhere"]
    assert trixie_kernel.name in report["refused_elsewhere"]
    assert report["findings"] == []  # a file is for one kernel: that is no news
    assert debian_kernel.name not in report["elsewhere"]
    (report,) = json.loads(kobox_check(tmp_path, modules("hello"), *options, "--no-elsewhere").stdout)
    assert (report["elsewhere"], report["findings"]) == ([], [])
    done = kobox_check(tmp_path, modules("hello"), *options, "--elsewhere", "1.2.3-nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("kobox check: error: 1.2.3-nowhere: no such kernel")


@pytest.mark.parametrize(
    ("checked", "asked"),
    [
        (["6.1.0-56-cloud-amd64"], ("6.12.118+deb13-cloud-amd64", "7.2.13+deb14-cloud-amd64")),
        (["6.12.117+deb13-cloud-amd64"], ("6.1.0-56-amd64", "7.2.13+deb14-cloud-amd64")),
        (["6.1.0-50-amd64", "7.2.13+deb14-cloud-amd64"], ("6.12.118+deb13-cloud-amd64",)),
        ([], ("6.1.0-56-amd64", "6.12.118+deb13-cloud-amd64", "7.2.13+deb14-cloud-amd64")),
    ],
)
def test_the_newest_kernel_of_each_other_series_is_asked(checked: list[str], asked: tuple[str, ...]) -> None:
    names = (
        *("6.1.0-9-amd64", "6.1.0-50-amd64", "6.1.0-56-amd64", "6.12.118+deb13-cloud-amd64"),
        *("6.12.117+deb13-cloud-amd64", "7.2.13+deb14-cloud-amd64"),
    )
    assert newest_of_each_series([(name, name) for name in names], checked) == asked
