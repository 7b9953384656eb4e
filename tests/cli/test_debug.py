"""`kobox debug --dap`, driven by a client of the Debug Adapter Protocol as editors are."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from kobox.debug.vscode import LAUNCH, manifest
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules


@pytest.fixture(scope="module")
def journal(debian_kernel: KernelImage) -> Path:
    return BuiltTestModules(debian_kernel, "debug")("journal")


@cache
def protocol() -> dict[str, Any]:
    """The JSON schema of the Debug Adapter Protocol, as debugpy carries it."""
    files = importlib.metadata.files("debugpy") or []
    path = next(file for file in files if file.name == "debugProtocol.json").locate()
    found: dict[str, Any] = json.loads(Path(str(path)).read_text())
    return found


def check_message(message: dict[str, Any]) -> None:
    """A message of the adapter's is what the protocol's schema says of it."""
    word = message["event"] if message["type"] == "event" else message["command"]
    kind = "Event" if message["type"] == "event" else "Response"
    name = f"{word[0].upper()}{word[1:]}{kind}" if message.get("success", True) else "ErrorResponse"
    definitions = protocol()["definitions"]
    assert name in definitions, message
    jsonschema.validate(message, {"definitions": definitions, "$ref": f"#/definitions/{name}"})


class DapClient:
    """The editor's side: requests, their answers, and events as they come."""

    def __init__(self) -> None:
        words = [sys.executable, "-m", "kobox", "debug", "--dap"]
        self.program = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.events: list[dict[str, Any]] = []
        self._number = 0

    def send(self, command: str, **arguments: Any) -> int:
        self._number += 1
        message = {"seq": self._number, "type": "request", "command": command, "arguments": arguments}
        data = json.dumps(message).encode()
        assert self.program.stdin is not None
        self.program.stdin.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        self.program.stdin.flush()
        return self._number

    def read(self) -> dict[str, Any]:
        assert self.program.stdout is not None
        length = 0
        while line := self.program.stdout.readline().strip():
            length = int(line.split(b":")[1])
        message: dict[str, Any] = json.loads(self.program.stdout.read(length))
        check_message(message)
        return message

    def request(self, command: str, *, fails: bool = False, **arguments: Any) -> dict[str, Any]:
        number = self.send(command, **arguments)
        while (message := self.read()).get("request_seq") != number:
            self.events.append(message)
        assert message["success"] is not fails, message
        assert message["command"] == command
        found: dict[str, Any] = message if fails else message.get("body") or {}
        return found

    def event(self, name: str) -> dict[str, Any]:
        while True:
            for number, message in enumerate(self.events):
                if message.get("event") == name:
                    body: dict[str, Any] = self.events.pop(number).get("body", {})
                    return body
            self.events.append(self.read())

    def launch(self, **arguments: Any) -> None:
        """Up to where breakpoints may be set: `launch` is answered when it is done."""
        assert self.request("initialize", adapterID="kobox")["supportsStepBack"]
        self.request("launch", **arguments)
        self.event("initialized")

    def top(self, thread: int) -> dict[str, Any]:
        frame: dict[str, Any] = self.request("stackTrace", threadId=thread, levels=20)["stackFrames"][0]
        return frame

    def variables(self, frame: int) -> dict[str, dict[str, Any]]:
        scope = self.request("scopes", frameId=frame)["scopes"][0]
        rows = self.request("variables", variablesReference=scope["variablesReference"])["variables"]
        return {row["name"]: row for row in rows}


@pytest.fixture
def client() -> Iterator[DapClient]:
    client = DapClient()
    yield client
    client.program.kill()
    client.program.wait()
    for stream in (client.program.stdin, client.program.stdout):
        assert stream is not None
        stream.close()


