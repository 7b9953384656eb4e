"""A module tree, `/lib/modules/RELEASE` under any root: what a name means, and what to do to load it.

    >>> tree = ModuleTree.of("6.1.0-56-cloud-amd64")
    >>> [step.module for step in tree.resolve("fs-btrfs").steps]
    ['libcrc32c', 'zstd_compress', 'raid6_pq', 'xor', 'btrfs']

A name is looked up as modprobe does it, the first place that knows it decides: an alias of the configuration,
modules.dep, a `symbol:` of modules.symbols, a module with an install or remove command, modules.alias,
modules.builtin, the aliases of built-in modules.
"""

from __future__ import annotations

import os

from kobox.kmod.config.directories import MODULE_DIRECTORY
from kobox.kmod.config.modprobe_d import Config, Softdep
from kobox.kmod.index.trie import Index, Value
from kobox.kmod.plan import IndexEntry, LoadPlan, Match
from kobox.kmod.resolve import Planner
from kobox.ko.name import canonical_alias, from_path
from kobox.startup import cached_property

# Lookups that are cached: more than a machine has devices.
_REMEMBERED = 4096


class ModuleTree:
    """The indexes of one tree, read when they are first needed, and the configuration that goes with them.

    A missing index counts as empty (see `missing`); a damaged one raises `IndexFormatError`.
    """

    def __init__(self, directory: str, config: Config | None = None) -> None:
        self.directory = directory.rstrip("/") or "/"
        self._given = config if config is not None else Config()
        self._indexes: dict[str, Index | None] = {}
        self._entries: dict[str, IndexEntry | None] = {}
        self._lookups: dict[str, list[Match]] = {}

    @classmethod
    def of(
        cls, release: str, *, root: str = "", config: Config | None = None, module_directory: str = MODULE_DIRECTORY
    ) -> ModuleTree:
        """The tree of a kernel release under a root directory; paths in it begin with `root` as it is written."""
        return cls(f"{root}{module_directory}/{release}", config)

    @cached_property
    def config(self) -> Config:
        """The configuration given, and behind it what modules.softdep and modules.weakdep say."""
        return self._given.with_softdeps(self._text("modules.softdep"), self._text("modules.weakdep"))

    @cached_property
    def softdeps(self) -> dict[str, Softdep]:
        """The soft dependencies of each module, all of its lines together."""
        found: dict[str, Softdep] = {}
        for module, pre, post in self.config.softdeps:
            before = found.get(module, Softdep(module, (), ()))
            found[module] = Softdep(
                module, tuple(dict.fromkeys(before.pre + pre)), tuple(dict.fromkeys(before.post + post))
            )
        return found

    @property
    def missing(self) -> bool:
        """Whether depmod has never run here: there is no modules.dep.bin."""
        return self._index("modules.dep") is None

    def index(self, name: str) -> Index | None:
        """An index by its name without `.bin`, None if there is none. Raises `IndexFormatError`."""
        return self._index(name)

    def lookup(self, name: str) -> list[Match]:
        """Every module that a name, an alias or a device's modalias stands for, the best match first.

        A module that matches with several patterns is listed once for each of them, as modprobe does it.
        """
        found = self._lookups.get(name)
        if found is None:
            if len(self._lookups) >= _REMEMBERED:
                self._lookups.clear()
            found = self._lookups[name] = self._look_up(name)
        return found

    def _look_up(self, name: str) -> list[Match]:
        try:
            key = canonical_alias(name)
        except ValueError:
            return []
        return (
            self._from_config(key)
            or self._by_name(key)
            or self._by_symbol(key)
            or self._by_command(key)
            or self._matches("modules.alias", key)
            or self._builtin(key)
            or self._matches("modules.builtin.alias", key, builtin=True)
        )

    def entry(self, module: str) -> IndexEntry | None:
        """Where a module is and what it needs, None if modules.dep does not know it."""
        if module not in self._entries:
            values = self._search("modules.dep", module)
            self._entries[module] = self._parse_entry(values[0].text) if values else None
        return self._entries[module]

    def is_builtin(self, module: str) -> bool:
        """Whether the module is part of the kernel's image."""
        return module in self._builtins

    @cached_property
    def _builtins(self) -> frozenset[str]:
        index = self._index("modules.builtin")
        return frozenset(key for key, _ in index.items()) if index else frozenset()

    def resolve(
        self,
        name: str,
        parameters: str = "",
        *,
        use_blacklist: bool = False,
        ignore_commands: bool = False,
        repeated: bool = False,
    ) -> LoadPlan:
        """What to do to load what a name stands for, in order, each step with its reason.

        A name beginning with `/`, `./` or `../` is the path of a module file; it needs what the tree's module of that
        name needs. With `repeated` a module that is reached in several ways is planned as often, as `modprobe -D`
        prints it. Raises
        `OSError` for a path that is not there, `ModuleNotFoundInTreeError` when nothing is known by that name,
        `ForbiddenModuleError` when the configuration's forbid or allow list stands against it.
        """
        planner = Planner(self, use_blacklist=use_blacklist, ignore_commands=ignore_commands, repeated=repeated)
        return planner.plan(name, parameters)

    def names(self) -> list[str]:
        """The names of all modules that have a file."""
        index = self._index("modules.dep")
        return [key for key, _ in index.items()] if index else []

    def path_of(self, relative: str) -> str:
        """The absolute path for a path of modules.dep."""
        return relative if relative.startswith("/") else f"{self.directory}/{relative}"

    def _parse_entry(self, line: str) -> IndexEntry:
        path, _, rest = line.partition(":")
        return IndexEntry(self.path_of(path), tuple(map(from_path, reversed(rest.split()))))

    def _from_config(self, key: str) -> list[Match]:
        aliases = self.config.aliases
        if not aliases:
            return []
        from kobox.kmod.config.pattern import matches

        return [Match(module, pattern) for pattern, module in aliases if matches(pattern, key)]

    def _by_name(self, key: str) -> list[Match]:
        return [Match(key, "")] if self.entry(key) else []

    def _by_symbol(self, key: str) -> list[Match]:
        return self._matches("modules.symbols", key) if key.startswith("symbol:") else []

    def _by_command(self, key: str) -> list[Match]:
        commands = (*self.config.installs, *self.config.removes)
        return [Match(key, "")] if any(module == key for module, _ in commands) else []

    def _builtin(self, key: str) -> list[Match]:
        return [Match(key, "", True)] if self.is_builtin(key) else []

    def _matches(self, name: str, key: str, *, builtin: bool = False) -> list[Match]:
        index = self._index(name)
        if index is None:
            return []
        return [Match(value.text, key, builtin) for value in index.search_wild(key)]

    def _search(self, name: str, key: str) -> list[Value]:
        index = self._index(name)
        return index.search(key) if index else []

    def _index(self, name: str) -> Index | None:
        if name not in self._indexes:
            path = f"{self.directory}/{name}.bin"
            try:
                # depmod leaves an empty file where it had no input.
                self._indexes[name] = Index.open(path) if os.stat(path).st_size else None
            except OSError:
                self._indexes[name] = None
        return self._indexes[name]

    def _text(self, name: str) -> str:
        try:
            with open(f"{self.directory}/{name}", encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except OSError:
            return ""
