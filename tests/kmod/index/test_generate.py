"""depmod beside the real depmod 34.2, byte for byte, and what it does better."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.kmod.depmod import TreeLocation, run
from kobox.kmod.index import facts_cache as remember
from kobox.kmod.index.generate import FILES, depmod
from kobox.ko.modulefile import ModuleFile
from tests.kmod.module_maker import make_module
from tests.kmod_fixtures import ARMHF, CLOUD, CLOUD_XZ, S390X, Answer, Tree, kobox, link_tree, packaged_tree

Kmod = Callable[..., Answer]


def assert_same(tree: Tree, kmod: Kmod, scratch: Path, *options: str) -> None:
    """Both tools write the same bytes for a tree."""
    theirs, ours = scratch / "theirs", scratch / "ours"
    for tool, out in ((kmod, theirs), (kobox, ours)):
        tool("depmod", "-b", tree.root, "-o", out, *options, tree.release)
    below = Path("lib/modules", tree.release)
    different = [name for name in FILES if (theirs / below / name).read_bytes() != (ours / below / name).read_bytes()]
    assert not different
    shutil.rmtree(theirs)
    shutil.rmtree(ours)


@pytest.mark.parametrize("package", [CLOUD, CLOUD_XZ, S390X], ids=["plain", "xz", "big-endian"])
def test_the_same_bytes_as_kmods(package: tuple[str, str, str], kmod: Kmod, tmp_path: Path) -> None:
    assert_same(link_tree(packaged_tree(*package), tmp_path), kmod, tmp_path)


def test_the_same_bytes_for_a_32_bit_tree(kmod: Kmod, tmp_path: Path) -> None:
    tree = link_tree(packaged_tree(*ARMHF), tmp_path, only=lambda path: "/drivers/" not in path)
    assert_same(tree, kmod, tmp_path)


def test_the_same_bytes_after_random_removals_and_additions(cloud_package: Path, kmod: Kmod, tmp_path: Path) -> None:
    tree = link_tree(cloud_package, tmp_path)
    chosen = random.Random(7)
    for _ in range(3):
        modules = sorted(tree.path.rglob("*.ko"))
        for module in chosen.sample(modules, 60):
            module.unlink()
        for number, module in enumerate(chosen.sample(sorted(tree.path.rglob("*.ko")), 10)):
            for place in ("updates", "extra"):
                (tree.path / place).mkdir(exist_ok=True)
                (tree.path / place / f"{place}-{number}-{module.name}").symlink_to(module.resolve())
            if not (tree.path / "updates" / module.name).exists():
                (tree.path / "updates" / module.name).symlink_to(module.resolve())
        assert_same(tree, kmod, tmp_path)


@pytest.mark.parametrize("missing", ["modules.order", "modules.builtin", "modules.builtin.modinfo"])
def test_the_same_bytes_without_one_of_the_inputs(
    cloud_package: Path, kmod: Kmod, tmp_path: Path, missing: str
) -> None:
    tree = link_tree(cloud_package, tmp_path, only=lambda path: missing != path and "/net/" in "/" + path)
    assert_same(tree, kmod, tmp_path)


@pytest.mark.parametrize("suffix", ["xz", "zst"])
def test_the_same_bytes_with_modules_compressed(cloud_package: Path, kmod: Kmod, tmp_path: Path, suffix: str) -> None:
    tree = link_tree(cloud_package, tmp_path, only=lambda path: path.startswith("kernel/net/") or "/" not in path)
    for module in sorted(tree.path.rglob("*.ko"))[::2]:
        _compress(module, suffix)
    assert_same(tree, kmod, tmp_path)


@pytest.mark.parametrize("suffix", ["gz", "lz4"])
def test_compression_that_this_kmod_lacks_changes_only_the_paths(
    cloud_package: Path, tmp_path: Path, suffix: str
) -> None:
    tree = link_tree(cloud_package, tmp_path, only=lambda path: path.startswith("kernel/net/ipv4") or "/" not in path)
    run(TreeLocation(tree.release, str(tree.root)))
    plain = {name: (tree.path / name).read_bytes() for name in FILES}
    for module in sorted(tree.path.rglob("*.ko")):
        _compress(module, suffix)
    run(TreeLocation(tree.release, str(tree.root)))
    for name in ("modules.alias.bin", "modules.symbols.bin", "modules.softdep"):
        assert (tree.path / name).read_bytes() == plain[name]
    assert (tree.path / "modules.dep").read_bytes().replace(b".ko." + suffix.encode(), b".ko") == plain["modules.dep"]


def _compress(module: Path, suffix: str) -> None:
    content = module.read_bytes()
    module.unlink()
    if suffix == "xz":
        import lzma

        packed = lzma.compress(content, check=lzma.CHECK_CRC32, preset=0)
    elif suffix == "zst":
        import zstandard

        packed = zstandard.compress(content)
    elif suffix == "gz":
        import gzip

        packed = gzip.compress(content, 1)
    else:
        import lz4.frame

        packed = lz4.frame.compress(content)
    module.with_name(f"{module.name}.{suffix}").write_bytes(packed)


def test_the_same_bytes_around_unreadable_files(cloud_package: Path, kmod: Kmod, tmp_path: Path) -> None:
    tree = link_tree(cloud_package, tmp_path, only=lambda path: path.startswith("kernel/net/") or "/" not in path)
    source = next(tree.path.rglob("nf_tables.ko"))
    broken = tree.path / "kernel" / "broken"
    broken.mkdir()
    (broken / "text.ko").write_text("hello")
    (broken / "empty.ko").touch()
    (broken / "short.ko").write_bytes(source.read_bytes()[:4000])
    (broken / "bad.ko.xz").write_bytes(b"\xfd7zXZ\0abc")
    assert_same(tree, kmod, tmp_path)


@pytest.mark.parametrize(
    "lines",
    [
        "search extra updates built-in\n",
        "search built-in updates extra\n",
        "search updates\nsearch extra\n",
        "override veth * extra\noverride dummy ^6\\.1 extra\noverride tun ^5 extra\n",
        "exclude extra\n",
        "# a comment\n\nsearch extra \\\n   built-in\nnonsense here\n",
    ],
)
def test_the_configuration_counts_as_it_does_for_kmod(
    cloud_package: Path, kmod: Kmod, tmp_path: Path, lines: str
) -> None:
    names = ("veth.ko", "dummy.ko", "tun.ko", "loop.ko")
    tree = link_tree(cloud_package, tmp_path, only=lambda path: path.endswith(names) or "/" not in path)
    for place in ("extra", "updates"):
        (tree.path / place).mkdir()
        for name in names[: 3 if place == "updates" else 4]:
            (tree.path / place / name).symlink_to(next((tree.path / "kernel").rglob(name)).resolve())
    config = tmp_path / "depmod.conf"
    config.write_text(lines)
    assert_same(tree, kmod, tmp_path, "-C", str(config))


def test_an_external_directory_is_searched_too(cloud_package: Path, kmod: Kmod, tmp_path: Path) -> None:
    tree = link_tree(cloud_package, tmp_path, only=lambda path: path.endswith("veth.ko") or "/" not in path)
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("dummy.ko", "veth.ko"):
        (outside / name).symlink_to(next(cloud_package.rglob(name)))
    config = tmp_path / "depmod.conf"
    config.write_text(f"external * {outside}\nsearch external updates built-in\n")
    assert_same(tree, kmod, tmp_path, "-C", str(config))


def test_a_dry_run_prints_what_kmod_prints(cloud: Tree, kmod: Kmod) -> None:
    assert kobox("depmod", "-n", "-b", cloud.root, cloud.release) == kmod(
        "depmod", "-n", "-b", cloud.root, cloud.release
    )


@pytest.mark.parametrize("arguments", [("9.0",), ("nover",), ("1.0", "foo.ko"), ("--nosuch",), ("-b",)])
def test_errors_begin_as_kmods_do(tmp_path: Path, kmod: Kmod, arguments: tuple[str, ...]) -> None:
    ours, theirs = (tool("depmod", "-b", tmp_path, *arguments) for tool in (kobox, kmod))
    assert (ours.status, ours.output) == (theirs.status, theirs.output)
    assert ours.errors.splitlines()[0] == theirs.errors.splitlines()[0]


def test_single_files_can_be_named(cloud: Tree, kmod: Kmod, tmp_path: Path) -> None:
    files = [str(path) for path in sorted((cloud.path / "kernel/net/ipv4").rglob("*.ko"))]
    for tool, out in ((kmod, "theirs"), (kobox, "ours")):
        assert tool("depmod", "-b", cloud.root, "-o", tmp_path / out, cloud.release, *files).status == 0
    below = Path("lib/modules", cloud.release)
    for name in FILES:
        assert (tmp_path / "ours" / below / name).read_bytes() == (tmp_path / "theirs" / below / name).read_bytes(), (
            name
        )


def test_unknown_symbols_are_told_as_kmod_tells_them(cloud_package: Path, kmod: Kmod, tmp_path: Path) -> None:
    tree = link_tree(
        cloud_package, tmp_path, only=lambda path: path.endswith(("btrfs.ko", "xor.ko")) or "/" not in path
    )
    system_map = tmp_path / "System.map"
    system_map.write_text("ffffffff81000000 r __ksymtab__printk\nffffffff81000010 r __ksymtab_kfree\n")
    ours, theirs = (
        tool("depmod", "-n", "-e", "-F", system_map, "-b", tree.root, tree.release) for tool in (kobox, kmod)
    )
    wanted = {line for line in theirs.errors.splitlines() if "needs unknown symbol" in line}
    assert wanted
    assert wanted == {line for line in ours.errors.splitlines() if "needs unknown symbol" in line}


@pytest.fixture(scope="module")
def checked(cloud_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A tree with modules that need each other, and some that lack what they need."""
    room = tmp_path_factory.mktemp("checked")
    return link_tree(cloud_package, room, only=lambda path: "crypto" in path or "btrfs" in path or "/" not in path)


