"""Cells on a cluster, by Dask: tasks of some kilobytes, kernels sent once to each worker, Dask's own retries.

    this machine                              a worker
    builds; packs the kernels  ──plugin──▶    unpacks those that its cache lacks, with a snapshot of each
    modules of one cell        ──task────▶    `kobox run`, `kobox check`, as here
    keeps the results          ◀─────────     steps as plain data

A worker that dies loses its tasks to others; a task's key is the address of its results, so that none is there twice.
Workers carry out what the scheduler sends them: the cluster has to be one's own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.errors import KoboxError
from kobox.images.kernel_image import KernelImage
from kobox.images.kernel_pack import pack_kernel
from kobox.images.store import Store
from kobox.matrix.cell import CellStep, StepOutcome, step_facts, step_from
from kobox.matrix.commands import CommandRunner
from kobox.matrix.result_cache import code_digest
from kobox.matrix.steps import CellTask, run_cell

if TYPE_CHECKING:
    from distributed import Client, Future, WorkerPlugin

_IN_FLIGHT = 4000  # tasks that the scheduler has at once
_RETRIES = (
    2  # of a task that raised; one whose worker died is Dask's to repeat (distributed.scheduler.allowed-failures)
)
_WAIT = 30.0  # seconds until the first worker has to be there
_MOST_SOURCE = 4 << 20  # bytes of a module's source that go along for a check


@dataclass(frozen=True, slots=True)
class RemoteCell:
    """A task with what it needs of this machine: the bytes of its files, by a path relative to its directory."""

    task: CellTask
    files: tuple[tuple[str, bytes], ...]
    code: str


@dataclass(frozen=True, slots=True)
class PackedKernel:
    """A kernel on its way to workers."""

    name: str
    digest: str
    content: bytes


class DaskWorkers:
    """A cluster's workers, in place of this machine's CPUs: `address` is its scheduler's, `host:8786`."""

    def __init__(self, address: str, kernels: Sequence[KernelImage]) -> None:
        self._address = address if "://" in address else f"tcp://{address}"
        self._kernels = kernels
        require_dask()

    def results(self, tasks: Sequence[CellTask]) -> Iterator[list[CellStep]]:
        """Carry out tasks; what came of each, as it comes. A task that no worker could finish gives a skipped step that
        says why. Raises `KoboxError` without a scheduler or workers."""
        if not tasks:
            return
        client = self._client()
        try:
            self._send_kernels(client, {task.kernel for task in tasks})
            yield from self._carried_out(client, tasks)
        finally:
            client.close()

    def _client(self) -> Client:
        from distributed import Client

        try:
            client = Client(self._address, timeout=_WAIT, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise KoboxError(
                f"--dask {self._address}: no scheduler answers: {error}", hint="`dask scheduler` starts one."
            ) from error
        try:
            client.wait_for_workers(1, timeout=_WAIT)
        except TimeoutError:
            client.close()
            raise KoboxError(
                f"--dask {self._address}: the scheduler has no workers", hint="`dask worker HOST:8786` starts one."
            ) from None
        return client

    def _send_kernels(self, client: Client, names: set[str]) -> None:
        """Have each worker unpack the kernels that it lacks; one that joins later gets those that were sent."""
        wanted = [(kernel.name, kernel.digest) for kernel in self._kernels if kernel.name in names]
        lacking = {name for found in client.run(lacking_kernels, wanted).values() for name in found}
        for kernel in self._kernels:
            if kernel.name in lacking:
                pack = PackedKernel(kernel.name, kernel.digest, pack_kernel(kernel, _snapshots(kernel)))
                client.register_plugin(_plugin(pack), name=f"kobox-kernel-{kernel.digest[:32]}")

    def _carried_out(self, client: Client, tasks: Sequence[CellTask]) -> Iterator[list[CellStep]]:
        from distributed import as_completed

        left = iter(tasks)
        known: dict[str, CellTask] = {}

        def submit(task: CellTask) -> Future:
            key = f"kobox-{task.load_key[:32]}-{task.check_key[:32]}-{task.cost_key[:32]}"
            known[key] = task
            return client.submit(run_remote, remote_cell(task), key=key, retries=_RETRIES, pure=False)

        # Its own loop: another client of this process may be the default one, with a loop of its own.
        running = as_completed([submit(task) for task in islice(left, _IN_FLIGHT)], loop=client.loop)
        for future in running:
            task = known.pop(future.key)
            if future.status == "finished":
                yield [step_from(facts, key=str(facts["key"]), cached=False) for facts in future.result()]
            else:
                yield [_not_done(task, future.exception())]
            future.release()
            running.update([submit(task) for task in islice(left, 1)])


def require_dask() -> None:
    """Raises `KoboxError` where Dask is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise KoboxError("--dask takes dask.distributed", hint="pip install 'kobox[dask]'") from None


def _not_done(task: CellTask, error: object) -> CellStep:
    return CellStep(StepOutcome.SKIPPED, finding=f"not run: {error}"[:500], key=task.load_key or task.check_key)


def _snapshots(kernel: KernelImage) -> list[str]:
    """The snapshot that `kobox run` resumes, which is made where there is none."""
    from kobox.box.boot import bare_boot

    bare_boot.boot(kernel).close()
    place = bare_boot.snapshot_place(kernel)
    return [place.name] if place.is_dir() else []


# -- what runs on a worker -----------------------------------------------------------------------------------------


def lacking_kernels(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """The names of those kernels, of (name, digest), that this machine's cache lacks."""
    have = {(kernel.name, kernel.digest) for kernel in Store().list()}
    return [name for name, digest in wanted if (name, digest) not in have]


def install_kernel(pack: PackedKernel) -> None:
    """Put a kernel into this machine's cache, unless it is there."""
    if lacking_kernels([(pack.name, pack.digest)]):
        Store().add_pack(pack.content)


def _plugin(pack: PackedKernel) -> WorkerPlugin:
    """What Dask has each worker do when it joins."""
    from distributed import WorkerPlugin

    class KernelPlugin(WorkerPlugin):  # type: ignore[misc] # an extra, so Any
        """Brings a kernel along."""

        idempotent = True

        def setup(self, worker: object) -> None:
            """Called once on each worker."""
            install_kernel(pack)

    return KernelPlugin()


def run_remote(cell: RemoteCell) -> list[dict[str, object]]:
    """Carry out a task with its files in a directory of its own. Raises `KoboxError` for another version of kobox."""
    if cell.code != code_digest():
        raise KoboxError(f"the worker {os.uname().nodename} has another version of kobox: results would not compare")
    with tempfile.TemporaryDirectory(prefix="kobox-cell-") as room:
        for name, content in cell.files:
            path = Path(room, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return [step_facts(step) for step in run_cell(CommandRunner(), _moved(cell.task, Path(room)))]


def remote_cell(task: CellTask) -> RemoteCell:
    """A task with its files. Raises `OSError`."""
    files = [(f"modules/{Path(path).name}", Path(path).read_bytes()) for path in task.files]
    if task.check is not None and task.check_key:
        options = {"baseline": task.check.baseline, "exercise": task.check.exercise}
        files += [(f"{name}.py", Path(path).read_bytes()) for name, path in options.items() if os.path.isfile(path)]
        files += _sources(Path(task.source)) if task.source else []
    return RemoteCell(task, tuple(files), code_digest())


def _sources(directory: Path) -> list[tuple[str, bytes]]:
    """The C files of a module's source: comments in them allow findings."""
    found, size = [], 0
    for path in sorted(path for pattern in ("*.c", "*.h") for path in directory.rglob(pattern) if path.is_file()):
        size += path.stat().st_size
        if size > _MOST_SOURCE:
            break
        found.append((f"source/{path.relative_to(directory)}", path.read_bytes()))
    return found


def _moved(task: CellTask, room: Path) -> CellTask:
    """The task with its paths below a directory."""
    files = tuple(str(room / "modules" / Path(path).name) for path in task.files)
    check, source = task.check, room / "source"
    if check is not None:
        if (room / "baseline.py").exists():
            check = replace(check, baseline=str(room / "baseline.py"))
        if (room / "exercise.py").exists():
            check = replace(check, exercise=str(room / "exercise.py"))
    return replace(task, files=files, check=check, source=str(source) if source.is_dir() else "")
