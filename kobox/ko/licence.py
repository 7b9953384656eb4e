"""Licences of modules."""

from __future__ import annotations

GPL_COMPATIBLE = (
    "GPL",
    "GPL v2",
    "GPL and additional rights",
    "Dual BSD/GPL",
    "Dual MIT/GPL",
    "Dual MPL/GPL",
)
"""What MODULE_LICENSE() must say for a module to use GPL-only symbols: license_is_gpl_compatible() in
include/linux/license.h. Anything else taints the kernel (P)."""
