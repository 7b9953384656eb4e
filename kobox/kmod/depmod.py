"""depmod: make the indexes of a module tree, wherever it is."""

from __future__ import annotations

from typing import NamedTuple

from kobox.kmod.config.depmod_d import SearchConfig
from kobox.kmod.config.directories import MODULE_DIRECTORY
from kobox.kmod.index.generate import DepmodRequest, DepmodResult, depmod
from kobox.kmod.index.kernel_symbols import KernelSymbols
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
        return f"{root.rstrip('/')}/{self.moduledir.strip('/')}/{self.release}"


def run(
    place: TreeLocation,
    *,
    config_paths: tuple[str, ...] = (),
    files: tuple[str, ...] = (),
    quick: bool = False,
    dry_run: bool = False,
    kernel_symbols: KernelSymbols | None = None,
    symbol_prefix: str = "",
    warn_duplicates: bool = False,
    tell_uses: bool = False,
) -> DepmodResult:
    """Make the indexes and, unless it is a dry run, write them. Raises `OSError`, `KoboxError`."""
    request = DepmodRequest(
        place.directory,
        SearchConfig.load(place.release, config_paths),
        files,
        quick=quick and not files,
        kernel_symbols=kernel_symbols,
        symbol_prefix=symbol_prefix,
        warn_duplicates=warn_duplicates,
        tell_uses=tell_uses,
    )
    outcome = depmod(request)
    if not dry_run:
        write(outcome, place.output, only_changed=quick)
    return outcome
