"""How a box comes to be: resumed from a snapshot; if there is none, by a first boot, or by preparing one that booted.

with boot() as box: ...                                   # the snapshot of a kernel as it has booted
with prepared(kernel, "with a network", prepare) as box:  # what `prepare` has made of it, kept as well
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.arch.arch import Arch
from kobox.box.boot import init_program as guest
from kobox.box.boot import snapshots
from kobox.errors import BoxError, KoboxError, SnapshotError
from kobox.images.store import KernelImage, Store
from kobox.machine.boards import machine_class

if TYPE_CHECKING:
    from kobox.box.box import Box

MEMORY = 256 << 20
Progress = Callable[[str, int, int], None]


def boot(
    kernel: str | KernelImage | None = None,
    *,
    memory: int = MEMORY,
    cmdline: str = "",
    cpus: int = 1,
    profile: str = "fast",
    store: Store | None = None,
    progress: Progress | None = None,
) -> Box:
    """Boot a kernel, or resume the snapshot that an earlier boot left: a `Box`.

    `kernel` is a name in the cache, a path to a kernel image, or a `KernelImage`; None is the default one, which is
    fetched when the cache is empty. `memory` is in bytes; `cmdline` is added to the kernel's command line; `cpus` is
    how many CPUs there are; `profile` is "fast" or "default". `progress(what, done, total)` is called while that takes
    time.

    Raises `KernelNotFoundError`, `KernelImageError`, `FetchError`; `KernelPanicError` or `BoxHungError` when the kernel
    does not boot; `KoboxError` when the snapshot cannot be kept.
    """
    image = kernel if isinstance(kernel, KernelImage) else (store or Store()).ensure(kernel, progress)
    memory = memory + 4095 & -4096
    check_cpus(image.arch, cpus)
    line = guest.command_line(image.arch, cmdline, cpus, profile)
    place = snapshot_place(image, memory=memory, cmdline=cmdline, cpus=cpus, profile=profile)

    def make(place: Path) -> None:
        from kobox.box.boot.cold_boot import first_boot

        first_boot(image, place, memory, line, cpus, progress, profile=profile)

    return _resumed_or_made(image, place, make)


def snapshot_place(
    kernel: KernelImage, *, memory: int = MEMORY, cmdline: str = "", cpus: int = 1, profile: str = "fast"
) -> Path:
    """The directory where `boot` keeps the snapshot of a kernel; `memory` is in bytes, of whole pages."""
    line = guest.command_line(kernel.arch, cmdline, cpus, profile)
    return kernel.directory / "snapshots" / snapshots.key(kernel.arch, kernel.digest, line, memory, cpus)


def check_cpus(arch: Arch, cpus: int) -> None:
    """Raises `KoboxError` when no machine of this architecture has so many CPUs."""
    most = machine_class(arch).most_cpus
    if not 1 <= cpus <= most:
        raise KoboxError(
            f"cpus={cpus}: a box for {arch.title} has 1 to {most} CPUs"
            if most > 1
            else f"cpus={cpus}: a box for {arch.title} has one CPU",
            hint=f"Ask for {most if cpus > most else 1}.",
        )


def prepared(
    kernel: KernelImage,
    identity: str,
    prepare: Callable[[Box], None],
    *,
    memory: int = MEMORY,
    cmdline: str = "",
    cpus: int = 1,
    profile: str = "fast",
    progress: Progress | None = None,
) -> Box:
    """A box that `prepare` has changed: resumed from a snapshot of its own, which is made the first time.

    `identity` names what `prepare` does: the same name, the same state. Raises what `boot` and `prepare` do.
    """
    memory = memory + 4095 & -4096
    check_cpus(kernel.arch, cpus)
    line = guest.command_line(kernel.arch, cmdline, cpus, profile)
    key = snapshots.key(kernel.arch, kernel.digest, f"{line}\n{identity}", memory, cpus)
    place = kernel.directory / "snapshots" / key

    def make(place: Path) -> None:
        for _ in range(3):
            with boot(kernel, memory=memory, cmdline=cmdline, cpus=cpus, profile=profile, progress=progress) as box:
                prepare(box)
                box.save(place)
            if _works(kernel, place):
                return
        raise SnapshotError(f"{place}: the box that was prepared does not go on")

    return _resumed_or_made(kernel, place, make)


def _works(image: KernelImage, place: Path) -> bool:
    """Whether a box that was just saved goes on when it is resumed."""
    box = resume(image, place)
    if box is None:
        return False
    from kobox.box.guest.process import Limits

    with box:
        try:
            return box.syscall("getpid", limits=Limits(timeout=60, cpu=2)) > 0
        except BoxError:
            return False


def _resumed_or_made(image: KernelImage, place: Path, make: Callable[[Path], None]) -> Box:
    box = resume(image, place)
    if box is None:
        with snapshots.lock(place):
            box = resume(image, place)
            if box is None:
                make(place)
                box = resume(image, place)
    if box is None:
        raise SnapshotError(f"{place}: damaged as soon as it was written", hint="Is that disk sound?")
    return box


def resume(image: KernelImage, place: Path) -> Box | None:
    """The box that a boot or `Box.save` has left at `place`; None when there is none, or it is damaged or of another
    build. Raises `SnapshotError` for one whose sums are right and whose description means nothing."""
    try:
        found = snapshots.load(place)
    except SnapshotError:
        return None
    if found is None:
        return None
    try:
        machine = machine_class(image.arch)(found.memory, ram_fd=found.fd, cpus=found.cpus)
    finally:
        os.close(found.fd)
    # Imported late: it takes as long as the snapshot's sum, which is made meanwhile.
    from kobox.box.box import Box

    try:
        machine.load_state(found.state)
        box = Box(image, machine, found.about, place, found.state)
    except Exception as error:  # what RAM holds may be anything until the sum is known
        machine.close()
        if not found.is_whole():
            return None
        if isinstance(error, LookupError | TypeError | ValueError):  # whoever wrote it has made the sum, too
            raise SnapshotError(f"{place}: its description does not fit its kernel: {error}") from error
        raise
    if found.is_whole():
        return box
    box.close()
    return None
