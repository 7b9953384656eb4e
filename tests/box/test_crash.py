"""crash, the tool for kernel dumps, opens the core of a box with the vmlinux that kobox makes beside it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import kobox
from kobox.images.debian.packages import packages
from kobox.images.debian.program import program_words
from kobox.images.store import Store
from tests.building import BuiltTestModules

# Debian's kernels with the crash that knows them: 8.0.2 of Debian 12 ends at 6.1, 8.0.6 of Debian 13 knows 6.12.
PAIRS = {"6.1": ("debian_kernel", "bookworm"), "6.12": ("trixie_kernel", "trixie")}


class Dump(NamedTuple):
    """A core file, what the box says of itself at that moment, and what starts crash on it."""

    words: list[str]
    module: Path
    processes: dict[int, str]
    log: list[str]
    release: str

    def ask(self, *commands: str) -> dict[str, str]:
        """What crash says, by command."""
        marked = [line for command in commands for line in (command, f"echo end of {command}", "")]
        lines = "\n".join(line if not line.startswith("echo ") else f"!{line}" for line in marked)
        done = subprocess.run(
            [*self.words], input=f"{lines}\nquit\n", capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answers, rest = {}, done.stdout
        for command in commands:
            answers[command], _, rest = rest.partition(f"end of {command}\n")
        return answers


@pytest.fixture(scope="module", params=PAIRS)
def dump(
    request: pytest.FixtureRequest,
    kernel_store: Store,
    tmp_path_factory: pytest.TempPathFactory,
) -> Dump:
    kernel, suite = PAIRS[request.param]
    image = request.getfixturevalue(kernel)
    module = BuiltTestModules(image, "debug")("journal")
    core = tmp_path_factory.mktemp("crash") / "box.vmcore"
    symbols = core.with_name("box.vmlinux")
    with kobox.boot(image) as box:
        box.insmod(module)
        box.write_bytes("/dev/journal", b"one")
        box.save_core(core, symbols)
        processes = {int(n): box.read_text(f"/proc/{n}/comm").strip() for n in box.listdir("/proc") if n.isdigit()}
        log, release = [record.text for record in box.log.records()], box.release
    words = program_words(packages(kernel_store, ["crash", "libc6"], suite=suite), "usr/bin/crash")
    return Dump([*words, "-s", str(symbols), str(core)], module, processes, log, release)


def test_crash_says_what_the_kernel_says(dump: Dump) -> None:
    said = dump.ask("sys", "ps", "mod", "log", "bt 2", f"mod -s journal {dump.module}", "p written", "p last->word")
    assert f"RELEASE: {dump.release}" in said["sys"]
    assert "version inconsistency" not in said["sys"]
    assert "cannot" not in said["sys"]
    tasks = {int(pid): name.strip("[]") for pid, name in re.findall(r"^>?\s+(\d+) .* (\S+)\s*$", said["ps"], re.M)}
    assert tasks.pop(0) == "swapper/0"
    for pid, name in dump.processes.items():
        assert tasks[pid][:9] == name[:9], f"{pid}"
    assert len(tasks) == len(dump.processes)
    assert re.search(r"^\w{16}\s+journal\s+\w{16}\s+\d+", said["mod"], re.M)
    printed = [line.split("] ", 1)[-1].strip() for line in said["log"].splitlines()]
    assert [text for text in (line.strip() for line in dump.log) if text and text not in printed] == []
    assert re.findall(r"^ #\d+ \[\w+\] (\w+) at", said["bt 2"], re.M)[:4] == [
        *("__schedule", "schedule", "kthreadd", "ret_from_fork")
    ]
    assert re.search(r"= 1$", said["p written"], re.M)
    assert '"one' in said["p last->word"]


def test_crash_knows_types_and_variables_of_the_kernel(dump: Dump) -> None:
    said = dump.ask("struct module.name,state modules", "p init_uts_ns.name.release", "kmem -i", "dis -r schedule+4")
    assert "state = " in said["struct module.name,state modules"]
    assert f'"{dump.release}' in said["p init_uts_ns.name.release"]
    assert re.search(r"TOTAL MEM\s+\d+", said["kmem -i"])
    assert "<schedule" in said["dis -r schedule+4"]
