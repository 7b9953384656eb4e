"""gdb's machine interface: commands with numbers, and records that gdb writes.

    7-stack-list-frames                     ->      7^done,stack=[frame={level="0",func="hello_init",line="12"}]
    8-exec-continue                         ->      8^running, and later *stopped,reason="breakpoint-hit",...

Source: the GDB manual, chapter "The GDB/MI Interface".
"""

from __future__ import annotations

import queue
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from kobox.errors import KoboxError

MiValue: TypeAlias = "str | list[MiValue] | dict[str, MiValue]"

_RECORD = re.compile(r"(?P<token>\d*)(?P<kind>[\^*+=])(?P<name>[\w-]+)")
_STREAM = re.compile(r'(?P<kind>[~@&])(?P<text>".*)')
_NAME = re.compile(r"[\w-]+(?==)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "e": "\x1b", "f": "\f", "b": "\b", "a": "\a", "v": "\v"}
_SECONDS = 120.0  # that a command may take: one that goes backwards may live a whole life
_DEEPEST = 100


class MiError(KoboxError):
    """gdb has refused a command, or has gone."""


@dataclass(frozen=True, slots=True)
class MiRecord:
    """One record. `kind` is "^" for a result, "*" for what the program does, "=" for news, "~", "@" and "&" for text;
    `name` the class ("done", "stopped"), or the text; `results` what follows."""

    kind: str
    name: str
    results: dict[str, MiValue] = field(default_factory=dict)
    token: int = 0


def parse_record(line: str) -> MiRecord | None:
    """One line of gdb's. None for its prompt, and for what is no record."""
    if stream := _STREAM.match(line):
        return MiRecord(stream["kind"], _string(stream["text"], 0)[0])
    match = _RECORD.match(line)
    if match is None:
        return None
    results, at = dict[str, MiValue](), match.end()
    try:
        while at < len(line) and line[at] == ",":
            name, value, at = _result(line, at + 1, 0)
            _add(results, name, value)
    except (ValueError, IndexError):
        return None
    return MiRecord(match["kind"], match["name"], results, int(match["token"] or 0))


def _add(results: dict[str, MiValue], name: str, value: MiValue) -> None:
    """Some names stand several times: their values become a list."""
    if name in results:
        before = results[name]
        results[name] = [*before, value] if isinstance(before, list) else [before, value]
    else:
        results[name] = value


def _result(line: str, at: int, depth: int) -> tuple[str, MiValue, int]:
    match = _NAME.match(line, at)
    if match is None:
        raise ValueError("no name")
    value, end = _value(line, match.end() + 1, depth)
    return match[0], value, end


def _value(line: str, at: int, depth: int) -> tuple[MiValue, int]:
    if depth > _DEEPEST:
        raise ValueError("too deep")
    if line[at] == '"':
        return _string(line, at)
    if line[at] == "{":
        table, at = dict[str, MiValue](), at + 1
        while line[at] != "}":
            name, value, at = _result(line, at + (line[at] == ","), depth + 1)
            _add(table, name, value)
        return table, at + 1
    if line[at] != "[":
        raise ValueError("no value")
    items, at = list[MiValue](), at + 1
    while line[at] != "]":
        at += line[at] == ","
        if _NAME.match(line, at):
            _, value, at = _result(line, at, depth + 1)
        else:
            value, at = _value(line, at, depth + 1)
        items.append(value)
    return items, at + 1


def _string(line: str, at: int) -> tuple[str, int]:
    """A C string at `at`, and where it ends."""
    out, at = bytearray(), at + 1
    while at < len(line) and line[at] != '"':
        if line[at] != "\\":
            out += line[at].encode()
            at += 1
        elif octal := re.match(r"[0-7]{3}", line[at + 1 :]):
            out.append(int(octal[0], 8) & 0xFF)
            at += 4
        else:
            out += _ESCAPES.get(line[at + 1 : at + 2], line[at + 1 : at + 2]).encode()
            at += 2
    return out.decode(errors="replace"), at + 1


class MiGdb:
    """A gdb that is driven by this interface. `listener(record)` gets what belongs to no command, in its own thread.

    Commands may come from any thread, one at a time.
    """

    def __init__(self, words: Sequence[str], listener: Callable[[MiRecord], None]) -> None:
        self._listener = listener
        self._program = subprocess.Popen(
            [*words, "-q", "-nx", "--interpreter=mi3"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )
        self._lock = threading.Lock()
        self._token = 0
        self._results: queue.Queue[MiRecord | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def command(self, text: str) -> Mapping[str, MiValue]:
        """Run a command, and wait for its result. Raises `MiError`."""
        with self._lock:
            self._token += 1
            try:
                assert self._program.stdin is not None
                self._program.stdin.write(f"{self._token}{text}\n".encode())
                self._program.stdin.flush()
            except OSError:
                raise MiError("gdb has ended") from None
            while True:
                try:
                    record = self._results.get(timeout=_SECONDS)
                except queue.Empty:
                    raise MiError(f"gdb does not answer {text.split()[0]}") from None
                if record is None:
                    self._results.put(None)
                    raise MiError("gdb has ended")
                if record.token == self._token:
                    break
        if record.name == "error":
            raise MiError(str(record.results.get("msg", "gdb has refused the command")))
        return record.results

    def interrupt(self) -> None:
        """Stop the program, as Ctrl-C does."""
        if self._program.poll() is None:
            self._program.send_signal(signal.SIGINT)

    def close(self) -> None:
        """End it."""
        if self._program.poll() is None:
            self._program.terminate()
        self._program.wait()
        for stream in (self._program.stdin, self._program.stdout):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self._program.stdout is not None
        try:
            for raw in self._program.stdout:
                record = parse_record(raw.decode(errors="replace").rstrip("\r\n"))
                if record is None:
                    continue
                if record.kind == "^":
                    self._results.put(record)
                else:
                    self._listener(record)
        except (OSError, ValueError):
            pass
        self._results.put(None)
        self._listener(MiRecord("=", "gone"))


def quoted(text: str) -> str:
    """A parameter of a command, as a C string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
