"""`kobox graph --life, --map, --calls`: pictures of a module's life in a box.

Exit status: 0; 1 when it cannot be drawn, or the module's life ended with an error; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.json_output import to_json

if TYPE_CHECKING:
    from kobox.apps.isolated import PlainData
    from kobox.apps.life_pictures import LifeOfModules
    from kobox.box.box import Box
    from kobox.cli.progress import ProgressLine
    from kobox.graph.picture_data import PictureData
    from kobox.images.store import Store


def life_picture(arguments: argparse.Namespace) -> int:
    """Live the life in a worker behind the wall, and print or draw what came of it."""
    from kobox.cli.progress import ProgressLine
    from kobox.graph.picture_data import as_json, must_be_format, picture_bytes, picture_text, read_back
    from kobox.images.store import Store
    from kobox.printable import printable

    kind = "life" if arguments.life else "map" if arguments.map else "calls"
    suffix = Path(arguments.output).suffix.lstrip(".").lower() if arguments.output else ""
    if arguments.output:
        must_be_format(kind, suffix)
    store, progress = Store(), ProgressLine(quiet=arguments.json)
    try:
        told = _lived(arguments, kind, store, progress)
        picture = read_back(kind, told["seen"])
        if arguments.output:
            from kobox.atomic_file import write_file

            write_file(arguments.output, picture_bytes(picture, suffix, store=store, progress=progress))
    finally:
        progress.close()
    if arguments.json:
        print(to_json(f"graph-{kind}", {**as_json(picture), "ended_by": told["ended_by"]}, indent=1))
    elif not arguments.output:
        print(printable(picture_text(picture)))
    if told["ended_by"] is not None:
        print(f"the module's life ended with an error: {printable(str(told['ended_by']))}", file=sys.stderr)
    return int(told["ended_by"] is not None)


def _lived(arguments: argparse.Namespace, kind: str, store: Store, progress: ProgressLine) -> dict[str, PlainData]:
    from kobox.apps import run_sources
    from kobox.apps.isolated import isolated
    from kobox.apps.life_pictures import LifeOfModules, life_calls, life_memory, life_timeline
    from kobox.checks.fuzz.exercise_file import exercises_of
    from kobox.cli.life import life_box
    from kobox.machine import native_core as native

    named = arguments.kernel or store.fitting(Path(name) for name in arguments.names if "=" not in name)
    image = store.ensure(named, progress)
    sources = run_sources.split(arguments.names)
    paths = run_sources.module_paths(
        sources, image, lambda path: print(f"building {path} for {image.name}", file=sys.stderr)
    )
    seen_of: dict[str, Callable[[LifeOfModules], PictureData]] = {
        "life": life_timeline,
        "map": life_memory,
        "calls": lambda life: life_calls(life, arguments.depth or 1),
    }

    def work(box: Box) -> PlainData:
        box.limits.cpu = arguments.cpu_limit
        uses = [use for file in arguments.exercise for use in exercises_of(file, paths[-1][-1])]
        files, parameters = run_sources.module_files(sources, paths)
        life = LifeOfModules(box, files, parameters, uses, arguments.commands)
        seen = seen_of[kind](life)
        return {"seen": asdict(seen), "ended_by": life.ended_by}

    def make() -> Box:
        native.preload()  # not before the fork: it is a thread
        box = life_box(arguments, image, store, progress)
        box.inspect.layout.keep_before_a_wall()
        return box

    places = {path.resolve().parent for files in paths for path in files}
    places |= {Path(file).resolve().parent for file in arguments.exercise}
    told = isolated(work, read=sorted(places), seconds=60 + 10 * arguments.cpu_limit, make=make)
    assert isinstance(told, dict)
    return dict(told)
