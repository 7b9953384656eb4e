"""Things that a module has made and that are still there when it is gone, or when its init has failed.

Two ways of knowing: what waits to call the module is read from the kernel's own lists when its exit has returned
(`pending.py`); all else is noted when the module makes it and struck out when anyone undoes it, by the table
`resources.toml`. What is still noted and can be seen in a file system of the box is looked for there.

What is left is an error when it points into memory that is gone with the module, else a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from kobox.box.inspect.objects import Objects
from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.box.inspect.symbols import LoadedAt
from kobox.checks.report.finding import Frame, Resource, Severity
from kobox.checks.resources.pending_work import PendingWork, Waiting
from kobox.checks.resources.resource_table import ResourceCall, ResourceKind, relevant, resource_table
from kobox.checks.runner.session import Check, Examination, Stage, Trace
from kobox.errors import KoboxError

Key = tuple[int | str, ...]
_LIMIT = 24  # frames of a chain that says who made a thing


@dataclass(frozen=True, slots=True)
class Made:
    """One thing that the module has made: `name` says which one, `path` where the box shows it, `chain` which notifiers
    it is among (address of the chain's head, its structure), or which module it holds (its address, "module")."""

    key: Key
    name: str
    path: str
    trace: Trace
    gone_code: bool  # it points into the module
    chain: tuple[int, str] | None = None


class LeftBehindCheck(Check):
    """Watches what the module makes and what is undone. One object serves one examination after the other."""

    name = "left-behind"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._objects: Objects = examination.box.inspect.objects
        self._pending = PendingWork(examination.box)
        self._told: set[tuple[str, int]] = set()  # what waits for the module, and was reported
        self._symbols = examination.box.inspect.symbols
        self._module: LoadedAt | None = None
        self._made: dict[int, dict[Key, list[Made]]] = {}
        examination.armed.clear()
        examination.box.inspect.watch.none_armed()
        self._armed_by: dict[tuple[int, int], Trace] = {}
        self._first_armed: dict[int, Trace] = {}
        imports = [found.name for found in examination.file.imports]
        self._resources = relevant(resource_table(), imports)
        self._resources += self._pairs(imports)
        for number, resource in enumerate(self._resources):
            self._watch(number, resource, set(imports))

    def linked(self, examination: Examination) -> None:
        self._module = examination.module
        self._made.clear()
        examination.armed.clear()
        examination.box.inspect.watch.none_armed()
        self._armed_by.clear()
        self._first_armed.clear()
        self._told.clear()

    def exited(self, examination: Examination) -> None:
        """Whether RCU callbacks and timers have run, and tasks have left its code, must not depend on how long the
        kernel takes to free the module."""
        if self._module is None:
            return
        stack_pointer = examination.box.machine.sp
        waiting, _ = self._pending.soon(self._module, tuple(examination.armed))
        tasks = self._pending.interrupted(self._module, stack_pointer)
        for one in (*self._pending.callbacks(self._module), *waiting, *tasks):
            self._report_waiting(one)

    def leaving(self, examination: Examination) -> None:
        """The memory is still there: ask the kernel what still waits for it."""
        if self._module is None:
            return
        stack_pointer = examination.box.machine.sp
        waiting, unknown = self._pending.find(self._module, tuple(examination.armed), stack_pointer)
        for what in unknown:
            examination.leave_out(f"what is left behind: {what}")
        for one in waiting:
            self._report_waiting(one)

    def gone(self, examination: Examination) -> None:
        self._report_made(can_look=True)
        self._module = None

    def detach(self, examination: Examination) -> None:
        if self._module is not None and examination.stage in (Stage.AFTER, Stage.FAILED):
            self._report_made(can_look=False)  # the box has died of it
        self._module = None

    def stuck(self, examination: Examination) -> None:
        """The module cannot be unloaded: somebody holds it."""
        assert self._module is not None
        for number, resource in enumerate(self._resources):
            if resource.what != "reference to a module":
                continue
            for (key, *_), held in self._made.get(number, {}).items():
                if held and key == self._module.address:
                    self._report(resource, held[-1], "the module holds a reference to itself, and cannot be unloaded")

    # -- watching ----------------------------------------------------------------------------------------------

    def _watch(self, number: int, resource: ResourceKind, imports: set[str]) -> None:
        seen = False
        for call in resource.made:
            if (resource.mine or call.function in imports) and call.function in self._symbols:
                seen = True
                if resource.pending and not call.returns:
                    self._probe(call.function, partial(self._arming, call), None, when=FROM_MODULE)
                    continue
                when = 0 if resource.mine else FROM_MODULE
                entry = partial(self._making, number, resource, call)
                back = partial(self._has_made, number, resource, call) if call.returns else None
                self._probe(call.function, entry, back, when=when)
        for call in resource.undone if seen else ():
            if call.function in self._symbols:
                own = resource.own or not call.keyed
                self._probe(call.function, partial(self._undoing, number, call), None, when=FROM_MODULE if own else 0)

        for call in resource.wrong if seen else ():
            if call.function in imports:
                self._probe(call.function, partial(self._freeing, number, resource, call), None, when=FROM_MODULE)

    def _freeing(self, number: int, resource: ResourceKind, call: ResourceCall, hit: Hit) -> None:
        """The module frees the memory of something that is the kernel's."""
        key = hit.args[call.arguments.index("KEY")]
        for made in self._made.get(number, {}).pop((key,), [])[:1]:
            examination = self._examination
            label = f"{resource.what} {made.name}".rstrip()
            examination.report(
                "invalid-free",
                Severity.ERROR,
                f"{label} is freed with {call.function}()",
                chain=examination.chain(hit),
                object=Resource(label, key, made_at=examination.chain(made.trace)),
                advice=f"Use {resource.advice}.",
            )
            hit.skip()

    def _probe(
        self, function: str, entry: Callable[[Hit], Any], back: Callable[[Hit], Any] | None, *, when: int = 0
    ) -> None:
        self._examination.probe(function, entry, back, when=when)

    def _arming(self, call: ResourceCall, hit: Hit) -> None:
        if self._module is None:
            return
        place = call.arguments.index("KEY") if "KEY" in call.arguments else None
        if place is None:
            return
        key, caller = hit.args[place], self._examination.box.inspect.watch.caller
        if (key, caller) not in self._armed_by:
            self._armed_by[key, caller] = self._examination.trace(hit, limit=_LIMIT)
            self._first_armed.setdefault(key, self._armed_by[key, caller])
        self._examination.armed[key] = self._armed_by[key, caller]
        self._examination.box.inspect.watch.armed(key)

    def _making(self, number: int, resource: ResourceKind, call: ResourceCall, hit: Hit) -> None:
        if self._module is None or (resource.mine and not self._is_own(resource, call, hit)):
            return
        hit.data = self._examination.trace(hit, limit=_LIMIT)
        if not call.returns:
            self._note(number, resource, call, hit)

    def _has_made(self, number: int, resource: ResourceKind, call: ResourceCall, hit: Hit) -> None:
        if hit.data is not None and hit.result is not None and call.succeeded(hit.result):
            self._note(number, resource, call, hit)

    def _note(self, number: int, resource: ResourceKind, call: ResourceCall, hit: Hit) -> None:
        with suppress(KoboxError, ValueError):  # an object that was passed on half-made: its name cannot be read
            for key in self._keys(call, hit):
                pointers = [part for part in key if isinstance(part, int)]
                if resource.static and not self._mine(pointers[0]):
                    continue
                name = self._name(resource, call, hit, key)
                own = bool(resource.code or resource.mine) or any(map(self._mine, pointers))
                path, chain = "", None
                if resource.path == "notifier":
                    chain = _notifier_chain(call, pointers)
                elif resource.path == "module":
                    chain = pointers[0], "module"
                elif resource.path:
                    path = self._path(resource, call, hit, key, name)
                    if not path:
                        continue
                    name = name if resource.name else path.rpartition("/")[2]
                made = Made(key, name, path, hit.data, own, chain)
                self._made.setdefault(number, {}).setdefault(key, []).append(made)

    def _undoing(self, number: int, call: ResourceCall, hit: Hit) -> None:
        noted = self._made.get(number)
        if noted and not call.keyed:
            noted.clear()
        elif noted:
            with suppress(KoboxError, ValueError):
                for key in self._keys(call, hit):
                    if found := noted.get(key):
                        found.pop()

    # -- what a call says --------------------------------------------------------------------------------------

    def _keys(self, call: ResourceCall, hit: Hit) -> list[Key]:
        """What tells the things of one call: nearly always one."""
        if "KEYS" in call.arguments:
            array, count = hit.args[call.arguments.index("KEYS")], hit.args[call.arguments.index("COUNT")]
            return [(self._objects.u64(array + 8 * n),) for n in range(min(count & 0xFFFFFFFF, 4096))]
        if "COUNT" in call.arguments:
            return self._keys_of_array(call, hit)
        parts: dict[str, int | str] = {}
        for token, value in zip(call.arguments, hit.args, strict=False):
            if "KEY" in token:
                parts["KEY2" if "KEY2" in token else "KEY"] = self._value(token, value)
            elif token in ("ATTRIBUTE", "GROUP", "PARENT"):
                parts[token] = value
            elif token == "NAME" and "PARENT" in call.arguments:
                parts[token] = hit.string(value)
        if call.result and hit.result is not None and (call.result == "KEY" or hit.result > 0):
            parts["KEY"] = hit.result & 0xFFFFFFFFFFFFFFFF
        return [tuple(parts[name] for name in sorted(parts))]

    def _keys_of_array(self, call: ResourceCall, hit: Hit) -> list[Key]:
        """(KEY, KEY2) for each of an array of structures."""
        at = next(n for n, token in enumerate(call.arguments) if token.startswith("KEY2["))
        size = self._objects.size(call.arguments[at].removeprefix("KEY2[").rstrip("]"))
        count, owner = hit.args[call.arguments.index("COUNT")], hit.args[call.arguments.index("KEY")]
        return [(owner, hit.args[at] + n * size) for n in range(min(count & 0xFFFFFFFF, 4096))]

    def _value(self, token: str, value: int) -> int:
        if token.startswith("*"):
            return self._objects.u32(value) if token.endswith("32") else self._objects.u64(value)
        return value & 0xFFFFFFFF if token.endswith("32") else value

    def _is_own(self, resource: ResourceKind, call: ResourceCall, hit: Hit) -> bool:
        """Whether a thing is the module's, whoever registers it: one of its members points into the module."""
        structure = resource.mine.partition(".")[0]
        with suppress(ValueError, KoboxError):
            for token, value in zip(call.arguments, hit.args, strict=False):
                # Of two keys the second is the object: (chain, notifier_block), (net, nf_hook_ops).
                if token == ("KEY2" if "KEY2" in call.arguments else "KEY") and structure:
                    return self._mine(self._objects.number(value, resource.mine))
        return False

    def _mine(self, address: int) -> bool:
        return self._module is not None and address in self._module

    def _name(self, resource: ResourceKind, call: ResourceCall, hit: Hit, key: Key) -> str:
        if "NAME" in call.arguments[:6]:
            return hit.string(hit.args[call.arguments.index("NAME")], 200)
        pointer = next((part for part in reversed(key) if isinstance(part, int)), 0)
        with suppress(KoboxError, ValueError):
            if resource.name and (text := self._objects.text(pointer, resource.name)):
                return text
        return self._examination.symbol(pointer)

    # -- where it can be seen ----------------------------------------------------------------------------------

    def _path(self, resource: ResourceKind, call: ResourceCall, hit: Hit, key: Key, name: str) -> str:
        objects = self._objects
        if resource.path == "class":
            return f"/sys/class/{name}"
        if resource.path == "proc":
            assert isinstance(key[0], int)
            return "/proc/" + "/".join(self._names(key[0], "proc_dir_entry.parent", "proc_dir_entry.name", "/proc"))
        if resource.path == "debugfs":
            parent = hit.args[call.arguments.index("PARENT")]
            if (parent and not self._examination.box.arch.addresses.is_pointer(parent)) or not name:
                return ""  # an error of an earlier call: nothing is made
            above = self._names(parent, "dentry.d_parent", "dentry.d_name.name", "/") if parent else []
            return "/sys/kernel/debug/" + "/".join([*above, name])
        tokens = dict(zip(call.arguments, hit.args, strict=False))
        kobject, member = key[-1] if call.kobject else 0, call.kobject
        for token, value in tokens.items():
            if "@" in token:
                kobject, member = value, token.partition("@")[2]
        if not isinstance(kobject, int) or not kobject:
            return ""
        kobject = objects.member(kobject, member)
        path = "/sys/" + "/".join(self._names(kobject, "kobject.parent", "kobject.name", ""))
        if "ATTRIBUTE" in tokens:
            return f"{path}/{objects.text(tokens['ATTRIBUTE'], 'attribute.name')}"
        return f"{path}/{self._group(tokens['GROUP'])}" if "GROUP" in tokens else path

    def _group(self, group: int) -> str:
        """What shows that a group is there: its directory, or its first file."""
        if name := self._objects.text(group, "attribute_group.name"):
            return name
        for array in ("attrs", "bin_attrs"):
            if (attributes := self._objects.number(group, f"attribute_group.{array}")) and (
                first := self._objects.u64(attributes)
            ):
                return self._objects.text(first, "attribute.name")
        return "?"

    def _names(self, at: int, parent: str, name: str, root: str) -> list[str]:
        """The names from the root of a tree down to an entry."""
        found: list[str] = []
        while at and len(found) < 64:
            above, text = self._objects.number(at, parent), self._objects.text(at, name)
            if above == at or text == root:
                break
            found.append(text)
            at = above
        return found[::-1]

    # -- reporting ---------------------------------------------------------------------------------------------

    def _report_waiting(self, one: Waiting) -> None:
        if (one.kind, one.address) in self._told:
            return  # when exit had returned
        self._told.add((one.kind, one.address))
        resource = next(found for found in resource_table().resources if found.pending == one.kind)
        examination = self._examination
        trace = examination.armed.get(one.address)
        if one.frames:
            trace = Trace(one.frames, examination.placement)
        elif one.kind == "kthread":
            trace = self._thread_maker(one.address)
        chain = examination.chain(trace) if trace is not None else ()
        first = self._first_armed.get(one.address)
        made = examination.chain(first) if first is not None and not one.frames else chain
        if one.kind == "file":
            chain = (Frame(self._examination.symbol(one.function), module=self._examination.file.name),)
        which = one.name or self._examination.symbol(one.address)
        function = self._examination.symbol(one.function)
        label = f"{resource.what} {which}".rstrip()
        does = {"kthread": "still runs in {}()", "task": "still runs in {}()", "file": "is still open by {}"}
        message = f"{label} {does.get(one.kind, 'still waits to call {}()').format(function or 'its operations')}"
        examination.report(
            "left-behind",
            Severity.ERROR,
            f"{message}, whose memory goes",
            chain=chain,
            object=Resource(label, one.address, made_at=made or chain),
            advice=f"Undo it by {resource.advice} before the module goes."
            if one.kind != "file"
            else f"Set {resource.advice}.",
        )

    def _thread_maker(self, task: int) -> Trace | None:
        for number, resource in enumerate(self._resources):
            if resource.pending == "kthread":
                found = self._made.get(number, {}).get((task,))
                return found[-1].trace if found else None
        return None

    def _report_made(self, *, can_look: bool) -> None:
        known = set[int | str]()
        for number, resource in enumerate(self._resources):
            for key, things in self._made.get(number, {}).items():
                for made in things:
                    if resource.pending or not self._is_there(made, can_look):
                        continue
                    if not (resource.static and known.intersection(key)):  # what the table has says it better
                        self._report(resource, made, "")
                    known.update(key)

    def _is_there(self, made: Made, can_look: bool) -> bool:
        """Whether what was not seen to be undone is still to be seen, where that can be told."""
        if made.chain is not None:
            head, structure = made.chain
            if structure == "module":
                return self._is_held(head)
            with suppress(KoboxError, ValueError):
                blocks = self._objects.chain(
                    self._objects.number(head, f"{structure}.head"), link=self._objects.offset("notifier_block.next")
                )
                return any(block == made.key[1] for block in blocks)
            return False
        return not made.path or (can_look and self._examination.box.path(made.path).exists())

    def _is_held(self, module: int) -> bool:
        """Whether another module has more references than its users and the kernel's own one account for."""
        objects = self._objects
        if not any(found.address == module for found in self._symbols.modules()):
            return False
        users = sum(1 for _ in objects.list(objects.member(module, "module.source_list"), "module_use.source_list"))
        return objects.number(module, "module.refcnt") > 1 + users

    def _report(self, resource: ResourceKind, made: Made, message: str) -> None:
        chain = self._examination.chain(made.trace)
        label = f"{resource.what} {made.name}".rstrip()
        address = next((part for part in reversed(made.key) if isinstance(part, int)), 0)
        tail = ", and points into memory that goes with the module" if made.gone_code else ""
        self._examination.report(
            "left-behind",
            Severity.ERROR,
            message or f"{label} is left behind{tail}",
            chain=chain,
            object=Resource(label, address, made_at=chain),
            advice=f"Undo it by {resource.advice}.",
        )

    # -- pairs -------------------------------------------------------------------------------------------------

    def _pairs(self, imports: list[str]) -> list[ResourceKind]:
        """What the table does not have, but names and types tell."""
        table, btf, found = resource_table(), self._symbols.btf, []
        for name in imports:
            if name in table.functions:
                continue
            for other in table.pairs.counterparts(name):
                if other in table.functions or other not in self._symbols or name not in self._symbols:
                    continue
                mine, its = btf.parameters(name), btf.parameters(other)
                if (
                    not mine
                    or not its
                    or mine[0].type != its[0].type
                    or not mine[0].type.removeprefix("const ").startswith("struct ")
                ):
                    continue
                success = "= 0" if btf.return_type(name) == "int" else ""
                found.append(
                    ResourceKind(
                        f"what {name}() was given:",
                        f"{other}()",
                        made=(ResourceCall(name, ("KEY",), success=success),),
                        undone=(ResourceCall(other, ("KEY",)),),
                        static=True,
                    )
                )
                break
        return found


def _notifier_chain(call: ResourceCall, pointers: list[int]) -> tuple[int, str]:
    """The head of the chain that a function has added a notifier to, and its structure: each kind has its own."""
    return pointers[0], f"{call.function.partition('_')[0]}_notifier_head"
