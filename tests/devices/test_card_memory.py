"""Memory on a card: who fills a BAR of a phantom word by word gets memory there, which Python is not asked for."""

from __future__ import annotations

import pytest

from kobox.box.box import Box
from kobox.devices.phantom import PhantomDevice, identities_for, phantom
from kobox.devices.phantom_policy import Policy, RegisterAt, Rest, Step
from kobox.machine.card_memory import CardMemory
from kobox.machine.pci_function import Space

ALIAS = "pci:v00001234d000011E8sv*sd*bc*sc*i*"
AT = 0xE0000000


def filled(box: Box, policy: Policy, words: int) -> PhantomDevice:
    """A phantom whose BAR 0 was written word after word."""
    card = box.plug(phantom(identities_for([ALIAS])[0], policy))
    box.write_bytes(f"/sys/bus/pci/devices/{card.address}/enable", b"1")
    base = card.function.base(card.function.bars[0])
    for number in range(words):
        box.machine.pci.access(Space.MEMORY, base + 0x100 + 4 * number, 4, number, 1)
    return card


@pytest.mark.parametrize(("words", "is_memory"), [(512, False), (513, True), (4000, True)])
def test_a_long_run_of_writes_makes_memory(box: Box, words: int, is_memory: bool) -> None:
    card = filled(box, Policy(), words)
    assert bool(box.machine.pci.card_memory.regions) is is_memory
    card.unplug()
    assert not box.machine.pci.card_memory.regions


def test_what_was_written_before_is_there(box: Box) -> None:
    filled(box, Policy(rest=Rest.WRITTEN), 600)
    ((_, content),) = box.machine.pci.card_memory.regions
    assert content[0x100:0x108] == bytes([0, 0, 0, 0, 1, 0, 0, 0])
    assert content[0x100 + 4 * 512 : 0x100 + 4 * 513] == (512).to_bytes(4, "little")


def test_a_register_whose_answer_is_known_stays_one(box: Box) -> None:
    filled(box, Policy(known={RegisterAt(0, 0x2000): (Step(0, 0xFF, 1),)}), 600)
    assert not box.machine.pci.card_memory.regions


def test_a_checkpoint_takes_it_away(box: Box) -> None:
    before = box.checkpoint()
    filled(box, Policy(), 600)
    assert box.machine.pci.card_memory.regions
    before.restore()
    assert not box.machine.pci.card_memory.regions
    assert not box.findings


def test_another_card_that_is_taken_out_leaves_it(box: Box) -> None:
    kept, other = filled(box, Policy(), 600), filled(box, Policy(), 600)
    assert len(box.machine.pci.card_memory.regions) == 2
    other.unplug()
    ((at, content),) = box.machine.pci.card_memory.regions
    assert at == kept.function.base(kept.function.bars[0])
    assert content[0x104] == 1
    box.machine.pci.access(Space.MEMORY, at, 4, 7, 1)
    kept.unplug()
    assert not box.machine.pci.card_memory.regions


def test_without_room_it_stays_registers() -> None:
    told: list[int] = []
    memory = CardMemory(lambda at, size, where: bool(told), lambda: told.append(0))
    assert not memory.put(AT, {}, 4096)
    memory.forget()
    assert told == []


def test_there_are_four_places(box: Box) -> None:
    memory = box.machine.pci.card_memory
    assert [memory.put(AT + (n << 20), {7: n}, 4096) for n in range(5)] == [True, True, True, True, False]
    memory.forget()
    assert memory.put(AT, {}, 4096)
    memory.forget()