def test_break_look_step_and_go_backwards(client: DapClient, journal: Path) -> None:
    source = Path(__file__).parent.parent / "modules" / "debug" / "journal.c"
    lines = source.read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if "entry->number = ++written" in text)
    client.launch(program=[str(journal)], commands=["echo -n one > /dev/journal", "echo -n two > /dev/journal"])
    placed = client.request("setBreakpoints", source={"path": str(source)}, breakpoints=[{"line": line}])
    assert placed["breakpoints"][0]["verified"]
    named = client.request("setFunctionBreakpoints", breakpoints=[{"name": "journal_write"}, {"name": "nowhere"}])
    assert [row["verified"] for row in named["breakpoints"]] == [True, False]
    client.request("configurationDone")
    entry = client.event("stopped")
    assert entry["reason"] == "entry"
    assert client.top(entry["threadId"])["name"] == "journal_init"

    client.request("continue", threadId=entry["threadId"])
    stop = client.event("stopped")
    assert stop["reason"] == "breakpoint"
    frames = client.request("stackTrace", threadId=stop["threadId"])["stackFrames"]
    assert [frame["name"] for frame in frames[:3]] == ["journal_write", "vfs_write", "ksys_write"]
    assert frames[0]["source"]["path"] == str(source)
    assert client.variables(frames[0]["id"])["count"]["value"] == "3"

    client.request("setFunctionBreakpoints", breakpoints=[])
    client.request("continue", threadId=stop["threadId"])
    stop = client.event("stopped")
    top = client.top(stop["threadId"])
    assert (top["name"], top["line"]) == ("add_entry", line)
    assert client.request("evaluate", expression="written", frameId=top["id"])["result"] == "0"
    entry_of = client.variables(top["id"])["word"]
    assert '"one' in entry_of["value"]
    client.request("next", threadId=stop["threadId"])
    assert client.event("stopped")["reason"] == "step"
    client.request("continue", threadId=stop["threadId"])
    stop = client.event("stopped")
    assert client.top(stop["threadId"])["name"] == "add_entry"
    assert client.request("evaluate", expression="written")["result"] == "1"
    said = client.request("evaluate", expression="print written + 1", context="repl")
    assert "= 2" in said["result"]
    client.request("stepBack", threadId=stop["threadId"])
    assert client.event("stopped")["reason"] == "step"
    client.request("reverseContinue", threadId=stop["threadId"])
    assert client.event("stopped")["reason"] == "breakpoint"
    assert client.request("evaluate", expression="written")["result"] == "0"
    structure = client.request("evaluate", expression="journal_device")
    members = client.request("variables", variablesReference=structure["variablesReference"])["variables"]
    assert {"minor", "name", "fops"} <= {member["name"] for member in members}
    threads = client.request("threads")["threads"]
    assert any("sh" in thread["name"] for thread in threads)
    client.request("disconnect")
    assert client.program.wait(30) == 0


# Numbers that the adapter gives, and later requests name: they are other ones in another session.
NUMBERS = ("threadId", "frameId", "variablesReference", "dataId", "id")


def matched(recorded: Any, told: Any, numbers: dict[Any, Any]) -> None:
    """What was recorded stands in what is told now; rows with names are found by them."""
    if isinstance(recorded, dict):
        for key, value in recorded.items():
            if key in NUMBERS and value:
                numbers[key if key != "id" else "frameId", value] = told[key]
            else:
                matched(value, told[key], numbers)
    elif isinstance(recorded, list):
        for at, row in enumerate(recorded):
            named = isinstance(row, dict) and "variablesReference" in row
            here = next(one for one in told if one["name"] == row["name"]) if named else told[at]
            matched(row, here, numbers)
    else:
        assert recorded == told


def test_a_recorded_session_of_vs_codes_test_client(client: DapClient, journal: Path) -> None:
    """tests/dap/client.cjs, recorded between @vscode/debugadapter-testsupport and the adapter (`make test-dap`)."""
    source = Path(__file__).parent.parent / "modules" / "debug" / "journal.c"
    line = next(n for n, text in enumerate(source.read_text().splitlines(), 1) if "entry->number = ++written" in text)
    text = (source.parent.parent.parent / "dap" / "vscode-test-client.jsonl").read_text()
    for name, value in (("{program}", str(journal)), ("{source}", str(source)), ('"{line}"', str(line))):
        text = text.replace(name, value)
    numbers: dict[Any, Any] = {}
    for step in map(json.loads, text.splitlines()):
        arguments = {
            key: numbers.get((key, value), value) if key in NUMBERS else value
            for key, value in step["arguments"].items()
        }
        for row in arguments.get("breakpoints", []):
            if "dataId" in row:
                row["dataId"] = numbers["dataId", row["dataId"]]
        if step["command"] == "launch":  # VS Code does not wait for the answer
            client.send("launch", **arguments)
        else:
            matched(step["body"], client.request(step["command"], **arguments), numbers)
        for event in step["events"]:
            matched(event["body"], client.event(event["event"]), numbers)
    assert client.program.wait(30) == 0


