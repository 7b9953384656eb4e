"""What a model raises, told with its line."""

from __future__ import annotations

import traceback
from pathlib import Path

from kobox.errors import KoboxError
from kobox.machine.virtio import BrokenQueueError

_HERE = str(Path(__file__).parent)


class DeviceModelError(KoboxError):
    """A hardware model raised an exception.

    `device` is its class, `where` the file and line, `reason` the exception.
    """

    def __init__(self, device: str, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        plumbing = tuple(f"{_HERE}/{name}.py" for name in ("pci", "virtio", "errors", "i2c", "usb", "usb_hub", "xhci"))
        own = [frame for frame in frames if frame.filename not in plumbing and "contextlib" not in frame.filename]
        last = next(reversed(own or frames), None)
        self.device = device
        self.where = f"{last.filename}:{last.lineno}" if last else ""
        self.reason = f"{type(error).__name__}: {error}"
        super().__init__(f"{self.where}: the model {device} failed: {self.reason}")


class model_errors:  # noqa: N801  a context manager, used as a function
    """Turn what a model raises into `DeviceModelError`; errors of kobox's own stay what they are."""

    def __init__(self, model: object) -> None:
        self._model = model

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, (KoboxError, BrokenQueueError)):
            raise DeviceModelError(type(self._model).__name__, error) from error
