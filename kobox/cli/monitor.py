"""`kobox monitor`: this machine's modules as they come, change and go.

Exit status: 0; 1 when they cannot be read, or with --baseline when something differs; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.json_text import parse_json

if TYPE_CHECKING:
    import argparse

    from kobox.kernel.interface import Kernel
    from kobox.monitor import KernelModules, LogSource, ModuleEvent
    from kobox.monitor.recording import KernelRecorder
    from kobox.monitor.sinks import EventSink
    from kobox.monitor.uevents import ModuleNotices

TRACEPOINTS = "see which program loads and unloads (by ftrace, in an instance of its own; as root)"


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    parser = _parser(prog)
    arguments = parser.parse_args(argv)
    if arguments.fleet is not None:
        return _fleet(parser, arguments)
    with looked_at(arguments.ssh) as kernel:
        return _run(kernel, arguments)


def _run(kernel: Kernel, arguments: argparse.Namespace) -> int:
    if arguments.never_loaded:
        return _never_loaded(kernel, arguments)
    if arguments.baseline is not None or arguments.save_baseline is not None:
        return _baseline(kernel, arguments)
    if arguments.once:
        return _once(kernel, arguments.json)
    return _watch(kernel, arguments)


@contextmanager
def looked_at(host: str | None) -> Iterator[Kernel]:
    """This machine's kernel, or that of another one by ssh. Raises `KoboxError` when that cannot be reached."""
    if host is None:
        from kobox.kernel.host import Host

        yield Host()
        return
    from kobox.kernel.remote import RemoteKernel, by_ssh

    kernel = RemoteKernel(by_ssh(host, "exec sh"), host)
    try:
        yield kernel
    finally:
        kernel.close()


def notices_of(stack: ExitStack, tracepoints: bool) -> ModuleNotices:
    """What tells at once that a module of this machine's kernel came or went, until the stack is left."""
    from kobox.monitor.tracing import TracepointSource
    from kobox.monitor.uevents import UeventSource

    source = TracepointSource() if tracepoints else UeventSource()
    stack.callback(source.close)
    return source


def recorder_of(stack: ExitStack, kernel: Kernel, path: Path | None, host: str | None) -> KernelRecorder | None:
    """--record: what writes down what is read of a kernel; it is the kernel that a monitor looks at then."""
    if path is None:
        return None
    import socket
    import time

    from kobox.monitor.recording import KernelRecorder

    recorder = KernelRecorder(kernel, path, host or socket.gethostname(), time.time())
    stack.callback(recorder.close)
    return recorder


def log_of(kernel: Kernel, host: str | None) -> LogSource:
    """The kernel's log, from now on."""
    from kobox.monitor import CommandLog, DeviceLog

    if host is None:
        return DeviceLog()
    from kobox.kernel.remote import by_ssh

    up = kernel.read_text("/proc/uptime").split()[0]
    return CommandLog(by_ssh(host, "exec cat /dev/kmsg"), float(up) if up.replace(".", "").isdigit() else 0.0)


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Watch this machine's kernel: modules that are loaded, unloaded, refused (with the cause), changed "
        "parameters, taints, crashes.",
    )
    parser.add_argument("--fleet", type=Path, metavar="FILE", help="watch all machines of this TOML file, by ssh")
    parser.add_argument("--ssh", metavar="HOST", help="watch this machine, through a shell there, instead of this one")
    parser.add_argument(
        "--listen", type=_place, metavar="[ADDRESS:]PORT", help="serve a page, JSON and Prometheus metrics"
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="whoever asks must give the token in this file")
    parser.add_argument("--history", type=Path, metavar="FILE", help="keep events in an SQLite file")
    parser.add_argument("--webhook", action="append", default=[], metavar="URL", help="POST events there; repeatable")
    parser.add_argument("--journal", action="store_true", help="write events to systemd's journal")
    parser.add_argument("--days", type=float, default=90, metavar="N", help="how long events are kept (default: 90)")
    parser.add_argument("--interval", type=seconds, default=2.0, metavar="S", help="seconds between looks (default: 2)")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="write down what is seen, for kobox top --recording"
    )
    parser.add_argument("--tracepoints", action="store_true", help=TRACEPOINTS)
    parser.add_argument("--once", action="store_true", help="print the modules as they are now")
    parser.add_argument("--save-baseline", type=Path, metavar="FILE", help="write the modules as they are now")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="print what differs from that file")
    parser.add_argument(
        "--never-loaded",
        action="store_true",
        help="print the modules of this kernel's tree that are not loaded, nor in --history and --baseline",
    )
    parser.add_argument("--json", action="store_true", help="print JSON; of events one object a line")
    return parser


