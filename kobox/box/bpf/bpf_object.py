"""eBPF objects in a box: `box.bpf.load("guard.bpf.o")`.

    Python                                  the box
    box.bpf.load("guard.bpf.o") ----------> the file, and the loader: a program on libbpf (loader.c)
      relocated against this kernel's BTF   libbpf: bpf(BPF_MAP_CREATE), bpf(BPF_PROG_LOAD) -> the verifier
    guard.attach() -----------------------> libbpf: links, which the loader holds
    guard.maps["drops"][address] ---------> bpf(2) of the box's main process, by the map's ID
    guard.unload() -----------------------> the loader ends: the kernel detaches and frees

Nothing of an object is read on this side, but its BTF, which the loader sends.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import cast

from kobox.box.booted import BootedKernel
from kobox.box.bpf.bpf_call import BpfCalls, BpfCommand
from kobox.box.bpf.loader import BpfLoader, LoaderAnswer, text_of
from kobox.box.bpf.maps import BpfMap, MapTypes
from kobox.box.bpf.observation import BpfObservation
from kobox.box.bpf.programs import BpfLink, BpfProgram, must_work
from kobox.box.bpf.typed import BtfType, Fields, Given, Value
from kobox.box.inspect.btf import Btf, BtfError
from kobox.bpf.program_kind import AttachTo
from kobox.bpf.verifier_log import explain
from kobox.bpf.verifier_rules import rule_for
from kobox.errors import KernelError, KoboxError

_STRUCT_OPS = 26  # BPF_MAP_TYPE_STRUCT_OPS
_ARRAY, _PERF_EVENT_ARRAY = 2, 4
_TEMPORARY = "/run/kobox-bpf"
_MAP_INFO = 80  # struct bpf_map_info up to btf_value_type_id
_SECTIONS = (".data", ".bss", ".rodata")


class BpfLoadError(KernelError):
    """An object was refused: by libbpf (`log`: its words) or by the verifier.

    `program` is the program that was refused ("" for the object), `verifier` the verifier's whole log of it.
    """

    def __init__(
        self, number: int, message: str, *, program: str = "", verifier: str = "", log: list[str], hint: str = ""
    ) -> None:
        super().__init__(number, message, hint=hint)
        self.args = ("\n  ".join([self.message, *log]),)
        self.message = self.args[0]
        self.log = tuple(log)
        self.program = program
        self.verifier = verifier


class Globals(MutableMapping[str, "Value"]):
    """The variables of an object: those of .data, .bss and .rodata, by name. `.rodata` cannot be set after loading."""

    def __init__(self, places: Mapping[str, _Section]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> Value:
        section, offset, kind = self._place(name)
        return kind.decode(section.read()[offset : offset + kind.size])

    def __setitem__(self, name: str, value: Given) -> None:
        section, offset, kind = self._place(name)
        section.write(offset, kind.encode(value))

    def __delitem__(self, name: str) -> None:
        raise TypeError("a variable of a program cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return (name for section in self._places.values() for name in section.variables)

    def __len__(self) -> int:
        return sum(len(section.variables) for section in self._places.values())

    def _place(self, name: str) -> tuple[_Section, int, BtfType]:
        for section in self._places.values():
            if name in section.variables:
                return section, *section.variables[name]
        raise KeyError(name)


class _Section:
    """One section of variables: `read` gives its bytes, `write` changes some."""

    def __init__(
        self, variables: dict[str, tuple[int, BtfType]], read: Callable[[], bytes], write: Callable[[int, bytes], None]
    ) -> None:
        self.variables = variables
        self.read = read
        self.write = write


class BpfObject:
    """An object of programs and maps: open, then loaded. As a context manager it is unloaded at the end.

    `programs` and `maps` are by name; `globals` are its variables. Made by `box.bpf.load` and `box.bpf.open`.
    """

    def __init__(self, calls: BpfCalls, loader: BpfLoader, name: str, answer: LoaderAnswer) -> None:
        self._calls = calls
        self._loader = loader
        self.name = name
        self.loaded = False
        self.programs: dict[str, BpfProgram] = {}
        self.maps: dict[str, BpfMap] = {}
        self.links: list[BpfLink] = []
        self._declared = [(text_of(row[0]), int(row[1]), row[2] == "1") for row in answer.of("map")]
        kinds = {title: kind for title, kind, internal in self._declared if not internal}
        for title, section, kind, _, _ in answer.of("program"):
            named = text_of(title)
            self.programs[named] = BpfProgram(calls, loader, named, text_of(section), int(kind), kinds)
        self._types = {text_of(row[0]): (int(row[3]), int(row[4])) for row in answer.of("map")}
        found = loader.ask("btf").of("value")
        self._btf = Btf(bytes.fromhex(found[0][0])) if found and found[0][0] else None
        self.globals = Globals(self._sections())

    def __repr__(self) -> str:
        state = "loaded" if self.loaded else "open" if self._loader.started else "unloaded"
        return f"<BpfObject {self.name} {state}: {len(self.programs)} programs, {len(self._declared)} maps>"

    def __enter__(self) -> BpfObject:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._calls.box.alive:
            self.unload()

    # -- before it is loaded -----------------------------------------------------------------------------------

    def resize(self, name: str, max_entries: int) -> None:
        """Give a map another size before it is loaded. Raises `KeyError`, `BpfLoadError`."""
        self._must_be_open()
        if all(name != title for title, _, _ in self._declared):
            raise KeyError(name)
        self._must(self._loader.ask("resize", name, max_entries), f"{name}: cannot have {max_entries} entries")

    def leave_out(self, *names: str) -> None:
        """Do not load these programs. Raises `KeyError`."""
        self._must_be_open()
        for name in names:
            self._must(self._loader.ask("autoload", self.programs[name].name, 0), f"{name}: cannot be left out")
            del self.programs[name]

    def choose(self, *names: str) -> None:
        """Load these programs and no others. Raises `KeyError`."""
        self._must_be_open()
        chosen = {name: self.programs[name] for name in names}
        for name in self.programs:
            answer = self._loader.ask("autoload", name, int(name in chosen))
            self._must(answer, f"{name}: cannot be chosen")
        self.programs = chosen

    def set_variables(self, values: Mapping[str, str]) -> None:
        """Set variables from text: what a command line has. Raises `KoboxError` for one that is not there, and for text
        where a number is wanted; what `globals` raises for a value that does not fit."""
        for title, text in values.items():
            if title not in self.globals:
                raise KoboxError(
                    f"{self.name}: has no variable {title}", hint=f"It has: {', '.join(self.globals) or 'none'}."
                )
            try:
                self.globals[title] = text if isinstance(self.globals[title], str) else int(text, 0)
            except ValueError:
                raise KoboxError(f"{title}={text}: a number is wanted") from None
            except (OverflowError, TypeError) as error:
                raise KoboxError(f"{title}={text}: {error}") from None

    def replace(self, name: str, other: BpfProgram, function: str) -> None:
        """Let a program of SEC("freplace") take the place of a function of another program, which is loaded; one of
        SEC("fentry") or SEC("fexit") is called at its beginning or end. Raises `KeyError`, `BpfLoadError`."""
        self._must_be_open()
        answer = self._loader.ask("replace", self.programs[name].name, other.id, function)
        self._must(answer, f"{name}: cannot be attached to {function} of {other.name}")

    def _must_be_open(self) -> None:
        if self.loaded:
            raise KoboxError(f"{self.name}: is loaded already", hint="Open it with `box.bpf.open`, change it, load it.")

    def load(self, *, log: bool = False) -> BpfObject:
        """Load it: maps are made, the verifier reads every program; with `log`, `verifier_log` of each program holds
        what it went through. Raises `BpfLoadError`."""
        self._must_be_open()
        answer = self._loader.ask("load", 2 if log else 0)
        if answer.errno:
            raise self._refusal(answer)
        self.loaded = True
        for title, text in answer.of("log"):
            if text_of(title) in self.programs:
                self.programs[text_of(title)].verifier_log = text_of(text)
        for title, number in answer.of("loaded"):
            self.programs[text_of(title)].id = int(number)
        for title, number in answer.of("mapped"):
            name = text_of(title)
            self.maps[name] = BpfMap(
                self._calls, int(number), name, MapTypes(self._btf, *self._types.get(name, (0, 0))), self._records
            )
        for name, section in self._sections().items():
            self.globals._places = {**self.globals._places, name: section}
        return self

    def _refusal(self, answer: LoaderAnswer) -> BpfLoadError:
        logs = [(text_of(title), text_of(log)) for title, log in answer.of("log")]
        # Programs before the one that was refused may have left a log too: the refused one's is the last.
        program, verifier = logs[-1] if logs else ("", "")
        what = f"{self.name}: the verifier refuses {program}" if program else f"{self.name}: not loaded"
        said = [line for text in answer.said for line in text.splitlines() if not _is_log(line)]
        told = explain(verifier) if verifier else None
        rule = told.rule if told else rule_for("\n".join(said))
        return BpfLoadError(
            answer.errno,
            what,
            program=program,
            verifier=verifier,
            log=told.lines() if told else [*said, *([f"rule: {rule.rule}"] if rule else ())],
            hint=rule.remedy if rule else "",
        )

    def _must(self, answer: LoaderAnswer, what: str) -> None:
        if answer.errno:
            raise BpfLoadError(answer.errno, f"{self.name}: {what}", log=list(answer.said))

    # -- attached ----------------------------------------------------------------------------------------------

    def attach(self, target: str = "") -> list[BpfLink]:
        """Attach every program as its section says, and every structure of operations; programs that are only called,
        and those for one socket, are left alone. `target` is for those that need one: see `BpfProgram.attach`. On
        failure nothing stays attached.

        Raises `BpfAttachError`.
        """
        made: list[BpfLink] = []
        try:
            for program in self.programs.values():
                if program.attach_to not in (AttachTo.NOTHING, AttachTo.STRUCT_OPS, AttachTo.SOCKET):
                    made.append(program.attach(target))
            made += map(self.attach_struct_ops, self.operations)
        except BaseException:
            for link in made:
                if self._calls.box.alive:
                    link.detach()
            raise
        self.links += made
        return made

    def attach_struct_ops(self, name: str) -> BpfLink:
        """Register a structure of operations with the kernel, by its map's name. Raises `BpfAttachError`."""
        answer = self._loader.ask("struct_ops", name)
        must_work(answer, f"{name}: not registered")
        number, link = answer.of("link")[0]
        program = next(one for one in self.programs.values() if one.attach_to is AttachTo.STRUCT_OPS)
        return BpfLink(program, name, int(link), lambda: self._loader.ask("detach", number))

    @property
    def operations(self) -> list[str]:
        """The structures of operations that it has (SEC(".struct_ops"), SEC(".struct_ops.link")), by their maps."""
        return [name for name, kind, _ in self._declared if kind == _STRUCT_OPS]

    def observe(self, *names: str) -> BpfObservation:
        """Look at programs while they run, all or these: which way branches go, how many instructions a run takes.

        Raises `KeyError`; `KoboxError` where there is no machine code, or too much. See `BpfObservation`.
        """
        return BpfObservation(
            self._calls.box,
            {name: (self.programs[name].code(), self.programs[name].original) for name in names or self.programs},
        )

    def detach(self) -> None:
        """Detach all its programs; it stays loaded. Raises `BpfAttachError`."""
        links = [*self.links, *(link for program in self.programs.values() for link in program.links)]
        self.links.clear()
        for program in self.programs.values():
            program.links.clear()
        for link in links:
            link.detach()

    def unload(self) -> None:
        """Detach and free everything: the loader ends, and what nobody else holds goes with it."""
        for program in self.programs.values():  # filters of tc are no links: they would stay
            for link in program.links:
                if link.attached and not link.id and self._loader.started:
                    link.detach()
        self._loader.end()
        self.loaded = False

    def pin(self, directory: str) -> None:
        """Pin its maps and programs under a directory of a BPF file system (/sys/fs/bpf is mounted where it is not):
        they outlive `unload`. Raises `BpfLoadError`."""
        box = self._calls.box
        if directory.startswith("/sys/fs/bpf") and not any(
            line.split()[1:3] == ["/sys/fs/bpf", "bpf"] for line in box.read_text("/proc/mounts").splitlines()
        ):
            box.syscall("mount", "bpf", "/sys/fs/bpf", "bpf", 0, None)
        self._must(self._loader.ask("pin", "all", "-", directory), f"not pinned under {directory}")

    # -- maps and variables ------------------------------------------------------------------------------------

    def _records(self, name: str, most: int, milliseconds: int) -> list[bytes]:
        answer = self._loader.ask("records", name, most, milliseconds)
        must_work(answer, f"{name}: not read")
        return [bytes.fromhex(data) for _, data in answer.of("record")]

    def _sections(self) -> dict[str, _Section]:
        """The sections of variables, by map: read through the loader before the load, through the map after it."""
        found = {}
        for name, kind, internal in self._declared:
            section = next((one for one in _SECTIONS if name.endswith(one)), "") if internal and kind == _ARRAY else ""
            number = self._btf.section_number(section) if self._btf and section else 0
            if not number:
                continue
            assert self._btf is not None
            variables = {}
            for member in self._btf.layout(number):
                size = self._btf.shape(member.type)[1]
                variables[member.name] = member.offset // 8, BtfType(self._btf, self._btf.plain(member.type), size)
            reader, writer = self._through_map(name) if self.loaded else self._through_loader(name)
            found[name] = _Section(variables, reader, writer)
        return found

    def _through_loader(self, name: str) -> tuple[Callable[[], bytes], Callable[[int, bytes], None]]:
        def read() -> bytes:
            answer = self._loader.ask("initial", name)
            self._must(answer, f"{name}: cannot be read")
            return bytes.fromhex(answer.of("value")[0][0])

        def write(offset: int, data: bytes) -> None:
            self._must(self._loader.ask("initial", name, offset, data.hex()), f"{name}: cannot be set")

        return read, write

    def _through_map(self, name: str) -> tuple[Callable[[], bytes], Callable[[int, bytes], None]]:
        loaded = self.maps[name]

        def read() -> bytes:
            value = loaded[0]
            return bytes(value) if isinstance(value, Fields) else cast(bytes, value)

        def write(offset: int, data: bytes) -> None:
            whole = bytearray(read())
            whole[offset : offset + len(data)] = data
            loaded[0] = bytes(whole)

        return read, write


