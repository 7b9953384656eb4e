"""What the cache holds, how much room it takes, and what of it may go.

Everything in the cache can be made or fetched again, except saved boxes and what somebody added by hand; so only kinds
that are named here as `again` are ever pruned by age. A part's age is that of its newest file's use or change.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kobox.errors import KoboxError
from kobox.images.store import Store

# Kind: (directories below the root, as a pattern; what it is; whether kobox makes or fetches it again by itself)
_KINDS = {
    "kernels": ("kernels/*", "kernels with modules and headers", False),
    "saved": ("saved/*", "boxes that were saved by name", False),
    "snapshots": ("kernels/*/snapshots/*", "booted kernels, to resume from", True),
    "builds": ("builds/*", "files that builds keep between two runs", True),
    "symbols": ("symbols/*", "vmlinux files for debuggers", True),
    "packages": ("packages/*", "packages of Debian's for the shell", True),
    "programs": ("programs/*", "programs that kobox compiles for its boxes", True),
    "files": ("files/*", "booted kernels that were named as files", True),
    "graphviz": ("graphviz/*", "how Graphviz finds its plugins and fonts", True),
    "toolchains": ("toolchains/*", "compilers of other releases of Debian", False),
    "apt": ("apt/*", "package lists", True),
    "depmod": ("depmod/*", "facts of modules that depmod has read", True),
    "pytest": ("pytest/*", "modules that the pytest plugin has built", True),
    "matrix": ("matrix/*/*", "results of `kobox matrix`, and what it built", True),
    "test-packages": ("debian/*", "packages and sources that kobox's own tests have fetched", True),
    "test-modules": ("test-modules/*", "modules that kobox's own tests have built", True),
    "staging": ("staging/*", "what an interrupted command left", True),
}
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class CachePart:
    """One thing in the cache. `size` in bytes on disk; `used`: seconds since 1970, of its last use or change."""

    kind: str
    name: str
    path: Path
    size: int
    used: float

    def days(self, now: float | None = None) -> int:
        """Whole days since it was used."""
        return max(0, int(((time.time() if now is None else now) - self.used) // _DAY))


def kinds() -> dict[str, str]:
    """Every kind of thing in the cache, and what it is."""
    return {kind: what for kind, (_, what, _) in _KINDS.items()} | {"other": "files that kobox did not make"}


def prunable() -> list[str]:
    """The kinds that kobox makes or fetches again by itself."""
    return [kind for kind, (_, _, again) in _KINDS.items() if again]


def cache_parts(store: Store, wanted: Sequence[str] = ()) -> Iterator[CachePart]:
    """Everything in the cache, or what is of the kinds named. Raises `KoboxError` for an unknown kind.

    A kernel's size is without its snapshots. A file with several names is counted where it is found first.
    """
    for kind in wanted:
        if kind not in kinds():
            raise KoboxError(f"{kind!r}: no kind of thing in the cache", hint=f"Kinds are: {', '.join(kinds())}.")
    seen: set[tuple[int, int]] = set()
    known = set()
    for kind, (pattern, _, _) in _KINDS.items():
        known.add(pattern.partition("/")[0])
        if wanted and kind not in wanted:
            continue
        for path in sorted(store.root.glob(pattern)):
            if path.name.startswith(".") and kind != "staging":
                continue
            size, used = _measure(path, seen, leave_out="snapshots" if kind == "kernels" else "")
            name = f"{path.parent.parent.name}/{path.name}" if kind == "snapshots" else path.name
            yield CachePart(kind, name, path, size, used)
    if store.root.is_dir() and (not wanted or "other" in wanted):
        for path in sorted(store.root.iterdir()):
            if path.name not in known and path.is_dir():
                size, used = _measure(path, seen)
                yield CachePart("other", path.name, path, size, used)


def prune(store: Store, *, older_than: float, wanted: Sequence[str] = (), dry_run: bool = False) -> list[CachePart]:
    """Remove what has not been used for `older_than` seconds, of the kinds named (default: all of `prunable()`);
    what was removed, or would be.

    Raises `KoboxError` for a kind that is not prunable: kernels are removed by name.
    """
    for kind in wanted:
        if kind not in prunable():
            hint = f"Prunable are: {', '.join(prunable())}. `kobox kernel rm` and `kobox box rm` remove by name."
            raise KoboxError(f"{kind}: not removed by age", hint=hint)
    limit = time.time() - older_than
    doomed = [part for part in cache_parts(store, wanted or prunable()) if part.used <= limit]
    if dry_run or not doomed:
        return doomed
    with store.locked(None):
        for part in doomed:
            aside = part.path.with_name(f".old-{part.path.name}")  # gone at once for whoever looks for it
            with suppress(OSError):
                part.path.rename(aside)
                if aside.is_dir():
                    shutil.rmtree(aside, ignore_errors=True)
                else:
                    aside.unlink()
    return doomed


def _measure(path: Path, seen: set[tuple[int, int]], leave_out: str = "") -> tuple[int, float]:
    """(bytes on disk, seconds since 1970 of the newest use or change) of a file or a directory."""
    size, used = 0, 0.0
    waiting = [os.fspath(path)]
    with suppress(OSError):
        facts = os.lstat(path)
        if not os.path.isdir(path):
            return facts.st_blocks * 512, max(facts.st_mtime, facts.st_atime)
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as found:
            for entry in found:
                with suppress(OSError):
                    facts = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name != leave_out:
                            waiting.append(entry.path)
                        continue
                    used = max(used, facts.st_mtime, facts.st_atime)
                    if facts.st_nlink > 1:
                        if (facts.st_dev, facts.st_ino) in seen:
                            continue
                        seen.add((facts.st_dev, facts.st_ino))
                    size += facts.st_blocks * 512
    if not used:  # no file in it
        with suppress(OSError):
            used = os.lstat(path).st_mtime
    return size, used
