"""Rules for symbols: missing ones, versions, namespaces, licences, duplicates (kernel/module/main.c, version.c)."""

from kobox.explain.log_rule import LogRule

_MAIN = "kernel/module/main.c"
_VERSION = "kernel/module/version.c"
_GIVEN = ("EINVAL", "ENOENT", "ENOEXEC")
_MISSING = (
    "Load it with modprobe, which brings what it depends on (insmod does not); `kobox explain FILE.ko` finds out who "
    "exports a symbol."
)

RULES = (
    LogRule(
        "crc",
        ("{ko} disagrees about version of symbol {symbol}",),
        "depmod: {module} was built against another kernel's {symbol}",
        "Build it against this kernel's headers.",
        "depmod",
    ),
    LogRule(
        "crc",
        ("{module}: disagrees about version of symbol {symbol}", "{module} disagrees about version of symbol {symbol}"),
        "the module was built against another kernel's (or another module's) {symbol}: the CRC of its prototype, "
        "with all types in it, is another",
        "Build it against this kernel's headers and the Module.symvers of the module that exports {symbol}.",
        _VERSION,
        _GIVEN,
    ),
    LogRule(
        "no-version",
        ("{module}: no symbol version for {symbol}", "no symbol version for {symbol}"),
        "the module carries no CRC for {symbol}, and the kernel wants one: it was built without the Module.symvers "
        "of the kernel or module that exports it",
        "Build it with the exporting module's Module.symvers (KBUILD_EXTRA_SYMBOLS), against headers that have one.",
        _VERSION,
        _GIVEN,
    ),
    LogRule(
        "symbol-refused",
        ("{module}: Unknown symbol {symbol} (err -22)",),
        "the kernel has {symbol}, and does not give it: its CRC or its namespace does not fit (the line before "
        "says which)",
        "Build it against this kernel's headers; import the namespace with MODULE_IMPORT_NS.",
        _MAIN,
        _GIVEN,
    ),
    LogRule(
        "provider-not-ready",
        ("{module}: Unknown symbol {symbol} (err -16)", "{module}: gave up waiting for init of module {other}"),
        "the module that it needs is still being loaded, for more than 30 seconds: its init function hangs",
        "Look into the log for what the other module's init waits for (firmware, hardware, a lock).",
        _MAIN,
        ("EBUSY", "ENOENT", "EINVAL"),
    ),
    LogRule(
        "unknown-symbol",
        (
            "{module}: Unknown symbol {symbol} (err -2)",
            "{module}: Unknown symbol {symbol} (err 0)",
            "{module}: Unknown symbol {symbol} (err {number})",
            "{module}: Unknown symbol {symbol}$",
        ),
        "nothing that is loaded exports {symbol} to this module: the module that has it is not loaded, this kernel "
        "does not have it (another version or configuration), or it is EXPORT_SYMBOL_GPL and this module's licence "
        "is not the GPL",
        _MISSING,
        _MAIN,
        ("ENOENT", "EINVAL", "ENOEXEC"),
    ),
    LogRule(
        "unknown-symbol",
        (
            "{ko}: unresolved symbol {symbol}",
            "{module}.o: unresolved symbol {symbol}",
            "unresolved symbol {symbol}",
        ),
        "nothing that is loaded exports {symbol}",
        _MISSING,
        "modutils, busybox",
        ("ENOENT", "EINVAL"),
        only="2.4",
    ),
    LogRule(
        "unknown-symbol",
        ("{ko} needs unknown symbol {symbol}", "{module} needs unknown symbol {symbol}"),
        "no module of the tree exports {symbol}, nor does the kernel: depmod found {module} without what it needs",
        "Install the module that exports {symbol} beside it, and run `depmod -a`; is {module} built for this kernel?",
        "depmod",
    ),
    LogRule(
        "namespace",
        (
            "{module}: module uses symbol ({symbol}) from namespace {namespace}, but does not import it",
            "{module}: module uses symbol {symbol} from namespace {namespace}, but does not import it",
            "{module} uses symbol {symbol} from namespace {namespace}, but does not import it",
            "{module} uses symbol {symbol} from namespace {namespace}, but lacks MODULE_IMPORT_NS",
        ),
        "{symbol} is in the symbol namespace {namespace}, which the module does not import",
        'Add MODULE_IMPORT_NS("{namespace}") to the module (before 6.13 without the quotes).',
        _MAIN,
        _GIVEN,
    ),
    LogRule(
        "namespace",
        ("{module}: module tries to import module namespace: {namespace}",),
        "the namespace {namespace} is a list of modules: a module cannot import it, it is in the list or not",
        "Use other symbols: these are for the named modules alone (EXPORT_SYMBOL_FOR_MODULES).",
        _MAIN,
        ("EINVAL", "ENOEXEC"),
        only="6.16 and newer",
    ),
    LogRule(
        "proprietary-provider",
        ("{module}: module using GPL-only symbols uses symbols {symbol} from proprietary module {other}",),
        "a module that uses GPL-only symbols may not use symbols of a proprietary one ({other})",
        "Do without {other}, or without the GPL-only symbols.",
        _MAIN,
        ("ENOENT", "EINVAL"),
    ),
    LogRule(
        "inherited-taint",
        ("{module}: module uses symbols {symbol} from proprietary module {other}, inheriting taint",),
        "the module uses {symbol} of the proprietary module {other}, so it counts as proprietary itself: from now on "
        "symbols that are for GPL modules only are not given to it",
        "Nothing has to be done if it loads; else do without {other}.",
        _MAIN,
        fatal=False,
    ),
    LogRule(
        "non-gpl-symbol",
        ("failing symbol_get of non-GPLONLY symbol {symbol}",),
        "symbol_get() gives only symbols that are exported by EXPORT_SYMBOL_GPL, and {symbol} is not",
        "Link against {symbol} directly, or export it with EXPORT_SYMBOL_GPL.",
        _MAIN,
        only="6.6 and stable kernels since 2023",
    ),
    LogRule(
        "duplicate-export",
        (
            "{module}: exports duplicate symbol {symbol} (owned by {owner})",
            "{module}: duplicate symbol {symbol} (owned by {owner})",
        ),
        "{symbol} is exported by {owner} already",
        "Unload {owner} (it may be the same module under another name, or the kernel's own version of it), or "
        "rename the symbol.",
        _MAIN,
        ("ENOEXEC",),
    ),
    LogRule(
        "gki-protected",
        ("{module}: exports protected symbol {symbol}", "{module}: Protected symbol: {symbol} (err {number})"),
        "Android's kernel (GKI) keeps {symbol} for its own signed modules: others may neither export nor use it",
        "Use symbols of the KMI list only, or have the module signed with the kernel's own key (build it with the GKI "
        "kernel).",
        "kernel/module/gki_module.c of Android's common kernel",
        ("EACCES", "ENOEXEC", "ENOENT"),
    ),
    LogRule(
        "versions-forced",
        ("{module}: {symbol}: kernel tainted",),
        "the module has no symbol versions, or they were told to be ignored; the kernel is tainted",
        "Build it against this kernel's headers, with its Module.symvers.",
        _MAIN,
        fatal=False,
    ),
)
