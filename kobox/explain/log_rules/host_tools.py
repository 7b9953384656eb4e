"""Rules for what is wrong on the machine that builds: a tool, a header, memory or rights are missing."""

from kobox.explain.log_rule import LogRule

RULES = (
    LogRule(
        "library-header-missing",
        (
            "fatal error: openssl/{file}: No such file or directory",
            "fatal error: gelf.h: No such file or directory",
            "fatal error: libelf.h: No such file or directory",
            "fatal error: elfutils/{file}: No such file or directory",
            "fatal error: ncurses.h: No such file or directory",
            "fatal error: curses.h: No such file or directory",
            "fatal error: zlib.h: No such file or directory",
            "fatal error: dwarf.h: No such file or directory",
            "fatal error: gmp.h: No such file or directory",
            "fatal error: mpc.h: No such file or directory",
        ),
        "a library that the kernel's own tools (objtool, sign-file) need is not installed: its header is missing",
        "Install its development package (libssl-dev or openssl-devel, libelf-dev or elfutils-libelf-devel, "
        "libncurses-dev, zlib1g-dev, libgmp-dev and libmpc-dev).",
        "gcc",
    ),
    LogRule(
        "makefile-path",
        ("source directory cannot contain spaces or colons", "main directory cannot contain spaces nor colons"),
        "the path of the source directory has a space or a colon in it, which Kbuild does not take",
        "Move the source to a path without them.",
        "the kernel's Makefile",
    ),
    LogRule(
        "out-of-memory",
        (
            "Killed signal terminated program {word}",
            "internal compiler error: Killed",
            "cc1: out of memory allocating",
            "virtual memory exhausted: Cannot allocate memory",
            "Out of memory: Killed process {number} (cc1)",
        ),
        "the compiler ran out of memory, and the kernel ended it",
        "Build fewer files at once (`make -j1`), or give the machine more memory or swap.",
        "gcc, mm/oom_kill.c",
    ),
    LogRule(
        "read-only",
        ("'/lib/modules/{path}': Read-only file system", "{path}: Read-only file system"),
        "the file system that is written to is mounted read-only: an immutable system (ostree, NixOS, a container, an "
        "initramfs), or one with errors",
        "`mount -o remount,rw /` where that is allowed; on an immutable system, install modules the distribution's "
        "way.",
        "any tool",
        ("EROFS",),
    ),
    LogRule(
        "not-root",
        (
            "cannot create regular file '/lib/modules/{path}': Permission denied",
            "cannot create directory '/lib/modules/{path}': Permission denied",
            "cannot remove '/lib/modules/{path}': Permission denied",
        ),
        "root alone may install modules",
        "Run `make modules_install` with sudo.",
        "coreutils",
        ("EACCES",),
    ),
    LogRule(
        "dkms-conf",
        (
            "dkms.conf: Error! No '{directive}' directive specified",
            "dkms.conf: Error! Directive '{directive}' does not",
            "dkms.conf: Error! Unsupported AUTOINSTALL value",
            "Error! Bad conf file",
        ),
        "dkms.conf is missing, or lacks a directive that it must have",
        "It has to have PACKAGE_NAME, PACKAGE_VERSION, BUILT_MODULE_NAME[0] and DEST_MODULE_LOCATION[0]; `kobox "
        "package --dkms` writes one.",
        "dkms",
    ),
    LogRule(
        "section-conflict",
        ("'{symbol}' causes a section type conflict with '{other}'", "{symbol} causes a section type conflict"),
        "constant and writable data are put into one section: a const variable with __initdata, or the reverse",
        "const data takes __initconst, writable data __initdata.",
        "gcc",
    ),
    LogRule(
        "package-kernel",
        (
            "nothing provides ksym({symbol}) = {crc} needed by {package}",
            "nothing provides kernel({symbol}) = {crc} needed by {package}",
            "nothing provides kernel >= {release} needed by {package}",
            "nothing provides kernel = {release} needed by {package}",
            "Requires: ksym({symbol}) = {crc}",
            "Requires: kernel({symbol}) = {crc}",
        ),
        "the package's modules were built for another kernel: a symbol that they use has another version in this one, "
        "or is not there",
        "Install the package's build for the installed kernel, or the kernel that it was built for.",
        "dnf, zypper, rpm",
    ),
    LogRule(
        "prebuilt-driver",
        (
            "Unable to find a prebuilt {word} module",
            "Unable to find a prebuilt {word} driver",
            "Kernel headers likely not installed",
            "and that the {word} module is loaded",
        ),
        "no driver of the program is loaded: none is prebuilt for this kernel, and it could not be built here",
        "Install the headers of the running kernel (linux-headers-$(uname -r)) and build it again; `modprobe NAME` "
        "says why a driver that is there does not load.",
        "falco, sysdig",
        vague=True,
    ),
)
