"""The names of modules' functions as /proc/kallsyms shows them, without the kernel's own hundred thousand.

The file's position is a number of bytes, and the kernel finds a position by writing out all that stands before it.
That takes longer than everything else that `inspect` looks at. So the file is opened, and its struct seq_file is set to
the number of the first symbol behind the kernel's own (fs/seq_file.c, seq_read_iter(): it goes on at `index` when
`read_pos` is the place that pread(2) names). The kernel's functions that show symbols are called as for anybody.
"""

from __future__ import annotations

from contextlib import suppress

from kobox.box.box import Box
from kobox.errors import KoboxError

_EARLIER = 32  # of the kernel's own symbols that are read too: the first line is one of them, or the number was wrong
_MOST = 16 << 20  # bytes: a module may answer without an end


def shown_symbols(box: Box) -> bytes:
    """The lines of /proc/kallsyms from the kernel's last symbols on, or all of them where that is not possible."""
    with suppress(KoboxError, OSError, ValueError):
        shown = _from(box, sum(1 for _ in box.inspect.symbols.of_the_kernel()) - _EARLIER)
        first = shown.partition(b"\n")[0]
        if first and not first.endswith(b"]"):
            return shown
    return box.read_bytes("/proc/kallsyms")


def opened_file(box: Box, fd: int) -> int:
    """The address of the struct file of a descriptor of the box's own process. Raises `ValueError`."""
    objects, own = box.inspect.objects, box.syscall("getpid")
    first = objects.address("init_task")
    for task in objects.list(objects.member(first, "task_struct.tasks"), "task_struct.tasks"):
        if objects.number(task, "task_struct.pid") == own:
            table = objects.number(objects.number(task, "task_struct.files"), "files_struct.fdt")
            return objects.u64(objects.number(table, "fdtable.fd") + 8 * fd)
    raise ValueError("no such task")


def _from(box: Box, number: int) -> bytes:
    """The lines from the symbol with this number on."""
    objects, memory = box.inspect.objects, box.inspect.memory
    fd = box.syscall("open", "/proc/kallsyms", 0)
    try:
        sequence = objects.number(opened_file(box, fd), "file.private_data")
        memory.write(objects.member(sequence, "seq_file.index"), number.to_bytes(8, "little"))
        memory.write(objects.member(sequence, "seq_file.read_pos"), (1).to_bytes(8, "little"))
        out, buffer = bytearray(), bytearray(1 << 16)
        while len(out) < _MOST and (count := box.syscall("pread64", fd, buffer, len(buffer), 1 + len(out))):
            out += buffer[:count]
        return bytes(out)
    finally:
        box.syscall("close", fd)
