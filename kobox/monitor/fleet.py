"""The modules of many machines at once, and what differs between them.

    [hosts]                              hosts.toml: a name, and where ssh finds it
    web1 = "root@web1.example"
    router = "router"
    db1 = "http://db1.example:9855"      or the address that `kobox monitor --listen` serves there
    db2 = {url = "https://db2.example:9855", token-file = "db2.token"}

A machine that cannot be reached is a row that says so; the others go on.
"""

from __future__ import annotations

import http.client
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kobox.errors import KoboxError
from kobox.json_text import parse_json
from kobox.kernel.interface import Kernel
from kobox.kernel.remote import RemoteKernel, by_ssh
from kobox.monitor.events import ModuleEvent, changes
from kobox.monitor.sinks import NoRedirection
from kobox.monitor.status import KernelModules, MonitoredModule, look

_TIMEOUT = 10.0  # seconds for an answer by HTTP
_LONGEST_ANSWER = 64 << 20  # bytes
_AT_ONCE = 32  # machines that are asked at the same time
_OUTSIDE = "OFE"  # letters of taint: out of tree, forced, unsigned


@dataclass(frozen=True, slots=True)
class HostView:
    """A machine as it was at the last look: `status` None while it was never reached, `problem` why it was not now.
    `seen` is when it last answered, in seconds since the epoch."""

    name: str
    status: KernelModules | None = None
    problem: str = ""
    seen: float = 0.0

    @property
    def outside(self) -> list[str]:
        """Modules that are out of tree, unsigned, or were forced."""
        modules = self.status.modules.values() if self.status is not None else ()
        return sorted(one.name for one in modules if set(one.taint) & set(_OUTSIDE))


@dataclass(frozen=True, slots=True)
class FleetHost:
    """Where a machine is: what ssh calls it, or the URL of a `kobox monitor` there with its token ("" for none)."""

    where: str
    token: str = ""

    @property
    def is_url(self) -> bool:
        """Whether it is asked by HTTP."""
        return self.where.startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class FleetDifference:
    """A module that some machines of a kernel's release have, and others do not (`lacking`), or in another version."""

    module: str
    release: str
    having: Mapping[str, tuple[str, ...]]  # the machines, by the module's version and srcversion
    lacking: tuple[str, ...]


