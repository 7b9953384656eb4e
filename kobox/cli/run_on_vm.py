"""`kobox run --on vm` and `kobox run --compare vm`: the life of modules in a virtual machine, and beside a box's.

Exit status: as `kobox run`; of --compare 0 when both lives are the same, 1 when they differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.json_output import to_json
from kobox.cli.worker import raise_wall
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.apps.plain_life import LoggingKernel
    from kobox.apps.run_events import StoryEvent
    from kobox.apps.run_sources import RunSource
    from kobox.images.kernel_image import KernelImage
    from kobox.kmod.module_tree import ModuleTree
    from kobox.ko.modulefile import ModuleFile

_CPU_LIMIT = 120.0  # seconds of CPU time of this process


def run(
    arguments: argparse.Namespace,
    image: KernelImage,
    sources: Sequence[RunSource],
    paths: Sequence[Sequence[Path]],
    show: Callable[[StoryEvent], None],
) -> int:
    """Start what is wanted, raise the wall, and tell; the exit status. `show` prints an event."""
    import kobox
    from kobox.apps.plain_life import BoxPlace
    from kobox.apps.run_sources import module_files
    from kobox.box.boot.boot import tree_of
    from kobox.vm import VirtualMachine

    tree = tree_of(image) if image.modules is not None else None
    with VirtualMachine(
        image,
        memory=arguments.memory << 20,
        cpus=arguments.cpus,
        cmdline=arguments.cmdline,
        profile=arguments.profile,
    ) as machine:
        if not arguments.compare:
            _wall(image, paths)
            modules, parameters = module_files(sources, paths)
            events = _tell(arguments, machine, tree, modules, parameters, show)
            return 0 if events[-1].data["ok"] else 1
        with kobox.boot(
            image,
            memory=arguments.memory << 20,
            cpus=arguments.cpus,
            cmdline=arguments.cmdline,
            profile=arguments.profile,
        ) as box:
            _wall(image, paths)
            modules, parameters = module_files(sources, paths)
            in_box = _tell(arguments, BoxPlace(box), tree, modules, parameters, lambda _: None)
            in_machine = _tell(arguments, machine, tree, modules, parameters, lambda _: None)
    return _compare(arguments, in_box, in_machine)


def _wall(image: KernelImage, paths: Sequence[Sequence[Path]]) -> None:
    places = [path.resolve().parent for files in paths for path in files]
    raise_wall([*places, *filter(None, (image.modules, image.directory))], cpu_limit=_CPU_LIMIT)


def _tell(
    arguments: argparse.Namespace,
    place: LoggingKernel,
    tree: ModuleTree | None,
    modules: Sequence[ModuleFile],
    parameters: Sequence[str],
    show: Callable[[StoryEvent], None],
) -> list[StoryEvent]:
    from kobox.apps.plain_life import PlainLife

    events = []
    for event in PlainLife(place, tree, unload=arguments.unload).tell(modules, parameters):
        events.append(event)
        show(event)
    return events


def _compare(arguments: argparse.Namespace, in_box: Sequence[StoryEvent], in_machine: Sequence[StoryEvent]) -> int:
    from kobox.apps.plain_life import comparable, difference, difference_facts

    one, other = comparable(in_box), comparable(in_machine)
    found = difference(one, other)
    if arguments.json:
        print(to_json("run-compare", difference_facts(len(one), found)))
    elif found is None:
        print(f"box and virtual machine: the same, {len(one)} lines")
    else:
        print(f"box and virtual machine: the same up to line {found.same}, then")
        for line in one[max(0, found.same - 3) : found.same]:
            print(f"        {one_line(line)}")
        print(f"   box: {one_line(found.one) if found.one is not None else '(ended)'}")
        print(f"    vm: {one_line(found.other) if found.other is not None else '(ended)'}")
    return int(found is not None)
