"""What the kernel still points to when a module is gone, and what shows when what it has made is read."""

from __future__ import annotations

from pathlib import Path

import pytest

import kobox
from kobox.apps.run_events import StoryEvent
from kobox.apps.run_story import Story
from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.images.kernel_image import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules

SOURCE = (Path(__file__).parents[1] / "modules/verdicts/leads.c").read_text().splitlines()


@pytest.fixture(scope="module")
def leads(debian_kernel: KernelImage) -> ModuleFile:
    return ModuleFile(BuiltTestModules(debian_kernel, "verdicts")("leads"))


def told(box: Box, module: ModuleFile, parameters: str) -> tuple[Story, list[StoryEvent]]:
    story = Story(box)
    return story, list(story.tell([module], parameters))


# what: the variable or thing that is left, and where the kernel has it
LEFT = {
    "cdev": ("character of leads", "character device "),
    "format": ("format of leads", "formats"),
    "console": ("silent of leads", ""),
    "cpu": ("online of leads", "cpuhp_hp_states"),
    "packets": ("packets of leads", "ptype_base"),
    "namespace": ("per_namespace of leads", ""),
    "discipline": ("discipline of leads", "tty_ldiscs"),
    "sysrq": ("key of leads", "sysrq_key_table"),
    "cipher": ("cipher of leads", "crypto_alg_list"),
    "netlink": ("netlink protocol 29", ""),
    "udp": ("UDP socket ", ""),
}


@pytest.mark.parametrize("what", ["", *LEFT])
def test_a_module_that_takes_everything_back_leaves_nothing(box: Box, leads: ModuleFile, what: str) -> None:
    story, _ = told(box, leads, f"what={what}")
    assert story.verdict.ok, story.verdict.problems


@pytest.fixture(scope="module")
def arm64(arm64_kernel: KernelImage) -> tuple[Box, ModuleFile]:
    """A kernel that names functions only, in its own table of symbols and in a module's."""
    return boot(arm64_kernel), ModuleFile(BuiltTestModules(arm64_kernel, "verdicts")("leads"))


@pytest.mark.parametrize("what", LEFT)
def test_so_it_is_where_the_kernel_names_no_variables(arm64: tuple[Box, ModuleFile], what: str) -> None:
    box, module = arm64
    box.reset()
    assert told(box, module, f"what={what}")[0].verdict.ok
    box.reset()
    story, events = told(box, module, f"what={what} leave=1")
    left = [event.text for event in events if event.kind == "left"]
    assert any(text.startswith(f"left behind: {LEFT[what][0]}") for text in left), left
    assert not story.verdict.ok


def test_a_place_between_two_names_has_none_there(arm64: tuple[Box, ModuleFile]) -> None:
    symbols = arm64[0].inspect.symbols
    data, code = symbols.address("crypto_alg_list"), symbols.address("__kmalloc")
    assert symbols.describe(data).startswith("crypto_alg_list+0x0/")
    assert symbols.describe(data + 16) == f"{data + 16:#x}"
    assert symbols.describe(code + 16).startswith("__kmalloc+0x10/")


@pytest.mark.parametrize("what", LEFT)
def test_what_the_kernel_still_points_to_is_named(box: Box, leads: ModuleFile, what: str) -> None:
    story, events = told(box, leads, f"what={what} leave=1")
    left = [event.text for event in events if event.kind == "left"]
    name, holder = LEFT[what]
    assert any(text.startswith(f"left behind: {name}") and holder in text for text in left), left
    assert not story.verdict.ok


# what: kind of the finding, the file that is read, the mark of its line
READ = {
    "read": ("oops", "/dev/leads", "the bad read"),
    "attribute": ("oops", "/sys/devices/virtual/misc/leads/value", "the bad attribute"),
    "driver": ("kernel-warning", "/sys/bus/platform/drivers/leads/version", "the warning"),
}


@pytest.mark.parametrize("what", READ)
def test_the_devices_and_attributes_of_a_module_are_read(box: Box, leads: ModuleFile, what: str) -> None:
    kind, path, mark = READ[what]
    story, events = told(box, leads, f"what={what}")
    (report,) = [event.data for event in events if event.kind == "report"]
    assert (report["finding"], report["phase"]) == (kind, f"while reading {path}")
    assert f"/* {mark} */" in SOURCE[report["line"] - 1]
    assert story.verdict.unloaded == ["leads"]  # what reading has broken is undone


def test_a_module_that_another_has_requested_anew_is_not_left(sid_kernel: KernelImage) -> None:
    """stm_core requests stm_p_basic, which is loaded when stm_core has gone already, and brings it back."""
    assert sid_kernel.modules is not None
    module = ModuleFile(next(sid_kernel.modules.rglob("stm_core.ko*")))
    with kobox.boot(sid_kernel) as box:
        story, events = told(box, module, "")
    assert "/sys/module/stm_p_basic" in [event.text for event in events if event.kind == "appeared"]
    assert story.verdict.ok, story.verdict.problems
