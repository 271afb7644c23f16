"""Images per second on a CPU: the engine over a bundle's schedule beside diffusers' own eager pipeline, dense.

    diffes export --schedule half=uniform:0.5 --out out/bundle
    python benchmarks/images_per_second.py out/bundle --schedule half --out benchmarks/results/images/NAME.json

For models that calculate on pixels; the pipeline's decoder hands them on. Both make the same number of images in turns,
each on idle processors; of every turn the seconds are written.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from diffes.backends import open_backend
from diffes.bench.machine import Machine
from diffes.bundle import Bundle
from diffes.bundled import bundled_model
from diffes.engine.engine import Engine
from diffes.engine.request import Limits, Request
from diffes.files import write_text_atomically
from loadtest.peers.pipeline import open_pipeline

Run = Callable[[int], object]  # makes so many images

_REST = 0.05  # seconds between runs, in which the threads of the last one go to sleep


def pipeline_run(model: Path, bundle: Bundle, schedule: str) -> Run:
    """diffusers' pipeline with the schedule's steps and guidance."""
    sampler = bundle.schedule(schedule).sampler
    pipeline = open_pipeline(model)
    pipeline.set_progress_bar_config(disable=True)

    def run(images: int) -> object:
        return pipeline(
            class_labels=[index % len(bundle.labels) for index in range(images)],
            guidance_scale=sampler.guidance,
            num_inference_steps=sampler.steps,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        )

    return run


def engine_run(bundle: Bundle, backend: str, schedule: str, most: int) -> Run:
    """Ours: requests of one image each, all at once."""
    engine = Engine(bundle, open_backend(backend, bundle, "cpu", None), Limits(batch=most))
    engine.start()

    def run(images: int) -> object:
        requests = [
            Request(prompt=bundle.wording.example(index), seed=index, schedule=schedule) for index in range(images)
        ]
        return [future.result() for future in [engine.submit(request) for request in requests]]

    return run


def compared(runs: Mapping[str, Run], counts: Sequence[int], turns: int) -> list[dict[str, Any]]:
    """Seconds of every turn by run and number of images."""
    found: list[dict[str, Any]] = [{"name": name, "images": count, "seconds": []} for count in counts for name in runs]
    for turn in track(range(turns + 1), description="generating"):
        for entry in found:
            time.sleep(_REST)
            start = time.perf_counter()
            runs[entry["name"]](entry["images"])
            if turn:  # the first one warms up
                entry["seconds"].append(time.perf_counter() - start)
    return found


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--model", type=Path, default=bundled_model())
    parser.add_argument("--schedule", default="half")
    parser.add_argument("--backend", action="append", help="default: onnxruntime and torch")
    parser.add_argument("--images", type=int, action="append", help="made at once; default: 1 and 4")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    bundle, counts = Bundle.open(options.bundle), options.images or [1, 4]
    runs = {"diffusers": pipeline_run(options.model, bundle, options.schedule)}
    for backend in options.backend or ["onnxruntime", "torch"]:
        runs[f"diffes {backend}"] = engine_run(bundle, backend, options.schedule, max(counts))
    found = {
        "machine": asdict(Machine.of(torch.device("cpu"), bundle.manifest.dtype)),
        "dtype": bundle.manifest.dtype,
        "schedule": options.schedule,
        "steps": bundle.schedule(options.schedule).sampler.steps,
        "runs": compared(runs, counts, options.turns),
    }
    write_text_atomically(options.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