@pytest.fixture(scope="module")
def symvers(checked: Tree, cloud_package: Path) -> Path:
    """A Module.symvers with what these modules want of the kernel; some CRCs are wrong, some symbols are missing."""
    crcs: dict[str, int] = {}
    for module in sorted(cloud_package.rglob("*.ko")):
        if "crypto" in str(module) or "btrfs" in str(module):
            crcs |= ModuleFile(module).versions
    chosen = random.Random(5)
    rows = [
        f"0x{crc ^ (chosen.random() < 0.1):08x}\t{name}\tvmlinux\tEXPORT_SYMBOL\t"
        for name, crc in sorted(crcs.items())
        if chosen.random() < 0.9
    ]
    (checked.root / "Module.symvers").write_text("\n".join([*rows, "no number\tx\tvmlinux\tEXPORT_SYMBOL", ""]))
    return checked.root / "Module.symvers"


@pytest.mark.parametrize(
    "options", [["-e"], ["-e", "-P", "_"], [], ["-e", "-v"], ["-n", "-v"], ["-v", "-P", "c"], ["-w"]], ids=" ".join
)
def test_symbols_and_their_versions_are_checked_as_kmod_checks_them(
    options: list[str], checked: Tree, symvers: Path, kmod: Kmod
) -> None:
    words = ["-b", checked.root, "-E", symvers, *options, checked.release]
    theirs, ours = kmod("depmod", *words), kobox("depmod", *words)
    assert theirs.status == ours.status == 0
    assert ours.errors == theirs.errors
    assert ours.output == theirs.output
    assert ("disagrees about version" in ours.errors) == ("needs unknown symbol" in ours.errors) == ("-e" in options)


