"""Rules for relocations that an architecture's loader refuses (arch/*/kernel/module*.c)."""

from kobox.explain.log_rule import LogRule

_FORMAT = ("ENOEXEC", "EINVAL", "ENOENT")
_FLAGS = (
    "Build it with Kbuild and this kernel's own configuration and compiler, which gives the right flags "
    "(-mcmodel, -fno-pic, -mno-relax, -msdata as the architecture wants)."
)
_UNKNOWN = (
    "the module holds a relocation that this kernel has no code for: it was compiled with another compiler, binutils "
    "or flags than the kernel expects (position-independent code, another code model), or for another kernel"
)
_RANGE = (
    "a relocation does not reach its target: the module (or the memory that it got) lies too far from the kernel, or "
    "it was compiled with other flags than the kernel"
)
_RANGE_ADVICE = (
    "Load it early, when there is room near the kernel; make it smaller; enable CONFIG_ARM_MODULE_PLTS (arm) or "
    "CONFIG_RANDOMIZE_MODULE_REGION_FULL off (arm64). " + _FLAGS
)

RULES = (
    LogRule(
        "relocation",
        (
            "{module}: Unknown rela relocation: {number}",
            "{module}: Unknown relocation: {number}",
            "{module}: REL relocation unsupported",
        ),
        _UNKNOWN,
        _FLAGS,
        "arch/x86/kernel/module.c, arch/alpha, arch/csky, arch/m68k, arch/microblaze, arch/openrisc, arch/parisc, "
        "arch/sh",
        _FORMAT,
    ),
    LogRule(
        "relocation",
        ("`{module}' likely not compiled with -mcmodel=kernel",),
        "the module was compiled for user space's code model: a relocation's address does not fit into 32 bits, or the "
        "module was placed too far from the kernel",
        _FLAGS,
        "arch/x86/kernel/module.c, arch/arm64/kernel/module.c",
        _FORMAT,
    ),
    LogRule(
        "relocation-target",
        (
            "x86/modules: Skipping invalid relocation target, existing value is nonzero",
            "x86/modules: Invalid relocation target, existing value is nonzero",
            "x86/modules: Invalid relocation target, existing value does not match expected value",
        ),
        "a relocation would write where there is something already: the file was relocated or edited after linking, "
        "or its relocations were made for another toolchain",
        "Build it again, and take the .ko as Kbuild left it; do not run objcopy or strip over it.",
        "arch/x86/kernel/module.c",
        _FORMAT,
    ),
    LogRule(
        "relocation",
        (
            "{module}: unknown relocation: {number}",
            "{module}: unsupported RELA relocation: {number}",
            "{module}: Unsupport relocation type {number}",
            "{module}: Unknown relocation type {number}",
            "{module}: Unknown reloc: {number}",
            "{module}: unknown reloc {hex}",
            "{module}: unknown special reloc {hex}",
            "{module}: special reloc {word} not supported",
            "{module}: {word} reloc not supported",
            "{module}: unknown ADD relocation: {number}",
            "{module}: Unknown ADD relocation: {number}",
            "{module}: unexpected FLIX relocation: {number}",
            "{module}: unexpected ALT relocation: {number}",
            "{module}: unexpected relocation: {number}",
            "{module}: GOT/PLT relocations unsupported",
            "{module}: The unexpected relocation type '{word}' from PC",
            "{module}: Can not find HI20 relocation information",
            "{module}: relocation {word} resulted in unknown format {number}",
            "{module}: format {number} needed by {word} reloc is not supported",
            "do_reloc: unknown relocation operation {number}",
            "Invalid {number}-bit data relocation ({number})",
            "Invalid length ({number}) for data relocation",
            "{module}: Unknown relocation: {hex}",
        ),
        _UNKNOWN,
        _FLAGS,
        "arch/{arc,arm,arm64,hexagon,ia64,loongarch,nios2,powerpc,riscv,s390,sparc,xtensa}/kernel/module*.c",
        _FORMAT,
    ),
    LogRule(
        "relocation-range",
        (
            "module {module}: overflow in relocation type {number} val {hex}",
            "{module}: section {number} reloc {number} sym '{symbol}': relocation {number} out of range",
            "{module}: section {number} reloc {number} sym '{symbol}': out of bounds relocation",
            "{module}: relocation out of range, section {number}",
            "{module}: target {hex} can not be addressed by the 32-bit offset from PC",
            "{module}: value {hex} out of range for 32-bit field",
            "{module}: can not generate the GOT entry for symbol",
            "{module}: REL24 {number} out of range",
            "{module}: REL32 {number} out of range",
            "{module}: Address {word} of stub out of range of",
            "{module}: Address of {word} out of range of kernel_toc",
            "{module}: bad TOC16{word} relocation",
            "{module}: bad TOC16 relocation",
            "{module}: R_HEXAGON_B22_PCREL reloc out of range",
            "{module}: value {number} out of IMM{word} range",
            "module {module} relocation of symbol {symbol} is out of range",
            "module {module}: relocation error for symbol {symbol}",
            "module {module}: relocation overflow",
            "module {module}: dangerous relocation",
            "relocation {word} out of range",
            "module {module}: dangerous R_MIPS_{word}",
            "module {module}: Relocation (type {number}) overflow vs",
            "module {module}: opr1 = {hex} overflow! dangerous",
            "module {module}: opr1 = {hex} unaligned! dangerous",
            "module {module}: jump offset = {hex} overflow! dangerous",
            "module {module}: jump offset = {hex} unaligned! dangerous",
            "{module}: Global Offset Table overflow",
        ),
        _RANGE,
        _RANGE_ADVICE,
        "arch/{alpha,arm,hexagon,ia64,loongarch,mips,nios2,parisc,powerpc,riscv,s390,xtensa}/kernel/module*.c",
        _FORMAT,
    ),
    LogRule(
        "relocation",
        (
            "{module}: section {number} reloc {number}: bad relocation sym offset",
            "{module}: section {number} reloc {number} sym '{symbol}': unsupported interworking call",
            "{module}: Expected nop after call, got {hex} at",
            "{module}: {word} reloc against non-local symbol",
            "{module}: module contains bad GOT relocation",
            "{module}: mistargeted PLT: wanted {hex}, got {hex}",
            "{module}: invalid slot number {number} for",
            "{module}: fdesc for zero requested",
            "{module}: zero OPD requested",
            "stub {hex} not in module {module}",
            "fault reading magic for stub {hex} for {module}",
            "bad magic for stub {hex} for {module}",
            "fault reading funcdata for stub {hex} for {module}",
        ),
        "a relocation contradicts the code that it changes: compiled with other flags (Thumb and ARM mixed, another "
        "ABI) than the kernel, or damaged",
        _FLAGS,
        "arch/{arm,ia64,loongarch,parisc,powerpc}/kernel/module*.c",
        _FORMAT,
    ),
    LogRule(
        "relocation",
        ("overflow in relocation type {number} val {hex}",),
        "a relocation's address does not fit into 32 bits: the module was compiled for user space's code model, or "
        "was placed too far from the kernel",
        _FLAGS,
        "arch/x86/kernel/module.c",
        _FORMAT,
    ),
    LogRule(
        "sections",
        (
            "{module}: module PLT section(s) missing",
            "{module}: module GOT section(s) missing",
            "{module}: module GOT.PLT section(s) missing",
            "{module}: module PLT.IDX section(s) missing",
            "{module}: module symtab section missing",
            "{module}: sections missing",
            "{module}: doesn't contain .stubs",
            "Module doesn't contain .plt or .init.plt sections",
            "Module '{module}' contains unexpected .plt/.got sections",
            "module {module}: no symbol table",
            "module {module}: no got section",
            "module {module}: no memory for symbol chain buffer",
            "{module}: no symtab found",
        ),
        "ELF sections that the kernel's linker script for modules (module.lds) makes are missing: the module was "
        "linked without it",
        "Link it with Kbuild (`make -C .../build M=$PWD`), not with ld by hand.",
        "arch/*/kernel/module*.c",
        _FORMAT,
    ),
)
