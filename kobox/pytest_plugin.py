"""The pytest plugin: kernel modules tested in a box, with every check watching.

    def test_what_is_written_can_be_read(box, module):
        hello = box.insmod(module)
        with box.open("/dev/hello", "r+b") as device:
            device.write(b"x")
        hello.unload()

box       a clean box for each test; what is found in it fails the test, unless it is expected:
          @pytest.mark.kobox_finding("kind")
module    the module, built once from the source beside the test; `modules` all of them, by name
kernel    the kernel of the box: the default one, or each of --kobox-kernel
vm        the same kernel in a clean virtual machine under QEMU: `kobox.vm.VirtualMachine`
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from kobox.box.box import Box
    from kobox.box.trace.trace import CallTrace
    from kobox.checks.report.finding import Finding
    from kobox.checks.runner.session import Examination
    from kobox.images.store import KernelImage
    from kobox.vm import VirtualMachine


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kobox", "kernel modules in a box")
    group.addoption(
        "--kobox-kernel",
        action="append",
        default=[],
        metavar="NAME",
        help="run each test that uses a box with this kernel of the cache; repeatable; `all` for every one",
    )
    group.addoption("--kobox-cpus", type=int, default=1, metavar="N", help="CPUs of each box, 1 to 8 (default: 1)")
    group.addoption("--kobox-source", default="", metavar="DIR", help="the module's source (default: beside the test)")
    group.addoption("--kobox-built", default="", metavar="DIR", help="take the modules from here, and build nothing")
    group.addoption(
        "--kobox-checks",
        choices=("all", "kernel"),
        default="all",
        help="all: the checks of `kobox check` watch the module; kernel: only what the kernel itself reports counts",
    )
    group.addoption(
        "--kobox-no-trace", action="store_true", help="do not record the module's calls, whose last a failed test shows"
    )
    group.addoption(
        "--kobox-gdb", action="store_true", help="when a test fails, run it again under gdb, on this terminal"
    )
    parser.addini("kobox_source", "the module's source, relative to the root directory", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kobox_finding(*kinds): these findings are expected, and must be made")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = metafunc.config.getoption("--kobox-kernel")
    if "kernel" not in metafunc.fixturenames or not names:
        return
    if "all" in names:
        from kobox.images.store import Store

        names = [image.name for image in Store().list()]
    metafunc.parametrize("kernel", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def kernel(request: pytest.FixtureRequest) -> KernelImage:
    """The kernel that the boxes of this session boot."""
    from kobox.images.store import Store

    return Store().ensure(getattr(request, "param", None))


@pytest.fixture(scope="session")
def kobox_room(request: pytest.FixtureRequest) -> Iterator[dict[str, Box]]:
    """Booted boxes by kernel: booted once, clean for each test."""
    boxes: dict[str, Box] = {}
    yield boxes
    for box in boxes.values():
        box.close()


@pytest.fixture
def box(request: pytest.FixtureRequest, kobox_room: dict[str, Box], kernel: KernelImage) -> Iterator[Box]:
    """A clean box. What is found in it fails the test."""
    from kobox.box.boot.boot import boot
    from kobox.box.guest.process import Limits

    if kernel.name not in kobox_room:
        kobox_room[kernel.name] = boot(kernel, cpus=request.config.getoption("--kobox-cpus"))
    found = kobox_room[kernel.name]
    fresh = Limits()
    found.limits.timeout, found.limits.cpu = fresh.timeout, fresh.cpu
    found.inspect.probes.clear()
    examination = _examination(request, found)
    examination.begin()
    request.node.stash[_EXAMINATION] = examination
    request.node.stash[_LOG] = found.log.next_seq
    with ExitStack() as stack:
        if not request.config.getoption("--kobox-no-trace"):
            request.node.stash[_TRACE] = _traced(stack, found)
        yield found
        if examination in _running(request.node):
            examination.finish()


def _traced(stack: ExitStack, box: Box) -> CallTrace | None:
    """The calls of modules in this test; None where the kernel has no types. A test's own
    trace takes its place. Debugging information is not read: most
    tests pass."""
    from kobox.errors import KoboxError

    with suppress(KoboxError):
        return stack.enter_context(box.trace(most=_MOST_CALLS, background=True))
    return None


@pytest.fixture
def vm(request: pytest.FixtureRequest, kernel: KernelImage) -> Iterator[VirtualMachine]:
    """A clean virtual machine with the kernel of the session. Only what the test asserts is judged in it."""
    from kobox.vm import VirtualMachine

    with VirtualMachine(kernel, cpus=request.config.getoption("--kobox-cpus")) as machine:
        yield machine


@pytest.fixture
def modules(request: pytest.FixtureRequest, kernel: KernelImage) -> dict[str, Path]:
    """The .ko files of the source beside the test, by name, built once for each kernel."""
    return _built(request.config, _source(request), kernel)


@pytest.fixture
def module(modules: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    """The .ko file of the source beside the test; of several, the one that is named like the directory, or
    comes first."""
    return modules.get(_source(request).name.replace("-", "_")) or next(iter(modules.values()))


# -- findings ------------------------------------------------------------------------------------------------------

_EXAMINATION: pytest.StashKey[Any] = pytest.StashKey()
_DONE: pytest.StashKey[bool] = pytest.StashKey()
_LOG: pytest.StashKey[int] = pytest.StashKey()
_TRACE: pytest.StashKey[CallTrace | None] = pytest.StashKey()
_MOST_CALLS, _TAIL = 20_000, 40  # calls that are recorded in one test, and lines of them that are shown


def _running(item: pytest.Item) -> list[Any]:
    examination = item.stash.get(_EXAMINATION, None)
    return [] if examination is None or item.stash.get(_DONE, False) else [examination]


class Hearing:
    """What stands for an examination where no module is known: the kernel itself is heard, and nothing else."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.findings: list[Finding] = []

    def begin(self) -> None:
        self.box.reset()

    def finish(self) -> None:
        from kobox.checks.runner.session import kernel_findings

        self.findings = kernel_findings(self.box)


