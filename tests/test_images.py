from io import BytesIO

import torch
from PIL import Image

from diffes.images import grid_png, png


def test_black_grey_and_white_become_the_ends_and_middle_of_eight_bits() -> None:
    image = torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 3).expand(3, 2, 3)

    decoded = Image.open(BytesIO(png(image)))

    assert decoded.size == (3, 2)
    assert [decoded.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (128, 128, 128), (255, 255, 255)]


def test_values_beyond_the_range_are_clipped_not_wrapped() -> None:
    image = torch.tensor([-7.0, 7.0]).view(1, 1, 2).expand(3, 1, 2)

    decoded = Image.open(BytesIO(png(image)))

    assert [decoded.getpixel((x, 0)) for x in range(2)] == [(0, 0, 0), (255, 255, 255)]


def test_a_grid_holds_its_images_side_by_side_in_order() -> None:
    images = torch.stack([torch.full((3, 4, 4), value) for value in (-1.0, 1.0)])

    decoded = Image.open(BytesIO(grid_png(images)))

    assert decoded.size == (8, 4)
    assert decoded.getpixel((1, 1)) == (0, 0, 0)
    assert decoded.getpixel((6, 1)) == (255, 255, 255)
