"""Graphs of trees that the tests make, of Debian's own tree, and of a box; each question's answer by hand."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

import kobox
from kobox.box.boot.boot import tree_of
from kobox.errors import KoboxError
from kobox.graph import ModuleGraph, compare, file_graph, kernel_graph, picture, tree_graph, write_picture
from kobox.graph.module_graph import SOFT, SYMBOLS, UNKNOWN, WEAK, ModuleNode, Need
from kobox.graph.text import change_text, removal_text, summary_text, tree_text
from kobox.images.store import KernelImage, Store
from kobox.kmod.depmod import TreeLocation, run
from kobox.kmod.module_tree import ModuleTree
from kobox.kmod.plan import ModuleNotFoundInTreeError
from tests.kmod.module_maker import make_module

# module: (exports, imports, modinfo)
SMALL: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "base": (("base_get", "base_put"), (), ()),
    "middle": (("middle_do",), ("base_get", "base_put"), ()),
    "top": ((), ("middle_do", "printk"), ("softdep=helper pre: helper-fast", "weakdep=later")),
    "other": ((), ("base_get",), ()),
    "helper_fast": ((), (), ()),
    "helper": ((), (), ()),
    "later": ((), (), ()),
}


def small_tree(root: Path, modules: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]) -> ModuleTree:
    """A tree of made modules, with indexes."""
    directory = root / "lib/modules/1.0"
    directory.mkdir(parents=True)
    for name, (exports, needs, info) in modules.items():
        (directory / f"{name}.ko").write_bytes(make_module(info=[f"name={name}", *info], exports=exports, needs=needs))
    run(TreeLocation("1.0", str(root)))
    return ModuleTree(str(directory))


@pytest.fixture
def small(tmp_path: Path) -> ModuleTree:
    return small_tree(tmp_path, SMALL)


def test_edges_name_the_symbols_and_what_else_a_module_asks_for(small: ModuleTree) -> None:
    graph = tree_graph(small)
    assert set(graph.nodes) == set(SMALL)
    assert set(graph.edges) == {
        Need("middle", "base", SYMBOLS, ("base_get", "base_put")),
        Need("other", "base", SYMBOLS, ("base_get",)),
        Need("top", "middle", SYMBOLS, ("middle_do",)),
        Need("top", "helper_fast", SOFT),  # behind `pre:`; the `helper` before it counts for nothing, as for kmod
        Need("top", "later", WEAK),
    }


def test_a_module_comes_with_what_it_needs_and_nothing_else(small: ModuleTree) -> None:
    graph = tree_graph(small, ["top"])
    assert graph.roots == ("top",)
    assert graph.needs("top") == ["helper_fast", "base", "middle"]
    assert graph.needs("top", hard=True) == ["base", "middle"]
    assert "other" not in graph.nodes
    assert tree_graph(small, ["base"], users=True).needed_by("base") == ["top", "middle", "other"]


def test_a_tree_without_indexes_is_read_from_its_files(small: ModuleTree) -> None:
    for path in Path(small.directory).glob("modules.*"):
        path.unlink()
    bare = ModuleTree(small.directory)
    assert set(tree_graph(bare).nodes) == set(SMALL)
    assert tree_graph(bare, ["top"]).needs("top", hard=True) == ["base", "middle"]


@pytest.mark.parametrize(
    ("depth", "nodes"),
    [(1, {"top", "middle", "helper_fast", "later"}), (2, {"top", "middle", "helper_fast", "later", "base"})],
)
def test_depth_counts_needs(small: ModuleTree, depth: int, nodes: set[str]) -> None:
    assert set(tree_graph(small).part(["top"], depth=depth).nodes) == nodes


def test_a_removal_takes_users_first_and_then_what_nobody_else_needs(small: ModuleTree) -> None:
    graph = tree_graph(small)
    removal = graph.removal("middle")
    assert (removal.users, removal.unused) == (("top",), ())  # `other` still needs base
    assert graph.removal("top").unused == ("middle",)
    assert graph.removal("base").users == ("top", "middle", "other")
    assert removal_text(removal).splitlines()[1] == "first, as they use it: top"


def test_what_something_else_holds_is_not_unused() -> None:
    nodes = {
        "disk": ModuleNode("disk", 100, refcount=0),
        "bus": ModuleNode("bus", 50, refcount=2),
        "lib": ModuleNode("lib", 7, refcount=1),
    }
    edges = (Need("disk", "bus", UNKNOWN), Need("disk", "lib", UNKNOWN))
    removal = ModuleGraph(nodes, edges).removal("disk")
    assert (removal.unused, removal.size) == (("lib",), 107)


def test_circles_are_found_once_and_do_not_end_the_program(tmp_path: Path) -> None:
    directory = tmp_path / "1.0"
    directory.mkdir()
    for name, needs in (("a", ["b_do"]), ("b", ["c_do"]), ("c", ["a_do"]), ("d", ["a_do"])):
        (directory / f"{name}.ko").write_bytes(make_module(info=[f"name={name}"], exports=[f"{name}_do"], needs=needs))
    graph = tree_graph(ModuleTree(str(directory)))
    assert graph.cycles() == [("a", "b", "c")]
    assert set(graph.needs("d")) == {"a", "b", "c"}
    assert "a, b, c" in summary_text(graph)
    assert tree_text(graph.part(["a"])).count("(above)") == 1


def test_a_chain_deeper_than_pythons_stack() -> None:
    names = [f"m{number}" for number in range(5000)]
    graph = ModuleGraph(
        {name: ModuleNode(name, 1) for name in names},
        tuple(Need(user, provider) for user, provider in itertools.pairwise(names)),
        roots=("m0",),
    )
    assert len(graph.needs("m0")) == 4999
    assert graph.cycles() == []
    assert tree_text(graph).count("\n") == 2001  # the bound, "…" and the sum


@pytest.mark.parametrize("name", ["nosuch", "top/../x", ""])
def test_a_name_that_is_not_there(small: ModuleTree, name: str) -> None:
    with pytest.raises(ModuleNotFoundInTreeError):
        tree_graph(small, [name])


def test_a_directory_without_modules(tmp_path: Path) -> None:
    with pytest.raises(KoboxError, match="no modules below it"):
        tree_graph(ModuleTree(str(tmp_path)))


def test_files_with_and_without_a_tree(small: ModuleTree, tmp_path: Path) -> None:
    mine = tmp_path / "mine.ko"
    mine.write_bytes(make_module(info=["name=mine", "depends=middle,gone"], needs=["middle_do"]))
    alone = file_graph([mine])
    assert {name for name, node in alone.nodes.items() if node.missing} == {"middle", "gone"}
    graph = file_graph([mine], small)
    assert graph.needs("mine") == ["gone", "base", "middle"]
    assert not graph.nodes["middle"].missing
    assert graph.nodes["gone"].missing


def test_a_change_names_modules_needs_and_sizes(small: ModuleTree, tmp_path: Path) -> None:
    after = dict(SMALL)
    del after["later"]
    after["new"] = ((), (), ())
    after["other"] = ((), ("middle_do",), ())
    change = compare(tree_graph(small), tree_graph(small_tree(tmp_path / "after", after)))
    assert (change.added, change.removed) == (("new",), ("later",))
    assert change.added_needs == (("other", "middle"),)
    assert change.removed_needs == (("other", "base"), ("top", "later"))
    assert change_text(change).splitlines()[:3] == ["- later", "+ new", "- other needs base"]
    assert change_text(compare(tree_graph(small), tree_graph(small))) == "no difference"


def test_debians_tree_and_a_box_agree(debian_kernel: KernelImage) -> None:
    """What the files say is what the kernel shows once it has loaded them: who needs whom, and each size."""
    with kobox.boot(debian_kernel) as box:
        box.modprobe("btrfs")
        graph, live = tree_graph(tree_of(debian_kernel), ["btrfs"]), kernel_graph(box, ["btrfs"])
        hard = {(edge.user, edge.provider) for edge in graph.edges if edge.is_hard}
        assert {(edge.user, edge.provider) for edge in live.edges} == hard
        for name, node in live.nodes.items():
            assert node.size == graph.nodes[name].size, name
        assert set(live.removal("btrfs").unused) == {"libcrc32c", "raid6_pq", "xor", "zstd_compress"}
        with pytest.raises(KoboxError, match="xfs is not loaded"):
            kernel_graph(box, ["xfs"])


def test_text_of_a_graph(debian_kernel: KernelImage) -> None:
    graph = tree_graph(tree_of(debian_kernel), ["btrfs"])
    lines = tree_text(graph, symbols=True).splitlines()
    assert lines[0].startswith("btrfs (1.")
    assert "├─ libcrc32c (16 KiB): crc32c crc32c_impl" in lines
    assert "│  └─ crc32c_intel (24 KiB), soft" in lines
    assert lines[-1].startswith("9 modules, ")


@pytest.mark.parametrize(("format", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_pictures_are_drawn(small: ModuleTree, kernel_store: Store, tmp_path: Path, format: str, begins: bytes) -> None:
    write_picture(tree_graph(small, ["top"]), tmp_path / f"top.{format}", symbols=True, store=kernel_store)
    data = (tmp_path / f"top.{format}").read_bytes()
    assert data.startswith(begins)
    if format == "svg":
        assert {"top", "middle", "base", "helper_fast", "base_get"} <= set(
            re.findall(r">([^<>\n]+)</text>", data.decode())
        )


def test_formats_of_text(small: ModuleTree) -> None:
    graph = tree_graph(small, ["top"])
    assert '"top" -> "later" [style=dotted];' in picture(graph, "dot").decode()
    assert picture(graph, "mmd").decode().splitlines()[0] == "flowchart TD"
    data = json.loads(picture(graph, "json"))
    assert data["format"] == 1
    assert {"user": "top", "provider": "middle", "kind": "symbols", "symbols": ["middle_do"]} in data["needs"]
    with pytest.raises(KoboxError, match="no format of pictures"):
        picture(graph, "gif")


HOSTILE = ['a"];evil', "a\\", "</script><script>alert(1)", "a\nb", "\x1b[2J", "a]--x", "<b>"]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_writes_nothing_but_itself(name: str, kernel_store: Store) -> None:
    """A module's name is a stranger's text; each format quotes it."""
    graph = ModuleGraph(
        {name: ModuleNode(name, 5), "b": ModuleNode("b")}, (Need(name, "b", SYMBOLS, (name,)),), name, (name,)
    )
    assert picture(graph, "svg", symbols=True, store=kernel_store).count(b'class="node"') == 2
    page = picture(graph, "html").decode()
    assert page.count("</script>") == 2
    assert json.loads(page.split('id="data">')[1].split("</script>")[0])["roots"] == [name]
    for line in picture(graph, "mmd", symbols=True).decode().splitlines()[1:]:
        assert re.fullmatch(r"  (m\d\[\"[\w#;. <>-]+\"\]|m\d --> ?\|[\w#;. -]+\| m\d|style m\d fill:#dbe9f6)", line), (
            line
        )


def test_too_many_for_one_picture(debian_kernel: KernelImage, kernel_store: Store) -> None:
    graph = tree_graph(tree_of(debian_kernel))
    with pytest.raises(KoboxError, match="too many for one picture"):
        picture(graph, "svg", store=kernel_store)
    page = picture(graph, "html").decode()
    assert len(json.loads(page.split('id="data">')[1].split("</script>")[0])["modules"]) == len(graph.nodes)
    assert not re.search(r"""(src|href)=|https?:(?!//www\.w3\.org/2000/svg)""", page)  # it needs nothing else
    assert "libcrc32c" in summary_text(graph)
