"""Pictures of a module's life: what they show is what was lived, and each form of them is whole."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import kobox
from kobox.apps.life_pictures import LifeOfModules, life_calls, life_memory, life_timeline
from kobox.box.box import Box
from kobox.errors import KoboxError
from kobox.graph.call_graph import MOST_DRAWN, CalledFunction, CallGraph
from kobox.graph.memory_map import MemoryMap
from kobox.graph.picture_data import PictureData, as_json, must_be_format, picture_bytes, picture_text, read_back
from kobox.graph.timeline import LifeLine, LifeSpan, LifeTimeline
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules
from tests.conftest import clean_box

EVIL = '"><script>alert(1)</script>\x1b[31m\\'

_SPAN = {"lane": "a", "name": "b", "start": 0, "end": 1, "depth": 0}


def life_of(box: Box, kernel: KernelImage, name: str, words: tuple[str, ...] = (), text: str = "") -> LifeOfModules:
    def use(box: Box) -> None:
        with box.open(f"/dev/{name}", "wb") as device:
            for word in words:
                device.write(word.encode())
        box.sleep(1)

    return LifeOfModules(box, [ModuleFile(BuiltTestModules(kernel, "costs")(name))], [text], [use])


@pytest.fixture(scope="module")
def pictures(machine_room: dict[str, Box], debian_kernel: KernelImage) -> dict[str, PictureData]:
    found: dict[str, PictureData] = {}
    for kind, make in (("life", life_timeline), ("map", life_memory), ("calls", life_calls)):
        box = clean_box(machine_room, debian_kernel)
        life = life_of(box, debian_kernel, "ledger", ("a 100", "l 2", "m 30"), "probe_ms=20")
        found[kind] = make(life)  # type: ignore[operator]
        assert life.ended_by is None
    return found


def test_a_life_is_load_calls_log_and_unload(pictures: dict[str, PictureData]) -> None:
    life = pictures["life"]
    assert isinstance(life, LifeTimeline)
    assert life.whole
    outermost = [(span.name, span.kind) for span in life.spans if not span.depth]
    assert outermost == [("init_module", "load"), *[("write", "call")] * 3, ("delete_module", "unload")]
    spans = {span.name: span for span in life.spans}
    assert (spans["ledger_init"].kind, spans["ledger_init"].depth) == ("init", 1)
    assert spans["ledger_probe"].ns >= 20 * 10**6
    assert spans["locked"].ns >= 30 * 10**6
    said = [line for line in life.lines if line.text == "ledger: a line"]
    assert len(said) == 2
    second = [span for span in life.spans if span.name == "ledger_write"][1]
    assert all(second.start - 2000 <= line.time <= second.end + 2000 for line in said)


def test_a_timer_has_its_lane(box: Box, debian_kernel: KernelImage) -> None:
    life = life_timeline(life_of(box, debian_kernel, "tally"))
    ticks = [span for span in life.spans if span.name == "tick"]
    assert {(span.lane, span.kind) for span in ticks} == {("softirq", "timer")}
    assert len(ticks) == 5
    assert "softirq" in picture_text(life)


def test_memory_is_what_the_page_tables_allow(pictures: dict[str, PictureData]) -> None:
    memory = pictures["map"]
    assert isinstance(memory, MemoryMap)
    rights = {section.name: run.rights for run in memory.runs for section in memory.sections_of(run)}
    assert (rights[".text"], rights[".rodata"], rights[".data"], rights[".bss"]) == ("r-x", "r--", "rw-", "rw-")
    assert not [run for run in memory.runs if run.rights in ("rwx", "---")]
    assert ".init.text" not in rights  # it is freed


@pytest.mark.parametrize(
    ("name", "group", "module"), [("trixie_kernel", "", "params"), ("arm64_kernel", "costs", "tally")]
)
def test_memory_of_other_kernels(name: str, group: str, module: str, request: pytest.FixtureRequest) -> None:
    kernel: KernelImage = request.getfixturevalue(name)
    with kobox.boot(kernel) as box:
        memory = life_memory(LifeOfModules(box, [ModuleFile(BuiltTestModules(kernel, group)(module))], [""]))
    rights = {section.name: run.rights for run in memory.runs for section in memory.sections_of(run)}
    assert (rights[".text"], rights[".rodata"], rights[".data"]) == ("r-x", "r--", "rw-")


def test_calls_lead_into_the_kernel(pictures: dict[str, PictureData]) -> None:
    calls = pictures["calls"]
    assert isinstance(calls, CallGraph)
    named = {(calls.functions[one.caller].name, calls.functions[one.callee].name): one.calls for one in calls.edges}
    assert named["ledger_write", "run"] == 3
    assert named["run", "_printk"] == 2
    assert ("run", "run") not in named  # a part of it that was moved away is no call
    assert {one.name for one in calls.functions if one.entry} == {"ledger_init", "ledger_write", "ledger_exit"}
    assert not [one for one in calls.edges if not calls.functions[one.caller].module]


def test_deeper_into_the_kernel(box: Box, debian_kernel: KernelImage) -> None:
    calls = life_calls(life_of(box, debian_kernel, "tally"), depth=3)
    assert ("_printk", "vprintk") not in calls.edges
    kernel = [one for one in calls.edges if not calls.functions[one.caller].module]
    assert kernel


@pytest.mark.parametrize("kind", ["life", "map", "calls"])
def test_each_form_is_whole(kind: str, pictures: dict[str, PictureData]) -> None:
    picture = pictures[kind]
    assert json.loads(picture_bytes(picture, "json"))["title"] == picture.title
    svg = picture_bytes(picture, "svg").decode()
    root = ElementTree.fromstring(svg[svg.index("<svg") :])
    assert root.tag.endswith("svg")
    page = picture_bytes(picture, "html").decode()
    assert "<table>" in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page)
    assert picture_bytes(picture, "png")[:4] == b"\x89PNG"
    assert picture_bytes(picture, "pdf")[:4] == b"%PDF"
    assert len(picture_text(picture).splitlines()) > 5


@pytest.mark.parametrize("kind", ["life", "map", "calls"])
def test_data_comes_back_from_a_worker(kind: str, pictures: dict[str, PictureData]) -> None:
    from dataclasses import asdict

    assert read_back(kind, json.loads(json.dumps(asdict(pictures[kind])))) == pictures[kind]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("life", None),
        ("life", {"title": 1}),
        ("life", {"title": "x", "spans": [_SPAN | {"kind": EVIL}], "lines": [], "whole": True}),
        ("life", {"title": "x", "spans": [{}], "lines": [], "whole": True}),
        ("map", {"title": "x", "runs": [{"start": "1", "end": 2, "rights": "r--"}], "sections": []}),
        ("map", {"title": "x", "runs": [{"start": 0, "end": 4096, "rights": "rrr"}], "sections": []}),
        (
            "calls",
            {"title": "x", "functions": [], "edges": [{"caller": 0, "callee": 0, "calls": 1, "instructions": 1}]},
        ),
    ],
    ids=["null", "title", "kind", "row", "address", "rights", "edge"],
)
def test_a_worker_that_lies_is_refused(kind: str, data: object) -> None:
    with pytest.raises(KoboxError, match="makes no sense"):
        read_back(kind, data)


def test_names_from_a_module_do_no_harm() -> None:
    life = LifeTimeline(EVIL, (LifeSpan(EVIL, EVIL, "call", 0, 10),), (LifeLine(5, EVIL),))
    calls = CallGraph(EVIL, (CalledFunction(EVIL, EVIL, 1, 1, True),), ())
    for picture in (life, calls):
        for format in ("svg", "html"):
            text = picture_bytes(picture, format).decode()
            assert "<script" not in text
            assert "\x1b" not in text
    assert b"\x1b" not in picture_bytes(calls, "dot")
    assert picture_bytes(life, "png")[:4] == b"\x89PNG"


def test_an_empty_life_and_one_instant_are_drawn() -> None:
    for life in (LifeTimeline("x", (), ()), LifeTimeline("x", (LifeSpan("a", "b", "call", 7, 7),), ())):
        ElementTree.fromstring(picture_bytes(life, "svg").decode())


def test_too_many_functions_and_odd_formats_are_refused() -> None:
    many = tuple(CalledFunction(f"f{n}", "m", 1, 1) for n in range(MOST_DRAWN + 1))
    with pytest.raises(KoboxError, match="too many for one picture"):
        picture_bytes(CallGraph("x", many, ()), "dot")
    with pytest.raises(KoboxError, match="no format of this picture"):
        must_be_format("life", "dot")
    assert json.loads(json.dumps(as_json(MemoryMap("x", (), ()))))["runs"] == []


def test_a_module_that_is_not_loaded_has_no_memory(box: Box, debian_kernel: KernelImage) -> None:
    path = BuiltTestModules(debian_kernel)("params")
    life = LifeOfModules(box, [ModuleFile(Path(path))], ["number=x"])
    with pytest.raises(KoboxError, match="params was not loaded"):
        life_memory(life)
