"""`kobox top`: the modules of a kernel in a terminal, live: a table, one module's facts, events; load, unload, set.

It stands on textual (the extra `top`). A look at the kernel takes milliseconds and is made between two keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Header, Input, Label, RichLog, Static

from kobox.errors import KernelError, KoboxError
from kobox.graph.text import size_text
from kobox.kernel import sysfs_modules
from kobox.kernel.interface import Kernel
from kobox.kmod.insmod import insmod
from kobox.kmod.rmmod import rmmod
from kobox.ko.modinfo import Parameter
from kobox.ko.modulefile import ModuleFile
from kobox.monitor import EventKind, ModuleEvent, ModuleMonitor, MonitoredModule
from kobox.monitor.module_facts import module_facts
from kobox.monitor.status import TAINTS
from kobox.printable import one_line

_COLUMNS = ("module", "size", "used", "state", "taint", "used by")
_KEYS: dict[str, Callable[[MonitoredModule], tuple[object, ...]]] = {
    "name": lambda one: (one.name,),
    "size": lambda one: (-one.size, one.name),
    "references": lambda one: (-one.refcount, one.name),
    "taint": lambda one: (not one.taint, one.taint, one.name),
}
_COLOURS = {
    EventKind.LOADED: "green",
    EventKind.FAILED: "red",
    EventKind.CRASH: "bold red",
    EventKind.TAINT: "yellow",
}
FileOf = Callable[[str], Path | None]
"""Finds the file of a loaded module by its name."""


class AskScreen(ModalScreen[str | None]):
    """A question with a line for the answer; None when it is left by Escape."""

    DEFAULT_CSS = """
    AskScreen { align: center middle; }
    AskScreen > Vertical { width: 72; max-width: 95%; height: auto; padding: 1 2; }
    AskScreen > Vertical { border: round $accent; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question, self._value = question, value

    def compose(self) -> ComposeResult:
        """The question above the line."""
        with Vertical():
            yield Label(self._question, markup=False)
            yield Input(self._value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The answer."""
        self.dismiss(event.value)

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)


class ModuleTop(App[None]):
    """The terminal program. `monitor` looks at the kernel; with `read_only` nothing is changed in it.

    `file_of` finds the file of a module, for what its modinfo says; `title` names the kernel.
    """

    CSS = """
    #modules { width: 3fr; }
    #side { width: 2fr; border-left: solid $panel; padding: 0 1; }
    #events { height: 30%; border-top: solid $panel; padding: 0 1; }
    #filter { display: none; height: 3; }
    #filter.shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("slash", "filter", "Filter"),
        Binding("s", "sort", "Sort"),
        Binding("l", "load", "Load"),
        Binding("u", "unload", "Unload"),
        Binding("e", "set", "Parameter"),
        Binding("z", "undo", "Undo"),
        Binding("escape", "all", "All", show=False),
    ]

    def __init__(
        self,
        monitor: ModuleMonitor,
        *,
        title: str,
        file_of: FileOf = lambda name: None,
        read_only: bool = False,
        interval: float = 2.0,
    ) -> None:
        super().__init__()
        self.title = title
        self._monitor, self._file_of = monitor, file_of
        self._read_only, self._interval = read_only, interval
        self._order = "name"
        self._undo: tuple[str, Callable[[], object]] | None = None  # what it does, and how

    @property
    def kernel(self) -> Kernel:
        """The kernel that is looked at."""
        return self._monitor.kernel()

    def compose(self) -> ComposeResult:
        """The table and one module's facts, the events below."""
        yield Header()
        yield Input(placeholder="part of a module's name", id="filter")
        with Horizontal():
            yield DataTable(id="modules", cursor_type="row", zebra_stripes=True)
            with VerticalScroll(id="side"):
                yield Static(id="one", markup=False)
        yield RichLog(id="events", wrap=True, max_lines=1000)
        yield Footer()

    def on_mount(self) -> None:
        """Show what is, and look again and again."""
        table = self.query_one("#modules", DataTable)
        table.add_columns(*_COLUMNS)
        self._show()
        for problem in self._monitor.problems:
            self._say(problem, "yellow")
        self.set_interval(self._interval, self.look)
        table.focus()

    def look(self) -> None:
        """Look at the kernel now, and show what happened."""
        try:
            found = self._monitor.poll()
        except OSError as error:
            self._say(f"modules cannot be read: {error}", "red")
            return
        for event in found:
            self._tell(event)
        self._show()

    def action_filter(self) -> None:
        """Go to the line that filters."""
        line = self.query_one("#filter", Input)
        line.add_class("shown")
        line.focus()

    def action_all(self) -> None:
        """Show all modules again."""
        line = self.query_one("#filter", Input)
        line.value = ""
        line.remove_class("shown")
        self.query_one("#modules", DataTable).focus()

    def action_sort(self) -> None:
        """The next order: name, size, references, taint."""
        orders = list(_KEYS)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self._show()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as one types."""
        if event.input.id == "filter":
            self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the table."""
        if event.input.id == "filter":
            self.query_one("#modules", DataTable).focus()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Another module: its facts."""
        self._describe()

    def action_load(self) -> None:
        """Ask for a file and load it."""
        if self._may_change():
            self.push_screen(AskScreen("Load which module file? Parameters may follow it."), self._load)

    def action_unload(self) -> None:
        """Ask whether to unload the module, and do it."""
        name = self._chosen()
        if name and self._may_change():
            self.push_screen(AskScreen(f"Unload {name}? Type yes."), lambda answer: self._unload(name, answer))

    def action_set(self) -> None:
        """Ask for a parameter's new value, and set it."""
        name = self._chosen()
        module = self._monitor.status.modules.get(name)
        if module is None or not self._may_change():
            return
        if not module.parameters:
            self._say(f"{name} has no parameter that can be read", "yellow")
            return
        first = next(iter(module.parameters))
        self.push_screen(
            AskScreen(f"{name}: NAME=VALUE", f"{first}={module.parameters[first]}"),
            lambda answer: self._set(name, answer),
        )

    def action_undo(self) -> None:
        """Take the last change back: unload what was loaded, load what was unloaded, set the value that was."""
        if not self._may_change():
            return
        if self._undo is None:
            self._say("there is nothing to undo", "yellow")
            return
        (what, action), self._undo = self._undo, None
        if self._do(action):
            self._say(f"undone: {what}", "")

    def _may_change(self) -> bool:
        if self._read_only:
            self._say("nothing is changed: --read-only", "yellow")
        return not self._read_only

    def _load(self, answer: str | None) -> None:
        words = (answer or "").split()
        before = set(self._monitor.status.modules)
        if words and self._do(lambda: insmod(self.kernel, words[0], " ".join(words[1:]))):
            new = set(self._monitor.status.modules) - before
            self._undo = (f"{' '.join(new)} was loaded", lambda: [rmmod(self.kernel, name) for name in new])

    def _unload(self, name: str, answer: str | None) -> None:
        path, values = self._file_of(name), self._values(name)
        if answer == "yes" and self._do(lambda: rmmod(self.kernel, name)):
            self._undo = None
            if path is not None:
                known = {one.name for one in _parameters_of(path)}
                words = [f'{key}="{value}"' for key, value in values.items() if key in known and value]
                self._undo = f"{name} was unloaded", lambda: insmod(self.kernel, str(path), " ".join(words))

    def _values(self, name: str) -> Mapping[str, str]:
        """A module's parameters now: those of a look may be older."""
        try:
            return sysfs_modules.parameters(self.kernel, name)
        except OSError:
            return {}

    def _set(self, name: str, answer: str | None) -> None:
        parameter, equals, value = (answer or "").partition("=")
        if not equals or "/" in parameter:
            return
        path = f"/sys/module/{name}/parameters/{parameter.strip()}"
        old = self._values(name).get(parameter.strip())
        if self._do(lambda: self.kernel.write_bytes(path, value.encode())):
            self._undo = None
            if old is not None:
                self._undo = f"{name}: {parameter} was set", lambda: self.kernel.write_bytes(path, old.encode())

    def _do(self, action: Callable[[], object]) -> bool:
        done = False
        try:
            action()
            done = True
        except KernelError as error:
            self._say(f"{error.message}. {error.hint}".strip(), "red")
        except KoboxError as error:
            self._say(error.message, "red")
        except OSError as error:
            self._say(f"{error.filename or 'the kernel'}: {error.strerror}", "red")
        self.look()
        return done

    def _chosen(self) -> str:
        table = self.query_one("#modules", DataTable)
        if not table.row_count:
            return ""
        return str(table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value)

    def _show(self) -> None:
        """The table anew; the cursor stays on its module."""
        table, chosen = self.query_one("#modules", DataTable), self._chosen()
        word = self.query_one("#filter", Input).value.lower().replace("-", "_")
        status = self._monitor.status
        shown = sorted((one for one in status.modules.values() if word in one.name.lower()), key=_KEYS[self._order])
        table.clear()
        for one in shown:
            cells = (one.name, size_text(one.size), str(one.refcount), one.state, one.taint, " ".join(one.users))
            table.add_row(*(Text(one_line(cell)) for cell in cells), key=one.name)
        for row, one in enumerate(shown):
            if one.name == chosen:
                table.move_cursor(row=row, animate=False)
        total = size_text(sum(one.size for one in status.modules.values()))
        tainted = f", tainted ({status.tainted})" if status.tainted else ""
        self.sub_title = f"{len(status.modules)} modules, {total}{tainted}, by {self._order}"
        self._describe()

    def _describe(self) -> None:
        module = self._monitor.status.modules.get(self._chosen())
        self.query_one("#one", Static).update("" if module is None else self._facts(module))

    def _facts(self, module: MonitoredModule) -> str:
        lines = [module.name, f"{module.size:,} bytes, {module.state}, used {module.refcount} times"]
        lines += [f"  {TAINTS.get(letter, letter)}" for letter in module.taint]
        lines += [f"used by {', '.join(module.users)}"] if module.users else []
        lines += [f"version {module.version}"] if module.version else []
        if module.parameters:
            lines += ["", "parameters"] + [f"  {name} = {value}" for name, value in module.parameters.items()]
        lines += ["", *more] if (more := module_facts(self.kernel, module.name)) else []
        path = self._file_of(module.name)
        if path is not None:
            lines += ["", *_modinfo(path)]
        events = [one for one in self._monitor.events if one.module == module.name]
        if events:
            lines += ["", "events"] + [f"  {one.kind} {one.detail}" for one in events[-5:]]
        return "\n".join(map(one_line, lines))

    def _tell(self, event: ModuleEvent) -> None:
        self._say(f"{event.kind} {event.module or 'kernel'} {event.detail}", _COLOURS.get(event.kind, ""))
        if event.advice:
            self._say(f"  {event.advice}", "")

    def _say(self, text: str, style: str) -> None:
        self.query_one("#events", RichLog).write(Text(one_line(text), style=style))


def _parameters_of(path: Path) -> Sequence[Parameter]:
    try:
        return ModuleFile(path).parameters
    except (OSError, KoboxError):
        return ()


def _modinfo(path: Path) -> list[str]:
    try:
        module = ModuleFile(path)
        fields = [(key, module.modinfo.first(key)) for key in ("description", "author", "license", "depends")]
        return [f"{key}: {value}" for key, value in fields if value] + [str(path)]
    except (OSError, KoboxError) as error:
        return [f"{path}: {error}"]
