"""The story of an eBPF object in a box: load it, attach it, use the box, see what it did, detach it, judge.

for event in BpfStory(box).tell("guard.bpf.o", data):
    print(event)

What uses the box is `bpf_exercise`: packets for programs on packets, system calls for those on functions of the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

from kobox.apps.bpf_exercise import PACKETS, BpfExercise
from kobox.apps.run_events import RunVerdict, StoryEvent, counted, error_facts
from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfLoadError, BpfObject
from kobox.box.bpf.maps import BpfMap, MapKind, map_kind_name
from kobox.box.bpf.programs import BpfLink, BpfProgram
from kobox.box.bpf.typed import Fields
from kobox.bpf.program_kind import AttachTo
from kobox.errors import KoboxError

_WARNING = 4
_SHOWN = 5  # entries of a map, records, lines of an iterator
_PACKET_KINDS = ("xdp", "sched_cls", "sched_act", "socket_filter", "cgroup_skb", "lwt_in", "lwt_out", "lwt_xmit")
_TRACE = "/sys/kernel/tracing/trace"
_NO_ENTRIES = frozenset(
    {
        MapKind.QUEUE,
        MapKind.STACK,
        MapKind.BLOOM_FILTER,
        MapKind.STRUCT_OPS,
        MapKind.SK_STORAGE,
        MapKind.TASK_STORAGE,
        MapKind.INODE_STORAGE,
        MapKind.CGRP_STORAGE,
        MapKind.USER_RINGBUF,
        MapKind.ARENA,
        MapKind.STACK_TRACE,
    }
)


class BpfStory:
    """Tells what one object does in one box. `verdict` is complete when the telling is."""

    def __init__(self, box: Box, *, target: str = "") -> None:
        """`target` is what programs are attached to that need one: see `BpfProgram.attach`."""
        self._box = box
        self._target = target
        self._said = box.log.next_seq
        self.verdict = RunVerdict()

    def tell(self, name: str, data: bytes, variables: dict[str, str] | None = None) -> Iterator[StoryEvent]:
        """Load, attach, use, detach. `variables` are set before the load, from text."""
        try:
            loaded = self._load(name, data, variables or {})
        except (KoboxError, OSError) as error:
            yield self._failed(name, error)
            yield self._judge()
            return
        with loaded:
            yield self._event("load", *_loaded(loaded))
            links = []
            exercise = BpfExercise(self._box)
            for event, link in self._attach_all(loaded, exercise):
                links.append(link)
                yield event
            yield from self._log()
            yield from self._use(loaded, exercise)
            yield from self._show(loaded)
            for link in filter(None, links):
                try:
                    link.detach()
                    yield self._event("gone", f"{link.program.name}: detached from {link.target}")
                except (KoboxError, OSError) as error:
                    yield self._failed(link.program.name, error)
        self._box.sleep(0.1)  # programs are freed after a grace period of RCU
        yield self._event("unload", f"unload {name}: {self._left(loaded)}")
        yield from self._log()
        yield self._judge()

    # -- its life ----------------------------------------------------------------------------------------------

    def _load(self, name: str, data: bytes, variables: dict[str, str]) -> BpfObject:
        opened = self._box.bpf.open(data, name=name)
        opened.set_variables(variables)
        return opened.load()

    def _attach_all(self, loaded: BpfObject, exercise: BpfExercise) -> Iterator[tuple[StoryEvent, BpfLink | None]]:
        for program in loaded.programs.values():
            if program.attach_to is AttachTo.SOCKET:
                yield self._attach_one(program.name, partial(exercise.attach_to_socket, program))
            elif program.attach_to not in (AttachTo.NOTHING, AttachTo.STRUCT_OPS):
                yield self._attach_one(program.name, partial(program.attach, self._target))
        for name in loaded.operations:
            yield self._attach_one(name, partial(loaded.attach_struct_ops, name))

    def _attach_one(self, name: str, attach: Callable[[], BpfLink]) -> tuple[StoryEvent, BpfLink | None]:
        try:
            link = attach()
        except (KoboxError, OSError) as error:
            return self._failed(name, error), None
        return self._event("appeared", f"{name}: attached to {link.target}", {"target": link.target}), link

    def _use(self, loaded: BpfObject, exercise: BpfExercise) -> Iterator[StoryEvent]:
        before = {name: program.statistics.runs for name, program in loaded.programs.items()}
        for program in loaded.programs.values():
            yield from self._call(program)
        exercise.run(loaded)
        yield from self._log()
        for name, program in loaded.programs.items():
            counts = program.statistics
            if runs := counts.runs:
                each = f"{counts.nanoseconds // runs} ns each"
                text = f"{name}: ran {counted(runs, 'time')}, {each}; {counted(counts.instructions, 'instruction')}"
            elif runs == before[name] and program.attach_to not in (AttachTo.ITERATOR, AttachTo.STRUCT_OPS):
                text = f"{name}: never ran: nothing reached {program.section.partition('/')[2] or 'it'} meanwhile"
            else:
                continue
            yield self._event("ran", text, {"program": name, "runs": runs, "nanoseconds": counts.nanoseconds})

    def _call(self, program: BpfProgram) -> Iterator[StoryEvent]:
        """Call a program with packets of each kind, or read it, when it is an iterator."""
        if program.kind in _PACKET_KINDS:
            told = []
            for title, packet in PACKETS.items():
                try:
                    run = program.test_run(packet)
                except OSError as error:
                    told.append(f"{title}: refused ({_words(error)})")
                else:
                    told.append(f"{title}: {run.name or run.result}{'' if run.data == packet else ' (changed)'}")
            yield self._event("ran", f"{program.name}: {', '.join(told)}", {"program": program.name, "packets": told})
        elif program.kind == "syscall":
            try:
                text = f"returned {program.test_run().result}"
            except OSError as error:
                text = f"refused ({_words(error)})"
            yield self._event("ran", f"{program.name}: {text}", {"program": program.name})
        elif program.attach_to is AttachTo.ITERATOR and any(link.attached for link in program.links):
            lines = program.read().decode(errors="replace").splitlines()
            told_lines = {"program": program.name, "lines": len(lines)}
            yield self._event("ran", f"{program.name}: {counted(len(lines), 'line')}", told_lines)
            for line in lines[:_SHOWN]:
                yield self._event("shown", f"   {line}")

    def _show(self, loaded: BpfObject) -> Iterator[StoryEvent]:
        for name, value in islice(loaded.globals.items(), 40):
            yield self._event("shown", f"{name} = {_text(value)}", {"variable": name})
        for one in loaded.maps.values():
            if not one.name.endswith((".data", ".bss", ".rodata", ".kconfig")):
                yield from self._show_map(one)
        for line in self._printed():
            yield self._event("shown", f"bpf_printk: {line}")

    def _show_map(self, one: BpfMap) -> Iterator[StoryEvent]:
        kind = map_kind_name(one.kind)
        if one.kind in (MapKind.RINGBUF, MapKind.PERF_EVENT_ARRAY):
            records = one.records()
            text = f"{one.name} ({kind}): {counted(len(records), 'record')}"
            yield self._event("shown", text, {"map": one.name, "records": len(records)})
            for record in records[:_SHOWN]:
                yield self._event("shown", f"   {_text(record)}")
            return
        if one.kind in _NO_ENTRIES:
            return
        try:
            entries = [(key, one[key]) for key in islice(one, 1000)]
        except (OSError, KeyError, KoboxError):
            return
        if one.kind in (MapKind.ARRAY, MapKind.PERCPU_ARRAY):
            entries = [(key, value) for key, value in entries if _is_set(value)]
        text = f"{one.name} ({kind}): {counted(len(entries), 'entry').replace('entrys', 'entries')}"
        yield self._event("shown", text, {"map": one.name, "entries": len(entries)})
        for key, value in entries[:_SHOWN]:
            yield self._event("shown", f"   {_text(key)}: {_text(value)}")

    def _printed(self) -> list[str]:
        """What programs have printed with bpf_printk()."""
        try:
            lines = self._box.read_text(_TRACE).splitlines()
        except OSError:
            return []
        return [line.partition("bpf_trace_printk: ")[2] for line in lines if "bpf_trace_printk: " in line][:_SHOWN]

    def _left(self, loaded: BpfObject) -> str:
        """Whether the kernel still has one of its programs."""
        left = [program.name for program in loaded.programs.values() if program.id in self._box.bpf.program_ids()]
        if left:
            self.verdict.fail(f"left behind: {', '.join(left)}")
            return f"the kernel still has {', '.join(left)}"
        return "the kernel has none of its programs any more"

    # -- telling -----------------------------------------------------------------------------------------------

    def _event(self, kind: str, text: str, data: dict[str, object] | None = None) -> StoryEvent:
        return StoryEvent(kind, text, self._box.time, data or {})

    def _log(self) -> Iterator[StoryEvent]:
        for record in self._box.log.since(self._said):
            self._said = record.seq + 1
            if record.level <= _WARNING:
                self.verdict.fail(f"the kernel logged: {record.text.splitlines()[0] if record.text else ''}")
            yield StoryEvent("log", record.text, record.time, {"level": record.level_name})

    def _failed(self, name: str, error: KoboxError | OSError) -> StoryEvent:
        if not isinstance(error, KoboxError):
            error = KoboxError(f"{name}: {_words(error)}")
        self.verdict.fail(error.message.split("\n", 1)[0])
        facts = error_facts(name, error)
        if isinstance(error, BpfLoadError):
            facts |= {"program": error.program, "verifier": error.verifier}
        return self._event("failed", error.message, facts)

    def _judge(self) -> StoryEvent:
        verdict = self.verdict
        text = "ok: verified, attached, detached; no warnings" if verdict.ok else "; ".join(verdict.problems)
        return self._event("verdict", text if verdict.ok else f"not ok: {text}", {"ok": verdict.ok})


def _loaded(loaded: BpfObject) -> tuple[str, dict[str, object]]:
    programs = [f"{program.name} ({program.section})" for program in loaded.programs.values()]
    verified = sum(program.statistics.verified for program in loaded.programs.values())
    maps = [one for one in loaded.maps if not one.endswith((".data", ".bss", ".rodata", ".kconfig"))]
    text = f"load {loaded.name}: {', '.join(programs)}; {counted(len(maps), 'map')}; the verifier went through"
    return f"{text} {counted(verified, 'instruction')}", {
        "programs": [program.name for program in loaded.programs.values()],
        "maps": maps,
        "verified": verified,
    }


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _is_set(value: object) -> bool:
    if isinstance(value, Fields):
        return any(bytes(value))
    if isinstance(value, list):
        return any(map(_is_set, value))
    return any(value) if isinstance(value, bytes) else bool(value)


def _text(value: object) -> str:
    """A value as it is shown: bytes in hexadecimal digits, structures as C writes them."""
    if isinstance(value, bytes):
        return value[:64].hex(" ") + ("…" if len(value) > 64 else "")
    if isinstance(value, Fields):
        return "{" + ", ".join(f".{name} = {_text(one)}" for name, one in islice(value.items(), 16)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value[:8])) + (", …]" if len(value) > 8 else "]")
    return repr(value) if isinstance(value, str) else str(value)
