"""gdb's non-stop mode on a machine with one CPU: each task is stopped and let go by itself.

    the box stops                ->  %Stop:T05thread:36;...     the task that has the CPU is stopped, no other
    vStopped                     ->  the next stop, or OK
    vCont;t:2                    ->  OK, %Stop:T00thread:2;     a task that sleeps is held
    vCont;c:36                   ->  OK                         it goes on, and so does the box

Time stands still while the task that has the CPU is held, as in all-stop mode. A held task that gets the CPU keeps it
without going on, until it is let go.
Source: the GDB manual, appendix "GDB Remote Serial Protocol", sections "Notification Packets" and "Remote Non-Stop".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable


class TaskStops:
    """Which threads gdb takes for stopped, and the stops that it has not fetched yet.

    `notify(payload)` sends a notification. Threads are gdb's numbers of them; a stop is a stop reply packet.
    """

    def __init__(self, notify: Callable[[bytes], None]) -> None:
        self._notify = notify
        self.on = False
        """Whether gdb has asked for the mode."""
        self.held: set[int] = set()
        """The threads that are stopped, for gdb."""
        self.waking: set[int] = set()
        """The threads that are to stop when they get the CPU: gdb steps them while they sleep."""
        self._last: dict[int, bytes] = {}
        self._queue: deque[bytes] = deque()
        self._announced = False  # the head of the queue was sent as a notification, and is not fetched yet

    def start(self, thread: int, reply: bytes) -> None:
        """Begin: of a box that stands, gdb knows the task that has the CPU."""
        self.on = True
        self.held, self._last = {thread}, {thread: reply}

    def end(self) -> None:
        """Back to all-stop mode."""
        self.on = self._announced = False
        self.held.clear()
        self.waking.clear()
        self._queue.clear()

    def stop(self, thread: int, reply: bytes) -> None:
        """A thread has stopped."""
        self.waking.discard(thread)
        self.held.add(thread)
        self._last[thread] = reply
        self._queue.append(reply)

    def let_go(self, thread: int) -> None:
        """A thread goes on."""
        self.held.discard(thread)

    def tell(self) -> None:
        """Announce what has stopped, unless gdb is fetching the stops already."""
        if self.on and self._queue and not self._announced:
            self._announced = True
            self._notify(b"Stop:" + self._queue[0])

    def fetched(self) -> bytes:
        """Answer `vStopped`: the next stop, or OK."""
        if self._queue and self._announced:
            self._queue.popleft()
        self._announced = bool(self._queue)
        return self._queue[0] if self._queue else b"OK"

    def all(self) -> bytes:
        """Answer `?`: the first of the threads that are stopped; `vStopped` fetches the others."""
        self._queue = deque(self._last[thread] for thread in sorted(self.held))
        self._announced = bool(self._queue)
        return self._queue[0] if self._queue else b"OK"


def thread_actions(text: str, threads: Iterable[int]) -> dict[int, str]:
    """What `vCont;ACTION[:THREAD];...` wants of each thread: the first action that names it, or names none.

    Raises `ValueError` for a thread that is no number.
    """
    wanted = list[tuple[str, int]]()
    for part in text.removeprefix("vCont;").split(";"):
        action, _, whose = part.partition(":")
        wanted.append((action, int(whose.rpartition(".")[2] or "-1", 16)))
    chosen = dict[int, str]()
    for thread in threads:
        first = next((action for action, number in wanted if number in (-1, 0, thread)), None)
        if first is not None:
            chosen[thread] = first
    return chosen
