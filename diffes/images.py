"""Images as people get them: PNG."""

from io import BytesIO

from PIL import Image
from torch import Tensor, uint8


def to_image(image: Tensor) -> Image.Image:
    """[3, H, W] in [-1, 1] to an 8-bit RGB image; values outside are clipped."""
    levels = ((image.clamp(-1, 1) + 1) * 127.5).round().to(uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def png(image: Tensor) -> bytes:
    """One image [3, H, W] in [-1, 1] as PNG."""
    return _encode(to_image(image))


def grid_png(images: Tensor) -> bytes:
    """Images [N, 3, H, W] in [-1, 1] side by side as one PNG."""
    height, width = images.shape[-2:]
    sheet = Image.new("RGB", (width * len(images), height))
    for position, image in enumerate(images):
        sheet.paste(to_image(image), (position * width, 0))
    return _encode(sheet)


def _encode(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
