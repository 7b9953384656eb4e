"""Whether this process is the command's own: only then may a command give up the process's rights for good."""

from __future__ import annotations

_state = {"own": False}


def claim() -> None:
    """Say that this process runs one command and ends with it."""
    _state["own"] = True


def is_own() -> bool:
    """Whether `claim` was called here. In tests, and in programs that call a command as a function, it was not."""
    return _state["own"]
