"""Decoders are timed side by side, on the same latents, and compared with diffusers' own in float32."""

import json
from pathlib import Path

from tests.bundles import latent_bundle, tiny_vae
from tests.examples.scripts import run


def test_each_decoder_is_timed_and_compared(tiny_model_folder: Path, tmp_path: Path) -> None:
    bundle = latent_bundle(tiny_model_folder, tiny_vae(), tmp_path)
    out = tmp_path / "decoding.json"
    sizes = "--images", "1", "--images", "3", "--seconds", "0.1"
    places = bundle.folder, tmp_path / "model", "--device", "cpu", "--no-compiled"
    done = run("benchmarks/decoding.py", *places, *sizes, "--out", out)
    assert done.error is None
    decoded = json.loads(out.read_text())["decoded"]
    assert [(each["name"], each["images"]) for each in decoded] == [
        (name, images) for images in (1, 3) for name in ("diffes torch", "diffusers")
    ]
    for each in decoded:
        low, middle, high = each["ms"]
        assert 0 < low <= middle <= high
        assert each["error"] <= 1e-4
