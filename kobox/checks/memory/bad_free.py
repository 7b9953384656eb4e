"""Who is told of a free that is wrong."""

from __future__ import annotations

from collections.abc import Callable

from kobox.checks.memory.module_heap import Object
from kobox.checks.runner.session import Trace

BadFree = Callable[[str, str, Trace, Object | None, str], None]
"""Given its kind, a message, the calls, the object, and advice."""
