"""How long a VAE takes to decode: the torch backend beside diffusers' own, eager and compiled, in one run.

    python benchmarks/random_bundle.py dit-xl-2-256 out/dit-xl --schedule half
    python benchmarks/decoding.py out/dit-xl/bundle out/dit-xl/model --device cuda --out RESULT.json

Errors are the largest from diffusers' own in float32.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from rich.progress import Progress
from torch import Tensor

from diffes.backends import open_backend
from diffes.bench.machine import Machine
from diffes.bundle import Bundle
from diffes.files import write_text_atomically
from diffes.latency.timing import clock_for, measure
from diffes.rollout import seeded_noise

Decode = Callable[[Tensor], Tensor]  # latents [B, C, h, w] → images [B, 3, H, W] in [-1, 1]

_SPREAD = 0.2  # of latents that a decoder meets, in its config's scale; of a random one any will do


def diffusers_decoders(model: Path, dtype: torch.dtype, device: torch.device, *, compiled: bool) -> dict[str, Decode]:
    """Its own in float32, in the bundle's type, and that compiled."""

    def opened(dtype: torch.dtype) -> Any:
        return AutoencoderKL.from_pretrained(model / "vae", torch_dtype=dtype).eval().requires_grad_(False).to(device)

    def decode(of: Any, run: Callable[..., Tensor]) -> Decode:
        scale, shift = of.config.scaling_factor, of.config.shift_factor or 0.0
        return lambda latents: run(latents.to(of.dtype) / scale + shift, return_dict=False)[0].clamp(-1, 1).float()

    exact, rounded = opened(torch.float32), opened(dtype)
    found = {"float32": decode(exact, exact.decode), "diffusers": decode(rounded, rounded.decode)}
    if compiled:
        run = torch.compile(rounded.decode, mode="reduce-overhead", dynamic=False)
        found["diffusers-compiled"] = decode(rounded, run)
    return found


@torch.inference_mode()
def compare(decoders: dict[str, Decode], latents: Tensor, seconds: float) -> list[dict[str, Any]]:
    """Of each but float32's, which the others are compared with: quartiles of milliseconds, and its error."""
    exact = decoders["float32"](latents)
    timed = {name: decode for name, decode in decoders.items() if name != "float32"}
    errors = {name: float((decode(latents) - exact).abs().max()) for name, decode in timed.items()}
    runs = [lambda decode=decode: decode(latents) for decode in timed.values()]
    measured = measure(runs, clock_for(latents.device.type), seconds=seconds)
    quartiles = 1e3 * np.quantile(measured.times, (0.25, 0.5, 0.75), axis=0).T
    return [
        {
            "name": name,
            "images": len(latents),
            "ms": list(map(float, of)),
            "error": errors[name],
            "rounds": measured.rounds,
        }
        for name, of in zip(timed, quartiles, strict=True)
    ]


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("model", type=Path, help="the model's folder, in which diffusers finds the VAE")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, action="append", help="decoded at once; default: 1, 4 and 16")
    parser.add_argument("--no-compiled", dest="compiled", action="store_false", help="leave torch.compile out")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each number of images")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    bundle, device = Bundle.open(options.bundle), torch.device(options.device)
    backend = open_backend("torch", bundle, options.device, None)
    peers = diffusers_decoders(options.model, bundle.dtype, device, compiled=options.compiled)
    decoders: dict[str, Decode] = {"diffes torch": backend.decode, **peers}
    counts, found = options.images or [1, 4, 16], []
    with Progress() as bars:
        for images in bars.track(counts, description="decoding"):
            latents = _SPREAD * seeded_noise(range(images), bundle.architecture.latent_shape).to(device)
            found += compare(decoders, latents, options.seconds)
    backend.close()
    result = {
        "machine": asdict(Machine.of(device, bundle.manifest.dtype)),
        "dtype": bundle.manifest.dtype,
        "decoded": found,
    }
    write_text_atomically(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
