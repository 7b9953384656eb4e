"""Installed modules: modprobe finds them, and the signature survives strip and compression."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.errors import KoboxError, ModuleFormatError
from kobox.kbuild.build import build
from kobox.kbuild.install import InstallOptions, install
from kobox.kmod.module_tree import ModuleTree
from kobox.signing import keys
from kobox.signing.sign import signer_from
from kobox.signing.verify import verify
from tests.building import BuiltTestModules

KOBOX = str(Path(sys.executable).with_name("kobox"))


@pytest.mark.parametrize(("compress", "suffix"), [("", ""), ("xz", ".xz"), ("gzip", ".gz"), ("zstd", ".zst")])
def test_strip_sign_and_compress_come_in_the_right_order(
    compress: str, suffix: str, modules: BuiltTestModules, tmp_path: Path, box: Box
) -> None:
    key = keys.generate("rsa:2048")
    certificate = keys.self_signed(key, "installer")
    files = keys.write_pair(tmp_path, "mine", key, certificate)
    command = [KOBOX, "install", "--root", str(tmp_path / "root"), "--strip", "--key", str(files.key)]
    command += ["--cert", str(files.certificate), *(["--compress", compress] if compress else [])]
    command += [str(modules("kbase")), str(modules("kuser"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tree = tmp_path / "root/lib/modules" / modules.kernel.release
    assert done.stdout.split() == [f"{tree}/updates/{name}.ko{suffix}" for name in ("kbase", "kuser")]
    for line in done.stdout.split():
        installed = Path(line).read_bytes()
        assert verify(installed, [certificate]).valid is True
        assert b".debug_info" not in installed
    plan = ModuleTree(str(tree)).resolve("kuser")
    assert [step.module for step in plan.steps] == ["kbase", "kuser"]
    for line in done.stdout.split():
        box.insmod(Path(line))


def test_an_earlier_copy_does_not_hide_a_new_one(modules: BuiltTestModules, tmp_path: Path) -> None:
    (old,) = install([modules("good")], tmp_path, InstallOptions(compress="xz"))
    (new,) = install([modules("good")], tmp_path)
    assert new.read_bytes() == modules("good").read_bytes()
    assert not old.exists()
    assert sorted(path.name for path in new.parent.iterdir()) == ["good.ko"]


def test_a_file_keeps_its_dashes_and_loses_another_name(modules: BuiltTestModules, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    code = '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n'
    (tmp_path / "source/two-words.c").write_text(code)
    (ko,) = build(tmp_path / "source", modules.kernel)
    (place,) = install([ko], tmp_path / "root")
    assert place.name == "two-words.ko"
    assert [step.module for step in ModuleTree(str(place.parent.parent)).resolve("two_words").steps] == ["two_words"]
    renamed = tmp_path / "signed.ko"
    renamed.write_bytes(ko.read_bytes())
    (again,) = install([renamed], tmp_path / "root")  # modprobe goes by the file's name
    assert again.name == "two_words.ko"
    assert not place.exists()


def test_one_bad_module_leaves_everything_as_it_was(modules: BuiltTestModules, tmp_path: Path) -> None:
    bad = tmp_path / "bad.ko"
    bad.write_bytes(b"no module")
    with pytest.raises(ModuleFormatError):
        install([modules("good"), bad], tmp_path / "root")
    assert not (tmp_path / "root").exists()
    with pytest.raises(KoboxError, match="gzip, xz, zstd"):
        install([modules("good")], tmp_path / "root", InstallOptions(compress="rar"))
    signer = signer_from(key := keys.generate("rsa:2048"), keys.self_signed(key, "x"))
    (place,) = install([modules("good")], tmp_path / "root", InstallOptions(signer=signer, depmod=False))
    assert [path.name for path in place.parent.parent.iterdir()] == ["updates"]
