"""`kobox modprobe`: load or remove a module with its dependencies, or show what would be done."""

from __future__ import annotations

import os
import sys

from kobox.cli.kmod.front import (
    FATAL,
    INFO,
    WARNING,
    Messages,
    Option,
    absolute,
    begin,
    release_or_own,
    text_of,
    write,
    write_json,
)
from kobox.errors import KernelError, KoboxError
from kobox.kmod.config import modprobe_d as configuration
from kobox.kmod.module_tree import ModuleTree
from kobox.kmod.plan import ABSENT, LoadPlan, Match, ModuleNotFoundInTreeError
from kobox.ko.name import canonical, from_path
from kobox.startup import TYPE_CHECKING

if TYPE_CHECKING:
    from kobox.kmod.modprobe import Options

OPTIONS = (
    Option(("all",), "a"),
    Option(("remove",), "r"),
    Option(("remove-holders", "remove-dependencies")),
    Option(("wait",), "w", True),
    Option(("first-time",)),
    Option(("ignore-install", "ignore-remove"), "i"),
    Option(("use-blacklist",), "b"),
    Option(("force",), "f"),
    Option(("force-modversion",)),
    Option(("force-vermagic",)),
    Option(("resolve-alias",), "R"),
    Option(("show-depends",), "D"),
    Option(("showconfig", "show-config"), "c"),
    Option(("show-modversions", "dump-modversions")),
    Option(("show-exports",)),
    Option(("dry-run", "show"), "n"),
    Option(("config",), "C", True),
    Option(("dirname",), "d", True),
    Option(("set-version",), "S", True),
    Option(("syslog",), "s"),
    Option(("quiet",), "q"),
    Option(("verbose",), "v"),
    Option(("json",)),
    Option(("version",), "V"),
    Option(("help",), "h"),
)
HELP = """usage: modprobe [options] MODULE|ALIAS [PARAMETER=VALUE ...]
       modprobe [options] -a MODULE...
       modprobe [options] -r MODULE...
       modprobe [options] -c
       modprobe [options] --show-modversions|--show-exports FILE|MODULE

Loads modules with their dependencies, or removes them.

  -a, --all                  load all arguments, which are names of modules
  -r, --remove               remove instead of loading
      --remove-holders       remove first the modules that use it
  -w, --wait=MSEC            with -r: wait up to MSEC ms for its last user
      --first-time           fail if it is loaded (-r: is not loaded)
  -i, --ignore-install       run no install commands (-r: no remove)
  -b, --use-blacklist        apply the blacklist to module names, too
  -f, --force                ignore versions; with -r: remove one in use
      --force-modversion     ignore symbol versions
      --force-vermagic       ignore the version magic

  -R, --resolve-alias        print the modules that an alias matches
  -D, --show-depends         print the modules that would be loaded
  -c, --showconfig           print the configuration (also --show-config)
      --show-modversions     print the symbols that a module imports
      --show-exports         print the symbols that a module exports
      --json                 print -R, -D and -c as JSON

  -n, --dry-run              neither load nor remove (also --show)
  -C, --config=PATH          instead of modprobe.d; may be repeated
  -d, --dirname=DIR          root directory of /lib/modules
  -S, --set-version=RELEASE  use the modules of this kernel release
  -s, --syslog               write messages to the system log
  -q, --quiet                print no messages
  -v, --verbose              print what is done
  -V, --version              show the version
  -h, --help                 show this text"""


def main(argv: list[str], prog: str) -> int:
    """Run the command and return its exit status."""
    begun = begin([*_words(os.environ.get("MODPROBE_OPTIONS", "")), *argv], prog, OPTIONS, HELP)
    if isinstance(begun, int):
        return begun
    messages, options, arguments = begun
    values = dict(options)
    messages.level = _level(options)
    if messages.level <= WARNING:
        values.pop("verbose", None)
    if "wait" in values and not values["wait"].isdigit():
        messages.error(f"unexpected wait value '{values['wait']}'.")
        return 1
    if not arguments and "showconfig" not in values:
        messages.error("missing parameters. See -h.")
        return 1
    return _dispatch(messages, options, values, arguments)


