"""Which suites of Debian hold what another one needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.images.debian.apt import Apt, suites_beside


@pytest.mark.parametrize(
    ("suite", "beside"),
    [
        ("bookworm", ["bookworm", "bookworm-security"]),
        ("bookworm-backports", ["bookworm-backports", "bookworm", "bookworm-security"]),
        ("bullseye-backports-sloppy", ["bullseye-backports-sloppy", "bullseye", "bullseye-security"]),
        ("trixie-proposed-updates", ["trixie-proposed-updates", "trixie", "trixie-security"]),
        ("trixie-updates", ["trixie-updates", "trixie", "trixie-security"]),
        ("bookworm-security", ["bookworm-security", "bookworm"]),
        ("sid", ["sid"]),
        ("unstable", ["unstable"]),
        ("experimental", ["experimental", "sid"]),
    ],
)
def test_a_suite_comes_with_those_it_depends_on(suite: str, beside: list[str]) -> None:
    found = suites_beside(suite)
    assert [name for name, _ in found] == beside
    assert [name for name, security in found if security] == [name for name in beside if name.endswith("-security")]


@pytest.mark.parametrize(
    ("suite", "preferred"), [("bookworm", False), ("bookworm-backports", True), ("experimental", True)]
)
def test_backports_are_preferred_to_what_lies_below(suite: str, preferred: bool, tmp_path: Path) -> None:
    """And of a suite and its security updates the newer version counts, as on any Debian."""
    Apt(suite, "http://mirror/debian", "http://mirror/debian-security", tmp_path).configure()
    assert (f'APT::Default-Release "{suite}";' in (tmp_path / "apt.conf").read_text()) == preferred
    sources = (tmp_path / "sources/debian.sources").read_text()
    assert ("URIs: http://mirror/debian-security\n" in sources) == (suite != "experimental")
