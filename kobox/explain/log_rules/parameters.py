"""Rules for module parameters (kernel/params.c, kernel/module/main.c)."""

from kobox.explain.log_rule import LogRule

_LIST = (
    "`modinfo -p` (`kobox modinfo -p`) lists the parameters and their types; modprobe.d and the kernel's "
    "command line may set them, too."
)
_PARAMS = "kernel/params.c"
_VALUE = ("EINVAL", "ERANGE", "ENOSPC", "ENOENT")

RULES = (
    LogRule(
        "bad-parameter",
        (
            "{module}: `{value}' invalid for parameter `{parameter}'",
            "{module}: `{value}' too large for parameter `{parameter}'",
            "{module}: `' invalid for parameter `{parameter}'",
        ),
        "parameter {parameter} does not take the value that it is given",
        _LIST,
        _PARAMS,
        _VALUE,
    ),
    LogRule(
        "bad-parameter",
        (
            "{parameter}: string parameter too long",
            "{parameter}: string doesn't fit in {number} chars",
            "{parameter}: can only take {number} arguments",
            "{parameter}: needs at least {number} arguments",
            "{parameter}: can only take",
        ),
        "parameter {parameter} is given too much, or too little",
        _LIST,
        _PARAMS,
        _VALUE,
    ),
    LogRule(
        "unknown-parameter",
        (
            "{module}: Unknown parameter `{parameter}'",
            "{module}: Unknown parameter '{parameter}'",
            "invalid parameter parm_{parameter}",
        ),
        "the module has no parameter {parameter}; this kernel refuses the module for that",
        _LIST,
        _PARAMS,
        ("ENOENT", "EINVAL"),
        only="up to 3.x, and where the module parses them itself",
    ),
    LogRule(
        "unknown-parameter",
        ("{module}: unknown parameter '{parameter}' ignored", "{module}: parameters '{parameter}' after `--' ignored"),
        "the module has no parameter {parameter}; it was ignored",
        _LIST,
        "kernel/module/main.c",
        fatal=False,
    ),
    LogRule(
        "unknown-parameter",
        ("{module}: Ignoring obsolete parameters",),
        "the module has parameters in the way of kernel 2.4 (MODULE_PARM), which are ignored",
        "Declare them with module_param().",
        "kernel/module/main.c",
        fatal=False,
    ),
    LogRule(
        "dangerous-parameter",
        ("Setting dangerous option {parameter} - tainting kernel",),
        "parameter {parameter} is marked as dangerous: the kernel is tainted",
        "Leave it out unless you are debugging the module.",
        _PARAMS,
        fatal=False,
    ),
    LogRule(
        "parameter-irqs",
        ("option '{parameter}' enabled irq's",),
        "the function that sets the parameter {parameter} switched interrupts on where they have to stay off",
        "Mend that function: it must restore the interrupt state that it found.",
        _PARAMS,
        fatal=False,
    ),
    LogRule(
        "sysfs-add",
        (
            "Adding module '{module}' to sysfs failed ({number}), the system may be unstable",
            "{module} ({number}): error creating kset",
        ),
        "the module's entry in /sys/module could not be made ({number})",
        "Is there a module of that name in the kernel already? Free memory if it is -12.",
        _PARAMS,
    ),
)
