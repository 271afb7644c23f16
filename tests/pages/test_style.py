import pytest

from diffes.pages.style import BLUE, dress, logarithmic, new_figure, to_png


def drawn(title: str) -> bytes:
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], color=BLUE)
    dress(axes, title, "x", "y")
    return to_png(figure)


def test_equal_figures_give_equal_bytes() -> None:
    assert drawn("one") == drawn("one")
    assert drawn("one") != drawn("two")


@pytest.mark.parametrize(("values", "scale"), [([], "linear"), ([0.0, 1.0], "linear"), ([0.1, 1.0], "log")])
def test_only_positive_values_are_drawn_on_a_logarithmic_axis(values: list[float], scale: str) -> None:
    axes = new_figure(3, 2).subplots()
    logarithmic(axes, values)
    assert axes.get_yscale() == scale


def test_a_logarithmic_axis_has_room_around_its_values() -> None:
    axes = new_figure(3, 2).subplots()
    logarithmic(axes, [0.5])
    low, high = axes.get_ylim()
    assert low < 0.5 < high
