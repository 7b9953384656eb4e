"""From the log of a failed load or unload to its cause: which rule of the kernel it was, why, and what to do.

The kernel's words are those of kernel/module/main.c, version.c, signing.c, kernel/params.c, security/lockdown and
kernel/bpf/btf.c. For some refusals it has none, and only the errno tells: as `insmod`, `modprobe`, `rmmod` and
kobox itself show it (`insmod: ERROR: could not insert module x.ko: File exists`).
"""

from __future__ import annotations

import errno as numbers
import os
import re
from collections.abc import Sequence
from typing import NamedTuple


class Cause(NamedTuple):
    """One thing that the log tells of. `rule` names it; `fatal` is false for what only taints or warns.

    `line` is what it was seen by, `module` "" when the kernel does not say which.
    """

    rule: str
    module: str
    why: str
    advice: str
    line: str
    fatal: bool = True


class _Rule(NamedTuple):
    rule: str
    pattern: re.Pattern[str]
    why: str
    advice: str
    fatal: bool = True


def _rule(rule: str, pattern: str, why: str, advice: str, *, fatal: bool = True) -> _Rule:
    return _Rule(rule, re.compile(pattern), why, advice, fatal)


_M = r"(?P<module>[\w-]+): "
_RULES = (
    _rule(
        "unsigned",
        r"Loading of unsigned module is rejected",
        "the module has no signature, and this kernel enforces signatures (sig_enforce, or Secure Boot)",
        "Sign it with a key that the kernel trusts: `kobox sign`; enrol the key's certificate with mokutil.",
    ),
    _rule(
        "foreign-key",
        r"Loading of module with unavailable key is rejected",
        "the module is signed with a key that this kernel does not trust",
        "Enrol that key's certificate (mokutil --import), or sign with a trusted key. `kobox verify` says who signed.",
    ),
    _rule(
        "signature-crypto",
        r"Loading of module with unsupported crypto is rejected",
        "the signature uses an algorithm that this kernel has no code for",
        "Sign with RSA and sha256, which every kernel knows.",
    ),
    _rule(
        "lockdown",
        r"Lockdown: (?P<program>.+?): unsigned module loading is restricted",
        "the kernel is locked down, as under Secure Boot, and the module has no signature that it trusts",
        "Sign it with a trusted key; for Secure Boot, enrol the certificate with mokutil and reboot.",
    ),
    _rule(
        "unsigned",
        _M + r"module verification failed: signature and/or required key missing - tainting kernel",
        "the module has no signature that the kernel trusts; it is loaded all the same, as signatures are not enforced",
        "Nothing has to be done; a kernel that enforces signatures would refuse it.",
        fatal=False,
    ),
    _rule(
        "out-of-tree",
        _M + r"loading out-of-tree module taints kernel",
        "the module was built outside the kernel's source",
        "Nothing has to be done.",
        fatal=False,
    ),
    _rule(
        "hash-blacklisted",
        r"Module hash (?P<hash>[0-9a-f]+) is blacklisted",
        "the hash of this very file is on the kernel's (the firmware's) list of forbidden ones",
        "Take another build of the module.",
    ),
    _rule(
        "blacklisted",
        r"Module (?P<module>\S+) is blacklisted",
        "the kernel's command line forbids it: module_blacklist= names {module}",
        "Take it off the list in the boot loader's configuration and reboot.",
    ),
    _rule(
        "vermagic",
        _M + r"version magic '(?P<has>.*)' should be '(?P<wants>.*)'",
        "the module was built for another kernel or configuration: it says `{has}`, the kernel `{wants}`",
        "Build it against the headers of the running kernel (`kobox build --kernel`); forcing it risks a crash.",
    ),
    _rule(
        "vermagic-forced",
        _M + r"bad vermagic: kernel tainted",
        "the module carries no version magic, or it was told to be ignored; the kernel is tainted",
        "Build it for this kernel instead of forcing it.",
        fatal=False,
    ),
    _rule(
        "module-layout",
        _M + r"disagrees about version of symbol module_layout",
        "the module was built against headers whose struct module differs: another kernel's",
        "Build it against the headers of exactly this kernel.",
    ),
    _rule(
        "crc",
        _M + r"disagrees about version of symbol (?P<symbol>\S+)",
        "the CRC of {symbol}, that is its prototype and all types in it, is another than the module was built with",
        "Build it against this kernel's headers and the Module.symvers of the module that exports {symbol}.",
    ),
    _rule(
        "no-version",
        _M + r"no symbol version for (?P<symbol>\S+)",
        "the module carries no CRC for {symbol}, and the kernel wants one",
        "Build it with the exporting module's Module.symvers (KBUILD_EXTRA_SYMBOLS).",
    ),
    _rule(
        "versions-forced",
        _M + r"(?P<symbol>\w+): kernel tainted",
        "the module has no symbol versions, or they were told to be ignored; the kernel is tainted",
        "Build it against this kernel's headers, with its Module.symvers.",
        fatal=False,
    ),
    _rule(
        "crc",
        _M + r"Unknown symbol (?P<symbol>\S+) \(err -22\)",
        "the kernel has {symbol}, and does not give it: its CRC or namespace does not fit (the line before says which)",
        "Build against this kernel's headers; import the namespace with MODULE_IMPORT_NS.",
    ),
    _rule(
        "unknown-symbol",
        _M + r"Unknown symbol (?P<symbol>\S+) \(err -2\)",
        "nothing that is loaded exports {symbol} to this module: the module that has it is not loaded, no kernel "
        "module has it, or it is EXPORT_SYMBOL_GPL and this module's licence is not the GPL",
        "Load it with modprobe, which brings what it depends on; `kobox explain FILE.ko` finds out who exports it.",
    ),
    _rule(
        "namespace",
        _M + r"module uses symbol \(?(?P<symbol>[^\s)]+)\)? from namespace (?P<namespace>\S+), but does not import it",
        "{symbol} is in the symbol namespace {namespace}",
        'Add MODULE_IMPORT_NS("{namespace}") to the module (without the quotes before 6.13).',
    ),
    _rule(
        "proprietary-provider",
        _M + r"module using GPL-only symbols uses symbols (?P<symbol>\S+) from proprietary module (?P<other>[\w-]+)",
        "a module that uses GPL-only symbols may not use symbols of a proprietary one ({other})",
        "Do without {other}, or without the GPL-only symbols.",
    ),
    _rule(
        "duplicate-export",
        _M + r"exports duplicate symbol (?P<symbol>\S+) \(owned by (?P<owner>[\w-]+)\)",
        "{symbol} is exported by {owner} already",
        "Unload {owner} (it may be the same module under another name), or rename the symbol.",
    ),
    _rule(
        "bad-parameter",
        _M + r"`(?P<value>.*)' (?P<what>invalid|too large) for parameter `(?P<parameter>.*)'",
        "parameter {parameter} does not take `{value}`",
        "`kobox modinfo -p` lists the parameters and their types; modprobe.d may set it, too.",
    ),
    _rule(
        "bad-parameter",
        r"(?P<parameter>\w+): (string parameter too long|string doesn't fit in \d+ chars|can only take \d+ arg)",
        "parameter {parameter} is given more than it takes",
        "`kobox modinfo -p` lists the parameters and their types; modprobe.d may set it, too.",
    ),
    _rule(
        "unknown-parameter",
        _M + r"(?:unknown parameter|parameters) '(?P<parameter>.*)' (?:after `--' )?ignored",
        "the module has no parameter {parameter}; it was ignored",
        "`kobox modinfo -p` lists the parameters.",
        fatal=False,
    ),
    _rule(
        "truncated",
        r"Invalid ELF section (header overflow|offset/size|in module|hdr\()|section header table goes past the end",
        "the file is shorter than its own table of sections says: it was cut off",
        "Copy or build it again; is the disk full?",
    ),
    _rule(
        "not-elf",
        r"Invalid ELF header (magic|len|type)",
        "the file is no ELF object: a compressed module that nobody unpacked, or something else",
        "insmod and modprobe of kmod unpack .xz, .zst and .gz; `kobox insmod` does, too.",
    ),
    _rule(
        "architecture",
        r"Invalid architecture in ELF header: (?P<machine>\d+)",
        "the module was built for another processor (e_machine {machine})",
        "Build it for this machine's architecture.",
    ),
    _rule(
        "no-module",
        r"(?P<module>[\w-]+): (No module found in object|module has no symbols \(stripped\?\))",
        "the object is no whole module: modpost's part is missing, or its symbols were stripped away",
        "Take the .ko that Kbuild made, not a .o; strip with --strip-debug only.",
    ),
    _rule(
        "sections",
        r"Invalid ELF section (header size|name)|ELF Spec violation|empty section name table|Invalid ELF sh_link",
        "the file's table of sections contradicts itself: it was damaged, or written by a tool that went wrong",
        "Build it again; strip and objcopy of another architecture do this.",
    ),
    _rule(
        "relocation",
        r"(?P<module>[\w-]+): (Unknown rela relocation: \d+|REL relocation unsupported)",
        "the module holds relocations that the kernel has no code for: it was compiled as position-independent code, "
        "or for another code model",
        "Build it with Kbuild, which gives the right flags (-mcmodel=kernel -fno-pic).",
    ),
    _rule(
        "relocation",
        r"overflow in relocation type \d+|`(?P<module>[\w-]+)' likely not compiled with -mcmodel=kernel",
        "the module was compiled for user space's code model: its addresses have room for 32 bits without sign",
        "Build it with Kbuild, which gives the right flags (-mcmodel=kernel -fno-pic).",
    ),
    _rule(
        "relocation-target",
        r"x86/modules: (Skipping invalid|Invalid) relocation target, existing value is nonzero",
        "a relocation would write where there is something already: the file was relocated or edited after linking",
        "Build it again, and take the .ko as Kbuild left it.",
    ),
    _rule(
        "common-symbol",
        _M + r"please compile with -fno-common",
        "a variable without initial value was compiled as a common symbol, which modules cannot have",
        "Build it with Kbuild, which gives -fno-common.",
    ),
    _rule(
        "layout-size",
        r"(?P<module>[\w-]+): \.gnu\.linkonce\.this_module section size must match",
        "struct module has another size in this kernel than in the headers that the module was built with",
        "Build it against the headers of exactly this kernel.",
    ),
    _rule(
        "init-positive",
        r"do_init_module: '(?P<module>[\w-]+)'->init suspiciously returned (?P<value>\d+)",
        "its init function returned {value}, where 0 or a negative errno is meant; the module is loaded",
        "Return 0 or -ERRNO.",
        fatal=False,
    ),
    _rule(
        "already-loaded",
        _M + r"module is already loaded",
        "a module of that name is part of the kernel or loaded",
        "Nothing has to be loaded; to replace a loaded one, unload it first.",
    ),
    _rule(
        "btf",
        r"failed to validate module \[(?P<module>[\w-]+)\] BTF: (?P<error>-\d+)",
        "the module's BTF refers to another vmlinux than the running one; a kernel without MODULE_ALLOW_BTF_MISMATCH "
        "(Debian's 7.2) refuses it, others (its 6.1, 6.12) load it all the same",
        "Build it against this kernel's headers, with its vmlinux for BTF or without BTF.",
    ),
    _rule(
        "memory",
        r"vmap allocation for size \d+ failed|vmalloc error: size \d+|page allocation failure"
        r"|(?P<module>[\w-]+): Could not allocate",
        "there was no memory, or no room among the kernel's addresses for modules",
        "Free memory, or unload modules; large static arrays belong into vmalloc or kmalloc.",
    ),
    _rule(
        "in-use",
        r"Module (?P<module>[\w-]+) is in use(?P<by>( by:? .*)?)",
        "{module} cannot go: it is in use{by}",
        "Unload the modules that use it, close its devices, unmount its file systems; `kobox lsmod` shows who.",
    ),
    _rule(
        "forced",
        r"Disabling lock debugging due to kernel taint",
        "something was forced, or a proprietary module came: the kernel no longer trusts its lock checks",
        "Nothing has to be done.",
        fatal=False,
    ),
)

