"""The Debug Adapter Protocol over gdb: what editors speak (`kobox debug --dap`).

    Content-Length: 119\\r\\n\\r\\n{"seq":1,"type":"request","command":"initialize","arguments":{...}}

    the editor --requests--> DapServer --gdb/MI--> gdb --remote protocol--> the life in the box
               <--events----           <----------

Requests of the protocol: initialize, launch, setBreakpoints, setFunctionBreakpoints, setExceptionBreakpoints,
dataBreakpointInfo, setDataBreakpoints, configurationDone, threads, stackTrace, scopes, variables, setVariable,
evaluate, continue, next, stepIn, stepOut, pause, stepBack, reverseContinue, disconnect, terminate. Source: the
specification at microsoft.github.io/debug-adapter-protocol.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import BinaryIO, TypeAlias, cast

from kobox.debug.mi import MiError, MiGdb, MiRecord, MiValue, quoted
from kobox.json_text import parse_json

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Table: TypeAlias = "dict[str, Json]"

_MOST = 16 << 20  # bytes of one message
_MOST_CHILDREN = 1000
CAPABILITIES: Table = {  # what `initialize` is answered
    "supportsConfigurationDoneRequest": True,
    "supportsFunctionBreakpoints": True,
    "supportsConditionalBreakpoints": True,
    "supportsHitConditionalBreakpoints": True,
    "supportsDataBreakpoints": True,
    "supportsSetVariable": True,
    "supportsSteppingGranularity": True,
    "supportsEvaluateForHovers": True,
    "supportsStepBack": True,
    "supportsTerminateRequest": True,
}
_STOPS = {
    "breakpoint-hit": "breakpoint",
    "watchpoint-trigger": "data breakpoint",
    "read-watchpoint-trigger": "data breakpoint",
    "access-watchpoint-trigger": "data breakpoint",
    "end-stepping-range": "step",
    "function-finished": "step",
    "signal-received": "exception",
    "no-history": "entry",
}
_STEPS = {
    "next": "-exec-next",
    "stepIn": "-exec-step",
    "stepOut": "-exec-finish",
    "continue": "-exec-continue",
    "stepBack": "-exec-next --reverse",
    "reverseContinue": "-exec-continue --reverse",
}

# Steps of one instruction, where the editor shows the disassembly.
_INSTRUCTION_STEPS = {
    **_STEPS,
    "next": "-exec-next-instruction",
    "stepIn": "-exec-step-instruction",
    "stepBack": "-exec-next-instruction --reverse",
}
_WATCHES = {"read": "-r ", "readWrite": "-a ", "write": ""}


class DapError(Exception):
    """A request that cannot be answered; its text is for people."""


class DapStream:
    """Messages on two streams of bytes."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader, self._writer = reader, writer
        self._lock = threading.Lock()
        self._number = 0

    def read(self) -> Table | None:
        """The next message; None at the end, and for what is none."""
        length = -1
        while line := self._reader.readline(4096):
            name, _, value = line.decode("ascii", "replace").partition(":")
            if not line.strip():
                break
            if name.strip().lower() == "content-length" and value.strip().isdigit():
                length = int(value)
        if not 0 <= length <= _MOST:
            return None
        data = self._reader.read(length)
        try:
            message = parse_json(data)
        except (ValueError, RecursionError):
            return None
        return message if isinstance(message, dict) else None

    def write(self, message: Table) -> None:
        """Send one; its `seq` is set here. That nobody reads any more is no error."""
        with self._lock:
            self._number += 1
            data = json.dumps({"seq": self._number, **message}).encode()
            try:
                self._writer.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
                self._writer.flush()
            except (OSError, ValueError):
                pass

    def event(self, name: str, **body: Json) -> None:
        """Send an event."""
        self.write({"type": "event", "event": name, "body": body})

    def answer(self, request: Table, body: Table | None = None, error: str = "") -> None:
        """Answer a request."""
        reply: Table = {
            "type": "response",
            "request_seq": request.get("seq", 0),
            "success": not error,
            "command": request.get("command", ""),
        }
        if error:
            reply["message"] = error
            reply["body"] = {"error": {"id": 1, "format": error, "showUser": True}}
        elif body is not None:
            reply["body"] = body
        self.write(reply)


