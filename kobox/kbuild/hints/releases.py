"""Kernel releases in their order: "6.1.0-56-cloud-amd64" is 6.1."""

from __future__ import annotations

import re


def ordered(release: str) -> tuple[int, int]:
    """A release's version and patch level; (0, 0) for a text that begins with none."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)
