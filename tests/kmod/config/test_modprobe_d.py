"""modprobe.d and the kernel's command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobox.kmod.config import modprobe_d as configuration
from kobox.kmod.config.directories import config_files
from kobox.kmod.config.modprobe_d import Config, ConfigReader, Softdep


def parse(text: str) -> Config:
    reader = ConfigReader()
    reader.read(text, "test.conf")
    return reader.config()


class TestConfiguration:
    def test_directives(self) -> None:
        config = parse("alias a-* b-c\nblacklist d-e\noptions f g=1\ninstall h cmd  x\nremove i cmd\nweakdep j k l\n")
        assert config.aliases == (("a_*", "b_c"),)
        assert config.blacklist == ("d_e",)
        assert config.options == (("f", "g=1"),)
        assert config.installs == (("h", "cmd  x"),)
        assert config.removes == (("i", "cmd"),)
        assert config.weakdeps == (("j", ("k", "l")),)

    def test_softdep(self) -> None:
        assert parse("softdep a-b pre: c d post: e\n").softdeps == (Softdep("a_b", ("c", "d"), ("e",)),)

    def test_bad_lines_are_told_with_their_number_and_the_rest_counts(self) -> None:
        config = parse("junk\n\n# fine\noptions\nblacklist a\ninclude /x\n")
        assert config.blacklist == ("a",)
        assert [problem.partition(":")[0] for problem in config.problems] == [
            "test.conf line 1",
            "test.conf line 4",
            "test.conf",
        ]

    def test_the_first_directory_wins_and_files_are_merged_by_name(self, tmp_path: Path) -> None:
        for folder, name in (("etc", "b.conf"), ("usr", "b.conf"), ("usr", "a.conf"), ("usr", "not-this.txt")):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).touch()
        found = config_files([str(tmp_path / "etc"), str(tmp_path / "usr"), str(tmp_path / "none")])
        assert found == [str(tmp_path / "usr/a.conf"), str(tmp_path / "etc/b.conf")]

    @pytest.mark.parametrize(
        ("line", "options", "blacklist"),
        [
            ("root=/dev/sda loop.max_loop=7", (("loop", "max_loop=7"),), ()),
            ('usb-storage.quirks="a b" x.flag', (("usb_storage", 'quirks="a b"'), ("x", "flag")), ()),
            ('"m.p=a b" quiet', (("m", 'p="a b"'),), ()),
            ("modprobe.blacklist=a-b,c", (), ("a_b", "c")),
            ("a.b=1 -- c.d=2", (("a", "b=1"),), ()),
            ("", (), ()),
            ('a."bad option" a.b', (("a", "b"),), ()),
            ('" no" "no2 " no3 a.b=c', (("a", "b=c"),), ()),
            ("iommu[14:00.5]=X:0 a.b=1.5G", (("a", "b=1.5G"),), ()),
            ("a.b.c=1 a.b.c a=b.c .x=1 a.=2", (), ()),
            ('"a b.c=d" "a.b" "a.b=c"', (("a", 'b="c"'),), ()),
            ('a.b="no end', (), ()),
            ('a.b="x y"z c.d', (("a", 'b="x y"z'), ("c", "d")), ()),
            ('modprobe.blacklist=a modprobe.blacklist="b,c" modprobe.blacklist=', (), ("a", "b", "c")),
            ("a.b=1\t\n c.d=2\v", (("a", "b=1"), ("c", "d=2")), ()),
        ],
    )
    def test_the_kernel_command_line(
        self, line: str, options: tuple[tuple[str, str], ...], blacklist: tuple[str, ...]
    ) -> None:
        config = configuration.load([str(Path("/nonexistent"))], line)
        assert config.options == options
        assert config.blacklist == blacklist

    @given(st.text())
    def test_no_text_makes_the_reader_fail(self, text: str) -> None:
        parse(text)
        ConfigReader().read_command_line(text)