def _place(text: str) -> tuple[str, int]:
    import argparse

    address, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r}: not ADDRESS:PORT")
    return address.strip("[]") or "127.0.0.1", int(port)


def seconds(text: str) -> float:
    """An option's time between two looks."""
    import argparse

    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r}: not a number of seconds from 0.1 to 86400")
    return seconds


def must_be_readable(kernel: Kernel) -> KernelModules:
    """The modules of a kernel now. Raises `KoboxError` where they cannot be read."""
    from kobox.errors import KoboxError
    from kobox.monitor import look

    try:
        return look(kernel)
    except OSError as error:
        raise KoboxError(
            f"the machine's modules cannot be read: {error.filename or '/proc/modules'}: {error.strerror or error}",
            hint="A container may hide them, and a kernel may have none.",
        ) from None


def _once(kernel: Kernel, as_json: bool) -> int:
    status = must_be_readable(kernel)
    if as_json:
        print(to_json("monitor-status", status.plain(), indent=None))
        return 0
    print(f"{'module':<32} {'size':>10} {'used':>5}  state  taint  version")
    for name in sorted(status.modules):
        one = status.modules[name]
        print(f"{name:<32} {one.size:>10} {one.refcount:>5}  {one.state:<5}  {one.taint:<5}  {one.version}".rstrip())
    return 0


def _baseline(kernel: Kernel, arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from kobox.atomic_file import write_file
    from kobox.monitor.baseline import drift, drift_text
    from kobox.printable import printable

    if arguments.save_baseline is not None:
        write_file(arguments.save_baseline, json.dumps(must_be_readable(kernel).plain(), indent=1).encode())
        return 0
    before = _saved(arguments.baseline)
    found = drift(before, must_be_readable(kernel), _blacklist())
    print(to_json("monitor-drift", asdict(found), indent=None) if arguments.json else printable(drift_text(found)))
    return 1 if found else 0


def _saved(path: Path) -> KernelModules:
    from kobox.monitor.status import KernelModules, StatusFormatError

    try:
        return KernelModules.of_plain(parse_json(path.read_bytes()))
    except ValueError:
        raise StatusFormatError(f"{path}: no JSON", hint="`kobox monitor --save-baseline FILE` writes one.") from None


def _never_loaded(kernel: Kernel, arguments: argparse.Namespace) -> int:
    """--never-loaded: the tree is this machine's, so the kernel must be, too."""
    import socket
    import time
    from contextlib import closing
    from dataclasses import asdict

    from kobox.errors import KoboxError
    from kobox.kmod.module_tree import ModuleTree
    from kobox.monitor import History
    from kobox.monitor.never_loaded import never_loaded

    if arguments.ssh is not None:
        raise KoboxError("--never-loaded reads the module tree of this machine", hint="Run it there, without --ssh.")
    looks = [must_be_readable(kernel), *([_saved(arguments.baseline)] if arguments.baseline is not None else [])]
    tree = ModuleTree(f"/lib/modules/{kernel.release}").names()
    if arguments.history is None:
        found = never_loaded(tree, looks)
    else:
        if not arguments.history.exists():
            raise KoboxError(f"{arguments.history}: no such file", hint="`kobox monitor --history FILE` makes one.")
        with closing(History(arguments.history, socket.gethostname())) as history:
            found = never_loaded(tree, looks, history)
    if arguments.json:
        print(to_json("monitor-never-loaded", asdict(found), indent=None))
        return 0
    print(*found.names, sep="\n")
    since = f" since {time.strftime('%Y-%m-%d %H:%M', time.localtime(found.since))}" if found.since else ""
    print(f"{len(found.names)} of {found.of} modules were not loaded{since}", file=sys.stderr)
    return 0


def _blacklist() -> frozenset[str]:
    from kobox.kmod.config import modprobe_d

    return frozenset(modprobe_d.load().blacklist)


def _watch(kernel: Kernel, arguments: argparse.Namespace) -> int:
    import socket
    import threading

    from kobox.monitor import History, ModuleMonitor
    from kobox.monitor.server import MonitorServer

    must_be_readable(kernel)
    token = _token(arguments.token_file)
    with ExitStack() as stack:
        history = None
        if arguments.history is not None:
            history = History(arguments.history, arguments.ssh or socket.gethostname(), days=arguments.days)
            stack.callback(history.close)
        log = log_of(kernel, arguments.ssh)
        stack.callback(log.close)
        notices = notices_of(stack, arguments.tracepoints) if arguments.ssh is None else None
        recorder = recorder_of(stack, kernel, arguments.record, arguments.ssh)
        sinks = _sinks(arguments)
        for sink in sinks:
            stack.callback(sink.close)
        monitor = ModuleMonitor(recorder or kernel, log, notices, history, sinks=sinks, recorder=recorder)
        for problem in monitor.problems:
            print(f"kobox monitor: {problem}", file=sys.stderr)
        if arguments.listen is not None:
            server = stack.enter_context(MonitorServer(monitor, *arguments.listen, token=token, history=history))
            print(f"http://{server.address}:{server.port}/", file=sys.stderr)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: monitor.stop())
        monitor.watch(lambda events: _tell(events, arguments.json, sys.stdout), arguments.interval)
    return 0