# Refusals by errno alone: the kernel says nothing more. (rule, why, advice)
_ON_LOAD: dict[str, tuple[str, str, str]] = {
    "EEXIST": ("already-loaded", "a module of that name is loaded already", "Unload it first to replace it."),
    "EKEYREJECTED": (
        "signature-broken",
        "the module was changed after it was signed, or the signature is damaged; that is refused, enforced or not",
        "Sign it again after the last change (strip comes before signing): `kobox sign`.",
    ),
    "EBADMSG": (
        "signature-garbage",
        "what is appended as a signature is none: no PKCS #7 message, or its lengths cannot be true",
        "Take it off with `kobox sign --strip`, and sign the module again.",
    ),
    "ENOPKG": ("signature-crypto", "the signature's algorithm is unknown to this kernel", "Sign with RSA and sha256."),
    "EPERM": (
        "disabled",
        "loading is turned off (kernel.modules_disabled=1), or it was not root who asked",
        "Be root; modules_disabled stays until the next boot.",
    ),
    "ENOMEM": ("memory", "there was no memory for the module", "Free memory, or unload modules."),
    "ENOENT": (
        "unknown-symbol",
        "a symbol is missing: a module that it depends on is not loaded (the kernel's log names the symbol)",
        "Load it with modprobe; look into the log.",
    ),
    "ENOEXEC": (
        "not-elf",
        "it is no module for this kernel: not ELF, empty, damaged, or of another version (the kernel's log says which)",
        "Look into the log; build it for this kernel.",
    ),
    "EINVAL": (
        "invalid",
        "the file is empty, a flag or a parameter is not valid, or the module's init answered EINVAL",
        "Look into the log; check the parameters with `kobox modinfo -p`.",
    ),
}
_ON_UNLOAD: dict[str, tuple[str, str, str]] = {
    "EAGAIN": (
        "in-use",
        "the module is in use: another module, an open device or a mounted file system holds it",
        "`kobox lsmod` shows the modules that use it; end the programs that hold its devices.",
    ),
    "EBUSY": (
        "no-exit",
        "it has no exit function, or it died (an oops) in its init or exit and is stuck there",
        "Only a reboot removes it, or for a module without exit function a forced unload.",
    ),
    "ENOENT": ("not-loaded", "no module of that name is loaded", "`kobox lsmod` lists those that are."),
    "EPERM": _ON_LOAD["EPERM"],
}
_MEANINGS = {
    "Invalid module format": "ENOEXEC",
    "Unknown symbol in module, or unknown parameter (see dmesg)": "ENOENT",
} | {os.strerror(number): name for number, name in numbers.errorcode.items()}
_REFUSED = re.compile(
    r"(?:could not (?P<verb>insert|load|remove)(?: module)? '?(?P<file>[^':]+)'?"
    r"|(?P<name>[^\s:]+): not (?P<un>un)?loaded)"
    r": (?P<said>.+?)(?: \((?P<errno>E[A-Z0-9]+)\))?$"
)
_NOT_LOADED = re.compile(r"Module (?P<module>[\w-]+) is not (currently )?loaded")
_PREFIX = re.compile(
    r"^(?:<\d+>)?(?:\[\s*\d+\.\d+\](?:\[\s*\w+\])?|\w{3}\s+\d+ [\d:]+ \S+ kernel:(?: \[\s*\d+\.\d+\])?)\s*"
)


