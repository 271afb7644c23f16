"""What a peer's images have to be: those of Diffes' dense schedule."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffes.backends import open_backend
from diffes.bundle import Bundle
from diffes.engine.engine import Engine
from diffes.engine.request import Request
from diffes.images import to_image

Levels = NDArray[np.int16]


def levels_of(image: Image.Image) -> Levels:
    """Grey levels [H, W, 3], 0 to 255."""
    return np.asarray(image.convert("RGB")).astype(np.int16)


def dense_levels(bundle: Bundle, request: Request) -> list[Levels]:
    """Those of a request's images, from an engine of one thread on ONNX Runtime."""
    engine = Engine(bundle, open_backend("onnxruntime", bundle, "cpu", 1))
    engine.start()
    try:
        images = engine.submit(request).result().images
    finally:
        engine.close()
    return [levels_of(to_image(image)) for image in images]


def distance(some: Levels, others: Levels) -> int:
    """The largest difference of two images, grey levels; neither may be flat or mostly clipped."""
    inside = (some > 0) & (some < 255)
    assert some.shape == others.shape
    assert inside.mean() > 0.2
    assert some[inside].std() > 20
    return int(np.abs(some - others).max())
