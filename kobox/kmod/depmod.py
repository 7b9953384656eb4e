"""depmod: make the indexes of a module tree, wherever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kobox.kmod.config.depmod_d import SearchConfig
from kobox.kmod.config.directories import MODULE_DIRECTORY
from kobox.kmod.index.generate import FILES, DepmodRequest, DepmodResult, depmod, modules_of
from kobox.kmod.index.last_run import LastRun, fingerprint
from kobox.kmod.index.symbol_file import SymbolFile
from kobox.kmod.index.write import write


class TreeLocation(NamedTuple):
    """Where a tree is: `basedir` the root, `moduledir` below it, and `outdir` another root for what is written."""

    release: str
    basedir: str = ""
    moduledir: str = MODULE_DIRECTORY
    outdir: str = ""

    @property
    def directory(self) -> str:
        """The tree."""
        return self._below(self.basedir)

    @property
    def output(self) -> str:
        """Where its indexes are written."""
        return self._below(self.outdir or self.basedir)

    def _below(self, root: str) -> str:
        return f"{root}/{self.moduledir.lstrip('/')}/{self.release}"


def run(
    place: TreeLocation,
    *,
    config_paths: tuple[str, ...] = (),
    files: tuple[str, ...] = (),
    quick: bool = False,
    dry_run: bool = False,
    kernel_symbols: SymbolFile | None = None,
    symbol_prefix: str = "",
    warn_duplicates: bool = False,
    tell_uses: bool = False,
) -> DepmodResult:
    """Make the indexes and, unless it is a dry run, write them. Raises `OSError`, `KoboxError`.

    A dry run makes the text files only. With `quick` nothing is made or written when nothing changed since the last
    quick run.
    """
    request = DepmodRequest(
        place.directory,
        SearchConfig.load(place.release, config_paths),
        files,
        quick=quick and not files,
        kernel_symbols=kernel_symbols,
        symbol_prefix=symbol_prefix,
        warn_duplicates=warn_duplicates,
        tell_uses=tell_uses,
        text_only=dry_run,
    )
    found = modules_of(request)
    # What a run reports besides the indexes is not kept, so a run that is to report something is made.
    if not request.quick or dry_run or kernel_symbols or tell_uses or warn_duplicates:
        result = depmod(request, found)
        if not dry_run:
            write(result, place.output, only_changed=quick)
        return result
    last = LastRun(place.directory, place.output, FILES)
    made_from = fingerprint(place.directory, request.search, found.modules, (symbol_prefix,))
    if not _is_odd(request.search.problems, found.missing, found.unread) and last.matches(made_from):
        return DepmodResult(last.indexes(), len(found.modules), 0, (), ())
    result = depmod(request, found)
    write(result, place.output, only_changed=True)
    if not _is_odd(result.warnings, result.unreadable, result.unread_directories, result.errors):
        last.remember(made_from)
    return result


def _is_odd(*reports: Sequence[str]) -> bool:
    return any(reports)
