"""`kobox top` on a box, driven by keys as a person drives it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, RichLog, Static

from kobox.apps.top.app import ModuleTop
from kobox.box.box import Box
from kobox.cli.main import run
from kobox.monitor import BoxLog, ModuleMonitor
from kobox.monitor.module_facts import module_facts
from tests.building import BuiltTestModules
from tests.monitor.test_monitor import FixedKernel, module_line


def driven(top: ModuleTop, keys: Callable[[Pilot[None]], Awaitable[None]], size: tuple[int, int] = (120, 40)) -> None:
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


def test_load_look_set_and_unload(box: Box, modules: BuiltTestModules) -> None:
    top = ModuleTop(
        ModuleMonitor(box, BoxLog(box.log.records)), title="a box", file_of=lambda name: modules(name), interval=3600
    )

    async def keys(pilot: Pilot[None]) -> None:
        await pilot.press("l")
        await answer(pilot, f"{modules('params')} number=7")
        assert names(top) == ["params"]
        assert "loaded params" in events(top)
        await pilot.pause()
        assert "out of tree" in facts(top)
        assert "number = 7" in facts(top)
        assert "license: GPL" in facts(top)
        await pilot.press("e")
        await answer(pilot, "number=9")
        assert box.path("/sys/module/params/parameters/number").read_text() == "9\n"
        await pilot.press("u")
        await answer(pilot, "no")
        assert names(top) == ["params"]
        await pilot.press("u")
        await answer(pilot, "yes")
        assert names(top) == []
        await pilot.press("z")  # undo: it comes back, with its parameters
        await pilot.pause()
        assert names(top) == ["params"]
        assert box.path("/sys/module/params/parameters/number").read_text() == "9\n"
        await pilot.press("e")
        await answer(pilot, "number=4")
        await pilot.press("z")
        await pilot.pause()
        assert box.path("/sys/module/params/parameters/number").read_text() == "9\n"
        await pilot.press("z")
        assert "nothing to undo" in events(top)
        assert " sections: " in facts(top)
        await pilot.press("u")
        await answer(pilot, "yes")
        await pilot.press("l")
        await answer(pilot, str(modules("kuser")))
        assert "failed kuser" in events(top)
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
        for key in ("l", "u", "e"):
            await pilot.press(key)
            assert len(top.screen_stack) == 1  # nothing is asked: it is read-only
        assert "--read-only" in events(top)
        assert "\x1b" not in facts(top) + events(top)

    driven(top, keys, size=(80, 24))


def test_what_a_kernel_shows_of_a_module() -> None:
    kernel = made_up()
    kernel.files |= {
        "/sys/module/nvme/sections/.text": "",
        "/sys/module/nvme/drivers/pci:nvme": "",
        "/sys/bus/pci/drivers/nvme/0000:00:04.0": "",
        "/sys/bus/pci/drivers/nvme/bind": "",
        "/proc/vmallocinfo": "0xffff-0xffff   20480 nvme_probe+0x1/0x2 [nvme] pages=4 vmalloc N0=4\n"
        "0xffff-0xffff    8192 other+0x1/0x2 [loop] pages=1 vmalloc\n",
        "/proc/slabinfo": "slabinfo - version: 2.1\n# name\nnvme_iod  3  10  64 64 1 : tunables\nother 1 2 3\n",
    }
    assert module_facts(kernel, "nvme") == [
        "1 sections: .text",
        "driver pci:nvme: 0000:00:04.0",
        "vmalloc: 20 KiB in 1 areas",
        "cache nvme_iod: 3 of 10 objects of 64 bytes",
    ]
    assert module_facts(kernel, "loop") == ["vmalloc: 8 KiB in 1 areas"]


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


def test_words_that_need_a_box(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("top", ["hello.ko"], prog="kobox top") == 1
    assert "Add --box" in capsys.readouterr().err
