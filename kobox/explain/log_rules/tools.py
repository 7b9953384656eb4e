"""Rules for what the tools themselves say: kmod, module-init-tools, busybox, systemd, depmod, initramfs makers, strace.

What they print behind an errno's text (`could not insert 'x': File exists`) is in kobox.explain.refusals.
"""

from kobox.explain.cause import Possibility
from kobox.explain.log_rule import LogRule

_KMOD = "kmod, module-init-tools, busybox"
_NOT_BUILT = (
    "Compare `uname -r` with `ls /lib/modules`: after a kernel update, reboot. A module from outside the kernel has "
    "to be built for this kernel: install its headers (linux-headers-$(uname -r)) and run `dkms autoinstall` or "
    "`make modules_install`, then `depmod -a`."
)
_REBOOT = Possibility(
    "kernel-updated",
    "the kernel was updated, and its package removed the directory of the kernel that still runs",
    "Reboot.",
)
_CONTAINER = Possibility(
    "container",
    "this is a container or a chroot: it runs the host's kernel, whose modules are not in it",
    "Load the module on the host; mount /lib/modules into the container.",
)

RULES = (
    LogRule(
        "built-in",
        ("Module {module} is builtin", "Module {module} is built-in", "{module} is builtin"),
        "it is built into this kernel (CONFIG_…=y): it is always there, and cannot be loaded or removed",
        "Nothing has to be loaded. To be rid of it, boot another kernel; its parameters go on the kernel's command "
        "line as {module}.NAME=VALUE.",
        _KMOD,
    ),
    LogRule(
        "in-use",
        (
            "Module {module} is in use by: {users}",
            "Module {module} is in use by {users}",
            "Module {module} is in use",
            "{module} is in use by {users}",
            "can't unload module '{module}': Resource temporarily unavailable",
        ),
        "it cannot be removed: it is in use{by}",
        "Unload the modules that use it first (`modprobe -r` does), close its devices, unmount its file systems; "
        "`kobox lsmod` shows who.",
        _KMOD,
        ("EAGAIN", "EBUSY"),
    ),
    LogRule(
        "not-loaded",
        (
            "Module {module} is not currently loaded",
            "Module {module} is not loaded",
            "Module {module} does not exist in /proc/modules",
            "rmmod: can't unload module '{module}': No such file or directory",
            "rmmod: {module}: No such file or directory",
        ),
        "no module of that name is loaded",
        "`kobox lsmod` lists those that are.",
        _KMOD,
        vague=True,
    ),
    LogRule(
        "no-exit",
        ("{module} {number} {number} [permanent]", "{module} {number} [permanent]"),
        "the kernel knows no exit function of the module ([permanent] in /proc/modules): it has no module_exit(), or "
        "it was built against other headers, whose struct module has it at another place",
        "Only a reboot removes it. Give the module an exit function, and build it against exactly the running kernel's "
        "headers.",
        "kernel/module/procfs.c",
        ("EBUSY",),
    ),
    LogRule(
        "stuck",
        ("{module} {number} {number} - Unloading {hex}", "{module} {number} {number} - Loading {hex}"),
        "the module is stuck between loaded and not loaded (/proc/modules): its init or exit function has not come "
        "back, because it waits for ever or ended in an oops",
        "The kernel's log has the oops, or the hung task; only a reboot removes the module.",
        "kernel/module/procfs.c",
        ("EBUSY", "EEXIST", "EAGAIN"),
    ),
    LogRule(
        "no-unload",
        (
            "Module unloading is not supported",
            "Kernel does not have unload support",
            "Kernel doesn't support unloading",
            "kernel does not support module unloading",
        ),
        "this kernel was built without CONFIG_MODULE_UNLOAD: no module can be removed",
        "Reboot, or take a kernel with CONFIG_MODULE_UNLOAD=y.",
        _KMOD,
    ),
    LogRule(
        "no-module-directory",
        (
            "could not open moddep file '{file}'",
            "could not open builtin file '{file}'",
            "could not search modules: No such file or directory",
            "Could not load {directory}/modules.dep: No such file or directory",
            "can't change directory to '{directory}': No such file or directory",
            "chdir({directory}): No such file or directory",
            "can't open '/lib/modules/{release}/modules.dep'",
            "can't open 'modules.dep'",
            "could not open directory /lib/modules/{release}: No such file or directory",
            "could not open directory {directory}: No such file or directory",
            "Couldn't open directory {directory}: No such file or directory",
            "missing {directory} lib/modules directory",
            "Cannot find /lib/modules/{release}",
            "/lib/modules/{release} is not a directory",
            "modules.dep.bin': No such file",
            "Failed to open {directory}/modules.dep: No such file or directory",
            "open {directory}/modules.dep failed: No such file or directory",
            "No such file or directory: /lib/modules/{release}",
            "Missing modules directory: {directory}",
            "Kernel modules directory {directory} not found",
        ),
        "/lib/modules has no directory (or no modules.dep) for this kernel: its modules are not installed, or "
        "depmod was not run",
        _NOT_BUILT,
        _KMOD,
        ("ENOENT",),
        alternatives=(_REBOOT, _CONTAINER),
    ),
    LogRule(
        "module-not-found",
        (
            "Module {module} not found in directory {directory}",
            "Module {module} not found in modules.dep",
            "module {module} not found in modules.dep",
            "module '{module}' not found",
            "Module {module} not found",
            "module {module} not found in",
            "module not found: '{module}'",
            "module not found: `{module}'",
            "Failed to find module '{module}'",
            "Failed to look up module alias '{module}'",
            "Failed to find module {module}",
            "FATAL: Could not find module {module}",
            "could not find module by name='{module}'",
            "could not find module by name={module}",
            "Module alias {module} not found",
            "LoadWithAliases was unable to load {module}$",
            "libmodprobe: Failed to find module {module}",
            "dracut: Failed to find module '{module}'",
            "dracut-install: ERROR: Failed to find module '{module}'",
            "dracut-install: Failed to find module '{module}'",
            "mkinitrd failed: No module {module} found",
            "No module {module} found for kernel {release}",
            "No module called {module} found",
            "Kernel module {module} not found",
            "modinfo: ERROR: Module {module} not found",
            "Module {word} not found in directory",
        ),
        "the module was not found: it is not built or not installed for this kernel, depmod was not run, or its "
        "name is misspelt",
        _NOT_BUILT,
        _KMOD,
        ("ENOENT",),
        alternatives=(
            _REBOOT,
            Possibility(
                "built-in",
                "it is built into the kernel, or this kernel's configuration leaves it out",
                "`grep NAME /lib/modules/$(uname -r)/modules.builtin` and `grep CONFIG_NAME /boot/config-$(uname "
                "-r)` tell.",
            ),
            _CONTAINER,
        ),
    ),
    LogRule(
        "load-failed",
        (
            "kmod: failed to insert {ko}",
            "kmodloader: failed to insert {ko}",
            "failed to insert {ko}",
            "failed to mmap {ko}",
            "failed to read full module {ko}",
            "module could not be probed",
            "modules could not be probed",
        ),
        "OpenWrt's kmodloader could not load the module: it was built for another kernel than the running one, a "
        "module that it needs is missing, or the file is not whole",
        "The kernel's log (`dmesg`) says which; install the kmod-… package of exactly this firmware's kernel.",
        "OpenWrt's ubox",
        vague=True,
    ),
    LogRule(
        "dependency-missing",
        (
            "could not open {file}.ko",
            "failed to load '{module}' needed by",
            "dependency not found: {module}",
            "Error inserting dependency {module}",
            "depends on unknown module {module}",
            "could not load dependency {module}",
        ),
        "modules.dep names a module that is not there, or that does not load",
        "Run `depmod -a`, and install the package that has the missing module (linux-modules-extra, "
        "kernel-modules-extra).",
        _KMOD,
        ("ENOENT",),
    ),
    LogRule(
        "cycle",
        (
            "Cycle detected: {modules}",
            "Module {module} in a dependency cycle",
            "Loop detected: {modules}",
            "WARNING: Module {word} ignored, due to loop",
            "Module {module} has dependency cycle",
        ),
        "modules depend on each other in a cycle: none of them can be loaded first{cycle}",
        "Move what both need into a third module (or into one of them), and run depmod again; the build of one of "
        "them may have taken another's Module.symvers by mistake.",
        "depmod",
    ),
    LogRule(
        "cycle",
        ("Found {number} modules in dependency cycles", "in dependency cycles"),
        "{number} modules depend on each other in a cycle: none of them can be loaded first",
        "The lines before it name them; move what both need into a third module.",
        "depmod",
        vague=True,
    ),
    LogRule(
        "install-command",
        (
            "Error running install command '{command}' for module {module}",
            "Error running install command for {module}",
            "Error running remove command '{command}' for module {module}",
            "Error running install command '{command}'",
            "install command '{command}' failed",
        ),
        "an install line in /etc/modprobe.d is run in place of loading the module, and it failed{on_purpose}",
        "`modprobe -c | grep install` shows it; to load the module all the same: `modprobe --ignore-install NAME`, "
        "or remove the line.",
        _KMOD,
        ("EINVAL", "ENOENT", "EPERM"),
    ),
    LogRule(
        "blacklisted",
        (
            "Module '{module}' is blacklisted",
            "Module '{module}' is deny-listed",
            "Module {module} is denylisted",
            "Module '{module}' is denylisted",
            "module {module} is blacklisted",
        ),
        "it is blacklisted in modprobe.d (or by modprobe.blacklist= on the kernel's command line)",
        "Remove the blacklist line; `modprobe NAME` by its own name loads it all the same.",
        "systemd-modules-load, kmod",
    ),
    LogRule(
        "not-supported-by-vendor",
        (
            "module '{module}' is unsupported",
            "Module {module} is unsupported",
            "Use --allow-unsupported or set allow_unsupported_modules",
            "{module}: module not supported by {vendor}, refusing to load",
            "{module}: module is not supported by {vendor}. To override",
        ),
        "SUSE does not support the module, and its modprobe (or kernel) refuses such modules: the module itself may be "
        "in order",
        "`modprobe --allow-unsupported NAME` loads it once; `allow_unsupported_modules 1` in "
        "/etc/modprobe.d/10-unsupported-modules.conf always.",
        "SUSE's kmod and kernel",
        ("EPERM", "ENOEXEC", "ENOTSUP"),
    ),
    LogRule(
        "not-supported-by-vendor",
        (
            "{module}: module not supported by {vendor}, setting U taint flag",
            "{module}: externally supported module, setting X taint flag",
            "Unmaintained driver is detected: {module}",
            "Deprecated Driver is detected: {module}",
            "Unmaintained hardware is detected: {module}",
            "Deprecated Hardware is detected: {module}",
            "{module}: Hardware is not supported by {vendor}",
        ),
        "the distribution does not maintain or support the module: it is loaded all the same, and this is harmless",
        "Nothing has to be done, but the vendor may refuse reports about this kernel.",
        "SUSE's and Red Hat's kernels",
        fatal=False,
    ),
    LogRule(
        "bad-config",
        (
            "kmod_config_parse: {file} line {number}: ignoring bad line starting with '{word}'",
            "{file} line {number}: ignoring bad line starting with '{word}'",
            "WARNING: All config files need .conf: {file}",
            "All config files need .conf: {file}, it will be ignored",
            "ignoring bad line starting with '{word}'",
        ),
        "modprobe.d has a line that modprobe does not understand, or a file whose name does not end in .conf: it "
        "is ignored",
        "Mend the line (alias, blacklist, options, install, remove, softdep, weakdep), or rename the file.",
        _KMOD,
        fatal=False,
    ),
    LogRule(
        "not-a-module",
        (
            "{file}: not a module",
            "is not a kernel module",
            "not an ELF file",
            "could not get modinfo from '{module}': Invalid",
            "failed to load symbols from {ko}",
        ),
        "the file is not a kernel module, or it is damaged",
        "`kobox explain FILE` says what it is.",
        _KMOD,
        ("ENOEXEC", "EINVAL"),
    ),
    LogRule(
        "modules-order",
        ("could not open modules.order at {directory}", "could not open modules.builtin at {directory}"),
        "the kernel's list of its modules ({directory}) is not installed: depmod works without it, and does not know "
        "the modules' order or the built-in ones",
        "`make modules_install` of the whole kernel installs both files; for modules from "
        "outside nothing has to be done.",
        "depmod",
        fatal=False,
    ),
    LogRule(
        "not-root",
        (
            "could not create /lib/modules",
            "depmod: ERROR: openat(/lib/modules/{file}): Permission denied",
            "openat(/lib/modules/{release}, modules.dep, {number}, {number}): Permission denied",
            "must be superuser",
            "must be root",
        ),
        "root alone may do that",
        "Run it with sudo.",
        _KMOD,
        ("EPERM", "EACCES"),
    ),
    LogRule(
        "no-proc-modules",
        (
            "could not open /proc/modules: No such file or directory",
            "can't open '/proc/modules': No such file or directory",
            "Error: could not get list of modules: No such file or directory",
            "could not get a list of loaded modules",
            "Unable to open /proc/modules: No such file or directory",
        ),
        "/proc/modules is not there: /proc is not mounted, or the kernel is built without CONFIG_MODULES (or is "
        "none: WSL 1)",
        "`mount -t proc proc /proc`; `zgrep CONFIG_MODULES /proc/config.gz` tells whether the kernel has modules "
        "at all.",
        _KMOD,
        ("ENOENT", "ENOSYS"),
    ),
    LogRule(
        "usage",
        (
            "depmod: ERROR: Bad version passed {version}",
            "modprobe: ERROR: missing parameters",
            "rmmod: ERROR: missing module name",
            "insmod: ERROR: missing filename",
            "modinfo: ERROR: missing module or filename",
        ),
        "the command was called without the name, file or release that it needs",
        "modprobe and rmmod take a module's name, insmod a file, depmod a release as `uname -r` prints it.",
        _KMOD,
        vague=True,
    ),
    LogRule(
        "file-missing",
        (
            "insmod: can't read '{file}': No such file or directory",
            "insmod: ERROR: could not load module {file}: No such file or directory",
            "could not load module {file}: No such file or directory",
            "insmod: can't open '{file}'",
            "modinfo: ERROR: Module {file}.ko not found",
            "cannot open `{file}.ko'",
            "insmod: {word}.ko: No such file or directory",
        ),
        "the file {file} is not there",
        "Give insmod the path of the .ko file (modprobe takes the module's name); did the build make it?",
        _KMOD,
        ("ENOENT",),
    ),
    LogRule(
        "modules-load-failed",
        (
            "systemd-modules-load.service: Failed with result",
            "Failed to start Load Kernel Modules",
            "Failed to start systemd-modules-load.service",
        ),
        "a module named in /etc/modules or modules-load.d could not be loaded",
        "`journalctl -b -u systemd-modules-load` names it, and the kernel's log says why: give both to `kobox "
        "explain --log`.",
        "systemd",
        vague=True,
    ),
    LogRule(
        "init-crashed",
        ("insmod: Segmentation fault", "modprobe: Segmentation fault", "rmmod: Segmentation fault"),
        "the kernel killed the tool: the module crashed (an oops) in its init or exit function",
        "The kernel's log has the report (`dmesg`): give it to `kobox explain --log`.",
        "the shell",
        ("EBUSY",),
        vague=True,
    ),
)
