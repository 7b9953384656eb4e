"""modules-load.d: which files count, in which order, and what stands in them."""

from __future__ import annotations

from pathlib import Path

from kobox.kmod.config.modules_load import COMMAND_LINE, Wanted, load


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_count_by_name_in_the_order_of_their_names(tmp_path: Path) -> None:
    late = write(tmp_path, "etc/modules-load.d/zz.conf", "\n  loop \n# no\n;no\nloop\n")
    mine = write(tmp_path, "etc/modules-load.d/net.conf", "dummy\n")
    write(tmp_path, "usr/lib/modules-load.d/net.conf", "hidden by /etc\n")
    run = write(tmp_path, "run/modules-load.d/aa.conf", "fs-btrfs\ndummy")
    write(tmp_path, "usr/local/lib/modules-load.d/readme.txt", "no\n")
    assert load(root=str(tmp_path)) == [
        Wanted("fs-btrfs", str(run)),
        Wanted("dummy", str(run)),
        Wanted("loop", str(late)),
    ]
    assert load([str(mine)]) == [Wanted("dummy", str(mine))]


def test_a_link_to_nowhere_hides_a_file(tmp_path: Path) -> None:
    write(tmp_path, "usr/lib/modules-load.d/a.conf", "loop\n")
    (tmp_path / "etc/modules-load.d").mkdir(parents=True)
    (tmp_path / "etc/modules-load.d/a.conf").symlink_to("/dev/null")
    assert load(root=str(tmp_path)) == []


def test_the_command_line_comes_first(tmp_path: Path) -> None:
    path = write(tmp_path, "etc/modules-load.d/a.conf", "loop\ndummy\n")
    line = "quiet modules_load=dummy,xor modules-load=loop rd.modules_load=veth"
    assert load(command_line=line, root=str(tmp_path)) == [
        Wanted(name, COMMAND_LINE) for name in ("dummy", "xor", "loop")
    ]
    assert load(root=str(tmp_path))[0] == Wanted("loop", str(path))
    assert load(root=str(tmp_path / "nowhere")) == []
