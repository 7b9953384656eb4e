"""Rules for signatures, Secure Boot, lockdown and security modules (kernel/module/signing.c, security/)."""

from kobox.explain.log_rule import LogRule

_ENROL = (
    "With Secure Boot on, make a key, enrol its certificate (`mokutil --import`, reboot, confirm in the firmware's "
    "blue screen) and sign the module with it (`kobox sign`); or turn Secure Boot off in the firmware (`mokutil "
    "--sb-state` shows it)."
)
_SIGNING = "kernel/module/signing.c"
_LOCKDOWN = "security/lockdown/lockdown.c"
_REFUSED = ("EKEYREJECTED", "ENOKEY", "EPERM")

RULES = (
    LogRule(
        "kexec",
        (
            "kexec_file_load failed: {errno}",
            "kexec_load failed: Operation not permitted",
            "kexec: Kernel is locked down",
        ),
        "Secure Boot (lockdown, or enforced signatures) allows only a signed kernel image for kexec and kdump",
        "Give a kernel that the distribution has signed, with `kexec -s`; or turn Secure Boot off.",
        "kexec-tools, kernel/kexec_file.c",
        ("EPERM", "ENOKEY", "EKEYREJECTED"),
    ),
    LogRule(
        "unsigned",
        ("Loading of unsigned module is rejected", "Loading of module without signature is rejected"),
        "the module has no signature, and this kernel enforces signatures (Secure Boot, or module.sig_enforce)",
        _ENROL,
        _SIGNING,
        _REFUSED,
    ),
    LogRule(
        "foreign-key",
        ("Loading of module with unavailable key is rejected",),
        "the module is signed with a key that this kernel does not trust, and the kernel enforces signatures "
        "(Secure Boot)",
        "`kobox verify` says who signed it. " + _ENROL,
        _SIGNING,
        _REFUSED,
    ),
    LogRule(
        "signature-crypto",
        ("Loading of module with unsupported crypto is rejected",),
        "the signature uses an algorithm that this kernel has no code for",
        "Sign with RSA and sha256, which every kernel knows: `kobox sign`.",
        _SIGNING,
        ("EKEYREJECTED", "ENOPKG"),
    ),
    LogRule(
        "unsigned",
        ("Loading of module with forced loading flags is rejected",),
        "a forced load (-f) changes the module, so its signature does not count; this kernel enforces signatures",
        "Load it without force.",
        _SIGNING,
        _REFUSED,
    ),
    LogRule(
        "unsigned",
        ("Loading of {what} is rejected",),
        "the kernel enforces signatures (Secure Boot, or module.sig_enforce), and refuses {what}",
        _ENROL,
        _SIGNING,
        _REFUSED,
    ),
    LogRule(
        "foreign-key",
        ("Request for unknown module key '{key}' err {number}", "Request for unknown key '{key}' err {number}"),
        "the module is signed with the key `{key}`, which this kernel does not trust: another kernel's build signed it",
        "Use the module that belongs to the running kernel (reboot into the newest installed one), or sign it with "
        "a key "
        "that the kernel trusts. " + _ENROL,
        "crypto/asymmetric_keys/pkcs7_trust.c, kernel/module_signing.c",
        _REFUSED,
    ),
    LogRule(
        "foreign-key",
        ("PKCS#7 signature not signed with a trusted key",),
        "the module is signed with a key that this kernel does not trust",
        _ENROL,
        "certs/system_keyring.c",
        _REFUSED,
    ),
    LogRule(
        "signature-garbage",
        (
            "{module}: not signed with expected PKCS#7 message",
            "{word}: PKCS#7 signature info has unexpected non-zero params",
            "PKCS7: Invalid module sig (not pkcs7-data)",
            "PKCS7: Invalid module sig (has authattrs)",
        ),
        "what is appended as a signature is not a PKCS #7 message as modules have it",
        "Remove it with `kobox sign --strip`, and sign the module again.",
        "kernel/module_signature.c",
        ("EBADMSG", "ENOPKG", "EKEYREJECTED"),
    ),
    LogRule(
        "signature-crypto",
        ("digest memory buffer allocate fail",),
        "the kernel had no memory to hash the module for its signature",
        "Free memory and try again.",
        _SIGNING,
        ("ENOMEM",),
    ),
    LogRule(
        "hash-blacklisted",
        ("Module hash {hex} is blacklisted",),
        "the hash of this very file is on the kernel's (the firmware's) list of forbidden ones",
        "Take another build of the module.",
        _SIGNING,
        _REFUSED,
    ),
    LogRule(
        "lockdown",
        (
            "Lockdown: {program}: unsigned module loading is restricted",
            "Lockdown: {program}: Loading of unsigned module is restricted",
            "Lockdown: {program}: Loading of unsigned modules is restricted",
            "Lockdown: Loading of unsigned module is restricted",
            "Lockdown: Loading of unsigned modules is restricted",
            "Loading of unsigned modules is restricted",
        ),
        "the kernel is locked down, as under Secure Boot, and the module has no signature that the kernel trusts",
        _ENROL,
        _LOCKDOWN,
        _REFUSED,
    ),
    LogRule(
        "lockdown",
        ("Lockdown: {program}: unsafe module parameters is restricted",),
        "the kernel is locked down, as under Secure Boot: parameters that choose addresses or interrupts are refused",
        "Leave the parameter out, or turn Secure Boot off in the firmware.",
        _LOCKDOWN,
        ("EPERM",),
    ),
    LogRule(
        "lockdown",
        ("Lockdown: {program}: {action} is restricted",),
        "the kernel is locked down, as under Secure Boot: {action} is not allowed ({program} tried)",
        "Do without it, or turn Secure Boot off in the firmware.",
        _LOCKDOWN,
        ("EPERM",),
    ),
    LogRule(
        "lockdown-on",
        ("Kernel is locked down from {origin};", "Kernel is locked down from {origin}"),
        "the kernel is locked down (by {origin}): it loads only modules with a signature that it trusts",
        _ENROL,
        _LOCKDOWN,
        fatal=False,
    ),
    LogRule(
        "secure-boot-on",
        (
            "secureboot: Secure boot enabled",
            "Secure boot enabled",
            "SecureBoot enabled",
            "UEFI Secure Boot is enabled",
            "UEFI Secure Boot requires additional configuration to work with third-party drivers",
        ),
        "Secure Boot is on: the kernel may load only modules with a signature that it trusts",
        _ENROL,
        "arch/x86/kernel/setup.c, mokutil",
        fatal=False,
    ),
    LogRule(
        "unsigned",
        (
            "{module}: module verification failed: signature and/or required key missing - tainting kernel",
            "{module}: module verification failed: signature and/or",
        ),
        "the module has no signature that the kernel trusts; that alone does not stop it: this kernel does not "
        "enforce signatures",
        "Nothing has to be done; a kernel that enforces signatures (Secure Boot) would refuse it.",
        "kernel/module/main.c",
        fatal=False,
    ),
    LogRule(
        "unsigned",
        (
            "You must sign these kernel modules before using VirtualBox",
            "is not signed with a key that is trusted",
            "the module is not signed, and Secure Boot is enabled",
        ),
        "Secure Boot is on, and the modules are not signed with a key that the kernel trusts",
        _ENROL,
        "VirtualBox, nvidia-installer",
        _REFUSED,
    ),
    LogRule(
        "no-efi",
        ("EFI variables are not supported on this system",),
        "the machine was not booted by UEFI (or efivarfs is not mounted): there is no Secure Boot and no MOK list, so "
        "Secure Boot is not what refuses the module",
        "Look for module.sig_enforce and lockdown= on the kernel's command line (`cat /proc/cmdline`).",
        "mokutil",
        fatal=False,
    ),
    LogRule(
        "disabled",
        ("kernel.modules_disabled = 1", "kernel.modules_disabled=1"),
        "loading and unloading modules is turned off: kernel.modules_disabled is 1",
        "It stays so until the next boot: look for modules_disabled in /etc/sysctl.d.",
        "sysctl",
        ("EPERM",),
    ),
    LogRule(
        "certificate",
        ("Problem loading X.509 certificate {number}", "Problem loading in-kernel X.509 certificate ({number})"),
        "a certificate of the firmware's or the kernel's could not be loaded ({number}): modules signed with its "
        "key are not trusted",
        "Renew the certificate or the firmware's key list; -65 is an algorithm that the kernel does not know, -74 "
        "damaged data.",
        "certs/system_keyring.c, security/integrity/digsig.c",
        fatal=False,
    ),
    LogRule(
        "ima",
        ("impossible to appraise a module without a file descriptor",),
        "an IMA policy wants to see the module's file, and init_module(2) gives the kernel only bytes",
        "Load it with a tool that uses finit_module(2): kmod does for uncompressed files.",
        "security/integrity/ima/ima_main.c",
        ("EACCES", "EPERM"),
    ),
    LogRule(
        "ima",
        (
            'op=appraise_data cause={problem} comm="{program}" name="{file}"',
            'op="appraise_data" cause="{problem}" comm="{program}" name="{file}"',
        ),
        "the IMA policy refuses {file}: {problem} (its security.ima signature is missing or wrong)",
        "Sign the file with evmctl and a key of the .ima keyring, or change the IMA policy.",
        "security/integrity/ima/ima_appraise.c",
        ("EACCES", "EPERM", "EKEYREJECTED"),
    ),
    LogRule(
        "loadpin",
        ('LoadPin: kernel-module {result} obj="{file}"', "LoadPin: kernel-module denied"),
        "LoadPin allows modules from one file system only, the first that one was loaded from",
        "Put the module on that file system, or boot with loadpin.enforce=0.",
        "security/loadpin/loadpin.c",
        ("EPERM",),
    ),
    LogRule(
        "security-module",
        (
            "denied { module_load } for",
            "denied { sys_module } for",
            'capname="sys_module"',
            "grsec: denied kernel module auto-load of {word}",
        ),
        "a security module (SELinux, AppArmor, grsecurity) does not let this program load modules",
        "Load it from a root shell outside that confinement, or allow it in the policy (audit2allow, the AppArmor "
        "profile).",
        "security/selinux, security/apparmor",
        ("EPERM", "EACCES"),
    ),
)
