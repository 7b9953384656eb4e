"""The kinds of findings: what each means, and what to do about one. The table of docs/check.md in short."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """`means` in one sentence; `advice` what to do when the finding itself does not say it better."""

    means: str
    advice: str


KINDS: dict[str, Kind] = {
    "out-of-bounds": Kind(
        "Memory beside an object was read or written.",
        "Compare the index or length with the size of what was allocated.",
    ),
    "use-after-free": Kind(
        "Memory was used after it had been freed.",
        "Free it after its last user is gone, or let the users hold a reference.",
    ),
    "double-free": Kind("Memory was freed twice.", "Free it in one place, and set the pointer to NULL there."),
    "invalid-free": Kind(
        "Something was freed that is not the start of an allocation, or not of that allocator.",
        "Free the pointer that the allocator returned, with the function that belongs to it.",
    ),
    "uninitialised-read": Kind(
        "Memory that nobody has written to went to user space.", "Use kzalloc(), or set every member and the padding."
    ),
    "wild-access": Kind("A pointer that points at nothing was followed.", "Find out where the pointer comes from."),
    "null-pointer": Kind("A NULL pointer was followed.", "Test the pointer, or make sure that it is set before."),
    "user-pointer": Kind(
        "A pointer of user space was followed without the copy functions.",
        "Use copy_from_user(), copy_to_user(), get_user() or put_user().",
    ),
    "leak": Kind(
        "Memory is still allocated though nobody can free it any more.",
        "Free it in the exit function, and on each error path.",
    ),
    "left-behind": Kind(
        "Something that the module made is still there after it is gone.",
        "Undo in the exit function, and on init's error paths, what init has done, in reverse order.",
    ),
    "atomic-sleep": Kind(
        "Something that may sleep was called where nothing may sleep.",
        "Use GFP_ATOMIC, a spinlock, or move the work to a workqueue.",
    ),
    "lock-imbalance": Kind(
        "A lock was not released, or released without being held.", "Release it on each way out of the function."
    ),
    "lock-order": Kind("Two locks were taken in opposite orders.", "Take them in one order everywhere."),
    "self-deadlock": Kind(
        "A lock was taken that its taker holds already.", "Split off a function that is called with the lock held."
    ),
    "irq-unsafe-lock": Kind(
        "A lock that an interrupt takes was held where that interrupt may come.",
        "Take it with spin_lock_irqsave() or spin_lock_bh() wherever that interrupt may come.",
    ),
    "double-unlock": Kind("A lock was released that was not held.", "Release it once on each way."),
    "kernel-warning": Kind("The kernel printed a warning.", "Its lines say what it did not expect."),
    "kernel-bug": Kind(
        "The kernel found its own data spoilt.", "Its lines say what is wrong; look at what the module did last."
    ),
    "oops": Kind(
        "The kernel met an exception that it cannot handle.",
        "Look at the first frame of the call chain that is the module's.",
    ),
    "panic": Kind(
        "The kernel has stopped for good.", "Look at the first frame of the call chain that is the module's."
    ),
    "hang": Kind(
        "A call did not come back.",
        "Look for a loop that does not end, a lock taken twice, a wait without its wake-up.",
    ),
    "unchecked-return": Kind(
        "The result of a call that can fail is used unchecked.", "Test the result, and leave by the error path."
    ),
    "not-finished": Kind(
        "A run could not be brought to its end: the process that it ran in has died, or took too long.",
        "Report it to kobox, with the module.",
    ),
    "reload-failed": Kind("The module loads once, and not again.", "Undo in the exit function what init has done."),
    "exercise-failed": Kind(
        "The exercise met something that it did not expect.", "Run it by itself: `kobox run`, or pytest."
    ),
    "race": Kind(
        "Code that was interrupted at the wrong moment went wrong.",
        "Take the lock before the first look at the shared data.",
    ),
    "stack-depth": Kind("The stack was used deeply.", "Allocate large local variables with kmalloc()."),
    "interrupts-off": Kind(
        "Interrupts were off for long.", "Do the work outside of the lock, or use a threaded interrupt handler."
    ),
    "printk-rate": Kind("Messages are printed again and again.", "Use pr_*_ratelimited(), or pr_debug()."),
    "taint": Kind("The module taints the kernel.", "Sign it, and give it a licence that the kernel knows."),
    "module-info": Kind("The module does not say what it should.", "Add MODULE_LICENSE() and MODULE_DESCRIPTION()."),
    "refused-elsewhere": Kind("Another kernel refuses to load it.", "Build it for that kernel too."),
    "no-exit": Kind(
        "The module has an init function and no exit function, so it can never be unloaded.", "Add module_exit()."
    ),
}


def kind_of(name: str) -> Kind:
    """What a kind means; a kind that the table lacks says its own name."""
    return KINDS.get(name, Kind(name.replace("-", " ").capitalize() + ".", ""))
