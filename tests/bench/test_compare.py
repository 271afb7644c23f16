from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffes.bench.compare import Comparison, compare
from diffes.bench.entrants import PEERS, Entrant, Inputs, backend_entrants, peer_entrants
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput
from diffes.presets import dense_schedule
from diffes.schedule import StagePlan
from export.job import export_bundle
from tests.bundles import SAMPLER

CPU = torch.device("cpu")


def plans_of(bundle: Bundle) -> dict[str, StagePlan]:
    narrow = min((stage.blocks for stage in bundle.schedule().stages), key=bundle.architecture.macs)
    return {"dense": bundle.architecture.dense, "narrow": narrow}


def run(bundle: Bundle, openers: Mapping[str, Callable[[], Sequence[Entrant]]], rows: Sequence[int]) -> Comparison:
    model = "DiTTransformer2DModel", bundle.architecture, "float32"
    return compare(model, openers, rows, device="cpu", seconds=0.05)


@pytest.fixture(scope="module")
def found(tiny_bundle: Bundle) -> Comparison:
    plans = plans_of(tiny_bundle)
    openers = {name: partial(backend_entrants, tiny_bundle, plans, name, "cpu") for name in ("torch", "onnxruntime")}
    openers["diffusers"] = partial(peer_entrants, tiny_bundle, plans, "diffusers", "cpu")
    return run(tiny_bundle, openers, [1, 3])


def test_every_entrant_is_timed_at_every_batch_size_in_the_same_rounds(found: Comparison) -> None:
    ours = [(f"diffes {name}", plan) for name in ("torch", "onnxruntime") for plan in ("dense", "narrow")]
    entrants = [*ours, ("diffusers", "dense")]
    assert [(s.name, s.plan, s.rows) for s in found.steps] == [
        (*entrant, rows) for rows in (1, 3) for entrant in entrants
    ]
    assert len({step.rounds for step in found.steps if step.rows == 1}) == 1
    assert all(0 < step.low <= step.high and step.ms > 0 for step in found.steps)


def test_work_is_counted_by_plan_and_rows(found: Comparison, tiny_bundle: Bundle) -> None:
    macs = {name: tiny_bundle.architecture.macs(plan) for name, plan in plans_of(tiny_bundle).items()}
    for step in found.steps:
        assert step.gflop == pytest.approx(2e-9 * macs[step.plan] * step.rows)
        assert step.tflops == pytest.approx(step.gflop / step.ms)


def test_what_it_was_measured_on_is_told(found: Comparison) -> None:
    document = found.to_json()
    assert document["machine"]["peak_tflops"] > 0
    assert document["machine"]["versions"]["torch"] == torch.__version__
    assert {loaded["name"] for loaded in document["memory"]} == {"torch", "onnxruntime", "diffusers"}


def test_our_entrants_compute_the_plans_step(tiny_bundle: Bundle) -> None:
    inputs = Inputs.of(tiny_bundle.architecture, 3, CPU)
    made: dict[str, list[Tensor]] = {}
    for name in ("torch", "onnxruntime"):
        for entrant in backend_entrants(tiny_bundle, plans_of(tiny_bundle), name, "cpu"):
            output = entrant.step(inputs)()
            assert isinstance(output, Tensor)
            made.setdefault(entrant.plan, []).append(output)
    for one, other in made.values():
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made["dense"][0], made["narrow"][0], atol=1e-3)


def test_a_copy_computes_what_the_shared_weights_do(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)  # what a compiler does is not ours to test
    inputs, plans = Inputs.of(tiny_bundle.architecture, 3, CPU), plans_of(tiny_bundle)
    ours = backend_entrants(tiny_bundle, plans, "torch", "cpu")
    for entrant, copy in zip(ours, peer_entrants(tiny_bundle, plans, "copies", "cpu"), strict=True):
        torch.testing.assert_close(copy.step(inputs)(), entrant.step(inputs)())


def test_a_peer_takes_its_prompts_in_the_bundles_type(tiny_sdxl: Checkpoint, tmp_path: Path) -> None:
    schedules = {"dense": dense_schedule(tiny_sdxl, SAMPLER)}
    bundle = export_bundle(tiny_sdxl, schedules, "dense", None, tmp_path / "b", dtype="bfloat16", verify=False)
    (peer,) = peer_entrants(bundle, {"dense": bundle.architecture.dense}, "diffusers", "cpu")
    predicted = peer.step(Inputs.of(bundle.architecture, 2, CPU))()[0]  # type: ignore[index]
    assert predicted.dtype == torch.bfloat16
    assert predicted.shape == (2, *bundle.architecture.latent_shape)


def test_an_unknown_peer_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(InvalidInput, match=", ".join(PEERS)):
        peer_entrants(tiny_bundle, plans_of(tiny_bundle), "a rocket", "cpu")
