"""Writing the indexes of a module tree: either all are new, or all are as they were."""

from __future__ import annotations

import os

from kobox.atomic_file import write_files
from kobox.errors import KoboxError
from kobox.kmod.index.generate import DepmodResult


def write(outcome: DepmodResult, directory: str, *, only_changed: bool = False) -> None:
    """Write the files into a directory: all of them aside first, then renamed, so none is ever half there.

    With `only_changed` a file that has the right content already is left alone.

    Raises `KoboxError` when that fails; what was there before is then untouched, up to the renames done.
    """
    target = directory
    try:
        os.makedirs(directory, exist_ok=True)
        places = {os.path.join(directory, name): content for name, content in outcome.files.items()}
        write_files(
            {place: content for place, content in places.items() if not (only_changed and _has(place, content))}
        )
    except OSError as error:
        raise KoboxError(
            f"could not write {error.filename or target}: {error.strerror}",
            hint="The indexes that were there before are unchanged.",
        ) from error


def _has(path: str, content: bytes) -> bool:
    try:
        if os.stat(path).st_size != len(content):
            return False
        with open(path, "rb", buffering=0) as file:
            return file.readall() == content
    except OSError:
        return False
