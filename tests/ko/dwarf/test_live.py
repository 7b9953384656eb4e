"""Where variables are: DWARF's expressions."""

from __future__ import annotations

import pytest

from kobox.ko.dwarf.live import HeldAt, Where, evaluate

REGISTERS = {0: 100, 7: 0x1000}


@pytest.mark.parametrize(
    ("expression", "held"),
    [
        ("50", HeldAt(Where.REGISTER, 0, 100)),  # DW_OP_reg0
        ("53", HeldAt(Where.REGISTER, 3, None)),
        ("9007", HeldAt(Where.REGISTER, 7, 0x1000)),  # regx
        ("7708", HeldAt(Where.MEMORY, 7, 0x1008)),  # breg7 8
        ("777f", HeldAt(Where.MEMORY, 7, 0xFFF)),
        ("70059f", HeldAt(Where.NUMBER, 0, 105)),  # breg0 5, stack_value
        ("319f", HeldAt(Where.NUMBER, -1, 1)),  # lit1
        ("097f9f", HeldAt(Where.NUMBER, -1, 0x7F)),
        ("09ff9f", HeldAt(Where.NUMBER, -1, (1 << 64) - 1)),  # const1s -1
        ("117f9f", HeldAt(Where.NUMBER, -1, (1 << 64) - 1)),  # consts -1
        ("7000230a9f", HeldAt(Where.NUMBER, 0, 110)),  # plus_uconst 10
        ("700032249f", HeldAt(Where.NUMBER, 0, 400)),  # lit2, shl
        ("70001f9f", HeldAt(Where.NUMBER, 0, (1 << 64) - 100)),  # neg
        ("7300", None),  # a register that is not known
        ("9108", None),  # fbreg without a frame
        ("a301559f", None),  # entry_value
        ("7000069f", None),  # deref
        ("229f", None),  # plus of nothing
        ("50930451", None),  # pieces
        ("", None),
        ("70", None),
    ],
)
def test_expressions(expression: str, held: HeldAt | None) -> None:
    assert evaluate(bytes.fromhex(expression), REGISTERS) == held


def test_a_frame() -> None:
    assert evaluate(bytes.fromhex("9170"), {}, 0x2000) == HeldAt(Where.MEMORY, -1, 0x1FF0)
