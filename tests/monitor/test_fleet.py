"""Many machines at once: what they have, what differs, a page, metrics; one that is not reached stops nobody."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from kobox.errors import KoboxError
from kobox.kernel.interface import Kernel
from kobox.monitor import ModuleMonitor
from kobox.monitor.fleet import Fleet, differences, fleet_data, fleet_text, read_fleet
from kobox.monitor.fleet_page import fleet_metrics, fleet_page
from kobox.monitor.server import FleetServer, MonitorServer
from tests.building import BuiltTestModules
from tests.kernel.test_remote import FAR
from tests.monitor.test_monitor import FixedKernel

KOBOX = str(Path(sys.executable).with_name("kobox"))
E1000 = "e1000 155648 0 - Live 0x0000000000000000\n"
HELLO = "hello 16384 0 - Live 0x0000000000000000 (OE)\n"


def machine(number: int) -> FixedKernel:
    """One of 500: every fiftieth has a module of its own, the last has another version of e1000."""
    return FixedKernel(
        {
            "/proc/modules": E1000 + (HELLO if number % 50 == 0 else ""),
            "/proc/sys/kernel/tainted": "12288" if number % 50 == 0 else "0",
            "/sys/module/e1000/version": "8" if number == 499 else "7",
        }
    )


def reach(name: str, where: str) -> Kernel:
    if where == "down":
        raise KoboxError(f"{name}: No route to host")
    return machine(int(where))


HOSTS = {f"web{number:03}": str(number) for number in range(500)}


def test_five_hundred_machines() -> None:
    with closing(Fleet(HOSTS | {"zz": "down"}, reach)) as fleet:
        assert fleet.look() == []
        views = fleet.views
        assert len(views) == 501
        assert [view.name for view in views if view.problem] == ["zz"]
        assert [view.name for view in views if view.outside] == [f"web{number:03}" for number in range(0, 500, 50)]
        found = {one.module: one for one in differences(views)}
        assert {key: len(names) for key, names in found["e1000"].having.items()} == {"7": 499, "8": 1}
        assert len(found["hello"].lacking) == 490
        text = fleet_text(views)
        assert "hello: 10 of 500 with 6.1.0-test: web000, web050, web100" in text
        assert re.search(r"^zz .*No route to host$", text, re.M)
        page = fleet_page(fleet, {})
        assert page.count("<tr><td>") == 501 + 2
        assert '<span class="bad">1 cannot be reached</span>' in page
        assert fleet_page(fleet, {"module": "hello"}).count("<tr><td>") == 10
        metrics = fleet_metrics(fleet).decode()
        assert 'kobox_fleet_host_up{host="zz"} 0.0' in metrics
        assert metrics.count('kobox_fleet_modules{host="') == 500


def test_what_changes_is_told_with_the_machine_s_name() -> None:
    kernels = {"a": machine(1), "b": machine(2)}
    with closing(Fleet({"a": "", "b": ""}, lambda name, where: kernels[name])) as fleet:
        fleet.look()
        kernels["b"].files["/proc/modules"] += HELLO
        assert [(host, event.kind.value, event.module) for host, event in fleet.look()] == [("b", "loaded", "hello")]
        saved = kernels["a"].files.pop("/proc/modules")
        assert fleet.look() == []
        assert "No such file" in fleet.views[0].problem
        assert fleet.views[0].status is not None, "what it had is still shown"
        kernels["a"].files["/proc/modules"] = saved + HELLO
        assert [(host, event.module) for host, event in fleet.look()] == [("a", "hello")]
        assert fleet.views[0].problem == ""


@pytest.mark.parametrize("modules", ["nonsense\n", "a b c d e f\n", "\x00\n", "x 1 0 - Live zz\n"])
def test_a_machine_that_answers_nonsense_is_a_problem_of_its_own(modules: str) -> None:
    kernels = {"bad": FixedKernel({"/proc/modules": modules}), "good": machine(1)}
    with closing(Fleet({"bad": "", "good": ""}, lambda name, where: kernels[name])) as fleet:
        fleet.look()
        assert [bool(view.problem) for view in fleet.views] == [True, False]


def test_what_a_machine_says_is_text_on_the_page() -> None:
    evil = "<script>alert(1)</script>"
    kernel = FixedKernel({"/proc/modules": f"{evil} 1 0 - Live 0x0 (OE)\n", f"/sys/module/{evil}/version": evil})
    kernels = {evil: kernel, "good": machine(1)}
    with closing(Fleet({evil: "", "good": ""}, lambda name, where: kernels[name])) as fleet:
        fleet.look()
        for query in ({}, {"module": evil, "sort": evil}, {"one": evil, "other": "good"}, {"one": evil, "other": evil}):
            assert fleet_page(fleet, query).count("<script") == 1  # the page's own


def test_two_machines_beside_each_other() -> None:
    with closing(Fleet(HOSTS | {"zz": "down"}, reach)) as fleet:
        fleet.look()
        page = fleet_page(fleet, {"one": "web000", "other": "web499"})
        assert "<p>2 differences.</p>" in page
        assert "<tr><td>hello</td><td>loaded</td><td>yes</td><td>no</td></tr>" in page
        assert "<tr><td>e1000</td><td>version</td><td>7</td><td>8</td></tr>" in page
        assert '<option value="web499" selected>' in page
        assert "<p>0 differences.</p>" in fleet_page(fleet, {"one": "web001", "other": "web002"})
        assert "never reached" in fleet_page(fleet, {"one": "web001", "other": "zz"})
        assert "differences." not in fleet_page(fleet, {"one": "web001", "other": "<none>"})


def test_machines_that_are_asked_by_http(tmp_path: Path) -> None:
    kernel = machine(0)
    monitor = ModuleMonitor(kernel)
    (tmp_path / "db.token").write_text("a-token-of-21-letters\n")
    with (
        MonitorServer(monitor) as plain,
        MonitorServer(monitor, token="a-token-of-21-letters") as guarded,
        closing(socket.create_server(("127.0.0.1", 0))) as nobody,
        FleetServer(Fleet({"x": "0"}, reach)) as other,
    ):
        silent = nobody.getsockname()[1]
        nobody.close()
        (tmp_path / "hosts.toml").write_text(
            f"""[hosts]
