"""How long writing a bundle of ten stages takes, what host memory, and what it weighs: of a model with random weights.

    python benchmarks/exporting.py sdxl out/sdxl --guidance 5 --out benchmarks/results/exporting/sdxl.json

Writes OUT/model if it is not there, then OUT/bundle by benchmarks/random_bundle.py in a process of its own, which finds
no trace of an earlier export and is looked at a hundred times a second: `anonymous` is the most bytes it held that
nobody can take away, `resident` the most with pages of mapped files (the model that it reads), which the system drops
when it needs them. Both count torch.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch
from random_models import WRITERS, write_random_model
from rich.console import Console

from diffes.bench.machine import versions
from diffes.bundle import Bundle
from diffes.devices import hardware_name
from diffes.files import write_text_atomically
from diffes.inspection import inspect

_EVERY = 0.01  # seconds
_SCHEDULES = ("ten", "half")  # half's one plan is among ten's


def exported(folder: Path, dtype: str, guidance: float, *, verify: bool) -> dict[str, Any]:
    """Export the model of `folder` to its bundle, and say what it took; SystemExit if it failed."""
    command = [sys.executable, str(Path(__file__).parent / "random_bundle.py"), str(folder / "model"), str(folder)]
    command += ["--dtype", dtype, "--guidance", str(guidance), *(f"--schedule={name}" for name in _SCHEDULES)]
    began = time.perf_counter()
    anonymous, resident = _watched([*command, *([] if verify else ["--no-verify"])])
    seconds = time.perf_counter() - began
    found = inspect(Bundle.open(folder / "bundle"))
    return {
        "dtype": dtype,
        "verified": verify,
        "stages": next(len(schedule.stages) for schedule in found.schedules if schedule.name == _SCHEDULES[0]),
        "subgraphs": len(found.subgraphs),
        "seconds": seconds,
        "anonymous": anonymous,
        "resident": resident,
        "model_bytes": _bytes_in(folder / "model", "*.safetensors"),
        "blob_bytes": found.blob_bytes,
        "graph_bytes": _bytes_in(folder / "bundle", "*.onnx"),
        "dense_bytes": found.dense_bytes,
        "resident_bytes": found.resident_bytes,
    }


def _watched(command: list[str]) -> tuple[int, int]:
    """The most anonymous and the most resident bytes that the command's process had."""
    anonymous = resident = 0
    with TemporaryDirectory() as cache, subprocess.Popen(command, env=os.environ | {"DIFFES_CACHE": cache}) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):  # it may end in between
                memory = watched.memory_info()
                anonymous, resident = max(anonymous, memory.rss - memory.shared), max(resident, memory.rss)
            time.sleep(_EVERY)
    if process.returncode:
        sys.exit(f"the export failed with status {process.returncode}")
    return anonymous, resident


def _bytes_in(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern))


def main() -> None:
    """Measure, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=WRITERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--verify", action="store_true", help="run every graph as well")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if not (options.folder / "model").exists():
        write_random_model(options.model, options.folder / "model")
    machine = {"device": hardware_name("cpu"), "threads": torch.get_num_threads(), "versions": versions()}
    found = exported(options.folder, options.dtype, options.guidance, verify=options.verify)
    document = {"format": 1, "model": options.model, "machine": machine, **found}
    write_text_atomically(options.out, json.dumps(document, indent=1) + "\n")
    Console().print_json(data=document)


if __name__ == "__main__":
    main()
