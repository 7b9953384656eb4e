"""RemotePackets of gdb's remote serial protocol on a socket: `$payload#checksum`, acknowledged with `+`.

Source: the GDB manual, appendix "GDB Remote Serial Protocol", section "Overview".
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

_ESCAPE, _INTERRUPT = 0x7D, 0x03
_ESCAPED = frozenset(b"#$}*")
MOST = 1 << 16
"""The longest packet, in bytes: PacketSize."""


class DebuggerGoneError(Exception):
    """The debugger has gone."""


class RemotePackets:
    """RemotePackets to and from one debugger."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._input = bytearray()
        self.acknowledges = True
        self.interrupted = False  # the debugger wants the target to stop

    def fileno(self) -> int:
        """For select()."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def poll(self) -> bool:
        """While the target runs: whether the debugger wants it to stop. Raises `DebuggerGoneError`."""
        self._take_what_came()
        if self._input[:1] == bytes([_INTERRUPT]):
            del self._input[0]
            self.interrupted = True
        return self.interrupted

    def pending(self, seconds: float = 0) -> bool:
        """Whether a packet, or the wish that the target stops, has come, or comes within that time. Raises
        `DebuggerGoneError`."""
        if b"#" not in self._input:
            select.select([self._socket], [], [], seconds)
            self._take_what_came()
        return b"#" in self._input or _INTERRUPT in self._input

    def _take_what_came(self) -> None:
        waits = self._socket.gettimeout()
        self._socket.setblocking(False)
        try:
            while data := self._socket.recv(MOST):
                self._take(data)
            raise DebuggerGoneError
        except BlockingIOError:
            pass
        except OSError:
            raise DebuggerGoneError from None
        finally:
            self._socket.settimeout(waits)

    def receive(self) -> bytes:
        """The next packet's payload. Raises `DebuggerGoneError`."""
        while True:
            start = self._input.find(b"$")
            if start < 0:
                if _INTERRUPT in self._input:
                    self.interrupted = True
                self._input.clear()
            else:
                del self._input[:start]
                end = self._input.find(b"#")
                if end > 0 and len(self._input) >= end + 3:
                    payload, checksum = bytes(self._input[1:end]), bytes(self._input[end + 1 : end + 3])
                    del self._input[: end + 3]
                    if self._is_right(payload, checksum):
                        return _unescaped(payload)
                    continue
            self._more()

    def _is_right(self, payload: bytes, checksum: bytes) -> bool:
        if not self.acknowledges:
            return True
        right = checksum.lower() == b"%02x" % (sum(payload) & 255)
        self._send(b"+" if right else b"-")
        return right

    def _more(self) -> None:
        try:
            data = self._socket.recv(MOST)
        except OSError:
            raise DebuggerGoneError from None
        if not data:
            raise DebuggerGoneError
        self._take(data)

    def _take(self, data: bytes) -> None:
        """What is longer than any packet is none."""
        self._input += data
        if len(self._input) > 4 * MOST:
            self._input.clear()

    def send(self, payload: bytes) -> None:
        """Send a packet. Raises `DebuggerGoneError`."""
        escaped = bytes(_escape(payload))
        self._send(b"$%s#%02x" % (escaped, sum(escaped) & 255))

    def notify(self, payload: bytes) -> None:
        """Send a notification: nobody acknowledges it. Raises `DebuggerGoneError`."""
        escaped = bytes(_escape(payload))
        self._send(b"%%%s#%02x" % (escaped, sum(escaped) & 255))

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            raise DebuggerGoneError from None


def _escape(payload: bytes) -> Iterator[int]:
    for byte in payload:
        if byte in _ESCAPED:
            yield _ESCAPE
            byte ^= 0x20
        yield byte


def _unescaped(payload: bytes) -> bytes:
    if _ESCAPE not in payload:
        return payload
    out, escaped = bytearray(), False
    for byte in payload:
        if escaped or byte != _ESCAPE:
            out.append(byte ^ 0x20 if escaped else byte)
            escaped = False
        else:
            escaped = True
    return bytes(out)
