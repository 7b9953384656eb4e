"""`kobox run`: load a module in a box, tell what it does as it happens, unload it, and judge.

Exit status: 0 when load and unload worked, nothing was left behind, and the kernel said nothing at the level of a
warning or above about the modules; 1 otherwise; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.cli.colour import coloured
from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.cli.plug import add_plug_option
from kobox.cli.plug import models as plugged_models
from kobox.cli.terminal_output import paint
from kobox.cli.worker import raise_wall
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.apps.life_record import LifeRecord
    from kobox.apps.run_events import StoryEvent
    from kobox.apps.run_sources import RunSource
    from kobox.box.box import Box
    from kobox.devices.model import HardwareModel
    from kobox.ko.modulefile import ModuleFile

_MARKS = {
    "load": "=>",
    "unload": "<=",
    "appeared": " +",
    "plugged": " +",
    "gone": " -",
    "parameter": " .",
    "reference": " .",
    "left": " !",
}
_COLOURS = {
    "failed": "31;1",
    "report": "31;1",
    "left": "31",
    "appeared": "32",
    "gone": "33",
    "load": "1",
    "unload": "1",
}
_WHEN_QUIET = {"failed", "report", "left", "verdict"}
_LEVEL_COLOURS = {"emerg": "31;1", "alert": "31;1", "crit": "31;1", "err": "31", "warning": "33"}


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    parser = _parser(prog)
    arguments = parser.parse_intermixed_args(argv)
    if arguments.write_model is not None and not arguments.phantom:
        parser.error("--write-model writes what --phantom finds: give both")
    if arguments.record is not None:
        _refuse_what_is_not_recorded(arguments, parser)
    if arguments.on == "vm" or arguments.compare:
        _refuse_what_boxes_alone_have(arguments, parser)
    from kobox.machine import native_core as native

    native.preload()
    from kobox.cli.run_bpf import is_bpf, run_bpf

    if is_bpf(arguments.source):
        return run_bpf(arguments, story_line, colour=_wants_colour())
    import kobox
    from kobox.apps import run_sources
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import Store

    progress = ProgressLine(quiet=arguments.json or arguments.quiet)
    store = Store()
    if arguments.kernel is None and not store.list():
        print(f"{prog}: no kernel in {store.root} yet: adding Debian's newest cloud kernel", file=sys.stderr)
    try:
        named = arguments.kernel or store.fitting(Path(source) for source in arguments.source)
        image = store.ensure(named, progress)
        sources = run_sources.split([*arguments.source, *arguments.parameters])
        paths = run_sources.module_paths(
            sources, image, lambda path: arguments.quiet or print(f"building {path} for {image.name}", file=sys.stderr)
        )
        if arguments.on == "vm" or arguments.compare:
            from kobox.cli import run_on_vm

            return run_on_vm.run(arguments, image, sources, paths, _printer(arguments))
        box = kobox.boot(
            image,
            memory=arguments.memory << 20,
            cmdline=arguments.cmdline,
            profile=arguments.profile,
            cpus=arguments.cpus,
            trust=arguments.trust,
            enforce_signatures=arguments.enforce,
            lockdown=arguments.lockdown,
            progress=progress,
        )
    finally:
        progress.close()
    with box:
        if arguments.cpu_limit:
            box.limits.cpu = arguments.cpu_limit
        with box.guest.processes.budget(box.limits.cpu * max(1, sum(map(len, paths)))):
            return _tell(arguments, box, sources, paths)


def _refuse_what_is_not_recorded(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """A record holds no Python, no certificates, and no device that was made up."""
    from kobox.apps.life_record import can_be_recorded

    for option in ("phantom", "trust", "enforce", "lockdown", "cpu_limit"):
        if getattr(arguments, option):
            parser.error(f"--record and --{option.replace('_', '-')} do not go together yet")
    for plug in arguments.plug:
        if not can_be_recorded(plug):
            parser.error(f"--record: --plug {plug} names a file; only ready models can be recorded (`--plug help`)")


def _refuse_what_boxes_alone_have(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """A virtual machine has no devices that Python models, no certificates of the user's, and is not recorded."""
    for option in ("phantom", "trust", "enforce", "lockdown", "plug", "record", "write_model"):
        if getattr(arguments, option):
            parser.error(f"--{option.replace('_', '-')} is for boxes: it does not go with --on vm or --compare")


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Load modules in a box, tell what they do as it happens, unload them, and judge.",
    )
    parser.add_argument(
        "source",
        nargs=1,
        metavar="FILE.ko|FILE.c|DIR",
        help="a module or an eBPF object (.bpf.o), source that is built first, or a directory; more may follow",
    )
    parser.add_argument(
        "parameters", nargs="*", metavar="NAME=VALUE", help="parameters of the module named before them"
    )
    parser.add_argument(
        "--trust", action="append", default=[], metavar="FILE", help="the kernel trusts this certificate; repeatable"
    )
    parser.add_argument("--enforce", action="store_true", help="the kernel refuses modules without a valid signature")
    parser.add_argument(
        "--lockdown", default="", metavar="LEVEL", help="lock the kernel down: integrity or confidentiality"
    )
    parser.add_argument(
        "-k", "--kernel", metavar="NAME", help="the kernel to boot (default: `kobox kernel list` marks it)"
    )
    parser.add_argument("--keep-going", action="store_true", help="go on with the next module after one has failed")
    add_plug_option(parser, "before the module is loaded")
    parser.add_argument(
        "--phantom",
        action="store_true",
        help="make up a device for the driver (PCI, USB, I2C, platform), and find what it must say",
    )
    parser.add_argument(
        "--write-model", type=Path, metavar="FILE.py", help="with --phantom: write what was found as a model for --plug"
    )
    parser.add_argument(
        "--attach",
        default="",
        metavar="TARGET",
        help="eBPF: attach to this interface, control group or function (default: as the sections say)",
    )
    parser.add_argument("--no-unload", dest="unload", action="store_false", help="leave the module loaded")
    parser.add_argument(
        "--on",
        choices=("box", "vm"),
        default="box",
        help="where the kernel runs: vm is a virtual machine under QEMU (default: box)",
    )
    parser.add_argument(
        "--compare", choices=("vm",), help="run in a box and in a virtual machine, and show the first difference"
    )
    parser.add_argument("--cpus", type=int, default=1, metavar="N", help="CPUs of the box, 1 to 8 (default: 1)")
    parser.add_argument("--memory", type=int, default=256, metavar="MIB", help="memory of the box (default: 256)")
    parser.add_argument(
        "--profile",
        choices=("fast", "default"),
        default="fast",
        help="default: boot the kernel as the distribution does, with mitigations and security modules (default: fast)",
    )
    parser.add_argument("--cmdline", default="", metavar="TEXT", help="added to the kernel's command line")
    parser.add_argument(
        "--cpu-limit",
        type=float,
        metavar="SECONDS",
        help="CPU time of the box that each module may use, in all its calls together (default: 60)",
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE.kbx", help="write what repeats this run exactly, for `kobox replay`"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line: every event, the verdict last")
    parser.add_argument("-q", "--quiet", action="store_true", help="show what went wrong, and the verdict")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show every kernel line with its level, registers and code too"
    )
    return parser


