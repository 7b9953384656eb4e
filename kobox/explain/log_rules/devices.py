"""Rules for what a module's own code meets: names that exist, firmware, hardware, drivers in each other's way."""

from kobox.explain.log_rule import LogRule

_LEFT = (
    "Unload the module that made it; if nothing is loaded, an earlier load left it behind, and only a reboot removes "
    "it: the exit function (and init's error path) must undo every registration."
)
_NOT_HERE = ("ENODEV", "ENXIO", "EOPNOTSUPP")

RULES = (
    LogRule(
        "sysfs-duplicate",
        ("sysfs: cannot create duplicate filename '{path}'",),
        "sysfs has {path} already: a second device, bus or class of that name, or one left behind by an earlier load",
        _LEFT,
        "fs/sysfs/dir.c",
        ("EEXIST", "ENOMEM", "EINVAL", "ENODEV"),
        report=True,
    ),
    LogRule(
        "sysfs-duplicate",
        (
            "kobject_add_internal failed for {name} with -EEXIST",
            "kobject_add failed for {name} with -EEXIST",
            "Driver '{name}' is already registered, aborting",
            "Error: Driver '{name}' is already registered, aborting",
        ),
        "{name} is registered already: a second driver or device of that name, or one left behind by an earlier load",
        _LEFT,
        "lib/kobject.c, drivers/base/driver.c",
        ("EEXIST", "ENOMEM", "EINVAL", "EBUSY"),
    ),
    LogRule(
        "procfs-duplicate",
        ("proc_dir_entry '{path}' already registered",),
        "/proc has {path} already: a second module makes it, or an earlier load left it behind",
        _LEFT,
        "fs/proc/generic.c",
        ("ENOMEM", "EEXIST"),
        report=True,
    ),
    LogRule(
        "debugfs-duplicate",
        (
            "debugfs: Directory '{path}' with parent '{parent}' already present",
            "debugfs: File '{path}' in directory '{parent}' already present",
        ),
        "debugfs has {path} already: a second instance, or one left behind by an earlier load",
        _LEFT,
        "fs/debugfs/inode.c",
        fatal=False,
    ),
    LogRule(
        "cache-duplicate",
        (
            "kmem_cache_create({name}): failed",
            "kmem_cache_create({name}) failed",
            "kmem_cache_create: duplicate cache {name}",
            "kmem_cache_sanity_check ({name}): Cache name already exists",
            "kmem_cache of name '{name}' already exists",
        ),
        "a slab cache of the name {name} exists already or could not be made: an earlier load left it behind",
        "Call kmem_cache_destroy() in the exit function; give the cache a name of its own.",
        "mm/slab_common.c",
        ("ENOMEM", "EEXIST", "EINVAL"),
    ),
    LogRule(
        "chrdev-busy",
        (
            'CHRDEV "{name}" major requested ({number}) is greater than the maximum',
            'CHRDEV "{name}" minor range requested',
        ),
        "{name} asks for a character device number that does not exist",
        "Take alloc_chrdev_region(), which chooses a free one.",
        "fs/char_dev.c",
        ("EINVAL",),
    ),
    LogRule(
        "chrdev-range",
        ('CHRDEV "{name}" major number {number} goes below the dynamic allocation range',),
        "the character device numbers that are free for everybody (234 to 254) are used up: {name} was given {number}, "
        "which another driver may want",
        "Nothing has to be done; unload what leaves device numbers behind.",
        "fs/char_dev.c",
        fatal=False,
    ),
    LogRule(
        "firmware",
        (
            "Direct firmware load for {file} failed with error {number}",
            "failed to load firmware {file}",
            "Falling back to sysfs fallback for: {file}",
            "loading {file} failed with error {number}",
            "firmware: failed to load {file} ({number})",
            "request_firmware({file}) failed",
            "no suitable firmware found",
            "firmware Patch file not found",
            "could not fetch firmware file '{file}'",
            "could not fetch firmware",
            "failed to fetch firmware",
            "Unable to load firmware",
            "firmware file {file} not found",
            'Firmware file "{file}" not found',
            "firmware file is missing",
            "failed to load DSP firmware",
            "firmware file not found",
            "Could not load firmware file {file}",
            "could not load firmware {file}",
            "failed to load firmware: {file}",
            "failed to load {word} firmware",
            "failed to request firmware {file}",
            "failed to get firmware {file}",
            "request for firmware {file} failed",
            "request firmware {file} failed err: {number}",
            "error: request firmware {file} failed",
            "Firmware {file} not found",
            "firmware not found, please install",
            "firmware request failed",
            'Failed to load firmware "{file}"',
            "Failed to load firmware {file}",
            "Possible missing firmware {file} for module {module}",
            "Possible missing firmware /lib/firmware/{file} for module",
        ),
        "the firmware file {file} is missing (or cannot be read): the driver asks for it under /lib/firmware",
        "Install the package that has it (firmware-linux-nonfree, firmware-misc-nonfree, linux-firmware), run "
        "`update-initramfs -u` if the driver is loaded in the initramfs, and load the module again.",
        "drivers/base/firmware_loader/main.c, initramfs-tools",
        ("ENOENT", "EINVAL", "EIO", "ENODEV", "EAGAIN"),
    ),
    LogRule(
        "firmware-not-packed",
        ("Possibly missing firmware for module: '{module}'", 'Possibly missing firmware for module: "{module}"'),
        "the initramfs was made without the firmware files that {module} can ask for; most machines lack that device",
        "Nothing has to be done unless {module} drives a device that is needed for booting.",
        "mkinitcpio, dracut",
        fatal=False,
    ),
    LogRule(
        "virtualisation-off",
        (
            "{module}: disabled by bios",
            "{module}: VMX not enabled (by BIOS)",
            "{module}: VMX disabled by BIOS",
            "{module}: SVM disabled (by BIOS)",
            "{module}: VMX (outside TXT) disabled by BIOS",
            "kvm: enabling virtualization on CPU{number} failed",
            "support for '{module}' disabled by bios",
            "VMX not enabled (by BIOS) in MSR_IA32_FEAT_CTL",
            "SVM disabled (by BIOS) in MSR_VM_CR",
            "disabled by bios",
        ),
        "virtualisation (VT-x, AMD-V) is turned off in the BIOS or firmware",
        "Turn it on in the firmware's set-up (Intel Virtualization Technology, SVM Mode), and switch the machine "
        "off and on.",
        "arch/x86/kvm, arch/x86/kernel/cpu/feat_ctl.c",
        ("EOPNOTSUPP", "EIO", "ENODEV"),
    ),
    LogRule(
        "virtualisation-taken",
        (
            "can't operate in VMX root mode",
            "VERR_VMX_IN_VMX_ROOT_MODE",
            "VERR_SVM_IN_USE",
            "VT-x is being used by another hypervisor",
            "AMD-V is being used by another hypervisor",
        ),
        "another hypervisor has the processor's virtualisation: KVM (kvm_intel or kvm_amd), which takes it as soon as "
        "it is loaded since Linux 6.12",
        "`modprobe -r kvm_intel` (or kvm_amd), or boot with kvm.enable_virt_at_load=0; one hypervisor at a time.",
        "VirtualBox",
        ("EBUSY",),
    ),
    LogRule(
        "virtualisation-missing",
        (
            "{module}: no hardware support",
            "{module}: CPU {number} does not support VMX",
            "{module}: no hardware support for 'kvm_intel'",
            "{module}: no hardware support for 'kvm_amd'",
            "HYP mode not available",
            "VMX not supported by CPU",
            "SVM not supported by CPU",
        ),
        "this processor (or the virtual machine that this is) has no virtualisation: VT-x or AMD-V",
        "In a virtual machine, allow nested virtualisation on its host; kvm_intel is for Intel's processors, "
        "kvm_amd for AMD's.",
        "arch/x86/kvm",
        _NOT_HERE,
    ),
    LogRule(
        "resource-busy",
        (
            "can't request region for resource",
            "BAR {number}: can't reserve",
            "resource conflict",
            "Region conflicts with",
            "could not request memory region",
        ),
        "another driver (or the firmware, ACPI) holds the I/O ports or memory that this one wants",
        "Unload or unbind the other driver (/proc/ioports and /proc/iomem name it); acpi_enforce_resources=lax if "
        "ACPI holds them.",
        "kernel/resource.c, drivers/pci/pci.c, drivers/acpi/osl.c",
        ("EBUSY", "ENODEV"),
    ),
    LogRule(
        "resource-busy",
        (
            "ACPI Warning: SystemIO range {word} conflicts with OpRegion",
            "ACPI: OSL: Resource conflict; ACPI support missing from driver?",
            "ACPI resource conflict",
            "BAR {number}: failed to assign",
        ),
        "the firmware (ACPI) uses the same I/O ports or memory as a driver, or there was none left for a device: "
        "most often harmless",
        "Nothing has to be done unless that device is missing; then look at its driver's messages and the "
        "firmware's settings.",
        "drivers/acpi/osl.c, drivers/pci/setup-res.c",
        fatal=False,
    ),
    LogRule(
        "nvidia-nouveau",
        (
            "NVRM: This can occur when a driver such as:",
            "NVRM: was loaded and obtained ownership of the NVIDIA device",
            "NVRM: another driver was loaded and obtained ownership of the NVIDIA device",
            "NVRM: The NVIDIA probe routine was not called for {number} device",
            "The Nouveau kernel driver is currently in use by your system",
        ),
        "another driver, normally nouveau, holds the NVIDIA device",
        "Forbid nouveau (`blacklist nouveau` and `options nouveau modeset=0` in /etc/modprobe.d), run "
        "update-initramfs, reboot.",
        "the nvidia driver",
        _NOT_HERE,
    ),
    LogRule(
        "nvidia-mismatch",
        (
            "NVRM: API mismatch: the client has the version {client}, but",
            "API mismatch: the client has version {client}",
            "Driver/library version mismatch",
        ),
        "the loaded NVIDIA module and its user space are of two versions: the driver was updated, the old module "
        "is still loaded",
        "Unload the nvidia modules and load them again, or reboot.",
        "the nvidia driver",
        ("EINVAL",),
    ),
    LogRule(
        "nvidia-none",
        (
            "NVRM: No NVIDIA graphics adapter found",
            "NVRM: No NVIDIA GPU found",
            "NVRM: No NVIDIA devices probed",
            "NVRM: None of the NVIDIA devices were initialized",
        ),
        "no NVIDIA device that this driver supports was found or could be started",
        "Take the driver's branch that supports the device (legacy 470, 390 …); `lspci -k` shows who holds it.",
        "the nvidia driver",
        _NOT_HERE,
    ),
    LogRule(
        "nvidia-start",
        (
            "RmInitAdapter failed! ({code})",
            "rm_init_adapter failed, device minor number {number}",
            "NVRM: GPU {word} GPU has fallen off the bus",
            "has fallen off the bus",
        ),
        "the NVIDIA driver is loaded, and its device did not start: power, cooling or the slot, a firmware (GSP) that "
        "does not fit, or a driver branch that does not support the device",
        "Take another version of the driver; look at the power supply and the slot; "
        "`options nvidia NVreg_EnableGpuFirmware=0` in /etc/modprobe.d leaves the GSP firmware out.",
        "the nvidia driver",
        ("EIO", "ENODEV"),
    ),
    LogRule(
        "nvidia-not-loaded",
        (
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver",
            "ERROR: Unable to load the kernel module 'nvidia.ko'",
            "ERROR: Unable to load the 'nvidia-drm' kernel module",
            "ERROR: Unable to load the kernel module 'nvidia-uvm.ko'",
            "ERROR: The kernel module failed to load",
        ),
        "the NVIDIA kernel module is not loaded: it was not built for the running kernel, Secure Boot refused it, or "
        "nouveau holds the device",
        "`modprobe nvidia` and the kernel's log say which of these: give both to `kobox explain --log`.",
        "nvidia-smi, nvidia-installer",
        ("EPERM",),
        vague=True,
    ),
    LogRule(
        "virtualbox-not-loaded",
        (
            "Kernel driver not installed (rc={number})",
            "The vboxdrv kernel module is not loaded",
            "VirtualBox kernel modules failed to load",
            "vboxdrv.sh: failed: modprobe vboxdrv failed",
            "There were problems setting up VirtualBox",
            "The character device /dev/vboxdrv does not exist",
        ),
        "VirtualBox's kernel module is not loaded: it was not built for the running kernel, or Secure Boot refused it",
        "Install the running kernel's headers and run `/sbin/vboxconfig` (or `dkms autoinstall`); with Secure Boot, "
        "sign vboxdrv and its companions and enrol the key with mokutil.",
        "VirtualBox",
        vague=True,
    ),
    LogRule(
        "zfs-not-loaded",
        (
            "The ZFS modules are not loaded",
            "The ZFS modules cannot be auto-loaded",
            "/dev/zfs and /proc/self/mounts are required",
        ),
        "the zfs module is not loaded: it was not built for the running kernel, or was refused",
        "`modprobe zfs` says why; install the running kernel's headers and run `dkms autoinstall`.",
        "zfs",
        vague=True,
    ),
    LogRule(
        "file-system-missing",
        (
            "unknown filesystem type '{module}'",
            "Unknown filesystem type {module}",
            "filesystem type '{module}' not known",
        ),
        "the kernel has no driver for the file system {module}: its module is not loaded, or not installed for this "
        "kernel",
        "`modprobe {module}` says why. Compare `uname -r` with `ls /lib/modules`: after a kernel update, reboot; a "
        "small (cloud, server) kernel may lack it, where linux-modules-extra or another flavour has it.",
        "mount",
    ),
    LogRule(
        "protocol-taken",
        (
            "gre: can't add protocol",
            "{module}: can't add protocol",
            "{module}: can't add {word} protocol",
            "can't register proto handler",
        ),
        "another module has registered for the same protocol number: ip_gre and pptp share GRE through the module gre, "
        "older drivers take it for themselves",
        "Unload the module that holds the protocol (`lsmod`), then load this one.",
        "net/ipv4/gre_demux.c",
        ("EAGAIN", "EBUSY"),
    ),
    LogRule(
        "irq-failed",
        (
            "Failed to request irq {number}",
            "failed to request irq {number}",
            "request_irq({number}) failed",
            "unable to request IRQ {number}",
            "Unable to allocate interrupt",
            "can't find IRQ for PCI",
        ),
        "the driver did not get its interrupt: the device has none (255 or 0: the firmware connected none, and MSI was "
        "not enabled), or another driver has it without IRQF_SHARED",
        "/proc/interrupts says who has it; let the driver call pci_alloc_irq_vectors() and take pci_irq_vector().",
        "drivers",
        ("EBUSY", "EINVAL", "ENXIO"),
    ),
    LogRule(
        "dma-mask",
        (
            "No usable DMA configuration",
            "No suitable DMA available",
            "no usable DMA",
            "Unable to set DMA mask",
            "set DMA mask failed",
        ),
        "the device cannot do DMA here: no mask that it takes fits this machine",
        "Set a 64-bit mask and fall back to 32 bits: dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64)); in a device "
        "tree, look at dma-ranges.",
        "drivers, kernel/dma",
        ("EIO", "ENODEV"),
    ),
    LogRule(
        "probe-deferred",
        (
            "deferred probe pending: {reason}",
            "deferred probe pending",
            "probe deferral - supplier {word} not ready",
            "deferred probe timeout, ignoring dependency",
        ),
        "the driver waits for another device (a clock, regulator, GPIO or PHY) whose own driver is not there: not "
        "loaded, not built, or disabled in the device tree",
        "/sys/kernel/debug/devices_deferred names the device and the reason; build and load the driver of what it "
        "waits for.",
        "drivers/base/dd.c",
        ("EPROBE_DEFER",),
    ),
    LogRule(
        "module-missing",
        (
            "can't initialize iptables table `{name}': Table does not exist",
            "RTNETLINK answers: Operation not supported",
            "Error: Unknown device type",
            "Unknown device type, try loading module",
            "RTNETLINK answers: Unknown device type",
            "open: No such device /dev/net/tun",
            "Cannot open TUN/TAP dev /dev/net/tun",
            "Could not open '/dev/vmmon'",
            "Could not access KVM kernel module",
            "fuse: device not found, try 'modprobe fuse' first",
            "failed to setup loop device",
            "Unable to access interface: Protocol not supported",
            "cannot find an unused loop device",
            "could not find any free loop device",
            "cannot open session to kernel",
            "Cannot open session to kernel",
            "Check that kernel supports {cipher} cipher",
            "Cannot initialize device-mapper. Is dm_mod kernel module loaded",
            "Is device-mapper driver missing from kernel",
            "Can't open /dev/nbd{number}",
            "Couldn't open the /dev/ppp device",
            "Failed to open /dev/uinput",
            "Unable to open /dev/uinput",
            "mount failed: Unknown device /dev/{word}",
        ),
        "the kernel lacks the part that a program asks for: its module is not loaded, or not installed. The "
        "commonest case: the kernel was updated and the machine not rebooted, so /lib/modules has no directory for "
        "the running kernel",
        "Compare `uname -r` with `ls /lib/modules`; reboot into the installed kernel, or install the running "
        "kernel's modules.",
        "iptables, ipset, mount, losetup, cryptsetup, dmsetup, pppd, iproute2, openvpn, qemu",
        vague=True,
    ),
    LogRule(
        "kprobe",
        (
            "register_kprobe failed, returned {number}",
            "register_kprobe failed: {number}",
            "register_kretprobe failed, returned {number}",
        ),
        "a kprobe could not be registered ({number}): -2 means that the kernel has no function of that name (renamed "
        "or inlined), -22 that no probe may be there (blacklisted, __kprobes), -95 or -38 that CONFIG_KPROBES is off",
        "Look for the function in /proc/kallsyms (do_fork and _do_fork are kernel_clone since 5.10).",
        "samples/kprobes",
        ("ENOENT", "EINVAL", "ENOSYS", "EOPNOTSUPP"),
    ),
    LogRule(
        "probe-failed",
        ("probe of {device} failed with error {number}", "probe with driver {driver} failed with error {number}"),
        "a driver's probe function refused the device with {number} (a negative errno: -2 no firmware, clock or "
        "property; -12 no memory; -16 busy; -19 not this device; -22 a wrong value; -110 no answer; -517 asked to "
        "come again)",
        "The driver's own lines before it say more.",
        "drivers/base/dd.c",
        fatal=False,
    ),
    LogRule(
        "device-gone",
        (
            "Unable to change power state from D3cold to D0, device inaccessible",
            "can't change power state from D3cold to D0",
        ),
        "a PCI device does not answer, or its memory could not be placed",
        "Switch the machine off and on; look at the firmware's settings (Above 4G Decoding, power saving).",
        "drivers/pci",
        _NOT_HERE,
    ),
)
