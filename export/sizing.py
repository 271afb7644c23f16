"""What sizes of images, and tiles of them, a model can be exported for."""

from collections.abc import Sequence

from diffes.backends.tiles import OVERLAP
from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput
from diffes.sizes import Size


def other_sizes(checkpoint: Checkpoint, sizes: Sequence[Size]) -> tuple[Size, ...]:
    """The sizes that are not the model's own, each once; InvalidInput for one that it cannot make."""
    multiple, own = checkpoint.architecture.side_multiple, checkpoint.image_size
    others = tuple(size for size in dict.fromkeys(sizes) if size != own)
    if not others:
        return ()
    if multiple is None:
        raise InvalidInput("size", expected=f"{own}: this model makes images of one size", found=str(others[0]))
    step = multiple * own.height // checkpoint.architecture.latent_shape[1]
    for size in others:
        if size.height % step or size.width % step:
            raise InvalidInput("size", expected=f"sides that are multiples of {step}", found=str(size))
    return others


def tile_of(checkpoint: Checkpoint, tile: int) -> int:
    """Latents a side of a tile told in pixels; InvalidInput for one that the model cannot be decoded in."""
    if checkpoint.vae_folder is None:
        raise InvalidInput("decode_tile", expected="none: this model's latents are pixels", found=tile)
    scale = checkpoint.image_size.height // checkpoint.architecture.latent_shape[1]
    if tile <= 0 or tile % (OVERLAP * scale):
        raise InvalidInput("decode_tile", expected=f"a multiple of {OVERLAP * scale} pixels", found=tile)
    return tile // scale