def _tell(arguments: argparse.Namespace, box: Box, sources: list[RunSource], paths: list[list[Path]]) -> int:
    from kobox.apps.recorded_life import Recording
    from kobox.apps.run_sources import module_files
    from kobox.apps.run_story import Story

    show = _printer(arguments)
    started = Recording(box) if arguments.record is not None else None
    story = Story(box, unload=arguments.unload, keep_going=arguments.keep_going, live=show)
    models = plugged_models(arguments.plug)
    box.inspect.layout.keep_before_a_wall()
    places = [path.resolve().parent for files in paths for path in files]
    keep = _file_writer(arguments.record)
    write = _file_writer(arguments.write_model)  # it forks, and writes where this process may not any more
    raise_wall([*places, *filter(None, (box.image.modules, box.image.directory))], cpu_limit=box.limits.cpu)
    modules, parameters = module_files(sources, paths)
    if not arguments.json and not arguments.quiet:
        print(f"kernel {box.release}")
    for event in _plug(arguments, box, modules, parameters, models, write):
        show(event)
    if models:
        story.plugged(models)
    for event in story.tell(modules, parameters):
        show(event)
    if started is not None:
        keep(started.finish(_record(arguments, box, modules, parameters)).pack())
    return 0 if story.verdict.ok else 1


