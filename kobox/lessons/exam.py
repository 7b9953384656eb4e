"""The check of a lesson: the reader's modules are built, and live through the lesson's steps in a box.

Only .c, .h and .rs files are taken, and built with a Makefile of kobox's own: a reader's Makefile would run with the
rights of whoever checks.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kobox.apps.bpf_exercise import PACKETS
from kobox.apps.rootfs import shell_box
from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfLoadError, BpfObject
from kobox.box.guest.files import BoxFile
from kobox.devices import ready
from kobox.errors import BuildError, KoboxError, ModuleLoadError, ModuleUnloadError
from kobox.images.kernel_image import KernelImage, Progress
from kobox.images.store import Store
from kobox.kbuild.build import build
from kobox.kbuild.rust import FETCHED, MINUTES, RustSupport
from kobox.ko.modulefile import ModuleFile
from kobox.lessons.lesson import Lesson, LessonStep
from kobox.printable import one_line

_SECONDS = 30.0  # virtual, for a command of a step
_CHECK_SECONDS = 40.0
_CPU_SECONDS = 10.0  # of one call: an endless loop is told of soon


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of one step: `missing` says in sentences what is not as it should be, "" where it is."""

    what: str
    missing: str = ""


@dataclass(frozen=True, slots=True)
class ExamResult:
    """What came of a check: the steps, up to the first that is not as it should be."""

    lesson: str
    steps: tuple[StepResult, ...]

    @property
    def passed(self) -> bool:
        """Whether the task is done."""
        return bool(self.steps) and not any(step.missing for step in self.steps)

    @property
    def missing(self) -> str:
        """What is missing, "" where nothing is."""
        return next((step.missing for step in self.steps if step.missing), "")


Told = Callable[[StepResult], None]


def examine(lesson: Lesson, directory: Path, kernel: KernelImage, store: Store, told: Told | None = None) -> ExamResult:
    """Check what a reader has made in a directory. `told` is called after each step.

    Raises `KoboxError` where the machine, not the reader, is at fault: no headers, no compiler.
    """
    with tempfile.TemporaryDirectory(prefix="kobox-learn-") as room:
        try:
            built = build_lesson(lesson, directory, kernel, Path(room))
        except BuildError as error:
            if not error.output:
                raise
            return _only(lesson, StepResult("build", _why_not_built(error)), told)
        except FileNotFoundError as error:
            return _only(lesson, StepResult("build", str(error.args[-1])), told)
        return take_steps(lesson, built, directory, kernel, store, told)


def _only(lesson: Lesson, result: StepResult, told: Told | None) -> ExamResult:
    if told is not None:
        told(result)
    return ExamResult(lesson.name, (result,))


def build_lesson(lesson: Lesson, directory: Path, kernel: KernelImage, room: Path) -> dict[str, Path]:
    """The modules and programs of a lesson by name, built from a reader's source below `room`.

    Raises `BuildError`; `FileNotFoundError` where a source file is missing.
    """
    source = room / "source"
    source.mkdir()
    for path in sorted(directory.glob("*")):
        if path.suffix in (".c", ".h", ".rs") and path.is_file():
            shutil.copy(path, source)
    for name in lesson.sources:
        if not (source / name).is_file():
            raise FileNotFoundError(f"{directory} has no {name}")
    if lesson.modules:
        (source / "Kbuild").write_text("".join(f"obj-m += {name}.o\n" for name in lesson.modules))
    built = build(source, kernel, output=room / "built", builds=room / "kbuild")
    return {path.name.split(".")[0]: path for path in (*built.modules, *built.programs)}


def kernel_for(lesson: Lesson, store: Store, name: str | None, progress: Progress | None = None) -> KernelImage:
    """The kernel that a lesson is checked on: the one of that name; else, for Rust, the newest that has the support for
    it, and the default one for the others. Raises `KoboxError`, and `FetchError` where it has to be fetched first.
    """
    if name or not lesson.rust:
        return store.ensure(name, progress)
    able = [kernel for kernel in store.list() if RustSupport(kernel).exists]
    if not able:
        raise KoboxError(
            f"lesson {lesson.name} wants a kernel with Rust support, and none of yours has it",
            hint=f"`kobox kernel add debian/sid --rust` makes it: {FETCHED} MB to fetch, {MINUTES} minutes, once.",
        )
    return able[-1]


