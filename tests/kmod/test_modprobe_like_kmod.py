"""modprobe -D, -R, -c, -n and its errors, beside the real modprobe 34.2."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.kernel.host import Host
from tests.kmod_fixtures import Answer, Tree, kobox

Kmod = Callable[..., Answer]

CONFIG = """\
# comment
alias foo-bar btrfs
alias foo-bar xor
alias net-x* dummy
alias nowhere nosuchmod
alias [ab]c-d loop
blacklist dum_my
blacklist virtio_blk
options btrfs a=1 b="x y"
options btrfs  c=3
options foo-bar z=9
options xor-x q=1
options raid6_pq r=1
install tun echo installing tun $CMDLINE_OPTS
install ghost echo ghost
remove tun echo removing tun
softdep veth pre: dummy loop post: ifb
weakdep veth bridge
options loop \\
   max_loop=7
"""


def names_of(tree: Tree) -> list[str]:
    return [line.split(":")[0].rpartition("/")[2].removesuffix(".ko") for line in (tree.path / "modules.dep").open()]


def some_aliases(tree: Tree, count: int) -> list[str]:
    lines = (tree.path / "modules.alias").read_text().splitlines()[1:]
    chosen = random.Random(3).sample(lines, count)
    return [line.split()[1].replace("*", "00").replace("?", "0") for line in chosen]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "kobox.conf"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def base(cloud_one_softdep: Tree, config: Path) -> tuple[str, ...]:
    return ("-d", str(cloud_one_softdep.root), "-S", cloud_one_softdep.release, "-C", str(config))


def test_the_plan_for_every_module_is_kmods(cloud_one_softdep: Tree, base: tuple[str, ...], kmod: Kmod) -> None:
    names = names_of(cloud_one_softdep)
    assert len(names) > 1000
    # One run each over all names: -a keeps going.
    assert kobox("modprobe", *base, "-D", "-a", *names) == kmod("modprobe", *base, "-D", "-a", *names)


@pytest.mark.parametrize("options", [("-D",), ("-R",), ("-n", "-v"), ("-D", "-i"), ("-D", "-b")], ids=" ".join)
def test_a_file_s_path_means_what_it_means_to_kmod(
    cloud_one_softdep: Tree, base: tuple[str, ...], kmod: Kmod, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """The file itself, and what the tree's module of that name needs."""
    files = {path.stem: path for path in cloud_one_softdep.path.rglob("*.ko")}
    (tmp_path / "elsewhere").mkdir()
    copies = [tmp_path / "elsewhere" / name for name in ("btrfs.ko", "unheard_of.ko")]
    for copy in copies:
        copy.symlink_to(files["btrfs"])
    names = ("nft_flow_offload", "dummy", "tun", "virtio_blk", "raid6_pq", "veth")
    for path in (*copies, *(files[name] for name in names)):
        assert kobox("modprobe", *base, *options, path, "x=1") == kmod("modprobe", *base, *options, path, "x=1"), path


@pytest.mark.parametrize("option", ["-R", "-D"])
def test_hundreds_of_aliases_mean_what_they_mean_to_kmod(
    cloud_one_softdep: Tree, base: tuple[str, ...], kmod: Kmod, option: str
) -> None:
    aliases = some_aliases(cloud_one_softdep, 400)
    ours, theirs = (tool("modprobe", *base, option, "-a", *aliases) for tool in (kobox, kmod))
    assert ours.output == theirs.output
    assert ours.status == theirs.status


