"""Machines where process_vm_readv(2) is refused, as some containers do, or unknown, as to user-mode emulators."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from kobox.isolation import seccomp

MACHINE = """
import ctypes, errno, os, platform, struct, sys

number = {"x86_64": 310, "aarch64": 270}[platform.machine()]
rows = [  # linux/filter.h: load the call's number; is it that one? an errno, or go on
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | int(sys.argv[1])), (0x06, 0, 0, 0x7FFF0000),
]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
described = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(rows), ctypes.addressof(program)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, described, 0, 0) == 0, os.strerror(ctypes.get_errno())
assert libc.process_vm_readv(os.getpid(), 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == int(sys.argv[1])

from kobox.machine.arm_virt import ArmVirt
from kobox.machine.pc import Machine
from kobox.machine.riscv_virt import RiscvVirt

for board in (Machine, ArmVirt, RiscvVirt):
    board(64 << 20).close()
    print("made")
"""


@pytest.mark.skipif(not seccomp.available(), reason="this machine has no seccomp filters")
@pytest.mark.parametrize("refusal", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_a_machine_is_made_where_memory_is_read_by_a_pipe(refusal: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MACHINE, str(refusal)], capture_output=True, text=True, timeout=600, check=False
    )
    assert (done.returncode, done.stdout) == (0, "made\n" * 3), done.stderr
