"""terminal: error: oops: BUG: kernel NULL pointer dereference, address: 0000000000000000 in seq_read_iter+0x11f

Found by `kobox check`. The steps are: system call, number of the open file, arguments
(`ExerciseStep` of kobox.checks.fuzz.program).
"""

from pathlib import Path

from kobox.checks.fuzz.player import Steps
from kobox.checks.runner.check import examine
from kobox.checks.runner.plan import CheckPlan

MODULE = Path(__file__).parent / "../../../../root/.cache/kobox/test-modules/00f1adb50a17a1c7fffd2809/terminal.ko"

PROGRAMS = [
    [
        ("open", 0, ("/proc/terminal\x1b[2J\x1b[H\nok: forged by a file", 0)),
        ("read", 0, (4096,)),
    ],
]


def test_terminal_oops_seq_read_iter():
    findings = examine(CheckPlan(str(MODULE), kernel="6.1.0-56-cloud-amd64"), Steps(*PROGRAMS))
    assert not findings, "\n".join(map(str, findings))
