"""The `kobox` command: finds the subcommand, runs it, and turns errors into text and an exit status.

Each subcommand is one module of this package with `main(argv, prog) -> int`, imported only when it is called.
A symbolic link to `kobox` named after one of the kmod tools behaves as that tool.

Exit status: 0 done; 1 it failed, and standard error says why; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

from kobox.cli.own_process import claim
from kobox.cli.terminal_output import escape_standard_streams

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module, one line for --help)
    "run": ("kobox.cli.run", "load a module in a box, show what it does, unload it, judge"),
    "check": ("kobox.cli.check", "find memory errors, leaks, wrong error paths, races in a module"),
    "gdb": ("kobox.cli.gdb", "debug a module with gdb in a box, forwards and backwards"),
    "trace": ("kobox.cli.trace", "show a module's calls as a tree: arguments, results, times, errors"),
    "debug": ("kobox.cli.debug", "debug a module from an editor, by the Debug Adapter Protocol"),
    "drgn": ("kobox.cli.drgn", "look into the kernel of a box with drgn; write a vmcore"),
    "replay": ("kobox.cli.replay", "repeat a recorded life: with gdb, up to an event, with checks"),
    "profile": ("kobox.cli.profile", "a module's cost: instructions by function and line, flame graph"),
    "shell": ("kobox.cli.shell", "a shell on a real kernel, in a box"),
    "build": ("kobox.cli.build", "build a module against a kernel's headers"),
    "bpf": (
        "kobox.cli.bpf",
        "eBPF: refused, loads, attaches; listing, coverage, cost, fuzz",
    ),
    "matrix": ("kobox.cli.matrix", "modules x kernels as one table: builds, loads, clean"),
    "learn": ("kobox.cli.learn", "lessons on kernel modules; each task is checked in a box"),
    "kernel": ("kobox.cli.kernel", "the kernels that boxes boot: add, list, default, rm"),
    "inspect": ("kobox.cli.inspect", "show what a stranger's module does, in an isolated box"),
    "explain": ("kobox.cli.explain", "say whether a module would load, and why not; take a log apart"),
    "graph": ("kobox.cli.graph", "show what modules need of each other: lines, pictures, a page"),
    "monitor": ("kobox.cli.monitor", "watch this machine's modules: events, a page, metrics, history"),
    "top": ("kobox.cli.top", "this machine's modules, live in the terminal"),
    "install": ("kobox.cli.install", "install modules into a module tree: strip, sign, compress, depmod"),
    "package": ("kobox.cli.package", "write a .deb: source for DKMS, or prebuilt modules"),
    "lsmod": ("kobox.cli.kmod.lsmod", "show the modules that are in the kernel"),
    "insmod": ("kobox.cli.kmod.insmod", "load one module file"),
    "rmmod": ("kobox.cli.kmod.rmmod", "unload modules"),
    "modprobe": ("kobox.cli.kmod.modprobe", "load or remove a module with its dependencies"),
    "modinfo": ("kobox.cli.kmod.modinfo", "show the description, parameters and signature of a module"),
    "depmod": ("kobox.cli.kmod.depmod", "make the indexes of a module tree"),
    "kmod": ("kobox.cli.kmod.kmod", "list, static-nodes, links: make the tools commands"),
    "keys": ("kobox.cli.keys", "make a key and a certificate to sign modules with"),
    "new": ("kobox.cli.new", "write a new module from a template"),
    "sign": ("kobox.cli.sign", "sign modules, or remove their signature"),
    "verify": ("kobox.cli.verify", "verify the signatures of modules as a kernel does"),
    "doctor": ("kobox.cli.doctor", "show what this machine offers kobox, and what it lacks"),
    "box": ("kobox.cli.box", "the boxes that were saved: list, rm, export, import"),
    "cache": ("kobox.cli.cache", "what the cache holds, and how much room it takes; prune"),
    "ci": ("kobox.cli.ci", "write a pipeline for GitHub, GitLab or a plain shell; run it"),
    "man": ("kobox.cli.man", "the man pages of the commands"),
    "schema": ("kobox.cli.schema", "what --json prints, as JSON Schema"),
    "completion": ("kobox.cli.completion", "print a completion script for bash, zsh or fish"),
}
# Those that run a module, or take it apart: in a worker process that is watched (`kobox.isolation.wall`).
WORKERS = frozenset({"run", "check", "explain", "inspect", "trace", "replay", "profile", "bpf"})
# The tools that answer to their own name when kobox is called through a symbolic link (kmod does the same).
MULTICALL = frozenset({"depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod", "kmod"})


def entry() -> None:
    """The console script: `main`, and then the end of the process. The interpreter is not taken down piece by piece,
    and emulators are not: that takes as long as a module's life in a box."""
    for name in ("stdout", "stderr"):  # closed by the caller: output goes nowhere
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for the rest of the process
    escape_standard_streams()
    claim()
    status = _behind_a_wall() if len(sys.argv) > 1 and sys.argv[1] in WORKERS else main()
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        sys.exit(status)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - contextlib takes a millisecond to import
            stream.flush()
        except (OSError, ValueError):  # nobody reads any more
            pass
    os._exit(status)


