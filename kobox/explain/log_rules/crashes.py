"""Rules for oopses, warnings, hangs and what checkers (KASAN, lockdep, CFI …) report, of all architectures.

{where} is filled in from the report's lines: the first function of a module in RIP, pc, NIP … or in the call trace.
"""

from kobox.explain.log_rule import LogRule

_BUG = (
    "It is a bug in that code: `addr2line -e MODULE.ko OFFSET`, `kobox check` or scripts/faddr2line find the line. "
    "A module that died in its init or "
    "exit stays loaded until the next boot."
)
_HANG = (
    "It waits for something that does not come. In a module's exit function: tell the thread, work or user to end "
    "before "
    "you wait for it (kthread_should_stop(), wake_up(), complete())."
)
_X86 = "arch/x86/mm/fault.c, arch/x86/kernel/traps.c"
_DIED = ("EBUSY",)

RULES = (
    LogRule(
        "oops-null",
        (
            "BUG: kernel NULL pointer dereference, address: {hex}",
            "BUG: unable to handle kernel NULL pointer dereference",
            "BUG: Kernel NULL pointer dereference on",
            "Unable to handle kernel NULL pointer dereference",
            "Kernel NULL pointer dereference",
        ),
        "an oops (a crash in the kernel) {where}: a NULL pointer was followed",
        _BUG,
        _X86 + ", arch/{arm,arm64,powerpc,riscv,mips,s390}/mm/fault.c",
        _DIED,
        report=True,
    ),
    LogRule(
        "oops-page-fault",
        (
            "BUG: unable to handle page fault for address: {word}",
            "BUG: unable to handle kernel paging request",
            "BUG: Unable to handle kernel data access",
            "BUG: Unable to handle kernel instruction fetch",
            "Unable to handle kernel paging request",
            "Unable to handle kernel access to user memory",
            "Unable to handle kernel write to read-only memory",
            "Unable to handle kernel execute from non-executable memory",
            "Unable to handle kernel pointer dereference",
            "Unable to handle kernel data access",
            "Unable to handle kernel unaligned access",
            "Unhandled fault: {kind}",
            "Oops: Kernel access of bad area",
            "kernel tried to execute NX-protected page",
            "kernel tried to execute user page",
            "kernel tried to access user page",
            "BUG: unable to handle kernel",
        ),
        "an oops (a crash in the kernel) {where}: an address was used that is not mapped or not allowed: freed "
        "memory, a wild "
        "or a user pointer",
        _BUG + " User memory is reached with copy_from_user() and copy_to_user() only.",
        _X86 + ", arch/{arm,arm64,powerpc,riscv,mips,s390}/mm/fault.c",
        _DIED,
        report=True,
    ),
    LogRule(
        "oops-general-protection",
        ("general protection fault", "BUG: general protection"),
        "an oops (general protection fault) {where}: a pointer that is no address was followed, often memory that "
        "was freed before",
        _BUG,
        _X86,
        _DIED,
        report=True,
    ),
    LogRule(
        "no-endbr",
        ("Missing ENDBR: {function}", "traps: Missing ENDBR: {function}", "Missing ENDBR"),
        "an indirect call went to code without ENDBR {where}: the kernel has IBT (Indirect Branch Tracking) on, "
        "and the module "
        "was built without it (an old binary blob, or another configuration)",
        "Build it with CONFIG_X86_KERNEL_IBT's flags (-fcf-protection=branch) and objtool, or boot with ibt=off.",
        "arch/x86/kernel/cet.c, traps.c",
        _DIED,
        report=True,
    ),
    LogRule(
        "cfi",
        (
            "CFI failure at {where_}",
            "CFI failure (target:",
            "CFI failure",
            "Control protection exception",
            "kernel: CFI failure",
        ),
        "a CFI failure (control flow integrity) {where}: a function was called through a pointer of another type",
        "Make the callback's prototype exactly that of the pointer; build the module with the kernel's own "
        "compiler and "
        "configuration (CONFIG_CFI_CLANG).",
        "kernel/cfi.c",
        _DIED,
        report=True,
    ),
    LogRule(
        "return-thunk",
        (
            "Unpatched return thunk in use. This should not happen!",
            "missing return thunk: {symbol}",
            "missing return thunk",
            "WARNING: arch/x86/kernel/alternative.c:{number} apply_returns",
        ),
        "code without return thunks (the mitigation of Retbleed and SRSO) runs{also}: a module was built without "
        "objtool or "
        "with another compiler or configuration; the mitigation has a gap",
        'Build every module of another origin (marked O in "Modules linked in") again with this kernel\'s headers '
        "and objtool; "
        "binary drivers need a newer version.",
        "arch/x86/kernel/cpu/bugs.c, arch/x86/kernel/alternative.c",
        fatal=False,
        report=True,
    ),
    LogRule(
        "kernel-bug",
        ("kernel BUG at {place}!", "kernel BUG at {place}", "BUG: failure at {place}"),
        "the kernel stopped itself by BUG() {where} (at {place}): a condition that must never be false was",
        _BUG,
        "include/asm-generic/bug.h",
        _DIED,
        report=True,
    ),
    LogRule(
        "oops-instruction",
        (
            "invalid opcode: {number}",
            "Oops - undefined instruction",
            "Oops - illegal instruction",
            "Internal error: Oops - undefined instruction",
            "Reserved instruction in kernel code",
            "unhandled opcode",
        ),
        "an oops {where}: code that is no instruction of this processor was reached (BUG(), a wild call, or a "
        "module for another CPU)",
        _BUG,
        "arch/*/kernel/traps.c",
        _DIED,
        report=True,
    ),
    LogRule(
        "oops-divide",
        ("divide error: {number}", "divide error", "Division by zero in kernel"),
        "an oops {where}: a division by zero",
        _BUG,
        "arch/*/kernel/traps.c",
        _DIED,
        report=True,
    ),
    LogRule(
        "stack-overflow",
        (
            "kernel stack overflow",
            "stack guard page was hit",
            "BUG: stack guard page was hit",
            "Kernel stack overflow",
            "double fault: {number}",
            "stack-protector: Kernel stack is corrupted in: {symbol}",
            "Kernel stack is corrupted in",
            "corrupted stack end detected inside scheduler",
        ),
        "the kernel's stack (16 KiB, 8 KiB on small machines) was overrun {where}",
        "No large arrays on the stack, no endless recursion; `scripts/checkstack.pl` finds the functions that need "
        "most.",
        "arch/*/mm/fault.c, kernel/panic.c",
        _DIED,
        report=True,
    ),
    LogRule(
        "kasan",
        ("BUG: KASAN: {kind} in {function}", "BUG: KFENCE: {kind} in {function}", "BUG: KMSAN: {kind} in {function}"),
        "a memory error was detected: {kind} in {function}",
        "The report's two call traces show where the memory was allocated and freed; `kobox check` finds the line.",
        "mm/kasan/report.c, mm/kfence/report.c, mm/kmsan/report.c",
        report=True,
    ),
    LogRule(
        "data-race",
        ("BUG: KCSAN: {kind} in {function}",),
        "KCSAN: {kind} in {function}: two CPUs touch the same memory without a lock",
        "Protect it with a lock, or READ_ONCE()/WRITE_ONCE() if the race is meant.",
        "kernel/kcsan/report.c",
        report=True,
    ),
    LogRule(
        "ubsan",
        ("UBSAN: {kind} in {place}",),
        "undefined behaviour: {kind} at {place}",
        "Mend the code there; flexible arrays are declared as type name[], not [1].",
        "lib/ubsan.c",
        fatal=False,
        report=True,
    ),
    LogRule(
        "slab-corruption",
        (
            "BUG {cache} ({taint}): {problem}",
            "BUG {cache} (Not tainted): {problem}",
            "slab: double free detected in cache '{cache}'",
            "Slab corruption ({taint}): {cache}",
        ),
        "the memory of slab cache {cache} is damaged {where}: written after it was freed or beyond its end, or "
        "freed twice",
        "`kobox check` finds the write; on a kernel of your own, KASAN does.",
        "mm/slub.c, mm/slab.c",
        report=True,
    ),
    LogRule(
        "list-corruption",
        ("list_add corruption", "list_del corruption", "list_add double add"),
        "a linked list is damaged {where}: an element was added twice, removed twice, or freed while it was in the "
        "list",
        "list_del() before the element is freed; a lock round every change of the list.",
        "lib/list_debug.c",
        report=True,
    ),
    LogRule(
        "refcount",
        ("refcount_t: {kind}; {result}", "refcount_t: {kind}", "kref_put without"),
        "a reference count went wrong {where}: {kind}: one put too many, or a use after the last put",
        "Balance every get with one put.",
        "lib/refcount.c",
        report=True,
    ),
    LogRule(
        "usercopy",
        (
            "usercopy: Kernel memory exposure attempt detected from {what}",
            "usercopy: Kernel memory overwrite attempt detected to {what}",
            "Buffer overflow detected ({number} < {number})",
            "detected buffer overflow in {function}",
            "memcpy: detected field-spanning write",
            "detected field-spanning write",
        ),
        "more bytes were copied than the object has {where}",
        "Check the length that user space gives against the buffer's size before copying.",
        "mm/usercopy.c, lib/string_helpers.c",
        _DIED,
        report=True,
    ),
    LogRule(
        "sleep-in-atomic",
        (
            "BUG: sleeping function called from invalid context at {place}",
            "BUG: scheduling while atomic: {program}",
            "BUG: workqueue leaked lock or atomic",
        ),
        "something that sleeps was called where sleeping is forbidden {where}: under a spinlock, in an interrupt, "
        "with preemption off",
        "GFP_ATOMIC in place of GFP_KERNEL there, a mutex in place of the spinlock, or a work item.",
        "kernel/sched/core.c",
        report=True,
    ),
    LogRule(
        "lockdep",
        (
            "WARNING: possible circular locking dependency detected",
            "WARNING: possible recursive locking detected",
            "WARNING: inconsistent lock state",
            "WARNING: bad unlock balance detected",
            "WARNING: suspicious RCU usage",
            "WARNING: held lock freed",
            "possible circular locking dependency detected",
            "possible recursive locking detected",
            "inconsistent lock state",
            "INFO: trying to register non-static key",
            "INFO: possible recursive locking detected",
            "BUG: Invalid wait context",
        ),
        "lockdep: locks are taken in a way that can deadlock {where}",
        "Take the locks in one order everywhere, and with interrupts off (spin_lock_irqsave) where an interrupt "
        "takes them, too.",
        "kernel/locking/lockdep.c",
        report=True,
    ),
    LogRule(
        "hung-task",
        ("INFO: task {task} blocked for more than {number} seconds", "INFO: task {task} blocked on a mutex"),
        "the task {task} has been waiting for more than {number} seconds {where}{waits}",
        _HANG,
        "kernel/hung_task.c",
        report=True,
    ),
    LogRule(
        "soft-lockup",
        (
            "watchdog: BUG: soft lockup - CPU#{number} stuck for {time}!",
            "BUG: soft lockup - CPU#{number} stuck for {time}!",
            "Watchdog detected hard LOCKUP on cpu",
            "watchdog: Watchdog detected hard LOCKUP",
            "NMI watchdog: BUG: soft lockup",
            "INFO: rcu_{word} detected stalls on CPUs/tasks",
            "INFO: rcu_{word} self-detected stall on CPU",
            "rcu: INFO: rcu_{word} detected expedited stalls",
            "INFO: rcu_{word} detected expedited stalls",
            "BUG: workqueue lockup",
            "BUG: spinlock lockup suspected",
        ),
        "kernel code keeps a CPU for itself {where}: an endless loop, or a lock that nobody releases",
        "End the loop by a limit, call cond_resched() in long ones, and release every lock on every path.",
        "kernel/watchdog.c, kernel/rcu/tree_stall.h",
        report=True,
    ),
    LogRule(
        "netdev-held",
        ("unregister_netdevice: waiting for {device} to become free",),
        "the network device {device} cannot go: somebody still holds a reference to it",
        "dev_put() for every dev_hold(); end what uses it (routes, sockets, namespaces) before the module is unloaded.",
        "net/core/dev.c",
    ),
    LogRule(
        "cache-in-use",
        (
            "Objects remaining in {cache} on __kmem_cache_shutdown",
            "kmem_cache_destroy {cache}: Slab cache still has objects",
            "BUG {cache}: Objects remaining",
            "slab error in kmem_cache_destroy(): cache `{cache}'",
        ),
        "the slab cache {cache} was destroyed while objects of it were still there: a leak",
        "Free every object before kmem_cache_destroy(); rcu_barrier() first where they are freed by RCU.",
        "mm/slub.c",
        report=True,
    ),
    LogRule(
        "kobject-twice",
        (
            "kobject: '{name}' ({hex}): tried to init an initialized object",
            "tried to init an initialized object",
            "does not have a release() function, it is broken",
            "is not initialized, yet kobject_put() is being called",
        ),
        "a kobject (or device) is used wrongly {where}: initialised twice, without release(), or put before it was "
        "initialised",
        "Initialise it once; memory of a device is freed in its release() function only.",
        "lib/kobject.c, drivers/base/core.c",
        report=True,
    ),
    LogRule(
        "page-state",
        (
            "BUG: Bad page state in process {program}",
            "BUG: Bad page map in process {program}",
            "BUG: Bad rss-counter state",
        ),
        "a page's state is wrong: freed twice, or used after it was freed",
        "Balance get_page() and put_page(), alloc_pages() and __free_pages(), with the same order.",
        "mm/page_alloc.c",
        report=True,
    ),
    LogRule(
        "irq-nobody-cared",
        ("irq {number}: nobody cared",),
        "interrupt {number} came again and again, and no handler took it: the kernel switched it off",
        "The handler must tell its device to stop, and return IRQ_HANDLED; or the module was unloaded without "
        "silencing its device.",
        "kernel/irq/spurious.c",
        report=True,
    ),
    LogRule(
        "free-irq",
        (
            "Trying to free already-free IRQ {number}",
            "Trying to free nonexistent resource",
            "genirq: Flags mismatch irq {number}",
        ),
        "an interrupt or a region was given back twice, or is shared with other flags",
        "free_irq() and release_region() once for each successful request, with the same arguments.",
        "kernel/irq/manage.c, kernel/resource.c",
        report=True,
    ),
    LogRule(
        "timer-active",
        ("ODEBUG: {action} {state} (active state {number}) object", "ODEBUG: {problem} object", "ODEBUG:"),
        "a timer or work item was freed or initialised while it was active {where}",
        "timer_delete_sync() and cancel_work_sync() before the memory is freed.",
        "lib/debugobjects.c",
        report=True,
    ),
    LogRule(
        "memory-leak",
        ("kmemleak: {number} new suspected memory leaks", "unreferenced object {hex} (size {number})"),
        "kmemleak: memory was allocated and nothing points to it any more",
        "/sys/kernel/debug/kmemleak shows who allocated it.",
        "mm/kmemleak.c",
        fatal=False,
    ),
    LogRule(
        "oops",
        (
            "Internal error: {what}",
            "Oops: {what}",
            "Oops[#{number}]",
            "Oops - {what}",
            "Kernel bug detected",
            "Unexpected kernel BRK exception",
            "Unable to handle kernel",
            "Bad mode in",
            "stack segment: {number}",
            "Fixing recursive fault but reboot is needed",
        ),
        "an oops (a crash in the kernel) {where}",
        _BUG,
        "arch/*/kernel/traps.c",
        _DIED,
        report=True,
    ),
    LogRule(
        "panic",
        ("Kernel panic - not syncing: {reason}",),
        "the kernel stopped for good: {reason}",
        "The lines before it say why; panic_on_oops and panic_on_warn make every oops or warning a panic.",
        "kernel/panic.c",
        report=True,
    ),
    LogRule(
        "warning",
        (
            "WARNING: CPU: {number} PID: {number} at {place} {function}",
            "WARNING: CPU: {number} PID: {number} at {place}",
            "WARNING: at {place}",
            "WARNING: {place} at {function}, CPU#{number}",
        ),
        "the kernel's own check failed (a WARN) {where}, at {place}: it goes on, but something is wrong there",
        "The condition in the source at that place says what was expected.",
        "kernel/panic.c",
        fatal=False,
        report=True,
    ),
)
