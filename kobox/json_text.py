"""JSON that somebody else has written."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - what json.loads gives
    """The value that a text is. Raises `ValueError`, also for brackets that are nested too deeply, for which
    `json.loads` raises RecursionError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