def test_symbols_builtin_modules_and_their_aliases(base: tuple[str, ...], kmod: Kmod, cloud_one_softdep: Tree) -> None:
    symbols = [line.split()[1] for line in (cloud_one_softdep.path / "modules.symbols").read_text().splitlines()[1:200]]
    builtin = [Path(line).stem for line in (cloud_one_softdep.path / "modules.builtin").read_text().split()]
    others = ["fs-ext4", "ext2", "crypto-crc32c", "char-major-10-234"]
    for names in (symbols, builtin, others):
        for option in ("-R", "-D"):
            ours, theirs = (tool("modprobe", *base, option, "-a", *names) for tool in (kobox, kmod))
            assert (ours.status, ours.output) == (theirs.status, theirs.output)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-D", "foo-bar"),
        ("-D", "foo_bar"),
        ("-R", "foo-bar"),
        ("-R", "net-xyz"),
        ("-D", "net-xyz"),
        ("-D", "nowhere"),
        ("-R", "nowhere"),
        ("-R", "ac-d"),
        ("-R", "ac_d"),
        ("-D", "tun"),
        ("-D", "ghost"),
        ("-R", "ghost"),
        ("-n", "-v", "tun", "xx=1"),
        ("-n", "-v", "-i", "tun"),
        ("-n", "-v", "veth", "p=1"),
        ("-n", "veth"),
        ("-n", "-v", "btrfs", "u=1", "v=2 3"),
        ("-n", "-v", "-a", "loop", "btrfs"),
        ("-D", "-b", "virtio_blk"),
        ("-D", "virtio_blk"),
        ("-D", "virtio:d00000002v00001AF4"),
        ("-R", "virtio:d00000002v00001AF4"),
        ("-n", "-v", "i8042"),
        ("-D", "i8042"),
        ("-r", "-n", "-v", "tun"),
        ("-D", "-q", "nosuch"),
        ("-n", "-q", "nosuch"),
        ("-R", "-q", "nosuch"),
        ("--resolve-alias", "fs-btrfs"),
        ("--show-dep", "loop"),
        ("loop", "-D"),
        ("-D", "--", "loop"),
        ("-Dloop",),
        ("--set-version=1.2.3", "-D", "loop", "-q"),
    ],
)
def test_output_and_status_are_kmods(base: tuple[str, ...], kmod: Kmod, arguments: tuple[str, ...]) -> None:
    ours, theirs = (tool("modprobe", *base, *arguments) for tool in (kobox, kmod))
    assert (ours.status, ours.output) == (theirs.status, theirs.output)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-D", "nosuch"),
        ("-R", "nosuch"),
        ("-D", "-a", "loop", "nosuch", "btrfs"),
        ("-D", "./nofile.ko"),
        ("-r", "nosuch"),
        (),
        ("-a",),
        ("-R",),
        ("--badopt",),
        ("-Z",),
        ("--show-", "x"),
        ("-d",),
        ("--dirname",),
        ("-w", "x", "btrfs"),
        ("--first-time", "-n", "i8042"),
    ],
)
def test_errors_begin_as_kmods_do(base: tuple[str, ...], kmod: Kmod, arguments: tuple[str, ...]) -> None:
    ours, theirs = (tool("modprobe", *base, *arguments) for tool in (kobox, kmod))
    assert (ours.status, ours.output) == (theirs.status, theirs.output)
    assert ours.errors.splitlines()[:1] == theirs.errors.splitlines()[:1]


def test_modprobe_options_come_first(base: tuple[str, ...], kmod: Kmod) -> None:
    environment = {"MODPROBE_OPTIONS": "-D -q"}
    ours, theirs = (tool("modprobe", *base, "veth", "a=b", environment=environment) for tool in (kobox, kmod))
    assert (ours.status, ours.output) == (theirs.status, theirs.output)


def test_the_configuration_dump_is_kmods(base: tuple[str, ...], kmod: Kmod) -> None:
    ours, theirs = (tool("modprobe", *base, "-c").output.splitlines() for tool in (kobox, kmod))
    # kmod forgets the blank between a softdep's two parts when it has both.
    wrong = [line for line in theirs if line.startswith("softdep veth")]
    assert wrong == ["softdep veth pre: dummy looppost: ifb"]
    theirs[theirs.index(wrong[0])] = "softdep veth pre: dummy loop post: ifb"
    assert ours == theirs


