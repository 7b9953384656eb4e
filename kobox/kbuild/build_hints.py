"""What a failed build's output tells to somebody who knows the kernel: one line of help for each known mistake.

modpost's own messages come from scripts/mod/modpost.c. The changes of interfaces are those that out-of-tree modules met
most often; each line names the release that made it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kobox.images.exports import KernelExports
from kobox.images.store import KernelImage

_MODPOST = (
    (
        r"missing MODULE_LICENSE\(\) in (?:\S*/)?(?P<file>\w+)\.o",
        'MODULE_LICENSE is missing in {file}: add MODULE_LICENSE("GPL"), or the licence that it really has.',
    ),
    (
        r"GPL-incompatible module (?:\S*/)?(?P<file>[\w-]+)\.ko uses GPL-only symbol '(?P<symbol>\w+)'",
        "{symbol} is EXPORT_SYMBOL_GPL: only a module with a GPL-compatible MODULE_LICENSE may use it.",
    ),
    (
        r"module (?P<file>[\w-]+) uses symbol (?P<symbol>\w+) from namespace (?P<namespace>\w+), but does not import",
        "{symbol} is in a symbol namespace: add MODULE_IMPORT_NS({namespace}), with the name in quotes since 6.13.",
    ),
    (
        r'"kallsyms_lookup_name" \[',
        "kallsyms_lookup_name is not exported since 5.7: call what is exported, or use a kprobe to find the address.",
    ),
)
# What no kernel since some release has, or has otherwise: a pattern over the compiler's words, and the help.
_CHANGED = (
    (r"too many arguments to function .class_create", "class_create() takes only the name since 6.4."),
    (
        r"too few arguments to function .class_create|macro .class_create. requires 2",
        "class_create() takes THIS_MODULE and the name before 6.4.",
    ),
    (
        r"\(struct platform_device \*\).*from .*int \(\*\)\(struct platform_device",
        "The remove function of a platform driver returns void since 6.11.",
    ),
    (
        r"passing argument \d of .proc_create\w*. from incompatible pointer",
        "proc_create() takes a struct proc_ops since 5.6.",
    ),
    (r"assignment of read-only member .vm_flags", "vm_flags is changed by vm_flags_set() and its kin since 6.3."),
    (r"has no member named .iterate.(?!_)", "file_operations.iterate is gone since 6.6: use iterate_shared."),
    (r"asm/unaligned\.h: No such file", "<asm/unaligned.h> is <linux/unaligned.h> since 6.12."),
    (r".no_llseek. undeclared", "no_llseek is gone since 6.12: leave .llseek out."),
    (r"too many arguments to function .netif_napi_add", "netif_napi_add() takes no weight since 6.1."),
    (r"too many arguments to function .access_ok|macro .access_ok. passed 3", "access_ok() takes no type since 5.0."),
)
_GONE = {
    "del_timer": "timer_delete() (since 6.15)",
    "del_timer_sync": "timer_delete_sync() (since 6.15)",
    "from_timer": "timer_container_of() (since 6.16)",
    "hrtimer_init": "hrtimer_setup() (since 6.15)",
    "init_timer": "timer_setup() (since 4.15)",
    "setup_timer": "timer_setup() (since 4.15)",
    "strlcpy": "strscpy() (strlcpy is gone since 6.8)",
    "PDE_DATA": "pde_data() (since 5.17)",
    "ioremap_nocache": "ioremap() (since 5.6)",
    "do_gettimeofday": "ktime_get_real_ts64() (since 5.0)",
    "register_sysctl_table": "register_sysctl() (since 6.6)",
    "complete_and_exit": "kthread_complete_and_exit() (since 5.17)",
    "create_proc_entry": "proc_create() (since 3.10)",
}
# Options of gcc that clang does not have, or a newer clang's.
_NOT_CLANG_S = re.compile(r"clang: error: (unknown argument|unsupported (option|argument))")
_IMPLICIT = re.compile(r"implicit declaration of function .(?P<symbol>\w+)")
_UNDEFINED = re.compile(r'"(?P<symbol>\w+)" \[(?:\S*/)?(?P<file>[\w-]+)\.ko\] undefined')


def advice(output: str, kernel: KernelImage) -> list[str]:
    """One line for each mistake in the output that is known, in no more than five lines."""
    return list(dict.fromkeys(_advice(output, KernelExports(kernel))))[:5]


def _advice(output: str, exports: KernelExports) -> Iterator[str]:
    if _NOT_CLANG_S.search(output):
        yield _compiler(exports.kernel)
    for pattern, help_ in _MODPOST:
        for match in re.finditer(pattern, output):
            yield help_.format(**match.groupdict())
    for pattern, help_ in _CHANGED:
        if re.search(pattern, output):
            yield help_
    for match in _IMPLICIT.finditer(output):
        yield _implicit(match["symbol"], exports)
    for match in _UNDEFINED.finditer(output):
        if match["symbol"] != "kallsyms_lookup_name":
            yield _undefined(match["symbol"], match["file"], exports)


def _compiler(kernel: KernelImage) -> str:
    config = kernel.headers / "include/config/auto.conf" if kernel.headers else None
    if config is not None and config.is_file() and "\nCONFIG_CC_IS_CLANG=y\n" in config.read_text():
        return f"{kernel.name} was built with a newer clang, whose options this one does not have."
    return f"{kernel.name} was built with gcc, and its headers hand gcc's options to the compiler: leave out --clang."


def _implicit(symbol: str, exports: KernelExports) -> str:
    if symbol in _GONE:
        return f"{symbol}() is called {_GONE[symbol]}."
    if exports.has(symbol):
        return f"{symbol}() exists in {exports.kernel.name}: include the header that declares it."
    near = [name for name in exports.near(symbol) if name != symbol]
    meant = f"; is {near[0]}() meant?" if near else ": its name or its header changed, or it is misspelt."
    return f"{symbol}() is not known to {exports.kernel.name}{meant}"


def _undefined(symbol: str, file: str, exports: KernelExports) -> str:
    near = [name for name in exports.near(symbol) if name != symbol]
    meant = f"; is {near[0]} meant?" if near else "."
    return (
        f"{symbol} is exported by nothing that {file} is built with: add the file that defines it to {file}-objs, "
        f"or another module's Module.symvers with --extra-symbols{meant}"
    )
