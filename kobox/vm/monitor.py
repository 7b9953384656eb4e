"""QEMU's monitor: commands as JSON over a socket (QEMU, docs/interop/qmp-spec), and descriptors beside them."""

from __future__ import annotations

import json
import os
import socket
import time

from kobox.errors import KoboxError
from kobox.json_text import parse_json

_LINE = 1 << 20
_SECONDS = 60.0


class QemuMonitor:
    """The monitor of one QEMU process, over our end of a socket pair.

    Every method raises `KoboxError`, with QEMU's words, when it refuses or does not answer.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        end.settimeout(_SECONDS)
        self._lines = end.makefile("rb")
        self._greeted = False

    def save_devices(self, path: str) -> None:
        """Stop the machine and write the state of all that is not its RAM into a file."""
        self._ignore_ram()
        self._ask("stop")
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            self._ask("getfd", file, fdname="state")
        finally:
            os.close(file)
        self._ask("migrate", uri="fd:state")
        self._wait_while("query-migrate", "setup", "active", "device", "cancelling")
        if (status := self._ask("query-migrate").get("status")) != "completed":
            raise KoboxError(f"QEMU could not save the machine: {status}")

    def load_devices(self, file: int) -> None:
        """The state that `save_devices` wrote, for a machine that was started with `-incoming defer`; it is stopped."""
        self._ignore_ram()
        self._ask("getfd", file, fdname="state")
        self._ask("migrate-incoming", uri="fd:state")
        self._wait_while("query-status", "inmigrate")

    def go_on(self) -> None:
        """Let a machine that is stopped run."""
        self._ask("cont")

    def _ignore_ram(self) -> None:
        self._ask("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])

    def _wait_while(self, command: str, *states: str) -> None:
        end = time.monotonic() + _SECONDS
        while self._ask(command).get("status") in states:
            if time.monotonic() > end:
                raise KoboxError(f"QEMU was not done within {_SECONDS:g} s ({command})")
            time.sleep(0.005)

    def _ask(self, command: str, file: int = -1, **arguments: object) -> dict[str, object]:
        if not self._greeted:
            self._greeted = True
            self._ask("qmp_capabilities")
        line = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        try:
            if file < 0:
                self._socket.sendall(line)
            else:
                socket.send_fds(self._socket, [line], [file])
            while True:
                answer = parse_json(self._lines.readline(_LINE))
                if "return" in answer:
                    found = answer["return"]
                    return found if isinstance(found, dict) else {}
                if "error" in answer:
                    raise KoboxError(f"QEMU refuses {command}: {answer['error'].get('desc', '')}")
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise KoboxError(f"QEMU did not answer {command}: {error}") from error

    def close(self) -> None:
        """Close our end."""
        self._lines.close()
        self._socket.close()
