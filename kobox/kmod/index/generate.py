"""depmod: the indexes of a module tree, made from the module files.

    modules.dep       each module's path and the paths of all it needs    modules.dep.bin
    modules.alias     patterns of devices and services to modules         modules.alias.bin
    modules.symbols   exported symbols to modules                         modules.symbols.bin
    modules.softdep, modules.weakdep, modules.devname                     text only
    from modules.builtin and modules.builtin.modinfo                      modules.builtin.bin, modules.builtin.alias.bin

All are byte for byte what kmod 34.2 writes: modules in the order of modules.order, the others behind them in the
order of kmod's hash table of names; symbols in the order of its hash table of symbols.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from kobox.errors import KoboxError
from kobox.kmod.config.depmod_d import SearchConfig
from kobox.kmod.index import collect
from kobox.kmod.index import native_core as native
from kobox.kmod.index.module_facts import ALIASES, EXPORTS, NEEDS, SOFTDEPS, WEAKDEPS, Facts
from kobox.kmod.index.module_files import Candidate, FoundModules, find_modules, given_modules
from kobox.kmod.index.symbol_file import SymbolFile
from kobox.kmod.index.trie import build_partly, encode_value
from kobox.ko.modinfo import parse_builtin
from kobox.ko.name import canonical_alias, from_path

# The files in the order in which depmod writes and `depmod -n` prints them.
FILES = (
    "modules.dep",
    "modules.dep.bin",
    "modules.alias",
    "modules.alias.bin",
    "modules.softdep",
    "modules.weakdep",
    "modules.symbols",
    "modules.symbols.bin",
    "modules.builtin.bin",
    "modules.builtin.alias.bin",
    "modules.devname",
)
# The size of kmod's hash table of names: the order of its iteration is part of the format.
_NAME_BUCKETS = 512


class DependencyCycleError(KoboxError):
    """Modules need each other in a circle, so none of them can be loaded. `cycles` are their names: each module needs
    the next, the last the first."""

    def __init__(self, cycles: list[list[str]]) -> None:
        lines = [f"Cycle detected: {' -> '.join([*cycle, cycle[0]])}" for cycle in cycles]
        count = len({module for cycle in cycles for module in cycle})
        super().__init__("\n".join([*lines, f"Found {count} modules in dependency cycles!"]))
        self.cycles = cycles


class DepmodResult(NamedTuple):
    """What a run of depmod made. `files` maps file names to their content, in the order of `FILES`.

    `read` counts the module files that were opened (fewer than `modules` in an incremental run). `unreadable` has one
    text for each of them that could not be read, `unread_directories` one for each directory, `errors` for what is
    missing in a module, `warnings` for everything else that is odd, and `uses`, if asked for, for the symbols that make
    one module need another.
    """

    files: dict[str, bytes]
    modules: int
    read: int
    unreadable: tuple[str, ...]
    warnings: tuple[str, ...]
    uses: tuple[str, ...] = ()
    unread_directories: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class DepmodRequest(NamedTuple):
    """What depmod is to do.

    `directory` is the tree (`/lib/modules/RELEASE`); `files` names single modules instead of searching. `quick` takes
    the facts of unchanged files from the cache of the last quick run; otherwise every file is read, and nothing is
    cached. Without `use_cache` a quick run is a full one. `kernel_symbols` turns on the check for symbols that neither
    a module nor the kernel exports. `symbol_prefix` is one character that the architecture puts before names.
    `warn_duplicates` warns of a module that has an alias twice. `tell_uses` lists which symbols make one module need
    another. `text_only` leaves out the `.bin` files, and what is reported about them.
    """

    directory: str
    search: SearchConfig = SearchConfig()
    files: tuple[str, ...] = ()
    quick: bool = False
    use_cache: bool = True
    kernel_symbols: SymbolFile | None = None
    symbol_prefix: str = ""
    warn_duplicates: bool = False
    tell_uses: bool = False
    text_only: bool = False


def depmod(request: DepmodRequest, found: FoundModules | None = None) -> DepmodResult:
    """Make all indexes of a tree; nothing is written (see `write`). Raises `OSError`, `KoboxError`.

    `found` is what `modules_of` says, where it was asked before.
    """
    import gc

    # Hundreds of thousands of short strings and no cycles: the collector would only go through them again and again.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _depmod(request, found or modules_of(request))
    finally:
        if collecting:
            gc.enable()


def modules_of(request: DepmodRequest) -> FoundModules:
    """The module files that a request is about. Raises `OSError`."""
    if request.files:
        return FoundModules(given_modules(request.directory, request.files, request.search), [], [])
    return find_modules(request.directory, request.search, want_stamps=request.quick)


def _depmod(request: DepmodRequest, found: FoundModules) -> DepmodResult:
    warnings = [*request.search.problems, *found.missing]
    modules = _in_order(found.modules, request.directory, warnings)
    gathered = collect.collect(modules, request.directory, use_cache=request.quick and request.use_cache)
    tree = _Tree(modules, gathered.facts, request)
    errors: list[str] = []
    files = tree.files(warnings, errors)
    uses = tree.uses() if request.tell_uses else ()
    kept = {name: files[name] for name in FILES if name in files}
    unreadable = tuple(gathered.facts.errors())
    return DepmodResult(
        kept, len(modules), gathered.read, unreadable, tuple(warnings), uses, tuple(found.unread), tuple(errors)
    )


def _in_order(candidates: list[Candidate], directory: str, warnings: list[str]) -> list[Candidate]:
    """modules.order first, then the rest as kmod's hash table has them."""
    lines = _lines(directory, "modules.order", warnings)
    # The first of several lines counts.
    places = {_without_compression(lines[place]): place for place in range(len(lines) - 1, -1, -1)}
    found = [places.get(_without_compression(candidate.path), -1) for candidate in candidates]
    order = sorted(range(len(candidates)), key=found.__getitem__)
    listed = [candidates[number] for number in order if found[number] >= 0]
    rest = [candidates[number] for number in order if found[number] < 0]
    rest.sort(key=_in_hash_order)
    return listed + rest