plain = "http://127.0.0.1:{plain.port}/"
guarded = {{url = "http://127.0.0.1:{guarded.port}", token-file = "db.token"}}
forgotten = "http://127.0.0.1:{guarded.port}"
silent = "http://127.0.0.1:{silent}"
other = "http://127.0.0.1:{other.port}"
"""
        )
        with closing(Fleet(read_fleet(tmp_path / "hosts.toml"))) as fleet:
            fleet.look()
            problems = {view.name: view.problem for view in fleet.views}
            assert problems == {
                "plain": "",
                "guarded": "",
                "forgotten": "HTTP 401: a token is needed",
                "silent": f"http://127.0.0.1:{silent}: Connection refused",
                "other": "HTTP 404",
            }
            assert {view.name: view.outside for view in fleet.views if view.status} == {
                "plain": ["hello"],
                "guarded": ["hello"],
            }
            kernel.files["/proc/modules"] = E1000
            monitor.poll()
            assert [f"{host}: {event}" for host, event in fleet.look()] == [
                "guarded: unloaded hello: ",
                "plain: unloaded hello: ",
            ]


def test_the_server_answers_for_all() -> None:
    with closing(Fleet({"a": "0"}, reach)) as fleet, FleetServer(fleet) as server:
        fleet.look()
        base = f"http://{server.address}:{server.port}"
        with urllib.request.urlopen(f"{base}/api/fleet") as answer:
            assert json.load(answer)["hosts"] == fleet_data(fleet.views)
        with urllib.request.urlopen(f"{base}/?sort=outside") as answer:
            assert b"1 machines" in answer.read()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[hosts]\n",
        "hosts = 1\n",
        "[hosts]\na = 1\n",
        "[hosts]\na = {}\n",
        "[hosts]\na = {url = 'ftp://x'}\n",
        "[hosts]\na = {url = 'http://x', b = 'c'}\n",
        "[hosts\n",
        '[hosts]\na = "-oProxyCommand=x"\n',
        "\xff",
    ],
)
def test_a_file_that_is_no_fleet(text: str, tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(KoboxError):
        read_fleet(tmp_path / "hosts.toml")


def test_the_command(modules: BuiltTestModules, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(
        f'#!/bin/sh\ncase "$*" in *down*) echo "down: No route to host" >&2; exit 255;; esac\n'
        f'exec {sys.executable} {FAR} {modules("params")} -- "$@"\n'
    )
    ssh.chmod(0o755)
    (tmp_path / "hosts.toml").write_text('[hosts]\nfar = "ada@far"\nlost = "down"\n')
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def kobox(*words: str) -> subprocess.CompletedProcess[str]:
        command = [KOBOX, "monitor", "--fleet", str(tmp_path / "hosts.toml"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    told = kobox("--once", "--json")
    assert told.returncode == 1, "one is not reached"
    rows = {row["host"]: row for row in json.loads(told.stdout)}
    assert rows["far"]["outside"] == ["params"]
    assert rows["lost"]["problem"] == "lost: down: No route to host"
    assert kobox("--once", "--ssh", "x").returncode == 2
