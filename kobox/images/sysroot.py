"""Tools."""

from pathlib import Path
from typing import Any


def complete_tools(archive: Any, kernel: Any, root: Path, headers: Path, progress: Any) -> None:
    """Later."""