@pytest.mark.parametrize("options", [["-P", "ab"], ["-P", ""], ["-E", "/nowhere"], ["-e", "-F", "/nowhere"], ["-e"]])
def test_options_that_cannot_be_followed(options: list[str], checked: Tree, kmod: Kmod) -> None:
    words = ["-n", "-b", checked.root, *options, checked.release]
    theirs, ours = kmod("depmod", *words), kobox("depmod", *words)
    assert (ours.status, ours.errors) == (theirs.status, theirs.errors)


def test_an_alias_that_a_module_has_twice_is_told(tmp_path: Path, kmod: Kmod) -> None:
    tree = Tree(tmp_path, "6.1.0")
    (tree.path / "kernel").mkdir(parents=True)
    for name, aliases in (("one", ("a-b", "a_b", "c")), ("two", ("c", "d", "d"))):
        info = ["license=GPL", *(f"alias={alias}" for alias in aliases)]
        (tree.path / f"kernel/{name}.ko").write_bytes(make_module(info=info))
    (tree.path / "modules.order").write_text("kernel/one.ko\nkernel/two.ko\n")
    for name in ("modules.builtin", "modules.builtin.modinfo"):
        (tree.path / name).touch()
    words = ["-w", "-b", tree.root, tree.release]
    theirs, ours = kmod("depmod", *words), kobox("depmod", *words)
    assert ours.errors == theirs.errors
    assert ours.errors.count("duplicate module alias") == 2