def _unreadable(name: str, most: int, milliseconds: int) -> list[bytes]:
    raise KoboxError(f"{name}: the records of a pinned map are read through the object that made it")


def _is_log(line: str) -> bool:
    """Whether a line of libbpf's only repeats the verifier's log."""
    return "-- BEGIN PROG LOAD LOG --" in line or not line.startswith("libbpf:")


class Bpf:
    """eBPF in one box: `box.bpf`."""

    def __init__(self, box: BootedKernel, program: Callable[[], bytes]) -> None:
        """`program` gives the loader's file."""
        self._box = box
        self._program = program
        self._calls = BpfCalls(box)
        self._statistics = -1
        self._opened = 0

    def open(self, source: str | os.PathLike[str] | bytes, *, name: str = "") -> BpfObject:
        """An object that is not loaded yet: its variables can be set, maps resized, programs left out.

        `source` is a file of this machine, or its bytes; `name` is what the object is called. Raises `BpfLoadError` for
        a file that libbpf cannot read; `OSError`, `FetchError`, `BuildError`.
        """
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        name = name or ("object" if isinstance(source, bytes) else Path(source).name)
        self._count_runs()
        box, loader = self._box, BpfLoader(self._box, self._program())
        self._opened += 1
        place = f"{_TEMPORARY}-{self._opened}.o"
        loader.place(place, data)
        answer = loader.ask("open", place, name.split(".", 1)[0])
        box.syscall("unlink", place)
        if answer.errno:
            loader.end()
            raise BpfLoadError(
                answer.errno,
                f"{name}: libbpf cannot read it",
                log=list(answer.said),
                hint="It wants an object that clang made for the target bpf: `kobox build prog.bpf.c`.",
            )
        try:
            return BpfObject(self._calls, loader, name, answer)
        except BtfError:
            loader.end()
            raise

    def load(
        self, source: str | os.PathLike[str] | bytes, *, variables: Mapping[str, Given] | None = None
    ) -> BpfObject:
        """Load an object: libbpf relocates it against this kernel, the kernel's verifier reads it. Attach it then.

        `variables` are set before. Raises `BpfLoadError` with the verifier's log; `KeyError` for a variable that is
        not there; what `open` raises.
        """
        opened = self.open(source)
        try:
            for name, value in (variables or {}).items():
                opened.globals[name] = value
            return opened.load()
        except BaseException:
            if self._box.alive:
                opened.unload()
            raise

    def load_one(self, source: str | os.PathLike[str] | bytes, program: str, *, name: str = "") -> BpfObject:
        """Load one program of an object, and no other, also where its section begins with "?". Raises as `load` does;
        `KeyError`."""
        opened = self.open(source, name=name)
        try:
            opened.choose(program)
            return opened.load()
        except BaseException:
            if self._box.alive:
                opened.unload()
            raise

    def program_ids(self) -> set[int]:
        """The kernel's numbers of all programs that it has. Raises `OSError`."""
        return set(self._calls.ids(BpfCommand.PROGRAM_NEXT_ID))

    def pinned_map(self, path: str) -> BpfMap:
        """A map that is pinned in a BPF file system of the box, typed by its own BTF. Raises `OSError`."""
        with self._calls.memory(os.fsencode(path) + b"\0") as place:
            fd = self._calls.call(BpfCommand.OBJECT_GET, struct.pack("<QII", place, 0, 0))
        try:
            info = self._calls.info(fd, _MAP_INFO)
            (number,) = struct.unpack_from("<I", info, 4)
            types, key, value = struct.unpack_from("<III", info, 64)
            btf = Btf(self._calls.btf(types)) if types else None
            name = info[24:40].split(b"\0", 1)[0].decode(errors="replace")
            return BpfMap(self._calls, number, name, MapTypes(btf, key, value), _unreadable)
        finally:
            self._calls.close(fd)

    def run_idle(self) -> None:
        """Start the loader without a command: a process of the box that ends at once."""
        BpfLoader(self._box, self._program()).idle()

    def _count_runs(self) -> None:
        """Have the kernel count runs and time, as long as the box lives (BPF_ENABLE_STATS)."""
        if self._statistics < 0:
            try:
                self._statistics = self._calls.call(BpfCommand.ENABLE_STATISTICS, bytes(4))
            except OSError as error:
                if error.errno in (errno.ENOSYS, errno.EPERM):
                    raise KoboxError(
                        "this kernel has no bpf(2), or is locked down",
                        hint="It wants CONFIG_BPF_SYSCALL=y, and no lockdown.",
                    ) from None
                self._statistics = 0
