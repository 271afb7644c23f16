"""Figures: of anything a search can leave, and the same each time."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from search.report.figures.convergence import Convergence, draw_convergence
from search.report.figures.front import FrontPlot, draw_front
from search.report.figures.heatmaps import HeatMaps, Panel, draw_errors, draw_shares
from search.report.figures.sheet import draw_sheet

CONVERGENCE = Convergence("mse", [(10, 0.4), (20, 0.2)], [(20, 0.5)], {"calibrate": 4, "table": 6}, {"uniform": 0.7})

FRONT = FrontPlot(
    front=[(0.2, 0.01), (0.3, 0.02), (0.4, 0.05)],
    uniform=[(0.2, 0.02), (0.4, 0.1)],
    judged=[(0.2, 0.01), (0.4, 0.05), (0.4, 0.2)],
    objective="mse",
    unit="MACs",
    by_stage=[[0.1, 0.3], [0.2, 0.4], [0.3, 0.5]],
    executed=[2, 2],
)


def pixels(png: bytes) -> bytes:
    with Image.open(BytesIO(png)) as image:
        return image.tobytes()


def maps(values: list[list[float]]) -> HeatMaps:
    array = np.array(values)
    panels = [Panel(name, array, array == 0) for name in ("heads", "channels")]
    return HeatMaps("title", panels, [f"block {i}" for i in range(len(array))], [1] * (array.shape[1] - 1) + [0], "x")


def test_convergence_shows_every_series() -> None:
    drawn = draw_convergence(CONVERGENCE)
    assert drawn == draw_convergence(CONVERGENCE)
    changed = [
        replace(CONVERGENCE, best=[(10, 0.4)]),
        replace(CONVERGENCE, mean=[]),
        replace(CONVERGENCE, before={"table": 10}),
        replace(CONVERGENCE, references={"knapsack": 0.7}),
    ]
    assert all(pixels(drawn) != pixels(draw_convergence(data)) for data in changed)


@pytest.mark.parametrize("best", [[], [(10.0, 0.0)], [(10.0, 0.3)]], ids=["none", "perfect", "one"])
def test_a_search_that_ended_early_has_a_convergence(best: list[tuple[float, float]]) -> None:
    assert draw_convergence(replace(CONVERGENCE, best=best, mean=[]))


def test_a_skipped_half_looks_unlike_a_narrow_one() -> None:
    skipped, narrow = (draw_shares(maps([[value, 100.0]]), "skip") for value in (0.0, 0.001))
    assert pixels(skipped) != pixels(narrow)


@pytest.mark.parametrize(("rows", "stages"), [(1, 1), (24, 10), (2, 40)])
def test_any_number_of_blocks_and_stages_can_be_drawn(rows: int, stages: int) -> None:
    drawn = draw_shares(maps(np.linspace(0, 100, rows * stages).reshape(rows, stages).tolist()), "skip")
    with Image.open(BytesIO(drawn)) as image:
        assert image.width > 600


def test_errors_that_are_none_zero_or_failed_can_be_drawn() -> None:
    good, failed = draw_errors(maps([[1e-5, 1e-2, 0.0]])), draw_errors(maps([[1e-5, np.nan, 0.0]]))
    assert pixels(good) != pixels(failed)
    assert draw_errors(maps([[0.0, 0.0]]))


def test_the_figure_of_a_front_shows_its_points_and_their_stages() -> None:
    drawn = draw_front(FRONT)
    assert drawn == draw_front(FRONT)
    changed = [
        replace(FRONT, front=[(0.2, 0.01), (0.3, 0.03), (0.4, 0.05)]),
        replace(FRONT, by_stage=[[0.1, 0.3]] * 3),
        replace(FRONT, uniform=[(0.2, 0.03), (0.4, 0.1)]),
        replace(FRONT, judged=[]),
    ]
    assert all(pixels(drawn) != pixels(draw_front(plot)) for plot in changed)


@pytest.mark.parametrize("error", [0.1, 0.0, -0.1], ids=["positive", "zero", "a score"])
def test_a_front_of_one_point_can_be_drawn(error: float) -> None:
    assert draw_front(FrontPlot([(0.3, error)], [], [], "ssim", "MACs", [[0.1, 0.3]], [4, 0]))


def test_a_sheet_holds_the_images_untouched() -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1).expand(2, 3, 8, 8)
    drawn = draw_sheet({"dense": red, "searched": -red}, ["cat", "dog"], {"searched": ["MSE 4", "MSE 4"]})
    with Image.open(BytesIO(drawn)) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or ()}
    assert {(255, 0, 0), (0, 255, 255)} <= colours