def test_a_file_that_can_not_be_read_is_counted_and_makes_it_fail(cloud_package: Path, tmp_path: Path) -> None:
    tree = link_tree(cloud_package, tmp_path, only=lambda path: path.endswith("veth.ko") or "/" not in path)
    (tree.path / "kernel" / "bad.ko").write_text("no module")
    answer = kobox("depmod", "-b", tree.root, tree.release)
    assert answer.status == 1
    assert "1 of 2 module files could not be read" in answer.errors
    assert (tree.path / "modules.dep").read_text().count(":") == 2


@pytest.mark.parametrize(
    "modules",
    [
        {"a": (["fa"], ["fb"]), "b": (["fb"], ["fa"]), "c": ([], ["fa"])},
        {"a": (["fa"], ["fa"])},
    ],
)
def test_a_cycle_is_refused_as_kmod_refuses_it(
    kmod: Kmod, tmp_path: Path, modules: dict[str, tuple[list[str], list[str]]]
) -> None:
    tree = _tree_of(tmp_path, modules)
    ours, theirs = (tool("depmod", "-b", tmp_path, "1.0") for tool in (kobox, kmod))
    assert ours.status == theirs.status == 1
    told = [
        [line for line in answer.errors.splitlines() if "Cycle" in line or "cycles!" in line]
        for answer in (ours, theirs)
    ]
    assert told[0] == told[1]
    assert [path.name for path in tree.path.iterdir()] == ["kernel"]


def both(tmp_path: Path, kmod: Kmod, make: Callable[[Path, Path], object], *options: str) -> list[tuple[object, ...]]:
    """What kobox and kmod answer for the same tree, and the files that they leave. `make` gets root and tree."""
    answers = []
    for tool in (kobox, kmod):
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        tree = Tree(root, "6.1.0")
        tree.path.mkdir(parents=True)
        for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
            (tree.path / name).touch()
        make(root, tree.path)
        answer = tool("depmod", "-b", root, *options, tree.release)
        answers.append((answer, {path.name: path.read_bytes() for path in tree.path.glob("modules.*")}))
    return answers


def builtin_aliases(root: Path, tree: Path) -> None:
    (tree / "modules.builtin").write_text("kernel/a.ko\nkernel/b.ko\nkernel/c.ko\n")
    strings = ("a.alias=shared", "b.alias=shared", "c.alias=sha-red", "c.alias=shared", "a.alias=x[1-2", "b.alias=y]z")
    (tree / "modules.builtin.modinfo").write_text("".join(f"{text}\0" for text in strings))


