"""Packages for Debian: what dpkg-deb says of them, and that what is in them builds and loads."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from kobox.kbuild.build import build
from kobox.kbuild.dkms import assignments, configuration, source_of
from kobox.kbuild.install import InstallOptions
from kobox.kbuild.new import new
from kobox.kbuild.package import PackageOptions, maintainer, package_dkms, package_prebuilt
from kobox.signing import keys
from kobox.signing.sign import signer_from
from kobox.signing.verify import verify

KOBOX = str(Path(sys.executable).with_name("kobox"))
ANN = PackageOptions(maintainer="Ann Example <ann@example.org>")


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No maintainer and no time from whoever runs the tests."""
    for name in ("DEBFULLNAME", "DEBEMAIL", "EMAIL", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


@pytest.fixture
def thing(tmp_path: Path) -> Path:
    new("hello", "thing", tmp_path / "thing")
    return tmp_path / "thing"


def dpkg_deb(*arguments: str | Path) -> str:
    done = subprocess.run(["dpkg-deb", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no warning either
    return done.stdout


def unpacked(deb: Path, into: Path) -> Path:
    dpkg_deb("-R", deb, into)
    return into


def files_of(deb: Path) -> list[tuple[str, str]]:
    """(mode and owner, path) of every member."""
    rows = [line.split(None, 5) for line in dpkg_deb("-c", deb).splitlines()]
    return [(f"{row[0]} {row[1]}", row[5]) for row in rows]


def test_a_dkms_package_as_dpkg_reads_it(thing: Path, tmp_path: Path) -> None:
    made = package_dkms(thing, tmp_path, ANN)
    assert made.path.name == "thing-dkms_0.1_all.deb"
    fields = dict(line.split(": ", 1) for line in dpkg_deb("-f", made.path).splitlines() if not line.startswith(" "))
    assert fields["Package"] == "thing-dkms"
    assert (fields["Version"], fields["Architecture"], fields["Source"]) == ("0.1", "all", "thing")
    assert (fields["Section"], fields["Priority"]) == ("kernel", "optional")
    assert fields["Maintainer"] == "Ann Example <ann@example.org>"
    assert fields["Depends"] == "dkms (>= 2.1.0.0)"
    assert len(fields["Description"]) < 80
    names = [path for _, path in files_of(made.path)]
    assert {f"./usr/src/thing-0.1/{name}" for name in ("thing.c", "Makefile", "dkms.conf")} <= set(names)
    assert not [name for name in names if "test_" in name or "conftest" in name or "/." in name]
    assert {"./usr/share/doc/thing-dkms/copyright", "./usr/share/doc/thing-dkms/changelog.gz"} <= set(names)
    assert {about.split()[1] for about, _ in files_of(made.path)} == {"root/root"}

    root = unpacked(made.path, tmp_path / "root")
    listed = dict(reversed(line.split("  ", 1)) for line in (root / "DEBIAN/md5sums").read_text().splitlines())
    inside = [path for path in root.rglob("*") if path.is_file() and path.parent.name != "DEBIAN"]
    assert listed == {str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in inside}
    assert int(fields["Installed-Size"]) == sum(
        -(-path.stat().st_size // 1024) if path.is_file() else 1
        for path in root.rglob("*")
        if "DEBIAN" not in path.parts
    )
    for name in ("postinst", "prerm"):
        script = root / "DEBIAN" / name
        assert os.access(script, os.X_OK)
        subprocess.run(["sh", "-n", script], check=True)
    assert "/usr/lib/dkms/common.postinst thing 0.1 " in (root / "DEBIAN/postinst").read_text()
    assert "dkms remove -m thing -v 0.1 --all" in (root / "DEBIAN/prerm").read_text()


def test_the_source_in_it_builds(thing: Path, tmp_path: Path, debian_kernel: KernelImage, box: Box) -> None:
    root = unpacked(package_dkms(thing, tmp_path, ANN).path, tmp_path / "root")
    (ko,) = build(root / "usr/src/thing-0.1", debian_kernel, output=tmp_path / "out")
    box.insmod(ko).unload()


def test_bare_c_files_get_a_makefile_and_a_dkms_conf(tmp_path: Path, debian_kernel: KernelImage) -> None:
    source = tmp_path / "bare"
    source.mkdir()
    text = '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_VERSION("2.5");\n'
    text += 'MODULE_DESCRIPTION("Bare thing.");\n'
    (source / "bare_thing.c").write_text(text)
    made = package_dkms(source, tmp_path, ANN)
    assert made.path.name == "bare-thing-dkms_2.5_all.deb"
    assert dpkg_deb("-f", made.path, "Description").startswith("Bare thing (DKMS)\n")
    root = unpacked(made.path, tmp_path / "root")
    said = assignments((root / "usr/src/bare_thing-2.5/dkms.conf").read_text())
    assert (said["PACKAGE_NAME"], said["PACKAGE_VERSION"]) == ("bare_thing", "2.5")
    assert said["BUILT_MODULE_NAME[0]"] == "bare_thing"
    assert [path.name for path in build(root / "usr/src/bare_thing-2.5", debian_kernel)] == ["bare_thing.ko"]


def test_what_a_build_left_and_what_is_secret_stay_out(thing: Path, tmp_path: Path, debian_kernel: KernelImage) -> None:
    before = {path for _, path in files_of(package_dkms(thing, tmp_path, ANN).path)}
    build(thing, debian_kernel)
    for name in ("thing.o", ".thing.o.cmd", "Module.symvers", "modules.order", "thing.mod.c", "old_0.1_all.deb"):
        (thing / name).touch()
    (thing / ".git").mkdir()
    (thing / ".git/config").touch()
    key = keys.generate("ecdsa:p256")
    keys.write_pair(thing, "signing_key", key, keys.self_signed(key, "x"), passphrase="locked as well")
    shutil.copy(thing / "signing_key.key", thing / "notes.txt")
    made = package_dkms(thing, tmp_path, ANN)
    added = {path.rpartition("/")[2] for _, path in files_of(made.path)} - {path.rpartition("/")[2] for path in before}
    assert added == {"signing_key.crt", "signing_key.der"}
    assert made.left_out == ("notes.txt", "signing_key.key")


def test_links_stay_or_become_files(thing: Path, tmp_path: Path) -> None:
    (tmp_path / "shared.h").write_text("/* shared */\n")
    (thing / "shared.h").symlink_to("../shared.h")
    (thing / "inner.h").symlink_to("thing.c")
    root = unpacked(package_dkms(thing, tmp_path, ANN).path, tmp_path / "root") / "usr/src/thing-0.1"
    assert (root / "shared.h").read_text() == "/* shared */\n"
    assert not (root / "shared.h").is_symlink()
    assert os.readlink(root / "inner.h") == "thing.c"


def test_the_same_source_gives_the_same_bytes(thing: Path, tmp_path: Path, debian_kernel: KernelImage) -> None:
    other = tmp_path / "elsewhere/copied"
    shutil.copytree(thing, other)
    for number, path in enumerate(sorted(other.rglob("*"))):
        os.utime(path, (number, 1_000_000_000 + number))
    options = PackageOptions(maintainer=ANN.maintainer, epoch=1_700_000_000)
    finishing = InstallOptions(strip=True, compress="xz")
    first = [package_dkms(thing, tmp_path / "1", options)]
    first.append(package_prebuilt(thing, debian_kernel, tmp_path / "1", options, finishing))
    second = [package_dkms(other, tmp_path / "2", options)]
    second.append(package_prebuilt(other, debian_kernel, tmp_path / "2", options, finishing))
    for one, two in zip(first, second, strict=True):
        assert one.path.name == two.path.name
        assert one.path.read_bytes() == two.path.read_bytes()
    assert " 2023-11-14 22:13 " in dpkg_deb("-c", first[0].path)


def test_the_time_comes_from_the_environment_or_the_newest_source(
    thing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in thing.iterdir():
        os.utime(path, (1, 1_600_000_000))
    assert " 2020-09-13 12:26 " in dpkg_deb("-c", package_dkms(thing, tmp_path, ANN).path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert " 1970-01-02 00:00 " in dpkg_deb("-c", package_dkms(thing, tmp_path, ANN).path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(KoboxError, match="SOURCE_DATE_EPOCH"):
        package_dkms(thing, tmp_path, ANN)


def test_prebuilt_modules_are_finished_as_install_does_it(tmp_path: Path, debian_kernel: KernelImage, box: Box) -> None:
    new("export", "thing", tmp_path / "thing")
    key = keys.generate()
    certificate = keys.self_signed(key, "packager")
    finishing = InstallOptions(strip=True, signer=signer_from(key, certificate), compress="zstd", directory="extra")
    made = package_prebuilt(tmp_path / "thing", debian_kernel, tmp_path, ANN, finishing)
    release = debian_kernel.release
    assert made.path.name == f"thing-modules-{release}_0.1_amd64.deb"
    assert dpkg_deb("-f", made.path, "Depends").startswith(f"linux-image-{release} | ")
    root = unpacked(made.path, tmp_path / "root")
    tree = root / f"lib/modules/{release}"
    assert sorted(path.name for path in tree.rglob("*.ko*")) == ["thing.ko.zst", "thing_user.ko.zst"]
    for name in ("thing", "thing_user"):
        path = tree / f"extra/{name}.ko.zst"
        assert verify(path.read_bytes(), [certificate]).valid is True
        box.insmod(path)
    assert f"depmod {release}" in (root / "DEBIAN/postinst").read_text()
    assert f"depmod {release}" in (root / "DEBIAN/postrm").read_text()
    with pytest.raises(KoboxError, match="below the tree"):
        package_prebuilt(tmp_path / "thing", debian_kernel, tmp_path, ANN, InstallOptions(directory="../.."))


def test_prebuilt_modules_lie_where_the_kernel_s_own_package_has_its(
    thing: Path, tmp_path: Path, debian_kernel: KernelImage, trixie_kernel: KernelImage
) -> None:
    for kernel, place in ((debian_kernel, "lib/modules"), (trixie_kernel, "usr/lib/modules")):
        made = package_prebuilt(thing, kernel, tmp_path, ANN)
        assert f"{place}/{kernel.release}/updates/thing.ko" in made.package.files


def test_the_maintainer(thing: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(KoboxError, match="DEBFULLNAME"):
        package_dkms(thing, tmp_path)
    (tmp_path / "gitconfig").write_text("[user]\nname = Git User\nemail = git@example.org\n")
    assert maintainer(thing) == "Git User <git@example.org>"
    monkeypatch.setenv("DEBFULLNAME", "Ann")
    assert maintainer(thing) == "Ann <git@example.org>"
    monkeypatch.setenv("DEBEMAIL", "Ann B. <ann@example.org>")
    assert maintainer(thing) == "Ann <ann@example.org>"
    with pytest.raises(KoboxError, match="Name <address@host>"):
        package_dkms(thing, tmp_path, PackageOptions(maintainer="nobody"))


def test_a_dkms_conf_that_says_more_than_plain_strings() -> None:
    said = assignments(
        'NAME=x  # comment\nPACKAGE_NAME="my-$NAME"\nPACKAGE_VERSION=1.0\n'
        'BUILT_MODULE_NAME[0]="${PACKAGE_NAME}"\nMAKE[0]="make -C \'$kernel_source_dir\' all"\nif [ 1 ]; then\n'
        'STRING="goes\non"\n'
    )
    assert said == {
        "NAME": "x",
        "PACKAGE_NAME": "my-x",
        "PACKAGE_VERSION": "1.0",
        "BUILT_MODULE_NAME[0]": "my-x",
        "MAKE[0]": "make -C '$kernel_source_dir' all",
    }


def test_a_version_that_is_left_open_or_replaced(thing: Path, tmp_path: Path) -> None:
    conf = thing / "dkms.conf"
    conf.write_text(conf.read_text().replace('PACKAGE_VERSION="0.1"', 'PACKAGE_VERSION="#MODULE_VERSION#"'))
    assert configuration(thing, source_of(thing), version="3.1").directory == "usr/src/thing-3.1"
    (thing / "thing.c").write_text((thing / "thing.c").read_text() + 'MODULE_VERSION("7");\n')
    made = package_dkms(thing, tmp_path, ANN)
    assert made.path.name == "thing-dkms_7_all.deb"
    assert 'PACKAGE_VERSION="7"' in made.package.files["usr/src/thing-7/dkms.conf"].content.decode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('PACKAGE_NAME="a b"\nPACKAGE_VERSION="1"\n', "'a b'"),
        ('PACKAGE_NAME="a/../b"\nPACKAGE_VERSION="1"\n', "'a/../b'"),
        ('PACKAGE_NAME="x;id"\nPACKAGE_VERSION="1"\n', "'x;id'"),
        ('PACKAGE_VERSION="1"\n', "does not say PACKAGE_NAME"),
        ('PACKAGE_NAME="x"\nPACKAGE_VERSION="$(git describe)"\n', "git describe"),
        ('PACKAGE_NAME="x"\nPACKAGE_VERSION="beta"\n', "no version of a Debian package"),
    ],
)
def test_a_dkms_conf_that_cannot_be_packaged(change: str, said: str, thing: Path, tmp_path: Path) -> None:
    (thing / "dkms.conf").write_text(change)
    with pytest.raises(KoboxError) as caught:
        package_dkms(thing, tmp_path / "out", ANN)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_makefile_that_does_not_name_its_modules(thing: Path, tmp_path: Path) -> None:
    (thing / "dkms.conf").unlink()
    (thing / "Makefile").write_text("obj-m := $(NAME).o\n")
    with pytest.raises(KoboxError, match="its Makefile does not name"):
        package_dkms(thing, tmp_path, ANN)


def kobox(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [KOBOX, "package", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_the_command(thing: Path, tmp_path: Path, debian_kernel: KernelImage) -> None:
    (thing / "secret.key").write_text("-----BEGIN PRIVATE KEY-----\n")
    done = kobox(thing, "-o", tmp_path, DEBFULLNAME="Ann", DEBEMAIL="ann@example.org")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/thing-dkms_0.1_all.deb\n"), done.stderr
    assert "secret.key: a private key; it stays out of the package" in done.stderr
    done = kobox(thing, "-o", tmp_path, "--maintainer", ANN.maintainer, "-k", debian_kernel.name, "--json", "--strip")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["package"] == f"thing-modules-{debian_kernel.release}"
    bare = kobox(thing, "-o", tmp_path / "bare", "--maintainer", ANN.maintainer, PATH=str(tmp_path))
    assert bare.returncode == 0, bare.stderr  # neither dpkg nor any other program
    assert kobox(thing, "--strip").returncode == 2
    assert kobox(thing, "--dkms", "-k", debian_kernel.name).returncode == 2
    done = kobox(tmp_path / "nowhere")
    assert (done.returncode, done.stderr.count("\n")) == (1, 2)
    done = kobox(thing)
    assert done.returncode == 1
    assert "Give --maintainer" in done.stderr


def test_a_disk_that_is_full_or_a_directory_that_may_not_be_written(thing: Path, tmp_path: Path) -> None:
    package_dkms(thing, tmp_path, ANN)
    done = kobox(thing, "-o", "/proc", "--maintainer", ANN.maintainer)
    assert done.returncode == 1
    assert done.stderr.startswith("kobox package: error: /proc/")
    assert "Traceback" not in done.stderr
