"""A matrix over real kernels: what builds, loads and is clean where, and what is run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kobox.images.store import KernelImage
from kobox.matrix import CellState, CheckWords, CostWords, Matrix, MatrixPlan, MatrixRun
from kobox.matrix.cell import StepOutcome
from kobox.matrix.result_cache import ResultCache
from tests.building import BuiltTestModules

KOBOX = Path(sys.executable).with_name("kobox")
KBUILD = "obj-m := fine.o old.o warned.o\n"
FINE = """\
#include <linux/module.h>
#include <linux/slab.h>
static int mode; module_param(mode, int, 0);
static void *kept;
static int __init fine_init(void)
{
	WARN_ON(mode == 1);
	kept = mode == 3 ? kmalloc(8, GFP_KERNEL) : NULL;
	return mode == 2 ? -ENODEV : 0;
}
static void __exit fine_exit(void) { }
module_init(fine_init); module_exit(fine_exit);
MODULE_LICENSE("GPL"); MODULE_DESCRIPTION("fine");
"""
OLD = """\
#include <linux/module.h>
#include <linux/timer.h>
static void tick(struct timer_list *timer) { }
static struct timer_list timer;
static int __init old_init(void) { timer_setup(&timer, tick, 0); return 0; }
static void __exit old_exit(void) { del_timer_sync(&timer); }
module_init(old_init); module_exit(old_exit);
MODULE_LICENSE("GPL"); MODULE_DESCRIPTION("old");
"""
WARNED = """\
#include <linux/module.h>
static int __init w_init(void) { int unused_here; return 0; }
static void __exit w_exit(void) { }
module_init(w_init); module_exit(w_exit);
MODULE_LICENSE("GPL"); MODULE_DESCRIPTION("warned");
"""
SLOW = """\
#include <linux/module.h>
#include <linux/version.h>
static int n;
static noinline int slow_set(const char *text, const struct kernel_param *parameter)
{
	volatile int i;
	for (i = 0; i < (LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0) ? 5000 : 50000); i++)
		;
	return param_set_int(text, parameter);
}
static const struct kernel_param_ops slow_ops = { .set = slow_set, .get = param_get_int };
module_param_cb(n, &slow_ops, &n, 0644);
static int __init slow_init(void) { return 0; }
static void __exit slow_exit(void) { }
module_init(slow_init); module_exit(slow_exit);
MODULE_LICENSE("GPL"); MODULE_DESCRIPTION("slow");
"""
PARAMETERS = ("", "mode=1", "mode=2")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of source for each module, and a cache of results beside them."""
    root = tmp_path_factory.mktemp("matrix")
    for name, text in (("fine", FINE), ("old", OLD), ("warned", WARNED)):
        (root / f"{name}.c").write_text(text)
    return root


def plan_of(tree: Path, *kernels: KernelImage, **options: Any) -> MatrixPlan:
    """All sources of the tree."""
    sources = tuple(tree / f"{name}.c" for name in ("fine", "old", "warned"))
    return MatrixPlan(sources, kernels, **{"parameters": PARAMETERS[:1], **options})


@pytest.fixture(scope="module")
def filled(tree: Path, debian_kernel: KernelImage, sid_kernel: KernelImage) -> Matrix:
    """The matrix of all of them on the oldest and the newest kernel."""
    return MatrixRun(plan_of(tree, debian_kernel, sid_kernel), cache=ResultCache(tree / "cache")).run()


def test_states_come_from_the_first_step_that_failed(
    filled: Matrix, debian_kernel: KernelImage, sid_kernel: KernelImage
) -> None:
    states = {(row.module, kernel): filled.cell(row, kernel).state for row in filled.rows for kernel in filled.kernels}
    assert states == {
        ("fine", debian_kernel.name): CellState.CLEAN,
        ("fine", sid_kernel.name): CellState.CLEAN,
        ("old", debian_kernel.name): CellState.CLEAN,
        ("old", sid_kernel.name): CellState.NO_BUILD,
        ("warned", debian_kernel.name): CellState.WARNS,
        ("warned", sid_kernel.name): CellState.WARNS,
    }


def test_a_cell_that_does_not_build_names_the_change_and_the_remedy(filled: Matrix, sid_kernel: KernelImage) -> None:
    (cell,) = filled.red()
    assert cell.kernel == sid_kernel.name
    assert cell.builds.changes == ("del_timer_sync",)
    assert "timer_delete_sync()" in cell.builds.remedy
    assert cell.builds.place.endswith("/old.c:6")
    assert "error:" in cell.builds.log


def test_only_what_changed_is_run_again(
    filled: Matrix, tree: Path, debian_kernel: KernelImage, sid_kernel: KernelImage
) -> None:
    cache = ResultCache(tree / "cache")
    again = MatrixRun(plan_of(tree, debian_kernel, sid_kernel), cache=cache)
    assert again.run().counts() == filled.counts()
    assert again.steps_run == 0

    more = MatrixRun(plan_of(tree, debian_kernel, parameters=PARAMETERS), cache=cache)
    matrix = more.run()
    fine = {row.parameters: matrix.cell(row, debian_kernel.name) for row in matrix.rows if row.module == "fine"}
    assert [fine[text].state for text in PARAMETERS] == [CellState.CLEAN, CellState.NOT_CLEAN, CellState.NO_LOAD]
    assert (fine["mode=1"].clean.place, fine["mode=1"].builds.cached) == ("fine.c:7", True)
    assert "ENODEV" in fine["mode=2"].loads.finding
    assert fine["mode=2"].clean.outcome is StepOutcome.SKIPPED  # what does not load is not judged
    assert more.steps_run == 2 * 3 * 2 - 1  # loads and clean, of three modules with two sets, but for that one

    (tree / "warned.c").write_text(WARNED.replace("int unused_here; ", ""))
    mended = MatrixRun(plan_of(tree, debian_kernel, sid_kernel), cache=cache)
    assert mended.run().counts() == {"clean": 5, "no build": 1}
    assert mended.steps_run == 2 * 3  # the changed source alone: built, loaded, judged on two kernels
    (tree / "warned.c").write_text(WARNED)


