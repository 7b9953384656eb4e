"""The tree of a module's calls: what is in it, and that looking changes nothing."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.box.trace.call import Call, CallKind
from kobox.box.trace.text import tree_text
from kobox.box.trace.trace import CallTrace
from kobox.errors import ModuleLoadError, ProcessDiedError
from kobox.images.store import KernelImage
from kobox.machine.pc import MachineError
from tests.building import BuiltTestModules
from tests.conftest import clean_box


@pytest.fixture(scope="module")
def lived(machine_room: dict[str, Box], debian_kernel: KernelImage, tracee: Path) -> CallTrace:
    """A life of tracee.ko that goes well."""
    box = clean_box(machine_room, debian_kernel)
    with box.trace(tracee) as trace:
        module = box.insmod(tracee)
        box.sleep(0.1)
        box.write_bytes("/dev/tracee", b"word")
        module.unload()
    return trace


def one(trace: CallTrace, name: str, nth: int = 0) -> Call:
    return [call for call in trace.calls() if call.name == name][nth]


def test_arguments_are_shown_by_their_type(lived: CallTrace) -> None:
    first, second = (one(lived, "paint", n) for n in (0, 1))
    assert dict(first.arguments) == {
        "shape": "&square",
        "colour": "RED",
        "twice": "true",
        "shift": "-3",
        "why": r'"a \"reason\"\n"',
        "wide": "0x8000000000000000",
        "seventh": "-7",
        "eighth": "8",
    }
    assert dict(second.arguments) | {"shape": ""} == {
        "shape": "",
        "colour": "GREEN",
        "twice": "false",
        "shift": "-3",
        "why": "NULL",
        "wide": "5",
        "seventh": str(1 << 30),
        "eighth": "65535",
    }
    assert dict(one(lived, "misc_register").arguments) == {"misc": '&first "tracee"'}
    assert dict(one(lived, "tracee_write").arguments)["from"] == '"word"'
    assert dict(one(lived, "tracee_write").arguments)["file"].endswith('"tracee"')


@pytest.mark.parametrize(
    ("name", "nth", "result", "said", "error"),
    [
        ("paint", 0, -22, "-EINVAL", errno.EINVAL),
        ("find", 0, (1 << 64) - 2, "ERR_PTR(-ENOENT)", errno.ENOENT),
        ("find", 1, None, "&square", 0),
        ("depth_of", 0, 3, "3", 0),
        ("depth_of", 3, 0, "0", 0),
        ("tracee_init", 0, 0, "0", 0),
        ("tracee_write", 0, 4, "4", 0),
        ("tracee_exit", 0, None, "", 0),
        ("on_work", 0, None, "", 0),
    ],
)
def test_results(lived: CallTrace, name: str, nth: int, result: int | None, said: str, error: int) -> None:
    call = one(lived, name, nth)
    assert call.returned
    assert (call.said, call.errno) == (said, error)
    assert call.result == result or said == "&square"


@pytest.mark.parametrize(
    ("name", "nth", "parents"),
    [
        ("tracee_init", 0, ["init_module"]),
        ("misc_register", 0, ["init_module", "tracee_init"]),
        ("depth_of", 3, ["init_module", "tracee_init", "depth_of", "depth_of", "depth_of"]),
        ("strlen", 0, ["init_module", "tracee_init"]),  # by a pointer
        ("_copy_from_user", 0, ["write", "tracee_write"]),
        ("on_timer", 0, []),
        ("msleep", 0, ["on_work"]),
        ("kfree", 0, ["delete_module", "tracee_exit"]),
    ],
)
def test_who_calls_whom(lived: CallTrace, name: str, nth: int, parents: list[str]) -> None:
    assert [call.name for call in one(lived, name, nth).chain()[:-1]] == parents


def test_who_has_the_cpu(lived: CallTrace) -> None:
    assert one(lived, "on_timer").context.startswith("softirq in ")
    assert one(lived, "on_work").context.startswith("kworker/")
    assert one(lived, "write").context.startswith("kobox[")


def test_time_is_virtual_and_calls_lie_inside_each_other(lived: CallTrace) -> None:
    work = one(lived, "on_work")
    assert work.duration is not None
    assert work.duration >= 20_000_000
    for call in lived.calls():
        for inner in call.children:
            assert inner.end is not None
            assert call.end is not None
            assert call.start <= inner.start <= inner.end <= call.end


def test_memory_that_is_given_back_and_what_is_said(lived: CallTrace) -> None:
    table = next(one for one in lived.allocations if one.size == 100)
    assert table.freed_by is not None
    assert [call.name for call in table.freed_by.chain()] == ["delete_module", "tracee_exit", "kfree"]
    assert [record.text for record in one(lived, "tracee_write").log] == ["tracee: was told word"]
    assert one(lived, "__kmalloc").allocated == 100
    assert one(lived, "misc_register").place.startswith("tracee.c:")


@pytest.mark.parametrize(("fail", "code", "cause"), [(1, "ENOMEM", "__kmalloc"), (2, "EEXIST", "misc_register")])
def test_which_call_first_returned_the_error(box: Box, tracee: Path, fail: int, code: str, cause: str) -> None:
    with box.trace(tracee) as trace, pytest.raises(ModuleLoadError):
        box.insmod(tracee, fail=fail)
    found = trace.first_error()
    assert found is not None
    assert found.name == cause
    assert found.errno == getattr(errno, code)
    assert found.place.startswith("tracee.c:")
    assert trace.errors()[-1] is found
    assert one(trace, "tracee_init").said == f"-{code}"


def test_a_trace_changes_neither_time_nor_blocks(box: Box, tracee: Path) -> None:
    def life() -> tuple[int, int, str]:
        module = box.insmod(tracee)
        box.write_bytes("/dev/tracee", b"word")
        module.unload()
        return box.machine.time, box.machine.blocks, box.log.text()

    plain = life()
    box.reset()
    with box.trace(tracee, kernel_depth=3):
        assert life() == plain
    box.reset()
    assert life() == plain


def test_an_oops_leaves_calls_that_did_not_return(box: Box, tracee: Path) -> None:
    with box.trace(tracee) as trace:
        box.insmod(tracee)
        with pytest.raises(ProcessDiedError):
            box.write_bytes("/dev/tracee", b"oops")
        box.write_bytes("/dev/tracee", b"word")
    broken, whole = (one(trace, "tracee_write", n) for n in (0, 1))
    assert (broken.returned, whole.returned) == (False, True)
    assert any("BUG: kernel NULL pointer dereference" in record.text for record in broken.log)
    assert [call.name for call in whole.chain()] == ["write", "tracee_write"]


def test_the_kernel_is_followed_as_deep_as_is_wanted(box: Box, tracee: Path) -> None:
    depths = {}
    for depth in (0, 1, 2, 4):
        box.reset()
        with box.trace(tracee, kernel_depth=depth) as trace:
            box.insmod(tracee).unload()
        own = [call for call in trace.calls() if call.kind is CallKind.MODULE]
        depths[depth] = max(_kernel_depth(call) for call in trace.calls() if call.kind is not CallKind.SYSCALL)
        assert len([call for call in own if call.name == "paint"]) == 2
    assert depths == {0: 0, 1: 1, 2: 2, 4: 4}


def _kernel_depth(call: Call) -> int:
    above = 0
    for one in reversed(call.chain()):
        if one.kind is not CallKind.KERNEL:
            break
        above += 1
    return above


def test_names_alone_and_modules_that_are_loaded_already(box: Box, tracee: Path) -> None:
    module = box.insmod(tracee)
    with box.trace("tracee") as trace:
        box.write_bytes("/dev/tracee", b"word")
        module.unload()
    assert trace.modules == ["tracee"]
    assert one(trace, "tracee_write").arguments == ()  # no debugging information without the file
    assert dict(one(trace, "_printk").arguments)["fmt"].startswith('"tracee: was told')


def test_without_a_name_every_module_that_is_loaded_is_traced(
    box: Box, tracee: Path, modules: BuiltTestModules
) -> None:
    with box.trace() as trace:
        box.insmod(modules("hello")).unload()
        box.insmod(tracee).unload()
    assert trace.modules == ["hello", "tracee"]


def test_system_calls_that_do_not_come_to_the_module(box: Box, tracee: Path) -> None:
    with box.trace(tracee, syscalls=True) as trace:
        box.read_bytes("/proc/version")
        with pytest.raises(FileNotFoundError):
            box.open("/nowhere")
    lines = tree_text(trace.roots)
    assert '"/proc/version"' in lines
    assert any(call.name == "openat" or call.name == "open" for call in trace.roots if call.said == "-ENOENT")


def test_recording_ends_after_so_many_calls(box: Box, tracee: Path) -> None:
    with box.trace(tracee, most=5) as trace:
        box.insmod(tracee).unload()
    assert not trace.is_whole
    assert len(list(trace.calls())) <= 5


def test_going_back_in_time_while_a_trace_goes_on(box: Box, tracee: Path) -> None:
    with box.trace(tracee) as trace:
        with box.checkpoint() as before:
            box.insmod(tracee)
            before.restore()
            box.insmod(tracee).unload()
        box.insmod(tracee).unload()
    assert len([call for call in trace.calls() if call.name == "tracee_init"]) == 3
    assert all(call.returned for call in trace.calls() if call.name in ("tracee_init", "tracee_exit"))


def test_one_trace_at_a_time(box: Box, tracee: Path) -> None:
    with box.trace(tracee), pytest.raises(MachineError, match="traced already"), box.trace(tracee):
        pass
    with box.trace(tracee) as trace:
        box.insmod(tracee).unload()
    assert trace.modules


# -- forms ---------------------------------------------------------------------------------------------------------


def events_of(trace: CallTrace) -> Iterator[dict[str, object]]:
    """The events of the Chrome trace, each with what the format asks of its kind."""
    told = json.loads(trace.perfetto())
    for event in told["traceEvents"]:
        assert {"ph", "name", "pid", "tid"} <= event.keys()
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] >= 0
        yield event


def test_a_chrome_trace_has_each_call_inside_the_one_that_made_it(lived: CallTrace) -> None:
    events = list(events_of(lived))
    calls = [event for event in events if event["ph"] == "X"]
    assert len(calls) == len(list(lived.calls()))
    inits = [event for event in calls if event["name"] in ("tracee_init", "misc_register", "init_module")]
    for outer, inner in pairwise(inits):
        assert outer["tid"] == inner["tid"]
        assert outer["ts"] <= inner["ts"]  # type: ignore[operator]
        assert inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"] + 1e-6  # type: ignore[operator]
    names = {event["args"]["name"] for event in events if event["name"] == "thread_name"}  # type: ignore[index]
    assert any(name.startswith("kworker/") for name in names)
    assert any(event["ph"] == "i" and event["name"] == "tracee: was told word" for event in events)


def test_plain_data_has_the_same_tree(lived: CallTrace) -> None:
    told = json.loads(json.dumps(lived.plain()))
    assert told["modules"] == ["tracee"]
    assert [call["name"] for call in told["calls"]] == [call.name for call in lived.roots]
    init = next(call for call in told["calls"][0]["calls"] if call["name"] == "tracee_init")
    assert init["result"] == 0
    assert [call["name"] for call in init["calls"]] == [call.name for call in one(lived, "tracee_init").children]


def test_a_page_is_well_formed_and_escapes_what_a_module_says(lived: CallTrace) -> None:
    one(lived, "tracee_exit").arguments = (("evil", "<script>alert(1)</script>"),)
    page = lived.html()
    assert "<script" not in page
    stack: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: object) -> None:
            if tag not in ("meta",):
                stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert stack.pop() == tag

    Reader().feed(page)
    assert stack == []


def test_text_shows_levels_and_chosen_functions(lived: CallTrace) -> None:
    top = tree_text(lived.roots, depth=1)
    assert "tracee_init" not in top
    assert "init_module(" in top
    only = tree_text(lived.roots, chosen=lambda call: call.name == "paint")
    assert [line.split()[2].split("(")[0] for line in only.splitlines()] == ["paint", "paint"]
    assert "log: tracee: was told word" in str(lived)


# -- other modules and machines ----------------------------------------------------------------------------------------


def test_modules_of_the_distribution_have_their_types_in_btf(full_kernel: KernelImage) -> None:
    import kobox

    assert full_kernel.modules is not None
    path = next(full_kernel.modules.rglob("dummy.ko*"))
    with kobox.boot(full_kernel, cpus=2) as box, box.trace(path) as trace:
        box.insmod(path)
        box.rmmod("dummy")
    assert dict(one(trace, "dummy_dev_init").arguments)["dev"].endswith('"dummy0"')
    assert one(trace, "dummy_init_module").said == "0"
    assert [call.name for call in one(trace, "dummy_setup").chain()][-2:] == ["alloc_netdev_mqs", "dummy_setup"]


def test_arm64(arm64_kernel: KernelImage) -> None:
    import kobox

    path = BuiltTestModules(arm64_kernel, "debug")("journal")
    with kobox.boot(arm64_kernel) as box, box.trace(path) as trace:
        module = box.insmod(path)
        box.write_bytes("/dev/journal", b"one")
        module.unload()
    assert dict(one(trace, "journal_write").arguments)["from"] == '"one"'
    assert one(trace, "journal_write").said == "3"
    assert dict(one(trace, "add_entry").arguments) == {"word": '"one"'}
    assert [call.name for call in one(trace, "add_entry").chain()] == ["write", "journal_write", "add_entry"]
    assert [one.size for one in trace.allocations if one.freed_by is not None] == [40]