def causes_in(text: str) -> list[Cause]:
    """Every cause that a text tells of: dmesg's or journalctl's output, that of insmod, modprobe, rmmod, kobox.

    Each comes once, in the text's order. A bare errno counts only where no line explains it.
    """
    found: dict[tuple[str, str, str], Cause] = {}
    refusals: list[tuple[str, str, bool, str]] = []
    for raw in text.splitlines():
        line = _PREFIX.sub("", raw).strip()
        cause = _by_line(line)
        if cause is not None:
            found.setdefault((cause.rule, cause.module, cause.why), cause)
        elif refused := _REFUSED.search(line):
            name = os.path.basename(refused["file"] or refused["name"]).split(".ko")[0].replace("-", "_")
            said = refused["errno"] or _MEANINGS.get(refused["said"], "")
            refusals.append((said, name, refused["verb"] == "remove" or bool(refused["un"]), line))
    explained = any(cause.fatal for cause in found.values())
    for name, module, unload, line in refusals:
        if not explained and name:
            cause = cause_of(name, module=module, unload=unload, line=line)
            found.setdefault((cause.rule, cause.module, cause.why), cause)
    return _without_echoes(list(found.values()))


def _without_echoes(causes: list[Cause]) -> list[Cause]:
    """`Unknown symbol x (err -22)` says nothing new behind the line that gives the reason."""
    told = {cause.module for cause in causes if cause.rule in ("crc", "namespace") and "(err -22)" not in cause.line}
    return [cause for cause in causes if not ("(err -22)" in cause.line and cause.module in told)]


