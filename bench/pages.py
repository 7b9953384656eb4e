"""Every page that kobox makes, in Chromium without a window: axe-core finds no fault, in light and in dark, wide and
narrow, and the pages answer to keys and clicks. `make check-pages`.

It needs playwright and axe-playwright-python (axe-core, MPL-2.0), which the target fetches, and Chromium (Debian:
apt-get install chromium). With a directory as its argument it leaves a picture of each view there.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

import kobox
from kobox.monitor import BoxLog, History, ModuleMonitor
from kobox.monitor.fleet import Fleet
from kobox.monitor.server import FleetServer, MonitorServer
from tests.monitor.test_fleet import HOSTS, reach

ROOT = Path(__file__).parent.parent
Steps = tuple[tuple[str, Callable[[Page], None]], ...]
FILES = {  # pages that commands write: the words, and the file
    "life": 'graph ledger.c probe_ms=20 --life -c "echo l 3 > /dev/ledger" -o life.html',
    "map": "graph ledger.c --map -o map.html",
    "calls": 'graph tally.c --calls --depth 2 -c "cat /dev/tally" -o calls.html',
    "tree": "graph -o tree.html",
    "check": "check notes.c --no-elsewhere --html check.html",
    "trace": 'trace journal.c -c "echo -n one > /dev/journal" --html trace.html',
    "inspect": "inspect rootkit.ko what=table --html inspect.html",
    "matrix": "matrix greeter.c --html matrix.html",
}
SOURCES = ("costs/tally.c", "costs/ledger.c", "debug/journal.c", "inspect/rootkit.c")


def main(words: list[str]) -> int:
    """The number of faults as the exit status."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("make check-pages: there is no Chromium (Debian: apt-get install chromium)")
    pictures = Path(words[0]) if words and words[0] else None
    only = set(words[1:])
    faults = 0
    with (
        sync_playwright() as playwright,
        closing_browser(playwright.chromium.launch(executable_path=chromium)) as browser,
    ):
        for name, address, steps in views(only):
            for scheme in ("light", "dark"):
                for width in (1280, 420):
                    context = browser.new_context(
                        color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True
                    )
                    page = context.new_page()
                    said: list[str] = []
                    page.on("pageerror", lambda error, said=said: said.append(str(error)))
                    page.goto(address)
                    for title, step in (("", lambda page: None), *steps):
                        step(page)
                        page.wait_for_timeout(300)
                        found = [
                            f"{one['id']}: {node['target']} {node['failureSummary']}"
                            for one in Axe().run(page).response["violations"]
                            for node in one["nodes"][:3]
                        ]
                        faults += len(found) + len(said)
                        print(f"{name} {title or 'as it opens'}, {scheme}, {width}: {len(found)} faults", *said, *found)
                        if pictures is not None:
                            page.screenshot(
                                path=pictures / f"{name}{'-' + title if title else ''}-{scheme}-{width}.png"
                            )
                        said.clear()
                    context.close()
    return min(faults, 100)


def views(only: set[str]) -> Iterator[tuple[str, str, Steps]]:
    """A name, an address and what is done there, for each page; servers live until the next one is asked for."""
    if not only or "monitor" in only:
        with kobox.boot() as box, tempfile.TemporaryDirectory() as here:
            history = History(Path(here) / "history.db", "a box")
            clock = iter(range(1_700_000_000, 1_800_000_000, 600))
            monitor = ModuleMonitor(box, BoxLog(box.log.records), history=history, clock=lambda: next(clock))
            for module in ("btrfs", "loop", "dm_mod"):
                box.modprobe(module)
                monitor.poll()
            box.rmmod("dm_mod")
            monitor.poll()
            with MonitorServer(monitor, history=history) as server:
                address = f"http://{server.address}:{server.port}"
                yield "monitor", f"{address}/", MONITOR
                yield "graph", f"{address}/graph", GRAPH
            history.close()
    if not only or "fleet" in only:
        with closing(Fleet(HOSTS | {"zz": "down"}, reach)) as fleet:
            fleet.look()
            with FleetServer(fleet) as server:
                address = f"http://{server.address}:{server.port}"
                yield "fleet", f"{address}/", FLEET
                yield "fleet-compared", f"{address}/?one=web000&other=web499", ()
                yield "fleet-module", f"{address}/?module=hello", ()
    with tempfile.TemporaryDirectory() as here:
        for source in (*(ROOT / "tests/modules" / name for name in SOURCES), *ROOT.glob("demo/*.c")):
            shutil.copy(source, here)
        for name, line in FILES.items():
            if only and name not in only:
                continue
            said = command(here, "build rootkit.c") if "rootkit.ko" in line else ""
            said += command(here, line)
            page = Path(here) / f"{name}.html"
            if not page.exists():
                raise SystemExit(f"kobox {line}: {said}")
            yield name, page.as_uri(), GRAPH if name == "tree" else ()


def command(here: str, line: str) -> str:
    """Run kobox; what it finds in a module is no failure. What it says."""
    words = [str(Path(sys.executable).with_name("kobox")), *shlex.split(line)]
    done = subprocess.run(words, cwd=here, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def choose(page: Page) -> None:
    """A module of the monitor's table: its facts and its events."""
    page.keyboard.press("/")
    page.keyboard.type("zstd-")
    expect(page.locator("#rows tr")).to_have_count(1)
    page.locator("#rows button").first.click()
    expect(page.locator("#one")).to_contain_text("sections")
    expect(page.locator("#one")).to_contain_text("btrfs")
    expect(page.locator("#events li")).to_have_count(1)


def unchoose(page: Page) -> None:
    """All of them, by size; the last hour has no event."""
    page.locator("#rows button").first.click()
    page.locator("#search").fill("")
    page.get_by_role("button", name="size").click()
    expect(page.locator("#rows button").first).to_have_text("btrfs")
    expect(page.locator("#timeline svg")).to_be_visible()
    page.locator("#span").select_option("3600")
    expect(page.locator("#events li")).to_have_count(0)


def walk(page: Page) -> None:
    """Search, go on by a click, larger and the whole picture by keys."""
    page.keyboard.press("/")
    page.keyboard.type("libcrc32c")
    page.keyboard.press("Enter")
    expect(page.locator("#facts")).to_contain_text("libcrc32c")
    page.locator("#search").blur()
    before = page.locator("#stage svg").bounding_box()
    page.keyboard.press("+")
    after = page.locator("#stage svg").bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] > before["width"]
    page.keyboard.press("0")
    page.locator("g.node[aria-label=btrfs]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#facts b")).to_have_text("btrfs")


def find(page: Page) -> None:
    """Who has a module."""
    page.get_by_label("Module").fill("hello")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("table tbody tr")).to_have_count(10)


MONITOR: Steps = (("chosen", choose), ("all", unchoose))
GRAPH: Steps = (("walked", walk),)
FLEET: Steps = (("found", find),)


@contextmanager
def closing_browser(browser: Browser) -> Iterator[Browser]:
    """Close it in any case."""
    try:
        yield browser
    finally:
        browser.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
