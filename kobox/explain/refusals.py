"""A refused call as a tool tells of it, by the errno alone; and what each errno can mean, the commonest first.

modprobe: ERROR: could not insert 'x': Key was rejected by service          kmod
FATAL: Error inserting x (/lib/modules/…/x.ko): Invalid module format       module-init-tools
insmod: can't insert 'x.ko': unknown symbol in module, or unknown parameter busybox
insmod: failed to load x.ko: Exec format error                              toybox
Failed to insert module 'x': No such device                                 systemd-modules-load
finit_module(3, "", 0) = -1 EEXIST (File exists)                            strace
"""

from __future__ import annotations

import errno as numbers
import os
import re
from dataclasses import dataclass

from kobox.explain.cause import Possibility
from kobox.explain.errno_texts import TRANSLATED
from kobox.explain.log_rule import LONGEST_LINE

_NAMES = [
    "EPERM",
    "ENOENT",
    "ESRCH",
    "EINTR",
    "EIO",
    "ENXIO",
    "ENOEXEC",
    "EBADF",
    "EAGAIN",
    "ENOMEM",
    "EACCES",
    "EFAULT",
    "EBUSY",
    "EEXIST",
    "EXDEV",
    "ENODEV",
    "EINVAL",
    "EFBIG",
    "ENOSPC",
    "ERANGE",
    "ENOSYS",
    "ELOOP",
    "EOPNOTSUPP",
    "EBADMSG",
    "ENODATA",
    "ETIME",
    "ENOPKG",
    "EPROTO",
    "ELIBBAD",
    "ETIMEDOUT",
    "EALREADY",
    "ENOKEY",
    "EKEYEXPIRED",
    "EKEYREVOKED",
    "EKEYREJECTED",
    "EADDRINUSE",
    "EPROBE_DEFER",
]
# What other C libraries and the tools themselves say, in lower case.
_OTHER_WORDS = {
    "invalid module format": "ENOEXEC",
    "unknown symbol in module, or unknown parameter (see dmesg)": "ENOENT",
    "unknown symbol in module, or unknown parameter": "ENOENT",
    "unknown symbol in module": "ENOENT",
    "unknown symbol in module or invalid parameter": "ENOENT",
    "module has wrong symbol version": "ESRCH",
    "invalid parameters": "EINVAL",
    "no such module": "ENOENT",
    "kernel does not have unload support": "ENOSYS",
    "kernel does not support requested operation": "ENOSYS",
    "out of memory": "ENOMEM",
    "not supported": "EOPNOTSUPP",
    "operation not supported on transport endpoint": "EOPNOTSUPP",
    "resource busy": "EBUSY",
    "try again": "EAGAIN",
    "operation would block": "EAGAIN",
    "module is in use": "EAGAIN",
    "no such device or address": "ENXIO",
    "i/o error": "EIO",
    "aucun fichier ou répertoire de ce type": "ENOENT",
    "ne peut allouer de la mémoire": "ENOMEM",
    "periphérique ou ressource occupé": "EBUSY",
    "formato del exec erróneo": "ENOEXEC",
}
# What stands behind a message in JSON, in Markdown, or at the end of a sentence.
_QUOTING = re.compile(r"(?:\\[nr]|[\"'`,;.!\s])*$")
_APOSTROPHES = {0x2019: "'"}
_FILE = r"[`'\"]?(?P<file>[^'\":]+?)[`'\"]?"
_SAID = r": ?(?P<said>.+)$"
_LOADS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"could not (?:insert|load)(?: module)? {_FILE}{_SAID}",
        rf"cannot (?:insert|load)(?: module)? {_FILE}(?: \([^)]*\))?{_SAID}",
        rf"init_module {_FILE} failed (?P<said>\(.+\))$",
        rf"error inserting {_FILE}(?: \([^)]*\))?{_SAID}",
        rf"can't (?:insert|load)(?: module)? {_FILE}(?: \([^)]*\))?{_SAID}",
        rf"couldn't (?:insert|load)(?: module)? {_FILE}(?: \([^)]*\))?{_SAID}",
        rf"failed to (?:insert|load|insmod|init)(?: kernel)?(?: module)? {_FILE}(?: with args '[^']*')?{_SAID}",
        rf"unable to (?:insert|load)(?: kernel)?(?: module)? {_FILE}{_SAID}",
        rf"finit_module for {_FILE} failed{_SAID}",
        r"^(?P<file>[\w./-]+): not loaded: (?P<said>.+)$",
        r"\bf?init_module\((?P<file>[^)]*)\) *= -1 (?P<said>E[A-Z]+)",
    )
)
_UNLOADS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"could not remove(?: module)? {_FILE}{_SAID}",
        rf"error removing {_FILE}(?: \([^)]*\))?{_SAID}",
        rf"\bremoving {_FILE}{_SAID}",
        rf"(?:can't|couldn't|failed to|unable to) (?:unload|remove)(?: kernel)?(?: module)? {_FILE}{_SAID}",
        r"^(?P<file>[\w./-]+): not unloaded: (?P<said>.+)$",
        r"\bdelete_module\(\"(?P<file>[^\"]*)\"[^)]*\) *= -1 (?P<said>E[A-Z]+)",
    )
)
_ANY = re.compile(r"(?:\b(?:insmod|modprobe|rmmod|kmod|depmod|module|modul\w*)\b|\.ko\b)", re.IGNORECASE)
_QUOTED = re.compile(r"[`'\"](?P<file>[\w./+-]+)['\"]")
_BY_PATH = re.compile(r"(?P<file>[\w./+-]+\.ko(?:\.\w+)?)")
_PACKED = re.compile(r"\.ko\.(?:xz|zst|gz)\b")
_UNLOADING = re.compile(r"\brmmod\b|remov|unload|entlad|entfern|décharg|выгруз|удал|卸载|移除", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused load, or unload: the module's name, and the errno's name; either may be "" where it is unknown."""

    module: str
    errno: str
    unload: bool


def errno_of(said: str) -> str:
    """The errno's name behind a text, of any C library, tool or language; "" for none known."""
    named = re.search(r"\((E[A-Z0-9]+)\)\W*$|^(E[A-Z]{2,})$", said.strip())
    if named and (name := (named[1] or named[2]).replace("EWOULDBLOCK", "EAGAIN")) in _NAMES:
        return name
    plain = _QUOTING.sub("", re.sub(r"^-?\d+ ", "", said.strip().lower())).translate(_APOSTROPHES)
    plain = re.sub(r", ?", ", ", plain)
    if (found := _BY_TEXT.get(plain) or _BY_TEXT.get(plain.strip("()"))) is None:
        found = _BY_TEXT.get(plain.partition("(")[0].strip()) or _BY_TEXT.get(plain.rpartition(": ")[2])
    return found or ""


def _by_text() -> dict[str, str]:
    table: dict[str, str] = {}
    for name, texts in TRANSLATED.items():
        table.update((text.translate(_APOSTROPHES), name) for text in texts)
    for name in _NAMES:
        if number := getattr(numbers, name, 0):
            table[os.strerror(number).lower()] = name
    return table | _OTHER_WORDS


_BY_TEXT = _by_text()


def refusal_in(line: str) -> Refusal | None:
    """The refused load or unload that a line of a tool is about, or None. An unknown error text gives errno ""."""
    line = line[:LONGEST_LINE]
    unknown: Refusal | None = None
    for patterns, unload in ((_UNLOADS, True), (_LOADS, False)):
        for pattern in patterns:
            match = pattern.search(line)
            if match is not None:
                found = Refusal(_module_of(match["file"]), errno_of(match["said"]), unload)
                if found.errno:
                    return found
                unknown = unknown or (found if found.module else None)
    return unknown or _refusal_in_other_words(line)


def _refusal_in_other_words(line: str) -> Refusal | None:
    """A line of a tool that nobody foresaw, which ends in a known error text."""
    if _ANY.search(line) is None or ":" not in line:
        return None
    head, _, said = line.rpartition(": ")
    if not head or not (errno := errno_of(said)):
        return None
    named = _QUOTED.search(head) or _BY_PATH.search(head)
    return Refusal(_module_of(named["file"]) if named else "", errno, _UNLOADING.search(head) is not None)


def _module_of(file: str) -> str:
    """A module's name from its path or the arguments of a system call."""
    file = file.strip().strip("`'\"")
    name = os.path.basename(file.split(" (")[0]).split(".ko")[0].replace("-", "_")
    return name if re.fullmatch(r"\w+", name) and not name.isdigit() else ""


# -- what an errno means --------------------------------------------------------------------------------------------

_POSSIBILITIES = (
    Possibility(
        "foreign-key",
        "this kernel enforces signatures, as under Secure Boot, and the module has none, or one of a key that the "
        "kernel does not trust",
        "`mokutil --sb-state` tells whether Secure Boot is on. Sign the module (`kobox sign`) and enrol the key's "
        "certificate "
        "(`mokutil --import`, reboot), or turn Secure Boot off in the firmware.",
    ),
    Possibility(
        "signature-broken",
        "the module was changed after it was signed, or the signature is damaged; that is refused, enforced or not",
        "Sign it again after the last change (strip comes before signing): `kobox sign`; `kobox verify` tells what "
        "is wrong.",
    ),
    Possibility(
        "signature-garbage",
        "what is appended as a signature is not one: not a PKCS #7 message, or its lengths cannot be true",
        "Remove it with `kobox sign --strip`, and sign the module again.",
    ),
    Possibility(
        "signature-crypto",
        "the signature's algorithm is unknown to this kernel",
        "Sign with RSA and sha256: `kobox sign`.",
    ),
    Possibility(
        "key-expired",
        "the key that the module is signed with has expired or was revoked",
        "Sign it with another key: `kobox sign`.",
    ),
    Possibility(
        "lockdown",
        "the kernel is locked down, as under Secure Boot, and the module has no signature that the kernel trusts",
        "`mokutil --sb-state` and `cat /sys/kernel/security/lockdown` tell. Sign it (`kobox sign`) and enrol the "
        "key with mokutil, "
        "or turn Secure Boot off in the firmware.",
    ),
    Possibility(
        "not-root",
        "it was not root who asked, or a container without CAP_SYS_MODULE",
        "Use sudo; in a container, load it on the host.",
    ),
    Possibility(
        "disabled",
        "loading and unloading is turned off: kernel.modules_disabled is 1",
        "It stays so until the next boot: look for modules_disabled in /etc/sysctl.d.",
    ),
    Possibility(
        "blacklisted",
        "module_blacklist= on the kernel's command line names it",
        "`cat /proc/cmdline`; take it off and reboot.",
    ),
    Possibility(
        "already-loaded",
        "a module of that name is loaded already, or built into the kernel",
        "Nothing has to be loaded; to replace a loaded one, unload it first (`rmmod`).",
    ),
    Possibility(
        "name-taken",
        "its init function registers a name or number that exists already (a device, class, /proc or sysfs entry)",
        "The kernel's log names it; another driver for the same thing, or an earlier load that left it behind.",
    ),
    Possibility(
        "vermagic",
        "the module was built for another kernel: its version magic, symbol versions or struct module differ",
        "The kernel's log (`dmesg`) says which. Build it against the headers of exactly the running kernel (`uname "
        "-r`); "
        "reboot if a newer kernel was installed.",
    ),
    Possibility(
        "not-elf",
        "the file is not a module: compressed and not unpacked, cut off, empty, or damaged",
        "`kobox explain FILE` says what it is.",
    ),
    Possibility(
        "packed",
        "the module is compressed, and this tool (busybox, an initramfs) hands it to the kernel without unpacking it",
        "Load it with kmod's modprobe, or unpack it first (`unxz`, `unzstd`, `gunzip`) and run depmod.",
    ),
    Possibility(
        "too-large",
        "the file is larger than the kernel reads, or than its compression says",
        "`kobox explain FILE` says what it is.",
    ),
    Possibility("architecture", "it was built for another processor", "`file FILE.ko`; build it for this machine."),
    Possibility(
        "relocation",
        "it was compiled with other flags or another compiler than the kernel: a relocation is refused",
        "Build it with Kbuild and the kernel's compiler.",
    ),
    Possibility(
        "unknown-symbol",
        "a symbol is missing: a module that it depends on is not loaded, or this kernel does not export it (the "
        "kernel's log names it)",
        "Load it with modprobe (insmod loads nothing else); look into the kernel's log, `dmesg`.",
    ),
    Possibility(
        "crc",
        "its symbols are of another kernel's versions, or in a namespace that it does not import (the kernel's log "
        "names them)",
        "Build it against this kernel's headers, with the Module.symvers of the modules that it uses.",
    ),
    Possibility(
        "bad-parameter",
        "a parameter has a value that it does not take, or (older kernels) does not exist",
        "`modinfo -p` lists them; look into /etc/modprobe.d, too.",
    ),
    Possibility(
        "btf",
        "its BTF (type information) does not fit this kernel's",
        "Build it against this very kernel, or without BTF.",
    ),
    Possibility("invalid", "the file is empty, or a flag is not valid", "`ls -l FILE`; build or copy it again."),
    Possibility(
        "firmware",
        "its init function did not find something, such as a firmware file",
        'Look into the kernel\'s log for "firmware".',
    ),
    Possibility(
        "no-device",
        "its init function found no device that it can drive: the hardware is not there, is another model, or is "
        "held by another driver",
        "`lspci -nnk` and `lsusb` show what is there and who holds it; the kernel's log may say more.",
    ),
    Possibility(
        "virtualisation-off",
        "the processor lacks what it needs, or the firmware has it turned off (virtualisation: VT-x, SVM)",
        "Look into the kernel's log and the firmware's (BIOS) settings.",
    ),
    Possibility(
        "no-modules",
        "the kernel has no system call for it: it is built without CONFIG_MODULES, or it is not Linux itself (WSL "
        "1, gVisor)",
        "`uname -a`; on Windows change to WSL 2 (`wsl --set-version NAME 2`).",
    ),
    Possibility(
        "config-off",
        "this kernel was built without something that it needs (a CONFIG option)",
        "Look into the kernel's log and /boot/config-$(uname -r).",
    ),
    Possibility(
        "memory",
        "there was no memory for the module, or no room among the kernel's addresses for modules",
        "Free memory, or unload modules; large static arrays belong into vmalloc().",
    ),
    Possibility(
        "init-memory",
        "its own init function answered so: something that it creates could not be made (often because the name "
        "exists already)",
        "Look into the kernel's log for what it says before.",
    ),
    Possibility(
        "resource-busy",
        "something that it wants for itself is held by another driver (I/O ports, memory, an interrupt, a device)",
        "`cat /proc/ioports /proc/iomem /proc/interrupts`, `lspci -k`: unload the other driver.",
    ),
    Possibility(
        "provider-not-ready",
        "a module of that name, or one that it needs, is still being loaded or is stuck",
        "`kobox lsmod` and the kernel's log tell.",
    ),
    Possibility(
        "ima", "a security policy (IMA, SELinux, LoadPin) refuses the file", 'Look for "audit" in the kernel\'s log.'
    ),
    Possibility(
        "timeout", "a device did not answer in time", "The kernel's log names it; switch the device off and on."
    ),
    Possibility(
        "in-use",
        "the module is in use: another module, an open device or a mounted file system holds it",
        "`kobox lsmod` shows the modules that use it; end the programs that hold its devices.",
    ),
    Possibility(
        "no-exit",
        "it has no exit function, or it died (an oops) in its init or exit and is stuck there",
        "Only a reboot removes it, or for a module without exit function a forced unload.",
    ),
    Possibility("not-loaded", "no module of that name is loaded", "`kobox lsmod` lists those that are."),
    Possibility("no-unload", "this kernel was built without CONFIG_MODULE_UNLOAD", "Reboot to be rid of it."),
    Possibility(
        "out-of-range", "a parameter is too large for its type", "`modinfo -p` lists the parameters and their types."
    ),
)
POSSIBILITIES = {one.rule: one for one in _POSSIBILITIES}
_ON_LOAD = {
    "EKEYREJECTED": ("foreign-key", "signature-broken"),
    "ENOKEY": ("foreign-key",),
    "EKEYEXPIRED": ("key-expired", "foreign-key"),
    "EKEYREVOKED": ("key-expired", "foreign-key"),
    "EBADMSG": ("signature-garbage", "foreign-key"),
    "ENOPKG": ("signature-crypto", "foreign-key"),
    "ELIBBAD": ("signature-garbage",),
    "EPERM": ("lockdown", "not-root", "disabled", "blacklisted"),
    "EACCES": ("not-root", "ima"),
    "EEXIST": ("already-loaded", "name-taken"),
    "ENOEXEC": ("vermagic", "not-elf", "architecture", "relocation"),
    "ESRCH": ("crc", "vermagic"),
    "ENOENT": ("unknown-symbol", "firmware", "bad-parameter"),
    "EINVAL": ("crc", "bad-parameter", "btf", "invalid"),
    "ENODEV": ("no-device",),
    "ENXIO": ("no-device",),
    "EIO": ("no-device", "virtualisation-off"),
    "EOPNOTSUPP": ("virtualisation-off", "config-off"),
    "ENOSYS": ("no-modules", "config-off"),
    "ENOMEM": ("memory", "init-memory"),
    "EBUSY": ("resource-busy", "provider-not-ready"),
    "EAGAIN": ("provider-not-ready", "firmware"),
    "ENOSPC": ("memory", "bad-parameter"),
    "ERANGE": ("out-of-range",),
    "ETIMEDOUT": ("timeout",),
    "ETIME": ("timeout",),
    "EFBIG": ("too-large",),
    "ENODATA": ("not-elf", "signature-garbage"),
}
# Where the module's own init function can have answered the same.
_BY_INIT = {
    "EBADMSG",
    "ENODEV",
    "EINVAL",
    "EPERM",
    "EACCES",
    "ENOEXEC",
    "EOPNOTSUPP",
    "ENOSYS",
    "EAGAIN",
    "ENOSPC",
    "EIO",
    "ENOKEY",
    "EKEYREJECTED",
}
_INIT = Possibility(
    "init-failed",
    "the module's own init function returned that error",
    "The module's own lines in the kernel's log, or its source, say why; `kobox run` shows which call it came from.",
)
_UNKNOWN = Possibility(
    "unknown-error",
    "the kernel refused, and the text of the error is in a language or of a C library that is not known here",
    "Run the command again with LC_ALL=C before it, and give its message together with the kernel's log (`dmesg`).",
)
_ON_UNLOAD = {
    "EAGAIN": ("in-use",),
    "EBUSY": ("no-exit", "in-use"),
    "ENOENT": ("not-loaded",),
    "EPERM": ("not-root", "disabled"),
    "ENOSYS": ("no-unload",),
}


def meanings(errno: str, *, unload: bool = False, line: str = "") -> tuple[Possibility, ...]:
    """What a refused load (or unload) with an errno's name can mean, the commonest first; never empty.

    `line` is the tool's message: other tools than kmod hand over compressed files as they are.
    """
    rules = (_ON_UNLOAD if unload else _ON_LOAD).get(errno, ())
    if errno == "ENOEXEC" and _PACKED.search(line) and "could not insert" not in line:
        rules = ("packed", *rules)
    if not errno:
        return (_UNKNOWN,)
    known = tuple(POSSIBILITIES[rule] for rule in rules)
    if known:
        return known + ((_INIT,) if errno in _BY_INIT and not unload else ())
    text = os.strerror(getattr(numbers, errno)) if hasattr(numbers, errno) else errno
    return (Possibility(_INIT.rule, f"the module's own init function refused: {text} ({errno})", _INIT.advice),)
