"""Whether images are what they have to be: each beside the one that its seed gives when it is made alone.

Images of requests that shared steps with others are equal to rounding, so bits are not compared but grey levels.
"""

from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from diffes.backends import open_backend
from diffes.bundle import Bundle
from diffes.engine.engine import Engine
from diffes.engine.request import Request
from diffes.errors import LoadTestError
from diffes.images import to_image
from diffes.sizes import Size
from loadtest.mix import Asked
from loadtest.rows import Row, of_fate
from loadtest.target import Target

Pixels = NDArray[np.uint8]  # [H, W, 3]
_SECONDS = 600.0
_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)  # of what is no image, though it begins as one


class Tolerance(NamedTuple):
    """Grey levels of 255 by which an image may differ: on average, and at most."""

    mean: float
    most: int


# By a bundle's numbers, and more than was seen (docs/performance.md): 1 level at most in float32 and float16, 9 and
# 1.7 on average in bfloat16. Images of two seeds are 40 and more apart on average.
TOLERANCES = {"float32": Tolerance(0.5, 2), "float16": Tolerance(1.0, 8), "bfloat16": Tolerance(4.0, 32)}


class Wanted(NamedTuple):
    """What an image depends on; None is the service's default."""

    label: int
    seed: int
    steps: int | None
    schedule: str
    guidance: float | None
    size: str | None = None

    def request(self, bundle: Bundle) -> Request:
        """What an engine is asked for it."""
        size = None if self.size is None else Size.read(self.size)
        return Request(
            prompt=bundle.wording.example(self.label, size),
            seed=self.seed,
            steps=self.steps,
            schedule=self.schedule,
            guidance=self.guidance,
            size=size,
        )


Maker = Callable[[Sequence[Wanted]], Iterator[Pixels]]


class Comparison(BaseModel):
    """How far images are from their references, made by `maker`; `wrong` names those beyond what is allowed."""

    model_config = ConfigDict(frozen=True)

    maker: str
    images: int
    seeds: int
    mean: float  # worst average difference of an image, grey levels
    most: int
    allowed_mean: float
    allowed_most: int
    wrong: list[str]


def compare_images(
    rows: Sequence[Row], guidance: float | None, images: Path, make: Maker, maker: str, allowed: Tolerance
) -> Comparison:
    """Every image that was answered with beside its reference; equal files are looked at once."""
    seen = {pair for row in of_fate(rows, "answered") for pair in _pairs(row, guidance)}
    wanted = sorted({want for want, _ in seen}, key=repr)
    references = dict(zip(wanted, make(wanted), strict=True))
    wrong, mean, most = [], 0.0, 0
    for want, digest in sorted(seen, key=repr):
        difference = _difference(_read(images / f"{digest}.png"), references[want])
        mean, most = max(mean, difference.mean), max(most, difference.most)
        if difference.mean > allowed.mean or difference.most > allowed.most:
            told = f"off by {difference.mean:.2f} grey levels on average, {difference.most} at most"
            wrong.append(f"{digest}.png, label {want.label}, seed {want.seed}, {want.schedule}: {told}")
    return Comparison(
        maker=maker,
        images=sum(len(row.digests) for row in of_fate(rows, "answered")),
        seeds=len({want.seed for want in wanted}),
        mean=mean,
        most=most,
        allowed_mean=allowed.mean,
        allowed_most=allowed.most,
        wrong=wrong,
    )


def made_by_bundle(bundle: Bundle, device: str) -> Maker:
    """By torch from the bundle itself, one after the other, in this process."""

    def make(wanted: Sequence[Wanted]) -> Iterator[Pixels]:
        engine = Engine(bundle, open_backend("torch", bundle, device))
        engine.start()
        try:
            for want in wanted:
                request = replace(want.request(bundle), deterministic=True)
                yield np.asarray(to_image(engine.submit(request).result().images[0]))
        finally:
            engine.close(drain=False)

    return make


def made_by_service(target: Target, texts: Sequence[str] = ()) -> Maker:
    """By the service, which shares no step of a deterministic request with another."""

    def make(wanted: Sequence[Wanted]) -> Iterator[Pixels]:
        with httpx.Client(base_url=target.url, headers=target.headers, timeout=_SECONDS) as http:
            for want in wanted:
                text = texts[want.label] if texts else None
                body = Asked(**want._asdict(), text=text, deterministic=True).body()
                try:
                    answer = http.post("/generate", json=body)
                except httpx.TransportError as error:
                    raise _unanswered(f"{type(error).__name__}: {error}") from error
                if answer.status_code != 200:
                    raise _unanswered(f"{answer.status_code} {answer.text[:200]}")
                yield _decoded(b64decode(answer.json()["images"][0]))

    return make


def _unanswered(found: str) -> LoadTestError:
    return LoadTestError("no reference image", expected="an answer", found=found)


def _pairs(row: Row, guidance: float | None) -> Iterator[tuple[Wanted, str]]:
    for index, digest in enumerate(row.digests):
        yield Wanted(row.label, row.seed + index, row.steps, row.served_by, guidance, row.size), digest


def _difference(found: Pixels, wanted: Pixels) -> Tolerance:
    if found.shape != wanted.shape:
        return Tolerance(255.0, 255)
    apart = np.abs(found.astype(np.int16) - wanted)
    return Tolerance(float(apart.mean()), int(apart.max()))


def _read(path: Path) -> Pixels:
    png = path.read_bytes()
    try:
        return _decoded(png)
    except (OSError, ValueError, SyntaxError):  # Pillow's for a file that is damaged
        return _NO_PIXELS


def _decoded(png: bytes) -> Pixels:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))
