"""`kobox monitor` under the eyes of Prometheus and Grafana. `make check-prometheus`.

promtool (of Debian, fetched without being installed) checks the names of the metrics, the alert rules, and that
they fire when they should. A Prometheus scrapes a monitor of a box until a module that is loaded meanwhile is
there, and the alerts on a refused and on an unsigned module fire. Grafana's own types (its Foundation SDK) read the
dashboard, and write the same again. systemd-analyze, where it is there, reads the unit.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

import kobox
from kobox.errors import ModuleLoadError
from kobox.monitor import BoxLog, ModuleMonitor, metrics_text
from kobox.monitor.server import MonitorServer
from tests.building import BuiltTestModules

ROOT = Path(__file__).parent.parent
CONTRIB = ROOT / "kobox/monitor/contrib"
OF_PROMETHEUS = (
    "titleFormat",
    "textFormat",
    "tagKeys",
)  # fields of its data source's annotations, not of Grafana's core
ALERT_TESTS = """rule_files: [alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'kobox_kernel_crashes_total{instance="a"}', values: '0x5 1x20'}
      - {series: 'kobox_module_failures_total{instance="a"}', values: '3x25'}
      - {series: 'kobox_module_info{instance="a", module="hello", taint="OE"}', values: '1x25'}
      - {series: 'kobox_monitor_problems{instance="b"}', values: '1x25'}
    alert_rule_test:
      - {eval_time: 4m, alertname: KernelCrashed, exp_alerts: []}
      - eval_time: 7m
        alertname: KernelCrashed
        exp_alerts:
          - exp_labels: {severity: critical, instance: a}
            exp_annotations:
              summary: The kernel of a reported an oops, a BUG, a warning or a hung task
      - {eval_time: 7m, alertname: ModuleRefused, exp_alerts: []}
      - eval_time: 7m
        alertname: UnsignedModule
        exp_alerts:
          - exp_labels: {severity: warning, instance: a, module: hello}
            exp_annotations: {summary: hello on a has no valid signature}
      - {eval_time: 9m, alertname: MonitorBlind, exp_alerts: []}
      - eval_time: 11m
        alertname: MonitorBlind
        exp_alerts:
          - exp_labels: {severity: info, instance: b}
            exp_annotations: {summary: kobox monitor on b does not see everything}
"""


def main() -> int:
    """0 when all of it is as it should be."""
    board = json.loads((CONTRIB / "grafana.json").read_text())
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
    must_hold(board, again)
    print(f"Grafana's types read the dashboard: {len(board['panels'])} panels", flush=True)
    if shutil.which("systemd-analyze"):
        unit = str(CONTRIB / "kobox-monitor.service")
        said = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        print(said.splitlines()[-1], flush=True)
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        tools = fetched(ROOT / "build/prometheus")
        shutil.copy(CONTRIB / "alerts.yml", here)
        (here / "tests.yml").write_text(ALERT_TESTS)
        run([tools / "promtool", "check", "rules", "alerts.yml"], here)
        run([tools / "promtool", "test", "rules", "tests.yml"], here)
        scrape(tools, here)
    return 0


def must_hold(wanted: object, found: object, path: str = "") -> None:
    """That everything of the first stands in the second, too."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if key in OF_PROMETHEUS:
                continue
            if key not in found:
                raise SystemExit(f"grafana.json: {path}/{key}: Grafana does not know it")
            must_hold(value, found[key], f"{path}/{key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, pair in enumerate(zip(wanted, found, strict=True)):
            must_hold(*pair, f"{path}/{number}")
    elif wanted != found:
        raise SystemExit(f"grafana.json: {path}: {wanted!r}, and Grafana has {found!r}")


def fetched(place: Path) -> Path:
    """The directory of promtool and prometheus."""
    if not (place / "usr/bin/promtool").exists():
        place.mkdir(parents=True, exist_ok=True)
        run(["apt-get", "download", "-q", "prometheus"], place)
        run(["dpkg", "-x", next(place.glob("prometheus_*.deb")), place], place)
    return place / "usr/bin"


def run(words: list[object], here: Path, text: bytes | None = None) -> None:
    """A command that must succeed; what it says otherwise."""
    done = subprocess.run(list(map(str, words)), cwd=here, input=text, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace").strip()
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {said}")
    print(*map(str, words[1:3]), said.splitlines()[-1] if said else "", flush=True)


def scrape(tools: Path, here: Path) -> None:
    """A Prometheus beside a monitor of a box."""
    with kobox.boot() as box:
        monitor = ModuleMonitor(box, BoxLog(box.log.records))
        run([tools / "promtool", "check", "metrics"], here, metrics_text(monitor))
        with MonitorServer(monitor) as server, socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
            free.close()
            (here / "prometheus.yml").write_text(
                "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [alerts.yml]\nscrape_configs:\n"
                f"  - {{job_name: kobox, static_configs: [{{targets: ['127.0.0.1:{server.port}']}}]}}\n"
            )
            words = [
                str(tools / "prometheus"),
                "--config.file=prometheus.yml",
                f"--web.listen-address=127.0.0.1:{port}",
                "--storage.tsdb.path=data",
            ]
            with subprocess.Popen(words, cwd=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                try:
                    asked(port, "kobox_kernel_tainted")
                    modules = BuiltTestModules(box.image)
                    box.insmod(modules("hello"))
                    with suppress(ModuleLoadError):
                        box.insmod(modules("kuser"))
                    monitor.poll()
                    asked(port, 'kobox_module_info{module="hello"}')
                    for alert in ("ModuleRefused", "UnsignedModule"):
                        asked(port, f'ALERTS{{alertname="{alert}",alertstate="firing"}}')
                finally:
                    process.terminate()


def asked(port: int, query: str) -> None:
    """Until Prometheus has an answer; it is asked for a minute at most."""
    address = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
    for _ in range(120):
        with suppress(OSError), urllib.request.urlopen(address, timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
            if found:
                print(f"Prometheus has {query}: {found[0]['metric']}", flush=True)
                return
        time.sleep(0.5)
    raise SystemExit(f"Prometheus has nothing for {query}")


if __name__ == "__main__":
    sys.exit(main())
