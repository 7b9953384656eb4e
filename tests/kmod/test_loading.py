"""Loading and unloading through the Kernel interface: chains, soft dependencies, commands, refusals."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from kobox.errors import ModuleLoadError, ModuleUnloadError
from kobox.kernel.interface import InitFlags
from kobox.kmod.config.modprobe_d import Config, ConfigReader
from kobox.kmod.insmod import insmod
from kobox.kmod.lsmod import lsmod, table
from kobox.kmod.modprobe import CommandFailedError, Options, modprobe, remove
from kobox.kmod.module_tree import ModuleTree
from kobox.kmod.parameters import join, join_arguments
from kobox.kmod.plan import ForbiddenModuleError, ModuleNotFoundInTreeError
from kobox.kmod.rmmod import rmmod
from tests.kmod.small_kernel import SmallKernel
from tests.kmod_fixtures import Tree


def tree_with(cloud: Tree, text: str = "") -> ModuleTree:
    reader = ConfigReader()
    reader.read(text, "test.conf")
    return ModuleTree.of(cloud.release, root=str(cloud.root), config=reader.config())


@pytest.fixture
def kernel() -> SmallKernel:
    return SmallKernel()


def test_a_chain_is_loaded_in_order_and_told(cloud: Tree, kernel: SmallKernel) -> None:
    done = modprobe(kernel, tree_with(cloud), "fs-btrfs")
    assert done.loaded[-1] == "btrfs"
    assert {"xor", "raid6_pq", "libcrc32c", "zstd_compress"} < set(done.loaded)
    assert [call[1] for call in kernel.calls] == list(done.loaded)
    assert done.plan.modules == ("btrfs",)


def test_what_is_there_is_not_loaded_again(cloud: Tree, kernel: SmallKernel) -> None:
    modprobe(kernel, tree_with(cloud), "xor")
    kernel.calls.clear()
    done = modprobe(kernel, tree_with(cloud), "btrfs")
    assert "xor" not in done.loaded
    assert "xor" in done.present
    kernel.calls.clear()
    assert modprobe(kernel, tree_with(cloud), "btrfs").loaded == ()
    assert kernel.calls == []


def test_first_time_refuses_what_is_there(cloud: Tree, kernel: SmallKernel) -> None:
    tree = tree_with(cloud)
    modprobe(kernel, tree, "dummy", options=Options(first_time=True))
    with pytest.raises(ModuleLoadError) as caught:
        modprobe(kernel, tree, "dummy", options=Options(first_time=True))
    assert caught.value.errno == errno.EEXIST
    with pytest.raises(ModuleUnloadError, match="not in kernel"):
        remove(kernel, tree, "veth", Options(first_time=True))


def test_parameters_of_configuration_and_call_come_together(cloud: Tree, kernel: SmallKernel) -> None:
    modprobe(
        kernel, tree_with(cloud, "options dummy a=1\noptions xor q=2\n"), "dummy", {"n": 3, "s": "x y", "on": True}
    )
    assert kernel.calls == [("load", "dummy", 'a=1 n=3 s="x y" on=1')]


def test_a_soft_dependency_may_fail_and_a_dependency_may_not(cloud: Tree, kernel: SmallKernel) -> None:
    kernel.refused = {"blake2b_generic": errno.ENODEV}
    assert "btrfs" in modprobe(kernel, tree_with(cloud), "btrfs").loaded
    other = SmallKernel()
    other.refused = {"raid6_pq": errno.ENODEV}
    with pytest.raises(ModuleLoadError, match="raid6_pq") as caught:
        modprobe(other, tree_with(cloud), "btrfs")
    assert caught.value.errno == errno.ENODEV
    assert "btrfs" not in other.modules


def test_a_file_that_the_indexes_know_but_is_gone_is_told(cloud: Tree, kernel: SmallKernel, tmp_path: Path) -> None:
    directory = tmp_path / "lib/modules/1.0"
    directory.mkdir(parents=True)
    for path in cloud.path.glob("modules.*"):
        (directory / path.name).symlink_to(path)
    with pytest.raises(ModuleLoadError, match="stale, run `depmod`"):
        modprobe(kernel, ModuleTree(str(directory)), "dummy")


def test_force_reaches_the_kernel(cloud: Tree, kernel: SmallKernel) -> None:
    flags = InitFlags.IGNORE_VERMAGIC | InitFlags.IGNORE_MODVERSIONS
    modprobe(kernel, tree_with(cloud), "dummy", options=Options(flags=flags))
    assert kernel.calls == [("load", "dummy", "", "3")]


def test_a_dry_run_only_shows(cloud: Tree, kernel: SmallKernel) -> None:
    shown: list[str] = []
    modprobe(kernel, tree_with(cloud), "btrfs", options=Options(dry_run=True, show=shown.append))
    assert kernel.calls == []
    assert shown[-1].startswith("insmod /")
    assert "btrfs.ko" in shown[-1]


def test_removing_takes_away_what_nobody_uses_any_more(cloud: Tree, kernel: SmallKernel) -> None:
    tree = tree_with(cloud)
    loaded = modprobe(kernel, tree, "btrfs").loaded
    removed = remove(kernel, tree, "btrfs").removed
    assert removed[0] == "btrfs"
    assert set(removed) == set(loaded)
    assert kernel.modules == {}


def test_what_others_use_stays(cloud: Tree, kernel: SmallKernel) -> None:
    tree = tree_with(cloud)
    modprobe(kernel, tree, "btrfs")
    modprobe(kernel, tree, "raid456")
    remove(kernel, tree, "btrfs")
    assert {"xor", "raid6_pq", "raid456"} <= set(kernel.modules)
    with pytest.raises(ModuleUnloadError, match="in use") as caught:
        remove(kernel, tree, "raid6_pq")
    assert caught.value.errno == errno.EBUSY


def test_holders_are_removed_on_demand(cloud: Tree, kernel: SmallKernel) -> None:
    tree = tree_with(cloud)
    modprobe(kernel, tree, "btrfs")
    remove(kernel, tree, "raid6_pq", Options(remove_holders=True))
    assert not {"raid6_pq", "btrfs"} & set(kernel.modules)


def test_waiting_ends_with_the_time_given(cloud: Tree, kernel: SmallKernel) -> None:
    tree = tree_with(cloud)
    modprobe(kernel, tree, "dummy")
    kernel.held["dummy"] = 1
    with pytest.raises(ModuleUnloadError, match="in use"):
        remove(kernel, tree, "dummy", Options(wait_ms=30))
    assert remove(kernel, tree, "dummy", Options(force=True)).removed == ("dummy",)
    assert kernel.calls[-1] == ("unload", "dummy", "force")


def test_a_module_from_elsewhere_can_be_removed(cloud: Tree, kernel: SmallKernel) -> None:
    from tests.kmod.module_maker import make_module

    insmod(kernel, make_module(info=["name=foreign"]))
    assert remove(kernel, tree_with(cloud), "foreign").removed == ("foreign",)
    with pytest.raises(ModuleNotFoundInTreeError):
        remove(kernel, tree_with(cloud), "nosuch")


class TestCommands:
    """Install and remove lines: run for the host's kernel, elsewhere only when the caller says so."""

    def config(self, path: Path) -> str:
        return (
            f"install dummy echo $MODPROBE_MODULE $CMDLINE_OPTS > {path}\n"
            f"remove dummy echo bye > {path}\ninstall veth /bin/true\ninstall tun /bin/false\n"
        )

    def test_another_kernel_s_commands_are_not_run_here_unasked(
        self, cloud: Tree, kernel: SmallKernel, tmp_path: Path
    ) -> None:
        with pytest.raises(CommandFailedError, match="run_commands=True"):
            modprobe(kernel, tree_with(cloud, self.config(tmp_path / "out")), "dummy")
        assert not (tmp_path / "out").exists()

    def test_they_are_run_on_demand(self, cloud: Tree, kernel: SmallKernel, tmp_path: Path) -> None:
        tree = tree_with(cloud, self.config(tmp_path / "out"))
        modprobe(kernel, tree, "dummy", "a=1", Options(run_commands=True))
        assert (tmp_path / "out").read_text() == "dummy a=1\n"
        remove(kernel, tree, "dummy", Options(run_commands=True))
        assert (tmp_path / "out").read_text() == "bye\n"
        assert kernel.calls == []

    def test_a_failing_command_is_told(self, cloud: Tree, kernel: SmallKernel) -> None:
        tree = tree_with(cloud, "install dummy exit 3\n")
        with pytest.raises(CommandFailedError, match="retcode 3"):
            modprobe(kernel, tree, "dummy", options=Options(run_commands=True))

    def test_they_can_be_ignored(self, cloud: Tree, kernel: SmallKernel, tmp_path: Path) -> None:
        tree = tree_with(cloud, self.config(tmp_path / "out"))
        modprobe(kernel, tree, "dummy", options=Options(ignore_commands=True))
        remove(kernel, tree, "dummy", Options(ignore_commands=True))
        assert kernel.calls == [("load", "dummy", ""), ("unload", "dummy")]

    def test_true_and_false_need_no_shell(self, cloud: Tree, kernel: SmallKernel, tmp_path: Path) -> None:
        tree = tree_with(cloud, self.config(tmp_path / "out"))
        modprobe(kernel, tree, "veth")
        assert kernel.calls == []
        with pytest.raises(CommandFailedError):
            modprobe(kernel, tree, "tun")


