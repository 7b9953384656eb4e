"""What shows of a module only when time passes, when somebody reads its files, or when it is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.apps.run_events import StoryEvent
from kobox.apps.run_story import Story
from kobox.box.box import Box
from kobox.images.kernel_image import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules

SOURCE = (Path(__file__).parents[1] / "modules/verdicts/later.c").read_text().splitlines()


@pytest.fixture(scope="module")
def later(debian_kernel: KernelImage) -> ModuleFile:
    return ModuleFile(BuiltTestModules(debian_kernel, "verdicts")("later"))


def told(box: Box, module: ModuleFile, parameters: str) -> tuple[Story, list[StoryEvent]]:
    story = Story(box)
    return story, list(story.tell([module], parameters))


def line_of(mark: str) -> int:
    (number,) = [number for number, line in enumerate(SOURCE, 1) if f"/* {mark} */" in line]
    return number


# what: how what is left behind is called
HELD = {
    "irq": "interrupt handler later of IRQ 9",
    "ports": "I/O ports 0x3e0-0x3e3 (later)",
    "memory": "I/O memory 0x40000000-0x40000fff (later)",
    "reboot": "notifier 5 of reboot_notifier_list",
    "netdevice": "of netdev_chain",
    "netfilter": "netfilter hook 0x",
    "cache": "slab cache later",
}
CALLED = ("timer", "work", "thread")


@pytest.mark.parametrize("what", ["", *HELD, *CALLED])
def test_a_module_that_takes_everything_back_is_ok(box: Box, later: ModuleFile, what: str) -> None:
    story, events = told(box, later, f"what={what}")
    assert story.verdict.ok, story.verdict.problems
    assert events[-1].text == "ok: later loaded and unloaded; no warnings, no errors"


@pytest.mark.parametrize("what", HELD)
def test_what_still_leads_to_a_module_that_is_gone_is_named(box: Box, later: ModuleFile, what: str) -> None:
    story, events = told(box, later, f"what={what} leave=1")
    assert any(event.kind == "appeared" and HELD[what] in event.text for event in events)
    (left,) = [event.text for event in events if event.kind == "left"]
    assert HELD[what] in left
    assert not story.verdict.ok


@pytest.mark.parametrize("what", CALLED)
def test_what_calls_a_module_that_is_gone_crashes_the_kernel_and_is_explained(
    box: Box, later: ModuleFile, what: str
) -> None:
    story, events = told(box, later, f"what={what} leave=1")
    assert not story.verdict.ok
    report = next(event for event in events if event.kind == "report")
    assert report.data["phase"] == "after unload"
    assert "was memory of later, which is unloaded: something still calls it" in report.data["hint"]


def test_a_thread_that_has_ended_is_not_to_be_stopped(box: Box, later: ModuleFile) -> None:
    """Between load and unload time passes, as it does for users: the task of the thread is freed by then."""
    story, events = told(box, later, "what=ended")
    assert not story.verdict.ok
    report = next(event for event in events if event.kind == "report")
    assert report.data["line"] == line_of("of a thread that has ended")
    assert report.data["phase"] == "while unloading later"


READ = {
    "buggy": ("kernel-warning", "seq_file: buggy .next function next [later] did not update position index", None),
    "show_null": ("oops", "NULL pointer dereference", "the bad access"),
    "show_warn": ("kernel-warning", "later: this is why", "the warning"),
}


@pytest.mark.parametrize("what", READ)
def test_what_a_module_makes_in_proc_is_read(box: Box, later: ModuleFile, what: str) -> None:
    """Reading is undone: the box lives on, and the module is unloaded."""
    kind, sentence, mark = READ[what]
    story, events = told(box, later, f"what={what}")
    (report,) = [event for event in events if event.kind == "report"]
    assert sentence in report.text
    assert report.data["phase"] == "while reading /proc/later"
    assert (kind in report.data["finding"]) or report.data["finding"] == "warning"
    assert report.data["line"] == (line_of(mark) if mark else report.data["line"])
    assert story.verdict.unloaded == ["later"]


def test_a_read_that_spins_is_a_failure(box: Box, later: ModuleFile) -> None:
    story, events = told(box, later, "what=show_spin")
    (failed,) = [event for event in events if event.kind == "failed"]
    assert failed.text.startswith("reading /proc/later: ")
    assert story.verdict.unloaded == ["later"]


@pytest.mark.parametrize("what", ["show_fine", "blocks", "hangs", "endless"])
def test_a_file_that_is_slow_or_endless_or_says_nothing_is_no_mistake(box: Box, later: ModuleFile, what: str) -> None:
    story, _ = told(box, later, f"what={what}")
    assert story.verdict.ok, story.verdict.problems
    assert story.verdict.unloaded == ["later"]
