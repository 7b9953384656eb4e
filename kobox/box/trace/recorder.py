"""Watches a box and makes the tree of calls.

    a system call begins      (the kernel's entry for all of them)     ─┐
    a function of the module  (marked when the module is linked)        ├─▶ a call is open, on the stack it was made on
    the module calls out      (the first block outside of its code)    ─┘
    the place behind the call, with the stack as it was then            ──▶ it has returned

Calls are kept apart by the kernel stack that they are on, so interrupts and other tasks in between do no harm. A call
that never returns (an oops, exit(2)) is closed when its stack is used for something further up.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from kobox.arch.registers import Registers
from kobox.box.booted import BootedKernel
from kobox.box.inspect.cpu_state import CpuReader
from kobox.box.trace.call import Allocation, Call, CallKind
from kobox.box.trace.functions import TracedFunction, TracedFunctions
from kobox.box.trace.syscall_names import SyscallNames
from kobox.box.trace.values import Values
from kobox.errors import KoboxError
from kobox.ko.binary import c_string
from kobox.ko.ctype import Kind
from kobox.ko.modulefile import ModuleFile
from kobox.machine.tracer import CallTracer, Passage

_REGISTERS = 6


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """What is recorded. `modules` are names; () is every module that is loaded while the trace goes on. `kernel_depth`:
    how many calls deep the kernel is followed under the module: 0 not at all, 1 the functions that it calls itself.
    `syscalls`: system calls that do not come to the module too. Recording ends after `most` calls. A trace in the
    `background` ends when another one begins."""

    modules: tuple[str, ...] = ()
    kernel_depth: int = 1
    syscalls: bool = False
    most: int = 100_000
    background: bool = False


class _Open:
    """A call that has not returned: where it returns to, and what the stack pointer is then."""

    __slots__ = ("address", "call", "function", "nested", "returns_to", "sp", "sp_then", "values")

    def __init__(self, call: Call, function: TracedFunction, returns_to: int, sp: int, sp_then: int) -> None:
        self.call = call
        self.function = function
        self.address = function.address
        self.returns_to = returns_to
        self.sp = sp
        self.sp_then = sp_then
        self.nested = 0  # how many calls of the kernel's are around it, with none of the module's between
        self.values: list[int] = []


class Recorder:
    """Records from when it is made until `close`. Raises `KoboxError` for a kernel without type information,
    `MachineError` when calls in the box are traced already."""

    def __init__(self, box: BootedKernel, options: TraceOptions) -> None:
        self._box = box
        self._options = options
        self._machine = box.machine
        self._inspect = box.inspect
        self._functions = TracedFunctions(box.inspect)
        self._values = Values(box.inspect)
        self._names = SyscallNames(box.inspect)
        self._cpu = CpuReader(box)
        self._calls = box.arch.calls
        self._stack_of = box.arch.addresses.stack_of
        self._saved = _saved_members(box)
        self._entry = box.inspect.symbols.address(box.arch.syscalls.entry)
        self._thunks = {
            address: register
            for name, register in box.arch.code.indirect_jumps.items()
            if (address := box.inspect.symbols.of_kernel(name)) is not None
        }
        self.roots: list[Call] = []
        self.live: dict[int, Allocation] = {}  # memory that was not given back
        self.freed: list[Allocation] = []
        self.modules: list[str] = []
        self.count = 0
        self.full = False
        self._returned = 0
        self._stacks: dict[int, list[_Open]] = {}
        self._sites: set[int] = set()
        self._loaded: dict[str, tuple[tuple[int, int], ...]] = {}
        self._deep = False
        self._log_at = box.log.position()
        self._current: Call | None = None  # the innermost call as of the last event
        self._tracer = CallTracer(box.machine, self._passed)
        self._undo: list[Callable[[], None]] = []
        self._start()

    def close(self) -> None:
        """Record no more."""
        self._tracer.close()
        self._take_log()
        self.roots = [call for call in self.roots if self._is_shown(call)]
        while self._undo:
            self._undo.pop()()

    def add_file(self, file: ModuleFile) -> None:
        """The file of a module, for what its functions take and their lines."""
        self._functions.add_file(file)

    # -- start -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        probes = self._inspect.probes
        for name, came in (("do_init_module", self._module_came), ("free_module", self._module_goes)):
            self._undo.append(probes.add(name, lambda hit, come=came: come(hit.argument(0))).remove)  # type: ignore[misc]
        self._tracer.mark(self._entry)
        for module in self._inspect.symbols.modules():
            if module.name in self._options.modules:
                self._follow(module.name)
        if self._options.kernel_depth > 1:
            self._mark_kernel()

    def _mark_kernel(self) -> None:
        """Mark all functions of the kernel; they count while a traced call is under way."""
        symbols = self._inspect.symbols
        end = symbols.of_kernel("_etext") or 0
        skip = {self._entry, *self._thunks}
        for address, name in symbols.of_the_kernel():
            if name[:1] in b"tT" and address < end and address not in skip:
                self._tracer.mark(address, deep=True)

    def restored(self) -> None:
        """The box has gone back in time: what was open will not return, and other modules may be there."""
        self._stacks.clear()
        self._tracer.restored()
        for name in list(self._loaded):
            self._leave(name)
        for module in self._inspect.symbols.modules():
            if self._is_wanted(module.name):
                self._follow(module.name)
        self._log_at = self._box.log.position()

    # -- modules -----------------------------------------------------------------------------------------------------

    def _is_wanted(self, name: str) -> bool:
        return not self._options.modules or name in self._options.modules

    def _name_of(self, module: int) -> str:
        at = self._inspect.objects.member(module, "module.name")
        return c_string(self._machine.read(at, 56)).decode(errors="replace")

    def _module_came(self, module: int) -> None:
        self._values.forget()
        self._leave_init_code()
        with suppress(KoboxError, ValueError):
            name = self._name_of(module)
            if self._is_wanted(name):
                self._follow(name)

    def _module_goes(self, module: int) -> None:
        self._values.forget()
        with suppress(ValueError):
            self._leave(self._name_of(module))

    def _follow(self, name: str) -> None:
        module = next((one for one in self._inspect.symbols.modules() if one.name == name), None)
        if module is None:
            return
        self._functions.forget(name)
        self._loaded[name] = module.code
        if name not in self.modules:
            self.modules.append(name)
        for start, size in module.code:
            self._tracer.trace_code(start, start + size)
        for symbol in self._functions.of_module(name):
            if ".cold" not in symbol.name:
                self._tracer.mark(symbol.address)

    def _leave(self, name: str) -> None:
        for start, size in self._loaded.pop(name, ()):
            self._tracer.trace_code(start, start + size, on=False)
            for symbol in self._functions.of_module(name):
                self._tracer.unmark(symbol.address)
        self._functions.forget(name)

    def _leave_init_code(self) -> None:
        """Init code that has run is freed: another module may come to lie there."""
        there = {module.name: module.code for module in self._inspect.symbols.modules()}
        for name, code in list(self._loaded.items()):
            gone = set(code) - set(there.get(name, ()))
            for start, size in gone:
                self._tracer.trace_code(start, start + size, on=False)
                for symbol in self._functions.of_module(name):
                    if start <= symbol.address < start + size:
                        self._tracer.unmark(symbol.address)
            if gone:
                self._loaded[name] = tuple(part for part in code if part not in gone)

    def _module_at(self, address: int) -> str:
        for name, code in self._loaded.items():
            for start, size in code:
                if start <= address < start + size:
                    return name
        return ""

    # -- while the box runs ------------------------------------------------------------------------------------------

    def _passed(self, passage: Passage, address: int) -> None:
        if self.full:
            return
        with suppress(
            ValueError, LookupError, KoboxError, struct.error
        ):  # a stack or pointer that leads nowhere: the module may have written anything
            if address in self._sites:
                self._back(address)
            elif passage is Passage.OUT:
                self._out(address)
            elif address == self._entry:
                self._syscall()
            elif self._module_at(address):
                self._enter(address, CallKind.MODULE)
            elif self._deep:
                self._deeper(address)

    def _out(self, address: int) -> None:
        """The first block outside of the module: a function that it calls, or what else leads out."""
        if self._options.kernel_depth < 1:
            return
        registers = self._machine.registers()
        if address in self._thunks:
            address = registers[self._thunks[address]]  # type: ignore[index]
            if self._module_at(address):
                return  # the mark at its entry reports it
        function = self._functions.at(address)
        if function is None:
            return
        returns_to = self._calls.return_address(registers, self._machine.read)
        module = self._module_at(returns_to)
        if module and self._functions.is_behind_call(returns_to):
            self._begin(function, CallKind.KERNEL, returns_to, registers)
        elif not module or not self._is_open_at(registers.sp):
            open_calls = self._stacks.get(self._stack_of(registers.sp))
            top = open_calls[-1] if open_calls else None
            if top is not None and top.function.module and self._functions.is_jumped_to(top.function.module, address):
                self._begin(function, CallKind.KERNEL, returns_to, registers, tail=True)

    def _is_open_at(self, sp: int) -> bool:
        return any(one.sp == sp for one in self._stacks.get(self._stack_of(sp), ()))

    def _deeper(self, address: int) -> None:
        """A function of the kernel's, below one that the module has called."""
        sp = self._machine.sp
        open_calls = self._stacks.get(self._stack_of(sp))
        if not open_calls or open_calls[-1].call.kind is not CallKind.KERNEL or sp > open_calls[-1].sp:
            return
        if open_calls[-1].nested + 1 < self._options.kernel_depth and open_calls[-1].address != address:
            self._enter(address, CallKind.KERNEL)

    def _enter(self, address: int, kind: CallKind) -> None:
        function = self._functions.at(address)
        if function is None:
            return
        registers = self._machine.registers()
        self._begin(function, kind, self._calls.return_address(registers, self._machine.read), registers)

    def _begin(
        self, function: TracedFunction, kind: CallKind, returns_to: int, registers: Registers, *, tail: bool = False
    ) -> None:
        sp = registers.sp
        open_calls = self._stacks.setdefault(self._stack_of(sp), [])
        while open_calls and open_calls[-1].sp < sp:
            open_calls.pop()  # it has left without returning
        if open_calls and open_calls[-1].sp == sp and open_calls[-1].address == function.address:
            return  # a loop whose head is the function's entry
        parent = open_calls[-1] if open_calls else None
        call = self._new_call(function, kind, returns_to, parent.call if parent is not None else None, tail)
        if call is None:
            return
        one = _Open(call, function, returns_to, sp, self._calls.sp_after_return(registers))
        if function.prototype is not None:
            one.values = self._arguments(registers, len(function.prototype.parameters))
            call.arguments = self._values.arguments(function.prototype, one.values)
        if kind is CallKind.KERNEL:
            above = parent is not None and parent.call.kind is CallKind.KERNEL
            one.nested = parent.nested + 1 if parent is not None and above else 0
            call.place = self._functions.line(returns_to - 1) if self._module_at(returns_to) else ""
            self._set_deep(self._options.kernel_depth > 1)
        open_calls.append(one)
        self._current = call
        self._await(returns_to)

    def _new_call(
        self, function: TracedFunction, kind: CallKind, returns_to: int, parent: Call | None, tail: bool
    ) -> Call | None:
        self._take_log()
        if self.count >= self._options.most:
            self.full = True
            return None
        self.count += 1
        call = Call(kind, function.name, function.module, self._machine.time, parent, returns_to, tail)
        call.cpu = self._machine.cpu
        if parent is not None:
            parent.children.append(call)
        else:
            call.context = self._context()
            self.roots.append(call)
        return call

    def _await(self, site: int) -> None:
        if site not in self._sites:
            self._sites.add(site)
            self._tracer.mark(site)

    def _set_deep(self, on: bool) -> None:
        if on is not self._deep:
            self._deep = on
            self._tracer.set_deep(on)

    def _arguments(self, registers: Registers, count: int) -> list[int]:
        values = list(registers.arguments[:count])
        for number in range(_REGISTERS, min(count, 12)):
            values.append(self._calls.stack_argument(registers, self._machine.read, number))
        return values

    def _context(self) -> str:
        """Who has the CPU: a task, or an interrupt in it."""
        try:
            objects, task = self._inspect.objects, self._cpu.current
            who = f"{objects.text(task, 'task_struct.comm')}[{objects.number(task, 'task_struct.pid')}]"
            state = self._cpu.state(self._machine.registers())
            what = "interrupt in " if state.in_hardirq else "softirq in " if state.in_softirq else ""
            return what + "".join(c if c.isprintable() else "?" for c in who)
        except (KoboxError, ValueError):
            return ""

    # -- system calls ------------------------------------------------------------------------------------------------

    def _syscall(self) -> None:
        registers = self._machine.registers()
        number, _, *arguments = self._saved_registers(registers.argument(0))
        name, prototype = self._names.of(number & 0xFFFFFFFF)
        self._stacks.pop(self._stack_of(registers.sp), None)  # whatever was open there is over
        returns_to = self._calls.return_address(registers, self._machine.read)
        function = TracedFunction(name, self._entry, "", prototype)
        call = self._new_call(function, CallKind.SYSCALL, returns_to, None, False)
        if call is None:
            return
        call.arguments = self._values.arguments(prototype, arguments)
        one = _Open(call, function, returns_to, registers.sp, self._calls.sp_after_return(registers))
        one.values = [registers.argument(0)]
        self._stacks[self._stack_of(registers.sp)] = [one]
        self._current = call
        self._await(returns_to)

    def _saved_registers(self, at: int) -> list[int]:
        space = self._machine.arch.addresses
        return [space.number(self._machine.read(at + offset, space.word)) for offset in self._saved]

    # -- returns -----------------------------------------------------------------------------------------------------

    def _back(self, site: int) -> None:
        sp = self._machine.sp
        open_calls = self._stacks.get(self._stack_of(sp)) or self._stacks.get(
            self._stack_of(sp - self._machine.arch.addresses.word)
        )
        if not open_calls or not any(one.returns_to == site and one.sp_then == sp for one in open_calls):
            return
        self._take_log()
        while open_calls:
            one = open_calls.pop()
            if one.returns_to == site and one.sp_then == sp:
                self._end(one)
                if not (open_calls and open_calls[-1].returns_to == site and open_calls[-1].sp_then == sp):
                    break  # else the one left by jumping to the next: both have returned
        self._current = open_calls[-1].call if open_calls else None
        if self._deep and not any(any(o.call.kind is CallKind.KERNEL for o in s) for s in self._stacks.values()):
            self._set_deep(False)

    def _end(self, one: _Open) -> None:
        call = one.call
        call.end = self._machine.time
        self._returned += 1
        call.order = self._returned
        if call.kind is CallKind.SYSCALL:
            self._end_syscall(one)
            return
        prototype = one.function.prototype
        result = self._machine.result
        kind = prototype.result if prototype is not None else None
        call.result, call.said, call.errno = self._values.result(kind, result)
        if call.kind is CallKind.KERNEL and prototype is not None:
            self._account(one, result)

    def _end_syscall(self, one: _Open) -> None:
        call = one.call
        result = self._saved_registers(one.values[0])[1]
        assert one.function.prototype is not None
        call.result, call.said, call.errno = self._values.result(one.function.prototype.result, result)
        if not self._is_shown(call):
            self.count -= 1
            for n in range(len(self.roots) - 1, -1, -1):
                if self.roots[n] is call:
                    del self.roots[n]
                    break

    def _is_shown(self, call: Call) -> bool:
        return bool(call.kind is not CallKind.SYSCALL or call.children or call.log or self._options.syscalls)

    # -- memory ------------------------------------------------------------------------------------------------------

    def _account(self, one: _Open, result: int) -> None:
        """Remember what the module allocates, and what it gives back."""
        name, call = one.function.name, one.call
        if one.nested:
            return
        if "free" in name:
            for value in one.values:
                if (given := self.live.pop(value, None)) is not None:
                    self.freed.append(Allocation(given.call, given.address, given.size, call))
        elif "alloc" in name:
            assert one.function.prototype is not None
            if one.function.prototype.result.kind is not Kind.POINTER or not (size := self._size(one)):
                return
            if result:
                call.allocated = size
                self.live[result] = Allocation(call, result, size)
            else:
                call.errno = 12  # ENOMEM: what its caller makes of NULL

    def _size(self, one: _Open) -> int:
        """How many bytes a function that allocates was asked for; 0 when that is not to be seen."""
        assert one.function.prototype is not None
        given = dict(zip((p.name for p in one.function.prototype.parameters), one.values, strict=False))
        if "size" in given:
            return given["size"] * given.get("n", 1) & (1 << 40) - 1
        first = one.function.prototype.parameters[:1]
        if first and first[0].type.structure == "kmem_cache":
            with suppress(KoboxError, ValueError):
                return self._inspect.objects.number(one.values[0], "kmem_cache.object_size")
        return 4096 << (given["order"] & 31) if "order" in given else 0

    # -- the log -----------------------------------------------------------------------------------------------------

    def _take_log(self) -> None:
        """Give new records of the log to the call that is under way."""
        position = self._box.log.position()
        if position == self._log_at:
            return
        new, self._log_at = self._box.log.since_position(self._log_at), position
        call = self._current
        while call is not None and call.kind is CallKind.KERNEL and call.parent is not None:
            call = call.parent
        if call is not None:
            call.add_log(new)


def _saved_members(box: BootedKernel) -> tuple[int, ...]:
    """The offsets in `struct pt_regs` of a system call's number, result and arguments."""
    btf = box.inspect.symbols.btf
    return tuple(btf.offset("pt_regs", member) + more for member, more in box.arch.syscalls.saved)
