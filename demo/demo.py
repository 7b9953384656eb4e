"""The main job of kobox on real input, explained as it goes: from nothing to a module that ran on a real kernel."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import kobox
from kobox.box.box import Box
from kobox.box.inspect.printk import LogRecord
from kobox.checks.report.text import finding_lines
from kobox.checks.runner.check import examine
from kobox.checks.runner.plan import CheckPlan
from kobox.cli.progress import ProgressLine
from kobox.images.store import Store
from kobox.kbuild.build import build

NOTES = Path(__file__).with_name("notes.c")
NOTES = Path(__file__).with_name("notes.c")
SOURCE = Path(__file__).with_name("greeter.c")


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def show(records: list[LogRecord]) -> None:
    for record in records:
        print(f"    {record}")


def take_a_note(box: Box) -> None:
    """What a test of the notes device would do."""
    with box.open("/dev/notes", "r+b") as notes:
        notes.write(b"hello")
        notes.read(10)


def main() -> None:
    progress = ProgressLine()
    say("1. A kernel. Debian's own, unmodified, fetched through apt once, without root, and kept in the cache:")
    kernel = Store().ensure(None, progress)
    progress.close()
    print(f"    {kernel.release}   ({kernel.origin})")

    with tempfile.TemporaryDirectory(prefix="kobox-demo-") as scratch:
        say(f"2. A module. {SOURCE.name} has an int, a string and an array of ints as parameters; Kbuild builds it:")
        source = Path(shutil.copy(SOURCE, scratch))
        built = build(source, kernel)
        module = next(iter(built))
        print(f"    {module.name}: {module.stat().st_size} bytes, built in {built.seconds:.1f} s")

        say("3. The box. The first time, the kernel boots and a snapshot is kept; from then on it resumes at once:")
        began = time.perf_counter()
        box = kobox.boot(kernel, progress=progress)
        progress.close()
        with box:
            spent, uptime = time.perf_counter() - began, box.read_text("/proc/uptime").split()[0]
            print(f"    up in {spent:.2f} s, in this process: no root, no VM; the kernel's uptime is {uptime} s")

            say('4. insmod greeter.ko times=2 whom="dear reader" marks=3,4,5   (a real init_module())')
            greeter = box.insmod(module, times=2, whom="dear reader", marks=[3, 4, 5])
            show(greeter.log)

            say("5. What the kernel shows of it in /sys/module/greeter/parameters:")
            for name, value in greeter.parameters.items():
                mode = box.stat(f"/sys/module/greeter/parameters/{name}").st_mode & 0o777
                print(f"    {name:6} {mode:04o}  {value}")

            say("6. A parameter is changed while the module is loaded: echo 7 > /sys/module/greeter/parameters/times")
            box.path("/sys/module/greeter/parameters/times").write_text("7")
            print(f"    times is now {greeter.parameters['times']}; whom is read-only:", end=" ")
            try:
                box.path("/sys/module/greeter/parameters/whom").write_text("nobody")
                print("and yet it was written")
            except OSError as error:
                print(error.strerror)

            say("7. rmmod greeter   (a real delete_module())")
            said = box.log.next_seq
            greeter.unload()
            show(box.log.since(said))

            say("8. insmod greeter.ko times=many   is refused by the kernel, in its own words:")
            try:
                box.insmod(module, times="many")
            except kobox.ModuleLoadError as error:
                print("    " + str(error).replace(f"{scratch}/", "").replace("\n", "\n    "))

            say("9. The verdict. What the kernel complained of while all this went on:")
            print(f"    {box.findings or 'nothing: no warning, no bug, no oops'}")

        say("10. kobox check: a module that works, and what is wrong in it all the same (demo/notes.c):")
        notes = next(iter(build(Path(shutil.copy(NOTES, scratch)), kernel)))
        for finding in examine(CheckPlan(str(notes), kernel=kernel.name, loads=1), take_a_note):
            for line in finding_lines(finding):
                print(f"    {line}")
            print()
    say("Try it on a module of your own:   .venv/bin/kobox run|check FILE.ko|FILE.c|DIR [NAME=VALUE ...]")


if __name__ == "__main__":
    try:
        main()
    except kobox.KoboxError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
