from typing import get_args

import pytest

from diffes.errors import InvalidInput
from search.options import MethodName, SearchOptions
from search.presets import preset, setting_of, sizes_of

BASELINES = tuple(method for method in get_args(MethodName) if method != "evolution")


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
    options = SearchOptions.checked({"macs": 0.375, "method": method, **preset(method, quick=True)})
    assert options.time_limit == 180
    assert options.planned <= SearchOptions.quick().planned
    assert (options.widths == "tied") == (method != "evolution")


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(InvalidInput, match="one of evolution, uniform, random, mosaic, diff-es, found annealing"):
        preset("annealing")
