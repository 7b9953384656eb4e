"""`kobox run prog.bpf.o`: load eBPF programs in a box, attach them, use the box, tell what they did, detach, judge."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kobox.cli.json_output import to_json
from kobox.cli.worker import raise_wall
from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.apps.run_events import StoryEvent
    from kobox.images.kernel_image import KernelImage

SUFFIXES = (".bpf.o", ".bpf.c")


def is_bpf(words: Sequence[str]) -> bool:
    """Whether a command line names eBPF programs: the first word does, or is a directory with nothing else to build."""
    if not words:
        return False
    path = Path(words[0])
    if not path.is_dir():
        return path.name.endswith(SUFFIXES)
    others = ("*.ko*", "Makefile", "Kbuild", "*.rs")
    sources = [*path.glob("*.c"), *path.glob("*.o")]
    return (
        any(one.name.endswith(SUFFIXES) for one in sources)
        and not any(any(path.glob(pattern)) for pattern in others)
        and all(one.name.endswith(SUFFIXES) for one in path.glob("*.c"))
    )


class LineOf(Protocol):
    """What makes lines of an event."""

    def __call__(self, event: StoryEvent, /, *, verbose: bool, colour: bool) -> str: ...


def run_bpf(arguments: argparse.Namespace, line: LineOf, *, colour: bool) -> int:
    """Run the command and return its exit status. Raises `KoboxError` for options that only modules have."""
    for option in ("trust", "enforce", "lockdown", "plug", "phantom", "record"):
        if getattr(arguments, option):
            raise KoboxError(f"--{option} is for modules, and {arguments.source[0]} is an eBPF program")
    from kobox.apps.bpf_story import BpfStory
    from kobox.box.boot.boot import boot
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import Store

    words = [*arguments.source, *arguments.parameters]
    progress = ProgressLine(quiet=arguments.json)
    try:
        image = Store().ensure(arguments.kernel, progress)
        files, variables = _files(words, image)
        box = boot(
            image, memory=arguments.memory << 20, cmdline=arguments.cmdline, cpus=arguments.cpus, progress=progress
        )
        box.bpf.run_idle()  # the loader is built where there is none yet: behind the wall nothing can be
    finally:
        progress.close()

    def show(event: StoryEvent) -> None:
        if arguments.json:
            facts = {"kind": event.kind, "time": event.time, "text": event.text, **event.data}
            print(to_json("run-bpf", facts, indent=None), flush=True)
        elif not arguments.quiet or event.kind in ("failed", "report", "left", "verdict"):
            print(line(event, verbose=arguments.verbose, colour=colour), flush=True)

    ok = True
    with box:
        if arguments.cpu_limit:
            box.limits.cpu = arguments.cpu_limit
        box.inspect.layout.keep()
        places = [path.resolve().parent for path in files]
        raise_wall([*places, *filter(None, (image.modules, image.directory))], cpu_limit=box.limits.cpu)
        if not arguments.json and not arguments.quiet:
            print(f"kernel {box.release}")
        with box.guest.processes.budget(box.limits.cpu * len(files)):
            for file in files:
                story = BpfStory(box, target=arguments.attach)
                for event in story.tell(file.name, file.read_bytes(), variables):
                    show(event)
                ok = ok and story.verdict.ok
                if not ok and not arguments.keep_going:
                    break
    return 0 if ok else 1


def _files(words: Sequence[str], image: KernelImage) -> tuple[list[Path], dict[str, str]]:
    """The objects that a command line names, built where it names source, and the variables that it sets."""
    from kobox.kbuild.build import build

    files: list[Path] = []
    variables: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        path = Path(word)
        if equals and not path.exists():
            variables[name] = value
        elif path.is_dir() or word.endswith(".bpf.c"):
            if not path.exists():
                raise KoboxError(f"{path}: no such file or directory", hint="Give a .bpf.o file or a .bpf.c file.")
            sources = any(path.glob("*.bpf.c")) if path.is_dir() else True
            if sources:
                print(f"building {path} for {image.name}", file=sys.stderr)
                files += build(path, image).programs
            else:
                files += sorted(path.glob("*.bpf.o"))
        elif not path.is_file():
            raise KoboxError(f"{path}: no such file", hint="`kobox build prog.bpf.c` makes prog.bpf.o.")
        else:
            files.append(path)
    return files, variables