def _level(options: list[tuple[str, str]]) -> int:
    """The level of messages: each -v raises it, and -q sets it to none."""
    level = WARNING
    for name, _ in options:
        level = 0 if name == "quiet" else level + 1 if name == "verbose" else level
    return INFO if level > WARNING else level


def _dispatch(messages: Messages, options: list[tuple[str, str]], values: dict[str, str], arguments: list[str]) -> int:
    paths = [value for name, value in options if name == "config"]
    tree = ModuleTree.of(
        release_or_own(values.get("set-version", "")),
        root=absolute(values.get("dirname", "")),
        config=configuration.load(paths, _command_line()),
    )
    try:
        if "show-modversions" in values or "show-exports" in values:
            return max([_show_symbols(messages, tree, module, "show-exports" in values) for module in arguments])
        for problem in tree.config.problems:
            messages.warning(problem)
        if "showconfig" in values:
            return _show_config(tree, "json" in values)
        if "remove" in values:
            return max([_Run(messages, tree, values).remove(name) for name in arguments])
        if "all" in values:
            run = _Run(messages, tree, values, not_found=WARNING)
            return max([run.load(name, []) for name in arguments])
        return _Run(messages, tree, values).load(arguments[0], arguments[1:])
    except KoboxError as error:
        messages.fatal(text_of(error))
        return 1


class _Run:
    """Loads or removes by one set of options."""

    def __init__(self, messages: Messages, tree: ModuleTree, values: dict[str, str], not_found: int = FATAL) -> None:
        self._messages = messages
        self._tree = tree
        self._values = values
        self._not_found = not_found

    def load(self, name: str, words: list[str]) -> int:
        """Load a name, or show what that means."""
        try:
            if "resolve-alias" in self._values:
                return self._resolve(name)
            if "show-depends" in self._values:
                return self._show_depends(name, words)
            if "dry-run" in self._values and "first-time" not in self._values:
                if "verbose" in self._values:
                    self._show_depends(name, words, builtin=False)
                else:
                    self._plan(name, words)
                return 0
            return self._insert(name, words)
        except ModuleNotFoundInTreeError as error:
            self._messages.say(self._not_found, text_of(error))
        except FileNotFoundError as error:
            self._messages.fatal(f"Failed to get module from path {name}: {error.strerror}")
        except KernelError as error:
            from kobox.kmod.insmod import meaning

            why = "Module already in kernel" if error.errno == 17 else meaning(error.errno)
            what = error.message.partition(":")[0]
            self._messages.error(f"{what}: {why}" + (f"\n{error.hint}" if error.hint and error.errno != 17 else ""))
        except (KoboxError, ValueError) as error:
            self._messages.error(str(error))
        return 1

    def _plan(self, name: str, words: list[str]) -> LoadPlan:
        from kobox.kmod.parameters import join_arguments

        return self._tree.resolve(
            name,
            join_arguments(words),
            use_blacklist="use-blacklist" in self._values,
            ignore_commands="ignore-install" in self._values,
            repeated=True,
        )

    def _options(self) -> Options:
        from kobox.kernel.interface import InitFlags
        from kobox.kmod.modprobe import Options

        values = self._values
        flags = InitFlags.NONE
        if "force" in values or "force-modversion" in values:
            flags |= InitFlags.IGNORE_MODVERSIONS
        if "force" in values or "force-vermagic" in values:
            flags |= InitFlags.IGNORE_VERMAGIC
        return Options(
            first_time="first-time" in values,
            use_blacklist="use-blacklist" in values,
            ignore_commands="ignore-install" in values,
            flags=flags,
            dry_run="dry-run" in values,
            remove_holders="remove-holders" in values,
            wait_ms=int(values.get("wait", "0")),
            force="force" in values,
            show=(lambda text: write(text + "\n")) if "verbose" in values else None,
        )

    def _resolve(self, name: str) -> int:
        if name.startswith(("/", "./", "../")):
            os.stat(name)
            matches = [Match(from_path(name), "")]
        else:
            matches = self._tree.lookup(name)
        if not matches:
            from kobox.kmod.resolve import not_found

            raise not_found(self._tree, name)
        if "json" in self._values:
            write_json("modprobe-resolve", [match._asdict() for match in matches])
        else:
            write("".join(match.module + "\n" for match in matches))
        return 0

    def _show_depends(self, name: str, words: list[str], *, builtin: bool = True) -> int:
        plan = self._plan(name, words)
        steps = [step for step in plan.steps if step.action != ABSENT and (builtin or step.action != "builtin")]
        if "json" in self._values:
            write_json("modprobe-depends", [step._asdict() for step in steps])
        else:
            write("".join(f"{step}\n" for step in steps))
        return 0

    def _insert(self, name: str, words: list[str]) -> int:
        from kobox.kernel.host import Host
        from kobox.kmod.modprobe import modprobe
        from kobox.kmod.parameters import join_arguments

        modprobe(Host(), self._tree, name, join_arguments(words), self._options())
        return 0

    def remove(self, name: str) -> int:
        """Remove what a name stands for."""
        from kobox.kernel.host import Host
        from kobox.kmod.modprobe import remove

        try:
            remove(Host(), self._tree, name, self._options())
        except ModuleNotFoundInTreeError as error:
            self._messages.fatal(f"Module {name} not found." + (f"\n{error.hint}" if error.hint else ""))
            return 1
        except KernelError as error:
            what, _, _ = error.message.partition(": ")
            if what.startswith("could not remove"):
                self._messages.error(error.message)
            else:
                self._messages.fatal(what + (f"\n{error.hint}" if error.hint else ""))
            return 1
        return 0


