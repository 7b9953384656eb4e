"""A box behind the wall: `kobox.isolated` calls a function with a box in a worker process, and returns its result.

    def work(box):
        box.insmod("stranger.ko")
        return {"log": box.log.text(), "findings": [str(finding) for finding in box.findings]}

    told = kobox.isolated(work, read=[Path.cwd()])

The worker boots, raises the wall (`kobox.isolation.wall`) and calls the function, which may read below the directories
given and do nothing else to this machine. Its result is plain data (None, bool, int, float, str, lists and dicts of
them), since it comes from a process that is not trusted: it travels as JSON, and never as a pickle.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.errors import BoxError, KoboxError
from kobox.images.store import KernelImage, default_root
from kobox.isolation.wall import Wall, die_with
from kobox.json_text import parse_json

PlainData: TypeAlias = "bool | int | float | str | Sequence[PlainData] | dict[str, PlainData] | None"

_MOST_RESULT = 64 << 20  # bytes of JSON that are taken from a worker


def isolated(
    work: Callable[[Box], PlainData],
    *,
    kernel: str | KernelImage | None = None,
    read: Sequence[str | os.PathLike[str]] = (),
    seconds: float = 600.0,
    memory: int = 8 << 30,
    make: Callable[[], Box] | None = None,
) -> PlainData:
    """Call `work` with a box in a worker process behind the wall, and return what it returns.

    `kernel` is as for `kobox.boot`, or `make` gives the box. `read` are directories that the worker may read besides
    the cache, its kernel's modules and Python's own. It is killed after `seconds` of wall time, and on Ctrl-C; `memory`
    is its limit in bytes. The process is forked: call this from the main thread of a program without others.

    Raises `BoxError` with what went wrong in the worker, or when it was killed; `TypeError` for a result that is not
    plain data.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    ours, theirs = os.pipe()
    parent = os.getpid()
    worker = os.fork()
    if not worker:
        os.close(ours)
        die_with(parent)
        _live(
            work,
            make or (lambda: boot(kernel)),
            Wall(tuple(map(Path, read)), memory=memory, cpu=int(seconds) + 1),
            theirs,
        )
    os.close(theirs)
    in_time = False
    try:
        answer, in_time = _answer(ours, seconds)
    finally:
        os.close(ours)
        if not in_time:  # no time left, or Ctrl-C: else it has closed its end of the pipe, and goes by itself
            os.kill(worker, signal.SIGKILL)
        _, status = os.waitpid(worker, 0)
    return _result(answer, os.waitstatus_to_exitcode(status), in_time, seconds)


def _live(work: Callable[[Box], PlainData], make: Callable[[], Box], wall: Wall, pipe: int) -> NoReturn:
    """The worker: everything that it has to say goes through the pipe."""
    try:
        with make() as box:
            places = [default_root(), *filter(None, (box.image.modules, box.image.directory))]
            Wall((*wall.read, *places), memory=wall.memory, cpu=wall.cpu).raise_here()
            answer = json.dumps({"value": work(box)})
    except TypeError as error:
        answer = json.dumps({"type_error": str(error)})
    except BaseException as error:
        hint = error.hint if isinstance(error, KoboxError) else ""
        message = error.message if isinstance(error, KoboxError) else f"{type(error).__name__}: {error}"
        answer = json.dumps({"message": message, "hint": hint})
    data = answer.encode()
    while data:
        data = data[os.write(pipe, data) :]
    sys.stdout.flush()
    os._exit(0)


def _answer(pipe: int, seconds: float) -> tuple[bytes, bool]:
    """(what the worker says, whether it was in time)."""
    end, out = time.monotonic() + seconds, bytearray()
    while (left := end - time.monotonic()) > 0 and len(out) <= _MOST_RESULT:
        if not select.select([pipe], [], [], left)[0]:
            break
        data = os.read(pipe, 1 << 16)
        if not data:
            return bytes(out), True
        out += data
    return b"", False


def _result(answer: bytes, status: int, in_time: bool, seconds: float) -> PlainData:
    if not in_time:
        raise BoxError(f"the worker did not end within {seconds:g} s, or said too much; it was killed")
    if not answer:
        what = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        raise BoxError(f"the worker {what} before it had a result")
    try:
        told = parse_json(answer)
        if "value" in told:
            value: PlainData = told["value"]
            return value
        if "type_error" in told:
            raise TypeError(str(told["type_error"]))
        message, hint = str(told["message"]), str(told["hint"])
    except (ValueError, KeyError, RecursionError) as error:
        raise BoxError(f"the worker's answer makes no sense: {error}") from error
    raise BoxError(message, hint=hint)
