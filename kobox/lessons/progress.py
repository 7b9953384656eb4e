"""Which lessons somebody has done: $XDG_STATE_HOME/kobox/learn.json, {"format": 1, "done": {lesson: date}}."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from kobox.atomic_file import write_file

_FORMAT = 1


def state_file() -> Path:
    """Where progress is kept (XDG Base Directory Specification: relative values are ignored)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local/state") / "kobox" / "learn.json"


def done() -> dict[str, str]:
    """Lesson -> the day on which it was done. A file that cannot be read counts as none."""
    try:
        read = json.loads(state_file().read_bytes())
        return {str(name): str(day) for name, day in read["done"].items()} if read["format"] == _FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def remember(name: str) -> None:
    """Keep that a lesson is done today. Raises `OSError`."""
    known = {**done(), name: time.strftime("%Y-%m-%d")}
    state_file().parent.mkdir(parents=True, exist_ok=True)
    write_file(state_file(), json.dumps({"format": _FORMAT, "done": known}, indent=1).encode() + b"\n", mode=0o644)
