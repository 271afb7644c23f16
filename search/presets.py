"""Options to begin with: a method's own, and the small ones of `--quick`."""

from typing import Any, get_args

from diffes.errors import InvalidInput
from search.options import MethodName, SearchOptions

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


def preset(method: str, *, quick: bool = False) -> dict[str, Any]:
    """Options by name: a method's published sizes, or `quick` ones, in the setting it is defined in.

    InvalidInput for an unknown method.
    """
    known: dict[str, MethodName] = {name: name for name in get_args(MethodName)}
    if method not in known:
        raise InvalidInput("method", expected=f"one of {', '.join(known)}", found=method)
    sizes = SearchOptions.quick().model_dump(exclude={"macs", "method"}) if quick else sizes_of(known[method])
    return {**sizes, **setting_of(known[method])}