def test_a_life_that_costs_more_on_a_newer_kernel_is_slower(
    debian_kernel: KernelImage, trixie_kernel: KernelImage, tmp_path: Path
) -> None:
    (tmp_path / "slow.c").write_text(SLOW)
    (tmp_path / "use.py").write_text("def exercise(box):\n    box.write_bytes('/sys/module/slow/parameters/n', b'3')\n")
    cost = CostWords(str(tmp_path / "use.py"))
    plan = MatrixPlan((tmp_path / "slow.c",), (debian_kernel, trixie_kernel), cost=cost)
    cache = ResultCache(tmp_path / "cache")
    matrix = MatrixRun(plan, cache=cache).run()
    (row,) = matrix.rows
    first, newer = (matrix.cell(row, kernel) for kernel in matrix.kernels)
    assert (first.state, newer.state) == (CellState.CLEAN, CellState.SLOWER)
    assert first.ratio == 1
    assert newer.ratio > 1.25
    assert newer.cost.instructions > first.cost.instructions > 10_000  # the exercise is counted
    assert f"times the instructions of {debian_kernel.name}" in newer.deciding.finding
    assert "slow_set" in newer.cost.log
    again = MatrixRun(plan, cache=cache)
    assert again.run().counts() == {"clean": 1, "slower": 1}
    assert again.steps_run == 0
    patient = replace(plan, cost=replace(cost, percent=100_000.0))
    assert MatrixRun(patient, cache=cache).run().counts() == {"clean": 2}
    (tmp_path / "use.py").write_text("def exercise(box):\n    box.no_such_method()\n")
    (cell,) = MatrixRun(replace(plan, kernels=(debian_kernel,)), cache=cache).run().cells.values()
    assert cell.state is CellState.WARNS
    assert "use.py:2: AttributeError" in cell.deciding.finding


def test_a_module_file_of_another_kernel_is_refused_with_the_remedy(
    modules: BuiltTestModules, sid_kernel: KernelImage, tmp_path: Path
) -> None:
    plan = MatrixPlan((modules("good"),), (sid_kernel,))
    (cell,) = MatrixRun(plan, cache=ResultCache(tmp_path)).run().cells.values()
    assert cell.state is CellState.NO_LOAD
    assert "version magic" in cell.loads.remedy
    assert f"-k {modules.kernel.name}" in cell.loads.remedy


def test_modules_that_need_each_other_are_loaded_together(
    modules: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    plan = MatrixPlan((modules("kuser"), modules("kbase")), (debian_kernel,))
    matrix = MatrixRun(plan, cache=ResultCache(tmp_path)).run()
    assert matrix.counts() == {"clean": 2}


def test_a_module_of_another_processor_is_skipped(
    modules: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    foreign = bytearray(modules("good").read_bytes())
    foreign[18] = 183  # e_machine: AArch64
    path = tmp_path / "good.ko"
    path.write_bytes(foreign)
    (cell,) = MatrixRun(MatrixPlan((path,), (debian_kernel,)), cache=ResultCache(tmp_path)).run().cells.values()
    assert (cell.state, cell.why) == (CellState.SKIPPED, "built for aarch64")


def test_a_check_finds_what_a_run_does_not_see(filled: Matrix, tree: Path, debian_kernel: KernelImage) -> None:
    cache, sources, sets = ResultCache(tree / "cache"), (tree / "fine.c",), ("", "mode=3")
    assert MatrixRun(MatrixPlan(sources, (debian_kernel,), sets), cache=cache).run().counts() == {"clean": 2}
    checked = MatrixRun(
        MatrixPlan(sources, (debian_kernel,), sets, check=CheckWords(20.0, exercise="none")), cache=cache
    )
    (cell,) = checked.run().red()
    assert (cell.row.parameters, cell.state) == ("mode=3", CellState.NOT_CLEAN)
    assert "leak" in cell.clean.finding
    assert cell.clean.place.startswith("fine.c:")
    assert checked.steps_run == 2  # what was built and loaded before is not done again


def test_ctrl_c_shows_what_is_done_and_the_next_run_goes_on(tree: Path, debian_kernel: KernelImage) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tree / "home")}
    place = tree / "home" / "kobox"
    place.mkdir(parents=True)
    (place / "kernels").symlink_to(debian_kernel.directory.parent)
    words = [str(KOBOX), "matrix", "-j1", "-k", debian_kernel.name, "--json", str(tree / "fine.c"), str(tree / "old.c")]
    running = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(place.glob("matrix/results/*/*.json")):
        time.sleep(0.05)
        assert running.poll() is None, running.communicate()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate()
    assert (running.returncode, "what was done is kept" in err) == (130, True), err
    assert json.loads(out)["complete"] is False
    kept = len(list(place.glob("matrix/results/*/*.json")))
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["counts"] == {"clean": 2}
    assert json.loads(done.stdout)["steps_run"] == 6 - kept