def read_fleet(path: Path) -> dict[str, FleetHost]:
    """Where each machine is, by name; files of tokens stand beside `path`. Raises `KoboxError` for a file that is no
    such table, `OSError`."""
    hint = 'It has a table [hosts] with lines such as web1 = "root@web1.example" or web2 = "http://web2:9855".'
    try:
        hosts = tomllib.loads(path.read_text())["hosts"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KoboxError(f"{path}: {error}", hint=hint) from None
    except (KeyError, TypeError):
        raise KoboxError(f"{path}: no table [hosts]", hint=hint) from None
    if not isinstance(hosts, dict) or not hosts:
        raise KoboxError(f"{path}: [hosts] has no machine", hint=hint)
    return {name: _host(path, name, value, hint) for name, value in hosts.items()}


def _host(path: Path, name: str, value: object, hint: str) -> FleetHost:
    if isinstance(value, str):
        host = FleetHost(value)
    elif (
        isinstance(value, dict)
        and set(value) <= {"url", "token-file"}
        and all(isinstance(v, str) for v in value.values())
    ):
        token = (path.parent / value["token-file"]).read_text().strip() if "token-file" in value else ""
        host = FleetHost(value.get("url", ""), token)
        if not host.is_url:
            raise KoboxError(f"{path}: {name}: its url begins with http:// or https://", hint=hint)
    else:
        raise KoboxError(f"{path}: {name}: neither a text nor {{url = …, token-file = …}}", hint=hint)
    if not host.is_url:
        by_ssh(host.where, "true")
    return host


def connect(name: str, where: str) -> Kernel:
    """The kernel of a machine, by ssh."""
    return RemoteKernel(by_ssh(where, "exec sh"), name)


def agent_status(host: FleetHost) -> KernelModules:
    """The modules that a `kobox monitor --listen` on another machine has seen at its last look. Raises `OSError`, and
    `KoboxError` for an answer that is not an agent's."""
    headers = {"Authorization": f"Bearer {host.token}"} if host.token else {}
    request = urllib.request.Request(f"{host.where.rstrip('/')}/api/status", headers=headers)
    try:
        with urllib.request.build_opener(NoRedirection).open(request, timeout=_TIMEOUT) as answer:
            data = parse_json(answer.read(_LONGEST_ANSWER))
    except urllib.error.HTTPError as error:
        raise OSError(f"HTTP {error.code}{': a token is needed' if error.code == 401 else ''}") from None
    except urllib.error.URLError as error:
        raise OSError(f"{host.where}: {getattr(error.reason, 'strerror', None) or error.reason}") from None
    except http.client.HTTPException as error:
        raise OSError(f"{host.where}: no HTTP: {type(error).__name__}") from None
    return KernelModules.of_plain(data)


class Fleet:
    """Machines that are looked at together. `hosts` is where each is, by name; `reach` makes the kernel of those that
    are not asked by HTTP. May be read from any thread."""

    def __init__(self, hosts: Mapping[str, str | FleetHost], reach: Callable[[str, str], Kernel] = connect) -> None:
        self._hosts = {name: FleetHost(host) if isinstance(host, str) else host for name, host in hosts.items()}
        self._reach = reach
        self._kernels: dict[str, Kernel] = {}
        self._views = {name: HostView(name) for name in hosts}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(min(_AT_ONCE, len(self._hosts)), "kobox-fleet")

    @property
    def views(self) -> list[HostView]:
        """Every machine as it was at the last look, by name."""
        with self._lock:
            return [self._views[name] for name in sorted(self._views)]

    def look(self) -> list[tuple[str, ModuleEvent]]:
        """Look at all of them; what has changed since the last look, with the machine's name."""
        before = {view.name: view for view in self.views}
        after = {view.name: view for view in self._pool.map(self._one, before.values())}
        with self._lock:
            self._views = after
        found = []
        for name, view in sorted(after.items()):
            old = before[name].status
            if old is not None and view.status is not None and not view.problem:
                found += [(name, event) for event in changes(old, view.status, view.seen)]
        return found

    def close(self) -> None:
        """End all connections."""
        self._pool.shutdown(cancel_futures=True)
        for kernel in self._kernels.values():
            if isinstance(kernel, RemoteKernel):
                kernel.close()

    def _one(self, before: HostView) -> HostView:
        name = before.name
        host = self._hosts[name]
        try:
            if host.is_url:
                return HostView(name, agent_status(host), "", time.time())
            if name not in self._kernels:
                self._kernels[name] = self._reach(name, host.where)
            return HostView(name, look(self._kernels[name], before.status), "", time.time())
        except (KoboxError, OSError, ValueError) as error:  # what it answered may be no list of modules at all
            return HostView(name, before.status, str(error).splitlines()[0], before.seen)


def differences(views: Sequence[HostView]) -> Iterator[FleetDifference]:
    """What machines of the same kernel's release do not have in common, by release and module."""
    by_release: dict[str, list[tuple[str, KernelModules]]] = {}
    for view in views:
        if view.status is not None:
            by_release.setdefault(view.status.release, []).append((view.name, view.status))
    for release, hosts in sorted(by_release.items()):
        counts = Counter(name for _, status in hosts for name in status.modules)
        for module in sorted(counts):
            having: dict[str, list[str]] = {}
            for host, status in hosts:
                if module in status.modules:
                    having.setdefault(_version(status.modules[module]), []).append(host)
            if len(having) > 1 or counts[module] < len(hosts):
                lacking = tuple(host for host, status in hosts if module not in status.modules)
                yield FleetDifference(module, release, {key: tuple(names) for key, names in having.items()}, lacking)


def _version(module: MonitoredModule) -> str:
    return " ".join(filter(None, (module.version, module.srcversion)))


def fleet_data(views: Sequence[HostView]) -> list[dict[str, object]]:
    """A row a machine, as JSON has it."""
    return [
        {
            "host": view.name,
            "release": view.status.release if view.status is not None else None,
            "modules": sorted(view.status.modules) if view.status is not None else [],
            "tainted": view.status.tainted if view.status is not None else 0,
            "outside": view.outside,
            "problem": view.problem,
            "seen": view.seen,
        }
        for view in views
    ]


def fleet_text(views: Sequence[HostView], most: int = 20) -> str:
    """A table of the machines, and below it what differs, the rarest modules first."""
    width = max(4, *(len(view.name) for view in views))
    lines = [f"{'host':<{width}}  {'modules':>7} {'outside':>7}  {'taint':>6}  kernel"]
    for view in views:
        status = view.status
        row = "      -       -       -  " if status is None else ""
        if status is not None:
            row = f"{len(status.modules):>7} {len(view.outside):>7}  {status.tainted:>6}  {status.release}"
        lines.append(f"{view.name:<{width}}  {row}{f'  {view.problem}' if view.problem else ''}".rstrip())
    found = sorted(differences(views), key=lambda one: sum(map(len, one.having.values())))
    lines += [""] if found else []
    for one in found[:most]:
        held = sum(map(len, one.having.values()))
        names = ", ".join(name for names in one.having.values() for name in names[:3])
        versions = f", {len(one.having)} versions" if len(one.having) > 1 else ""
        lines.append(f"{one.module}: {held} of {held + len(one.lacking)} with {one.release}{versions}: {names}")
    if len(found) > most:
        lines.append(f"… and {len(found) - most} more differences; --json has all")
    return "\n".join(lines)
