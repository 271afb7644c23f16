import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from diffes.bundle import Bundle
from diffes.cli import app
from diffes.evaluation import Evaluation, GuidanceSweep
from diffes.verification import TOLERANCE

WEAK = Evaluation(4, 1.25, 0.5, 0.75, 0.5, 9.0, 0.6, 4.0)
STRONG = Evaluation(4, 2.5, 0.5, 0.75, 0.5, 6.0, 0.6, 5.0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was asked of the evaluation, whose answer is made up: the tiny model's images are too small to judge."""
    calls: list[tuple[Any, ...]] = []

    def evaluated(*given: Any, **_progress: Any) -> GuidanceSweep:
        calls.append(given)
        scales = given[-1] or (1.5,)
        return GuidanceSweep(dict(zip(scales, (WEAK, STRONG), strict=False)))

    monkeypatch.setattr("diffes.evaluation.evaluate_bundle", evaluated)
    return calls


def run(bundle: Bundle, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", str(bundle.folder), *map(str, arguments), "--backend", "torch", "-n", "4"])


def test_every_guidance_scale_is_a_column_and_each_sides_best_is_named(
    asked: list[tuple[Any, ...]], tiny_bundle: Bundle
) -> None:
    result = run(tiny_bundle, "--guidance", 1, "--guidance", 2.5)

    assert result.exit_code == 0, repr(result.exception)
    assert list(asked[0][-1]) == [1, 2.5]
    words = " ".join(result.output.split())
    assert "guidance 1 " in words
    assert "guidance 2.5 " in words
    assert "1.25" in words
    assert "nearest to the data: guidance 2.5, dense at 1" in words.replace(" │ ", " ")


def test_without_a_scale_the_schedules_own_is_meant(asked: list[tuple[Any, ...]], tiny_bundle: Bundle) -> None:
    result = run(tiny_bundle)

    assert asked[0][-1] == ()
    assert "guidance 1.5" in result.output
    assert "nearest" not in result.output


@pytest.mark.usefixtures("asked")
def test_json_of_one_scale_is_flat(tiny_bundle: Bundle) -> None:
    document = json.loads(run(tiny_bundle, "--json").stdout)

    assert {"frechet_distance": 1.25, "mse": 0.5, "ssim": 0.75, "class_accuracy": 0.5}.items() <= document.items()
    assert "scales" not in document


@pytest.mark.usefixtures("asked")
def test_json_of_several_scales_holds_every_scale_and_both_bests(tiny_bundle: Bundle) -> None:
    result = run(tiny_bundle, "--guidance", 1, "--guidance", 2.5, "--json")

    document = json.loads(result.stdout)
    assert [scale["guidance"] for scale in document["scales"]] == [1, 2.5]
    assert document["scales"][0]["frechet_distance"] == 1.25
    assert (document["best"]["guidance"], document["reference_best"]["guidance"]) == (2.5, 1)


class TestVerify:
    @staticmethod
    def verified(bundle: Bundle, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["verify", str(bundle.folder), "--images", "1", "--threads", "1", *arguments])

    def test_every_subgraphs_difference_is_told(self, tiny_bundle: Bundle) -> None:
        result = self.verified(tiny_bundle)
        assert result.exit_code == 0, repr(result.exception)
        assert all(graph.id in result.output for graph in tiny_bundle.manifest.subgraphs)

        document = json.loads(self.verified(tiny_bundle, "--json", "--backend", "torch").stdout)
        assert [graph["subgraph"] for graph in document] == [graph.id for graph in tiny_bundle.manifest.subgraphs]
        assert all(graph["error"] <= graph["allowed"] == TOLERANCE["float32"] for graph in document)

    def test_a_difference_beyond_what_is_allowed_fails(
        self, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(TOLERANCE, "float32", 0.0)
        result = self.verified(tiny_bundle)
        assert result.exit_code != 0
        assert "does not compute what torch computes" in str(result.exception)