def _why_not_built(error: BuildError) -> str:
    lines = [line for line in error.output.splitlines() if ": error: " in line or "ERROR: " in line or " *** " in line]
    said = "\n".join(one_line(line) for line in lines[:3])
    return f"It does not build.\n{said}\n{error.hint}".rstrip()


def take_steps(
    lesson: Lesson,
    built: dict[str, Path],
    directory: Path,
    kernel: KernelImage,
    store: Store,
    told: Told | None = None,
) -> ExamResult:
    """Live through a lesson's steps with modules that are built."""
    results: list[StepResult] = []

    def note(result: StepResult) -> None:
        results.append(result)
        if told is not None:
            told(result)

    with shell_box(kernel, store=store) as box:
        box.limits.cpu = _CPU_SECONDS
        walk = _Walk(box, kernel, built, directory)
        for step in lesson.steps:
            try:
                missing = walk.take(step)
            except KoboxError as error:
                missing = f"{step.because}\nThe kernel: {one_line(str(error).splitlines()[0])}"
            note(StepResult(step.what, missing))
            if missing:
                return ExamResult(lesson.name, tuple(results))
        if walk.told:
            note(StepResult("what the kernel reports", f"The kernel reports: {one_line(walk.told)}"))
    return ExamResult(lesson.name, tuple(results))


