"""The pipelines that `kobox ci init` writes: GitHub Actions, GitLab CI, a plain script."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.errors import KoboxError

_TEXTS = os.path.join(os.path.dirname(__file__), "ci")
PLACES = {
    "github": ("github.yml", ".github/workflows/kobox.yml"),
    "gitlab": ("gitlab.yml", ".gitlab-ci.yml"),
    "plain": ("plain.sh", "kobox-ci.sh"),
}
"""Kind of pipeline: its text here, and where it goes in a repository."""
KERNELS = ("debian/bookworm", "debian/trixie", "debian/sid")
"""The kernels that a pipeline names where nobody says otherwise: those of Debian 12, 13 and the one to come."""


def pipeline(kind: str, kernels: Sequence[str] = KERNELS, source: str = ".", options: Sequence[str] = ()) -> str:
    """The text of a pipeline. `options` are handed to `kobox ci run`."""
    with open(os.path.join(_TEXTS, PLACES[kind][0]), encoding="utf-8") as file:
        text = file.read()
    for name in (*kernels, source, *options):
        if not name.isprintable():
            raise KoboxError(f"{name!r} cannot stand in a pipeline")
    quoted = ", ".join(f"'{name.replace(chr(39), chr(39) * 2)}'" for name in kernels)
    values = {
        "@KERNELS_FLOW@": quoted,
        "@KERNELS_OPTIONS@": " ".join(f"-k {shlex.quote(name)}" for name in kernels),
        "@SOURCE@": shlex.quote(source),
        "@OPTIONS@": shlex.join(options),
    }
    for mark, value in values.items():
        text = text.replace(mark, value)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def write_pipeline(kind: str, repository: Path, text: str, *, replace: bool = False) -> Path:
    """Write a pipeline where its host looks for it; the file. Raises `KoboxError` where there is one already."""
    path = repository / PLACES[kind][1]
    if path.exists() and not replace:
        raise KoboxError(f"{path}: exists already", hint="--force replaces it; --stdout prints what would be written.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text.encode(), mode=0o755 if kind == "plain" else 0o644)
    return path
