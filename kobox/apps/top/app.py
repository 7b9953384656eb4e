"""`kobox top`: the modules of a kernel in a terminal, live: a table, one module's facts, events; load, unload, set.

It stands on textual (the extra `top`). The table is looked at anew when the kernel tells that something has happened (a
uevent, a line of its log), and every few seconds. Only cells that changed are drawn again, for slow lines.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.events import Resize
from textual.widgets import DataTable, Footer, Header, Input, RichLog, Static

from kobox.apps.top.changes import FileOf, ModuleChanges, reason
from kobox.apps.top.pane import ModulePane, age, changed_parameters, loaded_at
from kobox.apps.top.screens import AskScreen, ConfirmScreen, ParametersScreen
from kobox.errors import KoboxError
from kobox.graph.text import size_text
from kobox.kernel.interface import Kernel
from kobox.monitor import EventKind, ModuleEvent, ModuleMonitor, MonitoredModule
from kobox.monitor.module_facts import module_facts
from kobox.monitor.recording import KernelRecording
from kobox.monitor.tracing import CallCounter, CallRate
from kobox.printable import one_line

_Answer = TypeVar("_Answer")
_COLUMNS = ("", "module", "size", "used", "state", "taint", "loaded", "changed", "used by")
_NARROW = ("", "module", "size", "used", "taint")  # a table beside the pane in 80 columns
_WIDE = 130
_EARLIER = 20  # events from before that are shown
_SHARE = 32  # a look is made after 32 times as long as the last one took: 3 % of a core
_TOGETHER = 0.05  # seconds: more may happen at once
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


class ModuleTop(App[None]):
    """The terminal program. `monitor` looks at the kernel; with `read_only` nothing is changed in it.

    `file_of` finds the file of a module, for what its modinfo says; `title` names the kernel. With `in_thread` looks
    are made in a thread, for a kernel that is far away. With `replay`, which is the monitor's kernel then, looks go
    through a recording, `speed` times as fast as it was made.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #modules { width: 3fr; }
    #side { width: 2fr; border-left: solid $panel; padding: 0 1; }
    #events { height: 30%; border-top: solid $panel; padding: 0 1; }
    #filter { display: none; height: 3; }
    #filter.shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "sort", "Sort"),
        Binding("space", "mark", "Mark", key_display="space"),
        Binding("l", "load", "Load"),
        Binding("u", "unload", "Unload"),
        Binding("e", "set", "Set"),
        Binding("b", "blacklist", "Blacklist"),
        Binding("c", "count", "Calls"),
        Binding("z", "undo", "Undo"),
        Binding("asterisk", "mark_all", "Mark all", show=False),
        Binding("escape", "all", "All", show=False),
        Binding("p", "pause", "Pause", show=False),
        Binding("comma", "step(-1)", "Back", show=False),
        Binding("full_stop", "step(1)", "On", show=False),
    ]

    def __init__(
        self,
        monitor: ModuleMonitor,
        *,
        title: str,
        file_of: FileOf = lambda name: None,
        read_only: bool = False,
        interval: float = 2.0,
        in_thread: bool = False,
        replay: KernelRecording | None = None,
        speed: float = 1.0,
    ) -> None:
        super().__init__()
        self.title = title
        self._monitor, self._file_of = monitor, file_of
        self._read_only, self._interval, self._in_thread = read_only or replay is not None, interval, in_thread
        self._replay, self._speed, self._paused = replay, speed, False
        self._began = self._now()
        self._position = 0.0  # seconds of the recording
        self._order = "name"
        self._marked: set[str] = set()
        self._columns: tuple[str, ...] = ()
        self._changes = ModuleChanges(monitor.kernel(), file_of)
        self._counter: CallCounter | None = None
        self._calls: CallRate | None = None
        self._facts: tuple[str, list[str], bool] = ("", [], False)  # of which module, lines, on the blacklist
        self._kernel_lock = threading.Lock()  # looks in a thread, changes here
        self._looking = False
        self._wanted_look = False

    @property
    def kernel(self) -> Kernel:
        """The kernel that is looked at."""
        return self._monitor.kernel()

    @property
    def marked(self) -> frozenset[str]:
        """The names of the modules that are marked."""
        return frozenset(self._marked)

    def compose(self) -> ComposeResult:
        """The table and one module's facts, the events below."""
        yield Header(icon=" ")
        yield Input(placeholder="part of a module's name", id="filter")
        with Horizontal():
            yield DataTable(id="modules", cursor_type="row", zebra_stripes=True)
            with VerticalScroll(id="side"):
                yield Static(id="one", markup=False)
        yield RichLog(id="events", wrap=True, max_lines=1000)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Show what is; look again when something happens, and every few seconds."""
        self._lay_out(self.size.width)
        for event in self._monitor.events[-_EARLIER:]:
            self._tell(event)
        for problem in self._monitor.problems:
            self._say(problem, "yellow")
        if self._replay is not None:
            self._say("a recording: p pauses, . and , go a look on and back; nothing can be changed", "")
        self.set_interval(self._interval, self._tick)
        self._listen()
        self.query_one("#modules", DataTable).focus()

    def on_unmount(self) -> None:
        """Leave nothing behind in the kernel."""
        self._end_count()

    def on_resize(self, event: Resize) -> None:
        """Other columns, where there is more room or less."""
        self._lay_out(event.size.width)

    # Looks ----------------------------------------------------------------------------------------------------------

    def look(self, *, parameters: bool = False) -> None:
        """Look at the kernel now, and show what happened; parameters are read when they are asked for, and at times."""
        self._looked(*self._look_there(parameters))

    def _tick(self) -> None:
        if self._replay is not None:
            if not self._paused:
                self._position += self._interval * self._speed
                self._go_to(self._replay.at(self._position))
        elif not self._in_thread:
            self.look()
        elif self._looking:
            self._wanted_look = True
        else:
            self._looking = True
            self.run_worker(self._look_in_thread, thread=True)

    def _look_in_thread(self) -> None:
        found = self._look_there()
        with suppress(RuntimeError):  # the program has ended meanwhile
            self.call_from_thread(self._looked_in_thread, *found)

    def _looked_in_thread(self, found: list[ModuleEvent], problem: str) -> None:
        self._looking = False
        self._looked(found, problem)
        if self._wanted_look:
            self._wanted_look = False
            self._tick()

    def _look_there(self, parameters: bool = False) -> tuple[list[ModuleEvent], str]:
        """The events since the last look, and why there are none; in a thread, if need be."""
        with self._kernel_lock:
            try:
                found = self._monitor.poll(parameters=parameters)
                self._calls = self._counted()
                self._facts = self._facts_of(self._facts[0])
            except (OSError, KoboxError) as error:
                return [], f"modules cannot be read: {error}"
        return found, ""

    def _looked(self, found: list[ModuleEvent], problem: str) -> None:
        if problem:
            self._say(problem, "red")
            return
        for event in found:
            self._tell(event)
        self._show()

    def _listen(self) -> None:
        """Look as soon as a source has something."""
        loop = asyncio.get_running_loop()
        for source in self._monitor.sources:
            loop.add_reader(source.fileno(), self._wake)

    def _wake(self) -> None:
        """Something has happened: look in a moment, and not before that has been done listen again."""
        loop = asyncio.get_running_loop()
        for source in self._monitor.sources:
            loop.remove_reader(source.fileno())
        began = time.thread_time()

        def look() -> None:
            self._tick()
            self.set_timer(max(_TOGETHER, _SHARE * (time.thread_time() - began)), self._listen)

        self.set_timer(_TOGETHER, look)

    # Keys -----------------------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Go to the line that filters."""
        line = self.query_one("#filter", Input)
        line.add_class("shown")
        line.focus()

    def action_all(self) -> None:
        """Show all modules again, none marked."""
        line = self.query_one("#filter", Input)
        line.value = ""
        line.remove_class("shown")
        self._marked.clear()
        self._show()
        self.query_one("#modules", DataTable).focus()

    def action_sort(self) -> None:
        """The next order: name, size, references, taint."""
        orders = list(_KEYS)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self._show()

    def action_mark(self) -> None:
        """Mark the module under the cursor, or take the mark off; then the next one."""
        if name := self._chosen():
            self._marked ^= {name}
            self._show()
            self.query_one("#modules", DataTable).action_cursor_down()

    def action_mark_all(self) -> None:
        """Mark all modules that are shown, or none if they are."""
        shown = {one.name for one in self._shown()}
        self._marked = set() if shown <= self._marked else self._marked | shown
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
        name = self._chosen()
        if name == self._facts[0]:
            return
        self._facts = (name, [], False)
        if self._in_thread:
            self._describe()
            self._tick()
            return
        self._facts = self._facts_of(name)
        self._describe()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """A click on a column sorts by it."""
        order = {"module": "name", "size": "size", "used": "references", "taint": "taint"}.get(str(event.label))
        if order is not None:
            self._order = order
            self._show()

    def action_load(self) -> None:
        """Ask for a file and load it."""
        if self._may_change():
            self.push_screen(AskScreen("Load which module file? Parameters may follow it."), self._load)

    def action_unload(self) -> None:
        """Ask whether to unload the modules that are marked, or the one under the cursor, and do it."""
        names = self._meant()
        if names and self._may_change():
            self._confirm(f"Unload {_and(names)}?", lambda: self._unload(names))

    def action_blacklist(self) -> None:
        """Ask whether to blacklist them, and do it."""
        names = self._meant()
        if names and self._may_change():
            nothing: set[str] = set()
            on = self._asked(self._changes.blacklisted, nothing)
            take = "Take off the blacklist" if on.issuperset(names) else "Blacklist"
            self._confirm(f"{take}: {_and(names)}?", lambda: self._changes.blacklist(names))

    def action_set(self) -> None:
        """Ask for the parameters' new values, and set one."""
        name = self._chosen()
        if name not in self._monitor.status.modules or not self._may_change():
            return
        nothing: dict[str, str] = {}
        values = self._asked(lambda: self._changes.values(name), nothing)
        if not values:
            self._say(f"{name} has no parameter that can be set", "yellow")
            return
        self.push_screen(
            ParametersScreen(name, values),
            lambda answer: None if answer is None else self._do(lambda: self._changes.set_parameter(name, *answer)),
        )

    def action_count(self) -> None:
        """Count the calls of the module under the cursor by ftrace, or end that."""
        name, counted = self._chosen(), self._counter
        if not name or not self._may_change():
            return
        self._end_count()
        if counted is not None and counted.module == name:
            self._describe()
            return
        try:
            with self._kernel_lock:
                self._counter = CallCounter(self.kernel, name)
                self._calls = self._counter.sample()
        except OSError as error:
            self._say(f"calls cannot be counted: {reason(error)}; it takes root and the function tracer", "red")
            return
        except KoboxError as error:
            self._say(error.message, "red")
            return
        self._describe()

    def action_undo(self) -> None:
        """Take the last change back."""
        if self._may_change():
            self._do(lambda: self._changes.undo() or "there is nothing to undo")

    def action_pause(self) -> None:
        """Stop the recording where it is, or go on."""
        if self._replay is not None:
            self._paused = not self._paused
            self._show()

    def action_step(self, looks: int) -> None:
        """Go some looks on or back in the recording."""
        if self._replay is not None:
            self._paused = True
            self._go_to(self._replay.index + looks)

    # What is done ---------------------------------------------------------------------------------------------------

    def _go_to(self, index: int) -> None:
        """To a look of the recording. Backwards it begins anew and goes there: the events are those that were."""
        replay = self._replay
        assert replay is not None
        index = min(max(index, 0), replay.length - 1)
        if index < replay.index:
            replay.seek(0)
            self._monitor = ModuleMonitor(replay, replay, clock=lambda: replay.time)
            self.query_one("#events", RichLog).clear()
        while replay.index < index:
            replay.seek(replay.index + 1)
            self.look()
        if self._paused:
            self._position = replay.time - replay.began
        self._show()

    def _load(self, answer: str | None) -> None:
        try:
            words = shlex.split(answer or "")
        except ValueError as error:
            self._say(f"{answer}: {error}", "red")
            return
        if words:
            self._do(lambda: self._changes.load([os.path.expanduser(words[0]), *words[1:]]))

    def _unload(self, names: list[str]) -> str:
        """A module whose calls are counted takes its functions out of the filter: the count ends before."""
        if self._counter is not None and self._counter.module in names:
            self._counter.close()
            self._counter = None
        return self._changes.unload(names)

    def _confirm(self, question: str, action: Callable[[], str]) -> None:
        self.push_screen(ConfirmScreen(question), lambda answer: self._do(action) if answer else None)

    def _may_change(self) -> bool:
        if self._read_only:
            self._say("nothing is changed: " + ("a recording" if self._replay is not None else "--read-only"), "yellow")
        return not self._read_only

    def _do(self, action: Callable[[], str]) -> None:
        try:
            with self._kernel_lock:
                said = action()
            if said:
                self._say(said, "yellow" if "undo" in said else "")
        except KoboxError as error:
            self._say(error.message, "red")
        except OSError as error:
            self._say(reason(error), "red")
        self.look(parameters=True)

    def _asked(self, question: Callable[[], _Answer], otherwise: _Answer) -> _Answer:
        """What the kernel answers now."""
        try:
            with self._kernel_lock:
                return question()
        except (OSError, KoboxError) as error:
            self._say(str(error), "red")
            return otherwise

    def _end_count(self) -> None:
        if self._counter is not None:
            with self._kernel_lock:
                self._counter.close()
            self._counter = self._calls = None

    def _counted(self) -> CallRate | None:
        """The calls since the last look; a module that is gone is no longer counted."""
        if self._counter is None:
            return None
        if self._counter.module not in self._monitor.status.modules:
            self._counter.close()
            self._counter = None
            return None
        return self._counter.sample()

    def _facts_of(self, name: str) -> tuple[str, list[str], bool]:
        if name not in self._monitor.status.modules:
            return name, [], False
        try:
            return name, module_facts(self.kernel, name), name in self._changes.blacklisted()
        except KoboxError as error:  # a box whose kernel has died
            return name, [error.message], False

    def _chosen(self) -> str:
        table = self.query_one("#modules", DataTable)
        if not table.row_count:
            return ""
        return str(table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value)

    def _meant(self) -> list[str]:
        """The modules that are marked; without any the one under the cursor."""
        return sorted(self._marked) or [one for one in [self._chosen()] if one]

    # What is shown --------------------------------------------------------------------------------------------------

    def _lay_out(self, width: int) -> None:
        columns = _COLUMNS if width >= _WIDE else _NARROW
        if columns != self._columns:
            self._columns = columns
            table = self.query_one("#modules", DataTable)
            chosen = self._chosen()
            table.clear(columns=True)
            for name in columns:
                table.add_column(name, key=name or "mark")
            self._show(chosen)

    def _shown(self) -> list[MonitoredModule]:
        word = self.query_one("#filter", Input).value.lower().replace("-", "_")
        modules = self._monitor.status.modules.values()
        return sorted((one for one in modules if word in one.name.lower()), key=_KEYS[self._order])

    def _show(self, chosen: str = "") -> None:
        """The table: cells that changed, or all of it where other rows are there. The cursor stays on its module."""
        table, chosen = self.query_one("#modules", DataTable), chosen or self._chosen()
        status, shown = self._monitor.status, self._shown()
        self._marked &= set(status.modules)
        rows = {one.name: self._cells(one) for one in shown}
        if [str(row.key.value) for row in table.ordered_rows] == list(rows):
            _update(table, self._columns, rows)
        else:
            table.clear()
            for name, cells in rows.items():
                table.add_row(*(Text(cell) for cell in cells), key=name)
            for row, name in enumerate(rows):
                if name == chosen:
                    table.move_cursor(row=row, animate=False)
        total = size_text(sum(one.size for one in status.modules.values()))
        tainted = f", tainted ({status.tainted})" if status.tainted else ""
        marked = f", {len(self._marked)} marked" if self._marked else ""
        self.sub_title = f"{len(status.modules)} modules, {total}{tainted}{marked}, by {self._order}{self._place()}"
        self._describe()

    def _place(self) -> str:
        """Where in the recording it is."""
        if self._replay is None:
            return ""
        when = time.strftime("%H:%M:%S", time.localtime(self._replay.time))
        return f", {when}, look {self._replay.index + 1} of {self._replay.length}{', paused' if self._paused else ''}"

    def _cells(self, one: MonitoredModule) -> tuple[str, ...]:
        events = self._monitor.events
        since = loaded_at(events, one.name)
        cells = {
            "": "*" if one.name in self._marked else " ",
            "module": one.name,
            "size": size_text(one.size),
            "used": str(one.refcount) if one.refcount >= 0 else "?",
            "state": one.state,
            "taint": one.taint,
            "loaded": f">{age(self._now() - self._began)}" if since is None else age(self._now() - since),
            "changed": " ".join(changed_parameters(events, one.name)),
            "used by": " ".join(one.users),
        }
        return tuple(one_line(cells[name]) for name in self._columns)

    def _now(self) -> float:
        return self._replay.time if self._replay is not None else time.time()

    def _describe(self) -> None:
        name, facts, blacklisted = self._facts
        module = self._monitor.status.modules.get(self._chosen())
        text = ""
        if module is not None:
            known = name == module.name
            text = ModulePane(
                module,
                self._monitor.status,
                self._monitor.events,
                self._monitor.lines,
                facts if known else (),
                self._file_of(module.name),
                blacklisted and known,
                self._calls if self._counter is not None and self._counter.module == module.name else None,
                self._now(),
            ).text()
        self.query_one("#one", Static).update(text)

    def _tell(self, event: ModuleEvent) -> None:
        self._say(f"{event.kind} {event.module or 'kernel'} {event.detail}", _COLOURS.get(event.kind, ""))
        if event.advice:
            self._say(f"  {event.advice}", "")

    def _say(self, text: str, style: str) -> None:
        self.query_one("#events", RichLog).write(Text(one_line(text), style=style))


def _update(table: DataTable[Text], columns: Iterable[str], rows: Mapping[str, tuple[str, ...]]) -> None:
    """Write the cells that differ."""
    for name, cells in rows.items():
        for column, cell in zip(columns, cells, strict=True):
            if table.get_cell(name, column or "mark").plain != cell:
                table.update_cell(name, column or "mark", Text(cell), update_width=True)


def _and(names: list[str]) -> str:
    """Some names, not so many that the question no longer fits."""
    more = len(names) - 10
    return ", ".join(map(one_line, names[:10])) + (f" and {more} more" if more > 0 else "")
