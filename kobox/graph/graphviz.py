"""Graphviz draws: this machine's `dot`, or Debian's, unpacked into kobox's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.images.store import Progress, Store

_PACKAGES = ("graphviz", "fonts-dejavu-core")
_SECONDS = 120


def draw(
    dot: str, format: str, store: Store | None = None, progress: Progress | None = None, *, placed: bool = False
) -> bytes:
    """A graph in Graphviz's language as SVG, PNG or PDF; `placed`: its nodes say where they are. Raises `KoboxError`,
    `FetchError`."""
    words, environment = _program(store, progress)
    try:
        done = subprocess.run(
            [*words, *(("-Kneato", "-n2") if placed else ()), f"-T{format}"],
            input=dot.encode(),
            capture_output=True,
            env=os.environ | environment,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise KoboxError(
            f"Graphviz did not finish a picture within {_SECONDS} s",
            hint="Name fewer modules, set --depth, or write a page (FILE.html).",
        ) from None
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise KoboxError(f"Graphviz: {said[0] if said else f'exit status {done.returncode}'}")
    return done.stdout


def _program(store: Store | None, progress: Progress | None) -> tuple[list[str], dict[str, str]]:
    if found := shutil.which("dot"):
        return [found], {}
    from kobox.images.debian.program import debian_program, find_in
    from kobox.images.store import Store

    store = store or Store()
    # usr/bin/dot is a link to this file of another package.
    words, trees = debian_program(store, _PACKAGES, "usr/sbin/libgvc6-config-update", progress, name="dot")
    plugins = find_in(trees, *(f"usr/lib/{triplet}/graphviz" for triplet in ("x86_64-linux-gnu", "aarch64-linux-gnu")))
    fonts = find_in(trees, "usr/share/fonts")
    environment = _configured(store.root / "graphviz" / plugins.parents[3].name, words, plugins, fonts)
    return words, environment


def _configured(place: Path, words: list[str], plugins: Path, fonts: Path) -> dict[str, str]:
    """The environment in which Debian's Graphviz finds its plugins and fonts; what the package's own script makes
    (`dot -c`) is made once, in the cache."""
    environment = {"GVBINDIR": str(place), "FONTCONFIG_FILE": str(place / "fonts.conf")}
    if (place / "fonts.conf").exists():
        return environment
    aside = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        for plugin in plugins.glob("*.so*"):
            (aside / plugin.name).symlink_to(plugin)
        subprocess.run([*words, "-c"], env=os.environ | {"GVBINDIR": str(aside)}, capture_output=True, check=True)
        (aside / "fonts.conf").write_text(
            f"<fontconfig><dir>{fonts}</dir><cachedir>{place / 'fonts'}</cachedir></fontconfig>\n"
        )
        if not place.exists():
            aside.rename(place)
    except subprocess.CalledProcessError as error:
        raise KoboxError(f"Graphviz cannot be set up: {error.stderr.decode(errors='replace').strip()}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return environment
