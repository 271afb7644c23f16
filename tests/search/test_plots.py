from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from PIL import Image

from diffes.schedule import BlockPlan
from search.genome import GenomeSpace
from search.plots import FrontPicture, Picture, save_front_plot, save_plot

PICTURE = Picture(
    objectives=[0.5, inf, 0.1, 0.2],
    references={"uniform": 0.7},
    objective="mse",
    genome=(1, 2, 0, 0),
    space=GenomeSpace.of((BlockPlan(4, 64),) * 8, 2),
    executed=[2, 0],
    removed=0.375,
)


def pixels(picture: Picture, path: Path) -> bytes:
    save_plot(picture, path)
    with Image.open(path) as image:
        assert image.width > 2 * image.height
        return image.tobytes()


def test_the_picture_shows_convergence_and_schedule(tmp_path: Path) -> None:
    drawn = pixels(PICTURE, tmp_path / "a.png")
    assert drawn == pixels(PICTURE, tmp_path / "b.png")
    assert drawn != pixels(replace(PICTURE, genome=(1, 3, 0, 0)), tmp_path / "c.png")
    assert drawn != pixels(replace(PICTURE, objectives=[0.5, inf, 0.3, 0.2]), tmp_path / "d.png")


@pytest.mark.parametrize("objectives", [[], [inf], [0.2]], ids=["none", "all failed", "one"])
def test_a_search_that_ended_early_can_be_drawn(objectives: list[float], tmp_path: Path) -> None:
    save_plot(replace(PICTURE, objectives=objectives, references={}), tmp_path / "early.png")
    assert (tmp_path / "early.png").stat().st_size > 0


@pytest.mark.parametrize("genes", ["block", "group:3"])
@pytest.mark.parametrize("widths", ["separate", "tied"])
def test_a_schedule_of_any_space_can_be_drawn(genes: str, widths: str, tmp_path: Path) -> None:
    space = GenomeSpace.of((BlockPlan(4, 64),) * 8, 2, genes, widths)  # type: ignore[arg-type]
    one, other = (replace(PICTURE, space=space, genome=space.single(gene, 4)) for gene in (0, 1))
    assert pixels(one, tmp_path / "a.png") != pixels(other, tmp_path / "b.png")


FRONT = FrontPicture(
    judged=[(0.2, 0.01), (0.4, 0.05), (0.4, 0.2)],
    uniform=[(0.2, 0.02), (0.4, 0.1)],
    front=[(0.2, 0.01), (0.3, 0.02), (0.4, 0.05)],
    objective="mse",
    by_stage=[[0.1, 0.3], [0.2, 0.4], [0.3, 0.5]],
    executed=[2, 2],
)


def front_pixels(picture: FrontPicture, path: Path) -> bytes:
    save_front_plot(picture, path)
    with Image.open(path) as image:
        assert image.width > 2 * image.height
        return image.tobytes()


def test_the_picture_of_a_front_shows_its_points_and_their_stages(tmp_path: Path) -> None:
    drawn = front_pixels(FRONT, tmp_path / "a.png")
    assert drawn == front_pixels(FRONT, tmp_path / "b.png")
    assert drawn != front_pixels(replace(FRONT, front=[(0.2, 0.01), (0.3, 0.03), (0.4, 0.05)]), tmp_path / "c.png")
    assert drawn != front_pixels(replace(FRONT, by_stage=[[0.1, 0.3]] * 3), tmp_path / "d.png")
    assert drawn != front_pixels(replace(FRONT, uniform=[(0.2, 0.03), (0.4, 0.1)]), tmp_path / "e.png")


@pytest.mark.parametrize("error", [0.1, 0.0, -0.1], ids=["positive", "zero", "a score"])
def test_a_front_of_one_point_can_be_drawn(error: float, tmp_path: Path) -> None:
    one = FrontPicture([], [], [(0.3, error)], "ssim", [[0.1, 0.3]], [4, 0])
    assert front_pixels(one, tmp_path / "one.png")
