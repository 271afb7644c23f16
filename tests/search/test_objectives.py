import torch

from search.objectives import OBJECTIVES


def test_equal_samples_are_at_no_distance() -> None:
    samples = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert all(abs(objective(samples, samples)) < 1e-6 for objective in OBJECTIVES.values())


def test_more_noise_is_farther_away() -> None:
    generator = torch.Generator().manual_seed(0)
    dense = torch.rand(2, 3, 16, 16, generator=generator) * 2 - 1
    noise = torch.randn(dense.shape, generator=generator)
    for objective in OBJECTIVES.values():
        distances = [objective(dense + scale * noise, dense) for scale in (0.1, 0.2, 0.4)]
        assert distances == sorted(distances)