def test_an_oops_is_an_exception_and_the_end_is_told(client: DapClient, journal: Path) -> None:
    client.launch(program=str(journal), commands=["echo -n extraordinary > /dev/journal"], stopOnEntry=False)
    client.request("configurationDone")
    stop = client.event("stopped")
    assert stop["reason"] == "exception"
    assert "SIGSEGV" in stop["text"]
    top = client.top(stop["threadId"])
    assert top["name"] == "journal_write"
    assert client.variables(top["id"])["target"]["value"] == "0x0"
    client.request("disconnect")
    assert client.program.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "no `program`"),
        ({"program": "nowhere.ko"}, "no such file"),
        ({"program": "x.ko", "gdb": "no-gdb"}, "no-gdb"),
    ],
)
def test_a_launch_that_fails_is_told(client: DapClient, arguments: dict[str, Any], says: str) -> None:
    client.request("initialize")
    assert "nothing was launched" in client.request("threads", fails=True)["message"]
    assert says in client.request("launch", fails=True, **arguments)["message"]


def test_what_is_no_message_ends_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kobox", "debug", "--dap"],
        input=b"Content-Length: x\r\n\r\n{}",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"Traceback" not in done.stderr


def test_the_launch_json_of_kobox_new(client: DapClient, tmp_path: Path, debian_kernel: KernelImage) -> None:
    """As VS Code reads it: built, loaded, and used by the template's tests."""
    words = [sys.executable, "-m", "kobox", "new", "misc", "memo", "-o", str(tmp_path / "memo")]
    subprocess.run(words, check=True, capture_output=True)
    text = (tmp_path / "memo" / ".vscode" / "launch.json").read_text()
    (launch,) = json.loads(text.replace("${workspaceFolder}", str(tmp_path / "memo")))["configurations"]
    jsonschema.validate(launch, {"type": "object", "properties": LAUNCH, "required": ["program"]})
    assert set(launch) <= {*LAUNCH, "type", "request", "name"}
    client.launch(**{**launch, "kernel": debian_kernel.name})
    client.request("setFunctionBreakpoints", breakpoints=[{"name": "memo_open"}])
    client.request("configurationDone")
    client.request("continue", threadId=client.event("stopped")["threadId"])
    stop = client.event("stopped")
    top = client.top(stop["threadId"])
    assert (stop["reason"], top["name"]) == ("breakpoint", "memo_open")
    assert top["source"]["path"] == str(tmp_path / "memo" / "memo.c")
    client.request("disconnect")
    assert client.program.wait(60) == 0


def test_the_extension_for_vs_code(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "kobox", "debug", "--vscode", str(tmp_path / "extensions")]
    for _ in range(2):  # a second time replaces it
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    (place,) = (tmp_path / "extensions").iterdir()
    written = json.loads((place / "package.json").read_text())
    assert place.name == f"{written['publisher']}.{written['name']}-{written['version']}"
    (debugger,) = written["contributes"]["debuggers"]
    assert debugger["args"] == ["debug", "--dap"]
    assert written == manifest(debugger["runtime"])
    attributes = debugger["configurationAttributes"]["launch"]
    jsonschema.Draft7Validator.check_schema({"type": "object", **attributes})
    page = (Path(__file__).parent.parent.parent / "docs" / "debugging.md").read_text()
    assert [name for name in attributes["properties"] if not re.search(rf"`{name}`", page)] == []
