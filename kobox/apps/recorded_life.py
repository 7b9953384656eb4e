"""Recording the life that goes on in a box, and living a recorded one again (`kobox.apps.life_record`).

recording = Recording(box)                   # before the life
record = recording.finish(record)            # after it: what came out is in it now

with box_of(record, store) as box:
    life_of(record, box, module_files(record))()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kobox.apps.life_record import LifeRecord, LifeRecordError, RecordedKernel, RecordedModule, RecordedOutcome
from kobox.apps.module_life import ModuleLife
from kobox.apps.run_events import StoryEvent
from kobox.apps.run_story import Story
from kobox.atomic_file import write_file
from kobox.box.boot.bare_boot import Progress
from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.images.store import KernelImage, Store
from kobox.ko.modulefile import ModuleFile


class Recording:
    """What comes out of the life that begins now in a box."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._blocks, self._time, self._seq = box.machine.blocks, box.machine.time, box.log.next_seq

    def outcome(self, ended_by: str = "") -> RecordedOutcome:
        """What has come out by now."""
        machine = self._box.machine
        log = "".join(f"{record}\n" for record in self._box.log.since(self._seq))
        return RecordedOutcome(machine.blocks - self._blocks, machine.time - self._time, log, ended_by)

    def finish(self, record: LifeRecord, ended_by: str = "") -> LifeRecord:
        """The record with what came out."""
        return replace(record, outcome=self.outcome(ended_by))


def recorded_kernel(image: KernelImage) -> RecordedKernel:
    """A kernel, as a record names it."""
    return RecordedKernel(image.name, image.release, image.digest, image.origin, image.architecture)


def recorded_modules(files: Sequence[ModuleFile], parameters: Sequence[str]) -> tuple[RecordedModule, ...]:
    """Modules with their parameters, as a record holds them."""
    return tuple(RecordedModule(file.name, file.content, text) for file, text in zip(files, parameters, strict=True))


# -- again -----------------------------------------------------------------------------------------------------------


def kernel_of(record: LifeRecord, store: Store) -> KernelImage:
    """The kernel of a record, in the cache. Raises `LifeRecordError` when it is not there."""
    wanted = record.kernel
    found = next((image for image in store.list() if image.digest == wanted.digest), None)
    if found is None:
        source = wanted.origin.partition(" ")[0]
        raise LifeRecordError(
            f"the kernel {wanted.name} of this life (sha256 {wanted.digest[:16]}...) is not in the cache",
            hint=f"It came from {wanted.origin}: `kobox kernel add {source}` fetches what is there now."
            if source
            else "`kobox kernel add` fetches kernels.",
        )
    return found


def box_of(record: LifeRecord, store: Store, progress: Progress | None = None) -> Box:
    """A box as it was when the life began. Raises what booting does, and `LifeRecordError`."""
    image, how = kernel_of(record, store), record.box
    if how.shell:
        from kobox.apps.rootfs import shell_box

        return shell_box(
            image,
            memory=how.memory,
            cmdline=how.cmdline,
            cpus=how.cpus,
            profile=how.profile,
            store=store,
            progress=progress,
        )
    return boot(
        image,
        memory=how.memory,
        cmdline=how.cmdline,
        cpus=how.cpus,
        profile=how.profile,
        store=store,
        progress=progress,
    )


def module_files(record: LifeRecord) -> list[ModuleFile]:
    """The modules of a record."""
    return [ModuleFile(module.content, path=f"{module.name}.ko") for module in record.modules]


def write_modules(record: LifeRecord, directory: Path) -> list[Path]:
    """Put the modules' files into a directory: debuggers read them there."""
    paths = []
    for module in record.modules:
        path = directory / f"{module.name}.ko"
        write_file(path, module.content, flush=False)
        paths.append(path)
    return paths


def life_of(
    record: LifeRecord,
    box: Box,
    files: Sequence[ModuleFile],
    *,
    show: Callable[[StoryEvent], None] = lambda event: None,
    said: Callable[[str], None] | None = None,
) -> Callable[[], None]:
    """The life as a function that can be called again and again, from the same state of the box. `show` gets the events
    of a run's story, `said` what commands print, the first time."""
    parameters = [module.parameters for module in record.modules]
    if record.mode == "run":
        return lambda: _run(record, box, files, parameters, show)
    uses: list[Callable[[Box], object]] = []
    if record.programs:
        from kobox.checks.fuzz.player import Steps

        uses.append(Steps(*record.programs))
    return ModuleLife(box, files, parameters, uses=uses, commands=record.commands, said=said)


def _run(
    record: LifeRecord,
    box: Box,
    files: Sequence[ModuleFile],
    parameters: Sequence[str],
    show: Callable[[StoryEvent], None],
) -> None:
    from kobox.apps import hardware
    from kobox.devices.ready import make

    story = Story(box, unload=record.unload, keep_going=record.keep_going)
    models = [make(plug) for plug in record.plugs]  # never a file: a record comes from anybody
    for model in models:
        hardware.plug(box, model)
    if models:
        story.plugged(models)
    for event in story.tell(files, parameters):
        show(event)


def difference(before: RecordedOutcome, now: RecordedOutcome) -> str:
    """How two outcomes differ, "" when they are the same."""
    if before == now:
        return ""
    old, new = before.log.splitlines(), now.log.splitlines()
    for number, (one, two) in enumerate(zip(old, new, strict=False), 1):
        if one != two:
            return f"line {number} of the log was {one!r}, and is {two!r}"
    if len(old) != len(new):
        return f"the log had {len(old)} lines, and has {len(new)}"
    return f"it took {before.blocks} blocks and {before.time} ns, and takes {now.blocks} and {now.time}"
