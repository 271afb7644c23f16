"""What a scrape does not show."""

import os
import subprocess
import sys
from pathlib import Path

from diffes.serving.scrape import known_endpoints_only


def test_lines_of_unknown_endpoints_are_dropped_and_all_others_kept() -> None:
    kept = [
        '# HELP bento_total endpoint="/x"',
        'bento_total{endpoint="/generate",code="200"} 1.0',
        'bento_total{code="200",endpoint="/metrics"} 1.0',
        'diffes_requests_total{status="done"} 1.0',
    ]
    dropped = ['bento_total{endpoint="/wp-login.php"} 1.0', 'bento_total{code="404",endpoint="/a\\"b"} 1.0']
    text = "\n".join([*kept[:2], *dropped, *kept[2:]]) + "\n"
    assert known_endpoints_only(text, ["/generate", "/metrics"]) == "\n".join(kept) + "\n"


_KILLED_AND_RESPAWNED = """
import os, signal, sys
from prometheus_client import CollectorRegistry, multiprocess
from diffes.serving.metrics import Metrics
from diffes.serving.scrape import forget_dead_processes

def load():
    Metrics(CollectorRegistry()).load(waiting=3, running=0)

def depth():
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return registry.get_sample_value("diffes_queue_depth")

if os.fork() == 0:
    load()
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
load()
before = depth()
forget_dead_processes()
sys.stdout.write(f"{before} {depth()}")
"""


def test_gauges_of_a_killed_worker_leave_the_sum(tmp_path: Path) -> None:
    """Multiprocess mode is chosen at prometheus_client's import, hence a process of its own."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", _KILLED_AND_RESPAWNED], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == "6.0 3.0"
