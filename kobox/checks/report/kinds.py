"""The kinds of findings: what each means, and what to do about one. The table of docs/check.md in short."""

from __future__ import annotations

from typing import NamedTuple


class FindingKind(NamedTuple):
    """`means` in one sentence; `advice` what to do when the finding itself does not say it better."""

    means: str
    advice: str


KINDS: dict[str, FindingKind] = {
    "out-of-bounds": FindingKind(
        "Memory beside an object was read or written.",
        "Compare the index or length with the size of what was allocated.",
    ),
    "use-after-free": FindingKind(
        "Memory was used after it had been freed.",
        "Free it after its last user is gone, or let the users hold a reference.",
    ),
    "double-free": FindingKind("Memory was freed twice.", "Free it in one place, and set the pointer to NULL there."),
    "invalid-free": FindingKind(
        "Something was freed that is not the start of an allocation, or not of that allocator.",
        "Free the pointer that the allocator returned, with the function that belongs to it.",
    ),
    "uninitialised-read": FindingKind(
        "Uninitialised memory was copied to user space.", "Use kzalloc(), or set every member and the padding."
    ),
    "wild-access": FindingKind(
        "A pointer that points at nothing was followed.", "Find out where the pointer comes from."
    ),
    "null-pointer": FindingKind(
        "A NULL pointer was followed.", "Test the pointer, or make sure that it is set before."
    ),
    "user-pointer": FindingKind(
        "A pointer of user space was followed without the copy functions.",
        "Use copy_from_user(), copy_to_user(), get_user() or put_user().",
    ),
    "device-controlled": FindingKind(
        "A number that came from the device led to memory that is not the driver's.",
        "Check what the device says (lengths, indexes, counts, offsets) before it is used.",
    ),
    "leak": FindingKind(
        "Memory is still allocated though nobody can free it any more.",
        "Free it in the exit function, and on each error path.",
    ),
    "left-behind": FindingKind(
        "Something that the module made is still there after it is gone.",
        "Undo in the exit function, and on init's error paths, what init has done, in reverse order.",
    ),
    "reference-leak": FindingKind(
        "A reference that the module took was never given back.", "Give it back on each way out of the function."
    ),
    "use-after-return": FindingKind(
        "The kernel still knows an object on the stack of a function that has returned.",
        "Take it off all lists and queues before the function returns.",
    ),
    "dma-mismatch": FindingKind(
        "DMA memory was given back with another size or direction than it has.",
        "Keep the size beside the address, and give both back.",
    ),
    "preemptible-cpu": FindingKind(
        "The number or the variables of this CPU were used where the task may move to another one.",
        "Use get_cpu() and put_cpu(), or get_cpu_ptr() and put_cpu_ptr().",
    ),
    "overlapping-copy": FindingKind("memcpy() was given ranges that overlap.", "Use memmove()."),
    "format-string": FindingKind("The format of a function that prints is data.", 'Pass it as an argument of "%s".'),
    "shift-out-of-range": FindingKind(
        "A number was shifted by more bits than it has.", "Compare the number of bits with the size first."
    ),
    "division-by-zero": FindingKind(
        "A number was divided by zero.", "Compare the divisor with 0 first, and refuse it."
    ),
    "positive-errno": FindingKind("init or probe returned a number above zero.", "Return a negative error code."),
    "returns-too-much": FindingKind(
        "read() or write() returned more bytes than it was asked for.", "Return what was copied, at most the count."
    ),
    "atomic-sleep": FindingKind(
        "Something that may sleep was called where nothing may sleep.",
        "Use GFP_ATOMIC, a spinlock, or move the work to a workqueue.",
    ),
    "lock-imbalance": FindingKind(
        "A lock was not released, or released without being held.", "Release it on each way out of the function."
    ),
    "lock-order": FindingKind("Two locks were taken in opposite orders.", "Take them in one order everywhere."),
    "self-deadlock": FindingKind(
        "A lock was taken that its taker holds already.", "Split off a function that is called with the lock held."
    ),
    "irq-unsafe-lock": FindingKind(
        "A lock that an interrupt takes was held where that interrupt may come.",
        "Take it with spin_lock_irqsave() or spin_lock_bh() wherever that interrupt may come.",
    ),
    "double-unlock": FindingKind("A lock was released that was not held.", "Release it once on each way."),
    "kernel-warning": FindingKind("The kernel printed a warning.", "Its lines say what it did not expect."),
    "kernel-bug": FindingKind(
        "The kernel found its own data spoilt.", "Its lines say what is wrong; look at what the module did last."
    ),
    "oops": FindingKind(
        "The kernel met an exception that it cannot handle.",
        "Look at the first frame of the call chain that is the module's.",
    ),
    "panic": FindingKind(
        "The kernel has stopped for good.", "Look at the first frame of the call chain that is the module's."
    ),
    "hang": FindingKind(
        "A call did not come back.",
        "Look for a loop that does not end, a lock taken twice, a wait without its wake-up.",
    ),
    "unchecked-return": FindingKind(
        "The result of a call that can fail is used unchecked.", "Test the result, and leave by the error path."
    ),
    "not-finished": FindingKind(
        "A run could not be brought to its end: the process that it ran in has died, or took too long.",
        "Report it to kobox, with the module.",
    ),
    "reload-failed": FindingKind(
        "The module loads once, and not again.", "Undo in the exit function what init has done."
    ),
    "exercise-failed": FindingKind(
        "The exercise met something that it did not expect.", "Run it by itself: `kobox run`, or pytest."
    ),
    "race": FindingKind(
        "Code that was interrupted at the wrong moment went wrong.",
        "Take the lock before the first look at the shared data.",
    ),
    "data-race": FindingKind(
        "Two CPUs touch the same bytes at the same moment, one of them writes, and no lock keeps them apart.",
        "Take one lock in both, or use atomic operations.",
    ),
    "stack-depth": FindingKind("The stack was used deeply.", "Allocate large local variables with kmalloc()."),
    "interrupts-off": FindingKind(
        "Interrupts were off for long.", "Do the work outside of the lock, or use a threaded interrupt handler."
    ),
    "printk-rate": FindingKind("Messages are printed again and again.", "Use pr_*_ratelimited(), or pr_debug()."),
    "taint": FindingKind("The module taints the kernel.", "Sign it, and give it a licence that the kernel knows."),
    "module-info": FindingKind(
        "The module does not say what it should.", "Add MODULE_LICENSE() and MODULE_DESCRIPTION()."
    ),
    "refused-elsewhere": FindingKind("Another kernel refuses to load it.", "Build it for that kernel too."),
    "no-exit": FindingKind(
        "The module has an init function and no exit function, so it can never be unloaded.", "Add module_exit()."
    ),
}


def kind_of(name: str) -> FindingKind:
    """What a kind means; a kind that the table lacks says its own name."""
    return KINDS.get(name, FindingKind(name.replace("-", " ").capitalize() + ".", ""))
