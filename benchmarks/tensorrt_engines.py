"""What TensorRT engines take: bytes and build seconds, of the bundled model and of a full-size DiT-XL/2.

    python benchmarks/tensorrt_engines.py --out benchmarks/results/tensorrt_engines.json

Needs tensorrt-rtx-cu13 and no GPU: engines are built, and none is run. They hold no weights, so only the shapes of
the models matter; DiT-XL/2 (28 blocks, 16 heads of 72, patch 2, 32 x 32 x 4 latents) is all zeros. Takes two minutes
and 5 GB of memory. Every engine serves three stage plans: everything, three quarters, and half of the heads and
channels of every block.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from diffes.architectures import Architecture, architecture_for
from diffes.backends.tensorrt.build import build
from diffes.backends.tensorrt.package import Package, find_package
from diffes.backends.tensorrt.profiles import BATCHES, EngineSpec, Profile
from diffes.blob import Entry
from diffes.bundled import bundled_model
from diffes.checkpoint import Checkpoint
from diffes.files import write_text_atomically
from diffes.graphs import tensor_specs
from diffes.manifest import WEIGHTS, PrefixSpec
from diffes.pruning.mode import Compensation
from diffes.pruning.prefix import Prefix, resolve
from diffes.schedule import BlockPlan, StagePlan
from export.networks import as_network
from export.pieces import Inputs, Piece, free_axes

SHARES = (1.0, 0.75, 0.5)  # kept of every block's heads and channels
_TRACED_ROWS = 2


@dataclass(frozen=True)
class Model:
    """A model by its shapes: weights in the architecture's names and layouts, of any value."""

    name: str
    architecture: Architecture
    weights: Mapping[str, Tensor]
    dtype: torch.dtype

    def entries(self) -> dict[str, Entry]:
        """The tensors as if they lay in a blob."""
        return {name: Entry(self.dtype, tuple(tensor.shape), 0, 0) for name, tensor in self.weights.items()}

    def plan(self, share: float) -> StagePlan:
        """Every block with this share of its heads and channels."""
        return tuple(BlockPlan(int(b.heads * share), int(b.channels * share)) for b in self.architecture.dense)

    def denoiser(self, plan: StagePlan) -> Piece:
        """The denoiser of a plan, unordered and uncompensated."""
        rows = {name: len(tensor) for name, tensor in self.weights.items()}
        prefixes = resolve(self.architecture, plan, Compensation.parse("none"), rows)
        shapes = {"latents": self.architecture.latent_shape, **self.architecture.condition_shapes()}
        axes = free_axes(self.architecture, self.weights)
        return self._piece(
            "denoise.onnx",
            self.architecture.denoiser(plan, {n: p.of(self.weights).to(self.dtype) for n, p in prefixes.items()}),
            {name: torch.zeros(_TRACED_ROWS, *shape, dtype=self.dtype) for name, shape in shapes.items()},
            ("prediction",),
            prefixes,
            {f"{WEIGHTS}{name}": axis for name, axis in axes.items()},
        )

    def condition(self) -> Piece:
        """What depends on timestep and prompt."""
        step = set(self.architecture.step_weights())
        weights = {name: tensor.to(self.dtype) for name, tensor in self.weights.items() if name not in step}
        features = {
            name: torch.zeros(_TRACED_ROWS, *spec.shape, dtype=spec.dtype)
            for name, spec in self.architecture.features().items()
        }
        inputs = {"timesteps": torch.zeros(_TRACED_ROWS), **features}
        module, names = self.architecture.condition(weights), self.architecture.condition_names()
        return self._piece("condition.onnx", module, inputs, names, {name: Prefix(name) for name in weights}, {})

    def _piece(
        self,
        file: str,
        module: nn.Module,
        inputs: Inputs,
        outputs: tuple[str, ...],
        prefixes: Mapping[str, Prefix],
        free: Mapping[str, str],
    ) -> Piece:
        return Piece(
            file=file,
            module=module.eval(),
            inputs=lambda _: inputs,
            outputs=outputs,
            prefixes={f"{WEIGHTS}{n}": PrefixSpec(tensor=p.tensor, rows=p.rows) for n, p in prefixes.items()},
            topology=(file, self.name, self.dtype),
            free=free,
        )


