"""The pictures of docs/gallery.md: each made by kobox itself, of real modules on real kernels. `make gallery`.

Pages are photographed by Chromium without a window (Debian: apt-get install chromium).
"""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import kobox
from kobox.apps.top.app import ModuleTop
from kobox.images.store import Store
from kobox.monitor import BoxLog, ModuleMonitor
from kobox.monitor.server import MonitorServer

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs/pictures"
MODULES = ROOT / "tests/modules"
TALLY = "for i in 1 2 3; do echo hello there > /dev/tally; done; cat /dev/tally"
LEDGER = "echo a 100 > /dev/ledger; echo l 3 > /dev/ledger; echo m 30 > /dev/ledger"


OLD = """#include <linux/module.h>
#include <linux/timer.h>
static void ring(struct timer_list *timer) { }
static DEFINE_TIMER(bell, ring);
static int __init start(void) { return 0; }
static void __exit stop(void) { del_timer_sync(&bell); }
module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
"""
PAGES: dict[str, tuple[str, str]] = {  # what the page is made by, and how much of it is shown
    "flame": (f"profile tally.c -c '{TALLY}' --svg flame.svg", "1200,370"),
    "trace": ("trace journal.c -c 'echo -n one > /dev/journal' --html trace.html", "1100,640"),
    "check": ("check notes.c --exercise exercise.py --no-elsewhere --html check.html", "1100,840"),
    "inspect": ("inspect rootkit.ko what=table --html inspect.html", "1100,740"),
    "matrix": ("matrix greeter.c notes.c journal.c old.c KERNELS --html matrix.html", "900,460"),
}


def main(wanted: list[str]) -> int:
    """Make the pictures of these names anew in docs/pictures, or all."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("make gallery: there is no Chromium (Debian: apt-get install chromium)")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        for source in (
            *ROOT.glob("demo/*.*"),
            MODULES / "costs/tally.c",
            MODULES / "costs/ledger.c",
            MODULES / "inspect/rootkit.c",
            MODULES / "debug/journal.c",
        ):
            shutil.copy(source, here)
        (here / "old.c").write_text(OLD)
        if not wanted or "graph" in wanted:
            command(here, ["graph", "btrfs", "-o", str(PICTURES / "graph.svg")])
        for name, option in (("life", "--life"), ("map", "--map")):
            if not wanted or name in wanted:
                words = ["ledger.c", "probe_ms=20", option, "-c", LEDGER]
                command(here, ["graph", *words, "-o", str(PICTURES / f"{name}.svg")])
        for name, (line, size) in PAGES.items():
            if wanted and name not in wanted:
                continue
            if "rootkit.ko" in line:
                command(here, ["build", "rootkit.c"])
            command(here, shlex.split(line.replace("KERNELS", newest())))
            page = next(here.glob(f"{name}.*ml" if name != "flame" else "flame.svg"))
            photograph(chromium, page.as_uri(), name, size)
    if not wanted or {"monitor", "top"} & set(wanted):
        live(chromium)
    return 0


def newest() -> str:
    """`-k NAME` for the newest cloud kernel of each suite in the cache."""
    suites = {kernel.origin.split()[0]: kernel.name for kernel in Store().list() if "cloud-amd64" in kernel.name}
    return " ".join(f"-k {name}" for name in suites.values())


def command(here: Path, words: list[str]) -> None:
    """Run kobox; what it finds is its matter, and no failure."""
    print("kobox", *words, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "kobox", *words], cwd=here, capture_output=True, text=True, check=False
    )
    if "error:" in done.stderr:
        raise SystemExit(done.stderr)


def photograph(chromium: str, address: str, name: str, size: str) -> None:
    """A PNG of a page as it first shows itself."""
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=4000"]
    target = PICTURES / f"{name}.png"
    target.unlink(missing_ok=True)
    subprocess.run(
        [chromium, *words, f"--window-size={size}", f"--screenshot={target}", address], capture_output=True, check=True
    )


def live(chromium: str) -> None:
    """The page of `kobox monitor`, and `kobox top`, on a box whose modules come and go."""
    with kobox.boot() as box:
        monitor = ModuleMonitor(box, BoxLog(box.log.records))
        monitor.poll()
        for name in ("btrfs", "loop", "dm_mod"):
            box.modprobe(name)
            monitor.poll()
        with MonitorServer(monitor) as server:
            photograph(chromium, f"http://{server.address}:{server.port}/", "monitor", "980,620")
        tree = next(Store().root.glob(f"kernels/{box.release}/lib/modules"))

        def file_of(name: str) -> Path:
            return next(tree.rglob(name.replace("_", "[-_]") + ".ko*"))

        top = ModuleTop(monitor, title="a box", file_of=file_of, interval=3600)
        asyncio.run(draw(top))


async def draw(top: ModuleTop) -> None:
    async with top.run_test(size=(132, 34)) as pilot:
        await pilot.press("space", "down", "down", "space", "down")
        await pilot.pause()
        drawn = top.export_screenshot(title="kobox top")
        (PICTURES / "top.svg").write_text(re.sub(re.escape(str(Path.home())), "~", drawn))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
