"""What a debugger has to know of a processor: its registers in the order of gdb's protocol, and what is kept of a task
that sleeps.

Source: the GDB manual, appendix "Target Descriptions", section "Standard Target Features".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from kobox.arch.registers import Read
from kobox.arch.unwind import KernelView, StructureLayout


class DebuggerRegister(NamedTuple):
    """One register of gdb's. `source` is the machine's name of it, "" for one that is not modelled."""

    name: str
    bits: int
    type: str
    source: str = ""


class DebuggerTarget(NamedTuple):
    """A processor as gdb sees it."""

    architecture: str
    """The name that gdb has for it."""

    features: tuple[tuple[str, tuple[DebuggerRegister, ...]], ...]
    """Features of the target description, each with its registers: their order is that of the `g` packet."""

    asleep: Callable[[StructureLayout, Read, int], dict[str, int]]
    """The registers, by the machine's names, of a task (the address of its `task_struct`) that does not run: those that
    it has kept where it gave the CPU away. Raises `ValueError` where memory is not mapped, `KoboxError`."""

    frame_rules: Callable[[KernelView, Sequence[int], int], Iterable[tuple[int, bytes]]] | None
    """(address, instructions of DWARF's call frame information): from this address of the kernel's code on, where the
    caller's frame is. Takes where its functions begin, in order, and where its code ends. None where gdb finds it by
    itself."""

    return_column: int
    """DWARF's number of the register that stands for the return address."""

    core: tuple[str, ...]
    """The registers of a core file in the order of NT_PRSTATUS's pr_reg (elf_gregset_t), by the machine's names; "" for
    one that is not modelled."""

    variables: Mapping[str, str]
    """Variables that only kernels of this processor have, by the types that their source gives them."""

    os_abi: str = ""
    """The operating system's ABI as gdb names it, where its own guess would look for shared libraries of programs."""

    @property
    def registers(self) -> tuple[DebuggerRegister, ...]:
        """All registers in order."""
        return tuple(register for _, registers in self.features for register in registers)

    def describe(self) -> str:
        """The target description, as XML."""
        features = "".join(
            f'<feature name="{name}">'
            + "".join(f'<reg name="{r.name}" bitsize="{r.bits}" type="{r.type}"/>' for r in registers)
            + "</feature>"
            for name, registers in self.features
        )
        return (
            '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">'
            f"<target><architecture>{self.architecture}</architecture>"
            + (f"<osabi>{self.os_abi}</osabi>" if self.os_abi else "")
            + f"{features}</target>"
        )
