"""Records of gdb's machine interface."""

from __future__ import annotations

import random

import pytest

from kobox.debug.mi import MiRecord, parse_record, quoted


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ("7^done", MiRecord("^", "done", {}, 7)),
        ('^error,msg="No \\"x\\" here."', MiRecord("^", "error", {"msg": 'No "x" here.'})),
        (
            '1^done,stack=[frame={level="0",func="f"},frame={level="1"}]',
            MiRecord("^", "done", {"stack": [{"level": "0", "func": "f"}, {"level": "1"}]}, 1),
        ),
        ('^done,names=["a",""],none=[],empty={}', MiRecord("^", "done", {"names": ["a", ""], "none": [], "empty": {}})),
        (
            '^done,bkpt={number="1"},bkpt={number="2"}',
            MiRecord("^", "done", {"bkpt": [{"number": "1"}, {"number": "2"}]}),
        ),
        (
            '*stopped,reason="signal-received",signal-name="SIGSEGV"',
            MiRecord("*", "stopped", {"reason": "signal-received", "signal-name": "SIGSEGV"}),
        ),
        ('~"text\\twith \\303\\244 and \\"\\n"', MiRecord("~", 'text\twith ä and "\n')),
        ("(gdb) ", None),
        ("", None),
        ("^done,x=", None),
        ('^done,x={a="1"', None),
        ("^done,x=" + "[" * 500, None),
    ],
)
def test_records(line: str, record: MiRecord | None) -> None:
    assert parse_record(line) == record


def test_lines_that_are_changed_at_random_raise_nothing() -> None:
    rng = random.Random(5)
    whole = '12^done,stack=[frame={level="0",func="f",args=[{name="a\\"",value="\\303"}]}],x="y"'
    for _ in range(3000):
        text = list(whole)
        for _ in range(rng.randrange(1, 5)):
            text[rng.randrange(len(text))] = chr(rng.randrange(32, 127))
        parse_record("".join(text)[: rng.randrange(len(text) + 1)])


def test_parameters_are_quoted() -> None:
    assert quoted('a "b" \\ c\nd') == '"a \\"b\\" \\\\ c d"'
