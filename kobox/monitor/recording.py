"""A recording: what a monitor read of a kernel, look by look, in a file from which `kobox top` shows it again.

    {"recording": 1, "host": "web1", "release": "6.1.0-56-amd64", "began": 1700000000.0}
    {"at": 0.0, "files": {"/proc/modules": "loop 40960 …"}, "dirs": {"/sys/module/loop/sections": […]}, "links": {…}}
    {"at": 2.0, "files": {"/proc/modules": …, "/sys/module/loop/parameters/max_loop": null}, "log": [[6, 93.1, "…"]]}

One JSON object a line: a look has what is new since the last one; null is a file that is gone. A line is written at
once, so a kill costs the last line at most, and a line that is cut off is not read.
"""

from __future__ import annotations

import errno
import json
import os
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import IO, TypeVar

from kobox.errors import KoboxError
from kobox.json_text import parse_json
from kobox.kernel.interface import DeleteFlags, InitFlags, Kernel
from kobox.monitor.log_source import KernelLine
from kobox.monitor.module_facts import module_facts
from kobox.monitor.status import KernelModules

FORMAT = 1
_FACTS_EVERY = 10  # looks: sections, devices and memory of all modules
_LONGEST_FILE = 1 << 20  # bytes of one file of the kernel's that are kept
_Table = TypeVar("_Table", str, list[str])


class RecordingError(KoboxError):
    """A file is no recording, or cannot be written."""


class RecordedFiles:
    """Files, directories and links of a kernel by their paths."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.dirs: dict[str, list[str]] = {}
        self.links: dict[str, str] = {}

    def tables(self) -> dict[str, dict[str, str] | dict[str, list[str]]]:
        """The three tables by the names that lines of a recording have for them."""
        return {"files": self.files, "dirs": self.dirs, "links": self.links}


class KernelRecorder(Kernel):
    """A kernel that writes to a file what is read of it; everything else goes through. `kernel` is the one below it.

    Raises `RecordingError` when the file cannot be made.
    """

    def __init__(self, kernel: Kernel, path: Path, host: str, began: float) -> None:
        self.problem = ""
        self._kernel, self._path, self._began = kernel, path, began
        self._now, self._written = RecordedFiles(), RecordedFiles()
        self._looks = 0
        try:
            self._file: IO[str] = path.open("w", encoding="utf-8")
            self._write({"recording": FORMAT, "host": host, "release": kernel.release, "began": began})
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}", hint="Name a file in a directory of your own.") from None

    def add(self, time: float, status: KernelModules, lines: Sequence[KernelLine]) -> None:
        """Write what is new. A full disk is a `problem`; what could not be written comes with the next look."""
        if self._looks % _FACTS_EVERY == 0:
            for name in status.modules:
                module_facts(self, name)
        self._looks += 1
        self._forget(status)
        change: dict[str, object] = {"at": round(time - self._began, 6)}
        change |= {
            title: difference
            for (title, now), old in zip(self._now.tables().items(), self._written.tables().values(), strict=True)
            if (difference := _difference(old, now))
        }
        if lines:
            change["log"] = [list(line) for line in lines]
        try:
            self._write(change)
        except OSError as error:
            self.problem = f"{self._path}: {error.strerror}; the recording has a gap"
            return
        self.problem = ""
        for old, now in zip(self._written.tables().values(), self._now.tables().values(), strict=True):
            old.clear()
            old.update(now)  # type: ignore[arg-type]

    def _forget(self, status: KernelModules) -> None:
        """What belongs to modules that are gone."""
        for table in self._now.tables().values():
            for path in [one for one in table if one.startswith("/sys/module/")]:
                if path.split("/")[3] not in status.modules:
                    del table[path]

    def _write(self, data: dict[str, object]) -> None:
        text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
        self._file.write(f"{text}\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()

    @property
    def release(self) -> str:
        """The kernel's."""
        return self._kernel.release

    def read_bytes(self, path: str) -> bytes:
        """Read, and remember."""
        try:
            data = self._kernel.read_bytes(path)
        except OSError:
            self._now.files.pop(path, None)
            raise
        self._now.files[path] = data[:_LONGEST_FILE].decode(errors="surrogateescape")
        return data

    def listdir(self, path: str) -> list[str]:
        """Read, and remember."""
        try:
            names = self._kernel.listdir(path)
        except OSError:
            self._now.dirs.pop(path, None)
            raise
        self._now.dirs[path] = list(names)
        return names

    def readlink(self, path: str) -> str:
        """Read, and remember."""
        self._now.links[path] = target = self._kernel.readlink(path)
        return target

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        """The kernel's."""
        return self._kernel.stat(path, follow_symlinks=follow_symlinks)

    def write_bytes(self, path: str, data: bytes) -> None:
        """The kernel's."""
        self._kernel.write_bytes(path, data)

    def mkdir(self, path: str) -> None:
        """The kernel's."""
        self._kernel.mkdir(path)

    def rmdir(self, path: str) -> None:
        """The kernel's."""
        self._kernel.rmdir(path)

    def init_module(self, image: bytes, parameters: str = "", flags: InitFlags = InitFlags.NONE) -> None:
        """The kernel's."""
        self._kernel.init_module(image, parameters, flags)

    def delete_module(self, name: str, flags: DeleteFlags = DeleteFlags.NONBLOCK) -> None:
        """The kernel's."""
        self._kernel.delete_module(name, flags)


