"""Programs of an object that is loaded, and their links: attached, run with an input of one's own, counted."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

from kobox.box.bpf.bpf_call import BpfCalls, BpfCommand
from kobox.box.bpf.loader import BpfLoader, LoaderAnswer
from kobox.box.bpf.program_code import PROGRAM_INFO_SIZE, ProgramCode, program_code
from kobox.bpf.program_kind import AttachTo, attach_to, kind_name, result_name
from kobox.errors import KernelError, KoboxError

_GROUPS = "/sys/fs/cgroup"
_NAMESPACE = "/proc/self/ns/net"
_PERIOD = 1_000_000  # nanoseconds between two runs of a perf_event program
# struct bpf_attr.test, include/uapi/linux/bpf.h
_TEST = struct.Struct("<IIIIQQIIIIQQIII")
_NETWORK_KINDS = frozenset(
    {"socket_filter", "sched_cls", "sched_act", "xdp", "cgroup_skb", "lwt_in", "lwt_out", "lwt_xmit", "flow_dissector"}
)
_FRAME_SIZE = 1 << 16
# What a program is attached to that is no link, as enum bpf_map_type has them: SOCKMAP, SOCKHASH; hashes and arrays
# (bpf_iter_attach_map() in kernel/bpf/map_iter.c); SK_STORAGE (net/core/bpf_sk_storage.c).
_OF_SOCKETS = frozenset({15, 18})
_OVER_MAPS = {
    "bpf_map_elem": frozenset({1, 2, 5, 6, 9, 10}),
    "bpf_sk_storage_map": frozenset({24}),
    "sockmap": _OF_SOCKETS,
}
# Section -> the options of socket(7) that attach and detach (include/uapi/asm-generic/socket.h).
_SOL_SOCKET = 1
_SOCKET_OPTIONS = {"socket": (50, 27), "sk_reuseport": (52, 68)}
# enum nf_inet_hooks, NFPROTO_* and NF_IP_PRI_* (include/uapi/linux/netfilter.h)
_IPV4, _LOCAL_OUT, _FIRST = 2, 3, -128


class BpfAttachError(KernelError):
    """A program was loaded, and not attached. `log` holds what libbpf said."""


@dataclass(frozen=True, slots=True)
class TestRun:
    """What one call of `BpfProgram.test_run` came to.

    `result` is what the program returned, `name` what that is called ("XDP_DROP"; "" where it has no name); `data` the
    packet and `context` the context afterwards; `duration` virtual nanoseconds a run.
    """

    __test__ = False  # pytest takes its name for a test's

    result: int
    name: str
    data: bytes
    context: bytes
    duration: int


@dataclass(frozen=True, slots=True)
class ProgramStatistics:
    """`runs` and their virtual `nanoseconds` since the program was loaded; `misses`: runs that were left out since the
    program was running already; `verified`: instructions that the verifier went through; `instructions` of the program
    as it runs."""

    runs: int
    nanoseconds: int
    misses: int
    verified: int
    instructions: int


class BpfLink:
    """A program that is attached. `target` says to what; `id` is the kernel's number of the link, 0 where it has
    none."""

    def __init__(self, program: BpfProgram, target: str, number: int, undo: Callable[[], LoaderAnswer]) -> None:
        self.program = program
        self.target = target
        self.id = number
        self._undo: Callable[[], LoaderAnswer] | None = undo

    def __repr__(self) -> str:
        return f"<BpfLink {self.program.name} -> {self.target}{'' if self.attached else ' (detached)'}>"

    def __enter__(self) -> BpfLink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.program.in_living_box:
            self.detach()

    @property
    def attached(self) -> bool:
        """Whether `detach` was not called."""
        return self._undo is not None

    def detach(self) -> None:
        """Detach the program; nothing the second time. Raises `BpfAttachError`."""
        if self._undo is not None:
            undo, self._undo = self._undo, None
            must_work(undo(), f"{self.program.name}: not detached from {self.target}")


class BpfProgram:
    """One program of an object. `name` is its function, `section` its SEC(), `kind` the kernel's name of its type, `id`
    the kernel's number of it."""

    def __init__(
        self, calls: BpfCalls, loader: BpfLoader, name: str, section: str, kind: int, maps: Mapping[str, int]
    ) -> None:
        """`maps` are the object's maps: their kinds by name."""
        self._calls = calls
        self._loader = loader
        self._maps = maps
        self.name = name
        self.section = section
        self.kind = kind_name(kind)
        self.id = 0
        self.verifier_log = ""  # of a load with `log`
        self.links: list[BpfLink] = []

    def __repr__(self) -> str:
        return f"<BpfProgram {self.name} {self.section} id {self.id}>"

    @property
    def in_living_box(self) -> bool:
        """Whether the kernel that it is in has not died."""
        return self._calls.box.alive

    @property
    def attach_to(self) -> AttachTo:
        """What it is attached to."""
        return attach_to(self.section)

    # -- attaching ---------------------------------------------------------------------------------------------

    def attach(self, target: str | int = "", *, period: int = _PERIOD) -> BpfLink:
        """Attach it: as its section says, or to `target`.

        `target` is the name of a network interface (default: the first that is not "lo", or "lo"), the directory of a
        control group (default: the root), a kernel function for a kprobe, "FILE:FUNCTION" or "FILE:OFFSET" of the box
        for a uprobe, the descriptor of a socket for a socket filter or a program of a reuseport group, the name of a
        map for programs on maps of sockets and for an iterator over a map (default: the only one that fits).
        `period` is how many nanoseconds lie between two runs of a perf_event program.

        Raises `BpfAttachError` with errno and libbpf's words; `KoboxError` for a program that is called and never
        attached.
        """
        make = {
            AttachTo.INTERFACE: self._to_interface,
            AttachTo.TRAFFIC: self._to_traffic,
            AttachTo.CGROUP: self._to_cgroup,
            AttachTo.NETWORK: self._to_network,
            AttachTo.ITERATOR: self._to_iterator,
            AttachTo.STRUCT_OPS: self._to_operations,
            AttachTo.FILTER: self._to_filter,
            AttachTo.SOCKETS: self._to_sockets,
            AttachTo.SOCKET: self._to_socket,
            AttachTo.CLOCK: lambda given: self._ask("CPU 0's clock", "attach", self.name, "perf_event", period),
            AttachTo.NOTHING: self._to_nothing,
        }.get(self.attach_to, self._by_section)
        link = make(str(target))
        self.links.append(link)
        return link

    def _ask(self, target: str, *words: str | int) -> BpfLink:
        """A link of libbpf's."""
        answer = self._loader.ask(*words)
        must_work(answer, f"{self.name}: not attached to {target}", self.section)
        found = answer.of("link")
        number, link = found[0] if found else ("-1", "0")
        return BpfLink(self, target, int(link), lambda: self._loader.ask("detach", number))

    def _by_section(self, target: str) -> BpfLink:
        if target and self.kind == "kprobe":
            is_return = int(self.section.split("/", 1)[0] in ("kretprobe", "kretsyscall", "uretprobe"))
            if self.section.startswith("u"):
                path, _, place = target.rpartition(":")
                return self._ask(target, "attach", self.name, "uprobe", path, place, is_return)
            return self._ask(target, "attach", self.name, "kprobe", target, is_return)
        return self._ask(self.section.partition("/")[2] or self.section, "attach", self.name, "auto")

    def _to_interface(self, target: str) -> BpfLink:
        name, number = self._interface(target)
        return self._ask(name, "attach", self.name, "xdp", number)

    def _to_traffic(self, target: str) -> BpfLink:
        name, number = self._interface(target)
        if self.section.startswith("tcx"):
            return self._ask(f"{name} ({self.section})", "attach", self.name, "tcx", number)
        way = "out" if self.section.endswith("egress") else "in"
        where = f"{name} ({'egress' if way == 'out' else 'ingress'})"
        answer = self._loader.ask("tc", self.name, number, way, "on")
        must_work(answer, f"{self.name}: not attached to {where}")
        handle, priority = answer.of("filter")[0]
        undo = ("tc", self.name, number, way, "off", handle, priority)
        return BpfLink(self, where, 0, lambda: self._loader.ask(*undo))

    def _interface(self, target: str) -> tuple[str, int]:
        """(name, number) of a network interface."""
        box = self._calls.box
        try:
            names = [target] if target else sorted(box.listdir("/sys/class/net"), key=lambda name: name == "lo")
            return names[0], int(box.read_text(f"/sys/class/net/{names[0]}/ifindex"))
        except (OSError, IndexError):
            raise BpfAttachError(errno.ENODEV, f"{self.name}: the box has no network interface {target}") from None

    def _to_cgroup(self, target: str) -> BpfLink:
        place = self._cgroup(target)
        return self._ask(place, "attach", self.name, "cgroup", place)

    def _cgroup(self, target: str) -> str:
        """The directory of a control group: the root, which is mounted first, where none is named."""
        box = self._calls.box
        if not target and not box.exists(f"{_GROUPS}/cgroup.procs"):
            box.syscall("mount", "cgroup2", _GROUPS, "cgroup2", 0, None)
        return target or _GROUPS

    def _to_network(self, target: str) -> BpfLink:
        place = target or _NAMESPACE
        return self._ask(place, "attach", self.name, "netns", place)

    def _to_iterator(self, target: str) -> BpfLink:
        over = self.section.partition("/")[2]
        if over == "cgroup":
            place = self._cgroup(target)
            return self._ask(f"cgroup {place}", "iterator", self.name, "cgroup", place)
        if over in _OVER_MAPS:
            name = self._map(target, _OVER_MAPS[over])
            return self._ask(f"{over} {name}", "iterator", self.name, "map", name)
        return self._ask(over, "iterator", self.name)

    def _map(self, target: str, kinds: frozenset[int]) -> str:
        """The name of a map to attach to: `target`, or the only one of the object that is of one of these kinds."""
        fitting = [name for name, kind in self._maps.items() if kind in kinds]
        if target or len(fitting) == 1:
            return target or fitting[0]
        raise KoboxError(
            f"{self.name}: is attached to a map, and the object has {len(fitting)} that it could be attached to",
            hint=f'Name it: `program.attach("MAP")`; it can be one of: {", ".join(fitting) or "none"}.',
        )

    def _to_operations(self, target: str) -> BpfLink:
        raise KoboxError(
            f"{self.name}: is part of a structure of operations, which is attached as a whole",
            hint='Attach the object, or its map: `loaded.attach()`, `loaded.attach_struct_ops("NAME")`.',
        )

    def _to_filter(self, target: str) -> BpfLink:
        return self._ask("IPv4's output", "attach", self.name, "netfilter", _IPV4, _LOCAL_OUT, _FIRST)

    def _to_sockets(self, target: str) -> BpfLink:
        name = self._map(target, _OF_SOCKETS)
        must_work(self._loader.ask("sockets", self.name, name, "on"), f"{self.name}: not attached to {name}")
        return BpfLink(self, name, 0, lambda: self._loader.ask("sockets", self.name, name, "off"))

    def _to_socket(self, target: str) -> BpfLink:
        if not target.isdecimal():
            raise KoboxError(
                f"{self.name}: is attached to a socket",
                hint="Give its descriptor in the box's main process: `program.attach(fd)`.",
            )
        fd, box = int(target), self._calls.box
        on, off = _SOCKET_OPTIONS[self.section.split("/", 1)[0]]
        try:
            with self._calls.descriptor(BpfCommand.PROGRAM_BY_ID, self.id) as program:
                box.syscall("setsockopt", fd, _SOL_SOCKET, on, struct.pack("<I", program), 4)
        except OSError as error:
            raise BpfAttachError(error.errno or 0, f"{self.name}: not attached to descriptor {fd}") from None

        def undo() -> LoaderAnswer:
            try:
                box.syscall("setsockopt", fd, _SOL_SOCKET, off, bytes(4), 4)
            except OSError as error:  # closed meanwhile: the program went with it
                if error.errno not in (errno.EBADF, errno.ENOTSOCK, errno.ENOENT):
                    return LoaderAnswer(errno=error.errno or errno.EIO)
            return LoaderAnswer()

        return BpfLink(self, f"socket {fd}", 0, undo)

    def _to_nothing(self, target: str) -> BpfLink:
        raise KoboxError(
            f"{self.name}: a program of section {self.section} is called and never attached",
            hint="Call it: `program.test_run(...)`.",
        )

    # -- running -----------------------------------------------------------------------------------------------

    def test_run(self, data: bytes = b"", *, context: bytes = b"", repeat: int = 1, cpu: int | None = None) -> TestRun:
        """Run it once, or `repeat` times, with a packet and a context of one's own (BPF_PROG_TEST_RUN).

        `data` is the packet, with its link layer's header; a kernel wants 14 bytes at least. `context` is the
        structure that the program gets: what its kind has (struct __sk_buff, struct xdp_md, arguments of a raw
        tracepoint as 64-bit numbers); `cpu` is where a raw tracepoint's program runs.

        Raises `OSError`: EINVAL for input that this kind does not take, EOPNOTSUPP or ENOTSUPP (524) for a kind that
        cannot be run so.
        """
        calls = self._calls
        packet = self.kind in _NETWORK_KINDS
        room = _FRAME_SIZE + len(data) if packet else 0
        with (
            calls.descriptor(BpfCommand.PROGRAM_BY_ID, self.id) as fd,
            calls.memory(data) as at_data,
            calls.memory(bytes(room)) as at_room,
            calls.memory(context) as at_context,
            calls.memory(context) as at_changed,
        ):
            attributes = bytearray(
                _TEST.pack(
                    fd,
                    0,
                    len(data),
                    room,
                    at_data if data else 0,
                    at_room if room else 0,
                    repeat if packet or repeat > 1 else 0,
                    0,
                    len(context),
                    len(context) if packet else 0,
                    at_context if context else 0,
                    at_changed if context and packet else 0,
                    1 if cpu is not None else 0,  # BPF_F_TEST_RUN_ON_CPU
                    cpu or 0,
                    0,
                )
            )
            calls.call(BpfCommand.PROGRAM_TEST_RUN, attributes)
            (_, result, _, size, _, _, _, duration, _, changed, *_) = _TEST.unpack(attributes)
            after = calls.read(at_room, min(size, room)) if room else b""
            left = calls.read(at_changed, min(changed, len(context))) if context and packet else context
        return TestRun(result, result_name(self.kind, result), after, left, duration)

    def read(self) -> bytes:
        """What an iterator prints now (SEC("iter/...")): it is attached first where it is not. Raises `OSError`."""
        if self.attach_to is not AttachTo.ITERATOR:
            raise KoboxError(f"{self.name}: only an iterator is read, and its section is {self.section}")
        link = next((link for link in self.links if link.attached), None) or self.attach()
        box, found = self._calls.box, bytearray()
        with self._calls.descriptor(BpfCommand.LINK_BY_ID, link.id) as fd:
            reader = self._calls.call(BpfCommand.ITERATOR_CREATE, struct.pack("<II", fd, 0))
            try:
                buffer = bytearray(1 << 16)
                while (size := box.syscall("read", reader, buffer, len(buffer))) > 0:
                    found += buffer[: min(size, len(buffer))]
                    if len(found) > 64 << 20:
                        raise KoboxError(f"{self.name}: printed more than 64 MiB")
            finally:
                self._calls.close(reader)
        return bytes(found)

    # -- what the kernel says of it ----------------------------------------------------------------------------

    def code(self) -> ProgramCode:
        """Its code as the kernel has it: what the verifier made of it, machine code, lines of the source. Raises
        `OSError`, `KoboxError`."""
        return program_code(self._calls, self.id)

    @property
    def original(self) -> bytes:
        """Its instructions as libbpf gave them to the kernel (struct bpf_insn)."""
        answer = self._loader.ask("code", self.name)
        must_work(answer, f"{self.name}: its instructions cannot be read")
        return bytes.fromhex(answer.of("value")[0][0])

    @property
    def statistics(self) -> ProgramStatistics:
        """How often it ran, how long, and how much the verifier had to do. Raises `OSError`."""
        with self._calls.descriptor(BpfCommand.PROGRAM_BY_ID, self.id) as fd:
            info = self._calls.info(fd, PROGRAM_INFO_SIZE)
        nanoseconds, runs, misses, verified = struct.unpack_from("<QQQI", info, 192)
        (size,) = struct.unpack_from("<I", info, 20)
        return ProgramStatistics(runs, nanoseconds, misses, verified, size // 8)


def must_work(answer: LoaderAnswer, what: str, section: str = "") -> None:
    """Raise `BpfAttachError` when a command of the loader failed; `section` is the program's."""
    if answer.errno:
        raise BpfAttachError(answer.errno, what, log=list(answer.said), hint=_attach_hint(answer, section))


def _attach_hint(answer: LoaderAnswer, section: str) -> str:
    name = errno.errorcode.get(answer.errno, str(answer.errno))
    if answer.errno == errno.EOPNOTSUPP and section.partition("/")[0].endswith((".multi", ".session")):
        return f"{name}: this kernel has no probe for many functions at once (CONFIG_FPROBE is not set)."
    if answer.errno in (errno.EOPNOTSUPP, 524):
        return f"{name}: libbpf finds nothing in the section's name to attach to: give `attach` a target."
    if any("qdisc kind is unknown" in text for text in answer.said):
        return f"{name}: this kernel wants its modules sch_ingress and cls_bpf, and the box has no module tree."
    if answer.errno == errno.ENOENT:
        return f"{name}: this kernel has no such function or tracepoint (`/proc/kallsyms` lists the functions)."
    return f"{name}: {os.strerror(answer.errno)}."
