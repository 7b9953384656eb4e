"""A life of modules as a file that repeats it: `kobox run --record life.kbx`, `kobox replay life.kbx`.

    b"kobox life\\n"
    u32 format, u32 size of the header        little-endian
    header                                    zlib: JSON, see `_header`
    module, module, ...                       zlib each: their sizes, packed and not, stand in the header

A box is deterministic, so what goes in is enough: the kernel's name and checksum, the modules themselves, parameters,
commands, devices, and how the box is set up. What came out (blocks, virtual time, the log) stands there too, so that
whoever repeats it can tell whether it was the same.

Such a file comes with a bug report from anybody: all of it is checked when it is read, it holds no Python and no paths.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TypeAlias

from kobox.errors import KoboxError
from kobox.json_text import parse_json

MAGIC = b"kobox life\n"
FORMAT = 1
_HEAD = struct.Struct("<II")
_MOST_HEADER, _MOST_MODULE, _MOST_MODULES = 16 << 20, 256 << 20, 64
_PROFILES = ("fast", "default")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_PLUG = re.compile(
    r"[a-z][a-z0-9-]{0,31}(=([0-9]{1,5}[KMG]|[0-9a-f]{2}([:-][0-9a-f]{2}){5}|-?[0-9]{1,3}(\.[0-9]{1,4})?))?"
)
_MODES = ("run", "life")

Value: TypeAlias = "int | float | str | bytes | tuple[Value, ...] | None"
Step: TypeAlias = "tuple[str, int, tuple[Value, ...]]"


class LifeRecordError(KoboxError):
    """A file is no record of a life, or one that this kobox cannot repeat."""


@dataclass(frozen=True, slots=True)
class RecordedModule:
    """A module: its name, the ELF file, and parameters as text."""

    name: str
    content: bytes
    parameters: str = ""


@dataclass(frozen=True, slots=True)
class RecordedKernel:
    """The kernel that was booted: `digest` is the sha256 of its image as hex, `origin` where it came from."""

    name: str
    release: str
    digest: str
    origin: str = ""
    architecture: str = "x86_64"


@dataclass(frozen=True, slots=True)
class RecordedBox:
    """How the box was set up: `memory` in bytes. `shell`: it has a root file system for commands."""

    memory: int = 256 << 20
    cpus: int = 1
    cmdline: str = ""
    profile: str = "fast"
    shell: bool = False


@dataclass(frozen=True, slots=True)
class RecordedOutcome:
    """What came out: basic blocks and virtual nanoseconds from the life's beginning to its end, and the kernel's log of
    that time. `ended_by` is what ended it early, "" for nothing."""

    blocks: int
    time: int
    log: str
    ended_by: str = ""


@dataclass(frozen=True, slots=True)
class LifeRecord:
    """Everything that a life is made of. `mode` is "run" for what `kobox run` does, "life" for load, use and unload.

    `commands` are lines for the box's shell, `plugs` ready models as `--plug` takes them, `programs` steps of the
    exercise (`kobox.checks.fuzz.program`): (call, slot, arguments).
    """

    kobox: str
    mode: str
    kernel: RecordedKernel
    box: RecordedBox
    modules: tuple[RecordedModule, ...]
    commands: tuple[str, ...] = ()
    plugs: tuple[str, ...] = ()
    programs: tuple[tuple[Step, ...], ...] = ()
    unload: bool = True
    keep_going: bool = False
    outcome: RecordedOutcome | None = None
    finding: str = ""
    """What it shows, in words; "" when nobody has said so."""

    def pack(self) -> bytes:
        """The file's content."""
        packed = [zlib.compress(module.content, 9) for module in self.modules]
        header = zlib.compress(json.dumps(_header(self, packed), separators=(",", ":")).encode(), 9)
        return b"".join([MAGIC, _HEAD.pack(FORMAT, len(header)), header, *packed])

    @classmethod
    def unpack(cls, data: bytes, path: str = "") -> LifeRecord:
        """Read a file's content. Raises `LifeRecordError` for anything that `pack` does not write."""
        where = f"{path}: " if path else ""
        try:
            return _unpack(data)
        except _TooNewError as error:
            raise LifeRecordError(f"{where}{error}", hint="A newer kobox has written it.") from None
        except (ValueError, KeyError, TypeError, struct.error, zlib.error, RecursionError) as error:
            raise LifeRecordError(
                f"{where}no record of a life, or a damaged one: {error}",
                hint="`kobox run FILE.ko --record life.kbx` writes one.",
            ) from None


class _TooNewError(Exception):
    pass


# -- writing ---------------------------------------------------------------------------------------------------------


def _header(record: LifeRecord, packed: list[bytes]) -> dict[str, object]:
    kernel, box, outcome = record.kernel, record.box, record.outcome
    return {
        "kobox": record.kobox,
        "mode": record.mode,
        "kernel": {
            "name": kernel.name,
            "release": kernel.release,
            "digest": kernel.digest,
            "origin": kernel.origin,
            "architecture": kernel.architecture,
        },
        "box": {
            "memory": box.memory,
            "cpus": box.cpus,
            "cmdline": box.cmdline,
            "profile": box.profile,
            "shell": box.shell,
        },
        "modules": [
            {
                "name": module.name,
                "parameters": module.parameters,
                "size": len(module.content),
                "packed": len(content),
                "sha256": hashlib.sha256(module.content).hexdigest(),
            }
            for module, content in zip(record.modules, packed, strict=True)
        ],
        "commands": list(record.commands),
        "plugs": list(record.plugs),
        "programs": [[_step(step) for step in program] for program in record.programs],
        "unload": record.unload,
        "keep_going": record.keep_going,
        "outcome": None
        if outcome is None
        else {"blocks": outcome.blocks, "time": outcome.time, "log": outcome.log, "ended_by": outcome.ended_by},
        "finding": record.finding,
    }