class KernelRecording(Kernel):
    """A recording as a kernel that cannot be changed, at one of its looks; `seek` goes to another.

    As a `LogSource` it gives the lines of the looks that were gone to. Raises `RecordingError` for a file that is no
    recording.
    """

    problem = ""
    lost = 0

    def __init__(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}", hint="`kobox monitor --record FILE` makes one.") from None
        head, *rows = text.split("\n")[:-1] or [""]
        try:
            about = dict(parse_json(head))
            if about.get("recording") != FORMAT:
                raise ValueError(f"it is of format {about.get('recording')!r}")
            self._release, self.host = str(about["release"]), str(about["host"])
            self.began = float(about["began"])
            self._looks = [_Look(parse_json(row)) for row in rows]
            if not self._looks:
                raise ValueError("it has no look")
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise RecordingError(
                f"{path}: no recording: {error}", hint="`kobox monitor --record FILE` makes one."
            ) from None
        self._times = [look.at for look in self._looks]
        self._lines: list[KernelLine] = []
        self._state = RecordedFiles()
        self._index = -1
        self.seek(0)

    @property
    def index(self) -> int:
        """The number of the look, from 0."""
        return self._index

    @property
    def length(self) -> int:
        """How many looks there are."""
        return len(self._looks)

    @property
    def time(self) -> float:
        """When the look was made, in seconds since the epoch."""
        return self.began + self._times[self._index]

    def at(self, seconds: float) -> int:
        """The last look that was made so many seconds after the start, or before."""
        return max(0, bisect_right(self._times, seconds) - 1)

    def seek(self, index: int) -> None:
        """Go to a look, forwards or back; a number behind the last is the last."""
        index = min(max(index, 0), len(self._looks) - 1)
        if index < self._index:
            self._state, self._index, self._lines = RecordedFiles(), -1, []
        for look in self._looks[self._index + 1 : index + 1]:
            look.apply(self._state)
            self._lines += look.lines
        self._index = index

    def new_lines(self) -> list[KernelLine]:
        """The log's lines of the looks that were gone to since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def fileno(self) -> int:
        """-1: nothing becomes readable."""
        return -1

    def close(self) -> None:
        """See `LogSource`."""

    @property
    def release(self) -> str:
        """The kernel's."""
        return self._release

    def read_bytes(self, path: str) -> bytes:
        """What was read there."""
        return _recorded(self._state.files, path).encode(errors="surrogateescape")

    def listdir(self, path: str) -> list[str]:
        """What was there."""
        return list(_recorded(self._state.dirs, path))

    def readlink(self, path: str) -> str:
        """Where it led."""
        return _recorded(self._state.links, path)

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        """A recording has contents only."""
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def write_bytes(self, path: str, data: bytes) -> None:
        """Nothing in a recording can be changed."""
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    def init_module(self, image: bytes, parameters: str = "", flags: InitFlags = InitFlags.NONE) -> None:
        """Nothing can be loaded."""
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def delete_module(self, name: str, flags: DeleteFlags = DeleteFlags.NONBLOCK) -> None:
        """Nothing can be unloaded."""
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


class _Look:
    """A line of a recording. Raises `ValueError`, `KeyError` or `TypeError` for one that says nothing."""

    def __init__(self, data: object) -> None:
        if not isinstance(data, dict):
            raise ValueError("a line is no object")
        self.at = float(data["at"])
        if not isfinite(self.at):
            raise ValueError(f"a look at {self.at} seconds")
        self.files: dict[str, str | None] = _texts(data.get("files"))
        self.links: dict[str, str | None] = _texts(data.get("links"))
        self.dirs: dict[str, list[str] | None] = {
            str(path): None if names is None else [str(one) for one in names]
            for path, names in dict(data.get("dirs") or {}).items()
        }
        self.lines = [KernelLine(int(level) & 7, float(time), str(text)) for level, time, text in data.get("log") or ()]

    def apply(self, state: RecordedFiles) -> None:
        """Change what is known by what is new."""
        _apply(state.files, self.files)
        _apply(state.links, self.links)
        _apply(state.dirs, self.dirs)


def _texts(data: object) -> dict[str, str | None]:
    table = data if isinstance(data, dict) else {}
    return {str(path): None if text is None else str(text) for path, text in table.items()}


def _apply(table: dict[str, _Table], change: dict[str, _Table | None]) -> None:
    for path, value in change.items():
        if value is None:
            table.pop(path, None)
        else:
            table[path] = value


def _difference(
    old: dict[str, str] | dict[str, list[str]], now: dict[str, str] | dict[str, list[str]]
) -> dict[str, object]:
    change: dict[str, object] = {path: value for path, value in now.items() if old.get(path) != value}
    return change | dict.fromkeys(path for path in old if path not in now)


def _recorded(table: dict[str, _Table], path: str) -> _Table:
    if path not in table:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return table[path]
