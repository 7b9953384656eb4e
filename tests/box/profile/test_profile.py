"""Costs that are known by arithmetic, counted in a box: calls, lines, chains; and what counting must not change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import kobox
from kobox.box.box import Box
from kobox.box.profile.costs import FunctionName, ProfileCosts, ProfileFormatError
from kobox.box.profile.flame import folded, speedscope, svg
from kobox.box.profile.growth import growth, steps
from kobox.box.profile.remedies import remedies
from kobox.box.profile.text import changed, costs_text, side_by_side
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from kobox.machine.pc import MachineError
from tests.building import BuiltTestModules
from tests.conftest import clean_box

WRITTEN = b"hello there\n"


@pytest.fixture(scope="session")
def tally(debian_kernel: KernelImage) -> Path:
    return BuiltTestModules(debian_kernel, "costs")("tally")


def life(box: Box, tally: Path, *, writes: int = 3, reads: int = 1, size: int = len(WRITTEN), **values: object) -> None:
    module = box.insmod(tally, **values)
    with box.open("/dev/tally", "r+b") as device:
        for _ in range(writes):
            device.write((WRITTEN * (size // len(WRITTEN) + 1))[:size])
        for _ in range(reads):
            device.read(1)
    module.unload()


def profiled(box: Box, tally: Path, **values: object) -> ProfileCosts:
    box.reset()
    with box.profile(tally) as profile:
        life(box, tally, **values)  # type: ignore[arg-type]
    return profile.costs


@pytest.fixture(scope="module")
def costs(machine_room: dict[str, Box], debian_kernel: KernelImage, tally: Path) -> ProfileCosts:
    return profiled(clean_box(machine_room, debian_kernel), tally)


@pytest.mark.parametrize(
    ("function", "calls"),
    [("tally_init", 1), ("tally_exit", 1), ("tally_write", 3), ("count_equal", 3), ("tally_read", 1), ("descend", 10)],
)
def test_calls_are_exact(costs: ProfileCosts, function: str, calls: int) -> None:
    (found,) = [one for one in costs.functions if one.function == FunctionName(function, "tally")]
    assert found.calls == calls


@pytest.mark.parametrize(
    ("text", "times"), [("found +=", 3 * 144), ("for (a = 0", 3 * 12), ("return depth ?", 10), ("if (!piece)", 3)]
)
def test_lines_are_exact(costs: ProfileCosts, text: str, times: int) -> None:
    lines = (Path(__file__).parents[2] / "modules/costs/tally.c").read_text().splitlines()
    (number,) = [at for at, line in enumerate(lines, 1) if text in line]
    (found,) = [one for one in costs.lines if one.line == number]
    assert found.count == times
    assert found.instructions >= times


def test_chains_lead_from_the_module_into_the_kernel(costs: ProfileCosts) -> None:
    assert costs.is_whole
    assert costs.instructions == sum(one.total for one in costs.entries)
    entries = {one.function.name for one in costs.entries}
    assert entries == {"tally_init", "tally_exit", "tally_write", "tally_read"}
    chains = {tuple(map(str, chain.functions)): chain for chain in costs.chains}
    # misc_register() is called by a jump, and counts for who jumps.
    assert chains["tally_init [tally]", "misc_register"].calls == 1
    recursion = ("tally_read [tally]", *["descend [tally]"] * 10)
    assert chains[recursion].calls == 1
    assert chains[recursion].stack > 10 << 10
    assert costs.calls_of("kfree") == {FunctionName("tally_write", "tally"): 3}


def test_a_recursive_function_counts_once_in_a_chain(costs: ProfileCosts) -> None:
    (descend,) = [one for one in costs.functions if one.function.name == "descend"]
    assert descend.own == descend.total < costs.instructions


def test_interrupts_begin_chains_of_their_own(box: Box, tally: Path) -> None:
    with box.profile(tally) as profile:
        box.insmod(tally)
        box.sleep(1)
    (tick,) = [one for one in profile.costs.entries if one.function.name == "tick"]
    assert tick.calls == 5
    assert not any("tick" in map(str, chain.functions[1:]) for chain in profile.costs.chains)
    # The timer's interrupts come while init runs, too: nothing of them is the module's.
    assert not [chain for chain in profile.costs.chains if any("apic_timer" in one.name for one in chain.functions)]


def test_every_run_costs_the_same_and_counting_changes_nothing(box: Box, tally: Path) -> None:
    def blocks(work: Callable[[], None]) -> tuple[int, list[str]]:
        box.reset()
        before = box.machine.blocks
        work()
        return box.machine.blocks - before, [str(record) for record in box.log.records()]

    def counted() -> None:
        with box.profile(tally) as profile:
            life(box, tally)
        found.append(profile.costs)

    found: list[ProfileCosts] = []
    plain = blocks(lambda: life(box, tally))
    assert blocks(counted) == plain
    assert blocks(counted) == plain
    assert found[0] == found[1]


def test_a_module_that_comes_again_is_the_same_one(box: Box, tally: Path) -> None:
    with box.profile(tally) as profile:
        life(box, tally, writes=1, reads=0)
        life(box, tally, writes=2, reads=0)
    (write,) = [one for one in profile.costs.entries if one.function.name == "tally_write"]
    assert write.calls == 3


def test_going_back_does_not_confuse_stacks(box: Box, tally: Path) -> None:
    box.insmod(tally)
    checkpoint = box.checkpoint()
    with box.profile(tally) as profile:
        for _ in range(3):
            with box.open("/dev/tally", "wb") as device:
                device.write(WRITTEN)
            checkpoint.restore()
    (write,) = [one for one in profile.costs.entries if one.function.name == "tally_write"]
    assert write.calls == 3


def test_one_at_a_time_and_costs_at_the_end(box: Box, tally: Path) -> None:
    with box.profile() as profile:
        with pytest.raises(KoboxError, match="when its block is left"):
            _ = profile.costs
        with pytest.raises(MachineError, match="profiled already"), box.profile():
            pass
    assert profile.costs.chains == ()
    assert "no function of the module was executed" in costs_text(profile.costs)
    with box.profile("tally") as again:  # by name: no file, no lines
        life(box, tally)
    assert again.costs.functions
    assert again.costs.lines == ()


def test_plain_data_comes_back_whole(costs: ProfileCosts) -> None:
    assert ProfileCosts.of_plain(json.loads(json.dumps(costs.plain()))) == costs


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"format": 2},
        {"format": 1},
        {"format": 1, "kernel": "k", "whole": True, "ended_by": None, "lines": [], "chains": [{"functions": []}]},
        {
            "format": 1,
            "kernel": "k",
            "whole": True,
            "ended_by": None,
            "lines": [],
            "chains": [{"functions": [["a", ""]], "calls": -1, "blocks": 0, "instructions": 0, "stack": 0}],
        },
        {"format": 1, "kernel": "k", "whole": True, "ended_by": None, "lines": [{"module": 1}], "chains": []},
    ],
    ids=["null", "list", "empty", "newer", "nothing", "no-functions", "negative", "line"],
)
def test_what_is_no_profile_is_refused(data: object) -> None:
    with pytest.raises(ProfileFormatError):
        ProfileCosts.of_plain(data)


def test_pictures_have_every_function_and_add_up(costs: ProfileCosts) -> None:
    lines = folded(costs).splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == costs.instructions
    assert any(line.startswith("tally_write_[tally];count_equal_[tally] ") for line in lines)
    scope = json.loads(speedscope(costs, "tally"))
    assert sum(scope["profiles"][0]["weights"]) == costs.instructions
    assert max(max(sample) for sample in scope["profiles"][0]["samples"]) < len(scope["shared"]["frames"])
    picture = svg(costs, "<tally>")
    assert "&lt;tally&gt;" in picture
    assert picture.count("<g>") == picture.count("</g>") > 50


def test_two_profiles_beside_each_other(box: Box, tally: Path, costs: ProfileCosts) -> None:
    dearer = profiled(box, tally, pieces=8)
    table = side_by_side([costs, dearer])
    (row,) = [line for line in table.splitlines() if line.endswith("  tally_write [tally]")]
    assert float(row.split()[2]) > 1.5
    assert changed(costs, costs, 0) == []
    assert [line.split(":")[0] for line in changed(costs, dearer, 50)] == ["tally_write [tally]", "allocations"]


def test_notes_tell_what_can_be_done(box: Box, tally: Path, costs: ProfileCosts) -> None:
    assert [note.partition(" of ")[2] for note in remedies(costs)] == [
        "the stack's 16,384 bytes are in use in descend [tally]."
    ]
    (loud,) = remedies(profiled(box, tally, writes=20, reads=0, loud=1))
    assert "tally_write [tally] writes 20 log lines (" in loud
    assert "dev_*_ratelimited() would write 10 of them" in loud
    (many,) = remedies(profiled(box, tally, writes=10, reads=0, pieces=20))
    assert "tally_write [tally] allocates 200 times in 10 calls" in many
    assert "1 object at a time" in many
    assert remedies(profiled(box, tally, reads=0)) == []


def test_costs_grow_as_the_source_says(box: Box, tally: Path) -> None:
    points = []
    for size in steps(10, 400, 4):
        found = profiled(box, tally, writes=1, reads=0, size=size)
        points.append((size, next(one.total for one in found.functions if one.function.name == "count_equal")))
    assert growth(points).exponent == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize(
    ("cost", "exponent"),
    [(lambda n: 7 * n, 1), (lambda n: 1000 + 3 * n, 1), (lambda n: n * n + 50, 2), (lambda n: 2 * n**3, 3)],
    ids=["line", "offset", "square", "cube"],
)
def test_growth_of_what_is_known(cost: Callable[[int], int], exponent: float) -> None:
    assert growth([(n, cost(n)) for n in steps(4, 1000)]).exponent == pytest.approx(exponent, abs=0.1)


def test_growth_of_what_does_not_grow() -> None:
    assert str(growth([(n, 500) for n in (1, 10, 100)])) == "does not grow"
    assert str(growth([(1, 0), (10, 0), (100, 7)])) == "grows in no simple way"
    with pytest.raises(ValueError, match="three different"):
        growth([(1, 1), (2, 2)])


@pytest.mark.parametrize("name", ["trixie_kernel", "sid_kernel", "arm64_kernel"])
def test_other_kernels_count_the_same(name: str, request: pytest.FixtureRequest) -> None:
    kernel: KernelImage = request.getfixturevalue(name)
    tally = BuiltTestModules(kernel, "costs")("tally")
    with kobox.boot(kernel) as box, box.profile(tally) as profile:
        life(box, tally)
    calls = {one.function.name: one.calls for one in profile.costs.functions if one.function.module}
    assert {name: calls[name] for name in ("tally_write", "count_equal", "descend", "tally_read")} == {
        "tally_write": 3,
        "count_equal": 3,
        "descend": 10,
        "tally_read": 1,
    }
    assert profile.costs.calls_of("kfree") == {FunctionName("tally_write", "tally"): 3}
    entries = {one.function.name for one in profile.costs.entries}
    assert entries == {"tally_init", "tally_exit", "tally_write", "tally_read"}
