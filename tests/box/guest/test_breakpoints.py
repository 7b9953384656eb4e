"""Hardware breakpoints in a real kernel: a module's own, and a debugger's by ptrace()."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from kobox.box.box import Box
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules

DEBUGGER = """
#include <stddef.h>
#include <stdio.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
volatile int watched;
int main(void)
{
    int status, n;
    pid_t child = fork();
    if (!child) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        for (n = 1; n < 4; n++)
            watched = n;
        _exit(7);
    }
    waitpid(child, &status, 0);
    if (ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[0]), &watched) ||
        ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[7]), 0xd0001))
        perror("PTRACE_POKEUSER");
    for (;;) {
        ptrace(PTRACE_CONT, child, 0, 0);
        waitpid(child, &status, 0);
        if (!WIFSTOPPED(status))
            break;
        printf("stopped by %d at %ld\\n", WSTOPSIG(status), ptrace(PTRACE_PEEKDATA, child, &watched, 0) & 0xffffffff);
    }
    printf("ended with %d\\n", WEXITSTATUS(status));
    return 0;
}
"""


def test_the_kernels_own_breakpoints_fire(box: Box, debian_kernel: KernelImage) -> None:
    module = box.insmod(BuiltTestModules(debian_kernel, "breakpoints")("breakpoints"))
    module.unload()
    said = [text for text in (record.text for record in box.log.since(module)) if re.search("hit|called", text)]
    assert [re.sub(r"^breakpoints: |init_module\S+|breakpoints_init\S*", "", text) for text in said] == [
        "data is hit in  [breakpoints], it holds 1",
        "data is hit in  [breakpoints], it holds 2",
        "code is hit in called [breakpoints], it holds 2",
        "called 3",
        "code is hit in called [breakpoints], it holds 4",
        "called 5",
        "called 6",
    ]


def test_a_debuggers_watchpoint_fires(box: Box, tmp_path: Path) -> None:
    source, program = tmp_path / "debugger.c", tmp_path / "debugger"
    source.write_text(DEBUGGER)
    subprocess.run(["gcc", "-static", "-O1", "-o", program, source], check=True)
    done = box.run([program], timeout=60, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "stopped by 5 at 1\nstopped by 5 at 2\nstopped by 5 at 3\nended with 7\n"