def _show_config(tree: ModuleTree, as_json: bool) -> int:
    config = tree.config
    if as_json:
        facts = {key: value for key, value in config._asdict().items() if not key.startswith("early_")}
        write_json("modprobe-config", {**facts, "softdeps": [softdep._asdict() for softdep in config.softdeps]})
        return 0
    lines = [f"blacklist {module}" for module in config.blacklist]
    lines += [f"forbid {module}" for module in config.forbidden]
    lines += [f"allow {module}" for module in config.allowed]
    lines += [f"install {module} {command}" for module, command in config.installs]
    lines += [f"remove {module} {command}" for module, command in config.removes]
    lines += [f"alias {pattern} {module}" for pattern, module in config.aliases]
    lines += [f"options {module} {text}" for module, text in config.options]
    for module, pre, post in config.softdeps:
        kinds = [f"{kind}: {' '.join(names)}" for kind, names in (("pre", pre), ("post", post)) if names]
        lines.append(f"softdep {module} {' '.join(kinds)}")
    lines += [f"weakdep {module} {' '.join(names)}" for module, names in config.weakdeps]
    lines += ["", "# End of configuration files. Dumping indexes now:", ""]
    for name in ("modules.alias", "modules.symbols"):
        index = tree.index(name)
        if index:
            lines += [f"alias {key} {value.text}" for key, values in index.items() for value in values]
    write("\n".join(lines) + "\n")
    return 0


def _show_symbols(messages: Messages, tree: ModuleTree, path: str, exports: bool) -> int:
    """Print the symbols of a module's file; where there is no such file, of the tree's module of that name."""
    from kobox.ko.modulefile import ModuleFile

    entry = None if "/" in path or os.path.exists(path) else tree.entry(canonical(path))
    try:
        module = ModuleFile(entry.path if entry else path)
        if exports:
            rows = [(export.crc or 0, export.name) for export in module.exports]
        else:
            rows = [(crc, name) for name, crc in module.versions.items()]
    except OSError as error:
        messages.fatal(f"Module {path} not found." + ("" if error.errno == 2 else f"\n{error.strerror}"))
        return 1
    except KoboxError as error:
        messages.fatal(text_of(error))
        return 1
    if not rows:
        messages.fatal(f"could not get {'symbols' if exports else 'modversions'} of {path}: No data available")
        return 1
    write("".join(f"0x{crc:08x}\t{name}\n" for crc, name in rows))
    return 0


def _command_line() -> str:
    """The kernel's command line; none where it can't be read."""
    try:
        with open("/proc/cmdline", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _words(text: str) -> list[str]:
    """MODPROBE_OPTIONS split at blanks, quotes honoured."""
    if not text:
        return []
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        print(f"MODPROBE_OPTIONS: {error}", file=sys.stderr)
        return []
