"""Programs that ask a network interface what ethtool(8) asks: ioctl(2) SIOCETHTOOL, struct ifreq, and behind its
pointer a command with its structure (include/uapi/linux/ethtool.h)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from kobox.checks.fuzz.program import Program, step

SIOCETHTOOL = 0x8946
ANSWER = 8192
"""Bytes that an answer may have."""
_TOGETHER = 8  # commands in one program
_STRING_SETS = (0, 1, 2, 3, 4, 6)  # ETH_SS_TEST, _STATS, _PRIV_FLAGS, _NTUPLE_FILTERS, _FEATURES, _TUNABLES
_NUMBERS = (0, 1, 0xFFFFFFFF)

_ASKED = (
    0x03,  # ETHTOOL_GDRVINFO
    0x05,  # ETHTOOL_GWOL
    0x07,  # ETHTOOL_GMSGLVL
    0x09,  # ETHTOOL_NWAY_RST
    0x0A,  # ETHTOOL_GLINK
    0x0E,  # ETHTOOL_GCOALESCE
    0x10,  # ETHTOOL_GRINGPARAM
    0x12,  # ETHTOOL_GPAUSEPARAM
    0x1D,  # ETHTOOL_GSTATS
    0x27,  # ETHTOOL_GPFLAGS
    0x2D,  # ETHTOOL_GRXRINGS
    0x38,  # ETHTOOL_GRXFHINDIR
    0x3C,  # ETHTOOL_GCHANNELS
    0x3F,  # ETHTOOL_GET_DUMP_FLAG
    0x41,  # ETHTOOL_GET_TS_INFO
    0x42,  # ETHTOOL_GMODULEINFO
    0x44,  # ETHTOOL_GEEE
    0x4A,  # ETHTOOL_GPHYSTATS
    0x4C,  # ETHTOOL_GLINKSETTINGS
)
"""Commands that need no more than their number."""
_SET = (
    0x06,  # ETHTOOL_SWOL
    0x08,  # ETHTOOL_SMSGLVL
    0x0F,  # ETHTOOL_SCOALESCE
    0x11,  # ETHTOOL_SRINGPARAM
    0x13,  # ETHTOOL_SPAUSEPARAM
    0x28,  # ETHTOOL_SPFLAGS
    0x3D,  # ETHTOOL_SCHANNELS
)
"""Commands that set numbers."""


def ethtool_programs(name: str, begin: Program, end: Program) -> Iterator[Program]:
    """All commands, some in each program, which begins and ends with the steps given."""
    commands = [
        *(struct.pack("<I", command) for command in _ASKED),
        *(struct.pack("<III", 0x1B, one, 0) for one in _STRING_SETS),  # ETHTOOL_GSTRINGS
        *(struct.pack("<IIQ", 0x37, 0, 1 << one) for one in _STRING_SETS),  # ETHTOOL_GSSET_INFO
        *(struct.pack("<III", 0x04, 0, size) for size in (16, 4096)),  # ETHTOOL_GREGS
        *(
            struct.pack("<IIII", command, 0, offset, size) + b"k" * 64
            for command in (0x0B, 0x0C)  # ETHTOOL_GEEPROM, ETHTOOL_SEEPROM
            for offset, size in ((0, 1), (0, 64), (1, 63), (0xFFFFFFFF, 8), (0, 4096))
        ),
        *(struct.pack("<III", 0x43, offset, size) for offset, size in ((0, 256), (128, 128))),  # ETHTOOL_GMODULEEEPROM
        *(struct.pack("<III", 0x1A, flags, 0) for flags in (0, 1)),  # ETHTOOL_TEST
        struct.pack("<II", 0x1C, 1),  # ETHTOOL_PHYS_ID
        *(struct.pack("<I", command) + struct.pack("<I", number) * 24 for command in _SET for number in _NUMBERS),
    ]
    for at in range(0, len(commands), _TOGETHER):
        yield (*begin, *(step("ethtool", name, one) for one in commands[at : at + _TOGETHER]), *end)
