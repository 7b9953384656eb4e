"""ModuleFile on real modules of several architectures, and on damaged ones."""

from __future__ import annotations

import contextlib
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kobox.errors import ModuleFormatError
from kobox.images.store import KernelImage
from kobox.ko.modinfo import Parameter
from kobox.ko.modulefile import GlancedModule, ModuleFile
from tests.kmod.module_maker import make_module
from tests.kmod_fixtures import ARMHF, CLOUD_ARM64, CLOUD_XZ, S390X, Answer, packaged_tree
from tests.ko.asking import everything


def test_what_btrfs_says_of_itself(btrfs: ModuleFile) -> None:
    assert btrfs.name == "btrfs"
    assert btrfs.elf.architecture == "x86_64"
    assert (btrfs.elf.bits, btrfs.elf.byte_order) == (64, "little")
    assert btrfs.compression == ""
    assert btrfs.modinfo.first("license") == "GPL"
    assert "devname:btrfs-control" in btrfs.aliases
    assert set(btrfs.depends) == {"xor", "raid6_pq", "libcrc32c", "zstd_compress"}
    assert btrfs.vermagic.flags == ("SMP", "preempt", "mod_unload", "modversions")
    assert len(btrfs.softdeps) == 4


@pytest.mark.parametrize("damage", ["", "signature", "short", "stray"])
def test_a_glance_says_what_the_whole_says(damage: str, cloud_package: Path, tmp_path: Path) -> None:
    """modinfo reads parts of a file: the same answers, and the same errors."""
    for name in ("btrfs", "dummy", "kvm", "xfs", "raid6_pq"):
        data = next(cloud_package.rglob(f"{name}.ko")).read_bytes()
        if damage == "signature":
            data = data[:-60] + bytes(8) + data[-52:]
        data = {"short": data[: len(data) * 9 // 10], "stray": data + b"x"}.get(damage, data)
        path = tmp_path / f"{name}.ko"
        path.write_bytes(data)
        assert _seen(lambda path=path: GlancedModule(str(path))) == _seen(lambda path=path: ModuleFile(path))  # type: ignore[misc]
    if not damage:
        glanced = GlancedModule(str(tmp_path / "btrfs.ko"))
        assert _seen(lambda: glanced)[3]
        assert "content" not in vars(glanced)  # 4 MB that nobody asked for
        assert glanced.content == (tmp_path / "btrfs.ko").read_bytes()


def _seen(make: Callable[[], ModuleFile]) -> list[object]:
    """What modinfo asks of a file."""
    asked: tuple[Callable[[ModuleFile], object], ...] = (
        lambda module: module.name,
        lambda module: tuple(module.modinfo),
        lambda module: module.build_id,
        lambda module: module.signature,
    )
    try:
        module = make()
    except ModuleFormatError as error:
        return [str(error)]
    found: list[object] = []
    for ask in asked:
        try:
            found.append(ask(module))
        except ModuleFormatError as error:
            found.append(str(error))
    return found


def test_imports_have_the_crcs_that_the_exporter_has(cloud_package: Path, btrfs: ModuleFile) -> None:
    raid6 = ModuleFile(next(cloud_package.rglob("raid6_pq.ko")))
    offered = {export.name: export for export in raid6.exports}
    wanted = [each for each in btrfs.imports if each.name in offered]
    assert [each.name for each in wanted] == ["raid6_call"] or len(wanted) > 1
    assert all(each.crc == offered[each.name].crc for each in wanted)
    assert offered["raid6_call"].gpl_only
    assert not offered["raid6_gfmul"].gpl_only


def test_gpl_only_exports_of_new_kernels_are_told_by_their_flags(sid_kernel: KernelImage) -> None:
    assert sid_kernel.modules is not None
    camellia = ModuleFile(next(sid_kernel.modules.rglob("camellia-x86_64.ko*")))
    assert camellia.elf.find(b"__kflagstab")
    assert not camellia.elf.find(b"__ksymtab_gpl")
    assert {export.name: export.gpl_only for export in camellia.exports}["camellia_dec_blk"]
    others = (ModuleFile(path) for path in sorted(sid_kernel.modules.rglob("*.ko*"))[:60])
    flags = {export.gpl_only for module in others for export in module.exports}
    assert flags == {True, False}


def test_namespaces(cloud_package: Path) -> None:
    mana = ModuleFile(next(cloud_package.rglob("mana.ko")))
    assert "NET_MANA" in {export.namespace for export in mana.exports}
    raid6 = ModuleFile(next(cloud_package.rglob("raid6_pq.ko")))
    assert {export.namespace for export in raid6.exports} == {""}


@pytest.mark.parametrize(
    ("package", "architecture", "bits", "order"),
    [
        (CLOUD_XZ, "x86_64", 64, "little"),
        (CLOUD_ARM64, "aarch64", 64, "little"),
        (ARMHF, "arm", 32, "little"),
        (S390X, "s390x", 64, "big"),
    ],
)
def test_modules_of_other_architectures(
    package: tuple[str, str, str], architecture: str, bits: int, order: str, kmod: Callable[..., Answer]
) -> None:
    paths = sorted(packaged_tree(*package).rglob("*.ko*"))[::60]
    assert paths
    for path in paths:
        module = ModuleFile(path)
        assert (module.elf.architecture, module.elf.bits, module.elf.byte_order) == (architecture, bits, order)
        everything(module)
        rows = {f"0x{crc:08x}\t{name}" for name, crc in module.versions.items()}
        assert rows <= set(kmod("modprobe", "--show-modversions", path).output.splitlines())
        theirs = kmod("modprobe", "--show-exports", path).output.splitlines()
        assert [f"0x{export.crc:08x}\t{export.name}" for export in module.exports] == theirs


def test_parameters_with_type_and_description() -> None:
    info = ("parm=debug:How much to say", "parmtype=debug:int", "parmtype=bare:bool", "parm=odd")
    module = ModuleFile(make_module(info=info))
    assert module.parameters == (
        Parameter("debug", "int", "How much to say"),
        Parameter("bare", "bool", ""),
        Parameter("odd", "", ""),
    )


def test_extended_versions_win_over_the_classic_ones() -> None:
    long = "x" * 200
    module = ModuleFile(make_module(needs=[long, "b"], versions_ext=[(long, 0xDEADBEEF), ("b", 7)]))
    assert module.versions == {long: 0xDEADBEEF, "b": 7}
    assert [(each.name, each.crc) for each in module.imports] == [(long, 0xDEADBEEF), ("b", 7)]


def test_an_error_names_the_file_and_the_offset(tmp_path: Path, btrfs: ModuleFile) -> None:
    path = tmp_path / "short.ko"
    path.write_bytes(btrfs.content[:100_000])
    with pytest.raises(ModuleFormatError) as caught:
        ModuleFile(path)
    assert str(path) in str(caught.value)
    assert caught.value.offset is not None
    assert caught.value.path == str(path)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"hello", b"\x7fELF\2\1\1" + bytes(60), b"\0" * 5000])
