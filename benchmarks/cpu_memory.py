"""Memory that all CPU sessions of a bundle take together, against the dense model's weights.

    python benchmarks/cpu_memory.py BUNDLE [--rows 16] [--json]

Each backend is measured in a fresh process, with every graph run once per measurement: the blob's mapped pages by
their proportional set size (shared pages are counted once), and what the process grew by in anonymous memory
(private copies of weights, activations, graphs). Reads Linux's /proc/self/smaps.
"""

import argparse
import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Column, Table

from diffes.backends import LOCAL_BACKENDS, Backend, open_backend
from diffes.bundle import Bundle
from diffes.inspection import resident_bytes
from diffes.rollout import conditions_of

_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(?P<path>.*)$")
_KIB = 1024


@dataclass(frozen=True)
class Usage:
    """Bytes of this process: mapped pages of the blob, and anonymous memory."""

    blob: int
    anonymous: int


@dataclass(frozen=True)
class Result:
    """One backend in one process, bytes.

    `opened`: anonymous growth by opening every graph: their structure, and private copies of weights if there are
    any. `run`: by running each at `rows`: activations and what the runtime keeps for them.
    """

    backend: str
    rows: int
    graphs: int
    dense_bytes: int
    read_bytes: int
    blob_pages: int
    opened: int
    run: int

    @property
    def weights_over_dense(self) -> float:
        """Resident pages of the blob over the dense model's weights."""
        return self.blob_pages / self.dense_bytes

    @property
    def opened_over_dense(self) -> float:
        """The same with all that opening the graphs took."""
        return (self.blob_pages + self.opened) / self.dense_bytes

    @property
    def all_over_dense(self) -> float:
        """The same with activations."""
        return (self.blob_pages + self.opened + self.run) / self.dense_bytes

    def to_json(self) -> dict[str, Any]:
        """Measured values and ratios."""
        ratios = ("weights_over_dense", "opened_over_dense", "all_over_dense")
        return asdict(self) | {name: round(getattr(self, name), 4) for name in ratios}


def usage(blob: Path) -> Usage:
    """Read /proc/self/smaps."""
    mapped = anonymous = 0
    path = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if match := _MAPPING.match(line):
            path = match["path"]
        elif line.startswith("Pss:") and path == str(blob):
            mapped += int(line.split()[1]) * _KIB
        elif line.startswith("Anonymous:"):
            anonymous += int(line.split()[1]) * _KIB
    return Usage(mapped, anonymous)


def measure(folder: Path, name: str, rows: int) -> Result:
    """Open and run everything in this process."""
    bundle = Bundle.open(folder)
    blob = (folder / bundle.manifest.blob.file).resolve()
    import_module(f"diffes.backends.{name}")  # a library's own memory is not the bundle's
    before = usage(blob)
    backend = open_backend(name, bundle, "cpu", 1)
    opened = usage(blob)
    run_all(backend, bundle, rows)
    after = usage(blob)
    return Result(
        backend=name,
        rows=rows,
        graphs=len(list(bundle.manifest.graphs)),
        dense_bytes=bundle.manifest.blob.dense_bytes,
        read_bytes=resident_bytes(bundle, [*bundle.manifest.subgraphs, *bundle.manifest.once]),
        blob_pages=after.blob,
        opened=opened.anonymous - before.anonymous,
        run=after.anonymous - opened.anonymous,
    )


def run_all(backend: Backend, bundle: Bundle, rows: int) -> None:
    """One step of every subgraph."""
    encoded = backend.encode(bundle.architecture.examples().in_turn([0] * rows).wanted)
    conditions = conditions_of(backend, encoded, torch.arange(rows, dtype=torch.float32))
    latents = torch.zeros(rows, *bundle.architecture.latent_shape)
    for subgraph in bundle.manifest.subgraphs:
        backend.denoise(subgraph.id, latents, conditions)


def table_of(results: list[Result]) -> Table:
    """One row a backend; sizes in MiB, ratios over the dense model's weights."""
    headings = ("", "graphs", "dense", "read", "pages", "opened", "run", "ratio", "+opened", "+run")
    table = Table(*(Column(heading, no_wrap=True) for heading in headings), box=None, padding=(0, 2, 0, 0))
    for r in results:
        sizes = [r.dense_bytes, r.read_bytes, r.blob_pages, r.opened, r.run]
        ratios = [r.weights_over_dense, r.opened_over_dense, r.all_over_dense]
        cells = [f"{size / 2**20:.1f}" for size in sizes] + [f"{ratio:.2f}" for ratio in ratios]
        table.add_row(r.backend, str(r.graphs), *cells)
    return table


def main() -> None:
    """Measure every backend, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=LOCAL_BACKENDS, help="measure one backend in this process and print JSON")
    options = parser.parse_args()
    if options.only:
        result = measure(options.bundle, options.only, options.rows)
        sys.stdout.write(json.dumps(asdict(result)))
        return
    results = []
    for name in LOCAL_BACKENDS:
        command = [sys.executable, __file__, str(options.bundle), "--rows", str(options.rows), "--only", name]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results.append(Result(**json.loads(out)))
    if options.json:
        sys.stdout.write(json.dumps([result.to_json() for result in results], indent=1) + "\n")
    else:
        Console().print(table_of(results))


if __name__ == "__main__":
    main()
