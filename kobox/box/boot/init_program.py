"""The guest's side: PID 1 of a box, a handful of machine instructions that kobox emits itself (`Arch.init`).

Children made by clone() run the same loop, and the thread pointer, which clone() sets and nothing in the loop touches,
tells them apart: 0 is PID 1. The same file stands as /sbin/modprobe: when the kernel runs it, Python reads its
arguments and does what they say. So everything that Python does in a box is a system call that a real process makes.
"""

from __future__ import annotations

import struct

from kobox.arch.arch import Arch
from kobox.errors import KoboxError

TEXT = 0x400000
_ELF_HEADER, _PROGRAM_HEADER = {8: 64, 4: 52}, {8: 56, 4: 32}  # by the bytes of a pointer
_EABI5_HARD_FLOAT = 0x05000400  # e_flags of ARM (ELF for the Arm Architecture)

# Memory that all processes of kobox in the box share (they are made with CLONE_VM), locked, so that Python can
# reach it.
ARENA = 0x10000000
ARENA_SIZE = 1 << 20


_NAP = struct.pack("<qq", 0, 5_000_000)

# What every kernel is told: its addresses are the same in every run, and a panic stops the machine at once.
_COMMAND_LINE = "nokaslr panic=-1 rdinit=/init log_buf_len=1M"
# What makes a box quick and its log exact, and no distribution does: nothing that only slows an emulated CPU down,
# pointers are shown as they are, and no security module stands between a module and its errors.
_FAST = "no_hash_pointers mitigations=off cryptomgr.notests psi=0 audit=0 apparmor=0 selinux=0 nowatchdog"
PROFILES = {"fast": _FAST, "default": ""}


def command_line(arch: Arch, more: str = "", cpus: int = 1, profile: str = "fast") -> str:
    """The kernel command line of a box of an architecture with so many CPUs, with what a user adds.

    `profile` is "fast", or "default" for a kernel as the distribution boots it. Raises `KoboxError` for any other.
    """
    if profile not in PROFILES:
        raise KoboxError(f"profile={profile}: there is no such profile", hint=f"Choose of {', '.join(PROFILES)}.")
    line = arch.boot.command_line
    if cpus > 1:
        line = " ".join(word for word in line.split() if word != "nosmp")
    return " ".join(filter(None, (line, _COMMAND_LINE, PROFILES[profile], more)))


def _headers(arch: Arch) -> int:
    """Bytes of the file's headers: ELF's own, and two of the program's."""
    return _ELF_HEADER[arch.addresses.word] + 2 * _PROGRAM_HEADER[arch.addresses.word]


def hypercall_address(arch: Arch) -> int:
    """Where the program's hypercall is."""
    return TEXT + _headers(arch) + arch.init.hypercall


def syscall_address(arch: Arch) -> int:
    """Where the program's system call is: the CPU is put there to make one."""
    return TEXT + _headers(arch) + arch.init.syscall


def nap_address(arch: Arch) -> int:
    """Where the program has a struct timespec of some milliseconds."""
    return TEXT + _headers(arch) + _nap_offset(arch)


def _nap_offset(arch: Arch) -> int:
    return len(arch.init.code) + 15 & -16


def init_elf(arch: Arch) -> bytes:
    """The static ELF executable that becomes PID 1."""
    size = _headers(arch) + _nap_offset(arch) + len(_NAP)
    headers = _headers_32(arch, size) if arch.addresses.word == 4 else _headers_64(arch, size)
    return headers + arch.init.code.ljust(_nap_offset(arch), b"\0") + _NAP


def _headers_64(arch: Arch, size: int) -> bytes:
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, arch.elf_machine, 1, TEXT + _headers(arch), 64, 0, 0, 64, 56, 2, 0, 0, 0)
    text = struct.pack("<IIQQQQQQ", 1, 5, 0, TEXT, TEXT, size, size, 0x1000)
    return header + text + struct.pack("<IIQQQQQQ", 1, 6, 0, ARENA, ARENA, 0, ARENA_SIZE, 0x1000)


def _headers_32(arch: Arch, size: int) -> bytes:
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    entry = TEXT + _headers(arch)
    header += struct.pack("<HHIIIIIHHHHHH", 2, arch.elf_machine, 1, entry, 52, 0, _EABI5_HARD_FLOAT, 52, 32, 2, 0, 0, 0)
    text = struct.pack("<8I", 1, 0, TEXT, TEXT, size, size, 5, 0x1000)
    return header + text + struct.pack("<8I", 1, 0, ARENA, ARENA, 0, ARENA_SIZE, 6, 0x1000)


def root_archive(arch: Arch) -> bytes:
    """The initramfs of every box: PID 1, and the directories that file systems are mounted on."""
    from kobox.machine import initramfs

    return initramfs.pack(
        [
            *(initramfs.directory(path) for path in ("dev", "proc", "sys", "run", "tmp", "root", "etc", "sbin", "bin")),
            *(initramfs.directory(path) for path in ("lib", "lib/modules", "mnt", "var")),
            initramfs.character_device("dev/console", 5, 1),
            initramfs.file("init", init_elf(arch), 0o755),
            initramfs.file("sbin/modprobe", init_elf(arch), 0o755),
        ]
    )
