"""What a bento is made of."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

_IMPORTED = """
import os, sys
os.environ.pop("BENTOML_DO_NOT_TRACK", None)
from bentoml._internal.utils.analytics import usage_stats
usage_stats.do_not_track()  # as `bentoml serve` asks before it imports a service
import diffes.serving.bento
sys.stdout.write(f"{usage_stats.do_not_track()}\\n" + "\\n".join(sys.modules))
"""


def test_serving_imports_no_offline_part_and_turns_telemetry_off() -> None:
    run = subprocess.run([sys.executable, "-c", _IMPORTED], capture_output=True, text=True, check=True)
    off, *modules = run.stdout.splitlines()
    assert off == "True"
    assert not {"search", "export", "loadtest", "pygad", "matplotlib", "pyarrow", "typer", "locust"} & set(modules)


def test_a_bento_installs_what_the_package_declares_in_the_same_ranges() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    packages = re.findall(r'^    - "(.+)"$', (ROOT / "bentofile.yaml").read_text(), re.MULTILINE)
    assert "starlette>=0.40" in packages
    assert set(packages) <= set(declared)