class _Walk:
    """One walk through the steps in one box."""

    def __init__(self, box: Box, kernel: KernelImage, built: dict[str, Path], directory: Path) -> None:
        self._box = box
        self._kernel = kernel
        self._built = built
        self._directory = directory
        self._program: BpfObject | None = None
        for path in built.values():
            box.files.copy_in(path, "/root")

    @property
    def told(self) -> str:
        """What the kernel has reported: an oops, a warning; "" for nothing."""
        return str(self._box.findings[0]) if self._box.alive and self._box.findings else ""

    def take(self, step: LessonStep) -> str:
        """Do what a step says; what is missing, "" where it is as it should be."""
        begun = self._box.log.next_seq
        missing = self._done(step)
        if missing is not None:
            return "\n".join(filter(None, (step.because, missing)))
        said = "\n".join(record.text for record in self._box.log.since(begun))
        if step.log and not re.search(step.log, said, re.MULTILINE):
            return f"{step.because}\nThe kernel's log since this step began: {_shortened(said)}"
        if step.silent and re.search(step.silent, said, re.MULTILINE):
            return f"{step.because}\nThe kernel's log since this step began: {_shortened(said)}"
        return f"The kernel reports: {one_line(self.told)}" if self.told else ""

    def _done(self, step: LessonStep) -> str | None:
        """What was wrong, None for nothing."""
        if step.load:
            return self._load(step)
        if step.unload:
            try:
                self._box.rmmod(step.unload)
            except ModuleUnloadError as error:
                return f"rmmod {step.unload}: {one_line(str(error).splitlines()[0])}"
        elif step.run:
            return self._run(step)
        elif step.ioctl:
            with self._box.open(step.ioctl, "r+b") as device:
                return next((wrong for call in step.calls if (wrong := device_call(device, call))), None)
        elif step.plug:
            self._box.plug(ready.make(step.plug))
        elif step.examine:
            return self._examine(step.examine)
        elif step.signed:
            return self._signed(step.signed)
        elif step.verify:
            return self._verify(step.verify)
        return self._use_program(step)

    def _verify(self, name: str) -> str | None:
        try:
            self._program = self._box.bpf.load(self._built[name])
        except BpfLoadError as error:
            return f"{one_line(str(error).splitlines()[0])}\n`kobox explain {name}.bpf.o` says why and what to write."
        return None

    def _use_program(self, step: LessonStep) -> str | None:
        """The steps that are about the program which was verified."""
        program = self._program
        if program is None:
            return None
        if step.packet:
            first = next(iter(program.programs.values()), None)
            if first is None:
                return 'The object has no program: a function below SEC("…") is one.'
            called = first.test_run(PACKETS[step.packet])
            return None if called.name == step.answer else f"{step.packet}: the program answers {called.name}"
        if step.variable:
            name, _, wanted = step.variable.partition(" = ")
            if name not in program.globals:
                return f"The program has no variable `{name}`."
            value = program.globals[name]
            return None if value == int(wanted) else f"{name} is {one_line(str(value))}"
        if step.attach:
            program.attach()
        elif step.attach is not None:
            program.unload()
        return None

    def _load(self, step: LessonStep) -> str | None:
        wanted = getattr(errno, step.fails) if step.fails else 0
        try:
            self._box.insmod(self._built[step.load], step.with_)
        except ModuleLoadError as error:
            got = errno.errorcode.get(error.errno or 0, str(error.errno))
            return (
                None if error.errno == wanted else f"insmod failed with {got}: {one_line(str(error).splitlines()[0])}"
            )
        return f"insmod succeeded, and {step.fails} was wanted" if wanted else None

    def _run(self, step: LessonStep) -> str | None:
        import subprocess

        try:
            done = self._box.run(["sh", "-c", step.run], capture_output=True, cwd="/root", timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            return f"`{step.run}` has not ended after {_SECONDS:g} s of the box's time"
        said = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode != step.status:
            return f"`{step.run}` ended with {done.returncode}, not {step.status}, and printed: {_shortened(said)}"
        if step.prints and not re.search(step.prints, said, re.MULTILINE):
            return f"`{step.run}` printed: {_shortened(said)}"
        return None

    def _examine(self, name: str) -> str | None:
        from kobox.checks.report.finding import Severity
        from kobox.checks.runner.check import check
        from kobox.checks.runner.plan import CheckPlan

        plan = CheckPlan(
            str(self._built[name]), self._kernel.name, loads=2, seconds=_CHECK_SECONDS, workers=1, phantom=False
        )
        found = [finding for finding in check(plan).findings if finding.severity is Severity.ERROR]
        return f"kobox check: {one_line(str(found[0]))}" if found else None

    def _signed(self, name: str) -> str | None:
        from kobox.signing.keys import load_certificates
        from kobox.signing.verify import verify

        file, certificate = self._directory / f"{name}.ko", self._directory / f"{name}.crt"
        for path in (file, certificate):
            if not path.is_file():
                return f"There is no {path.name} in {self._directory}."
        verdict = verify(file.read_bytes(), load_certificates(certificate), path=str(file))
        if verdict.valid is not True:
            return f"{file.name}: {verdict.reason or 'nobody has signed it'}"
        with suppress(KoboxError):
            if ModuleFile(file).name != name:
                return f"{file.name}: the module in it has another name"
        return None


_CALL = re.compile(
    r"(?P<request>0x[0-9a-f]+)(?: (?P<value>\d+|nowhere))?(?: = (?P<wanted>\d+))?(?: fails (?P<errno>E\w+))?"
)


def device_call(device: BoxFile, text: str) -> str:
    """Make one ioctl(2): `REQUEST [VALUE | nowhere] [= WANTED] [fails ERRNO]`; what is wrong, "" for nothing.

    VALUE is an int that the argument points at; `nowhere` is a pointer to no memory.
    """
    call = _CALL.fullmatch(text)
    assert call is not None, text
    memory = bytearray(int(call["value"] or 0).to_bytes(4, "little")) if call["value"] != "nowhere" else 0x10
    try:
        device.ioctl(int(call["request"], 16), memory)
    except OSError as error:
        got = errno.errorcode.get(error.errno or 0, str(error.errno))
        return "" if got == call["errno"] else f"ioctl {text}: failed with {got}"
    if call["errno"]:
        return f"ioctl {text}: succeeded"
    value = int.from_bytes(memory, "little", signed=True) if isinstance(memory, bytearray) else 0
    return f"ioctl {text}: gave {value}" if call["wanted"] and value != int(call["wanted"]) else ""


def _shortened(text: str) -> str:
    lines = [one_line(line) for line in text.splitlines()][-4:]
    return "\n  " + "\n  ".join(lines) if lines else "nothing"