def _printer(arguments: argparse.Namespace) -> Callable[[StoryEvent], None]:
    """What prints an event as the options want it."""
    from kobox.box.inspect.oops import is_detail

    colour = _wants_colour()

    def show(event: StoryEvent) -> None:
        if arguments.json:
            facts = {"kind": event.kind, "time": event.time, "text": event.text, **event.data}
            print(to_json("run", facts, indent=None), flush=True)
        elif arguments.quiet and event.kind not in _WHEN_QUIET:
            return
        elif arguments.verbose or event.kind != "log" or not is_detail(event.text):
            print(story_line(event, verbose=arguments.verbose, colour=colour), flush=True)

    return show


def _record(arguments: argparse.Namespace, box: Box, modules: list[ModuleFile], parameters: list[str]) -> LifeRecord:
    """What --record writes, but for what came out."""
    import kobox
    from kobox.apps.life_record import LifeRecord, RecordedBox
    from kobox.apps.recorded_life import recorded_kernel, recorded_modules

    return LifeRecord(
        kobox.__version__,
        "run",
        recorded_kernel(box.image),
        RecordedBox(arguments.memory << 20, arguments.cpus, arguments.cmdline, arguments.profile),
        recorded_modules(modules, parameters),
        plugs=tuple(arguments.plug),
        unload=arguments.unload,
        keep_going=arguments.keep_going,
    )


def _file_writer(path: Path | None) -> Callable[[bytes], None]:
    """What writes a file, from behind the wall; nothing without one."""
    if path is None:
        return lambda content: None
    from kobox.isolation.file_writer import FileWriter

    writer = FileWriter([path])
    return lambda content: writer.write(path, content)


def _plug(
    arguments: argparse.Namespace,
    box: Box,
    modules: list[ModuleFile],
    parameters: list[str],
    models: list[HardwareModel],
    write: Callable[[bytes], None],
) -> Iterator[StoryEvent]:
    """Plug in the models, and a phantom if one is wanted, which is added to them; `write` keeps it as a model."""
    if not models and not arguments.phantom:
        return
    from kobox.apps import hardware
    from kobox.apps.run_events import StoryEvent
    from kobox.errors import KoboxError

    found = hardware.find_phantom(box, modules, parameters) if arguments.phantom else None
    if arguments.phantom and found is None:
        raise KoboxError(
            "--phantom: none of these modules is a driver that loads, of a device that can be made up",
            hint="It needs an alias of PCI, USB, HID, I2C, SPI, virtio, ACPI or a device tree, such as i2c:lm75: "
            "`kobox modinfo -F alias FILE` shows them.",
        )
    if found is not None:
        models.append(hardware.phantom_of(found))
        write(hardware.model_of(found, modules[-1].name))
    for model in models:
        hardware.plug(box, model)
        text = hardware.describe(model, found if model is models[-1] else None)
        facts = hardware.facts(model)
        yield StoryEvent("plugged", text, box.time, facts)


def story_line(event: StoryEvent, *, verbose: bool, colour: bool) -> str:
    """One event of a run, as a line or more."""
    code = _COLOURS.get(event.kind, "")
    if event.kind == "log":
        level = event.data["level"]
        code = _LEVEL_COLOURS.get(level, "")
        head = f"[{event.time:12.6f}] " + (f"{level:<7} " if verbose or code else "")
        # As dmesg: each line of a record has its own time stamp, so that no record looks like a line of kobox.
        text = "\n".join(head + line for line in event.text.split("\n"))
    elif event.kind == "verdict":
        code = "32;1" if event.data["ok"] else "31;1"
        text = one_line(event.text)
    elif event.kind == "failed":
        hint = event.data.get("hint")
        text = f" ! {one_line(event.text)}" + (f"\n   {one_line(hint)}" if hint else "")
    elif event.kind == "report":
        text = " ! " + "\n   ".join(map(one_line, event.text.split("\n")))
    else:
        text = f"{_MARKS.get(event.kind, '  ')} {one_line(event.text)}"
    return paint(code, text) if colour and code else text


def _wants_colour() -> bool:

    return coloured()
