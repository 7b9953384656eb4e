"""What is said of a module: "ok" only when it is so, the true cause, and where it is."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from kobox.apps.run_events import StoryEvent
from kobox.apps.run_story import Story
from kobox.box.box import Box
from kobox.box.inspect.init_trace import trace_init
from kobox.images.kernel_image import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules

SOURCE = (Path(__file__).parents[1] / "modules/verdicts/verdict.c").read_text().splitlines()


@pytest.fixture(scope="module")
def verdict(debian_kernel: KernelImage) -> ModuleFile:
    return ModuleFile(BuiltTestModules(debian_kernel, "verdicts")("verdict"))


@pytest.fixture(scope="module")
def odd_mode(debian_kernel: KernelImage) -> ModuleFile:
    return ModuleFile(BuiltTestModules(debian_kernel, "verdicts")("odd_mode"))


def line_of(mark: str) -> int:
    """The line of the source that a comment marks."""
    (number,) = [number for number, line in enumerate(SOURCE, 1) if f"/* {mark} */" in line]
    return number


def told(box: Box, module: ModuleFile, parameters: str = "") -> tuple[Story, list[StoryEvent]]:
    story = Story(box)
    return story, list(story.tell([module], parameters))


def the(kind: str, events: list[StoryEvent]) -> StoryEvent:
    (event,) = [event for event in events if event.kind == kind]
    return event


@pytest.mark.parametrize(
    ("what", "said"),
    [("", "no warnings, no errors"), ("alert", "the log has 1 error"), ("loud", "the log has 1 warning")],
)
def test_what_a_module_says_itself_is_no_warning_of_the_kernel_s(
    box: Box, verdict: ModuleFile, what: str, said: str
) -> None:
    story, events = told(box, verdict, f"what={what}")
    assert story.verdict.ok, story.verdict.problems
    assert events[-1].text == f"ok: verdict loaded and unloaded; {said}"


# what: kind of the finding, severity, phase, sentence, line
REPORTED = {
    "positive": ("kernel-warning", "warning", "loading", "init suspiciously returned 7", ""),
    "null": ("oops", "error", "loading", "NULL pointer dereference, address: 0000000000000028", "the bad access"),
    "exit_null": ("oops", "error", "unloading", "address: 0000000000000038", "the bad access of exit"),
    "warn": ("kernel-warning", "warning", "loading", "verdict: this is why (WARNING at ", "the warning"),
    "release": ("kernel-warning", "warning", "unloading", "does not have a release() function, it is broken", ""),
}


@pytest.mark.parametrize("what", REPORTED)
def test_a_report_has_its_sentence_its_place_and_its_phase(box: Box, verdict: ModuleFile, what: str) -> None:
    kind, severity, phase, sentence, mark = REPORTED[what]
    story, events = told(box, verdict, f"what={what}")
    report = the("report", events)
    assert not story.verdict.ok
    assert (report.data["finding"], report.data["severity"]) == (kind, severity)
    assert report.data["phase"] == f"while {phase} verdict"
    assert sentence in report.data["message"]
    assert report.data["place"].endswith("[verdict]")
    assert report.data["file"] == "verdict.c"
    if mark:
        assert report.data["line"] == line_of(mark)
        assert f"/* {mark} */" in report.data["source"]
    assert f"(while {phase} verdict)" in " ".join(story.verdict.problems)


def test_the_permissions_of_a_parameter_that_the_kernel_does_not_take(box: Box, odd_mode: ModuleFile) -> None:
    story, events = told(box, odd_mode)
    assert "Invalid permissions" in the("report", events).data["message"]
    assert the("report", events).data["place"] == ""  # it is made before init is called
    assert story.verdict.unloaded == ["odd_mode"]


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("leav=1", "Did you mean 'leave'?"),
        ("write_only=1", "Did you mean 'writeonly'?"),
        ("note=1", "Did you mean 'noted'?"),  # of module_param_cb(), which modinfo does not list
        ("zzz=1", "It has: what, leave, writeonly, noted."),
    ],
)
def test_a_misspelt_parameter_is_an_error_with_the_nearest_name(
    box: Box, verdict: ModuleFile, given: str, advice: str
) -> None:
    story, events = told(box, verdict, given)
    report = the("report", events)
    assert (report.data["finding"], report.data["severity"]) == ("unknown-parameter", "error")
    name = given.partition("=")[0]
    assert report.data["message"] == f"verdict has no parameter '{name}'; it was ignored"
    assert sorted(report.data["hint"]) == sorted(advice)
    assert not story.verdict.ok


def test_a_parameter_that_cannot_be_read_does_not_end_the_story(box: Box, verdict: ModuleFile) -> None:
    _, events = told(box, verdict)
    shown = {event.data["name"]: event for event in events if event.kind == "parameter"}
    assert set(shown) == {"what", "leave", "writeonly", "noted"}
    assert shown["writeonly"].text == "writeonly (cannot be read, mode 0200)  (bool)"
    assert (shown["leave"].data["value"], shown["leave"].data["mode"]) == ("N", "0600")
    assert shown["noted"].data["value"] is None


# what: errno, call, marks of lines of which one is named
ENDED = {
    "call": (errno.ENOENT, "register_kprobe", ("the call",)),
    "nested": (errno.ENOENT, "register_kprobe", ("the nested call", "the last call")),
    "last": (errno.ENOENT, "register_kprobe", ("the nested call", "the last call")),
    "own": (errno.EKEYREJECTED, "", ()),
}


@pytest.mark.parametrize("what", ENDED)
def test_the_errno_of_init_is_its_own_and_not_the_loader_s(box: Box, verdict: ModuleFile, what: str) -> None:
    number, call, marks = ENDED[what]
    story, events = told(box, verdict, f"what={what}")
    failed = the("failed", events)
    assert failed.data["errno"] == number
    init = failed.data["init"]
    assert (init["reached"], init["returned"], init["call"]) == (True, -number, call)
    name = errno.errorcode[number]
    assert f"all checks passed; init returned -{name}" in failed.text
    assert "explain" not in failed.data["hint"]
    assert "sign" not in failed.data["hint"]
    if call:
        assert any(failed.text.endswith(f", from {call}() at verdict.c:{line_of(mark)}") for mark in marks)
    else:
        assert ", which none of its calls did (init is at verdict.c:" in failed.text
    assert not box.modules
    assert len(story.verdict.problems) == 1


def test_a_refusal_of_the_loader_never_reaches_init(box: Box, modules: BuiltTestModules) -> None:
    _, events = told(box, ModuleFile(modules("kuser")))
    failed = the("failed", events)
    assert "init" not in failed.data
    assert "`kobox explain " in failed.data["hint"]
    outcome = trace_init(box, ModuleFile(modules("kuser")).content)
    assert (outcome.reached, outcome.returned, outcome.call) == (False, None, None)


def test_what_init_returned_is_data_for_whoever_asks(box: Box, verdict: ModuleFile) -> None:
    with box.checkpoint():
        assert trace_init(box, verdict.content).returned == 0
    with box.checkpoint():
        outcome = trace_init(box, verdict.content, "what=null")
        assert (outcome.reached, outcome.returned) == (True, None)


# what: what appears, besides the module itself
REGISTERED = {
    "numbers": "character device number ",
    "proc": "/proc/driver/verdict_dir",
    "debugfs": "/sys/kernel/debug/verdict_dir",
    "kobject": "/sys/kernel/verdict_kobject",
    "thread": "kernel thread verdict_thread",
    "queue": "workqueue verdict_queue",
    "sysctl": "/proc/sys/kernel/verdict_setting",
    "genl": "generic netlink family verdict_genl",
    "filesystem": "file system verdictfs",
    "kprobe": "kprobe at ksys_read",
}


@pytest.mark.parametrize("what", REGISTERED)
def test_what_a_module_registers_is_seen_and_seen_to_go(box: Box, verdict: ModuleFile, what: str) -> None:
    story, events = told(box, verdict, f"what={what}")
    for kind in ("appeared", "gone"):
        named = [event.text for event in events if event.kind == kind and "/sys/module/" not in event.text]
        assert len(named) == 1
        assert named[0].startswith(REGISTERED[what])
    assert story.verdict.ok, story.verdict.problems


@pytest.mark.parametrize("what", [what for what in REGISTERED if what not in ("thread", "filesystem", "kprobe")])
def test_what_a_module_leaves_behind_is_named(box: Box, verdict: ModuleFile, what: str) -> None:
    """A thread, a file system or a kprobe of a module that is gone crashes the kernel as soon as it is used."""
    story, events = told(box, verdict, f"what={what} leave=1")
    assert REGISTERED[what] in the("left", events).text
    assert f"left {REGISTERED[what]}" in story.verdict.problems[0]


# What may have nothing in it when a kernel has just booted.
EMPTY = {
    *("kprobes", "link_kinds", "ciphers", "oom_notify_list", "netlink_chain", "inet6addr_chain"),
    *("netevent_notif_chain", "keyboard_notifier_list", "vt_notifier_list"),
}


@pytest.mark.parametrize("kernel", ["trixie_kernel", "sid_kernel", "arm64_kernel"])
def test_registries_of_every_kernel_can_be_read(request: pytest.FixtureRequest, kernel: str) -> None:
    from kobox.box.boot.bare_boot import boot
    from kobox.box.inspect.registries import REGISTRIES

    with boot(request.getfixturevalue(kernel)) as box, box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("0.0.0.0", 7777))
        found = {registry.__name__: list(registry(box.inspect.objects)) for registry in REGISTRIES}
        assert len(found) == len(REGISTRIES)
        assert {registry for registry, names in found.items() if not names} <= EMPTY
        assert len({name for names in found.values() for name in names}) > 400


def test_a_livepatch_is_disabled_before_it_is_unloaded(debian_kernel: KernelImage, box: Box) -> None:
    module = ModuleFile(BuiltTestModules(debian_kernel, "livepatch")("live"))
    story, events = told(box, module)
    assert [event.text for event in events if event.kind == "unload"] == ["disable livepatch live", "unload live"]
    assert story.verdict.ok, story.verdict.problems
    assert story.verdict.unloaded == ["live"]