def empty_aliases(root: Path, tree: Path) -> None:
    (tree / "a.ko").write_bytes(make_module(info=["alias=", "alias=x-y", "alias="]))
    (tree / "modules.builtin").write_text("kernel/b.ko\n")
    (tree / "modules.builtin.modinfo").write_bytes(b"b.alias=\0b.alias=y\0b.license=\0")


def brackets(root: Path, tree: Path) -> None:
    (tree / "a.ko").write_bytes(make_module(info=["alias=a[0-9]", "alias=b[0", "alias=c]", "alias=d[a-b][c-d]"]))


def device_nodes(root: Path, tree: Path) -> None:
    for name, aliases in {
        "a": ("devname:foo", "char-major-10-235"),
        "b": ("devname:bar",),
        "c": ("devname:",),
        "d": ("devname:", "block-major-7-0"),
        "e": ("char-major-1-2*", "devname:x", "char-major-3-4"),
        "f": ("devname:y", "char-major-10-*", "char-major-5"),
        "g": ("devname:first", "devname:second", "block-major-8-1"),
    }.items():
        (tree / f"{name}.ko").write_bytes(make_module(info=[f"alias={alias}" for alias in aliases]))


def externals(*lines: str) -> Callable[[Path, Path], None]:
    """One module in the tree, in its updates, and in two external directories; another one in an external only."""

    def make(root: Path, tree: Path) -> None:
        for place in (tree / "kernel", tree / "updates", root / "e", root / "f"):
            place.mkdir()
            (place / "m.ko").write_bytes(make_module(info=[f"alias={place.name}"]))
        (root / "e/n.ko").write_bytes(make_module())
        (root / "conf").mkdir()
        (root / "conf/x.conf").write_text("".join(f"{line.format(root=root)}\n" for line in lines))

    return make


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (builtin_aliases, ()),
        (empty_aliases, ()),
        (brackets, ()),
        (device_nodes, ()),
        (device_nodes, ("-n",)),
        (externals("external * {root}/e"), ("-C", "{root}/conf")),
        (externals("search external updates", "external * {root}/e", "external * {root}/f"), ("-C", "{root}/conf")),
        (externals("search updates external", "external * {root}/e"), ("-C", "{root}/conf")),
        (externals("search built-in external", "external * {root}/f"), ("-C", "{root}/conf")),
        (externals("search built-in", "external * {root}/f"), ("-C", "{root}/conf")),
        (externals("external 5 {root}/e"), ("-C", "{root}/conf")),
        (lambda root, tree: None, ("-q",)),
        (lambda root, tree: None, ("-u",)),
        (lambda root, tree: None, ("-r",)),
    ],
)
def test_small_trees_are_indexed_as_kmod_does(
    make: Callable[[Path, Path], object], options: tuple[str, ...], kmod: Kmod, tmp_path: Path
) -> None:
    words = [word.format(root=tmp_path / "root") for word in options]
    ours, theirs = both(tmp_path, kmod, make, *words)
    assert ours == theirs