class DapServer:
    """One session. `start_gdb(listener)` starts gdb on the life, connected, at the module's first instruction."""

    def __init__(self, stream: DapStream, start_gdb: Callable[[Callable[[MiRecord], None]], MiGdb]) -> None:
        self._stream = stream
        self._start_gdb = start_gdb
        self._gdb: MiGdb | None = None
        self._stopped = threading.Event()
        self._thread = 1
        self._held = True  # stops are not told before the editor is ready
        self._said: list[str] | None = None
        self._places: dict[str, list[str]] = {}  # breakpoints of each source, by gdb's numbers
        self._functions: list[str] = []
        self._data: list[str] = []
        self._references: list[tuple[str, ...]] = []
        self._stop_on_entry = True
        self._over = False

    # -- the session -----------------------------------------------------------------------------------------------

    def launch(self, arguments: Table) -> None:
        """gdb is started; the editor is told to say where to stop."""
        self._stop_on_entry = bool(arguments.get("stopOnEntry", True))
        self._gdb = self._start_gdb(self._heard)
        self._stopped.set()
        self._stream.event("initialized")

    def serve(self) -> None:
        """Answer requests until the editor goes."""
        while not self._over and (request := self._stream.read()) is not None:
            if request.get("type") != "request":
                continue
            try:
                self._stream.answer(
                    request, self._answer(str(request.get("command")), _table(request.get("arguments")))
                )
                self._after(str(request.get("command")))
            except (DapError, MiError, KeyError, ValueError, TypeError) as error:
                self._stream.answer(request, error=str(error) or type(error).__name__)
        self.close()

    def close(self) -> None:
        """End gdb."""
        self._over = True
        if self._gdb is not None:
            self._gdb.close()

    def _after(self, command: str) -> None:
        if command == "configurationDone":
            self._held = False
            if self._stop_on_entry:
                self._tell_stop("entry", "the module's init begins here")
            else:
                self._run("-exec-continue")

    def _answer(self, command: str, arguments: Table) -> Table | None:
        if command in _STEPS:
            steps = _INSTRUCTION_STEPS if arguments.get("granularity") == "instruction" else _STEPS
            self._run(steps[command], int(cast(int, arguments.get("threadId", self._thread))))
            return {"allThreadsContinued": True}
        answers: dict[str, Callable[[Table], Table | None]] = {
            "setBreakpoints": self._set_breakpoints,
            "setFunctionBreakpoints": self._set_function_breakpoints,
            "dataBreakpointInfo": self._data_breakpoint_info,
            "setDataBreakpoints": self._set_data_breakpoints,
            "setVariable": self._set_variable,
            "setExceptionBreakpoints": lambda _: {"breakpoints": []},
            "configurationDone": lambda _: None,
            "threads": self._threads,
            "stackTrace": self._stack,
            "scopes": self._scopes,
            "variables": self._variables,
            "evaluate": self._evaluate,
            "pause": self._pause,
            "disconnect": self._disconnect,
            "terminate": self._disconnect,
        }
        if command not in answers:
            raise DapError(f"{command}: kobox does not have this request")
        return answers[command](arguments)

    def _disconnect(self, _: Table) -> None:
        self._over = True

    def _pause(self, _: Table) -> None:
        if self._gdb is not None:
            self._gdb.interrupt()

    # -- gdb -------------------------------------------------------------------------------------------------------

    def _command(self, text: str) -> Mapping[str, MiValue]:
        if self._gdb is None:
            raise DapError("nothing was launched")
        if not self._stopped.is_set():
            raise DapError("the box is running: stop it first")
        return self._gdb.command(text)

    def _run(self, command: str, thread: int | None = None) -> None:
        name, *options = command.split()
        self._references.clear()
        gdb = self._gdb
        if gdb is None or not self._stopped.is_set():
            raise DapError("the box is running already" if gdb is not None else "nothing was launched")
        self._stopped.clear()
        where = ["--thread", str(thread)] if thread is not None else []
        try:
            gdb.command(" ".join([name, *where, *options]))
        except MiError:
            self._stopped.set()
            raise

    def _heard(self, record: MiRecord) -> None:
        """What gdb says by itself, in its thread."""
        if record.kind == "*" and record.name == "stopped":
            self._stopped.set()
            reason = str(record.results.get("reason", ""))
            if reason.startswith("exited"):
                self._end()
                return
            self._thread = int(str(record.results.get("thread-id", self._thread)))
            text = f"{record.results.get('signal-name', '')} {record.results.get('signal-meaning', '')}".strip()
            if not self._held:
                self._tell_stop(_STOPS.get(reason, "pause"), text)
        elif record.kind in "~@" and self._said is not None:
            self._said.append(record.name)
        elif record.kind in "~@" and not self._held:
            self._stream.event("output", category="console", output=record.name)
        elif record.kind == "=" and record.name in ("thread-group-exited", "gone"):
            self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._stream.event("exited", exitCode=0)
            self._stream.event("terminated")

    def _tell_stop(self, reason: str, text: str) -> None:
        self._stream.event("stopped", reason=reason, threadId=self._thread, allThreadsStopped=True, text=text)

    # -- breakpoints -----------------------------------------------------------------------------------------------

    def _set_breakpoints(self, arguments: Table) -> Table:
        path = str(_table(arguments["source"]).get("path", ""))
        for number in self._places.pop(path, ()):
            self._command(f"-break-delete {number}")
        rows, numbers = list[Json](), list[str]()
        for wanted in _rows(arguments.get("breakpoints")):
            place = f"{path}:{int(cast(int, wanted['line']))}"
            rows.append(
                self._insert(f"--source {quoted(path)} --line {int(cast(int, wanted['line']))}", wanted, numbers, place)
            )
        self._places[path] = numbers
        return {"breakpoints": rows}

    def _set_function_breakpoints(self, arguments: Table) -> Table:
        for number in self._functions:
            self._command(f"-break-delete {number}")
        self._functions = []
        rows = [
            self._insert(quoted(str(wanted["name"])), wanted, self._functions, str(wanted["name"]))
            for wanted in _rows(arguments.get("breakpoints"))
        ]
        return {"breakpoints": cast("list[Json]", rows)}

    def _insert(self, where: str, wanted: Table, numbers: list[str], place: str) -> Table:
        condition = f"-c {quoted(str(wanted['condition']))} " if wanted.get("condition") else ""
        try:
            made = _tuple(self._command(f"-break-insert {condition}{where}").get("bkpt"))
        except MiError as error:
            return {"verified": False, "message": f"{place}: {error.message}"}
        number = str(made.get("number", "0"))
        numbers.append(number)
        if hits := str(wanted.get("hitCondition") or "").strip():
            if not hits.isdigit():
                return {"verified": False, "message": f"{hits}: the hit condition is a number"}
            self._command(f"-break-after {number} {max(0, int(hits) - 1)}")
        found: Table = {"id": int(number), "verified": True}
        if str(made.get("line", "")).isdigit():
            found["line"] = int(str(made["line"]))
        return found

    def _data_breakpoint_info(self, arguments: Table) -> Table:
        """Where a value lies: it is watched there, also when its name means nothing any more."""
        expression, frame = self._expression(arguments)
        try:
            address = self._value(frame, f"(unsigned long)&({expression})")
            size = int(self._value(frame, f"sizeof({expression})"), 0)
        except (MiError, ValueError) as error:
            text = error.message if isinstance(error, MiError) else "it has no address"
            return {"dataId": None, "description": f"{expression} cannot be watched: {text}"}
        return {
            "dataId": f"{int(address, 0):#x}:{size}",
            "description": f"{expression}, {size} bytes at {int(address, 0):#x}",
            "accessTypes": ["read", "write", "readWrite"],
        }

    def _set_data_breakpoints(self, arguments: Table) -> Table:
        for number in self._data:
            self._command(f"-break-delete {number}")
        self._data = []
        rows: list[Json] = []
        for wanted in _rows(arguments.get("breakpoints")):
            address, _, size = str(wanted["dataId"]).partition(":")
            kind = _WATCHES[str(wanted.get("accessType", "write"))]
            try:
                made = self._command(f"-break-watch {kind}{quoted(_lvalue(int(address, 16), int(size)))}")
                number = str(next(_tuple(value)["number"] for value in made.values()))
                self._data.append(number)
                if wanted.get("condition"):
                    self._command(f"-break-condition {number} {wanted['condition']}")
                rows.append({"id": int(number), "verified": True})
            except MiError as error:
                rows.append({"verified": False, "message": error.message})
        return {"breakpoints": rows}

    def _set_variable(self, arguments: Table) -> Table:
        expression, frame = self._expression(arguments)
        return {"value": self._value(frame, f"{expression} = {arguments['value']}")}

    def _value(self, frame: str, expression: str) -> str:
        where = f"{_frame(frame)} " if frame else ""
        return str(self._command(f"-data-evaluate-expression {where}{quoted(expression)}").get("value", ""))

    def _expression(self, arguments: Table) -> tuple[str, str]:
        """gdb's expression for a value that the editor shows, and the frame that it is of."""
        name, number = str(arguments["name"]), int(cast(int, arguments.get("variablesReference") or 0))
        if not number:
            frame = arguments.get("frameId")
            return name, str(frame) if frame is not None else ""
        kind, *rest = self._referred(number)
        if kind in ("locals", "registers"):
            return f"${name}" if kind == "registers" else name, rest[0]
        parent = rest[0] if kind == "object" else self._object(rest[1], rest[0])
        listed = self._command(f"-var-list-children {quoted(parent)} 0 {_MOST_CHILDREN}")
        child = next((row for row in _tuples(listed.get("children")) if row.get("exp") == name), None)
        if child is None:
            raise DapError(f"{name}: there is no such member")
        path = self._command(f"-var-info-path-expression {quoted(str(child['name']))}")
        return str(path["path_expr"]), "" if kind == "object" else rest[1]

    # -- what is there ---------------------------------------------------------------------------------------------

    def _threads(self, _: Table) -> Table:
        if not self._stopped.is_set():
            return {"threads": [{"id": self._thread, "name": "running"}]}
        rows = _tuples(self._command("-thread-info").get("threads"))
        return {
            "threads": [
                {"id": int(str(row["id"])), "name": f"{row.get('name', '')} {row.get('target-id', '')}".strip()}
                for row in rows
            ]
        }

    def _stack(self, arguments: Table) -> Table:
        thread, first = int(cast(int, arguments["threadId"])), int(cast(int, arguments.get("startFrame", 0) or 0))
        count = int(cast(int, arguments.get("levels", 0) or 0)) or 100
        rows = _tuples(self._command(f"-stack-list-frames --thread {thread} {first} {first + count - 1}").get("stack"))
        frames: list[Json] = []
        for row in rows:
            level = int(str(row["level"]))
            frame: Table = {
                "id": thread * 1000 + level,
                "name": str(row.get("func", row.get("addr", "?"))),
                "line": int(str(row.get("line", "0"))),
                "column": 0,
                "instructionPointerReference": str(row.get("addr", "")),
            }
            if path := str(row.get("fullname", "")):
                frame["source"] = {"name": os.path.basename(path), "path": path}
            else:
                frame["presentationHint"] = "subtle"
            frames.append(frame)
        return {"stackFrames": frames, "totalFrames": first + len(frames) + (len(frames) == count)}

    def _scopes(self, arguments: Table) -> Table:
        frame = str(int(cast(int, arguments["frameId"])))
        return {
            "scopes": [
                {"name": "Locals", "variablesReference": self._reference("locals", frame), "expensive": False},
                {"name": "Registers", "variablesReference": self._reference("registers", frame), "expensive": True},
            ]
        }

    def _reference(self, *what: str) -> int:
        self._references.append(what)
        return len(self._references)

    def _variables(self, arguments: Table) -> Table:
        kind, *rest = self._referred(int(cast(int, arguments["variablesReference"])))
        if kind == "locals":
            return {"variables": cast("list[Json]", self._locals(rest[0]))}
        if kind == "registers":
            return {"variables": cast("list[Json]", self._registers(rest[0]))}
        name = rest[0] if kind == "object" else self._object(rest[1], rest[0])
        return {"variables": cast("list[Json]", self._children(name))}

    def _referred(self, number: int) -> tuple[str, ...]:
        if not 0 < number <= len(self._references):
            raise DapError("this value is of an earlier stop")
        return self._references[number - 1]

    def _locals(self, frame: str) -> list[Table]:
        rows = _tuples(self._command(f"-stack-list-variables {_frame(frame)} --simple-values").get("variables"))
        found: list[Table] = []
        for row in rows:
            name, simple = str(row["name"]), "value" in row
            is_pointer = str(row.get("type", "")).endswith("*")
            found.append(
                {
                    "name": name,
                    "value": str(row.get("value", "{...}")),
                    "type": str(row.get("type", "")),
                    "evaluateName": name,
                    "variablesReference": self._reference("expression", name, frame) if not simple or is_pointer else 0,
                }
            )
        return found

    def _registers(self, frame: str) -> list[Table]:
        names = cast("list[str]", self._command("-data-list-register-names").get("register-names", []))
        rows = _tuples(self._command(f"-data-list-register-values {_frame(frame)} x").get("register-values"))
        return [
            {"name": names[int(str(row["number"]))], "value": str(row["value"]), "variablesReference": 0}
            for row in rows
            if int(str(row["number"])) < len(names) and "{" not in str(row["value"])
        ]

    def _object(self, frame: str, expression: str) -> str:
        made = self._command(f"-var-create {_frame(frame)} - * {quoted(expression)}")
        return str(made["name"])

    def _children(self, name: str) -> list[Table]:
        listed = self._command(f"-var-list-children --all-values {quoted(name)} 0 {_MOST_CHILDREN}")
        found: list[Table] = []
        for row in _tuples(listed.get("children")):
            many = int(str(row.get("numchild", "0")))
            found.append(
                {
                    "name": str(row.get("exp", "")),
                    "value": str(row.get("value", "")),
                    "type": str(row.get("type", "")),
                    "variablesReference": self._reference("object", str(row["name"])) if many else 0,
                }
            )
        return found

    def _evaluate(self, arguments: Table) -> Table:
        text = str(arguments["expression"])
        frame = str(int(cast(int, arguments.get("frameId", self._thread * 1000) or self._thread * 1000)))
        if arguments.get("context") == "repl":
            self._said = []
            try:
                self._command(f"-interpreter-exec {_frame(frame)} console {quoted(text)}")
                return {"result": "".join(self._said), "variablesReference": 0}
            except MiError as error:
                if not error.message.startswith("Undefined command"):
                    raise  # else it may be an expression
            finally:
                self._said = None
        made = self._command(f"-var-create {_frame(frame)} - * {quoted(text)}")
        many = int(str(made.get("numchild", "0")))
        return {
            "result": str(made.get("value", "")),
            "type": str(made.get("type", "")),
            "variablesReference": self._reference("object", str(made["name"])) if many else 0,
        }


def _frame(frame: str) -> str:
    """The options that name a thread and a frame; `frame` is thread * 1000 + level."""
    number = int(frame)
    return f"--thread {number // 1000} --frame {number % 1000}"


def _lvalue(address: int, size: int) -> str:
    """The bytes there as something that gdb watches."""
    kind = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long"}.get(size)
    return f"*({kind} *){address:#x}" if kind else f"*(unsigned char (*)[{max(size, 1)}]){address:#x}"


def _table(value: Json) -> Table:
    return value if isinstance(value, dict) else {}


def _rows(value: Json) -> list[Table]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _tuple(value: MiValue | None) -> dict[str, MiValue]:
    if isinstance(value, list):
        value = value[0] if value else {}
    return value if isinstance(value, dict) else {}


def _tuples(value: MiValue | None) -> list[dict[str, MiValue]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
