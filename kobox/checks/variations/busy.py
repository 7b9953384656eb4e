"""A life in which the module is to be unloaded while its files are open.

A character device whose file operations have no .owner does not hold the module: the kernel unloads it, and the next
call on the file runs in memory that is gone. (Files of procfs, sysfs and debugfs are guarded by those file systems.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kobox.checks.runner.session import Exercise

if TYPE_CHECKING:
    from kobox.box.box import Box
    from kobox.checks.module.files import Target

_MANY = 4  # devices


def unload_while_open(name: str, targets: Callable[[Box], Sequence[Target]]) -> Exercise:
    """The exercise that does so with each device of the module `name`, until the module is gone."""

    def exercise(box: Box) -> None:
        for target in [target for target in targets(box) if target.is_device][:_MANY]:
            with suppress(OSError):
                if target.node:
                    box.syscall("mknod", *target.node)
            try:
                fd = box.syscall("open", target.path, target.flags | os.O_NONBLOCK, 0)
            except OSError:
                continue
            with suppress(OSError):
                box.syscall("delete_module", name, os.O_NONBLOCK)
                return  # it is gone, and the file is still open
            with suppress(OSError):
                box.syscall("close", fd)

    return exercise
