"""Variables that files of debugfs show: they must be there for as long as the file is.

    debugfs_create_u32("hits", 0644, dir, &st->hits);
    kfree(st);                     whoever reads the file now reads freed memory
    debugfs_remove(dir);

debugfs_create_u8() and its kin end in debugfs_create_file_unsafe(), which is given the variable's address
(fs/debugfs/file.c, debugfs_create_mode_unsafe()). The memory check asks what is noted here when something is freed.
"""

from __future__ import annotations

from contextlib import suppress

from kobox.box.inspect.objects import Objects
from kobox.box.inspect.probes import Hit
from kobox.checks.runner.session import Check, Examination, Shown
from kobox.errors import KoboxError

_MAKES = "debugfs_create_file_unsafe"
_MANY = 1024  # files that are noted
_LAST_ERRORS = 4096


class ShownCheck(Check):
    """Notes which variables files of debugfs show."""

    name = "shown"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._objects: Objects = examination.box.inspect.objects
        examination.shown.clear()
        imports = (wanted.name for wanted in examination.file.imports)
        if any(name.startswith("debugfs_create_") for name in imports) and _MAKES in examination.box.inspect.symbols:
            examination.probe(_MAKES, None, self._made)

    def linked(self, examination: Examination) -> None:
        examination.shown.clear()

    def _made(self, hit: Hit) -> None:
        examination, entry, variable = self._examination, (hit.result or 0) & (1 << 64) - 1, hit.args[3]
        if not 1 << 63 <= entry < (1 << 64) - _LAST_ERRORS or len(examination.shown) >= _MANY:
            return
        examination.shown[variable] = Shown(entry, self._objects.string(hit.args[0]))
        examination.box.inspect.watch.armed(variable)


def is_there(objects: Objects, shown: Shown) -> bool:
    """Whether a file that was made is still to be found in its directory."""
    with suppress(KoboxError, ValueError):
        hashed = objects.number(shown.entry, "dentry.d_hash.pprev") and objects.number(shown.entry, "dentry.d_inode")
        return bool(hashed) and objects.string(objects.number(shown.entry, "dentry.d_name.name")) == shown.name
    return False
