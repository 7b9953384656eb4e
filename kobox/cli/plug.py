"""The option --plug, which `kobox run` and `kobox shell` have: devices that are plugged into the box."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kobox.devices.model import HardwareModel


def add_plug_option(parser: argparse.ArgumentParser, when: str) -> None:
    """Add --plug. `when` ends the first part of its help."""
    parser.add_argument(
        "--plug",
        action=_Plug,
        default=[],
        metavar="DEVICE",
        help=f"plug in a device {when}: FILE.py[:CLASS], a class of kobox.devices, or a ready model such as e1000 or"
        " nvme=64M; `--plug help` lists those; repeatable",
    )


class _Plug(argparse.Action):
    """Append the device; `help` lists the ready models and exits."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: object, option: str | None = None
    ) -> None:
        if value == "help":
            from kobox.devices.ready import READY

            width = max(map(len, READY))
            for name, model in READY.items():
                print(f"{name.ljust(width)}  {model.text}")
            parser.exit()
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), value])


def models(specs: list[str]) -> list[HardwareModel]:
    """The devices that --plug names: to be made before the wall is raised, since their files are read here.

    Raises `KoboxError` for what is no device.
    """
    if not specs:
        return []
    from kobox.apps.hardware import load_model

    return [load_model(spec) for spec in specs]