def main() -> None:
    """Build every engine, one after the other, and write one JSON after each."""
    options = _options()
    package = find_package()
    rows: list[dict[str, object]] = []
    for model in _models(options):
        for what in ("denoiser", "condition"):
            rows.append(_measure(package, model, what))
            print(json.dumps({k: v for k, v in rows[-1].items() if k != "profiles"}))  # noqa: T201
            write_text_atomically(options.out, json.dumps(_document(package, rows), indent=1) + "\n")


def _models(options: argparse.Namespace) -> Iterator[Model]:
    checkpoint = Checkpoint.open(options.model)
    for dtype in (torch.float32, torch.bfloat16):
        yield Model(options.model.name, checkpoint.architecture, checkpoint.weights(), dtype)
    if options.dit_xl:
        yield _dit_xl(torch.bfloat16)
        yield _dit_xl(torch.float16)


def _dit_xl(dtype: torch.dtype) -> Model:
    """DiT-XL/2 at 256 x 256 with zeros for weights."""
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

    with torch.device("meta"):
        meta = DiTTransformer2DModel(
            num_attention_heads=16, attention_head_dim=72, num_layers=28, in_channels=4, out_channels=8
        )
    architecture = architecture_for("DiTTransformer2DModel", dict(meta.config))
    # views of one number, until the architecture's layout makes tensors of them
    state = {name: torch.zeros((), dtype=dtype).expand(tensor.shape) for name, tensor in meta.state_dict().items()}
    return Model("DiT-XL/2", architecture, architecture.convert(state), dtype)


def _measure(package: Package, model: Model, what: str) -> dict[str, object]:
    """Trace, build, count. The smallest plan is traced: the graph is the same, and the trace holds less."""
    plans = {share: model.denoiser(model.plan(share)) for share in SHARES}
    pieces = plans if what == "denoiser" else {1.0: model.condition()}
    began = time.perf_counter()
    content = as_network(pieces[min(pieces)], model.entries()).SerializeToString(deterministic=True)
    traced = time.perf_counter()
    profiles = [_profile(content, model, piece, rows) for piece in pieces.values() for rows in BATCHES]
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "network.onnx"
        network.write_bytes(content)
        spec = EngineSpec(network, sha256(content).hexdigest(), tuple(profiles))
        started = time.perf_counter()
        engine = build(package, spec)
    dense = pieces[1.0].module
    return {
        "model": model.name,
        "dtype": str(model.dtype).removeprefix("torch."),
        "engine": what,
        "fused_attention": any(node.op_type == "Attention" for node in onnx.load_from_string(content).graph.node),
        "dense_weight_bytes": sum(p.numel() * p.element_size() for p in dense.parameters()),
        "network_bytes": len(content),
        "engine_bytes": len(engine),
        "engine_bytes_a_profile": round(len(engine) / len(profiles)),
        "trace_seconds": round(traced - began, 2),
        "build_seconds": round(time.perf_counter() - started, 2),
        "profiles": [
            {"kept": share, "rows": rows, "free_inputs": len(profile.shapes)}
            for (share, rows), profile in zip(((s, r) for s in pieces for r in BATCHES), profiles, strict=True)
        ],
    }


def _profile(content: bytes, model: Model, piece: Piece, rows: int) -> Profile:
    shapes = []
    for spec in tensor_specs(onnx.load_from_string(content).graph.input):
        if None in spec.shape:
            prefix = piece.prefixes.get(spec.name)
            first = rows if prefix is None else prefix.rows or len(model.weights[prefix.tensor])
            shapes.append((spec.name, tuple(first if size is None else size for size in spec.shape)))
    return Profile(piece.file, rows, tuple(shapes))


def _document(package: Package, rows: list[dict[str, object]]) -> dict[str, object]:
    return {
        "what": "engines built on a CPU from networks whose weights are inputs; none was run",
        "executed": False,
        "package": package.name,
        "version": package.version,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "batches": list(BATCHES),
        "engines": rows,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", type=Path, default=bundled_model(), help="diffusers folder; default: the bundled one"
    )
    parser.add_argument("--dit-xl", action=argparse.BooleanOptionalAction, default=True, help="DiT-XL/2 too")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tensorrt_engines.json"), help="JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
