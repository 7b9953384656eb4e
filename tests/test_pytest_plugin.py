"""The pytest plugin, by test files that use it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kobox.debug.gdb_program import gdb_words
from kobox.images.store import KernelImage, Store
from tests.building import BuiltTestModules


@pytest.fixture(autouse=True)
def same_cache(pytester: pytest.Pytester, kernel_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytester gives its runs another home; the kernels are in the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(kernel_store.root.parent))


@pytest.fixture
def project(pytester: pytest.Pytester, faulty_paths: BuiltTestModules, debian_kernel: KernelImage) -> pytest.Pytester:
    """An empty project whose modules are those of tests/modules/faults, built."""
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\n")
    built = faulty_paths("unchecked").parent
    pytester.makeconftest(f"def pytest_configure(config):\n    config.option.kobox_built = {str(built)!r}\n")
    return pytester


def run(project: pytest.Pytester, kernel: KernelImage, source: str, *options: str) -> pytest.RunResult:
    project.makepyfile(source)
    return project.runpytest_inprocess("--kobox-kernel", kernel.name, *options)


def test_a_module_is_loaded_in_a_clean_box_for_each_test(project: pytest.Pytester, debian_kernel: KernelImage) -> None:
    source = """
        def test_first(box, modules):
            box.insmod(modules["crasher_right"])
            assert "crasher_right" in box.modules

        def test_second(box, kernel):
            assert box.modules == []
            assert box.release == kernel.release
    """
    result = run(project, debian_kernel, source)
    result.assert_outcomes(passed=2)


def test_what_the_kernel_reports_fails_the_test_and_its_log_is_shown(
    project: pytest.Pytester, debian_kernel: KernelImage
) -> None:
    source = """
        import pytest, kobox

        def test_it(box, modules):
            box.insmod(modules["crasher"])
            with box.open("/dev/crasher", "wb") as device:
                device.write(b"go")
                with pytest.raises(kobox.ProcessDiedError):
                    device.ioctl(0x80046307, bytearray(4))
    """
    result = run(project, debian_kernel, source, "--kobox-checks", "kernel")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*found in the box:*",
            "*oops: BUG: kernel NULL pointer dereference*",
            "*crasher_ioctl*",
            "*kernel log*",
            "*BUG: kernel NULL*",
        ]
    )


def test_an_expected_finding_must_come(project: pytest.Pytester, debian_kernel: KernelImage) -> None:
    source = """
        import pytest, kobox

        @pytest.mark.kobox_finding("oops", "wild-access")
        def test_comes(box, modules):
            box.insmod(modules["crasher"])
            with box.open("/dev/crasher", "wb") as device:
                device.write(b"go")
                with pytest.raises(kobox.ProcessDiedError):
                    device.ioctl(0x80046307, bytearray(4))

        @pytest.mark.kobox_finding("use-after-free")
        def test_does_not_come(box, modules):
            box.insmod(modules["crasher_right"]).unload()
    """
    result = run(project, debian_kernel, source, "-k", "does_not")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*expected to be found, and was not: use-after-free (found: nothing)*"])


def test_the_checks_watch_the_module_under_test(
    project: pytest.Pytester, debian_kernel: KernelImage, faulty_paths: BuiltTestModules
) -> None:
    alone = project.mkdir("alone")
    (alone / "crasher.ko").write_bytes(faulty_paths("crasher").read_bytes())
    project.makeconftest(f"def pytest_configure(config):\n    config.option.kobox_built = {str(alone)!r}\n")
    source = """
        import pytest, kobox

        def test_it(box, module):
            box.insmod(module)
            with box.open("/dev/crasher", "wb") as device:
                device.write(b"go")
                with pytest.raises(kobox.ProcessDiedError):
                    device.ioctl(0x80046307, bytearray(4))
    """
    result = run(project, debian_kernel, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*wild-access: read from address 0x0*", "*crasher.c:*"])


def test_each_kernel_that_is_named_runs_the_test(
    project: pytest.Pytester, debian_kernel: KernelImage, trixie_kernel: KernelImage
) -> None:
    source = """
        def test_it(box, kernel):
            print("ran on", box.release)
            assert box.release == kernel.release
    """
    result = run(project, debian_kernel, source, "--kobox-kernel", trixie_kernel.name, "-rA")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [f"*ran on {debian_kernel.release}*", f"*ran on {trixie_kernel.release}*"], consecutive=False
    )


@pytest.mark.parametrize("fixture", ["module", "modules"])
def test_without_source_three_lines_say_what_to_do(
    pytester: pytest.Pytester, debian_kernel: KernelImage, fixture: str
) -> None:
    (pytester.path / "tests/unit").mkdir(parents=True)
    (pytester.path / "tests/unit/test_it.py").write_text(f"def test_it({fixture}):\n    pass\n")
    result = pytester.runpytest_inprocess("--kobox-kernel", debian_kernel.name, "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    said = [line for line in result.outlines if line and not line.startswith(("=", "_", "ERROR", "test", "E "))]
    at = next(n for n, line in enumerate(said) if "has no source of a module" in line)
    assert said[at + 1].startswith("Name its directory: pytest --kobox-source DIR")
    assert said[at + 2].startswith("Modules that are built already: pytest --kobox-built DIR")
    assert "Traceback" not in result.stdout.str()
    assert len(result.outlines) < 25


def test_the_module_is_built_once_from_the_source_beside_the_test(
    pytester: pytest.Pytester, debian_kernel: KernelImage, quiet_source: Path
) -> None:
    (pytester.path / "tiny.c").write_text(quiet_source.read_text())
    pytester.makepyfile("""
        def test_it(box, module):
            assert module.name == "tiny.ko"
            box.insmod(module).unload()

        def test_again(box, module):
            box.insmod(module).unload()
    """)
    arguments = ("--kobox-kernel", debian_kernel.name, "-n", "2", "-p", "no:cacheprovider")
    result = pytester.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=2)


@pytest.fixture
def quiet_source() -> Path:
    """The source of a module that does nothing."""
    return Path(__file__).parent / "modules/good.c"


def test_a_failed_test_shows_the_last_calls_of_the_module(project: pytest.Pytester, debian_kernel: KernelImage) -> None:
    source = """
        def test_it(box, modules):
            box.insmod(modules["crasher_right"])
            with box.open("/dev/crasher_right", "wb") as device:
                device.write(b"go")
            assert False

        def test_traces_by_itself(box, modules):
            with box.trace("crasher_right") as trace:
                box.insmod(modules["crasher_right"])
            assert [call for call in trace.calls() if call.name == "misc_register"]
    """
    result = run(project, debian_kernel, source, "--kobox-checks", "kernel")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*last calls of the module*", "*init_module(*", "*crasher_init(*", "*misc_register(*"])
    result = run(project, debian_kernel, source, "--kobox-checks", "kernel", "--kobox-no-trace")
    assert "last calls" not in result.stdout.str()


def test_a_failed_test_is_run_again_under_gdb(
    project: pytest.Pytester, debian_kernel: KernelImage, monkeypatch: pytest.MonkeyPatch, kernel_store: Store
) -> None:
    words = " ".join(gdb_words(kernel_store, ""))
    fake = project.path / "bin" / "gdb"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\nexec {words} -nx -batch "$@" -ex "info symbol $pc" -ex "monitor time"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    source = """
        def test_it(box, modules):
            box.insmod(modules["crasher_right"])
            assert False
    """
    project.makepyfile(source)
    result = project.runpytest_subprocess("--kobox-kernel", debian_kernel.name, "--kobox-gdb", timeout=120)
    result.assert_outcomes(failed=1)
    assert "init_module" in result.stdout.str() or "crasher_init" in result.stdout.str()
    assert ", instruction " in result.stdout.str() + result.stderr.str()
