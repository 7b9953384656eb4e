"""The kernel's tasks as threads of a debugger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kobox.box.box import Box
from kobox.box.inspect.cpu_state import CpuReader
from kobox.errors import KoboxError


@dataclass(frozen=True, slots=True)
class Task:
    """A task: its process ID, its name, and the address of its `struct task_struct`, 0 when that is not known."""

    pid: int
    name: str
    address: int


def all_tasks(box: Box) -> list[Task]:
    """The idle task and the leaders of all thread groups (`init_task.tasks`); fewer when the list is being changed, or
    leads back into itself."""
    objects, found, seen = box.inspect.objects, list[Task](), set[int]()
    try:
        for address in _addresses(box):
            if address in seen:
                break
            seen.add(address)
            found.append(
                Task(objects.number(address, "task_struct.pid"), objects.text(address, "task_struct.comm"), address)
            )
    except (KoboxError, ValueError):
        pass
    return found


def _addresses(box: Box) -> Iterator[int]:
    objects = box.inspect.objects
    first = objects.address("init_task")
    yield first
    yield from objects.list(objects.member(first, "task_struct.tasks"), "task_struct.tasks")


def running_task(box: Box, tasks: list[Task]) -> Task:
    """The task that has the CPU; one without an address when that is not to be found out."""
    try:
        current = CpuReader(box).current
    except (KoboxError, ValueError):
        return Task(0, "unknown", 0)
    return next((task for task in tasks if task.address == current), Task(0, "unknown", 0))
