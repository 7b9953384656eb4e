"""A report of the kernel's about itself (an oops, a warning, a hung task): where it happened, in whose code.

    ------------[ cut here ]------------
    refcount_t: underflow; use-after-free.
    WARNING: CPU: 1 PID: 77 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110
    Modules linked in: hello(OE) loop
    RIP: 0010:refcount_warn_saturate+0xba/0x110
    Call Trace:
     hello_exit+0x12/0x20 [hello]
    ---[ end trace 0000000000000000 ]---

The register line is RIP on x86, pc on arm64 and arm, epc on riscv and mips, NIP on powerpc, Krnl PSW on s390, PC on
others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kobox.explain.log_lines import LogLine

_LONGEST = 120  # lines of a report that are looked at
_HEAD = 4  # lines of a report that can stand above "cut here"
_END = re.compile(r"---\[ end (?:trace|Kernel panic)|^={20,}$|^------------\[ cut here \]")
CUT_HERE = "------------[ cut here ]------------"
# Looked for in so much of a line (LOG_LINE_MAX in printk.c), and from the beginning of a word, not from each letter.
_LINE = 1024
_FRAME = re.compile(r"(?<![\w.$])(?P<function>[\w.$]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(?P<module>[\w-]+)[^\]]*\])?")
# epc : 80123456 hello_init+0x10/0x40 [hello], and powerpc's older PC is at hello_init [hello]
_SHORT_FRAME = re.compile(r"(?P<function>[A-Za-z_][\w.$]*)(?:\+0x[0-9a-f]+)? \[(?P<module>(?=[\w-]*[A-Za-z])[\w-]+)\]")
_COUNTER = re.compile(r"^(?:RIP|EIP|pc|PC|epc|NIP|Krnl PSW|IAOQ|ip|ERA|PC is at|IP:?)\b")
_LINKED = re.compile(r"^Modules linked in: ?(?P<modules>.*)")
_FOREIGN = re.compile(r"(?<![\w-])(?P<module>[\w-]+)\([A-Z]*[OEP][A-Z]*[+-]?\)")
_INNER = re.compile(
    r"^(?:dump_stack|show_stack|dump_backtrace|__warn|report_bug|handle_bug|exc_|asm_exc_|die|oops_|do_trap|warn_)"
)
_WAITS = {
    "kthread_stop": "kthread_stop() waits for a thread that does not look at kthread_should_stop()",
    "kthread_park": "kthread_park() waits for a thread that does not look at kthread_should_park()",
    "wait_for_completion": "nobody calls complete()",
    "cancel_work_sync": "a work item does not end",
    "__cancel_work_timer": "a work item does not end",
    "flush_work": "a work item does not end",
    "__flush_work": "a work item does not end",
    "flush_workqueue": "a work item does not end",
    "__flush_workqueue": "a work item does not end",
    "destroy_workqueue": "a work item does not end",
    "netdev_run_todo": "a network device is still referred to",
    "netdev_wait_allrefs": "a network device is still referred to",
    "netdev_wait_allrefs_any": "a network device is still referred to",
    "napi_disable": "NAPI is disabled twice, or its poll function does not end",
    "proc_entry_rundown": "a file of /proc is still open or in use",
    "remove_proc_entry": "a file of /proc is still open or in use",
    "kernfs_drain": "a file of sysfs is removed by its own function, or is still in use",
    "__kernfs_remove": "a file of sysfs is removed by its own function, or is still in use",
    "blk_mq_freeze_queue_wait": "requests of a disk do not end",
    "usb_kill_urb": "a USB request does not end",
    "synchronize_rcu": "an RCU reader does not end",
    "rcu_barrier": "an RCU callback does not end",
    "__synchronize_srcu": "an SRCU reader does not end",
    "request_module": "a modprobe that the kernel started does not end",
    "__request_module": "a modprobe that the kernel started does not end",
    "firmware_fallback_sysfs": "user space does not give the firmware",
    "mutex_lock": "a mutex is not released: a deadlock",
    "__mutex_lock": "a mutex is not released: a deadlock",
    "__mutex_lock_slowpath": "a mutex is not released: a deadlock",
    "rwsem_down_write_slowpath": "a semaphore is not released: a deadlock",
    "rwsem_down_read_slowpath": "a semaphore is not released: a deadlock",
    "down": "a semaphore is not released",
    "__down": "a semaphore is not released",
}


@dataclass(frozen=True, slots=True)
class CrashReport:
    """What a report's lines say. `module` and `function` are where it happened, "" where no module took part.

    `functions` are those of the call trace, the innermost first; `foreign` the modules of other origin that are loaded.
    `end` is the number of the line behind the report; `said` the sentence that stands above its first line.
    """

    module: str
    function: str
    functions: tuple[str, ...]
    foreign: tuple[str, ...]
    end: int
    said: str = ""

    @property
    def where(self) -> str:
        """`in hello_exit() of the module hello`, or as much of it as is known."""
        if not self.function:
            return ""
        return f"in {self.function}()" + (f" of the module {self.module}" if self.module else "")

    @property
    def waits(self) -> str:
        """What it waits for, by the functions of the call trace."""
        return next((f": {_WAITS[name]}" for name in self.functions if name in _WAITS), "")


def read_report(lines: Sequence[LogLine], start: int) -> CrashReport:
    """The report whose first line has the number `start`."""
    above = lines[start - 1].plain if start and lines[max(start - 2, 0)].plain == CUT_HERE else ""
    counter: tuple[str, str] | None = None
    frames: list[tuple[str, str]] = []
    foreign: list[str] = []
    end = min(len(lines), start + _LONGEST)
    for number in range(start, end):
        plain = lines[number].plain
        if number > start and _END.search(plain) and not (plain == CUT_HERE and number < start + _HEAD):
            end = number + 1 if "end" in plain else number
            break
        if linked := _LINKED.match(plain):
            foreign += [match["module"] for match in _FOREIGN.finditer(linked["modules"][:20000])]
            continue
        frame = _FRAME.search(plain, 0, _LINE) or _SHORT_FRAME.search(plain, 0, _LINE)
        if frame is None or plain.startswith(("Hardware name", "Workqueue")):
            continue
        found = (frame["function"], frame["module"] or "")
        if counter is None and _COUNTER.match(plain):
            counter = found
        elif found not in frames:
            frames.append(found)
    return _report(counter, frames, foreign, end, above)


def _report(
    counter: tuple[str, str] | None, frames: list[tuple[str, str]], foreign: list[str], end: int, said: str
) -> CrashReport:
    candidates = [*([counter] if counter else []), *frames]
    place = next((one for one in candidates if one[1]), None) or next(
        (one for one in candidates if not _INNER.match(one[0])), ("", "")
    )
    functions = tuple(name for name, _ in candidates)
    return CrashReport(place[1].replace("-", "_"), place[0], functions, tuple(dict.fromkeys(foreign)), end, said)
