"""What the errno of a refused load or unload can mean, the commonest first; with the next step for each."""

from __future__ import annotations

import errno as numbers
import os
import re

from kobox.explain.cause import Possibility

_PACKED = re.compile(r"\.ko\.(?:xz|zst|gz)\b")
_POSSIBILITIES = (
    Possibility(
        "foreign-key",
        "this kernel enforces signatures, as under Secure Boot, and the module has none, or one of a key that the "
        "kernel does not trust",
        "`mokutil --sb-state` tells whether Secure Boot is on. Sign the module (`kobox sign`) and enrol the key's "
        "certificate (`mokutil --import`, reboot), or turn Secure Boot off in the firmware.",
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
        "`mokutil --sb-state` and `cat /sys/kernel/security/lockdown` tell. Sign it (`kobox sign`) and enrol the key "
        "with mokutil, or turn Secure Boot off in the firmware.",
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
        "-r`); reboot if a newer kernel was installed.",
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
        "virtualisation-held",
        "another hypervisor (VirtualBox, VMware) uses the processor's virtualisation, which only one can have",
        "Stop its machines and unload its modules (vboxdrv, vmmon), then load it again.",
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
        "something that it wants for itself is taken: a device number (register_chrdev), I/O ports, memory, an "
        "interrupt, or a device that another driver holds",
        "`cat /proc/devices /proc/ioports /proc/iomem /proc/interrupts`, `lspci -k`: unload the other driver; let "
        "alloc_chrdev_region() choose a free number.",
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
_VIRTUALISATION = re.compile(r"\bkvm[-_](?:intel|amd)\b")
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
    "EOPNOTSUPP": ("config-off", "virtualisation-off"),
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
    if not unload and _VIRTUALISATION.search(line) and errno in ("EIO", "EBUSY", "EOPNOTSUPP"):
        rules = (
            ("virtualisation-held", "virtualisation-off") if errno == "EBUSY" else ("virtualisation-off", "no-device")
        )
    if errno in ("ENOEXEC", "EOPNOTSUPP") and _PACKED.search(line) and "could not insert" not in line:
        rules = ("packed", *(rules if errno == "ENOEXEC" else ()))
    if not errno:
        return (_UNKNOWN,)
    known = tuple(POSSIBILITIES[rule] for rule in rules)
    if known:
        return known + ((_INIT,) if errno in _BY_INIT and not unload else ())
    text = os.strerror(getattr(numbers, errno)) if hasattr(numbers, errno) else errno
    return (Possibility(_INIT.rule, f"the module's own init function refused: {text} ({errno})", _INIT.advice),)
