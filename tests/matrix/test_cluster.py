"""A matrix on a real Dask cluster of several worker processes, of which one is killed in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from kobox.errors import KernelImageError, KoboxError
from kobox.images.kernel_pack import pack_kernel
from kobox.images.store import KernelImage, Store
from kobox.matrix import CellStep, MatrixPlan, MatrixRun, StepOutcome
from kobox.matrix.cluster import DaskWorkers, RemoteCell, remote_cell, run_remote
from kobox.matrix.result_cache import ResultCache
from kobox.matrix.steps import CellTask, CheckWords
from tests.building import BuiltTestModules


class KillsOne(DaskWorkers):
    """The same, and after the first result one of the workers is killed."""

    def __init__(self, address: str, kernels: Sequence[KernelImage], pid: int) -> None:
        super().__init__(address, kernels)
        self._pid = pid
        self.keys: list[str] = []

    def results(self, tasks: Sequence[CellTask]) -> Iterator[list[CellStep]]:
        """What came of each; the keys are counted."""
        for number, steps in enumerate(super().results(tasks)):
            if not number:
                os.kill(self._pid, signal.SIGKILL)
            self.keys += [step.key for step in steps]
            yield steps


def test_a_killed_worker_loses_and_doubles_nothing(
    modules: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "elsewhere"
    sets = ("", *(f"repeat={number}" for number in range(6)), "nonsense=1")
    plan = MatrixPlan((modules("hello"),), (debian_kernel,), sets)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, env={"XDG_CACHE_HOME": str(home)}
        ) as cluster,
        Client(cluster) as client,
    ):
        pids = client.run(os.getpid)
        workers = KillsOne(cluster.scheduler_address, plan.kernels, min(pids.values()))
        run = MatrixRun(plan, cache=ResultCache(tmp_path / "results"), workers=workers)
        matrix = run.run()
        assert set(client.run(os.getpid).values()) != set(pids.values())  # one is another now
    assert len(workers.keys) == len(set(workers.keys)) == 2 * len(sets)
    assert run.steps_run == 2 * len(sets)
    here = MatrixRun(plan, cache=ResultCache(tmp_path / "results")).run()  # all is in the cache
    assert here.counts() == matrix.counts()
    assert matrix.complete
    (sent,) = Store(home / "kobox").list()
    assert (sent.name, sent.digest, sent.headers) == (debian_kernel.name, debian_kernel.digest, None)
    assert len([place for place in (sent.directory / "snapshots").iterdir() if place.is_dir()]) >= 1


def test_a_worker_with_another_version_of_kobox_is_refused() -> None:
    with pytest.raises(KoboxError, match="another version"):
        run_remote(RemoteCell(CellTask("6.1", ()), (), "other"))


def test_what_a_task_takes_along_is_kilobytes(modules: BuiltTestModules, tmp_path: Path) -> None:
    (tmp_path / "m.c").write_text("/* kobox: allow(leak): known */")
    (tmp_path / "exercise.py").write_text("pass")
    task = CellTask(
        "6.1",
        (str(modules("hello")),),
        check=CheckWords(exercise=str(tmp_path / "exercise.py")),
        check_key="k",
        source=str(tmp_path),
    )
    names = [name for name, _ in remote_cell(task).files]
    assert names == ["modules/hello.ko", "exercise.py", "source/m.c"]
    assert sum(len(content) for _, content in remote_cell(task).files) < 500_000


def test_without_a_scheduler_it_says_so(debian_kernel: KernelImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kobox.matrix.cluster._WAIT", 0.2)
    workers = DaskWorkers("127.0.0.1:1", [debian_kernel])
    with pytest.raises(KoboxError, match="no scheduler answers"):
        list(workers.results([CellTask(debian_kernel.name, ())]))


@pytest.mark.parametrize("cut", [0, 100, -100])
def test_a_damaged_pack_leaves_no_kernel(cut: int, tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(bytes(200_000) + os.urandom(1000))
    kernel = KernelImage("6.1-x", "6.1-x", image, None, None, "test", tmp_path, "00")
    packed = pack_kernel(kernel)
    store = Store(tmp_path / "cache")
    with pytest.raises(KernelImageError):
        store.add_pack(packed[:cut] + bytes(10))
    assert store.list() == []
    assert store.add_pack(packed).vmlinuz.read_bytes() == image.read_bytes()


def test_a_lost_task_is_a_cell_that_says_why(
    modules: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    class Losing:
        def results(self, tasks: Sequence[CellTask]) -> Iterator[list[CellStep]]:
            for task in tasks:
                yield [CellStep(StepOutcome.SKIPPED, finding="not run: KilledWorker", key=task.load_key)]

    run = MatrixRun(MatrixPlan((modules("hello"),), (debian_kernel,)), cache=ResultCache(tmp_path), workers=Losing())
    (cell,) = run.run().cells.values()
    assert (cell.state.value, cell.why, run.matrix.complete) == ("-", "not run: KilledWorker", False)
    assert not list(tmp_path.glob("results/*/*"))