def test_what_is_no_module_is_refused(content: bytes) -> None:
    with pytest.raises(ModuleFormatError):
        ModuleFile(content)


def test_a_program_is_no_module() -> None:
    with pytest.raises(ModuleFormatError, match="not a relocatable object"):
        ModuleFile("/bin/true")


def test_truncations_of_real_modules_give_only_the_one_error(cloud_package: Path) -> None:
    content = next(cloud_package.rglob("dummy.ko")).read_bytes()
    for size in [*range(0, 600, 7), *range(600, len(content), 997)]:
        with pytest.raises(ModuleFormatError):
            everything(ModuleFile(content[:size]))


def test_flipped_bits_in_real_modules_give_only_the_one_error(cloud_package: Path) -> None:
    content = next(cloud_package.rglob("raid6_pq.ko")).read_bytes()
    chosen = random.Random(11)
    headers = int.from_bytes(content[40:48], "little")
    for _ in range(1500):
        damaged = bytearray(content)
        # Half of them where a flipped bit does most: in the ELF header and the section headers.
        places = [
            range(64),
            range(headers, headers + 3000),
            range(len(content) - 800, len(content)),
            range(len(content)),
        ]
        for _ in range(chosen.randint(1, 4)):
            damaged[chosen.choice(chosen.choice(places))] ^= 1 << chosen.randrange(8)
        try:
            everything(ModuleFile(bytes(damaged)))
        except ModuleFormatError:
            continue


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_bytes_in_any_field_give_only_the_one_error(data: st.DataObject) -> None:
    content = bytearray(make_module(exports=["a", "b"], needs=["c"], info=["license=GPL", "parm=x:y", "alias=z"]))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        width = data.draw(st.sampled_from([1, 2, 4, 8]))
        value = data.draw(st.one_of(st.just(2**64 - 1), st.just(2**63), st.integers(0, 2**64 - 1), st.integers(0, 300)))
        content[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")[: len(content) - at]
    with contextlib.suppress(ModuleFormatError):
        everything(ModuleFile(bytes(content)))


def test_nothing_but_what_is_asked_for_is_imported() -> None:
    """A short command must not pay for decompressors and ASN.1."""
    code = "import sys, kobox.ko.modulefile; print(*sys.modules)"
    done = subprocess.run([__import__("sys").executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"lzma", "zstandard", "lz4", "asn1crypto", "dataclasses", "pathlib"} & set(done.stdout.split())
