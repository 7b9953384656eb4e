"""The tools in a real kernel: what the box's own /proc and /sys say after each of them.

The tree is the kernel's own; a test's modprobe.d is a directory. `lsmod` is held against /proc/modules.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from kobox.box.boot.boot import tree_of
from kobox.box.box import Box
from kobox.errors import ModuleLoadError, ModuleUnloadError
from kobox.images.store import KernelImage
from kobox.kernel import sysfs_modules as loaded
from kobox.kernel.interface import InitFlags
from kobox.kmod.config import modprobe_d as config
from kobox.kmod.insmod import insmod
from kobox.kmod.lsmod import lsmod, table
from kobox.kmod.modprobe import CommandFailedError, Options, modprobe, remove
from kobox.kmod.module_tree import ModuleTree
from kobox.kmod.plan import ForbiddenModuleError
from kobox.kmod.rmmod import rmmod
from kobox.ko.modulefile import ModuleFile
from kobox.ko.unchecked import without_checks
from tests.building import BuiltTestModules

FORCE = InitFlags.IGNORE_MODVERSIONS | InitFlags.IGNORE_VERMAGIC
FORCED_REMOVAL = 1 << 3  # TAINT_FORCED_RMMOD, Documentation/admin-guide/tainted-kernels.rst


class Configured:
    """The kernel's tree with a modprobe.d of the test's own: `configured("blacklist dummy")`."""

    def __init__(self, kernel: KernelImage, directory: Path) -> None:
        self._directory = str(tree_of(kernel).directory)
        self.place = directory

    def __call__(self, *files: str, command_line: str = "") -> ModuleTree:
        for number, text in enumerate(files):
            (self.place / f"{number}.conf").write_text(text + "\n")
        return ModuleTree(self._directory, config.load([str(self.place)], command_line))


@pytest.fixture
def configured(debian_kernel: KernelImage, tmp_path: Path) -> Configured:
    (tmp_path / "modprobe.d").mkdir()
    return Configured(debian_kernel, tmp_path / "modprobe.d")


@pytest.fixture
def tree(configured: Configured) -> ModuleTree:
    return configured()


def in_order_of_loading(box: Box) -> list[str]:
    """/proc/modules has the newest first."""
    return [module.name for module in reversed(loaded.loaded_modules(box))]


class TestLsmod:
    def test_it_says_what_proc_modules_says(self, box: Box, modules: BuiltTestModules, tree: ModuleTree) -> None:
        modprobe(box, tree, "btrfs")
        insmod(box, modules("kbase"))
        insmod(box, modules("kuser"))
        rows = [line.split() for line in box.read_text("/proc/modules").splitlines()]
        expected = [[name, size, count, users.strip("-").rstrip(",")] for name, size, count, users, *_ in rows]
        shown = [(*line.split(), "")[:4] for line in table(lsmod(box)).splitlines()[1:]]
        assert [list(line) for line in shown] == expected
        assert ["kbase", expected[1][1], "1", "kuser"] == expected[1]

    def test_state_taint_and_address_are_data(self, box: Box, modules: BuiltTestModules) -> None:
        insmod(box, modules("good"))
        (module,) = [module for module in lsmod(box) if module.name == "good"]
        assert module.state == loaded.LIVE
        assert set(module.taint) == {"O", "E"}  # out of tree, unsigned
        assert module.address in loaded.sections(box, "good").values()
        assert loaded.attribute(box, "good", "taint") == module.taint

    def test_a_kernel_without_proc_says_so(self, box: Box) -> None:
        box.files.umount("/proc", 2)
        with pytest.raises(FileNotFoundError):
            lsmod(box)


class TestInsmodAndRmmod:
    def test_a_module_comes_with_its_parameters_and_goes(self, box: Box, modules: BuiltTestModules) -> None:
        assert insmod(box, modules("params"), {"number": 7, "greeting": "two words", "list": [4, 5], "flag": True})
        told = loaded.parameters(box, "params")
        assert (told["number"], told["greeting"], told["list"], told["flag"]) == ("7", "two words", "4,5", "Y")
        assert rmmod(box, "params") == "params"
        assert loaded.init_state(box, "params") == ""

    def test_what_the_kernel_refuses_is_explained(self, box: Box, modules: BuiltTestModules) -> None:
        with pytest.raises(ModuleLoadError, match="modprobe") as caught:
            insmod(box, modules("kuser"))
        assert caught.value.errno == errno.ENOENT
        insmod(box, modules("good"))
        with pytest.raises(ModuleLoadError, match="loaded already") as caught:
            insmod(box, modules("good"))
        assert caught.value.errno == errno.EEXIST
        with pytest.raises(ModuleLoadError) as caught:
            insmod(box, modules("params"), "number=many")
        assert caught.value.errno == errno.EINVAL
        assert in_order_of_loading(box)[-1] == "good"

    def test_a_module_in_use_is_not_removed(self, box: Box, modules: BuiltTestModules) -> None:
        insmod(box, modules("kbase"))
        insmod(box, modules("kuser"))
        with pytest.raises(ModuleUnloadError, match="Module kbase is in use by: kuser") as caught:
            rmmod(box, "kbase")
        assert caught.value.errno == errno.EBUSY
        assert rmmod(box, str(modules("kuser"))) == "kuser"
        rmmod(box, "kbase")
        with pytest.raises(ModuleUnloadError, match="not currently loaded"):
            rmmod(box, "kbase")

    def test_a_module_held_by_a_reference_is_not_removed_but_by_force(
        self, box: Box, modules: BuiltTestModules, tree: ModuleTree
    ) -> None:
        insmod(box, modules("good"), {"hold": True})
        with pytest.raises(ModuleUnloadError, match="Module good is in use") as caught:
            rmmod(box, "good")
        assert caught.value.errno == errno.EBUSY
        with pytest.raises(ModuleUnloadError, match="Module good is in use"):
            remove(box, tree, "good", Options(wait_ms=5))
        assert rmmod(box, "good", force=True) == "good"
        assert in_order_of_loading(box) == []
        insmod(box, modules("good"), {"hold": True})
        assert remove(box, tree, "good", Options(force=True)).removed == ("good",)
        assert int(box.read_text("/proc/sys/kernel/tainted")) & FORCED_REMOVAL

    def test_a_module_without_exit_stays(self, box: Box, modules: BuiltTestModules) -> None:
        insmod(box, modules("noexit"))
        with pytest.raises(ModuleUnloadError, match="made to stay") as caught:
            rmmod(box, "noexit")
        assert caught.value.errno == errno.EBUSY

    def test_a_built_in_module_is_told_from_one_that_is_not_there(self, box: Box) -> None:
        with pytest.raises(ModuleUnloadError, match="is builtin"):
            rmmod(box, "printk")


class TestChains:
    def test_what_is_needed_comes_first_and_goes_last(self, box: Box, tree: ModuleTree) -> None:
        done = modprobe(box, tree, "fs-btrfs")
        order = in_order_of_loading(box)
        assert [name for name in order if name in done.loaded] == list(done.loaded)
        assert set(tree.entry("btrfs").dependencies) <= set(done.loaded[: done.loaded.index("btrfs")])  # type: ignore[union-attr]
        for module in done.loaded:
            entry = tree.entry(module)
            assert entry is not None
            assert all(order.index(each) < order.index(module) for each in entry.dependencies)
        removed = remove(box, tree, "btrfs").removed
        assert removed[0] == "btrfs"
        assert set(removed) == set(done.loaded)
        assert in_order_of_loading(box) == []

    def test_soft_dependencies_come_before_and_after(self, box: Box, configured: Configured) -> None:
        tree = configured("softdep dummy pre: xor nosuchmodule post: raid6_pq")
        done = modprobe(box, tree, "dummy")
        assert done.loaded == ("xor", "dummy", "raid6_pq")
        assert in_order_of_loading(box) == ["xor", "dummy", "raid6_pq"]
        assert remove(box, tree, "dummy").removed == ("raid6_pq", "dummy", "xor")

    def test_an_alias_of_the_configuration_leads_to_it(self, box: Box, configured: Configured) -> None:
        modprobe(box, configured("alias my-* dummy"), "my-device")
        assert in_order_of_loading(box) == ["dummy"]

    def test_holders_go_first_when_asked_to(self, box: Box, tree: ModuleTree) -> None:
        modprobe(box, tree, "btrfs")
        with pytest.raises(ModuleUnloadError, match=r"Module raid6_pq is in use\."):
            remove(box, tree, "raid6_pq")
        removed = remove(box, tree, "raid6_pq", Options(remove_holders=True)).removed
        assert removed.index("btrfs") < removed.index("raid6_pq")
        assert "raid6_pq" not in in_order_of_loading(box)

    def test_the_first_time_is_the_only_one(self, box: Box, tree: ModuleTree) -> None:
        once = Options(first_time=True)
        modprobe(box, tree, "dummy", options=once)
        with pytest.raises(ModuleLoadError, match="could not insert 'dummy'") as caught:
            modprobe(box, tree, "dummy", options=once)
        assert caught.value.errno == errno.EEXIST
        assert modprobe(box, tree, "dummy").loaded == ()
        remove(box, tree, "dummy", once)
        with pytest.raises(ModuleUnloadError, match="not in kernel"):
            remove(box, tree, "dummy", once)
        assert remove(box, tree, "dummy").removed == ()

    def test_a_module_made_for_another_kernel_takes_force(
        self, box: Box, modules: BuiltTestModules, tree: ModuleTree, tmp_path: Path
    ) -> None:
        strange = tmp_path / "good.ko"
        strange.write_bytes(modules("good").read_bytes().replace(b" SMP preempt ", b" SMP PREEMPT "))
        with pytest.raises(ModuleLoadError) as caught:
            modprobe(box, tree, str(strange))
        assert caught.value.errno == errno.ENOEXEC
        modprobe(box, tree, str(strange), options=Options(flags=FORCE))
        assert "F" in loaded.attribute(box, "good", "taint")

    @pytest.mark.parametrize(("versions", "vermagic"), [(True, False), (False, True), (True, True)])
    def test_an_image_without_checks_loads_without_flags(
        self, box: Box, modules: BuiltTestModules, versions: bool, vermagic: bool
    ) -> None:
        """What kernels before finit_module(2) are given for --force; later ones take it, too."""
        image = modules("good").read_bytes()
        if vermagic:
            image = image.replace(b" SMP preempt ", b" SMP PREEMPT ")
        if versions:
            file = ModuleFile(image)
            at = file.elf.section_at(file.elf.find(b"__versions")).offset
            image = image[:at] + bytes(4) + image[at + 4 :]  # the CRC of the first symbol
        with pytest.raises(OSError) as caught:
            box.init_module(image)
        assert caught.value.errno == (errno.ENOEXEC if vermagic else errno.EINVAL)
        box.init_module(without_checks(image, versions=versions, vermagic=vermagic))
        assert "F" in loaded.attribute(box, "good", "taint")


class TestConfiguration:
    def test_parameters_of_all_sources_come_together(
        self, box: Box, configured: Configured, modules: BuiltTestModules
    ) -> None:
        tree = configured(
            "options params number=1 flag=1 list=7,8", 'options params greeting="from a file"',
            command_line='quiet params.number=2 params.secret=5 "params.greeting=from the line"',
        )  # fmt: skip
        modprobe(box, tree, str(modules("params")), {"number": 3})
        told = loaded.parameters(box, "params")
        assert told == {"even": "0", "flag": "Y", "greeting": "from the line", "list": "7,8", "number": "3"}
        assert any("secret=5" in record.text for record in box.log)

    def test_a_blacklist_counts_for_aliases(self, box: Box, configured: Configured) -> None:
        tree = configured("blacklist dummy", command_line="modprobe.blacklist=xor,raid6-pq")
        assert modprobe(box, tree, "rtnl-link-dummy").loaded == ()
        assert modprobe(box, tree, "xor", options=Options(use_blacklist=True)).loaded == ()
        assert modprobe(box, tree, "raid6_pq", options=Options(use_blacklist=True)).loaded == ()
        assert in_order_of_loading(box) == []
        assert modprobe(box, tree, "dummy").loaded == ("dummy",)

    def test_commands_are_not_run_for_a_box_unasked(self, box: Box, configured: Configured, tmp_path: Path) -> None:
        out = tmp_path / "out"
        tree = configured(f'install dummy echo "$MODPROBE_MODULE $CMDLINE_OPTS" > {out}\nremove dummy echo bye > {out}')
        with pytest.raises(CommandFailedError, match="not in the box"):
            modprobe(box, tree, "dummy")
        assert not out.exists()
        allowed = Options(run_commands=True)
        modprobe(box, tree, "dummy", "numdummies=2", allowed)
        assert out.read_text() == "dummy numdummies=2\n"
        assert in_order_of_loading(box) == []
        modprobe(box, tree, "dummy", "numdummies=2", Options(ignore_commands=True))
        assert in_order_of_loading(box) == ["dummy"]
        with pytest.raises(CommandFailedError, match="not in the box"):
            remove(box, tree, "dummy")
        remove(box, tree, "dummy", allowed)
        assert out.read_text() == "bye\n"
        assert remove(box, tree, "dummy", Options(ignore_commands=True)).removed == ("dummy",)

    def test_a_forbidden_module_loads_nothing_that_needs_it(self, box: Box, configured: Configured) -> None:
        tree = configured("forbid raid6_pq")
        with pytest.raises(ForbiddenModuleError, match="btrfs needs") as caught:
            modprobe(box, tree, "btrfs")
        assert (caught.value.module, caught.value.wanted_by) == ("raid6_pq", "btrfs")
        assert in_order_of_loading(box) == []

    def test_an_allow_list_keeps_the_rest_out(self, box: Box, configured: Configured) -> None:
        tree = configured("allow dummy x*")
        assert modprobe(box, tree, "xor").loaded == ("xor",)
        with pytest.raises(ForbiddenModuleError):
            modprobe(box, tree, "veth")
        assert in_order_of_loading(box) == ["xor"]