def _step(step: Step) -> list[object]:
    call, slot, arguments = step
    return [call, slot, [_value(argument) for argument in arguments]]


def _value(value: Value) -> object:
    """A value of a program as JSON has it: bytes as {"b": hex}, tuples as {"t": [...]}."""
    if isinstance(value, (bytes, bytearray)):
        return {"b": bytes(value).hex()}
    if isinstance(value, tuple):
        return {"t": [_value(one) for one in value]}
    return value


# -- reading ---------------------------------------------------------------------------------------------------------


def _unpack(data: bytes) -> LifeRecord:
    if not data.startswith(MAGIC):
        raise ValueError("it does not begin as one")
    at = len(MAGIC) + _HEAD.size
    version, size = _HEAD.unpack_from(data, len(MAGIC))
    if version > FORMAT:
        raise _TooNewError(f"its format is {version}; this kobox reads up to {FORMAT}")
    if version < 1:
        raise ValueError(f"format {version}")
    header = parse_json(_inflate(data[at : at + size], _MOST_HEADER))
    modules, at = [], at + size
    for row in map(_table, _list(header["modules"], _MOST_MODULES)):
        packed, length = _number(row["packed"], 1 << 40), _number(row["size"], _MOST_MODULE)
        content = _inflate(data[at : at + packed], length)
        at += packed
        if hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise ValueError(f"the module {row['name']!r} has another checksum")
        modules.append(RecordedModule(_matching(row["name"], _NAME), content, _text(row["parameters"])))
    if at != len(data):
        raise ValueError(f"{len(data)} bytes where {at} belong")
    if not modules:
        raise ValueError("no module")
    return _record(header, tuple(modules))


def _record(header: dict[str, object], modules: tuple[RecordedModule, ...]) -> LifeRecord:
    kernel, box, outcome = _table(header["kernel"]), _table(header["box"]), header["outcome"]
    return LifeRecord(
        _text(header["kobox"]),
        _one_of(header["mode"], _MODES),
        RecordedKernel(*(_text(kernel[name]) for name in ("name", "release", "digest", "origin", "architecture"))),
        RecordedBox(
            _number(box["memory"], 64 << 30, least=32 << 20),
            _number(box["cpus"], 8, least=1),
            _text(box["cmdline"]),
            _one_of(box["profile"], _PROFILES),
            _flag(box["shell"]),
        ),
        modules,
        tuple(_text(line) for line in _list(header["commands"], 10_000)),
        tuple(_matching(plug, _PLUG) for plug in _list(header["plugs"], 64)),
        tuple(tuple(_read_step(step) for step in _list(one, 100_000)) for one in _list(header["programs"], 10_000)),
        _flag(header["unload"]),
        _flag(header["keep_going"]),
        None if outcome is None else _read_outcome(_table(outcome)),
        _text(header["finding"]),
    )


def _read_outcome(row: dict[str, object]) -> RecordedOutcome:
    return RecordedOutcome(
        _number(row["blocks"], 1 << 63), _number(row["time"], 1 << 63), _text(row["log"]), _text(row["ended_by"])
    )


def _read_step(row: object) -> Step:
    call, slot, arguments = _list(row, 3)
    return _text(call), _number(slot, 1 << 31), tuple(_read_value(one) for one in _list(arguments, 16))


def _read_value(value: object, depth: int = 0) -> Value:
    if isinstance(value, dict) and depth < 4:
        if "b" in value:
            return bytes.fromhex(_text(value["b"]))
        return tuple(_read_value(one, depth + 1) for one in _list(value["t"], 1024))
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise ValueError(f"{type(value).__name__} in a program")


def _inflate(packed: bytes, most: int) -> bytes:
    """The bytes that are packed, `most` of them at most."""
    reader = zlib.decompressobj()
    out = reader.decompress(packed, most + 1)
    if len(out) > most or not reader.eof or reader.unused_data:
        raise ValueError("a part is longer than it is said to be, or cut off")
    return out


def _table(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("a table is missing")
    return value


def _list(value: object, most: int) -> list[object]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("a list is missing, or is too long")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("a text is missing")
    return value


def _matching(value: object, pattern: re.Pattern[str]) -> str:
    text = _text(value)
    if not pattern.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no name that may stand there")
    return text


def _one_of(value: object, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} where one of {', '.join(allowed)} belongs")
    return str(value)


def _number(value: object, most: int, *, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{value!r} where a number from {least} to {most} belongs")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} where true or false belongs")
    return value


def can_be_recorded(plug: str) -> bool:
    """Whether a device of `--plug` is a ready model that a record can name: no file of the user's, and no Python."""
    return bool(_PLUG.fullmatch(plug))
