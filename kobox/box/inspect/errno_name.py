"""The kernel's name of an errno."""

from __future__ import annotations

import errno


def errno_name(number: int) -> str:
    """Such as "ENOENT", as the kernel's source has it; "errno N" for one that has no name here."""
    # Python's table has the other name of this one.
    return "EOPNOTSUPP" if number == errno.EOPNOTSUPP else errno.errorcode.get(number, f"errno {number}")
