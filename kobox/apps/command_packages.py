"""Which package of Debian's has a command that a box lacks: those that books on the kernel name.

Source: `dpkg -S` and packages.debian.org's search by file, for Debian 12 and 13.
"""

from __future__ import annotations

_COMMANDS = {
    "build-essential": "gcc g++ cc cpp as ld make objdump objcopy nm readelf size strip ar addr2line strings",
    "strace": "strace",
    "ltrace": "ltrace",
    "gdb": "gdb gdbserver",
    "vim": "vim vimdiff view",
    "nano": "nano",
    "emacs-nox": "emacs",
    "file": "file",
    "tree": "tree",
    "git": "git",
    "curl": "curl",
    "openssh-client": "ssh scp sftp ssh-keygen",
    "pciutils": "lspci setpci",
    "usbutils": "lsusb usb-devices",
    "i2c-tools": "i2cdetect i2cget i2cset i2cdump i2ctransfer",
    "lshw": "lshw",
    "hwinfo": "hwinfo",
    "dmidecode": "dmidecode",
    "lm-sensors": "sensors sensors-detect",
    "gpiod": "gpiodetect gpioinfo gpioget gpioset gpiomon",
    "tcpdump": "tcpdump",
    "nftables": "nft",
    "iptables": "iptables iptables-save iptables-restore ip6tables",
    "iproute2": "ss tc bridge rtmon",
    "ethtool": "ethtool",
    "iperf3": "iperf3",
    "nmap": "nmap ncat",
    "socat": "socat",
    "iw": "iw",
    "bpftool": "bpftool",
    "bpftrace": "bpftrace",
    "linux-perf": "perf",
    "trace-cmd": "trace-cmd",
    "kexec-tools": "kexec",
    "stress-ng": "stress-ng",
    "fio": "fio",
    "hdparm": "hdparm",
    "nvme-cli": "nvme",
    "parted": "parted",
    "e2fsprogs": "mkfs.ext4 fsck.ext4 dumpe2fs debugfs tune2fs",
    "btrfs-progs": "btrfs mkfs.btrfs",
    "xfsprogs": "mkfs.xfs xfs_info",
    "dosfstools": "mkfs.fat fsck.fat",
    "cryptsetup-bin": "cryptsetup",
    "dmsetup": "dmsetup",
    "lvm2": "lvm pvcreate vgcreate lvcreate",
    "mdadm": "mdadm",
    "util-linux": "lsblk lscpu lsns nsenter setarch findmnt lsmem lsirq",
    "procps": "pmap vmstat slabtop",
    "psmisc": "pstree",
    "lsof": "lsof",
    "htop": "htop",
    "tmux": "tmux",
    "screen": "screen",
    "python3": "python3 python",
    "perl": "perl",
    "tcc": "tcc",
    "clang": "clang clang++",
    "llvm": "llvm-objdump llvm-strip",
    "rustc": "rustc",
    "cargo": "cargo",
    "dkms": "dkms",
    "sparse": "sparse",
    "coccinelle": "spatch",
    "cscope": "cscope",
    "universal-ctags": "ctags",
    "bc": "bc",
    "flex": "flex lex",
    "bison": "bison yacc",
    "dwarves": "pahole",
    "openssl": "openssl",
    "mokutil": "mokutil",
    "keyutils": "keyctl",
    "xxd": "xxd",
    "man-db": "apropos whatis mandb",
    "jq": "jq",
    "rsync": "rsync",
    "cpio": "cpio",
    "zstd": "zstd unzstd zstdcat",
    "initramfs-tools": "update-initramfs",
    "qemu-system-x86": "qemu-system-x86_64",
    "indent": "indent",
    "can-utils": "candump cansend cangen",
    "v4l-utils": "v4l2-ctl",
    "alsa-utils": "aplay arecord amixer",
    "evtest": "evtest",
    "minicom": "minicom",
    "mtd-utils": "flash_erase nandwrite ubiattach",
}
PACKAGE_OF = {command: package for package, commands in _COMMANDS.items() for command in commands.split()}


def not_found_hint(command: str) -> str:
    """One line on a command that the box does not have: which package has it, where that is known."""
    package = PACKAGE_OF.get(command)
    if package is None:
        return f"no command {command} here; `apt install PACKAGE` adds a package of Debian's"
    return f"{command} is in Debian's package {package}: `apt install {package}`, or `kobox shell --with {package}`"


def table() -> str:
    """The same for a shell script in the box: COMMAND PACKAGE, a line each."""
    return "".join(f"{command} {package}\n" for command, package in sorted(PACKAGE_OF.items()))
