"""How fast a module is debugged: steps, breakpoints, and the way back; with gdb and without (`Replay`).

    steps              single instructions of a loop, each a stop         by gdb: `stepi 20000`
    breakpoint hits    one in a loop, again and again                     by gdb: `ignore 1 2000`, `continue`
    reverse-continue   from the end of an init that was busy for 0.1 virtual seconds (25 million instructions) back to
                       its beginning; and over a second of sleep

Time is CPU time of this process, or of kobox and gdb together. The goals are 10,000 steps a second, 1 ms, 2 s.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import kobox
from kobox.box.box import Box
from kobox.debug.replay import FindLast, Going, GoTo, Moment, Replay

SOURCE = Path(__file__).parent.parent / "tests/modules/debug/spinner.c"
KOBOX = str(Path(sys.executable).with_name("kobox"))
STEPS, HITS = 20_000, 2_000
LINE = next(n for n, text in enumerate(SOURCE.read_text().splitlines(), 1) if "time_before" in text)


def used() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class Measured:
    """A life of the spinner's, with a stop in its loop; what came between two of its moments is timed."""

    def __init__(self, box: Box, module: Path, milliseconds: int, sleeps: float = 0.0) -> None:
        def life() -> None:
            loaded = box.insmod(module, f"spin={milliseconds}")
            box.sleep(sleeps)
            loaded.unload()

        self.replay = Replay(box, life)
        self._address = box.inspect.symbols.address("do_init_module")
        self._stops = 0
        self._init = 0
        self._began = self.took = 0.0

    def stops(self, count: int, *, stepping: bool) -> float:
        """Seconds of so many stops: at each instruction, or each time at one of the loop."""
        stepper = self.replay.stepper

        def meet(moment: Moment) -> Going:
            if moment.ended or self.took:
                return None
            if not self._init:
                self._init = self.replay.box.inspect.objects.number(
                    self.replay.box.machine.registers().argument(0), "module.init"
                )
                stepper.set_breakpoint(self._address, on=False)
                stepper.set_breakpoint(self._init)
                return None
            if not self._stops:
                stepper.set_breakpoint(self._init, on=False)
                stepper.stop_after(200)  # into the loop
            elif self._stops == 1:
                self._began = used()
                if not stepping:
                    stepper.set_breakpoint(moment.pc)
                    stepper.run_free()
            elif self._stops == count + 1:
                self.took = used() - self._began
                stepper.set_breakpoint(moment.pc, on=False)
                stepper.run_free()
                return None
            self._stops += 1
            if stepping and self._stops > 1:
                stepper.stop_outside(moment.pc, moment.pc + 1)
            return None

        stepper.set_breakpoint(self._address)
        stepper.run_free()
        with self.replay:
            self.replay.play(meet)
        return self.took

    def back(self) -> float:
        """Seconds from the end of the life to the stop before it, a busy second earlier."""

        def meet(moment: Moment) -> Going:
            if moment.ended and not self._began:
                self._began = used()
                return FindLast(moment.count, lambda stop: GoTo(stop.count) if stop is not None else None)
            if self._began and not self.took:
                self.took = used() - self._began
            return None

        self.replay.stepper.set_breakpoint(self._address)
        self.replay.stepper.run_free()
        with self.replay:
            self.replay.play(meet)
        return self.took


def by_gdb(module: Path, commands: Sequence[str]) -> float:
    """Seconds that kobox and gdb take for commands, without what they take for none."""

    def session(*more: str) -> float:
        words = [KOBOX, "gdb", str(module), "spin=20", "--", "-nx", "-batch"]
        words += [word for command in ("set height 0", *more, "kill") for word in ("-ex", command)]
        before = used()
        subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return used() - before

    return session(*commands) - session()


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="kobox-bench-") as place:
        subprocess.run([KOBOX, "build", "-q", str(SOURCE), "-o", place], check=True)
        module = Path(place) / "spinner.ko"
        with kobox.boot() as box:
            rows = [
                ("steps a second", STEPS / Measured(box, module, 20).stops(STEPS, stepping=True), "{:,.0f}"),
                ("a breakpoint hit", Measured(box, module, 20).stops(HITS, stepping=False) / HITS * 1e6, "{:.0f} us"),
                ("reverse-continue over 0.1 s of work", Measured(box, module, 100).back(), "{:.2f} s"),
                ("reverse-continue over 1 s of sleep", Measured(box, module, 0, sleeps=1.0).back(), "{:.2f} s"),
            ]
        hits = [f"break {LINE}", f"ignore 1 {HITS}", "continue"]
        rows += [
            ("steps a second, by gdb", STEPS / by_gdb(module, [f"stepi {STEPS}"]), "{:,.0f}"),
            ("a breakpoint hit, by gdb", by_gdb(module, hits) / HITS * 1e6, "{:.0f} us"),
        ]
    for what, value, form in rows:
        print(f"{what:40} {form.format(value)}")


if __name__ == "__main__":
    main()
