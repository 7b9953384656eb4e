"""What happens in a box is heard by all who subscribe, in a known order, until they undo it."""

from __future__ import annotations

import socket
import threading

import pytest

from kobox.apps.run_story import Story
from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.box.events import MachineStep, Providers, StepLayers
from kobox.errors import KoboxError
from kobox.images.kernel_image import KernelImage
from kobox.machine.native_core import Event
from tests.building import BuiltTestModules


def test_the_newest_provider_is_asked_first_and_the_next_one_when_it_has_no_answer() -> None:
    providers: Providers[[int], str] = Providers()
    assert providers.ask(1) is None
    providers.subscribe(lambda number: f"old {number}")
    undo = providers.subscribe(lambda number: "new" if number == 2 else None)
    assert (providers.ask(1), providers.ask(2)) == ("old 1", "new")
    undo()
    undo()
    assert (len(providers), providers.ask(2)) == (1, "old 2")


def layered(said: list[str], name: str) -> object:
    def layer(run: MachineStep, until: int, blocks: int, idle: bool) -> Event:
        said.append(name)
        return run(until, blocks, idle)

    return layer


@pytest.mark.parametrize("gone", [(), ("a",), ("b",), ("c",), ("a", "c"), ("c", "a", "b"), ("b", "b")])
def test_a_layer_is_taken_away_whichever_came_after_it(gone: tuple[str, ...]) -> None:
    said: list[str] = []

    def run(until: int, blocks: int, idle: bool) -> Event:
        said.append("machine")
        return Event.IDLE

    layers = StepLayers(run)
    undo = {name: layers.subscribe(layered(said, name)) for name in "abc"}  # type: ignore[arg-type]
    for name in gone:
        undo[name]()
    assert layers(0, 0, False) is Event.IDLE
    left = [name for name in "cba" if name not in gone]
    assert said == [*left, "machine"]
    assert len(layers) == len(left)


BUSY = ["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]


def test_every_listener_hears_of_a_slice_until_it_has_left(box: Box) -> None:
    heard: list[str] = []
    before = len(box.events.slice)
    first = box.events.slice.subscribe(lambda: heard.append("first"))
    second = box.events.slice.subscribe(lambda: heard.append("second"))
    box.run(BUSY)
    assert heard[:4] == ["first", "second"] * 2
    first()
    heard.clear()
    box.run(BUSY)
    assert set(heard) == {"second"}
    second()
    assert len(box.events.slice) == before


def test_a_story_leaves_nothing_subscribed(box: Box, modules: BuiltTestModules) -> None:
    before = len(box.events.slice)
    list(Story(box, live=lambda event: None).tell([modules("good").read_bytes()]))
    assert len(box.events.slice) == before


def test_a_layer_of_somebody_else_does_not_switch_off_the_user_network(debian_kernel: KernelImage) -> None:
    """As a race check puts its own layer round the machine, and takes it away."""
    with boot(debian_kernel) as box:
        leave_the_network_alone(box)


def leave_the_network_alone(box: Box) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: server.accept()[0].sendall(b"hello"), daemon=True).start()
    network = box.network.user()
    seen = []

    def layer(run: MachineStep, until: int, blocks: int, idle: bool) -> Event:
        seen.append(until)
        return run(until, blocks, idle)

    undo = box.events.step.subscribe(layer)
    box.sleep(0.1)
    undo()
    count = len(seen)
    assert count
    with server, box.network.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.connect(("10.0.2.2", server.getsockname()[1]))
        assert client.recv(5) == b"hello"
    assert len(seen) == count
    network.close()
    assert not len(box.events.step)


def test_going_back_is_heard_with_the_time_before(box: Box) -> None:
    heard: list[int] = []
    undo = box.events.restored.subscribe(heard.append)
    box.sleep(5)
    before = box.machine.time
    box.reset()
    undo()
    box.reset()
    assert heard == [before]
    assert box.machine.time < before


def test_modules_are_loaded_by_whoever_knows_them(box: Box, modules: BuiltTestModules) -> None:
    with pytest.raises(KoboxError, match="no module tree"):
        box.modprobe("good")
    asked: list[tuple[str, str]] = []

    def load(name: str, parameters: str) -> str | None:
        asked.append((name, parameters))
        return box.insmod(modules(name), parameters).name if name == "good" else None

    undo = box.events.load.subscribe(load)  # type: ignore[arg-type]
    assert box.modprobe("good", number=3) == "good"
    assert asked == [("good", "number=3")]
    with pytest.raises(KoboxError):
        box.modprobe("other")
    undo()
    with pytest.raises(KoboxError):
        box.modprobe("good")
