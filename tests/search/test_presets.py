from typing import get_args

import pytest

from diffes.errors import InvalidInput
from search.options import MethodName, SearchOptions
from search.presets import Effort, preset, setting_of, sizes_of

EFFORTS = get_args(Effort)
BASELINES = tuple(method for method in get_args(MethodName) if method != "evolution")


def ours(effort: str, macs: object = 0.375) -> SearchOptions:
    return SearchOptions.checked({"macs": macs, **preset("evolution", effort)})


@pytest.mark.parametrize("method", BASELINES)
def test_the_published_setting_of_a_method_is_valid(method: MethodName) -> None:
    options = SearchOptions.checked({"macs": 0.375, "method": method, **sizes_of(method), **setting_of(method)})
    assert options.planned == (804 if method in ("diff-es", "random") else 1)
    assert len(options.rungs) == 1


def test_ours_has_no_setting_of_its_own() -> None:
    assert (sizes_of("evolution"), setting_of("evolution")) == ({}, {})


@pytest.mark.parametrize("change", [{"widths": "separate"}, {"genes": "block"}, {"screen_probes": 4}])
def test_diff_es_in_another_space_or_on_fewer_probes_is_refused(change: dict[str, object]) -> None:
    options = {"macs": 0.375, "method": "diff-es", **sizes_of("diff-es"), **setting_of("diff-es")}
    with pytest.raises(InvalidInput, match="diff-es"):
        SearchOptions.checked(options | change)


@pytest.mark.parametrize("method", get_args(MethodName))
def test_every_method_can_be_quick(method: MethodName) -> None:
    options = SearchOptions.checked({"macs": 0.375, "method": method, **preset(method, "quick")})
    assert options.time_limit == 180
    assert options.planned <= ours("quick").planned
    assert (options.widths == "tied") == (method != "evolution")


def test_more_effort_judges_more_schedules_on_more_images_after_a_finer_table() -> None:
    quick, normal, thorough = map(ours, EFFORTS)
    assert quick.planned < normal.planned < thorough.planned
    assert quick.probes < normal.probes < thorough.probes
    assert quick.calibration_images < normal.calibration_images < thorough.calibration_images
    assert (normal.table_levels, thorough.table_levels) == (4, None)


def test_only_a_quick_search_depends_on_the_clock() -> None:
    assert [ours(effort).time_limit for effort in EFFORTS] == [180, None, None]


def test_a_front_has_more_schedules_than_a_search_for_one() -> None:
    assert ours("thorough", macs="0.2:0.6").population > ours("thorough").population


def test_an_unknown_effort_is_named() -> None:
    with pytest.raises(InvalidInput, match="one of quick, normal, thorough, found heroic"):
        preset("evolution", "heroic")


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(InvalidInput, match="one of evolution, uniform, random, mosaic, diff-es, found annealing"):
        preset("annealing")
