"""What names mean, and the load plan as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.kmod.config.modprobe_d import Config, ConfigReader
from kobox.kmod.index.trie import IndexFormatError
from kobox.kmod.module_tree import ModuleTree
from kobox.kmod.plan import ForbiddenModuleError, ModuleNotFoundInTreeError
from tests.kmod_fixtures import Tree


def parse(text: str) -> Config:
    reader = ConfigReader()
    reader.read(text, "test.conf")
    return reader.config()


def tree_with(cloud: Tree, text: str = "") -> ModuleTree:
    return ModuleTree.of(cloud.release, root=str(cloud.root), config=parse(text))


def names(tree: ModuleTree, name: str) -> list[str]:
    return [step.module for step in tree.resolve(name).steps]


class TestPlan:
    def test_dependencies_come_first_each_with_its_reason(self, cloud: Tree) -> None:
        steps = tree_with(cloud).resolve("fs-btrfs").steps
        assert steps[-1].module == "btrfs"
        assert steps[-1].reason == "fs-btrfs is an alias of it"
        reasons = {step.module: step.reason for step in steps}
        assert reasons["xor"] == "dependency of btrfs"
        assert reasons["blake2b_generic"] == "softdep pre of btrfs"
        assert reasons["crc32c_intel"] == "softdep pre of libcrc32c"
        assert all(Path(step.path).exists() for step in steps if step.action == "insmod")

    def test_every_softdep_line_counts(self, cloud: Tree) -> None:
        """kmod heeds the first only."""
        lines = [line for line in (cloud.path / "modules.softdep").read_text().splitlines() if " btrfs " in line]
        assert len(lines) > 1
        assert {"blake2b_generic", "xxhash_generic"} <= set(names(tree_with(cloud), "btrfs"))
        assert "ifb" in names(tree_with(cloud, "softdep veth pre: dummy\nsoftdep veth pre: ifb\n"), "veth")

    def test_softdeps_don_t_disable_an_install_line(self, cloud: Tree) -> None:
        steps = tree_with(cloud, "softdep veth pre: dummy\ninstall veth echo hi\n").resolve("veth").steps
        assert [(step.action, step.module) for step in steps] == [("insmod", "dummy"), ("install", "veth")]

    def test_options_of_alias_and_module_and_arguments(self, cloud: Tree) -> None:
        tree = tree_with(cloud, "alias my-net dummy\noptions dummy a=1\noptions my_net b=2\n")
        assert tree.resolve("my-net", "c=3").steps[0].argument == "a=1 b=2 c=3"
        assert tree.resolve("dummy", "c=3").steps[0].argument == "a=1 c=3"

    def test_the_blacklist_counts_for_aliases_and_on_demand_for_names(self, cloud: Tree) -> None:
        tree = tree_with(cloud, "blacklist virtio_blk\n")
        assert [step.blacklisted for step in tree.resolve("virtio:d00000002v00001AF4").steps] == [True]
        assert names(tree, "virtio_blk")[-1] == "virtio_blk"
        assert [step.blacklisted for step in tree.resolve("virtio_blk", use_blacklist=True).steps] == [True]

    def test_forbid_stops_dependencies_too(self, cloud: Tree) -> None:
        tree = tree_with(cloud, "forbid xor\n")
        with pytest.raises(ForbiddenModuleError, match="xor, which btrfs needs") as caught:
            tree.resolve("btrfs")
        assert (caught.value.module, caught.value.wanted_by) == ("xor", "btrfs")

    def test_a_forbidden_soft_dependency_is_left_out(self, cloud: Tree) -> None:
        assert "blake2b_generic" not in names(tree_with(cloud, "forbid blake2b-generic\n"), "btrfs")

    def test_the_allow_list(self, cloud: Tree) -> None:
        tree = tree_with(cloud, "allow dummy veth\nallow virtio*\n")
        assert names(tree, "dummy") == ["dummy"]
        assert names(tree, "virtio_blk") == ["virtio", "virtio_ring", "virtio_blk"]
        with pytest.raises(ForbiddenModuleError):
            tree.resolve("tun")

    def test_a_module_matched_twice_is_planned_once(self, cloud: Tree) -> None:
        tree = tree_with(cloud, "alias twice dummy\nalias tw* dummy\n")
        assert [match.module for match in tree.lookup("twice")] == ["dummy", "dummy"]
        assert names(tree, "twice") == ["dummy"]

    def test_builtin_modules(self, cloud: Tree) -> None:
        (step,) = tree_with(cloud).resolve("fs-ext4").steps
        assert (step.action, step.module, str(step)) == ("builtin", "ext4", "builtin ext4")

    def test_a_typo_gets_a_suggestion(self, cloud: Tree) -> None:
        with pytest.raises(ModuleNotFoundInTreeError) as caught:
            tree_with(cloud).resolve("btrsf")
        assert "btrfs" in caught.value.suggestions
        assert "Did you mean btrfs" in str(caught.value)

    def test_missing_indexes_get_a_hint(self, tmp_path: Path) -> None:
        with pytest.raises(ModuleNotFoundInTreeError, match="no modules are installed"):
            ModuleTree.of("1.0", root=str(tmp_path)).resolve("x")
        (tmp_path / "lib/modules/1.0").mkdir(parents=True)
        with pytest.raises(ModuleNotFoundInTreeError, match="run `depmod`"):
            ModuleTree.of("1.0", root=str(tmp_path)).resolve("x")

    def test_a_module_that_the_indexes_don_t_know_gets_a_hint(self, cloud: Tree, tmp_path: Path) -> None:
        tree = tmp_path / "lib/modules/1.0"
        tree.mkdir(parents=True)
        for path in cloud.path.glob("modules.*"):
            (tree / path.name).symlink_to(path)
        (tree / "new_one.ko").touch()
        with pytest.raises(ModuleNotFoundInTreeError, match="not in the indexes"):
            ModuleTree.of("1.0", root=str(tmp_path)).resolve("new-one")

    def test_a_damaged_index_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "modules.dep.bin").write_bytes(b"not an index")
        with pytest.raises(IndexFormatError, match="depmod"):
            ModuleTree(str(tmp_path)).resolve("x")
