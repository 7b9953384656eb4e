"""The kernel's objects in the box's memory: members by BTF, per-CPU variables, lists and trees.

    objects = box.inspect.objects
    name = objects.text(device, "device.kobj.name")
    for queue in objects.list(objects.address("workqueues"), "workqueue_struct.list"):
        print(objects.text(queue, "workqueue_struct.name"))

Nothing is called in the box, so all of it may be asked for in a probe, and when the box is dead.
"""

from __future__ import annotations

from collections.abc import Iterator

from kobox.box.inspect.layout_cache import LayoutCache
from kobox.errors import KoboxError
from kobox.ko.binary import c_string
from kobox.machine.pc import Machine

_MANY = 20_000  # more elements than any list here has: a damaged one may go in circles


class Objects:
    """Reads objects of one box. Members are named as "structure.member", and on through members that are structures.

    Raises `BtfError` for a member that this kernel does not have, `ValueError` where nothing is mapped.
    """

    def __init__(self, machine: Machine, layout: LayoutCache) -> None:
        self._machine = machine
        self._layout = layout
        # Where the kernel has all RAM in one piece: most objects lie there, and need no walk through page tables.
        self._space = machine.arch.addresses
        self._direct = self._direct_map()
        self._percpu: list[int] = []  # where each CPU's part of per-CPU variables is, from their symbols

    @property
    def word(self) -> int:
        """Bytes of a pointer, and of an unsigned long."""
        return self._space.word

    @property
    def cpus(self) -> int:
        """How many CPUs the box has."""
        return self._machine.cpus

    # -- where things are --------------------------------------------------------------------------------------

    def address(self, symbol: str) -> int:
        """The address of a variable. Raises `SymbolNotFoundError`."""
        return self._layout.address(symbol)

    def find(self, symbol: str) -> int | None:
        """The address of a variable; None when this kernel has none of that name."""
        return self._layout.find(symbol)

    def percpu(self, symbol: str, cpu: int | None = None) -> int:
        """The address of a per-CPU variable, of a CPU; None: of the one that has its turn."""
        return self.percpu_at(self.address(symbol), cpu)

    def percpu_at(self, pointer: int, cpu: int | None = None) -> int:
        """The address that a per-CPU pointer (alloc_percpu(), a symbol) means on a CPU."""
        if not self._percpu:
            offsets = self.address("__per_cpu_offset")
            self._percpu = [self.pointer(offsets + self.word * n) for n in range(self._machine.cpus)]
        return pointer + self._percpu[self._machine.cpu if cpu is None else cpu] & self._space.mask

    def percpu_all(self, symbol: str) -> list[int]:
        """The addresses of a per-CPU variable, one for each CPU."""
        return [self.percpu(symbol, cpu) for cpu in range(self._machine.cpus)]

    def has(self, path: str) -> bool:
        """Whether this kernel has such a member."""
        try:
            self._layout.member(path)
        except KoboxError:
            return False
        return True

    def offset(self, path: str) -> int:
        """The offset of a member, from the start of the outermost structure."""
        return self._layout.member(path)[0]

    def size(self, structure: str) -> int:
        """The size of a structure in bytes."""
        return self._layout.member(structure)[1]

    def member(self, address: int, path: str) -> int:
        """The address of a member."""
        return address + self._layout.member(path)[0]

    def container(self, address: int, path: str) -> int:
        """The structure that an address is such a member of."""
        return address - self._layout.member(path)[0]

    # -- what is there -----------------------------------------------------------------------------------------

    def number(self, address: int, path: str) -> int:
        """The value of a member: an unsigned number, a pointer."""
        offset, size, _ = self._layout.member(path)
        return self._number(address + offset, size)

    def text(self, address: int, path: str) -> str:
        """The text of a member that is an array of characters, or points to some; "" when it points nowhere."""
        offset, size, kind = self._layout.member(path)
        at = address + offset
        if not kind.endswith("]"):
            at, size = self.pointer(at), 256
        return self.string(at, size)

    def string(self, address: int, limit: int = 256) -> str:
        """The C string at an address; "" where there is none."""
        out = b""
        try:
            while len(out) < limit and 0 not in out:
                out += self._machine.read(address + len(out), min(limit - len(out), 4096 - (address + len(out) & 4095)))
        except ValueError:
            return ""
        return c_string(out).decode(errors="backslashreplace")

    def read(self, address: int, size: int) -> bytes:
        """The bytes there. Raises `ValueError` where nothing is mapped."""
        return self._machine.read(address, size)

    def u64(self, address: int) -> int:
        """The 64-bit number there."""
        return self._number(address, 8)

    def pointer(self, address: int) -> int:
        """The pointer, or the unsigned long, there."""
        return self._number(address, self._space.word)

    def pointers(self, address: int, count: int) -> tuple[int, ...]:
        """So many, one behind the other."""
        return self._space.numbers(self.read(address, count * self._space.word))

    def pointer_in(self, data: bytes, at: int) -> int:
        """The pointer at an offset of what was read."""
        return self._space.number(data, at)

    def u32(self, address: int) -> int:
        """The 32-bit number there."""
        return self._number(address, 4)

    def _number(self, address: int, size: int) -> int:
        place = address - self._direct
        if 0 <= place <= self._machine.ram_size - size:
            return int.from_bytes(self._machine.ram[place : place + size], "little")
        return int.from_bytes(self._machine.read(address, size), "little")

    def _direct_map(self) -> int:
        """Where the architecture says that all RAM is in one piece, if it really is there."""
        try:
            base = self._machine.arch.direct_map(self._variable)
            last = self._machine.ram_size - 4096
            if self._machine.translate(base) == 0 and self._machine.translate(base + last) == last:
                return base
        except (KoboxError, ValueError):
            pass
        return 1 << 64  # no address is behind that

    def _variable(self, name: str) -> int:
        return self._space.number(self._machine.read(self._layout.address(name), self._space.word))

    # -- lists and trees ---------------------------------------------------------------------------------------

    def list(self, head: int, path: str) -> Iterator[int]:
        """The structures of a circular list (struct list_head) that are linked by this member; the one whose own member
        `head` is, or of which it is the list alone, is left out."""
        link = self.offset(path)
        return (at - link for at in self.chain(self.pointer(head), stop=head))

    def chain(self, at: int, *, link: int = 0, stop: int = 0) -> Iterator[int]:
        """What a chain of pointers leads to, each `link` bytes from the start of the one before; it ends at NULL or at
        `stop`."""
        for _ in range(_MANY):
            if at in (0, stop):
                return
            yield at
            at = self.pointer(at + link)

    def tree(self, root: int) -> Iterator[int]:
        """The nodes of a red-black tree (struct rb_node { parent and colour; right; left }), in no order."""
        todo, seen = [self.pointer(root)], 0
        while todo and seen < _MANY:
            at = todo.pop()
            if at:
                seen += 1
                yield at
                todo += [self.pointer(at + self.word), self.pointer(at + 2 * self.word)]
