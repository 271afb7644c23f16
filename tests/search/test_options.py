import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput
from search.options import SearchOptions
from tests.search.conftest import small_options


@pytest.mark.parametrize(
    ("field", "value"),
    [("macs", 0.0), ("macs", 1.0), ("population", 3), ("probes", 0), ("dtype", "int8"), ("table_levels", 1)]
    + [("genes", "group:0"), ("genes", "layer"), ("widths", "loose"), ("depth", "deep"), ("screen_probes", 0)],
)
def test_a_wrong_option_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        SearchOptions.checked({"macs": 0.375, field: value})
    assert caught.value.field == field


def test_rollouts_round_on_a_gpu_unless_told_otherwise() -> None:
    assert SearchOptions(macs=0.375).dtype == "float32"
    assert SearchOptions(macs=0.375, device="cuda").dtype == "tf32"
    assert SearchOptions(macs=0.375, device="cuda", dtype="bfloat16").dtype == "bfloat16"


def test_a_baseline_searches_within_one_budget() -> None:
    with pytest.raises(InvalidInput, match="one share: random finds no front"):
        SearchOptions.checked({"macs": "0.2:0.5", "method": "random", "screen_probes": None})


def test_tf32_is_refused_on_a_cpu() -> None:
    with pytest.raises(InvalidInput, match="tf32 is a GPU's"):
        SearchOptions.checked({"macs": 0.375, "dtype": "tf32"})


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(InvalidInput, match="invalid poplation"):
        SearchOptions.checked({"macs": 0.375, "poplation": 8})


@given(st.integers(4, 50), st.integers(1, 60))
def test_at_most_half_of_a_population_lives_on(population: int, elite: int) -> None:
    options = small_options(population=population, elite=elite)
    assert 1 <= options.survivors <= population // 2


def test_the_sampler_is_the_checkpoints_unless_given(tiny_checkpoint: Checkpoint) -> None:
    assert small_options().sampler_of(tiny_checkpoint).class_name == "DDIMScheduler"
    given = small_options(sampler="EulerDiscreteScheduler")
    assert given.sampler_of(tiny_checkpoint).class_name == "EulerDiscreteScheduler"


def test_every_level_is_measured_unless_fewer_are_asked_for() -> None:
    assert small_options().measured_levels(4) == (1, 2, 3, 4)
    assert small_options(table_levels=4).measured_levels(8) == (2, 5, 7, 8)
    assert small_options(table_levels=4).measured_levels(16) == (5, 10, 15, 16)


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 8, 10, 16])
@pytest.mark.parametrize("count", [2, 3, 4, 40])
def test_the_last_two_levels_are_always_measured_and_no_level_the_model_lacks(parts: int, count: int) -> None:
    levels = small_options(table_levels=count).measured_levels(parts)

    assert set(levels) >= {parts, max(parts - 1, 1)}
    assert set(levels) <= set(range(1, parts + 1))
    assert len(levels) <= count


def test_another_time_limit_is_the_same_search() -> None:
    assert small_options(time_limit=5).difference(small_options()) == ""
    assert small_options(seed=1).difference(small_options()) == "seed: 1 → 0"


def test_another_gpu_of_the_machine_is_the_same_search_a_cpu_is_another() -> None:
    first, second, cpu = (small_options(device=name) for name in ("cuda:0", "cuda:1", "cpu"))
    assert first.difference(second) == ""
    assert "device: cuda:0 → cpu" in first.difference(cpu)


@pytest.mark.parametrize(
    "values",
    [{}, {"macs": 0.3, "weights": 0.3}, {"latency": 0.3}, {"macs": 0.3, "latency_table": "t.json"}],
    ids=["none", "two", "latency without a table", "a table without latency"],
)
def test_there_is_exactly_one_budget(values: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="one budget|together or neither"):
        SearchOptions.checked(values)


@pytest.mark.parametrize("cost", ["macs", "weights", "latency"])
def test_the_budget_given_is_the_one_searched_for(cost: str) -> None:
    table = {"latency_table": "t.json"} if cost == "latency" else {}
    options = SearchOptions.checked({cost: 0.25, **table})
    assert (options.cost, options.share) == (cost, 0.25)


@given(st.integers(1, 20), st.one_of(st.none(), st.integers(1, 20)))
def test_rungs_share_out_all_probes(probes: int, screened: int | None) -> None:
    rungs = small_options(probes=probes, screen_probes=screened).rungs
    assert [i for rung in rungs for i in range(rung.start, rung.stop)] == list(range(probes))
    assert len(rungs) == (2 if screened is not None and screened < probes else 1)


@pytest.mark.parametrize("cost", ["macs", "weights", "latency"])
@pytest.mark.parametrize("asked", [(0.2, 0.65), [0.2, 0.65], "0.2:0.65"], ids=["tuple", "list", "text"])
def test_a_range_asks_for_a_front(cost: str, asked: object) -> None:
    table = {"latency_table": "t.json"} if cost == "latency" else {}
    options = SearchOptions.checked({cost: asked, **table})
    assert options.front
    assert options.shares == (0.2, 0.65)
    assert SearchOptions.model_validate_json(options.model_dump_json()) == options


def test_one_share_is_a_range_of_itself_and_no_front() -> None:
    assert not small_options().front
    assert small_options().shares == (0.375, 0.375)


def test_half_of_a_fronts_population_lives_on_whatever_the_elite() -> None:
    assert small_options(macs="0.2:0.4", population=12, elite=1).survivors == 6


def test_a_front_has_a_larger_population_unless_told_otherwise() -> None:
    one, front = (SearchOptions.checked({"macs": macs}) for macs in (0.3, "0.2:0.4"))
    assert one.population < front.population
    assert SearchOptions.checked({"macs": "0.2:0.4", "population": 8}).population == 8