def _examination(request: pytest.FixtureRequest, box: Box) -> Examination | Hearing:
    """An examination of the module that the test uses; without one, only the kernel itself is heard."""
    from kobox.checks.runner.examiner import checks_of
    from kobox.checks.runner.plan import CHECKS
    from kobox.checks.runner.session import Examination
    from kobox.ko.modulefile import ModuleFile

    if "modules" in request.fixturenames and request.config.getoption("--kobox-checks") == "all":
        path: Path = request.getfixturevalue("module")
        return Examination(box, ModuleFile(path), checks_of(CHECKS)[0])
    return Hearing(box)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """After the test itself: what was found fails it."""
    result = yield
    for examination in _running(item):
        item.stash[_DONE] = True
        examination.finish()
        _judge(item, examination)
    return result


def _judge(item: pytest.Item, examination: Examination | Hearing) -> None:
    expected = {kind for mark in item.iter_markers("kobox_finding") for kind in mark.args}
    kinds = {finding.kind for finding in examination.findings}
    unexpected = [
        finding for finding in examination.findings if finding.kind not in expected and finding.severity != "note"
    ]
    if unexpected:
        from kobox.checks.report.text import finding_lines

        text = "\n\n".join("\n".join(finding_lines(finding)) for finding in unexpected)
        pytest.fail(f"found in the box:\n\n{text}", pytrace=False)
    if missing := sorted(expected - kinds):
        found = ", ".join(sorted(kinds)) or "nothing"
        pytest.fail(f"expected to be found, and was not: {', '.join(missing)} (found: {found})", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """A test that failed shows what the kernel has said in it."""
    report = yield
    examination = item.stash.get(_EXAMINATION, None)
    if report.failed and examination is not None:
        try:
            records = examination.box.log.since(item.stash[_LOG])
        except Exception as error:  # a box that is closed, or whose memory was spoilt
            records = [f"(cannot be read: {error})"]
        if records:
            report.sections.append(("kernel log", "\n".join(map(str, records))))
        if tail := _tail(item.stash.get(_TRACE, None)):
            report.sections.append(("last calls of the module", tail))
        if call.when == "call" and item.config.getoption("--kobox-gdb"):
            _debug(item, examination.box)
    return report


def _tail(trace: CallTrace | None) -> str:
    """The end of a trace, as text."""
    lines = str(trace).splitlines() if trace is not None and trace.roots else []
    if trace is not None and lines and not trace.is_whole:
        lines.append(f"(the first {_MOST_CALLS} calls; what came later was not recorded)")
    return "\n".join(lines[-_TAIL:])


def _debug(item: pytest.Item, box: Box) -> None:
    """Run the test again under gdb. Whatever it raises ends that life."""
    from kobox.box.symbol_file.kernel_symbol_file import kernel_symbol_file
    from kobox.debug.gdb_program import gdb_words
    from kobox.debug.gdb_session import GdbSession
    from kobox.debug.run_gdb import run_gdb
    from kobox.errors import KoboxError
    from kobox.images.store import Store
    from kobox.ko.modulefile import ModuleFile

    assert isinstance(item, pytest.Function)
    arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}

    def life() -> None:
        with suppress(Exception, pytest.fail.Exception):
            item.obj(**arguments)

    if (trace := item.stash.get(_TRACE, None)) is not None:
        trace.__exit__()
    capture: Any = item.config.pluginmanager.getplugin("capturemanager")
    capture.suspend_global_capture(in_=True)
    store, paths = Store(), cast("dict[str, Path]", item.funcargs.get("modules", {}))
    try:
        box.reset()
        session = GdbSession(box, life, [ModuleFile(path) for path in paths.values()])
        try:
            session.survey()
            run_gdb(
                session,
                gdb_words(store, "", machine=box.image.architecture),
                [],
                kernel_symbol_file(box, store.root / "symbols"),
            )
        finally:
            session.close()
    except KoboxError as error:
        print(f"no gdb: {error}")
    finally:
        capture.resume_global_capture()


