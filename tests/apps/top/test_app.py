"""`kobox top` on a box, driven by keys as a person drives it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, RichLog, Static

from kobox.apps.top.app import ModuleTop
from kobox.apps.top.changes import BLACKLIST
from kobox.apps.top.pane import ModulePane
from kobox.box.box import Box
from kobox.cli.main import run
from kobox.errors import BoxError
from kobox.kernel.remote import RemoteKernel
from kobox.monitor import BoxLog, EventKind, KernelModules, ModuleEvent, ModuleMonitor, MonitoredModule
from kobox.monitor.log_source import KernelLine
from kobox.monitor.module_facts import holders_tree, module_facts
from kobox.monitor.uevents import ModuleUevent
from tests.building import BuiltTestModules
from tests.kernel.test_remote import far
from tests.monitor.test_monitor import FixedKernel, module_line


def driven(top: ModuleTop, keys: Callable[[Pilot[None]], Awaitable[None]], size: tuple[int, int] = (120, 16)) -> None:
    async def drive() -> None:
        async with top.run_test(size=size) as pilot:
            await pilot.pause()
            await keys(pilot)

    asyncio.run(drive())


def names(top: ModuleTop) -> list[str]:
    return [str(row.key.value) for row in top.query_one("#modules", DataTable).ordered_rows]


def events(top: ModuleTop) -> str:
    return "\n".join(strip.text for strip in top.query_one("#events", RichLog).lines)


def facts(top: ModuleTop) -> str:
    return str(top.query_one("#one", Static).render())


async def answer(pilot: Pilot[None], text: str) -> None:
    pilot.app.screen.query_one(Input).value = text
    await pilot.press("enter")
    await pilot.pause()


async def set_parameter(pilot: Pilot[None], name: str, value: str) -> None:
    await pilot.pause()
    line = next(one for one in pilot.app.screen.query(Input) if one.name == name)
    line.focus()
    line.value = value
    await pilot.press("enter")
    await pilot.pause()


def test_load_look_set_and_unload(box: Box, modules: BuiltTestModules) -> None:
    top = ModuleTop(
        ModuleMonitor(box, BoxLog(box.log.records)), title="a box", file_of=lambda name: modules(name), interval=3600
    )

    async def keys(pilot: Pilot[None]) -> None:
        await pilot.press("l")
        await answer(pilot, f"{modules('params')} number=7 greeting='two words'")
        assert names(top) == ["params"]
        assert "loaded params" in events(top)
        await pilot.pause()
        assert "out of tree" in facts(top)
        assert "number = 7" in facts(top)
        assert "greeting = two words" in facts(top)
        assert "license: GPL" in facts(top)
        await pilot.press("e")
        await set_parameter(pilot, "number", "9")
        assert box.path("/sys/module/params/parameters/number").read_text() == "9\n"
        await pilot.press("u")
        await pilot.press("n")
        assert names(top) == ["params"]
        await pilot.press("u")
        await pilot.press("y")
        await pilot.pause()
        assert names(top) == []
        await pilot.press("z")  # undo: it comes back, with its parameters
        await pilot.pause()
        assert names(top) == ["params"]
        assert box.path("/sys/module/params/parameters/number").read_text() == "9\n"
        await pilot.press("e")
        await set_parameter(pilot, "number", "4")
        await pilot.press("z")
        await pilot.pause()
        assert box.path("/sys/module/params/parameters/number").read_text() == "9\n"
        assert "number = 9" in facts(top)
        assert " sections: " in facts(top)
        await pilot.press("z")  # 9 was set
        await pilot.pause()
        assert "number = 7" in facts(top)
        await pilot.press("z")  # it was loaded
        await pilot.pause()
        assert names(top) == []
        await pilot.press("z")
        assert "nothing to undo" in events(top)
        await pilot.press("l")
        await answer(pilot, str(modules("kuser")))
        assert "failed kuser" in events(top)
        await pilot.press("l")
        await answer(pilot, "'none.ko")
        assert "No closing quotation" in events(top)
        await pilot.press("l")
        await answer(pilot, "none.ko")
        assert "none.ko: No such file or directory" in events(top)

    driven(top, keys)


def made_up() -> FixedKernel:
    return FixedKernel(
        {
            "/proc/modules": module_line("loop", 40960)
            + module_line("nvme_core", 200000, users="nvme,")
            + module_line("nvme", 60000, taint="OE")
            + module_line("x\x1b[2Jy", 10),
        }
    )


def test_sort_filter_and_80_columns() -> None:
    top = ModuleTop(ModuleMonitor(made_up()), title="t", read_only=True, interval=3600)

    async def keys(pilot: Pilot[None]) -> None:
        assert names(top) == ["loop", "nvme", "nvme_core", "x\x1b[2Jy"]
        await pilot.press("s")
        assert names(top)[0] == "nvme_core"
        await pilot.press("slash", "n", "v", "m", "e", "-", "enter")
        assert names(top) == ["nvme_core"]
        await pilot.press("escape")
        assert len(names(top)) == 4
        await pilot.press("s", "s")
        assert names(top)[0] == "nvme"
        for key in ("l", "u", "e", "b", "c", "z"):
            await pilot.press(key)
            assert len(top.screen_stack) == 1  # nothing is asked: it is read-only
        assert "--read-only" in events(top)
        assert "\x1b" not in facts(top) + events(top)

    driven(top, keys, size=(80, 24))


def test_what_a_kernel_shows_of_a_module() -> None:
    kernel = made_up()
    kernel.links["/sys/bus/pci/drivers/nvme/0000:00:04.0"] = "../../../../devices/pci0000:00/0000:00:04.0"
    kernel.files |= {
        "/sys/module/nvme/sections/.text": "",
        "/sys/module/nvme/drivers/pci:nvme": "",
        "/sys/bus/pci/drivers/nvme/0000:00:04.0": "",
        "/sys/bus/pci/drivers/nvme/bind": "",
        "/sys/kernel/debug/kmemleak": 'unreferenced object 0xffff88810 (size 96):\n  comm "sh", pid 1, jiffies 42\n'
        "  backtrace:\n    [<000000001>] kmalloc+0x1/0x2\n    [<000000002>] nvme_probe+0x1/0x2 [nvme]\n"
        "    [<000000003>] nvme_init+0x1/0x2 [nvme]\n",
        "/proc/vmallocinfo": "0xffff-0xffff   20480 nvme_probe+0x1/0x2 [nvme] pages=4 vmalloc N0=4\n"
        "0xffff-0xffff    8192 other+0x1/0x2 [loop] pages=1 vmalloc\n",
        "/proc/slabinfo": "slabinfo - version: 2.1\n# name\nnvme_iod  3  10  64 64 1 : tunables\nother 1 2 3\n",
    }
    assert module_facts(kernel, "nvme") == [
        "1 section: .text",
        "driver pci:nvme: 0000:00:04.0 (below pci0000:00)",
        "vmalloc: 20 KiB in 1 area",
        "cache nvme_iod: 3 of 10 objects of 64 bytes",
        "kmemleak: 1 unreferenced object, 96 B",
    ]
    assert module_facts(kernel, "loop") == ["vmalloc: 8 KiB in 1 area"]


def test_holders_are_a_tree() -> None:
    users = {"a": ("b", "c"), "b": ("c", "d"), "c": ("e",), "d": (), "e": ("a",)}  # e uses a: the kernel's mistake
    modules = {name: MonitoredModule(name, 1, 0, names) for name, names in users.items()}
    assert holders_tree(modules, "a") == [
        "├─ b",
        "│  ├─ c",
        "│  │  └─ e",
        "│  │     └─ a (above)",
        "│  └─ d",
        "└─ c (above)",
    ]
    assert holders_tree(modules, "d") == holders_tree(modules, "none") == []


def test_marks_blacklist_and_several_at_once(box: Box, modules: BuiltTestModules) -> None:
    top = ModuleTop(ModuleMonitor(box, BoxLog(box.log.records)), title="a box", file_of=modules, interval=3600)

    async def keys(pilot: Pilot[None]) -> None:
        for name in ("kbase", "kuser", "hello"):
            await pilot.press("l")
            await answer(pilot, str(modules(name)))
        assert names(top) == ["hello", "kbase", "kuser"]
        await pilot.press("ctrl+home", "space")
        assert top.marked == {"hello"}
        await pilot.press("space", "space", "space")  # kbase, kuser, and that again
        assert top.marked == {"hello", "kbase"}
        await pilot.press("asterisk")
        assert len(top.marked) == 3
        assert "3 marked" in top.sub_title
        await pilot.press("b", "y")
        await pilot.pause()
        assert box.read_text(BLACKLIST).splitlines()[1:] == [f"blacklist {name}" for name in names(top)]
        assert "on the blacklist" in facts(top)
        await pilot.press("z")
        await pilot.pause()
        assert "blacklist" not in box.read_text(BLACKLIST)
        await pilot.press("u", "y")  # the user first
        await pilot.pause()
        assert names(top) == []
        await pilot.press("z")  # and back, in the other order
        await pilot.pause()
        assert names(top) == ["hello", "kbase", "kuser"]
        await pilot.press("ctrl+home", "down", "u", "y")
        await pilot.pause()
        assert "in use" in events(top)
        await pilot.press("space", "escape")
        assert not top.marked

    driven(top, keys)


def test_calls_are_counted_by_ftrace(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("params"))
    top = ModuleTop(ModuleMonitor(box, BoxLog(box.log.records)), title="a box", interval=3600)

    async def keys(pilot: Pilot[None]) -> None:
        await pilot.press("c")
        for value in (b"2", b"4", b"6"):
            box.write_bytes("/sys/module/params/parameters/even", value)
        top.look()
        await pilot.pause()
        assert "even_set: 3 of the last calls" in facts(top)
        assert "calls: 0 a second" not in facts(top)
        await pilot.press("c")
        assert "calls" not in facts(top)
        assert box.listdir("/sys/kernel/tracing/instances") == []
        await pilot.press("c", "u", "y")  # it goes while it is counted
        await pilot.pause()
        assert names(top) == box.listdir("/sys/kernel/tracing/instances") == []

    driven(top, keys)


def test_log_lines_of_a_module_and_changed_parameters() -> None:
    status = KernelModules("6.1", {"snd_hda": MonitoredModule("snd_hda", 4096, -1, parameters={"index": "1"})})
    events = [
        ModuleEvent(100, EventKind.LOADED, "snd_hda", ""),
        ModuleEvent(160, EventKind.PARAMETER, "snd_hda", "index: 0 -> 1"),
        ModuleEvent(170, EventKind.PARAMETER, "snd_hda", "index: 1 -> 1"),
    ]
    lines = [
        KernelLine(6, 1.5, "snd-hda: mine"),
        KernelLine(6, 2.5, "x [snd_hda] mine"),
        KernelLine(6, 3.5, "snd_hda_core: another's"),
    ]
    text = ModulePane(status.modules["snd_hda"], status, events, lines, now=7400).text()
    assert "references are not counted" in text
    assert "loaded 2h ago" in text
    assert "index = 1  (was 0)" in text
    assert "[1.500] snd-hda: mine\n  [2.500] x [snd_hda] mine" in text
    assert "another" not in text


def test_a_kernel_far_away_does_not_stop_the_keys() -> None:
    answered, asked = threading.Event(), threading.Event()

    class SlowKernel(FixedKernel):
        def read_bytes(self, path: str) -> bytes:
            if threading.current_thread() is not threading.main_thread():
                asked.set()
                assert answered.wait(60)
            return super().read_bytes(path)

    kernel = SlowKernel(made_up().files)
    top = ModuleTop(ModuleMonitor(kernel), title="t", interval=3600, in_thread=True)

    async def keys(pilot: Pilot[None]) -> None:
        await pilot.press("down")
        assert await asyncio.to_thread(asked.wait, 60)
        kernel.files["/proc/modules"] += module_line("new")
        await pilot.press("s")
        assert "by size" in top.sub_title
        answered.set()
        await top.workers.wait_for_complete()
        await pilot.pause()
        assert "new" in names(top)

    driven(top, keys)


def test_it_looks_when_a_source_has_something() -> None:
    kernel = made_up()
    read, write = os.pipe()

    class Told:
        problem = ""

        def fileno(self) -> int:
            return read

        def drain(self) -> list[ModuleUevent]:
            os.read(read, 100)
            return []

        def close(self) -> None:
            pass

    top = ModuleTop(ModuleMonitor(kernel, uevents=Told()), title="t", interval=3600)

    async def keys(pilot: Pilot[None]) -> None:
        for name in ("one", "two"):
            kernel.files["/proc/modules"] += module_line(name)
            os.write(write, b"x")
            while name not in names(top):
                await pilot.pause(0.01)

    try:
        driven(top, keys)
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(("columns", "shown"), [(80, 5), (140, 9)])
def test_columns_fit_the_terminal(columns: int, shown: int) -> None:
    top = ModuleTop(ModuleMonitor(made_up()), title="t", interval=3600)

    async def keys(pilot: Pilot[None]) -> None:
        assert len(top.query_one("#modules", DataTable).columns) == shown
        await pilot.resize_terminal(220 - columns, 30)
        await pilot.pause()
        assert len(top.query_one("#modules", DataTable).columns) == 14 - shown
        assert names(top)[0] == "loop"

    driven(top, keys, size=(columns, 24))


def test_the_mouse_sorts_and_chooses() -> None:
    top = ModuleTop(ModuleMonitor(made_up()), title="t", interval=3600)

    async def keys(pilot: Pilot[None]) -> None:
        assert names(top)[0] == "loop"
        await pilot.click("#modules", offset=(14, 0))  # the head of the column `size`
        assert names(top)[0] == "nvme_core"
        await pilot.click("#modules", offset=(5, 2))
        await pilot.pause()
        assert facts(top).startswith(names(top)[1])

    driven(top, keys)


def test_a_kernel_that_goes_away_and_an_empty_one() -> None:
    kernel = made_up()
    top = ModuleTop(ModuleMonitor(kernel), title="t", interval=3600)

    async def keys(pilot: Pilot[None]) -> None:
        kernel.files["/proc/modules"] = ""
        top.look()
        await pilot.pause()
        assert names(top) == []
        await pilot.press("u", "e")
        del kernel.files["/proc/modules"]
        top.look()
        await pilot.pause()
        assert "modules cannot be read" in events(top)

    driven(top, keys)


class DyingKernel(FixedKernel):
    """A box whose kernel has died raises this for every call."""

    def read_bytes(self, path: str) -> bytes:
        raise BoxError("the kernel of this box has died")

    def listdir(self, path: str) -> list[str]:
        raise BoxError("the kernel of this box has died")

    stat = write_bytes = read_bytes  # type: ignore[assignment]


def test_a_kernel_that_dies_is_said_and_does_not_end_the_program() -> None:
    kernel = made_up()
    top = ModuleTop(ModuleMonitor(kernel), title="t", interval=3600)

    async def keys(pilot: Pilot[None]) -> None:
        kernel.__class__ = DyingKernel
        top.look()
        await pilot.press("down", "u", "y", "b", "y", "e", "c", "z")
        await pilot.pause()
        assert "modules cannot be read: the kernel of this box has died" in events(top)

    driven(top, keys)


@pytest.mark.parametrize("text", ["a\n", "a b c d e f\n", "a 1 0 - Live zz\n", "\0\n", "a 1 0 -\n"], ids=range(5))
def test_a_machine_that_says_nonsense(text: str) -> None:
    kernel = made_up()
    top = ModuleTop(ModuleMonitor(kernel), title="t", interval=3600)

    async def keys(pilot: Pilot[None]) -> None:
        kernel.files["/proc/modules"] = text
        top.look()
        await pilot.pause()
        assert "modules cannot be read: " in events(top)
        assert "not as a kernel writes it" in events(top)

    driven(top, keys)


def test_another_machine_by_a_shell(modules: BuiltTestModules) -> None:
    with closing(RemoteKernel(far(), "far")) as kernel:
        top = ModuleTop(ModuleMonitor(kernel), title="far", file_of=modules, interval=3600, in_thread=True)

        async def keys(pilot: Pilot[None]) -> None:
            await pilot.press("l")
            await answer(pilot, f"{modules('params')} number=7")
            assert names(top) == ["params"]
            assert "number = 7" in facts(top)
            await pilot.press("u", "y")
            await pilot.pause()
            assert names(top) == []
            await top.workers.wait_for_complete()

        driven(top, keys)


def test_words_that_need_a_box(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("top", ["hello.ko"], prog="kobox top") == 1
    assert "Add --box" in capsys.readouterr().err
