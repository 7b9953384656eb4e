"""What can be seen of a module while it is loaded: its parameters, its line in /proc/modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from kobox.apps.run_events import StoryEvent, counted
from kobox.box.box import Box
from kobox.ko.modulefile import ModuleFile
from kobox.ko.parameter_names import parameter_names


def parameters(box: Box, module_name: str, module: ModuleFile) -> Iterator[StoryEvent]:
    """The parameters of a loaded module, with their values."""
    described = {parameter.name: parameter for parameter in module.parameters}
    for name in parameter_names(module):
        path = f"/sys/module/{module_name}/parameters/{name}"
        value, mode, shown = None, 0, "(not shown in /sys)"
        with suppress(OSError):
            mode = box.stat(path).st_mode & 0o777
            shown = f"(cannot be read, mode {mode:04o})"
            value = box.read_text(path).removesuffix("\n")
            shown = f"= {value}"
        parameter = described.get(name)
        kind, description = (parameter.type, parameter.description) if parameter is not None else ("", "")
        what = " ".join(filter(None, (f"({kind})" if kind else "", description)))
        facts = {"name": name, "type": kind, "value": value, "mode": f"{mode:04o}", "description": description}
        text = f"{name} {shown}  {what}".rstrip()
        yield StoryEvent("parameter", text, box.time, facts)


def references(box: Box, name: str) -> Iterator[StoryEvent]:
    """The line of a loaded module in /proc/modules."""
    rows = box.read_text("/proc/modules").splitlines()
    fields = next((row for row in rows if row.startswith(f"{name} ")), "").split()
    if len(fields) < 6:
        return
    size, held, users = int(fields[1]), fields[2], [u for u in fields[3].split(",") if u not in ("", "-")]
    taints = fields[6] if len(fields) > 6 else ""
    text = f"{name}: {counted(size, 'byte')}, {counted(int(held), 'reference') if held != '-' else ''}"
    text = text.removesuffix(", ") + (f", used by {', '.join(users)}" if users else "")
    facts = {
        "module": name,
        "size": size,
        "refcount": int(held) if held != "-" else None,
        "users": users,
        "taints": taints,
    }
    yield StoryEvent("reference", text + (f", taints {taints}" if taints else ""), box.time, facts)
