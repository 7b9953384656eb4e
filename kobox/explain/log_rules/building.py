"""Rules for what fails before there is a module: DKMS, Kbuild, modpost, the compiler, sign-file, packages."""

from kobox.explain.log_rule import LogRule

_HEADERS = (
    "Install the headers of exactly the running kernel: linux-headers-$(uname -r) (Debian, Ubuntu), "
    "kernel-devel-$(uname -r) (Fedora, RHEL), linux-headers (Arch). If the packages know only a newer one, update "
    "the kernel and reboot first."
)
_PORT = (
    "The module's source is older than the kernel: take a newer version of it, or port it. `kobox build` says for each "
    "change what replaced it."
)

RULES = (
    LogRule(
        "headers-missing",
        (
            "Your kernel headers for kernel {release} cannot be found",
            "/lib/modules/{release}/build: No such file or directory",
            "/lib/modules/{release}/build: not found",
            "Unable to find the kernel source tree for the currently running kernel",
            "Kernel headers for target kernel {release} not found",
            "kernel headers not found for target kernel {release}",
            "Module build for kernel {release} was skipped since the kernel headers for this kernel do not seem to "
            "be installed",
            "The headers for the current kernel were not found",
            'Please install the linux kernel "header" files matching the current kernel',
            "This system is currently not set up to build kernel modules",
            "Unable to locate package linux-headers-{release}",
            "fatal error: linux/module.h: No such file or directory",
            "linux/module.h: No such file or directory",
            "No rule to make target 'modules'",
            "Kernel headers ({release}) not found",
        ),
        "the headers of the kernel that the module is to be built for are not installed: "
        "/lib/modules/RELEASE/build is missing",
        _HEADERS,
        "dkms, make, apt, VirtualBox, nvidia-installer",
    ),
    LogRule(
        "headers-unprepared",
        (
            "include/generated/autoconf.h or include/config/auto.conf are missing",
            "Kernel configuration is invalid",
            "ERROR: Kernel configuration is invalid",
            "scripts/basic/fixdep: not found",
            "scripts/basic/fixdep: No such file or directory",
            "scripts/mod/modpost: No such file or directory",
            "scripts/mod/modpost: not found",
            "scripts/basic/fixdep: Exec format error",
            "scripts/mod/modpost: Exec format error",
            "modpost: Exec format error",
            "scripts/mod/modpost: {library}: version `{word}' not found",
            "objtool: {library}: version `{word}' not found",
            "scripts/basic/fixdep: {library}: version `{word}' not found",
            "fixdep: Exec format error",
            "No rule to make target 'scripts/module.lds'",
            "No rule to make target 'arch/{word}/include/generated",
            "No rule to make target 'tools/objtool/objtool'",
            "Cannot use CONFIG_STACK_VALIDATION=y, please install libelf-dev",
            "Cannot generate ORC metadata for CONFIG_UNWINDER_ORC=y, please install libelf-dev",
            "please install libelf-dev, libelf-devel or elfutils-libelf-devel",
        ),
        "the kernel's source or headers are not prepared for building modules, or their programs are for another "
        "machine",
        "Run `make oldconfig && make modules_prepare` in the kernel's source, or take the distribution's headers "
        "package; install libelf-dev (elfutils-libelf-devel).",
        "Makefile, scripts/",
    ),
    LogRule(
        "symvers-missing",
        (
            'Symbol version dump "Module.symvers" is missing',
            "Symbol version dump {word}Module.symvers",
            "Module.symvers is missing",
            "WARNING: Module.symvers is missing",
        ),
        "the kernel's Module.symvers is missing where the module is built: it gets no symbol versions, and the "
        "kernel may refuse it",
        "Take the headers package of the running kernel, or build the kernel's modules first (`make modules`).",
        "scripts/Makefile.modpost",
        fatal=False,
    ),
    LogRule(
        "compiler",
        (
            "error: unrecognized command-line option '{option}'",
            "error: unrecognized command line option '{option}'",
            "clang: error: unknown argument: '{option}'",
            "{word}: command not found: gcc",
            "make: gcc: No such file or directory",
            "gcc: not found",
            "/bin/sh: 1: gcc-{number}: not found",
            "gcc-{number}: command not found",
            "gcc-{number}: No such file or directory",
            "Failed CC version check",
            "The compiler differs from the one used to build the kernel",
            "the compiler differs from the one used to build the kernel",
            "does not exactly match the compiler used for compiling the kernel",
            "Compiler version check failed",
            "CONFIG_RETPOLINE=y, but not supported by the compiler",
            "Compiler lacks asm-goto support",
            "Unable to find the development tool `cc' in your path",
            "Unable to find the development tool `{word}` in your path",
            "error: plugin {word} is not compatible with",
            "error: incompatible gcc/plugin versions",
            "cannot load plugin ./scripts/gcc-plugins",
        ),
        "the compiler is not the one that the kernel was built with: it is missing, or too old for the kernel's "
        "options",
        "Install the compiler that `cat /proc/version` names (gcc-12, gcc-13, clang …), and hand it over as CC=.",
        "gcc, clang, dkms, nvidia-installer",
    ),
    LogRule(
        "sign-key",
        (
            "sign-file: {file}: No such file or directory",
            "sign-file: {file}: no such file",
            "SSL error:{word}:system library:{word}:No such file or directory",
            "Private key {file} not found",
            "SSL error:{word}:common libcrypto routines::interrupted or cancelled",
            "SSL error:{word}:Provider routines::unable to get passphrase",
            "SSL error:{word}:system library::No such file or directory",
            "certs/signing_key.pem: No such file or directory",
            "At main.c:{number}",
            "Signing key not found",
            "- SSL error:{word}:PEM routines:{word}:no start line",
            "- SSL error:{word}:BIO routines",
            "kmodsign: {file}: No such file or directory",
            "mok.priv: No such file or directory",
        ),
        "sign-file found no signing key (certs/signing_key.pem), or cannot read it: the module was installed "
        "without signature",
        "Without Secure Boot nothing has to be done. Else make a key (`kobox sign` does, or `openssl req -x509`), "
        "name it in dkms's framework.conf (mok_signing_key, mok_certificate), and enrol it with mokutil.",
        "scripts/sign-file.c, dkms",
        fatal=True,
    ),
    LogRule(
        "makefile-source",
        (
            "No rule to make target '{file}.o', needed by",
            "No rule to make target `{file}.o', needed by",
            "No rule to make target '{file}.c', needed by",
        ),
        "the Makefile asks for {file}.o, and its source file is not there: the name in obj-m or in -objs is "
        "misspelt, or the directory's path has a blank in it, which make takes for the end of a name",
        "Name the object as the .c file is named (obj-m += hello.o for hello.c); build in a directory without blanks.",
        "make",
    ),
    LogRule(
        "makefile-tab",
        ("*** missing separator", "*** Missing separator", "*** commands commence before first target"),
        "the Makefile has a line that make cannot read: a command line has to begin with a TAB, not with spaces",
        "Put a TAB before the command; text copied from a web page has spaces and typographic quotation marks.",
        "make",
    ),
    LogRule(
        "makefile-path",
        ('Syntax error: "(" unexpected', "syntax error near unexpected token `('"),
        "the shell met a parenthesis in a command: the path of the module or of the kernel has blanks or parentheses",
        "Build in a directory whose path has only letters, digits, - and _.",
        "sh, make",
        vague=True,
    ),
    LogRule(
        "makefile-empty",
        (
            "make: Nothing to be done for '{target}'",
            "make: Nothing to be done for `{target}'",
            "*** No targets. Stop",
            "*** No targets specified and no makefile found",
            "No rule to make target '{directory}/Makefile'",
        ),
        "make found nothing to build: the rule has no command (or its command line has no TAB), obj-m names "
        "nothing, or the file is not called Makefile or Kbuild",
        "`obj-m += NAME.o` and `make -C /lib/modules/$(uname -r)/build M=$PWD modules`; `kobox build` needs "
        "no Makefile.",
        "make",
    ),
    LogRule(
        "makefile-directory",
        (
            "make: *** {directory}: No such file or directory. Stop",
            "make[{number}]: *** {directory}: No such file or directory. Stop",
            "*** No rule to make target '{target}'. Stop",
        ),
        "make was sent to a directory that is not there, or asked for a target that the Makefile does not have",
        "Look at the directory behind -C (KDIR, KERNELDIR) and at M=; $(PWD) is empty under sudo: write $(CURDIR).",
        "make",
        vague=True,
    ),
    LogRule(
        "sign-key",
        ("sign-file not found, modules won't be signed", "kmodsign not found, modules won't be signed"),
        "the kernel's headers have no sign-file: the module is installed without signature",
        "Without Secure Boot nothing has to be done; else sign it with `kobox sign`.",
        "dkms",
        fatal=False,
    ),
    LogRule(
        "import-ns-quotes",
        (
            "MODULE_IMPORT_NS({symbol});",
            "EXPORT_SYMBOL_NS({word}, {symbol});",
            "EXPORT_SYMBOL_NS_GPL({word}, {symbol});",
        ),
        "since 6.13 MODULE_IMPORT_NS() and EXPORT_SYMBOL_NS() take the namespace as a string, in quotes",
        'Write MODULE_IMPORT_NS("{symbol}") for 6.13 and newer; before, without quotes.',
        "include/linux/module.h",
    ),
    LogRule(
        "modpost-licence",
        ("modpost: missing MODULE_LICENSE() in {file}", "missing MODULE_LICENSE() in {file}"),
        "MODULE_LICENSE is missing in {file}",
        'Add MODULE_LICENSE("GPL"), or the licence that it really has.',
        "scripts/mod/modpost.c",
    ),
    LogRule(
        "modpost-gpl",
        (
            "GPL-incompatible module {file} uses GPL-only symbol '{symbol}'",
            "GPL-incompatible module {file} uses GPL-only symbol {symbol}",
        ),
        "{symbol} is EXPORT_SYMBOL_GPL: only a module with a GPL-compatible MODULE_LICENSE may use it",
        "Do without {symbol}; a newer version of the driver may.",
        "scripts/mod/modpost.c",
    ),
    LogRule(
        "modpost-undefined",
        (
            'modpost: "{symbol}" [{file}.ko] undefined!',
            'ERROR: "{symbol}" [{file}.ko] undefined!',
            'WARNING: "{symbol}" [{file}.ko] undefined!',
            'WARNING: modpost: "{symbol}" [{file}.ko] undefined!',
        ),
        "{symbol} is exported by nothing that {file} is built with",
        "It is no longer exported, its CONFIG option is off, or another module's Module.symvers has it "
        "(KBUILD_EXTRA_SYMBOLS).",
        "scripts/mod/modpost.c",
    ),
    LogRule(
        "no-space",
        ("No space left on device", "gzip: stdout: No space left on device", "write error: No space left on device"),
        "the disk is full (/boot, /lib or /tmp): what was written is not whole",
        "Free space (`apt autoremove --purge` removes old kernels), then `dpkg --configure -a` or `dkms "
        "autoinstall` again.",
        "any tool",
    ),
    LogRule(
        "interface-changed",
        (
            "error: implicit declaration of function '{symbol}'",
            "has no member named '{symbol}'",
            "error: too many arguments to function '{symbol}'",
            "error: too few arguments to function '{symbol}'",
            "error: '{symbol}' undeclared",
            "error: {what} from incompatible pointer type",
            "assignment of read-only member '{symbol}'",
            "error: conflicting types for '{symbol}'",
            "error: static declaration of '{symbol}' follows non-static declaration",
            "error: incompatible type for argument",
            "error: incompatible types when",
            "error: initialization of '{what}' from incompatible",
            "Unable to build an empty module",
            "fatal error: {file}.h: No such file or directory",
            "error: unknown type name '{symbol}'",
        ),
        "the module does not compile for this kernel: its interface changed{about}",
        _PORT,
        "gcc",
    ),
    LogRule(
        "dkms-build",
        (
            "Error! Bad return status for module build on kernel: {release}",
            "Build of {file} failed for: {release}",
            "dkms: autoinstall for kernel {release} failed",
            "dkms: autoinstall for kernel: {release}",
            "/etc/kernel/postinst.d/dkms exited with return code {number}",
            "/etc/kernel/header_postinst.d/dkms exited with return code {number}",
            "post-installation script subprocess returned error exit status 10",
            "(bad exit status: {number})",
            "Bad return status for module build on kernel: {release}",
            "ERROR (dkms apport): kernel package linux-headers-{release} is not supported",
            "dkms autoinstall on {release} failed for {what}",
            "Error! One or more modules failed to install during autoinstall",
            "Autoinstall on {release} failed for module(s) {what}",
        ),
        "DKMS could not build the module for kernel {release}: the compiler's errors are in make.log",
        "Read /var/lib/dkms/NAME/VERSION/build/make.log from its first error on (give it to `kobox explain --log`); "
        "a newer version of the module may know this kernel.",
        "dkms",
        vague=True,
    ),
    LogRule(
        "vmware-build",
        ("Unable to install all modules. See log", "Failed to build {word}. Failed to execute the build command"),
        "VMware could not build its modules vmmon and vmnet for the running kernel: its headers are missing, or the "
        "kernel is newer than this version of VMware knows",
        "Install the running kernel's headers and the compiler, then `vmware-modconfig --console --install-all`; else "
        "take a newer version of VMware. The log that it names has the compiler's errors: give it to `kobox explain "
        "--log`.",
        "VMware",
        vague=True,
    ),
    LogRule(
        "dkms-other",
        (
            "Error! DKMS tree already contains: {what}",
            "Error! Could not locate dkms.conf file",
            "Error! Could not find module source directory",
            "Error! The directory {word} does not appear to have module source located within it",
            "Error! Module version {word} for {file} is not newer than what is already found in kernel",
            "is not newer than what is already found in kernel {release}",
            "Error! Your kernel {release} cannot be found",
        ),
        "DKMS refuses: the module is registered already, its source or dkms.conf is missing, or the kernel has a "
        "newer version itself",
        "`dkms status` shows what is registered; `dkms remove NAME/VERSION --all` and add it again, or `dkms "
        "install --force`.",
        "dkms",
    ),
    LogRule(
        "kernel-too-new",
        (
            "Cannot build against kernel version {release}",
            "The maximum supported kernel version is {release}",
            "newer than what is supported by this version",
        ),
        "the module's own configuration says that this kernel is newer than it supports",
        "Take a newer version of the module, or boot a kernel that it supports.",
        "zfs, nvidia-installer, configure scripts",
    ),
    LogRule(
        "rustc",
        ("compiled by an incompatible version of rustc", "the crate `kernel` compiled by an incompatible"),
        "the module is in Rust, and the kernel's crates were compiled by another rustc: each rustc reads only its own",
        "Install exactly the rustc that the kernel was built with (CONFIG_RUSTC_VERSION_TEXT in its configuration).",
        "rustc",
    ),
    LogRule(
        "dkms-excluded",
        (
            "includes a BUILD_EXCLUSIVE directive which does not match this kernel",
            "does not match this kernel/arch. This indicates that it should not be built",
        ),
        "DKMS does not build the module for this kernel: BUILD_EXCLUSIVE in its dkms.conf leaves this kernel, "
        "configuration or processor out",
        "Take a newer version of the module, which supports this kernel, or boot an older kernel.",
        "dkms",
    ),
    LogRule(
        "depmod-skipped",
        ("modules_install: missing 'System.map' file. Skipping depmod", "missing 'System.map' file. Skipping depmod"),
        "depmod was not run after the module was installed: modprobe does not find it until then",
        "Run `depmod -a`.",
        "scripts/depmod.sh, Makefile",
        fatal=False,
    ),
    LogRule(
        "modpost-description",
        ("modpost: missing MODULE_DESCRIPTION() in {file}", "missing MODULE_DESCRIPTION() in {file}"),
        "MODULE_DESCRIPTION is missing in {file}; that stops nothing",
        'Add MODULE_DESCRIPTION("…").',
        "scripts/mod/modpost.c",
        fatal=False,
    ),
    LogRule(
        "section-mismatch",
        ("section mismatch in reference: {reference}", "Section mismatch in reference from {reference}"),
        "code that stays refers to code or data that is freed after init (.init.text, .init.data): using it later "
        "crashes",
        "Remove __init or __exit from what is used later, or add it to the caller.",
        "scripts/mod/modpost.c",
        fatal=False,
    ),
    LogRule(
        "btf-skipped",
        ("Skipping BTF generation for {file} due to unavailability of vmlinux",),
        "no BTF was made for the module, as the headers have no vmlinux",
        "Nothing has to be done: the module works without BTF.",
        "scripts/Makefile.modfinal",
        fatal=False,
    ),
    LogRule(
        "objtool",
        ("warning: objtool: {what}", "error: objtool: {what}"),
        "objtool does not understand the machine code of an object ({what}): most often a function that does not "
        "return is not marked __noreturn, or assembly has no annotations",
        "With gcc's own code: take the compiler that the kernel was built with. For a binary blob: "
        "OBJECT_FILES_NON_STANDARD_NAME.o := y.",
        "tools/objtool",
        fatal=False,
    ),
    LogRule(
        "missing-prototype",
        ("no previous prototype for '{symbol}'",),
        "{symbol}() is not static and no header declares it",
        "Make {symbol}() static, or include the header that declares it.",
        "gcc",
        fatal=False,
    ),
    LogRule(
        "frame-size",
        ("the frame size of {number} bytes is larger than {other} bytes",),
        "a function needs {number} bytes of the kernel's stack, which has 16 KiB for everything",
        "Allocate large arrays and structures with kmalloc().",
        "gcc",
        fatal=False,
    ),
    LogRule(
        "compile-error",
        (
            ".c:{number}:{other}: error: {what}",
            ".h:{number}:{other}: error: {what}",
            ".c:{number}: error: {what}",
            ".c:{number}:{other}: fatal error: {what}",
        ),
        "the compiler refuses the source: {what}",
        "Mend the first error; those after it often follow from it. `kobox build` gives help for what it knows.",
        "gcc, clang",
        vague=True,
    ),
    LogRule(
        "make-failed",
        (
            "make: *** [{where_}] Error {number}",
            "make[{number}]: *** [{where_}] Error {number}",
            "make: *** [{where_}] Fehler {number}",
        ),
        "the build failed; the first error above says why",
        'Read the log from its first "error:" on; `kobox build` gives help for what it knows.',
        "make",
        vague=True,
    ),
)
