"""Rules for what a kernel's state forbids: loaded, in use, built in, blacklisted, no memory; and what init answers."""

from kobox.explain.log_rule import LogRule

_MAIN = "kernel/module/main.c"
_MEMORY = ("ENOMEM",)
_ROOM = (
    "there is no room among the kernel's addresses for modules or vmalloc: the module (or its static data) is too "
    "large, or the vmalloc area is too small"
)
_ROOM_ADVICE = (
    "Large static arrays belong into vmalloc() or kmalloc(); unload modules; a larger vmalloc= on the command line "
    "helps on 32-bit machines."
)

RULES = (
    LogRule(
        "blacklisted",
        ("Module {module} is blacklisted",),
        "the kernel's command line forbids it: module_blacklist= names {module}",
        "Remove it from module_blacklist= in the boot loader's configuration and reboot.",
        _MAIN,
        ("EPERM",),
    ),
    LogRule(
        "already-loaded",
        (
            "{module}: module is already loaded",
            "{module}: module already loaded",
        ),
        "a module of that name is loaded already, or is part of the kernel",
        "Nothing has to be loaded; to replace a loaded one, unload it first.",
        "kernel/module/sysfs.c",
        ("EEXIST", "EINVAL"),
    ),
    LogRule(
        "init-positive",
        (
            "do_init_module: '{module}'->init suspiciously returned {value}, it should",
            "sys_init_module: '{module}'->init suspiciously returned {value}, it should",
            "'{module}'->init suspiciously returned {value},",
        ),
        "its init function returned {value}, a positive number, where 0 or a negative errno is meant; the module "
        "is loaded",
        "Return 0 or -ERRNO.",
        _MAIN,
        fatal=False,
    ),
    LogRule(
        "memory",
        (
            "vmap allocation for size {number} failed",
            "vmalloc error: size {number}",
            "vmalloc: allocation failure",
            "allocation failure: {number} bytes",
            "execmem: unable to allocate memory",
            "execmem: Invalid parameters for execmem allocator, module loading will fail",
            "module allocation failed",
        ),
        _ROOM,
        _ROOM_ADVICE,
        "mm/vmalloc.c, mm/execmem.c",
        _MEMORY,
    ),
    LogRule(
        "percpu",
        (
            "{module}: Could not allocate {number} bytes percpu data",
            "PERCPU: allocation failed",
            "percpu: allocation failed",
            "PERCPU: limit reached, disable warning",
            "percpu: limit reached, disable warning",
            "Could not allocate {number} bytes percpu data",
        ),
        "the reserve of per-CPU memory for modules' static variables (DEFINE_PER_CPU) is used up",
        "Unload modules, or allocate per-CPU data with alloc_percpu(); percpu_alloc= and "
        "CONFIG_PERCPU_MODULE_RESERVE set the reserve.",
        "kernel/module/main.c, mm/percpu.c",
        _MEMORY,
    ),
    LogRule(
        "percpu",
        ("{module}: per-cpu alignment {number} > {number}",),
        "a per-CPU variable wants a larger alignment than a page; the kernel gives it a page's",
        "Lower the alignment of the DEFINE_PER_CPU variable.",
        _MAIN,
        fatal=False,
    ),
    LogRule(
        "memory",
        (
            "insmod: page allocation failure",
            "modprobe: page allocation failure",
            "systemd-modules: page allocation failure",
        ),
        "there was no memory in one piece for the module",
        "Free memory, or load it earlier, while memory is not in pieces yet.",
        "mm/page_alloc.c",
        _MEMORY,
        vague=True,
    ),
    LogRule(
        "memory",
        ("page allocation failure: order:{number}",),
        "there were no free pages in one piece (2^{number} of them)",
        "Free memory; allocate smaller pieces, or with kvmalloc().",
        "mm/page_alloc.c",
        _MEMORY,
        vague=True,
    ),
    LogRule(
        "init-failed",
        ("initcall {function} [{module}] returned -{errno} after {number} usecs",),
        "the module's own init function returned -{errno}",
        "The module's own lines in the kernel's log, or its source, say why; `kobox run` shows which call it came "
        "from.",
        "init/main.c (initcall_debug)",
    ),
    LogRule(
        "request-loop",
        ("runaway loop modprobe {alias}",),
        "loading {alias} asks for {alias} again: modprobe itself, or an install line of modprobe.d, needs what "
        "is being loaded",
        "Build it in, or remove the install line or alias that leads back to it.",
        "kernel/module/kmod.c",
    ),
    LogRule(
        "request-limit",
        (
            "request_module: modprobe {alias} cannot be processed, kmod busy with {number} threads",
            "request_module: kmod_concurrent_max",
        ),
        "too many modprobe processes at once: the earlier ones hang",
        "Look what the running modprobe processes wait for (`ps`, `cat /proc/PID/stack`).",
        "kernel/module/kmod.c",
        fatal=False,
    ),
    LogRule(
        "forced",
        ("Disabling lock debugging due to kernel taint",),
        "something was forced, or a proprietary module came: the kernel no longer trusts its lock checks",
        "Nothing has to be done.",
        "kernel/panic.c",
        fatal=False,
    ),
    LogRule(
        "livepatch-off",
        ("{module}: module is marked as livepatch module, but livepatch support is disabled",),
        "it is a livepatch, and this kernel was built without CONFIG_LIVEPATCH",
        "Use a kernel with CONFIG_LIVEPATCH=y (x86_64, ppc64le, s390x and newer arm64).",
        _MAIN,
        ("ENOEXEC",),
    ),
    LogRule(
        "livepatch-symbol",
        (
            "symbol '{symbol}' not found in symbol table",
            "unresolvable ambiguity for symbol '{symbol}' in object '{object}'",
            "symbol position {number} for symbol '{symbol}' in object '{object}' not found",
            "kallsyms size lookup failed for '{symbol}'",
        ),
        "livepatch: the function {symbol} to be patched is not in this kernel, or its name is not unique: the "
        "livepatch was built for another kernel, or the compiler inlined or renamed the function",
        "Build the livepatch from exactly this kernel's source and configuration (kpatch-build, klp-build).",
        "kernel/livepatch/core.c",
        ("EINVAL", "ENOENT"),
    ),
    LogRule(
        "livepatch-format",
        (
            "symbol {symbol} is not marked as a livepatch symbol",
            "symbol {symbol} at rela sec {number} idx {number} is not marked as a livepatch symbol",
            "symbol {symbol} has an incorrectly formatted name",
            "section {word} has an incorrectly formatted name",
            "module {module} is not marked as a livepatch module",
            "invalid access to vmlinux symbol '{symbol}' from module-specific livepatch relocation section",
            "vmlinux.ko: invalid module name",
        ),
        'the livepatch was not made as the kernel wants it: MODULE_INFO(livepatch, "Y") or the names of its '
        "symbols are missing",
        "Build it with kpatch-build or klp-build; see Documentation/livepatch/module-elf-format.rst.",
        "kernel/livepatch/core.c",
        ("EINVAL", "ENOEXEC"),
    ),
    LogRule(
        "livepatch-refused",
        (
            "Livepatch patch ({module}) is not compatible with the already installed livepatches",
            "failed to enable patch '{module}'",
            "failed to patch object '{object}'",
            "pre-patch callback failed for object '{object}'",
            "failed to find location for function '{function}'",
            "failed to set ftrace filter for function '{function}'",
            "failed to register ftrace handler for function '{function}'",
            "failed to initialize patch '{module}' for module '{object}'",
            "failed to apply patch '{module}' to module '{object}'",
            "patch '{module}' failed for module '{object}', refusing to load module",
        ),
        "the livepatch could not be applied: an earlier one holds the same functions, or its callback refused",
        "Disable the earlier livepatch (/sys/kernel/livepatch/NAME/enabled), or make the new one cumulative "
        "(.replace = true).",
        "kernel/livepatch/core.c",
        ("EINVAL", "EBUSY", "ENODEV", "ENOMEM"),
    ),
    LogRule(
        "livepatch-stuck",
        (
            "The livepatch transition may never complete",
            "livepatch: signaling remaining tasks",
            "This architecture doesn't have support for the livepatch consistency model",
        ),
        "this architecture cannot tell when a task has left a patched function: the livepatch may never be complete",
        "Use an architecture with reliable stack traces (HAVE_RELIABLE_STACKTRACE).",
        "kernel/livepatch/core.c",
        fatal=False,
    ),
    LogRule(
        "livepatch",
        (
            "{module}: tainting kernel with TAINT_LIVEPATCH",
            "enabling patch '{module}'",
            "livepatch: '{module}': starting {direction} transition",
            "livepatch: '{module}': {direction} complete",
            "applying patch '{module}' to loading module '{object}'",
            "reverting patch '{module}' on unloading module '{object}'",
        ),
        "livepatch {module}: kernel functions are replaced while the kernel runs",
        "Nothing has to be done.",
        "kernel/livepatch/core.c",
        fatal=False,
    ),
    LogRule(
        "dead-module",
        ("{module} {number} -1$",),
        "lsmod shows the use count -1: the module is being unloaded, or died (an oops) in its init or exit function "
        "and is stuck there",
        "The kernel's log has the report. Only a reboot removes such a module.",
        "lsmod",
        ("EBUSY",),
    ),
    LogRule(
        "nomodeset",
        ("Driver {module} not loading because of nomodeset parameter",),
        "the kernel's command line says nomodeset: graphics drivers do not start",
        "Remove nomodeset from the boot loader's configuration and reboot.",
        "drivers/gpu/drm/drm_module.c",
        ("ENODEV", "EINVAL"),
    ),
    LogRule(
        "trace-taint",
        (
            "{module}: module has bad taint, not creating trace events",
            "ftrace: failed to allocate entries for module '{module}'",
        ),
        "the module's tracepoints or functions cannot be traced: it is out of tree, forced or not signed, or there "
        "was no memory",
        "Nothing has to be done for loading it; sign it to have its trace events.",
        "kernel/trace",
        fatal=False,
    ),
    LogRule(
        "ro-after-init",
        ("{module}: module_enable_rodata_ro_after_init() returned {number}",),
        "the module's data that is constant after init could not be made read-only",
        "Nothing has to be done.",
        "kernel/module/main.c",
        fatal=False,
    ),
    LogRule(
        "taint-list",
        ("{module}: adding tainted module to the unloaded tainted modules list failed",),
        "no memory to remember that {module} tainted the kernel",
        "Free memory.",
        "kernel/module/tracking.c",
        fatal=False,
    ),
)
