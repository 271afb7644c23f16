"""Images as people get them: PNG, or JPEG or WebP where asked for."""

from io import BytesIO
from typing import Literal

from PIL import Image
from torch import Tensor, uint8

Format = Literal["png", "jpeg", "webp"]
_QUALITY = 95  # of what is compressed with loss, if nothing is said
_PNG_LEVEL = 1  # of zlib's: 6 takes two and a half times as long for a seventh fewer bytes


def to_image(image: Tensor) -> Image.Image:
    """[3, H, W] in [-1, 1] to an 8-bit RGB image; values outside are clipped."""
    levels = ((image.clamp(-1, 1) + 1) * 127.5).round().to(uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def png(image: Tensor) -> bytes:
    """One image [3, H, W] in [-1, 1] as PNG."""
    return _encode(to_image(image))


def encoded(image: Tensor, format: Format, quality: int | None = None) -> bytes:
    """One image [3, H, W] in [-1, 1]; `quality` 0 to 100 for JPEG and WebP."""
    return _encode(to_image(image), format, quality)


def grid_png(images: Tensor) -> bytes:
    """Images [N, 3, H, W] in [-1, 1] side by side as one PNG."""
    height, width = images.shape[-2:]
    sheet = Image.new("RGB", (width * len(images), height))
    for position, image in enumerate(images):
        sheet.paste(to_image(image), (position * width, 0))
    return _encode(sheet)


def _encode(image: Image.Image, format: Format = "png", quality: int | None = None) -> bytes:
    buffer = BytesIO()
    lossy = {"quality": _QUALITY if quality is None else quality}
    options = {"compress_level": _PNG_LEVEL} if format == "png" else lossy
    image.save(buffer, format.upper(), **options)
    return buffer.getvalue()
