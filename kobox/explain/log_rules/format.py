"""Rules for the module's file and for what kernel it was built: ELF, version magic, struct module, BTF, compression."""

from kobox.explain.log_rule import LogRule

_MAIN = "kernel/module/main.c"
_FORMAT = ("ENOEXEC",)
_AGAIN = (
    "Build it again against this kernel's headers, and copy it whole; do not run strip (other than "
    "--strip-debug) or objcopy over it."
)
_HEADERS = (
    "Install the headers of exactly the running kernel (`uname -r`), and build it against them: `kobox build "
    "--kernel`, or `dkms autoinstall`. If a newer kernel is installed already, reboot into it."
)

RULES = (
    LogRule(
        "vermagic",
        ("{module}: version magic '{has}' should be '{wants}'",),
        "the module was built for another kernel or configuration: it says `{has}`, the kernel `{wants}`",
        _HEADERS + " Forcing it risks a crash.",
        _MAIN,
        _FORMAT,
    ),
    LogRule(
        "vermagic",
        (
            "The module {module} was built with {has} and cannot be loaded with {wants}",
            "{module}: kernel-module version mismatch",
        ),
        "the module was built for another kernel",
        _HEADERS,
        "modutils",
        _FORMAT,
        only="2.4",
    ),
    LogRule(
        "vermagic",
        ("kernel-module version mismatch",),
        "the module was built for another kernel",
        _HEADERS,
        "modutils",
        _FORMAT,
        only="2.4",
    ),
    LogRule(
        "vermagic",
        ("module release mismatch ({has} vs {wants})",),
        "the module was built for the kernel {has}, and {wants} is running",
        "Build it again on this kernel; reboot if a newer one was installed.",
        "SystemTap's staprun",
        _FORMAT,
    ),
    LogRule(
        "vermagic-forced",
        ("{module}: bad vermagic: kernel tainted",),
        "the module carries no version magic, or it was told to be ignored; the kernel is tainted",
        "Build it for this kernel instead of forcing it.",
        _MAIN,
        fatal=False,
    ),
    LogRule(
        "module-layout",
        (
            "{module}: disagrees about version of symbol module_layout",
            "{module} disagrees about version of symbol module_layout",
            "{module}: disagrees about version of symbol struct_module",
            "{module} disagrees about version of symbol struct_module",
            "disagrees about version of symbol module_layout",
            "disagrees about version of symbol struct_module",
        ),
        "the module was built for another kernel: its headers have another struct module (the symbol module_layout)",
        _HEADERS,
        "kernel/module/version.c",
        ("ENOEXEC", "EINVAL"),
    ),
    LogRule(
        "layout-size",
        ("{module}: .gnu.linkonce.this_module section size must match",),
        "the module was built for another kernel: struct module has another size in its headers",
        _HEADERS,
        _MAIN,
        _FORMAT,
        only="6.4 and newer",
    ),
    LogRule(
        "btf",
        ("failed to validate module [{module}] BTF: {number}",),
        "the module's BTF (type information) refers to another vmlinux than the running one: it was built against "
        "another kernel's vmlinux. A kernel without CONFIG_MODULE_ALLOW_BTF_MISMATCH refuses the module for that "
        "(EINVAL), others load it",
        "Build it against this very kernel's headers and vmlinux, or without BTF: `strip --remove-section=.BTF`, or "
        "`make CONFIG_DEBUG_INFO_BTF_MODULES=`.",
        "kernel/bpf/btf.c",
        ("EINVAL",),
    ),
    LogRule(
        "btf",
        (
            "failed to register module [{module}] BTF in sysfs: {number}",
            "{module}: missing module BTF, cannot register kfuncs",
            "missing module BTF, cannot register",
            "missing vmlinux BTF, cannot register",
            "cannot register more than {number} kfunc destructors",
            "Kernel module BTF mismatch detected, BTF debug info may be unavailable",
        ),
        "the BTF (type information) of the module or the kernel is missing or does not fit",
        "Build the module against this very kernel's headers and vmlinux, or without BTF.",
        "kernel/bpf/btf.c",
        fatal=False,
    ),
    LogRule(
        "truncated",
        (
            "Invalid ELF section header overflow",
            "Invalid ELF section offset/size",
            "Invalid ELF section in module (section {number} type {number})",
            "Invalid ELF section hdr(type {number})",
            "section header table goes past the end of file",
            "{module}: Module len {number} truncated",
            "{module}: truncated module",
            "Module len {number} truncated",
        ),
        "the file is damaged: shorter than its own table of ELF sections says, so it was cut off",
        "Copy or build it again; is the disk full?",
        _MAIN,
        _FORMAT,
    ),
    LogRule(
        "not-elf",
        ("Invalid ELF header len {number}", "Invalid ELF header magic", "Invalid ELF header type"),
        "the file is not an ELF object: a compressed module (.xz, .zst, .gz) that nothing unpacked, an empty file, "
        "or something else",
        "Unpack it first (`unxz`, `unzstd`, `gunzip`), or load it with kmod or `kobox insmod`, which unpack it; "
        "busybox and some initramfs tools do not. `file` and `kobox explain FILE` say what it is.",
        _MAIN,
        _FORMAT,
    ),
    LogRule(
        "architecture",
        ("Invalid architecture in ELF header: {machine}", "Invalid module architecture in ELF header: {machine}"),
        "the module was built for another processor (e_machine {machine})",
        "Build it for this machine's architecture: ARCH= and CROSS_COMPILE= name it.",
        _MAIN,
        _FORMAT,
    ),
    LogRule(
        "not-elf",
        (
            "{module}: Module has invalid ELF structures",
            "has invalid ELF structures",
            "{module}: ELF file is invalid",
            "Invalid ELF symbol string table type",
            "symbol string table missing leading NUL",
            "symbol string table isn't NUL terminated",
            "symbol name out of bounds in string table",
            "{module}: no flags for exported symbols",
            "Only one symbol table is allowed",
            "Only one .modinfo section",
            "Only one {word} section must exist",
        ),
        "the module's ELF structure is damaged, or made by a toolchain that this kernel does not expect",
        _AGAIN,
        _MAIN,
        _FORMAT,
    ),
    LogRule(
        "no-module",
        (
            "{module}: No module found in object",
            "{module}: module has no symbols (stripped?)",
            "{module}: module has no symbols",
            "No module found in object",
            "module has no symbols (stripped?)",
            "{module}: .gnu.linkonce.this_module section",
            "{module}: Exactly one .gnu.linkonce.this_module section must exist",
            "{module}: .gnu.linkonce.this_module must occupy memory during process execution",
            "{module}: module sysfs not initialized",
        ),
        "the object is not a whole module: modpost's part is missing, or its symbols were stripped away",
        "Take the .ko that Kbuild made, not a .o; strip with --strip-debug only.",
        _MAIN,
        _FORMAT,
    ),
    LogRule(
        "sections",
        (
            "Invalid ELF section header size",
            "Invalid ELF section name",
            "empty section name table",
            "ELF Spec violation",
            "Invalid ELF sh_link",
            "{module}: section {word} (index {number}) has invalid WRITE|EXEC flags",
            "{module}: Symbol {symbol} has an invalid section index",
            "{module}: has both .ctors and .init_array",
        ),
        "the file's ELF sections contradict each other: it was damaged, or made by another toolchain or linker script",
        _AGAIN,
        _MAIN,
        _FORMAT,
    ),
    LogRule(
        "common-symbol",
        ("{module}: please compile with -fno-common",),
        "a variable without initial value was compiled as a common symbol, which modules cannot have",
        "Build it with Kbuild, which gives -fno-common.",
        _MAIN,
        _FORMAT,
    ),
    LogRule(
        "compression",
        (
            "not a gzip compressed module",
            "not an xz compressed module",
            "not a zstd compressed module",
            "decompression failed with status {number}",
            "failed to initialize decompressor",
            "ZSTD-compressed module has an incorrect size",
            "a module with a valid zstd header",
            "{word} decompression failed",
            "decompression failed",
        ),
        "the kernel's own decompressor does not take the file: it is damaged, or packed in a way that it has no "
        "code for",
        "Pack it as Kbuild does: `xz --check=crc32 --lzma2=dict=1MiB`, `zstd -T0 --rm -f -q`, or give it unpacked.",
        "kernel/module/decompress.c",
        ("EINVAL", "ENOEXEC", "EOPNOTSUPP"),
        only="5.17 and newer, CONFIG_MODULE_DECOMPRESS",
    ),
    LogRule(
        "no-retpoline",
        ("{module}: loading module not compiled with retpoline compiler",),
        "the module was compiled without retpolines: the kernel's mitigation of Spectre v2 has a gap",
        "Build it with this kernel's configuration and a compiler that knows -mindirect-branch.",
        _MAIN,
        fatal=False,
    ),
    LogRule(
        "staging",
        ("{module}: module is from the staging directory",),
        "the module is from the kernel's staging directory: not finished",
        "Nothing has to be done.",
        _MAIN,
        fatal=False,
    ),
    LogRule(
        "out-of-tree",
        ("{module}: loading out-of-tree module taints kernel",),
        "the module was built outside the kernel's source",
        "Nothing has to be done.",
        _MAIN,
        fatal=False,
    ),
    LogRule(
        "test-module",
        ("{module}: loading test module taints kernel",),
        "the module is a test: the kernel is tainted",
        "Nothing has to be done.",
        _MAIN,
        fatal=False,
    ),
    LogRule(
        "licence",
        ("{module}: module license '{licence}' taints kernel", "{module}: module license taints kernel"),
        "the module's licence is proprietary, not one that the kernel counts as GPL: the kernel is tainted, and "
        "symbols that are for GPL modules only are not given to it",
        'Nothing has to be done if it loads; MODULE_LICENSE("GPL") if that is its licence.',
        _MAIN,
        fatal=False,
    ),
)