def _fleet(parser: CommandParser, arguments: argparse.Namespace) -> int:
    """--fleet: one look, or on and on."""
    import time
    from contextlib import closing

    from kobox.monitor.fleet import Fleet, fleet_data, fleet_text, read_fleet
    from kobox.monitor.server import FleetServer
    from kobox.printable import one_line, printable

    if arguments.ssh or arguments.history or arguments.baseline or arguments.save_baseline or arguments.webhook:
        parser.error("--fleet goes with --once, --listen, --token-file, --interval and --json")
    with closing(Fleet(read_fleet(arguments.fleet))) as fleet, ExitStack() as stack:
        fleet.look()
        if arguments.once:
            views = fleet.views
            print(to_json("monitor-fleet", fleet_data(views)) if arguments.json else printable(fleet_text(views)))
            return int(any(view.problem for view in views))
        if arguments.listen is not None:
            server = stack.enter_context(FleetServer(fleet, *arguments.listen, token=_token(arguments.token_file)))
            print(f"http://{server.address}:{server.port}/", file=sys.stderr)
        while True:
            time.sleep(arguments.interval)
            for host, event in fleet.look():
                if arguments.json:
                    print(to_json("monitor-event", {**event.plain(), "host": host}, indent=None), flush=True)
                else:
                    print(one_line(f"{host}  {event}"), flush=True)


def _token(path: Path | None) -> str:
    """The token in a file; "" without one. Raises `KoboxError` for one that can be guessed."""
    from kobox.errors import KoboxError

    token = path.read_text().strip() if path is not None else ""
    if path is not None and len(token) < 16:
        raise KoboxError(f"{path}: a token has 16 characters at least")
    return token


def _sinks(arguments: argparse.Namespace) -> list[EventSink]:
    """Where events go by --webhook and --journal."""
    import socket

    from kobox.monitor.sinks import Journal, Webhook

    host = arguments.ssh or socket.gethostname()
    return [*(Webhook(url, host) for url in arguments.webhook), *([Journal(host)] if arguments.journal else [])]


def _tell(events: list[ModuleEvent], as_json: bool, out: TextIO) -> None:
    from datetime import datetime

    from kobox.printable import one_line

    for event in events:
        if as_json:
            print(to_json("monitor-event", event.plain(), indent=None), file=out, flush=True)
            continue
        when = datetime.fromtimestamp(event.time).strftime("%Y-%m-%d %H:%M:%S")
        print(
            f"{when}  {event.kind:<9} {one_line(event.module or 'kernel')}  {one_line(event.detail)}",
            file=out,
            flush=True,
        )
        if event.advice:
            print(f"{'':21}{one_line(event.advice)}", file=out, flush=True)