def cause_of(errno: str, *, module: str = "", unload: bool = False, line: str = "", log: Sequence[str] = ()) -> Cause:
    """The cause of a refusal: by what the kernel's log says, else by the errno's name alone."""
    for text in log:
        cause = _by_line(text)
        if cause is not None and cause.fatal:
            return cause
    known = (_ON_UNLOAD if unload else _ON_LOAD).get(errno)
    if known is not None:
        return Cause(known[0], module, known[1], known[2], line)
    number = getattr(numbers, errno, 0)
    return Cause(
        "init-failed",
        module,
        f"the module's own init function refused: {os.strerror(number)} ({errno})",
        "ENODEV: there is no such device here. Otherwise the module's own messages or its source say why.",
        line,
    )


def _by_line(line: str) -> Cause | None:
    for rule in _RULES:
        match = rule.pattern.search(line)
        if match is not None:
            words = {name: value or "" for name, value in match.groupdict().items()}
            return Cause(
                rule.rule,
                words.get("module", ""),
                rule.why.format(**words),
                rule.advice.format(**words),
                line,
                rule.fatal,
            )
    gone = _NOT_LOADED.search(line)
    if gone:
        return Cause("not-loaded", gone["module"], *_ON_UNLOAD["ENOENT"][1:], line)
    return None
