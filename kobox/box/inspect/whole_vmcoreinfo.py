"""The whole vmcoreinfo of a kernel, as its memory has it (kernel/vmcore_info.c, before 6.9 kernel/crash_core.c)."""

from __future__ import annotations

from kobox.box.inspect.objects import Objects
from kobox.errors import KoboxError

_MOST = 0xFFFF  # VMCOREINFO_BYTES is a page


def whole_vmcoreinfo(objects: Objects) -> bytes:
    """Its text: a fact a line. Raises `KoboxError` where the kernel has none."""
    try:
        at, size = (objects.pointer(objects.address(name)) for name in ("vmcoreinfo_data", "vmcoreinfo_size"))
        return objects.read(at, size & _MOST)
    except (KoboxError, ValueError) as error:
        raise KoboxError(f"this kernel's vmcoreinfo cannot be read: {error}") from None
