"""The guest's side: PID 1 of a box, a handful of machine instructions that kobox emits itself.

            mov   r13, rsp         where the kernel has put the arguments
    again:  mov   eax, 'kobo'
            cpuid                  the doorbell: the machine stops, Python has the CPU
            jmp   call             (a stop lands at the start of the next block: here)
    call:   syscall                the system call whose registers Python has set
            mov   r14, rax         its result, kept where CPUID does not reach
            jmp   again

No stack, no memory, no library: a process is its registers. Children made by clone() run the same loop, and
FS.base, which
clone() sets and nothing in the loop touches, tells them apart: 0 is PID 1. The same file stands as /sbin/modprobe: when
the kernel runs it, Python reads its arguments and does what they say. So everything that Python does in a box
is a system call that a real process makes.
"""

from __future__ import annotations

import struct

TEXT = 0x400000
_HEADERS = 64 + 2 * 56
_CODE = bytes.fromhex("4989e5 b86f626f6b 0fa2 eb00 0f05 4989c6 ebf0")
DOORBELL = TEXT + _HEADERS + 8
SYSCALL = TEXT + _HEADERS + 12

# Memory that all processes of kobox in the box share (they are made with CLONE_VM), locked, so that Python can
# reach it.
ARENA = 0x10000000
ARENA_SIZE = 1 << 20


# The kernel command line of every box; what a user adds comes after it.
COMMAND_LINE = (
    # One CPU, no devices but those of the machine; time comes from the TSC, which is virtual and exact.
    "console=ttyS0 earlyprintk=serial,ttyS0,115200 nosmp pci=off tsc=reliable no_timer_check nowatchdog "
    # Addresses are the same in every run and are shown as they are; what only slows an emulated CPU is left out.
    "nokaslr no_hash_pointers nopti mitigations=off cryptomgr.notests psi=0 "
    # A check of ftrace's that looks every traceable function up, and hides the few that are overridden weak ones.
    "initcall_blacklist=ftrace_check_for_weak_functions "
    # A panic stops the machine at once; no security module stands between a module and its errors.
    "panic=-1 audit=0 apparmor=0 selinux=0 log_buf_len=1M rdinit=/init"
)


def init_elf() -> bytes:
    """The static ELF executable that becomes PID 1."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, TEXT + _HEADERS, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    size = _HEADERS + len(_CODE)
    text = struct.pack("<IIQQQQQQ", 1, 5, 0, TEXT, TEXT, size, size, 0x1000)
    arena = struct.pack("<IIQQQQQQ", 1, 6, 0, ARENA, ARENA, 0, ARENA_SIZE, 0x1000)
    return header + text + arena + _CODE


def root_archive() -> bytes:
    """The initramfs of every box: PID 1, and the directories that file systems are mounted on."""
    from kobox.machine import initramfs

    return initramfs.pack(
        [
            *(initramfs.directory(path) for path in ("dev", "proc", "sys", "run", "tmp", "root", "etc", "sbin", "bin")),
            *(initramfs.directory(path) for path in ("lib", "lib/modules", "mnt", "var")),
            initramfs.character_device("dev/console", 5, 1),
            initramfs.file("init", init_elf(), 0o755),
            initramfs.file("sbin/modprobe", init_elf(), 0o755),
        ]
    )
