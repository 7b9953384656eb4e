"""A box's kernel as a `drgn.Program`: what drgn's own helpers read, on a box.

    prog = box.drgn("hello.ko")
    from drgn.helpers.linux import for_each_task
    [task.comm.string_() for task in for_each_task(prog)]
    prog["hello_count"]                                          # a variable of the module, by its DWARF

Memory is the box's RAM as it is when it is read; drgn walks the page tables itself. Types are the kernel's BTF, made
into DWARF, symbols its kallsyms, unwinding its own tables (`kobox.box.symbol_file`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kobox.box.booted import BootedKernel
from kobox.box.inspect.inspector import Inspector
from kobox.box.inspect.whole_vmcoreinfo import whole_vmcoreinfo
from kobox.box.symbol_file.kernel_symbol_file import kernel_start, kernel_symbol_file
from kobox.box.vmcore import register_set
from kobox.errors import KoboxError
from kobox.images.kernel_image import default_root
from kobox.ko.modulefile import ModuleFile

if TYPE_CHECKING:
    import drgn


def drgn_program(box: BootedKernel, files: Sequence[ModuleFile] = ()) -> drgn.Program:
    """The program of a box, with the debugging information of these modules, as far as they are loaded.

    Raises `KoboxError` without drgn, or for a kernel without BTF.
    """
    try:
        import drgn
    except ImportError:
        raise KoboxError("drgn is not installed", hint="`pip install 'kobox[drgn]'` brings it.") from None
    vmlinux = kernel_symbol_file(box, default_root() / "symbols")
    prog = drgn.Program(drgn.Platform(_architecture(box)))
    machine = box.machine

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        data = bytes(machine.ram[offset : offset + count])
        if len(data) != count:
            raise drgn.FaultError("the box is closed", address)
        return data

    prog.add_memory_segment(0, machine.ram_size, read, physical=True)
    prog.set_linux_kernel_custom(whole_vmcoreinfo(box.inspect.objects), is_live=True)

    prog.register_object_finder("kobox", _Variables(box.inspect).find, enable_index=-1)
    next(iter(prog.loaded_modules()), None)  # drgn makes the main module by itself, once it is asked for any
    main = prog.main_module()
    main.try_file(str(vmlinux), force=True)
    symbols = box.inspect.symbols
    main.address_range = (kernel_start(box), symbols.of_kernel("_end") or 0)
    for file in files:
        _add_module(prog, file)
    return prog


def running_stack(box: BootedKernel, prog: drgn.Program) -> drgn.StackTrace:
    """The stack of the task that has the CPU, by the CPU's own registers: `prog.stack_trace()` has none for it.

    Between calls of Python's the process is in user space, and the trace has its one frame. Inside of a probe
    (`box.probe`) it goes from the function that was reached to the system call.
    """
    import drgn

    data, size = register_set(box), drgn.sizeof(prog.type("struct pt_regs"))
    return prog.stack_trace(drgn.Object.from_bytes_(prog, "struct pt_regs", data[:size].ljust(size, b"\0")))


class _Variables:
    """Finds variables whose types have no name, so that the symbol file cannot give them."""

    def __init__(self, inspect: Inspector) -> None:
        self._inspect = inspect

    def find(
        self, prog: drgn.Program, name: str, flags: drgn.FindObjectFlags, filename: str | None
    ) -> drgn.Object | None:
        """One by its name, None for one that is not known (drgn's interface of an object finder)."""
        import drgn

        if filename:
            return None
        try:
            if name == "vmemmap":  # a macro on most processors
                return drgn.Object(prog, "struct page *", self._inspect.symbols.areas().pages)
            address = self._inspect.symbols.of_kernel("tk_core") if name == "tk_core" else None
            return None if address is None else drgn.Object(prog, _timekeeper(prog), address=address)
        except (LookupError, KoboxError):
            return None


def _timekeeper(prog: drgn.Program) -> drgn.Type:
    """The type of tk_core, which has no name: { seqcount_raw_spinlock_t seq; struct timekeeper timekeeper; ... }."""
    import drgn

    counter, keeper = prog.type("seqcount_raw_spinlock_t"), prog.type("struct timekeeper")
    at = (drgn.sizeof(counter) + 7) & -8
    members = (
        drgn.TypeMember(counter, "seq"),
        drgn.TypeMember(keeper, "timekeeper", bit_offset=8 * at),
    )
    return prog.struct_type(None, at + drgn.sizeof(keeper), members)


def _architecture(box: BootedKernel) -> drgn.Architecture:
    import drgn

    found = {architecture.name.lower(): architecture for architecture in drgn.Architecture}
    names = {"aarch64": "aarch64", "arm64": "aarch64"}
    return found[names.get(box.arch.name, box.arch.name)]


def _add_module(prog: drgn.Program, file: ModuleFile) -> None:
    """Give drgn the file of a module that is loaded."""
    from drgn.helpers.linux.module import find_module

    address = find_module(prog, file.name.encode())
    if address and file.path:
        module = prog.linux_kernel_loadable_module(address, create=True)
        found = module[0] if isinstance(module, tuple) else module
        found.try_file(str(file.path), force=True)
