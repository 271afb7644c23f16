from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffes.errors import InvalidInput
from diffes.evaluation import Evaluation, GuidanceSweep, Protocol, Recorded, Side, evaluate, pixels, sweep
from diffes.prompts import Rows
from diffes.quality import FeatureExtractor, FeatureNet, FeatureNetConfig, GaussianStatistics
from diffes.rollout import seeded_noise
from diffes.sampling import trajectory
from tests.prompting import WithoutEncoder, labelled

SCHEDULER = {"num_train_timesteps": 1000, "clip_sample": False}
CLASSES = labelled(0, 1, 2, none=3)
MEANT = range(len(CLASSES))
PROTOCOL = Protocol(
    trajectory("DDIMScheduler", SCHEDULER, 3),
    1.5,
    (3, 32, 32),
    prompts=CLASSES,
    classes=MEANT,
    images=6,
    batch=4,
)


class Drift(WithoutEncoder):
    """A denoiser whose output is a share of its input, different for every label."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.rows: list[int] = []

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        return {"tint": 0.1 * features["labels"].float().view(-1, 1, 1, 1) + 0 * timesteps.view(-1, 1, 1, 1)}

    def denoise(self, _key: str, latents: Tensor, conditions: Mapping[str, Tensor], /) -> Tensor:
        self.rows.append(len(latents))
        return self.share * latents + conditions["tint"]


def side(model: Drift) -> Side[str]:
    return Side(model, ["only"] * 3, pixels)


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    torch.manual_seed(0)
    net = FeatureNet(FeatureNetConfig(("a", "b", "c"), channels=(4, 4, 4, 8), features=4)).eval()
    with torch.inference_mode():
        features = net.features(torch.rand(64, 3, 32, 32) * 2 - 1).double().numpy()
    return FeatureExtractor(net, GaussianStatistics.from_features(features))


def test_a_side_is_at_no_distance_from_itself(extractor: FeatureExtractor) -> None:
    found = evaluate(side(Drift(0.9)), side(Drift(0.9)), PROTOCOL, extractor)

    assert found.n == 6
    assert found.mse == 0
    assert found.ssim == pytest.approx(1)
    assert found.frechet_distance == pytest.approx(0, abs=1e-6)
    assert found.class_accuracy == found.reference_class_accuracy


def test_another_model_is_at_a_distance_that_batches_do_not_change(extractor: FeatureExtractor) -> None:
    def between(batch: int) -> Evaluation:
        protocol = Protocol(PROTOCOL.path, 1.5, (3, 32, 32), prompts=CLASSES, classes=MEANT, images=6, batch=batch)
        return evaluate(side(Drift(0.9)), side(Drift(0.5)), protocol, extractor)

    whole, pieces = between(6), between(4)

    assert whole.mse > 0
    assert whole.frechet_distance > 0
    assert list(pieces.to_json().values()) == pytest.approx(list(whole.to_json().values()), rel=1e-4)


def test_image_i_starts_from_the_noise_of_seed_i() -> None:
    prompts = labelled(1, 2)

    both = side(Drift(0.9))(PROTOCOL, [4, 5], prompts)
    second = side(Drift(0.9))(PROTOCOL, [5], prompts[1:])

    assert torch.allclose(both[1:], second, atol=1e-6)
    assert not torch.equal(seeded_noise([4], (3, 32, 32)), seeded_noise([5], (3, 32, 32)))


def test_a_recorded_reference_is_sampled_once_and_says_the_same(extractor: FeatureExtractor) -> None:
    model = Drift(0.5)
    reference = Recorded(side(model))

    found = [evaluate(side(Drift(share)), reference, PROTOCOL, extractor) for share in (0.9, 0.8)]

    assert len(model.rows) == 2 * 3  # two batches of three steps
    assert found == [evaluate(side(Drift(share)), side(Drift(0.5)), PROTOCOL, extractor) for share in (0.9, 0.8)]
    other = evaluate(side(Drift(0.9)), reference, replace(PROTOCOL, guidance=3.0), extractor)
    assert other == evaluate(side(Drift(0.9)), side(Drift(0.5)), replace(PROTOCOL, guidance=3.0), extractor)


def test_progress_ends_at_one(extractor: FeatureExtractor) -> None:
    seen: list[float] = []

    evaluate(side(Drift(0.9)), side(Drift(0.9)), PROTOCOL, extractor, seen.append)

    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_one_image_has_no_covariance(extractor: FeatureExtractor) -> None:
    protocol = Protocol(PROTOCOL.path, 1.5, (3, 32, 32), prompts=CLASSES, classes=MEANT, images=1)

    with pytest.raises(InvalidInput, match="invalid n: expected at least 2 images, found 1"):
        evaluate(side(Drift(0.9)), side(Drift(0.9)), protocol, extractor)


def test_pixels_are_clipped_to_the_range_images_have() -> None:
    assert pixels(torch.tensor([-3.0, 0.5, 2.0])).tolist() == [-1.0, 0.5, 1.0]


def test_a_sweep_evaluates_both_sides_at_every_scale_from_the_same_noise(extractor: FeatureExtractor) -> None:
    def at(scale: float) -> Evaluation:
        return evaluate(side(Drift(0.9)), side(Drift(0.5)), replace(PROTOCOL, guidance=scale), extractor)

    found = sweep(side(Drift(0.9)), side(Drift(0.5)), PROTOCOL, [1.0, 3.0, 1.0], extractor)

    assert found.evaluations == {1.0: at(1.0), 3.0: at(3.0)}
    assert found.evaluations[1.0] != found.evaluations[3.0]


def test_each_sides_best_scale_is_the_one_nearest_to_the_data() -> None:
    def at(ours: float, theirs: float) -> Evaluation:
        return Evaluation(2, 0.0, 0.0, 1.0, ours / 10, ours, theirs / 10, theirs)

    found = GuidanceSweep({1.0: at(9, 4), 1.5: at(7, 3), 2.0: at(5, 6)})

    assert (found.best, found.reference_best) == (2.0, 1.5)
    document = found.to_json()
    assert document["best"] == {"guidance": 2.0, "frechet_to_data": 5, "class_accuracy": 0.5}
    assert document["reference_best"] == {"guidance": 1.5, "frechet_to_data": 3, "class_accuracy": 0.3}


def test_one_scale_is_told_flat_and_several_stand_beside_the_first() -> None:
    weak, strong = Evaluation(2, 3.0, 0.5, 0.9, 0.4, 9.0, 0.6, 4.0), Evaluation(2, 2.0, 0.5, 0.9, 0.4, 7.0, 0.6, 4.0)

    assert GuidanceSweep({1.5: weak}).to_json() == {"guidance": 1.5, **weak.to_json()}
    several = GuidanceSweep({1.5: weak, 2.0: strong}).to_json()
    assert {"guidance": 1.5, **weak.to_json()}.items() <= several.items()
    assert several["scales"] == [{"guidance": 1.5, **weak.to_json()}, {"guidance": 2.0, **strong.to_json()}]


def test_a_sweeps_progress_rises_over_all_scales(extractor: FeatureExtractor) -> None:
    seen: list[float] = []

    sweep(side(Drift(0.9)), side(Drift(0.9)), PROTOCOL, [1.0, 2.0], extractor, seen.append)

    assert seen == sorted(seen)
    assert seen[0] < 0.5
    assert seen[-1] == 1


def test_a_sweep_of_no_scales_is_refused(extractor: FeatureExtractor) -> None:
    with pytest.raises(InvalidInput, match="invalid guidance: expected at least one scale"):
        sweep(side(Drift(0.9)), side(Drift(0.9)), PROTOCOL, [], extractor)