@pytest.mark.parametrize("root", ["root", "root/", "./root", "{cwd}/root/"])
def test_paths_in_messages_begin_as_kmod_writes_them(
    root: str, kmod: Kmod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root/lib/modules/1.0").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    words = ["-n", "-b", root.format(cwd=tmp_path), "1.0"]
    ours, theirs = kobox("depmod", *words), kmod("depmod", *words)
    assert ours == theirs
    assert "modules.order at" in ours.errors


def test_aliases_that_are_not_ascii_are_written_where_an_index_can_hold_them(tmp_path: Path) -> None:
    """kmod 34.2 ends at the first one, with half of the indexes written."""
    tree = Tree(tmp_path, "6.1.0")
    tree.path.mkdir(parents=True)
    info = ["alias=dmi:Größe*", "alias=pci:é", "alias=pci:ö", "alias=usb:x"]
    (tree.path / "a.ko").write_bytes(make_module(info=info))
    answer = kobox("depmod", "-b", tree.root, tree.release)
    assert answer.status == 0
    assert [line for line in answer.errors.splitlines() if "ASCII" in line] == [
        f"depmod: WARNING: modules.alias.bin: left out 'pci:{letter}': an index holds plain ASCII only"
        for letter in "éö"
    ]
    assert (tree.path / "modules.alias").read_text().count("\nalias ") == 4
    where = ("-d", tree.root, "-S", tree.release, "-R")
    assert kobox("modprobe", *where, "dmi:Größe 7").output == kobox("modprobe", *where, "usb:x").output == "a\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the rights of root away")
def test_a_directory_that_cannot_be_listed_is_an_error(cloud_package: Path, tmp_path: Path) -> None:
    tree = link_tree(
        cloud_package, tmp_path, only=lambda path: path.endswith(("/veth.ko", "/loop.ko")) or "/" not in path
    )
    closed = next(tree.path.rglob("veth.ko")).parent
    closed.chmod(0)
    code = "import sys; from kobox.cli.main import run; sys.exit(run('depmod', sys.argv[1:], prog='depmod'))"
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    command = [*drop, sys.executable, "-c", code, "-b", str(tree.root), tree.release]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        closed.chmod(0o755)
    assert done.returncode == 1
    assert f"could not open directory {closed}: Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tree.path / "modules.dep").read_text().count(".ko:") == 1


def test_every_cycle_is_told(tmp_path: Path) -> None:
    """Of two cycles kmod 34.2 tells the first, then takes all memory that it can get."""
    modules = {"a": (["fa"], ["fb", "fx"]), "b": (["fb"], ["fa"]), "x": (["fx"], ["fy"]), "y": (["fy"], ["fx"])}
    _tree_of(tmp_path, modules)
    errors = kobox("depmod", "-b", tmp_path, "1.0").errors
    assert errors.count("Cycle detected") == 2
    assert "Found 4 modules in dependency cycles!" in errors


def _tree_of(root: Path, modules: dict[str, tuple[list[str], list[str]]]) -> Tree:
    folder = root / "lib/modules/1.0/kernel"
    folder.mkdir(parents=True)
    for name, (exports, needs) in modules.items():
        (folder / f"{name}.ko").write_bytes(make_module(exports=exports, needs=needs))
    return Tree(root, "1.0")


