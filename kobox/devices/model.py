"""What all hardware models have in common, whatever bus they are on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from kobox.devices.computer import UNPLUGGED, Computer
from kobox.devices.state import Saveable
from kobox.errors import KoboxError

# Attributes that are no state of the device; `properties` say what it is, and may refer to other devices.
NO_STATE = frozenset({"computer", "host", "line_controller", "properties"})


class HardwareModel:
    """A device that Python plays. `computer` has its time and its timers; `box.plug` puts it into a box."""

    bus: ClassVar[str] = ""
    """The name of the bus that it is on: "PCI", "USB", "I2C"."""
    computer: Computer = UNPLUGGED
    card_port: Saveable | None = None
    """The cable's other end, when the model has an Ethernet port (`kobox.box.devices.card`)."""

    @property
    def plugged(self) -> bool:
        """Whether it is in a box now."""
        raise NotImplementedError

    @property
    def sysfs(self) -> Sequence[str]:
        """Where the kernel shows it: directories in /sys, of the device itself and of its interfaces."""
        return ()

    @property
    def where(self) -> str:
        """The bus and the place on it: "PCI 0000:00:01.0", "USB 1-1"; only the bus while it is not plugged in."""
        return " ".join([self.bus, *(path.rpartition("/")[2] for path in self.sysfs[:1])])

    @property
    def attached(self) -> Sequence[HardwareModel]:
        """The devices on the bus that it makes, for a controller."""
        return ()

    @property
    def driver(self) -> str | None:
        """The name of the driver that has it; None while none has."""
        raise NotImplementedError

    def unplug(self) -> None:
        """Take it out by surprise. Raises `KoboxError` when it is not plugged in."""
        raise NotImplementedError


class ModelHost(Protocol):
    """The box's side of a device that is plugged in."""

    @property
    def plugged(self) -> bool: ...

    @property
    def sysfs(self) -> str: ...

    @property
    def driver(self) -> str | None: ...

    def unplug(self) -> None: ...


class HostedModel(HardwareModel):
    """A device whose place in the box is known to its `host`."""

    host: ModelHost | None = None

    @property
    def plugged(self) -> bool:
        return self.host is not None and self.host.plugged

    @property
    def sysfs(self) -> Sequence[str]:
        return (self.host.sysfs,) if self.host is not None and self.host.plugged else ()

    @property
    def driver(self) -> str | None:
        return self.host.driver if self.host is not None and self.host.plugged else None

    def unplug(self) -> None:
        if self.host is None or not self.host.plugged:
            raise KoboxError(f"{type(self).__name__} is not plugged in")
        self.host.unplug()