def test_symbols_of_module_files(cloud_one_softdep: Tree, kmod: Kmod) -> None:
    for name in ("fs/btrfs/btrfs.ko", "drivers/net/dummy.ko", "lib/raid6/raid6_pq.ko"):
        path = cloud_one_softdep.path / "kernel" / name
        for option in ("--show-modversions", "--dump-modversions", "--show-exports"):
            ours, theirs = (tool("modprobe", option, path) for tool in (kobox, kmod))
            assert ours.status == theirs.status
            assert ours.output == theirs.output


ODD_LINES = r"""
options a\*b x=1
blacklist c\-d\\e
install f echo \"quoted\" \n
options g one=1 \
   two=2
# a comment \
options h is=comment
blacklist [i-j]k-l
options [m-n]o-p q=1
install r-[s-t] cmd
softdep u-v[w-x] pre: y-z post: a-b
weakdep c-[d-e] f-g
remove h-[i] cmd
blacklist j]
options [k x=1
alias [l m
softdep n
softdep o pre:
weakdep p
install q
alias r
options s
blacklist
options \tt x=1
alias u\-v* w-x
options\
 y z=1
"""


@pytest.mark.parametrize("name", ["a.conf", "modules.s.conf", "modules.w.conf", "z.conf"])
def test_odd_lines_are_read_as_kmod_reads_them(name: str, cloud: Tree, kmod: Kmod, tmp_path: Path) -> None:
    """modules.softdep and modules.weakdep of the tree are read among the files, by their names."""
    (tmp_path / name).write_text(ODD_LINES + "options last a=1" + "\\" * (name != "z.conf"))
    words = ("-d", cloud.root, "-S", cloud.release, "-C", tmp_path, "-c")
    ours, theirs = kobox("modprobe", *words), kmod("modprobe", *words)
    # kmod puts no blank between what comes before and what comes after
    assert ours.output.replace(" post:", "post:") == theirs.output.replace(" post:", "post:")


@pytest.mark.parametrize(
    "options", [("-D",), ("-D", "-b"), ("-n", "-v"), ("-n", "-v", "-a"), ("-D", "-i")], ids=" ".join
)
@pytest.mark.parametrize("blacklisted", ["crc32c-intel", "libcrc32c", "btrfs", "blake2b_generic"])
def test_the_blacklist_and_what_a_module_needs(
    blacklisted: str, options: tuple[str, ...], cloud_one_softdep: Tree, kmod: Kmod, tmp_path: Path
) -> None:
    """crc32c-intel is a soft dependency of libcrc32c by an alias."""
    (tmp_path / "b.conf").write_text(f"blacklist {blacklisted}\n")
    words = ("-d", cloud_one_softdep.root, "-S", cloud_one_softdep.release, "-C", tmp_path, *options)
    for name in ("btrfs", "fs-btrfs", "libcrc32c", "crc32c"):
        ours, theirs = kobox("modprobe", *words, name), kmod("modprobe", *words, name)
        assert (ours.status, ours.output) == (theirs.status, theirs.output), name


@pytest.mark.parametrize(
    "options", [("-v", "-q"), ("-q", "-v"), ("-v", "-v"), ("-q", "-q", "-v", "-v"), ("-qv",), ("-v",), ()], ids=" ".join
)
def test_quiet_and_verbose_count_in_their_order(options: tuple[str, ...], base: tuple[str, ...], kmod: Kmod) -> None:
    for words in (("-n", *options, "veth"), ("-r", "-n", *options, "veth"), ("-D", *options, "loop")):
        ours, theirs = kobox("modprobe", *base, *words), kmod("modprobe", *base, *words)
        assert (ours.status, ours.output) == (theirs.status, theirs.output)


