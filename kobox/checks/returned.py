"""What functions of the module return that the kernel takes at its word.

    return ENOMEM;         init, probe: a number above zero is no error code. do_init_module() warns, and the module
                           stays; really_probe() says "failed with error 12"
    return EBUSY;          open, mmap: the same. do_dentry_open() warns; mmap() gives the program a wrong address
    return EFAULT;         ioctl, read, open …: the same, after a call that has failed with just that error
    return strlen(text);   read, write: more than the program's buffer holds. If that much was copied, what lies behind
                           the buffer is lost

Sources: kernel/module/main.c; drivers/base/dd.c; fs/read_write.c; read(2); the functions that register drivers, in the
table below.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from functools import partial

from kobox.arch.unwind import StackFrame
from kobox.box.inspect.probes import FROM_MODULE, Hit, Probe
from kobox.checks.report.finding import Severity
from kobox.checks.report.quantities import quantity
from kobox.checks.runner.session import Check, Examination, Trace
from kobox.errors import KoboxError

_MAX_ERRNO = 4096
_LONGEST = 0x7FFFF000  # MAX_RW_COUNT
_LIMIT = 24  # frames of a chain
_COPIES = {"_copy_from_user": False, "_copy_to_user": False, "strncpy_from_user": True} | {
    f"__{kind}_user_{size}": True for kind in ("get", "put") for size in (1, 2, 4, 8)
}
"""Functions that copy from and to user space, and whether they fail with a number below zero (else above)."""

_PROBES = {
    "__platform_driver_register": "platform_driver.probe",
    "__pci_register_driver": "pci_driver.probe",
    "i2c_register_driver": "i2c_driver.probe",
    "__spi_register_driver": "spi_driver.probe",
    "register_virtio_driver": "virtio_driver.probe",
    "__register_virtio_driver": "virtio_driver.probe",
    "__auxiliary_driver_register": "auxiliary_driver.probe",
    "usb_register_driver": "usb_driver.probe",
    "driver_register": "device_driver.probe",
}
"""Functions that register a driver, and where its first argument has probe."""

_OPERATIONS = {
    "misc_register": (0, "miscdevice.fops", "file_operations."),
    "cdev_init": (1, "", "file_operations."),
    "__register_chrdev": (4, "", "file_operations."),
    "debugfs_create_file": (4, "", "file_operations."),
    "debugfs_create_file_unsafe": (4, "", "file_operations."),
    "proc_create": (3, "", "proc_ops.proc_"),
    "proc_create_data": (3, "", "proc_ops.proc_"),
}
"""Functions that register operations of files: which argument leads there, by which member; how their members begin."""


class ReturnedCheck(Check):
    """Looks at what init, probe, and read and write of files return, and any function of the module in which a call has
    failed return."""

    name = "returned"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._probed: set[int] = set()
        imports = {found.name for found in examination.file.imports}
        for name, member in _PROBES.items():
            if name in imports and name in examination.box.inspect.symbols:
                examination.probe(name, partial(self._registers, member), when=FROM_MODULE)
        for name, row in _OPERATIONS.items():
            if name in imports and name in examination.box.inspect.symbols:
                examination.probe(name, partial(self._registers_operations, *row), when=FROM_MODULE)
        self._copied: dict[int, tuple[int, Trace]] = {}  # by stack: the largest copy to user space of a call
        self._asked: dict[int, int] = {}  # by stack: how many bytes a read(2) or write(2) under way is about
        for name in ("vfs_read", "vfs_write"):
            if name in examination.box.inspect.symbols:
                examination.probe(name, self._asks, partial(self._answers, name.removeprefix("vfs_")))
        if "__check_object_size" in imports and "__check_object_size" in examination.box.inspect.symbols:
            examination.probe("__check_object_size", self._copies, when=FROM_MODULE)
        self._probes_of_callbacks: list[Probe] = []
        self._waiting: set[int] = set()  # by stack: callbacks in which a call has failed
        for name, below_zero in _COPIES.items():
            if name in imports and name in examination.box.inspect.symbols:
                examination.probe(name, None, partial(self._has_copied, below_zero), when=FROM_MODULE)
        examination.told_of_failures.append(self._has_failed)

    def leaving(self, examination: Examination) -> None:
        while self._probes_of_callbacks:
            self._probes_of_callbacks.pop().remove()
        self._waiting.clear()

    def detach(self, examination: Examination) -> None:
        self.leaving(examination)

    def linked(self, examination: Examination) -> None:
        self._probed.clear()
        if examination.module is not None:
            with suppress(KoboxError, ValueError):
                self._watch("init", examination.box.inspect.objects.number(examination.module.address, "module.init"))

    def _registers(self, member: str, hit: Hit) -> None:
        with suppress(KoboxError, ValueError):
            self._watch("probe", self._examination.box.inspect.objects.number(hit.args[0], member))

    def _registers_operations(self, argument: int, member: str, prefix: str, hit: Hit) -> None:
        objects = self._examination.box.inspect.objects
        with suppress(KoboxError, ValueError):
            operations = objects.number(hit.args[argument], member) if member else hit.args[argument]
            for name in ("open", "mmap"):
                self._watch(name, objects.number(operations, f"{prefix}{name}"))

    # -- read(2), write(2) -------------------------------------------------------------------------------------

    def _asks(self, hit: Hit) -> None:
        stack = self._examination.box.arch.addresses.stack_of(hit.registers.sp)
        self._asked[stack] = hit.data = hit.args[2]
        self._copied.pop(stack, None)

    def _copies(self, hit: Hit) -> None:
        """check_object_size(): the module is about to copy so many bytes."""
        stack = self._examination.box.arch.addresses.stack_of(hit.registers.sp)
        if hit.args[1] > self._asked.get(stack, hit.args[1]) and hit.args[1] < _LONGEST:
            self._copied.setdefault(stack, (hit.args[1], self._examination.trace(hit, limit=_LIMIT)))

    def _answers(self, call: str, hit: Hit) -> None:
        stack = self._examination.box.arch.addresses.stack_of(hit.registers.sp)
        copied, result = self._copied.pop(stack, None), hit.result or 0
        self._asked.pop(stack, None)
        if hit.data is None or not hit.data < result < _LONGEST:
            return
        examination = self._examination
        function = copied[1] if copied is not None else self._operation(hit.args[0], call)
        if function is None:
            return
        examination.report(
            "returns-too-much",
            Severity.ERROR,
            f"{call}() of {quantity(hit.data, 'byte')} returned {result}",
            chain=examination.chain(function),
            advice="Copy and return no more than the call asks for: min(count, available).",
        )

    def _operation(self, file: int, call: str) -> Trace | None:
        """The function of the module that a call of a file leads to; None for other files."""
        objects, examination = self._examination.box.inspect.objects, self._examination
        with suppress(KoboxError, ValueError):
            operations = objects.number(file, "file.f_op")
            for member in (call, f"{call}_iter"):
                function = objects.number(operations, f"file_operations.{member}")
                if examination.in_module(function):
                    return Trace((StackFrame(function, 0, True),), examination.placement)
        return None

    # -- callbacks in which a call fails -----------------------------------------------------------------------

    def _has_copied(self, below_zero: bool, hit: Hit) -> None:
        result = hit.result or 0
        if result < 0 if below_zero else result:
            self._has_failed(errno.EFAULT)

    def _has_failed(self, number: int) -> None:
        """A call of the module has failed: look at what the function returns that the kernel has called."""
        examination = self._examination
        own: list[StackFrame] = []
        for frame in examination.box.inspect.unwinder.walk(limit=_LIMIT):
            if examination.in_module(frame.inside):
                own.append(frame)
            elif own:
                self._watch_callback(number, tuple(own), frame.address)
                return

    def _watch_callback(self, number: int, own: tuple[StackFrame, ...], returns_to: int) -> None:
        box, sp = self._examination.box, own[-1].cfa
        if sp in self._waiting:
            return
        self._waiting.add(sp)

        def returned(hit: Hit) -> None:
            if hit.registers.sp != sp:
                return
            probe.remove()
            self._waiting.discard(sp)
            if hit.registers.result & 0xFFFFFFFF == number:
                self._positive(number, own)

        probe = box.probe(returns_to, returned)
        self._probes_of_callbacks.append(probe)

    def _positive(self, number: int, own: tuple[StackFrame, ...]) -> None:
        """Report it, where one of the functions under way has loaded just that constant: else it may be a count."""
        examination, name = self._examination, errno.errorcode[number]
        for frame in own:
            place = examination.placement.find(frame.inside) if examination.placement is not None else None
            function = examination.file.debug.function_at(*place) if place is not None else None
            if function is None or examination.placement is None:
                continue
            start = examination.placement.starts[function.section] + function.offset
            if (at := self._loaded_at(start, number)) != start:
                chain = Trace((StackFrame(at, frame.cfa, True), *own[own.index(frame) + 1 :]), examination.placement)
                examination.report(
                    "positive-errno",
                    Severity.ERROR,
                    f"a call has failed, and {number} ({name}) is returned: that is no error code, which is below zero",
                    chain=examination.chain(chain),
                    advice=f"Return -{name}.",
                )
                return

    # -- init, probe -------------------------------------------------------------------------------------------

    def _watch(self, what: str, function: int) -> None:
        if function not in self._probed and self._examination.in_module(function):
            self._probed.add(function)
            self._examination.probe_code(function, None, partial(self._returned, what, function))

    def _returned(self, what: str, function: int, hit: Hit) -> None:
        result = (hit.result or 0) & 0xFFFFFFFF  # an int
        if not 0 < result < _MAX_ERRNO:
            return
        examination, name = self._examination, errno.errorcode.get(result, "")
        frames = (StackFrame(self._loaded_at(function, result), 0, True),)
        examination.report(
            "positive-errno",
            Severity.ERROR,
            f"{what} returned {result}{f' ({name})' if name else ''}: that is no error code, which is below zero",
            chain=examination.chain(Trace(frames, examination.placement)),
            advice=f"Return -{name or 'ERRNO'}.",
        )

    def _loaded_at(self, address: int, result: int) -> int:
        """The instruction of a function that has loaded a constant result and was executed; else where it begins."""
        examination = self._examination
        place = examination.placement.find(address) if examination.placement is not None else None
        function = examination.file.debug.function_at(*place) if place is not None else None
        if function is None or examination.placement is None:
            return address
        start = examination.placement.starts[function.section]
        code, flags = examination.file.elf.data(function.section), b""
        with suppress(KoboxError):
            size = examination.file.elf.section_at(function.section).size
            flags = examination.box.inspect.watch.executed(start, size)
        end = function.offset + function.size
        for instruction in examination.box.arch.code.instructions(code, function.offset, end):
            executed = flags[instruction.offset : instruction.end][:1] == b"\1"
            if instruction.immediate == result and not instruction.compares and executed:
                return start + instruction.offset
        return address
