"""Every family's adapter through the kit."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import diffes
from diffes.architectures import architecture_for
from tests.architectures.kit import CHECKS, Subject, exported_graphs_compute_the_same
from tests.architectures.tiny import PIXARTS, UNETS, tiny_pixart, tiny_unet
from tests.conftest import tiny_dit


def subject(name: str) -> Subject:
    if name in UNETS:
        model: Any = tiny_unet(**UNETS[name])
    else:
        model = tiny_dit() if name == "dit" else tiny_pixart(**PIXARTS[name])
    return Subject.of(model, architecture_for(type(model).__name__, model.config))


@pytest.fixture(scope="module", params=["dit", *PIXARTS, *UNETS])
def family(request: pytest.FixtureRequest) -> Subject:
    return subject(request.param)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_an_adapter_holds(family: Subject, check: Callable[[Subject], None]) -> None:
    check(family)


@pytest.mark.parametrize("name", ["dit", "pixart", "small"])  # a trace takes seconds a block
def test_exported_graphs_compute_the_same(name: str) -> None:
    exported_graphs_compute_the_same(subject(name))


def test_so_do_graphs_of_16_bits() -> None:
    exported_graphs_compute_the_same(subject("pixart"), torch.bfloat16)


def test_nothing_that_searches_or_serves_names_a_family() -> None:
    names = re.compile(r"\b(?:dits?|u-?nets?|pixarts?|sdxl|adaln|\w*transformer2dmodel|unet2d\w*)\b", re.IGNORECASE)
    root = Path(diffes.__file__).parents[1]
    places = (root / "search", root / "diffes" / "engine", root / "diffes" / "backends")
    files = [root / "service.py", *(file for place in places for file in place.rglob("*.py"))]
    found = {str(file): names.findall(file.read_text(encoding="utf-8")) for file in files}
    assert len(files) > 50
    assert names.search("of a DiTTransformer2DModel")
    assert {file: said for file, said in found.items() if said} == {}
