"""What a bento is made of."""

import os
import re
import shutil
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


def test_a_bento_of_a_clean_copy_holds_the_playground_and_every_module(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in tracked.split("\0") if name]
    copy, home = tmp_path / "copy", tmp_path / "home"
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(copy)}
    build = [sys.executable, "-m", "bentoml", "build", "--output", "tag", str(copy)]
    built = subprocess.run(build, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (source,) = home.glob("bentos/*/*/src")
    held = {file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()}
    modules = {name for name in names if re.fullmatch(r"diffes/.+\.py|service\.py", name)}
    playground = {name for name in names if re.fullmatch(r"diffes/serving/playground/.+\.(html|css|js)", name)}
    assert {Path(name).suffix for name in playground} == {".html", ".css", ".js"}
    assert modules | playground <= held
