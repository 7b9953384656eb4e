"""Boxes of Debian's full kernel, whose drivers the searches are for."""

from __future__ import annotations

from tests.devices.conftest import full_box, full_kernel_box

__all__ = ["full_box", "full_kernel_box"]
