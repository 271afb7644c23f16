"""Options to begin with: how much effort a search is worth, and what a method's own are."""

from typing import Any, Literal, get_args

from diffes.errors import InvalidInput
from search.options import MethodName

Effort = Literal["quick", "normal", "thorough"]

# of the bundled model: three minutes, and nearly ten, on two CPU cores; three minutes on an H100
_EFFORTS: dict[Effort, dict[str, Any]] = {
    "quick": {
        "calibration_images": 20,
        "table_probes": 2,
        "table_levels": 3,
        "probes": 6,
        "screen_probes": 2,
        "population": 8,
        "elite": 3,
        "generations": 8,
        "candidates": 2,
        "time_limit": 180,
    },
    "normal": {},  # the defaults of SearchOptions
    "thorough": {
        "calibration_images": 512,
        "table_probes": 8,
        "table_levels": None,
        "probes": 64,
        "screen_probes": 8,
        "generations": 40,
        "candidates": 4,
    },
}
_DIFF_ES_SIZES: dict[str, Any] = {"population": 20, "elite": 4, "generations": 49, "probes": 64}
_PLAIN: dict[str, Any] = {"genes": "stage", "widths": "tied", "depth": "joint", "screen_probes": None, "candidates": 1}


def sizes_of(method: MethodName) -> dict[str, Any]:
    """How much a method judges, as published; options for anything smaller override them."""
    return {} if method == "evolution" else dict(_DIFF_ES_SIZES)


def setting_of(method: MethodName) -> dict[str, Any]:
    """The space and the choice a method is defined in."""
    if method == "evolution":
        return {}
    return {**_PLAIN, "depth": "none"} if method == "mosaic" else dict(_PLAIN)


def preset(method: str, effort: str = "normal") -> dict[str, Any]:
    """Options by name: ours with that effort, a baseline as published unless the effort is `quick`.

    A baseline calibrates as ours does with that effort. InvalidInput for an unknown method or effort.
    """
    methods: dict[str, MethodName] = {name: name for name in get_args(MethodName)}
    efforts: dict[str, Effort] = {name: name for name in get_args(Effort)}
    for field, value, known in (("method", method, methods), ("effort", effort, efforts)):
        if value not in known:
            raise InvalidInput(field, expected=f"one of {', '.join(known)}", found=value)
    sizes = _EFFORTS[efforts[effort]]
    published = {} if effort == "quick" else sizes_of(methods[method])
    return {**sizes, **published, **setting_of(methods[method])}