# -- building ------------------------------------------------------------------------------------------------------


def _source(request: pytest.FixtureRequest) -> Path:
    """The directory of the module's source: --kobox-source, `kobox_source` of the ini file, or where the test
    is, or above it."""
    config = request.config
    if named := config.getoption("--kobox-source") or config.getini("kobox_source"):
        return config.rootpath / str(named)
    here = request.path.parent
    for place in (here, here.parent):
        if any(any(place.glob(kind)) for kind in ("*.c", "*.rs")) or (place / "Kbuild").exists():
            return place
    if config.getoption("--kobox-built"):
        return here
    pytest.fail(
        f"{here} has no source of a module, nor has the directory above it.\n"
        "Name its directory: pytest --kobox-source DIR, or kobox_source = DIR in pytest.ini or pyproject.toml.\n"
        "Modules that are built already: pytest --kobox-built DIR.",
        pytrace=False,
    )


def _built(config: pytest.Config, source: Path, kernel: KernelImage) -> dict[str, Path]:
    """Build a directory of source, once for each state of its files: parallel test processes wait for each other."""
    import fcntl
    import shutil

    from kobox.images.store import default_root
    from kobox.kbuild.build import build

    if named := config.getoption("--kobox-built"):
        return _modules_in(config.rootpath / named)
    room = default_root() / "pytest"
    room.mkdir(parents=True, exist_ok=True)
    place = room / _digest(source, kernel)
    with (room / f".{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            aside = room / f".{place.name}"
            shutil.rmtree(aside, ignore_errors=True)
            build(source, kernel, output=aside)
            aside.rename(place)
            _sweep(room)
    os.utime(place)
    return _modules_in(place)


def _modules_in(directory: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(directory.glob("*.ko"))}


def _sweep(room: Path) -> None:
    """Remove what was built of states that nobody has tested for two weeks."""
    import shutil
    import time

    for place in room.glob("[0-9a-f]*"):
        if time.time() - place.stat().st_mtime > 14 * 86400:
            shutil.rmtree(place, ignore_errors=True)


def _digest(source: Path, kernel: KernelImage) -> str:
    import hashlib

    digest = hashlib.sha256(f"{source}\0{kernel.name}\0{kernel.digest}\0".encode())
    for path in sorted(source.rglob("*")):
        if path.suffix in (".c", ".h", ".S", ".rs") or path.name in ("Makefile", "Kbuild", "Kconfig"):
            digest.update(f"{path.relative_to(source)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:24]