def _in_hash_order(candidate: Candidate) -> tuple[int, bytes]:
    name = candidate.name.encode("utf-8", "surrogateescape")
    return native.superfasthash(name) % _NAME_BUCKETS, name


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _without_compression(path: str) -> str:
    if path.endswith(".ko"):
        return path
    stem, found, _ = path.rpartition(".ko")
    return stem + found if found else path


def _lines(directory: str, name: str, warnings: list[str]) -> list[str]:
    try:
        text = _read(os.path.join(directory, name)).decode("utf-8", "surrogateescape")
    except OSError as error:
        warnings.append(f"could not open {name} at {directory}: {error.strerror}")
        return []
    return [line for line in text.splitlines() if line]


class _Tree:
    """The modules of a tree, numbered in order, and what is written about them."""

    def __init__(self, modules: Sequence[Candidate], facts: Facts, request: DepmodRequest) -> None:
        self._modules = modules
        self._facts = facts
        self._request = request
        self._names = [module.name.encode("utf-8", "surrogateescape") for module in modules]

    def files(self, warnings: list[str], errors: list[str]) -> dict[str, bytes]:
        """The content of every file."""
        names = native.joined([module.name for module in self._modules])
        paths = native.joined([module.path for module in self._modules])
        made = native.indexes(self._facts.packed, names, paths, self._request.symbol_prefix)
        if made.cycle:
            raise self._cycles(made.cycle)
        large = ("modules.dep", "modules.alias", "modules.symbols")
        files = dict(zip([name + end for name in large for end in ("", ".bin")], made.contents, strict=True))
        if self._request.kernel_symbols:
            self._check_symbols(self._owners, self._request.kernel_symbols, warnings)
        if not self._request.text_only:
            for name, left_out in zip(large, made.left_out, strict=True):
                warnings += _left_out(f"{name}.bin", left_out)
            for _, aliases in self._facts.having(ALIASES):
                warnings += _unmatched(aliases)
        files["modules.softdep"] = b"# Soft dependencies extracted from modules themselves.\n" + self._dep_lines(
            "softdep", SOFTDEPS
        )
        files["modules.weakdep"] = b"# Weak dependencies extracted from modules themselves.\n" + self._dep_lines(
            "weakdep", WEAKDEPS
        )
        files["modules.devname"] = self._devname(errors)
        if self._request.text_only:
            return {name: content for name, content in files.items() if not name.endswith(".bin")}
        files["modules.builtin.bin"] = self._builtin_index(warnings)
        files["modules.builtin.alias.bin"] = self._builtin_alias_index(warnings)
        if self._request.warn_duplicates:
            self._find_duplicates(warnings)
        return files

    def _cycles(self, uses: bytes) -> DependencyCycleError:
        """The error for cycles. `uses`, from `indexes.c`: each module's number, how many others it uses, and which."""
        from kobox.kmod.index.cycles import cycles

        numbers = memoryview(uses).cast("I").tolist()
        count = len(self._modules)
        places, used = numbers[:count], iter(numbers[2 * count :])
        edges = [list(islice(used, below)) for below in numbers[count : 2 * count]]
        return DependencyCycleError(
            [[self._modules[module].name for module in cycle] for cycle in cycles(edges, places)]
        )

    @cached_property
    def _owners(self) -> dict[bytes, int]:
        """Which module exports a symbol; of several the last."""
        prefix = self._request.symbol_prefix.encode()
        return {
            name.removeprefix(prefix): number
            for number, names in self._facts.having(EXPORTS)
            for name in names.split(b"\0")
        }

    def uses(self) -> tuple[str, ...]:
        """`FILE needs "SYMBOL": FILE` for each module that one needs, by the first symbol that it has from it."""
        owners, prefix = self._owners, self._request.symbol_prefix.encode()
        lines = []
        for number, needs in self._facts.having(NEEDS):
            module = self._modules[number]
            first: dict[int, bytes] = {}
            for name in needs.split(b"\0"):
                if (owner := owners.get(name.removeprefix(prefix))) is not None:
                    first.setdefault(owner, name.removeprefix(prefix))
            for owner, name in first.items():
                shown = name.decode("utf-8", "replace")
                lines.append(f'{module.file} needs "{shown}": {self._modules[owner].file}')
        return tuple(lines)

    def _crcs(self, prefix: bytes) -> dict[bytes, int]:
        """The CRCs of what the modules export; of several the last one's."""
        from kobox.ko.modulefile import ModuleFile

        return {
            export.name.encode("utf-8", "surrogateescape").removeprefix(prefix): export.crc or 0
            for number, _ in self._facts.having(EXPORTS)
            for export in ModuleFile(self._modules[number].file).exports
        }

    def _check_symbols(self, owners: Mapping[bytes, int], kernel: SymbolFile, warnings: list[str]) -> None:
        prefix = self._request.symbol_prefix.encode()
        known = {name.removeprefix(prefix): crc for name, crc in kernel.crcs.items()}
        if kernel.has_crcs:
            known |= self._crcs(prefix)
        for number, names in self._facts.having(NEEDS):
            module, needs = self._modules[number], names.split(b"\0")
            has = _versions(module, needs) if kernel.has_crcs else dict.fromkeys(needs)
            for name, crc in has.items():
                plain, shown = name.removeprefix(prefix), name.decode("utf-8", "replace")
                # `__this_module` is of the loader's making.
                if plain not in owners and plain not in known:
                    if name and name in needs and name != b"__this_module":
                        warnings.append(f"{module.file} needs unknown symbol {shown}")
                elif crc is not None and known.get(plain, crc) != crc:
                    warnings.append(f"{module.file} disagrees about version of symbol {shown}")

    def _dep_lines(self, directive: str, field: int) -> bytes:
        lines = []
        for number, text in self._facts.having(field):
            start = directive.encode() + b" " + self._names[number] + b" "
            lines += [start + value + b"\n" for value in text.split(b"\0")]
        return b"".join(lines)

    def _devname(self, errors: list[str]) -> bytes:
        lines = []
        for number, aliases in self._facts.having(ALIASES):
            if b"devname:" not in aliases:
                continue
            name = self._names[number]
            node, device = _device_node(aliases.split(b"\0"))
            if node is None:
                continue
            if device:
                lines.append(b"%b %b %b\n" % (name, node, device))
                continue
            shown, path = name.decode("utf-8", "replace"), node.decode("utf-8", "replace")
            errors.append(f"Module '{shown}' has devname ({path}) but lacks major and minor information. Ignoring.")
        return b"# Device nodes to trigger on-demand module loading.\n" + b"".join(lines) if lines else b""

    def _builtin_index(self, warnings: list[str]) -> bytes:
        if not os.path.exists(os.path.join(self._request.directory, "modules.builtin")):
            _lines(self._request.directory, "modules.builtin", warnings)
            return b""
        lines = _lines(self._request.directory, "modules.builtin", warnings)
        value = encode_value(b"", 0)
        content, left_out = build_partly((from_path(line).encode("utf-8", "surrogateescape"), value) for line in lines)
        warnings += _left_out("modules.builtin.bin", left_out)
        return content

    def _builtin_alias_index(self, warnings: list[str]) -> bytes:
        try:
            data = _read(os.path.join(self._request.directory, "modules.builtin.modinfo"))
        except OSError as error:
            warnings.append(f"could not open modules.builtin.modinfo at {self._request.directory}: {error.strerror}")
            return b""
        entries = []
        for name, info in parse_builtin(data).items():
            value = encode_value(name.encode("utf-8", "surrogateescape"), 0)
            # depmod leaves an empty one out of this index, not out of modules.alias.bin.
            text = "\0".join(filter(None, info.all("alias"))).encode("utf-8", "surrogateescape")
            if text:
                entries += [(key, value) for key in _alias_keys(text)]
                warnings += _unmatched(text)
        # Each has the same priority; depmod puts a later value of a key before the earlier ones.
        content, left_out = build_partly(reversed(entries))
        warnings += _left_out("modules.builtin.alias.bin", left_out)
        return content

    def _find_duplicates(self, warnings: list[str]) -> None:
        for number, aliases in self._facts.having(ALIASES):
            seen: set[bytes] = set()
            for key in _alias_keys(aliases):
                if key in seen:
                    shown = b"%b %b" % (key, self._names[number])
                    warnings.append(f"duplicate module alias:\n{shown.decode('utf-8', 'replace')}")
                seen.add(key)


