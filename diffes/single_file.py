"""A text-to-image checkpoint in one .safetensors file, as most are passed around, unpacked into a diffusers folder."""

import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from diffes.errors import CheckpointError, InvalidInput

SUFFIX = ".safetensors"
_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16}


def unpack(file: Path, config: Path | None, out: Path) -> None:
    """Write the folder whole or not at all, weights in the file's own type.

    Such a file has no configs and no tokenizers: `config` is a folder that has them, in diffusers layout (its weights,
    if it has any, are not read); without one diffusers looks for the published ones on its hub. CheckpointError if the
    file is no SDXL checkpoint, or does not fit the configs; InvalidInput if `out` is taken.
    """
    if file.suffix != SUFFIX:
        raise CheckpointError(
            f"{file} may run code when read",
            expected=f"a {SUFFIX} file",
            found=file.suffix or "no suffix",
            remedy="Convert it with the tool it came from.",
        )
    if out.exists() and any(out.iterdir()):
        raise InvalidInput("out", expected="a new folder", found=f"{out}, which holds files")
    from diffusers import StableDiffusionXLPipeline  # takes seconds

    try:
        pipeline = StableDiffusionXLPipeline.from_single_file(
            file,
            config=None if config is None else str(config),
            local_files_only=config is not None,
            dtype=_type_of(file),
        )
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(
            f"{file} cannot be unpacked",
            expected="an SDXL checkpoint, and the configs of its pipeline",
            found=f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:500],
            remedy="Name a folder that has them by --config, such as a diffusers folder of the model it derives from.",
        ) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.save_pretrained(partial)
    if out.exists():
        out.rmdir()
    partial.rename(out)


def _type_of(file: Path) -> torch.dtype:
    """Of most of its tensors."""
    try:
        with safe_open(file, framework="pt") as tensors:
            found = [tensors.get_slice(name).get_dtype() for name in tensors.keys()]  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged", expected="a safetensors file", found=error) from error
    return _TYPES.get(max(set(found), key=found.count, default=""), torch.float32)