def _behind_a_wall() -> int:
    """Run the command in a worker process, which raises a wall round itself before it runs a stranger's code."""
    from kobox.isolation.wall import behind

    return behind(main, lambda text: print(f"kobox {sys.argv[1]}: {text}", file=sys.stderr))


def _nowhere() -> int:
    """A descriptor for output that nobody wants."""
    try:
        return os.open(os.devnull, os.O_WRONLY)
    except OSError:  # behind a wall no file can be opened: a pipe takes what a buffer still holds
        return os.pipe()[1]


def main() -> int:
    """Run the command line. Raises `SystemExit` for wrong usage, and when help was asked for."""
    # Imports make many objects and no garbage: the collector would only go through them again and again.
    gc.set_threshold(100_000)
    called_as = os.path.basename(sys.argv[0])
    if called_as in MULTICALL:
        return run(called_as, sys.argv[1:], prog=called_as)
    arguments = _after_colour(sys.argv[1:])
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else 2
    if arguments[0] == "help":
        return _help(arguments[1:])
    if arguments[0] in ("-V", "--version"):
        import kobox

        print(f"kobox {kobox.__version__}" if arguments[0] == "-V" else _version())
        return 0
    return run(arguments[0], arguments[1:], prog=f"kobox {arguments[0]}")


def _after_colour(arguments: list[str]) -> list[str]:
    """The arguments behind a --color that stands before the command."""
    if arguments and arguments[0].startswith("--color"):
        from kobox.cli.parser import choose_colour

        option, _, when = arguments.pop(0).partition("=")
        when = when or (arguments.pop(0) if arguments else "")
        if option != "--color" or when not in ("auto", "always", "never"):
            print("kobox: --color is auto, always or never", file=sys.stderr)
            raise SystemExit(2)
        choose_colour(when)
    return arguments


def _help(arguments: list[str]) -> int:
    """`kobox help [COMMAND | TOPIC]`."""
    from kobox.cli.topics import topic, topics

    if not arguments:
        print(overview())
    elif arguments[0] in topics():
        print(topic(arguments[0]))
    elif arguments[0] == "topics":
        print("\n".join(f"  {name:<12} {about}" for name, about in topics().items()))
    else:
        return run(arguments[0], [*arguments[1:], "--help"], prog=f"kobox {arguments[0]}")
    return 0


def _version() -> str:
    """kobox's version, and those of what decides how a box behaves."""
    import platform
    from importlib import metadata

    import kobox
    from kobox.errors import KoboxError
    from kobox.images.store import Store

    try:
        kernel = Store().default().name
    except (KoboxError, OSError):
        kernel = "none yet; `kobox kernel add debian` fetches one"
    return (
        f"kobox {kobox.__version__}\n"
        f"kernel {kernel}\n"
        f"Unicorn {metadata.version('unicorn')}, Python {platform.python_version()}, {platform.machine()}"
    )


def run(name: str, argv: list[str], *, prog: str) -> int:
    """Run one subcommand and return its exit status; errors of kobox become text on standard error."""
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, 1)
        near = near or [other for other in COMMANDS if other.startswith(name)][:1]
        advice = f"; did you mean `kobox {near[0]}`?" if near else "; `kobox --help` lists the commands"
        print(f"kobox: no command {name!r}{advice}", file=sys.stderr)
        return 2
    from kobox.errors import BuildError, KoboxError

    command = __import__(COMMANDS[name][0], fromlist=["main"])
    try:
        status: int = command.main(argv, prog)
        sys.stdout.flush()
        return status
    except KoboxError as error:
        if isinstance(error, BuildError) and error.output:
            print(error.output, file=sys.stderr)
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone: no more of it, and no complaint at interpreter exit either.
        os.dup2(_nowhere(), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{prog}: error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except MemoryError:
        print(f"{prog}: error: out of memory", file=sys.stderr)
        return 1
    except Exception as error:
        if os.environ.get("KOBOX_TRACEBACK"):
            raise
        print(f"{prog}: error: kobox itself failed: {type(error).__name__}: {error}", file=sys.stderr)
        print("Please report it. KOBOX_TRACEBACK=1 in the environment shows where.", file=sys.stderr)
        return 1


def overview() -> str:
    """The text of `kobox --help`."""
    width = max(map(len, COMMANDS), default=0)
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return (
        "usage: kobox COMMAND [ARGUMENTS]\n\n"
        "The whole life of a Linux kernel module, with a real kernel booted inside this\nprocess.\n\n"
        f"{rows}\n\n"
        "`kobox COMMAND --help` says more about one of them; `kobox help exit-codes`,\n"
        "`environment`, `color` and `start` are on all."
    )
