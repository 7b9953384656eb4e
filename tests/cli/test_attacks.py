"""`kobox run` with a module that attacks it: an answer, an exit status, in bounded time and memory; no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.building import BuiltTestModules

KOBOX = str(Path(sys.executable).with_name("kobox"))

# 4 GiB of addresses are enough for a box and far from enough for a count that a module forged.
LIMITED = """import os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
os.execv(sys.argv[1], sys.argv[1:])
"""

ATTACKS = [
    # parameters, what the output has to say
    (["attack=fsbase", "number=0xdead00000000"], "another thread pointer"),
    (["attack=fsbase", "number=0x4141414141414141"], "another thread pointer"),
    (["attack=cr3", "number=0"], "triple fault"),
    (["attack=cr3", "number=0xfffff000"], "triple fault"),
    (["attack=module_list"], "CPU time"),
    (["attack=module_name", "text=../../x"], "FAILED"),
    (["attack=endless_read"], "CPU time"),
    (["attack=lying_read", "number=0x7fffffffffffffff"], "were asked for"),
    (["attack=lying_read", "number=100000"], "were asked for"),
    (["attack=getdents", "text=../../../tmp/x"], ""),
    (["attack=apic_timer"], "CPU time"),
    (["attack=la57"], "CPU time"),
    (["attack=stopped"], "interrupts off"),
    (["attack=spin"], "CPU time"),
    (["attack=symbol_count", "number=0xffffffff"], "CPU time"),
    (["attack=symbol_count_no_table", "number=0xffffffff"], "general protection fault"),
    (["attack=btf"], "general protection fault"),
    (["attack=kallsyms"], ""),
    (["attack=wide_memset"], "CPU time"),
]


@pytest.mark.parametrize(("parameters", "says"), ATTACKS, ids=[" ".join(words) for words, _ in ATTACKS])
def test_an_attack_ends_with_an_answer(parameters: list[str], says: str, modules: BuiltTestModules) -> None:
    command = [KOBOX, "run", "-k", modules.kernel.name, "--cpu-limit", "1", str(modules("attacks")), *parameters]
    done = subprocess.run([sys.executable, "-c", LIMITED, *command], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert says in done.stdout + done.stderr