def test_a_forbidden_dependency_loads_nothing(cloud: Tree, kernel: SmallKernel) -> None:
    with pytest.raises(ForbiddenModuleError):
        modprobe(kernel, tree_with(cloud, "forbid xor\n"), "btrfs")
    assert kernel.calls == []


def test_insmod_of_a_file_tells_the_name_and_the_refusal(cloud: Tree, kernel: SmallKernel) -> None:
    path = next(cloud.path.rglob("usb-common.ko"), None) or next(cloud.path.rglob("dummy.ko"))
    assert insmod(kernel, path, {"a": [1, 2]}) in kernel.modules
    assert kernel.calls[0][2] == "a=1,2"
    with pytest.raises(ModuleLoadError, match="loaded already") as caught:
        insmod(kernel, path)
    assert caught.value.errno == errno.EEXIST
    with pytest.raises(FileNotFoundError):
        insmod(kernel, "/nonexistent.ko")


def test_rmmod_refuses_what_is_in_use(cloud: Tree, kernel: SmallKernel) -> None:
    modprobe(kernel, tree_with(cloud), "btrfs")
    with pytest.raises(ModuleUnloadError, match="in use by: btrfs"):
        rmmod(kernel, "xor")
    with pytest.raises(ModuleUnloadError, match="not currently loaded"):
        rmmod(kernel, "nosuch")
    assert rmmod(kernel, "/some/where/btrfs.ko.xz") == "btrfs"


def test_lsmod_shows_columns(cloud: Tree, kernel: SmallKernel) -> None:
    modprobe(kernel, ModuleTree.of(cloud.release, root=str(cloud.root), config=Config()), "raid6_pq")
    insmod(kernel, next(cloud.path.rglob("dummy.ko")))
    assert table(lsmod(kernel)) == (
        "Module                  Size  Used by\ndummy                   4096  0\nraid6_pq                4096  0\n"
    )


def test_parameters_as_the_kernel_reads_them() -> None:
    assert join({"a": 1, "b": "two words", "c": False, "d": [1, "x"]}) == 'a=1 b="two words" c=0 d=1,x'
    assert join_arguments(["a=1", "b=two words", "flag"]) == 'a=1 b="two words" flag'
    with pytest.raises(ValueError, match="both"):
        join({"a": 'x "y'})
