"""Questions of `kobox top`: a line to answer, yes or no, the parameters of a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label

from kobox.printable import one_line

_Answer = TypeVar("_Answer")


class _Question(ModalScreen[_Answer | None], Generic[_Answer]):
    """A box in the middle; None when it is left by Escape."""

    DEFAULT_CSS = """
    _Question { align: center middle; }
    _Question > Vertical { width: 72; max-width: 95%; height: auto; max-height: 90%; padding: 1 2; }
    _Question > Vertical { border: round $accent; background: $surface; }
    _Question VerticalScroll { height: auto; max-height: 16; }
    _Question Horizontal { height: auto; align-horizontal: right; }
    _Question Horizontal Button { margin: 1 0 0 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)


class AskScreen(_Question[str]):
    """A question with a line for the answer."""

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


class ConfirmScreen(_Question[bool]):
    """Whether to do something: y or n, or the mouse."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n", "answer(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question above two buttons; the focus is on No."""
        with Vertical():
            yield Label(self._question, markup=False)
            with Horizontal():
                yield Button("No (n)", id="no")
                yield Button("Yes (y)", id="yes", variant="error")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The answer."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """The answer."""
        self.dismiss(answer)


class ParametersScreen(_Question[tuple[str, str]]):
    """The parameters of a module that can be set, each in a line of its own: Enter in a line sets that one."""

    def __init__(self, module: str, values: Mapping[str, str]) -> None:
        super().__init__()
        self._module, self._values = module, dict(values)

    def compose(self) -> ComposeResult:
        """A label and a line for each."""
        with Vertical():
            yield Label(f"{one_line(self._module)}: change a value, Enter sets it", markup=False)
            with VerticalScroll():
                for name, value in self._values.items():
                    yield Label(one_line(name), markup=False)
                    yield Input(one_line(value), name=name)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The parameter and its value."""
        self.dismiss((event.input.name or "", event.value))
