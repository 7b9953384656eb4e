"""Where variables are at one instruction: in a register, in memory, or a number (DWARF 5, section 2.6).

for variable in debug.live(section, offset):
    held = variable.held({0: 5, 7: 0x1000})         # registers by DWARF's numbers
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from kobox.ko.ctype import CType
from kobox.leb128 import read_sleb, read_uleb

_ADDR, _DEREF, _PLUS, _MINUS, _MUL, _AND, _OR, _SHL, _SHR, _PLUS_UCONST = (
    *(0x03, 0x06, 0x22, 0x1C, 0x1E, 0x1A, 0x21, 0x24, 0x25, 0x23),
)
_LIT, _REG, _BREG, _REGX, _FBREG, _STACK_VALUE, _NEG, _NOT = 0x30, 0x50, 0x70, 0x90, 0x91, 0x9F, 0x1F, 0x20
_CONSTANTS = {0x08: (1, False), 0x09: (1, True), 0x0A: (2, False), 0x0B: (2, True)}
_CONSTANTS |= {0x0C: (4, False), 0x0D: (4, True), 0x0E: (8, False), 0x0F: (8, True)}
_CONST_U, _CONST_S = 0x10, 0x11
_WORD = (1 << 64) - 1
_LONGEST = 64  # operations of an expression


class Where(StrEnum):
    """Where a value is."""

    REGISTER = "register"
    MEMORY = "memory"
    NUMBER = "number"  # nowhere: the compiler knows how to compute it


@dataclass(frozen=True, slots=True)
class HeldAt:
    """Where a variable is: `register` by DWARF's number; `value` is the number in the register or that was computed, or
    the address in memory. None where a register is not known."""

    where: Where
    register: int = -1
    value: int | None = None


@dataclass(frozen=True, slots=True)
class LiveVariable:
    """A variable or parameter that exists at an instruction. `function` is whose it is: an inlined one's, or the
    outermost's. `expression` says where it is; `place` are (unit, offset) of its entry in .debug_info."""

    name: str
    type: CType
    function: str
    expression: bytes
    place: tuple[int, int]

    def held(self, registers: Mapping[int, int], frame: int | None = None) -> HeldAt | None:
        """Where it is, with the registers that are known, and the canonical frame address, if that is. None when that
        cannot be told."""
        return evaluate(self.expression, registers, frame)


def evaluate(expression: bytes, registers: Mapping[int, int], frame: int | None = None) -> HeldAt | None:
    """Where an expression leads. None for what needs memory, or a register that is not known."""
    if not expression:
        return None
    first = expression[0]
    if _REG <= first < _REG + 32 and len(expression) == 1:
        return HeldAt(Where.REGISTER, first - _REG, registers.get(first - _REG))
    if first == _REGX:
        number, end = read_uleb(expression, 1)
        return HeldAt(Where.REGISTER, number, registers.get(number)) if end == len(expression) else None
    stack: list[int] = []
    try:
        is_value, base = _run(expression, registers, frame, stack)
        return HeldAt(Where.NUMBER if is_value else Where.MEMORY, base, stack[-1] & _WORD)
    except (LookupError, ValueError):
        return None


def _run(expression: bytes, registers: Mapping[int, int], frame: int | None, stack: list[int]) -> tuple[bool, int]:
    """Execute the operations. (whether the result is the value itself, the only register that took part or -1)."""
    at, base, count = 0, -1, 0
    while at < len(expression):
        operation, at, count = expression[at], at + 1, count + 1
        if count > _LONGEST:
            raise ValueError("too long")
        if operation == _STACK_VALUE:
            if at != len(expression):
                raise ValueError("pieces")
            return True, base
        if _LIT <= operation < _LIT + 32:
            stack.append(operation - _LIT)
        elif _BREG <= operation < _BREG + 32:
            offset, at = read_sleb(expression, at)
            base = operation - _BREG
            stack.append(registers[base] + offset)
        elif operation == _FBREG:
            offset, at = read_sleb(expression, at)
            if frame is None:
                raise ValueError("no frame")
            stack.append(frame + offset)
        elif operation in _CONSTANTS:
            size, signed = _CONSTANTS[operation]
            stack.append(int.from_bytes(expression[at : at + size], "little", signed=signed))
            at += size
        elif operation in (_CONST_U, _CONST_S, _PLUS_UCONST):
            number, at = (read_sleb if operation == _CONST_S else read_uleb)(expression, at)
            stack.append(stack.pop() + number if operation == _PLUS_UCONST else number)
        else:
            _compute(operation, stack)
    if at > len(expression):
        raise ValueError("cut off")
    return False, base


def _compute(operation: int, stack: list[int]) -> None:
    if operation in (_NEG, _NOT):
        stack.append(-stack.pop() if operation == _NEG else ~stack.pop())
        return
    right, left = stack.pop() & _WORD, stack.pop() & _WORD
    if operation == _PLUS:
        stack.append(left + right)
    elif operation == _MINUS:
        stack.append(left - right)
    elif operation == _MUL:
        stack.append(left * right & _WORD)
    elif operation == _AND:
        stack.append(left & right)
    elif operation == _OR:
        stack.append(left | right)
    elif operation in (_SHL, _SHR):
        stack.append((left << (right & 63)) & _WORD if operation == _SHL else left >> (right & 63))
    else:
        raise ValueError("not known")


def by_register(variables: Iterator[LiveVariable] | tuple[LiveVariable, ...]) -> dict[int, list[LiveVariable]]:
    """The variables that are in each register, as far as they are there as they stand."""
    found: dict[int, list[LiveVariable]] = {}
    for variable in variables:
        held = variable.held({})
        if held is not None and held.where is Where.REGISTER:
            found.setdefault(held.register, []).append(variable)
    return found
