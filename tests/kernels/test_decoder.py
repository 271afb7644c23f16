from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes.kernels import decoder
from tests.bundles import tiny_vae
from tests.kernels.some import DEVICE, normal


def vae(**config: Any) -> AutoencoderKL:
    torch.manual_seed(0)
    made = AutoencoderKL(
        **{
            "block_out_channels": (8, 16, 16),
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
            "layers_per_block": 2,
            "norm_num_groups": 4,
            **config,
        }
    )
    for name, tensor in made.named_parameters():  # fresh biases are 0, and fresh norms 1
        if tensor.dim() == 1:
            tensor.data = normal(len(tensor), seed=len(name)).cpu()
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("config", [{}, {"mid_block_add_attention": False}, {"layers_per_block": 1}])
def test_it_decodes_as_diffusers_does(config: dict[str, Any], rows: int) -> None:
    its = vae(**config).decoder.to(DEVICE)
    latents = normal(rows, 4, 4, 6)
    assert decoder.fits(its)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # whose rounding depends on how its results lie
        found, expected = decoder.decode(its, latents), its(latents)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_is_built_otherwise_does_not_fit() -> None:
    assert decoder.fits(tiny_vae().decoder)
    assert not decoder.fits(vae(act_fn="gelu").decoder)
