"""`kobox gdb` on the boards: lines, variables and types of the module, frames of the kernel, backwards."""

from __future__ import annotations

import re
import subprocess
import sys

from kobox.images.store import KernelImage
from tests.building import BuiltTestModules

PLACES = ["ksys_write", "vfs_write", "add_entry", "do_exit"]  # in the order in which they come


def test_a_module_under_gdb(board_kernel: KernelImage) -> None:
    module = BuiltTestModules(board_kernel, "debug")("journal")
    look = ["echo <gdb>\\n", "backtrace", "echo <kernel>\\n", "monitor where", "echo <end>\\n"]
    commands = ["break journal.c:23", "continue", "print word", "print *entry", "print $lx_current().comm"]
    commands += ['print $lx_module("journal").state', "print $lx_task_by_pid(1).pid", "delete", *look]
    for place in PLACES:
        commands += [f"tbreak *{place}", "continue", *look, "stepi 6", *look]
    commands += ["watch -l written", "reverse-continue", "info line", "reverse-continue", "backtrace 1"]
    words = [sys.executable, "-m", "kobox", "gdb", str(module), "-k", board_kernel.name]
    words += ["-c", "echo -n one > /dev/journal; echo -n two > /dev/journal", "--", "-nx", "-batch"]
    done = subprocess.run(
        [*words, *(word for command in commands for word in ("-ex", command))],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    if board_kernel.arch.addresses.word != 8:  # bytes
        assert done.returncode == 1
        assert "debuggers see kernels of 64 bits only" in done.stderr
        return
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    assert re.search(r"Breakpoint 1, add_entry \(word=.*\"one\"\) at .*journal\.c:23\n23\s+if \(!entry\)", said)
    assert re.search(r"^\$1 = 0x\w+ \"one\"", said, re.M)
    assert re.search(r"^\$2 = \{list = \{next = 0x0, prev = 0x0\}, number = 0", said, re.M)
    assert re.search(r"^\$3 = \"sh", said, re.M)
    assert re.search(r"^\$4 = MODULE_STATE_LIVE", said, re.M)
    assert re.search(r"^\$5 = 1$", said, re.M)
    assert re.search(r"Hardware watchpoint \d+: -location written\n\nOld value = 1\nNew value = 0", said)
    pairs = re.findall(r"<gdb>\n(.*?)<kernel>\n(.*?)<end>", said, re.S)
    assert len(pairs) == 1 + 2 * len(PLACES)
    for by_gdb, by_kernel in pairs:
        ours = re.findall(r"^#\d+\s+(?:0x\w+ in )?(\w+)[\w.]* ", by_gdb, re.M)
        theirs = [re.split(r"[+. ]", line)[0] for line in by_kernel.splitlines()]
        assert [name for name in ours if name in theirs] == theirs, (by_gdb, by_kernel)
