from base64 import b64decode

from diffes.pages.style import DOTS_PER_INCH
from tests.pages.samples import figure


def test_a_figure_carries_its_own_bytes() -> None:
    drawn = figure()
    kind, _, held = drawn.uri.partition(",")
    assert kind == "data:image/png;base64"
    assert b64decode(held) == drawn.png


def test_an_inch_of_a_figure_is_an_inch_of_the_page() -> None:
    assert DOTS_PER_INCH > 96
    assert figure(width=3).width == 3 * 96