@pytest.mark.parametrize("option", ["--show-exports", "--show-modversions"])
def test_symbols_of_a_module_by_its_name(cloud: Tree, option: str, tmp_path: Path) -> None:
    """kmod 34.2 takes files only; its successor takes names as well. A file of that name comes first."""
    where = ("-d", cloud.root, "-S", cloud.release)
    by_path = kobox("modprobe", option, next(cloud.path.rglob("raid6_pq.ko")))
    assert by_path.output.count("\n") > 5
    assert kobox("modprobe", *where, option, "raid6_pq") == by_path
    assert kobox("modprobe", *where, option, "raid6-pq") == by_path
    missing = kobox("modprobe", *where, option, "nosuch")
    assert (missing.status, missing.errors) == (1, "modprobe: FATAL: Module nosuch not found.\n")


def test_exports_without_versions(cloud: Tree, kmod: Kmod, tmp_path: Path) -> None:
    """Kernels without CONFIG_MODVERSIONS."""
    path = tmp_path / "raid6_pq.ko"
    strip = ["objcopy", "-w", "-N", "__crc_*", "-R", "__kcrctab*", "-R", "__versions"]
    subprocess.run([*strip, next(cloud.path.rglob("raid6_pq.ko")), path], check=True)
    for option in ("--show-exports", "--show-modversions"):
        assert kobox("modprobe", option, path) == kmod("modprobe", option, path)


@pytest.mark.parametrize("root", [".", "./", "{name}", "{name}/", "../{parent}/{name}", "{path}", "{path}//"])
@pytest.mark.parametrize("arguments", [("-D", "loop"), ("-n", "-v", "veth"), ("-D", "-q", "nosuch")], ids=str)
def test_a_relative_root_is_shown_as_kmod_shows_it(
    cloud_one_softdep: Tree,
    kmod: Kmod,
    config: Path,
    root: str,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = cloud_one_softdep.root
    monkeypatch.chdir(path if root.startswith("./") or root == "." else path.parent)
    where = root.format(name=path.name, path=path, parent=path.parent.name)
    words = ("-d", where, "-S", cloud_one_softdep.release, "-C", config, *arguments)
    assert kobox("modprobe", *words) == kmod("modprobe", *words)
    words = ("-b", where, "-k", cloud_one_softdep.release, "-n", "loop")
    assert kobox("modinfo", *words) == kmod("modinfo", *words)


def test_lsmod_says_what_kmod_says(kmod: Kmod) -> None:
    assert kobox("lsmod") == kmod("lsmod")


def test_lsmod_without_proc_modules_fails_as_kmod_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Host, path: str) -> bytes:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    monkeypatch.setattr(Host, "read_bytes", missing)
    expected = (
        "lsmod: ERROR: could not open /proc/modules: No such file or directory\n"
        "lsmod: ERROR: could not get list of modules: No such file or directory\n"
    )
    assert kobox("lsmod") == (1, "", expected)
    assert kobox("kmod", "list") == (1, "", expected.replace("lsmod:", "kmod:"))


def test_the_configuration_is_shown_in_kmod_s_order(cloud: Tree, kmod: Kmod, tmp_path: Path) -> None:
    first, second = tmp_path / "conf/a.conf", tmp_path / "conf/b.conf"
    first.parent.mkdir()
    first.write_text(CONFIG + "softdep a-b pre: c-d\nblacklist last\n")
    second.write_text("alias first-of b\nblacklist b0\nsoftdep veth pre: other\nremove r1 c\noptions loop b=2\n")
    words = ["-d", cloud.root, "-S", cloud.release, "-C", first.parent, "-c"]
    theirs, ours = kmod("modprobe", *words), kobox("modprobe", *words)
    # kmod puts no blank between what comes before and what comes after
    assert ours.output.replace(" post:", "post:") == theirs.output.replace(" post:", "post:")
    assert ours.output.count("softdep veth pre: dummy loop post: ifb\n") == 1
