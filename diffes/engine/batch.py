"""Which images take the next step together. Pure choice: no tensors, no clock, no threads."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar


class BatchKey(NamedTuple):
    """What rows of one denoiser call must have in common; the step index is not among it."""

    subgraph: str
    guided: bool
    shape: tuple[int, ...]  # of one image's latents
    clip: float  # of x0, the sampler's


class Standing(Protocol):
    """An image between two steps."""

    @property
    def key(self) -> BatchKey:
        """What its next step needs."""


Image = TypeVar("Image", bound=Standing)


def choose(running: Sequence[Image], most: int) -> list[Image]:
    """Up to `most` images for the next step, out of `running`, which is in order of admission.

    The oldest image always goes, and the oldest others standing on its key join it. So nothing admitted later
    delays an image, and none waits longer than the steps its elders had left when it was admitted.
    """
    if not running:
        return []
    key = running[0].key
    return [image for image in running if image.key == key][:most]
