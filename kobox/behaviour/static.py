"""What a module's file says before anything of it runs: imports that matter, instructions, strings, signature."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from kobox.behaviour.instructions import static_instructions
from kobox.behaviour.report import Level, Trait
from kobox.ko.elf import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS
from kobox.ko.modulefile import ModuleFile

# Imports: what a module could do with them. None is more than a note: honest modules use them all.
IMPORTS = {
    "call_usermodehelper": "starts programs",
    "call_usermodehelper_exec": "starts programs",
    "filp_open": "opens files",
    "kernel_read": "reads files",
    "kernel_write": "writes files",
    "register_kprobe": "probes kernel functions",
    "register_kretprobe": "probes kernel functions",
    "register_ftrace_function": "hooks kernel functions",
    "register_keyboard_notifier": "sees every key",
    "commit_creds": "changes credentials",
    "prepare_kernel_cred": "makes root's credentials",
    "override_creds": "changes credentials",
    "access_process_vm": "reads the memory of processes",
    "nf_register_net_hook": "sees every packet",
    "nf_register_net_hooks": "sees every packet",
    "set_memory_rw": "makes memory writable",
    "set_memory_x": "makes memory executable",
    "kallsyms_lookup_name": "looks up any symbol",
    "sock_create_kern": "opens sockets",
    "orderly_poweroff": "turns the machine off",
    "kernel_restart": "restarts the machine",
}
_LARGEST_TABLE = 64 << 10
_CODE = re.compile(
    r"\.(text|init\.text|exit\.text|altinstr|noinstr|ref|sched|fixup|static_call|meminit|head|plt|ftrace)"
)
_PATH = re.compile(rb"[\x20-\x7e]{4,200}")
_TELLING = re.compile(rb"^/(bin|sbin|usr|etc|root|tmp|dev/shm|var)/|/sh\b|authorized_keys|shadow|passwd|https?://")


def static_traits(file: ModuleFile) -> Iterator[Trait]:
    """The traits of a module's file. Raises `ModuleFormatError` as `ModuleFile` does."""
    for name in sorted({imported.name for imported in file.imports} & set(IMPORTS)):
        yield Trait(f"import {name}", "note", f"imports {name}: it {IMPORTS[name]}", "imports")
    yield from static_instructions(file)
    for number, section in enumerate(file.elf.sections):
        if not section.flags & SHF_ALLOC or section.type == SHT_NOBITS or not section.size:
            continue
        data = file.elf.data(number)
        place = file.elf.section_name(number).decode(errors="backslashreplace")
        if section.flags & SHF_EXECINSTR:
            if section.flags & SHF_WRITE:
                yield Trait("writable code", "suspicious", "holds code that can be written", place)
            elif not _CODE.match(place):
                yield Trait("unusual section", "note", "holds code in a section that compilers do not make", place)
        elif section.size >= 4096 and (bits := entropy(data)) > 7.95:
            # The tables of ciphers look like that, too, but they are small.
            level: Level = "suspicious" if section.size >= _LARGEST_TABLE else "note"
            text = f"{section.size} bytes of {bits:.1f} bits each: packed, encrypted, or a table of a cipher"
            yield Trait("packed data", level, text, place)
        for match in _PATH.finditer(data) if not section.flags & SHF_EXECINSTR else ():
            if _TELLING.search(match[0]):
                yield Trait("string", "note", f"holds {match[0].decode('ascii')!r}", f"{place}+{match.start():#x}")


def entropy(data: bytes) -> float:
    """Shannon's entropy in bits a byte: 8 for random bytes, 0 for one value."""
    counts = [data.count(value) for value in range(256)]
    return -sum(count / len(data) * math.log2(count / len(data)) for count in counts if count)
