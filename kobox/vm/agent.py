"""PID 1 of a virtual machine: `agent.S` beside this file, as bytes and as an ELF program.

It maps a page, makes the second serial line raw, says `kobox 1`, and then carries out system calls, so that Python does
in the machine whatever a process can do there. No compiler is needed: a test assembles the source and compares.
"""

from __future__ import annotations

import struct

TEXT, BUFFER, SHARED = 0x400000, 0x10000000, 0x20000000
DATA = BUFFER + 0x1000
"""Where arguments lie in the machine's memory, up to `DATA_SIZE` bytes."""
DATA_SIZE = 1 << 20
HELLO = b"kobox 1\n"
_HEADERS = 64 + 2 * 56
CODE = bytes.fromhex(
    "bb00000010b809000000bf00000020be00100000ba0300000041ba3100000049c7c0ffffffff4531c90f05b802000000"
    "488d3dde010000be0201000031d20f054989c4b8100000004c89e7be01540000488d93800000000f0548c78380000000"
    "00000000818b8800000000080000c7838c0000000000000066c783960000000001b8100000004c89e7be02540000488d"
    "93800000000f05488d3582010000ba08000000e8500100004889deba40000000e82a010000488b034883f80174374883"
    "f802744a4883f80374534883f8040f849400000048c7434800000000e8df00000048894340488d7340ba10000000e805"
    "010000ebb3488b7308488b5310e8dd00000048c743480000000031c0ebd3488b7308488b5310e8dd000000eb8bb83900"
    "00000f054885c078b87516e890000000bf00000020488907b8e700000031ff0f054889c7488d734848c7060000000031"
    "d24531d2b83d0000000f05bf00000020488b07e979ffffffbf0000002048c7070000000048c7434800000000b83a0000"
    "000f054885c00f8855ffffff7520b8700000000f05e826000000bf00000020488907b8e7000000bf7f0000000f05bf00"
    "00002048833f00480f4507e921ffffff488b4308488b7b10488b7318488b53204c8b53284c8b43304c8b4b380f05c348"
    "85d274304c89e731c00f054885c07eef4801c64829c2ebe74885d274174c89e7b8010000000f054885c07eec4801c648"
    "29c2ebe4c32f6465762f7474795331006b6f626f7820310a"
)


def agent_elf() -> bytes:
    """The static ELF program (elf(5)): a segment of code, and one of zeros that can be written."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, TEXT + _HEADERS, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    size = _HEADERS + len(CODE)
    text = struct.pack("<IIQQQQQQ", 1, 5, 0, TEXT, TEXT, size, size, 0x1000)
    data = struct.pack("<IIQQQQQQ", 1, 6, 0, BUFFER, BUFFER, 0, DATA_SIZE + 0x1000, 0x1000)
    return header + text + data + CODE
