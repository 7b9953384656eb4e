"""notes: error: wild-access: write to address 0x10, a NULL pointer in notes_write [notes] (notes.c:18)

Found by `kobox check`. The steps are: system call, number of the open file, arguments (kobox.checks.exercise.Step).
"""

from pathlib import Path

from kobox.checks.check import Plan, examine
from kobox.checks.exercise import Steps

MODULE = Path(__file__).parent / '../../lab/rd/notes.ko'

PROGRAMS = [
    [
        ('open', 0, ('/dev/notes', 2)),
        ('write', 0, (b'',)),
    ],
]


def test_notes_wild_access_notes_write():
    findings = examine(Plan(str(MODULE), kernel='6.1.0-56-cloud-amd64'), Steps(*PROGRAMS))
    assert not findings, "\n".join(map(str, findings))
