"""Small models of families whose text encoders' states are given, from diffusers' model to a bundle."""

import json
from functools import cached_property
from pathlib import Path

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from diffes.architectures import architecture_for
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.pruning.calibration import Calibration, calibrate
from diffes.pruning.spec import CalibrationSpec
from diffes.rollout import seeded_noise
from tests.architectures.tiny import UNETS, tiny_pixart, tiny_unet
from tests.bundles import SAMPLER, export

FAMILIES = ("pixart", "unet")
STAGES = ((0, 0), (1, 1), (2, 0), (0, 2))  # (heads, channels) level of two parts


class Model:
    """One family's: diffusers' model, its checkpoint, calibration and bundle."""

    def __init__(self, family: str, folder: Path) -> None:
        self.made = made = tiny_pixart() if family == "pixart" else tiny_unet(**UNETS["small"])
        made.save_pretrained(folder / "denoiser")
        scheduler = DDIMScheduler(beta_start=1e-4, beta_end=0.02, clip_sample=False)
        self.checkpoint = Checkpoint(  # opening a folder would refuse it: its texts cannot be encoded yet
            folder=folder,
            denoiser_folder=folder / "denoiser",
            class_name=type(made).__name__,
            config=json.loads((folder / "denoiser" / "config.json").read_text()),
            scheduler_config={**scheduler.config, "_class_name": "DDIMScheduler"},
            labels=("first", "second")[: len(architecture_for(type(made).__name__, made.config).examples())],
            vae_folder=None,
        )
        spec = CalibrationSpec(sampler=SAMPLER.model_copy(update={"steps": 4}), images=4, batch=4)
        self.calibration: Calibration = calibrate(self.checkpoint, spec)

    @cached_property
    def bundle(self) -> Bundle:
        """Of four stages with full compensation."""
        return export(self.checkpoint, STAGES, self.calibration, self.checkpoint.folder / "bundle", "full")

    def noise(self) -> Tensor:
        return seeded_noise([1, 2], self.bundle.architecture.latent_shape)
