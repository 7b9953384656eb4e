"""The lines of a module's source, where it is at hand: where it was built, or beside the module."""

from __future__ import annotations

from pathlib import Path

from kobox.ko.modulefile import ModuleFile

_LARGEST = 4 << 20


class SourceLines:
    """The sources of one module file."""

    def __init__(self, file: ModuleFile) -> None:
        self._file = file
        self._lines: dict[str, list[str]] = {}

    def line(self, name: str, number: int) -> str:
        """A line of a source by the name that `Frame.file` has; "" when it is not at hand."""
        if name not in self._lines:
            self._lines[name] = self._read(name)
        lines = self._lines[name]
        return lines[number - 1] if 0 < number <= len(lines) else ""

    def _read(self, name: str) -> list[str]:
        beside = Path(self._file.path).parent
        for place in (Path(self._file.debug.root) / name, beside / name, beside / Path(name).name):
            try:
                if place.is_file() and place.stat().st_size <= _LARGEST:
                    return place.read_text(errors="replace").splitlines()
            except OSError:
                continue
        return []