class TestQuick:
    """An incremental run reads only what changed and writes what a full run writes."""

    @pytest.fixture
    def tree(self, cloud_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
        monkeypatch.setattr(remember, "cache_root", lambda: str(tmp_path / "cache"))
        tree = link_tree(cloud_package, tmp_path, only=lambda path: path.startswith("kernel/net/") or "/" not in path)
        for name in ("veth.ko", "dummy.ko"):
            source = next(cloud_package.rglob(name))
            shutil.copy(source, tree.path / "kernel" / name)
        run(TreeLocation(tree.release, str(tree.root)), quick=True)
        return tree

    def check(self, tree: Tree, read: int) -> None:
        quick = run(TreeLocation(tree.release, str(tree.root)), quick=True)
        assert quick.read == read
        full = run(TreeLocation(tree.release, str(tree.root)))
        assert full.read == full.modules
        assert quick.files == full.files

    def test_nothing_changed(self, tree: Tree) -> None:
        self.check(tree, 0)

    def test_one_appeared(self, tree: Tree, cloud_package: Path) -> None:
        shutil.copy(next(cloud_package.rglob("btrfs.ko")), tree.path / "kernel" / "btrfs.ko")
        self.check(tree, 1)

    def test_one_vanished(self, tree: Tree) -> None:
        next(tree.path.rglob("nf_tables.ko")).unlink()
        self.check(tree, 0)
        assert "nf_tables.ko:" not in (tree.path / "modules.dep").read_text()

    def test_one_changed_to_the_same_size_and_time(self, tree: Tree) -> None:
        path = tree.path / "kernel" / "veth.ko"
        before = path.stat()
        path.write_bytes(path.read_bytes().replace(b"alias=rtnl-link-veth", b"alias=rtnl-link-moth"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
        self.check(tree, 1)
        assert "alias rtnl-link-moth veth" in (tree.path / "modules.alias").read_text()

    def test_nothing_is_made_when_nothing_changed(self, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither modules are read nor indexes made; whatever is missing or was changed is made again."""
        place = TreeLocation(tree.release, str(tree.root))
        before = run(place, quick=True)
        made: list[str] = []
        monkeypatch.setattr("kobox.kmod.depmod.depmod", lambda *arguments: made.append("made") or depmod(*arguments))
        assert run(place, quick=True) == before
        assert not made
        changes: list[Callable[[Path], object]] = [
            lambda path: (path / "modules.dep").unlink(),
            lambda path: (path / "modules.alias.bin").write_bytes(b""),
            lambda path: os.utime(path / "kernel/veth.ko"),
            lambda path: (path / "kernel/dummy.ko").unlink(),
            lambda path: (path / "modules.order").unlink(),
        ]
        for number, change in enumerate(changes, 1):
            change(tree.path)
            run(place, quick=True)
            assert len(made) == number
            assert run(place).files == {name: (tree.path / name).read_bytes() for name in FILES}
            run(place, quick=True)  # the full run has written them anew
            made[number:] = []

    def test_a_run_with_warnings_is_made_again(self, tree: Tree) -> None:
        (tree.path / "kernel/bad.ko").write_text("no module")
        words = ("-A", "-b", tree.root, tree.release)
        first, second = kobox("depmod", *words), kobox("depmod", *words)
        assert first == second
        assert first.status == 1

    def test_a_damaged_cache_is_no_cache(self, tree: Tree, tmp_path: Path) -> None:
        (file,) = (tmp_path / "cache").glob("*.facts")
        for last in (tmp_path / "cache").glob("*.last"):
            last.unlink()
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        quick = run(TreeLocation(tree.release, str(tree.root)), quick=True)
        assert quick.read == quick.modules

    def test_the_command_says_how_many_it_read(self, tree: Tree) -> None:
        answer = kobox("depmod", "-A", "-v", "-b", tree.root, tree.release)
        assert answer.status == 0
        assert "0 of them read" in answer.errors


def test_a_full_disk_leaves_the_old_indexes(cloud: Tree, tmp_path: Path) -> None:
    """Written on a file system of 64 KiB: what was there stays, and nothing half-written is left behind."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], check=False).returncode:
        # Without root, a limit on the size of files does the same to the writer.
        _limited_run(cloud, small)
    else:
        try:
            _full_run(cloud, small)
        finally:
            subprocess.run(["umount", str(small)], check=True)


def _full_run(cloud: Tree, out: Path) -> None:
    target = out / "lib/modules" / cloud.release
    target.mkdir(parents=True)
    (target / "modules.dep.bin").write_bytes(b"old")
    answer = kobox("depmod", "-b", cloud.root, "-o", out, cloud.release)
    assert answer.status == 1
    assert "No space left on device" in answer.errors
    assert [path.name for path in target.iterdir()] == ["modules.dep.bin"]
    assert (target / "modules.dep.bin").read_bytes() == b"old"


def _limited_run(cloud: Tree, out: Path) -> None:
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    target = out / "lib/modules" / cloud.release
    target.mkdir(parents=True)
    (target / "modules.dep.bin").write_bytes(b"old")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
        answer = kobox("depmod", "-b", cloud.root, "-o", out, cloud.release)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert answer.status == 1
    assert [path.name for path in target.iterdir()] == ["modules.dep.bin"]