def _versions(module: Candidate, needs: Sequence[bytes]) -> dict[bytes, int | None]:
    """The symbols that a module needs, in its order, with the CRCs it was built with; then what it has more CRCs of."""
    from kobox.ko.modulefile import ModuleFile

    crcs = {name.encode("utf-8", "surrogateescape"): crc for name, crc in ModuleFile(module.file).versions.items()}
    return {name: crcs.get(name) for name in needs} | crcs


def _left_out(file: str, keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        shown = key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        yield f"{file}: left out '{shown}': an index holds plain ASCII only"


def _alias_keys(text: bytes) -> Iterable[bytes]:
    """The keys of aliases joined by NUL: dashes as underscores. What no pattern matcher understands is left out."""
    if b"[" not in text and b"]" not in text:
        return text.replace(b"-", b"_").split(b"\0")
    return list(_careful_keys(text))


def _unmatched(text: bytes) -> Iterator[str]:
    """A warning for each alias with a bracket that is not closed or not opened; it is left out of the index."""
    if b"[" not in text and b"]" not in text:
        return
    for alias in text.decode("utf-8", "surrogateescape").split("\0"):
        try:
            canonical_alias(alias)
        except ValueError:
            yield f"Unmatched bracket in {alias}"


def _careful_keys(text: bytes) -> Iterator[bytes]:
    for alias in text.decode("utf-8", "surrogateescape").split("\0"):
        try:
            yield canonical_alias(alias).encode("utf-8", "surrogateescape")
        except ValueError:
            continue


def _device_node(aliases: list[bytes]) -> tuple[bytes | None, bytes]:
    """(the device's name, `c10:235`) out of `devname:NAME` and `char-major-10-235`; None, b"" for what is not there."""
    node, number = None, b""
    for alias in aliases:
        if alias.startswith(b"devname:"):
            node = alias[8:]
        else:
            kind, _, rest = alias.partition(b"-major-")
            major, _, minor = rest.partition(b"-")
            minor = minor[: len(minor) - len(minor.lstrip(b"0123456789"))]  # what follows is of no interest
            if kind in (b"char", b"block") and major.isdigit() and minor.isdigit():
                number = kind[:1] + b"%d:%d" % (int(major), int(minor))
        if node is not None and number:
            break
    return node, number
