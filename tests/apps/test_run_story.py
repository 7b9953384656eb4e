"""The story of a module, event by event."""

from __future__ import annotations

from kobox.apps.run_events import StoryEvent
from kobox.apps.run_story import Story
from kobox.box.box import Box
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules


def tell(box: Box, *modules: ModuleFile, parameters: str = "", unload: bool = True) -> tuple[Story, list[StoryEvent]]:
    story = Story(box, unload=unload)
    return story, list(story.tell(modules, parameters))


def test_a_good_module_is_loaded_shown_and_unloaded(box: Box, modules: BuiltTestModules) -> None:
    story, events = tell(box, ModuleFile(modules("good")))
    kinds = [event.kind for event in events]
    assert kinds[0] == "load"
    assert kinds.index("appeared") < kinds.index("unload") < kinds.index("gone") < kinds.index("verdict")
    assert [event.data["devpath"] for event in events if event.kind == "appeared"] == ["/module/good"]
    assert story.verdict.ok
    assert story.verdict.loaded == story.verdict.unloaded == ["good"]


def test_a_device_a_class_and_its_node_appear_and_go(box: Box, modules: BuiltTestModules) -> None:
    story, events = tell(box, ModuleFile(modules("chardev")))
    appeared = [event.text for event in events if event.kind == "appeared"]
    gone = [event.text for event in events if event.kind == "gone"]
    assert any(text.startswith("/dev/") and "(char " in text for text in appeared)
    assert sorted(appeared) == sorted(gone)
    assert story.verdict.ok


def test_proc_sysfs_and_debugfs_entries_are_seen(box: Box, modules: BuiltTestModules) -> None:
    _, events = tell(box, ModuleFile(modules("entries")))
    appeared = " ".join(event.text for event in events if event.kind == "appeared")
    assert "/proc/" in appeared
    assert "/sys/kernel/debug/" in appeared


def test_parameters_come_with_type_value_and_description(box: Box, modules: BuiltTestModules) -> None:
    module = ModuleFile(modules("params"))
    _, events = tell(box, module)
    shown = {event.data["name"]: event.data for event in events if event.kind == "parameter"}
    assert set(shown) == {"even", *(parameter.name for parameter in module.parameters)}  # even: module_param_cb()
    for parameter in module.parameters:
        assert shown[parameter.name]["type"] == parameter.type
        assert shown[parameter.name]["description"] == parameter.description


def test_several_modules_go_in_in_order_and_out_in_reverse(box: Box, modules: BuiltTestModules) -> None:
    story, events = tell(box, ModuleFile(modules("kbase")), ModuleFile(modules("kuser")))
    assert story.verdict.loaded == ["kbase", "kuser"]
    assert story.verdict.unloaded == ["kuser", "kbase"]
    used = next(event for event in events if event.kind == "reference" and event.data["module"] == "kuser")
    assert used.data["refcount"] == 0


def test_a_refusal_ends_in_a_failed_verdict_with_errno(box: Box, modules: BuiltTestModules) -> None:
    story, events = tell(box, ModuleFile(modules("kuser")))
    failed = next(event for event in events if event.kind == "failed")
    assert failed.data["errno"] == 2
    assert any("Unknown symbol" in event.text for event in events if event.kind == "log")
    assert not story.verdict.ok
    assert "kuser not loaded" in events[-1].text


def test_without_unloading_the_module_stays(box: Box, modules: BuiltTestModules) -> None:
    story, _ = tell(box, ModuleFile(modules("good")), unload=False)
    assert story.verdict.ok
    assert "good" in box.read_text("/proc/modules")


def test_the_box_hears_what_the_kernel_tells_udev(box: Box, modules: BuiltTestModules) -> None:
    assert box.uevents() == []
    box.insmod(modules("good")).unload()
    told = [(action, facts["devpath"], facts["subsystem"]) for action, facts in box.uevents()]
    assert told == [("add", "/module/good", "module"), ("remove", "/module/good", "module")]
    assert box.uevents() == []
