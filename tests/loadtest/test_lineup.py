"""Who is loaded: a service that runs or a bundle's, one or several; what cannot be is said before anything starts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from diffes.bundle import Bundle
from diffes.errors import InvalidInput
from loadtest import lineup
from loadtest.lineup import Lineup
from loadtest.scenario import Scenario, load_scenario

HERE = "http://127.0.0.1:3000"
MODEL = Path("model")
STEADY = load_scenario("saturation")
TRITON = {"backend": "triton", "device": "gpu-1:8001"}


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """How each contender would be opened; nothing is."""
    made: list[tuple[Any, ...]] = []
    for name in ("running", "served", "peer"):
        monkeypatch.setattr(lineup, name, lambda *told, name=name: made.append((name, *told)))
    return made


def told(who: Lineup, scenario: Scenario = STEADY, compare: Sequence[str] = ()) -> str:
    """What is said of what cannot be."""
    with pytest.raises(InvalidInput) as error:
        who.contenders(scenario, compare)
    return str(error.value)


def test_a_service_that_runs_is_asked_as_it_is(opened: list[tuple[Any, ...]]) -> None:
    who = Lineup(url=HERE, key="secret", log=Path("log"))
    assert [(each.name, each.schedule) for each in who.contenders(STEADY, [])] == [("service", None)]
    assert opened == [("running", HERE, "secret", Path("log"))]


def test_a_bundle_is_served_with_the_scenario_s_settings_and_those_of_the_command_line_before_them(
    opened: list[tuple[Any, ...]], tiny_bundle: Bundle
) -> None:
    scenario = load_scenario("steady", ["service.max_queue=4", "service.threads=8"])
    who = Lineup(bundle=tiny_bundle, settings={"threads": "1"}, key="secret")
    assert [each.name for each in who.contenders(scenario, [])] == ["service"]
    assert opened == [("served", tiny_bundle.folder, {"max_queue": "4", "threads": "1"}, "secret", ())]


def test_contenders_differ_by_address_bundle_and_settings(tiny_bundle: Bundle) -> None:
    services = [Lineup(url=HERE), Lineup(url=f"{HERE}1"), Lineup(bundle=tiny_bundle)]
    services += [Lineup(bundle=tiny_bundle, settings={"threads": str(threads)}) for threads in (1, 2)]
    told = [who.contenders(STEADY, [])[0].what for who in services]
    assert len(set(told)) == len(services)
    compared = Lineup(bundle=tiny_bundle, model=MODEL).contenders(STEADY, ["dense", "diffusers-fastapi"])
    assert [each.what for each in compared] == [told[2], f"of {MODEL}, {told[2]}"]


def test_faults_are_known_to_who_starts_the_service(opened: list[tuple[Any, ...]], tiny_bundle: Bundle) -> None:
    scenario = load_scenario("full-disk")
    Lineup(bundle=tiny_bundle).contenders(scenario, [])
    assert opened[0][-1] == scenario.faults != ()


def test_with_both_the_service_that_runs_is_loaded(opened: list[tuple[Any, ...]], tiny_bundle: Bundle) -> None:
    Lineup(url=HERE, bundle=tiny_bundle).contenders(STEADY, [])
    assert [name for name, *_ in opened] == ["running"]


def test_somebody_has_to_be_loaded() -> None:
    assert told(Lineup()) == "invalid service: expected --url of one that runs, or --bundle to start one, found neither"


def test_a_service_that_runs_takes_no_settings(tiny_bundle: Bundle) -> None:
    who = Lineup(url=HERE, bundle=tiny_bundle, settings={"threads": "1", "workers": "2"})
    assert told(who) == "invalid settings: expected none of a service that runs already, found threads, workers"


@pytest.mark.parametrize(
    "name", ["cold-start", "kill-worker", "kill-engine", "pause-worker", "full-disk", "cut-triton"]
)
def test_a_service_that_runs_neither_starts_cold_nor_is_done_something_to(name: str, tiny_bundle: Bundle) -> None:
    words = told(Lineup(url=HERE, bundle=tiny_bundle), load_scenario(name))
    assert words.startswith("invalid service: expected --bundle, so that it is started for the test")
    assert words.endswith(f"found --url {HERE}")


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, "neither"),
        ({"backend": "triton"}, "--backend triton"),
        ({"backend": "torch", "device": "cuda"}, "--backend torch, --device cuda"),
        ({"device": "cuda"}, "--device cuda"),
    ],
    ids=["neither", "no device", "another backend", "no backend"],
)
def test_only_a_service_on_a_triton_server_can_be_cut_off(
    settings: Mapping[str, str], found: str, tiny_bundle: Bundle
) -> None:
    words = told(Lineup(bundle=tiny_bundle, settings=settings), load_scenario("cut-triton"))
    assert words.startswith("invalid service: expected --backend triton and --device, its server's HOST:PORT")
    assert words.endswith(f"found {found}")


@pytest.mark.parametrize("of", ["command line", "scenario"])
def test_a_service_on_a_triton_server_can_be_cut_off(
    of: str, opened: list[tuple[Any, ...]], tiny_bundle: Bundle
) -> None:
    lines = [f'service.{name}="{value}"' for name, value in TRITON.items()] if of == "scenario" else []
    who = Lineup(bundle=tiny_bundle, settings={} if lines else TRITON)
    who.contenders(load_scenario("cut-triton", lines), [])
    assert opened[0][2] == TRITON


def test_schedules_are_compared_by_their_names(opened: list[tuple[Any, ...]], tiny_bundle: Bundle) -> None:
    found = Lineup(bundle=tiny_bundle).contenders(STEADY, ["mixed", "dense"])
    assert [(each.name, each.schedule) for each in found] == [("mixed", "mixed"), ("dense", "dense")]
    assert {name for name, *_ in opened} == {"served"}


def test_a_name_is_compared_once(tiny_bundle: Bundle) -> None:
    words = told(Lineup(bundle=tiny_bundle), compare=["dense", "mixed", "dense"])
    assert words == "invalid compare: expected different names, found dense, mixed, dense"


def test_a_schedule_that_the_bundle_has_not_is_named_with_those_it_has(tiny_bundle: Bundle) -> None:
    words = told(Lineup(bundle=tiny_bundle), compare=["dense", "fast"])
    assert words == "invalid schedule: expected one of dense, mixed, found fast"


@pytest.mark.parametrize("name", ["../other", "a/b", "/tmp/x"])
def test_a_schedule_that_nobody_can_look_up_is_at_least_no_path(name: str) -> None:
    assert told(Lineup(url=HERE), compare=[name]).endswith(f"found {name}")
    assert Lineup(url=HERE).contenders(STEADY, ["fast"])[0].schedule == "fast"


@pytest.mark.parametrize(
    ("name", "kind", "compiled"),
    [
        ("diffusers-fastapi", "fastapi", False),
        ("diffusers-bentoml", "bentoml", False),
        ("diffusers-fastapi-compiled", "fastapi", True),
        ("diffusers-bentoml-compiled", "bentoml", True),
    ],
)
def test_a_peer_serves_the_model_as_the_bundle_would(
    name: str, kind: str, compiled: bool, opened: list[tuple[Any, ...]], tiny_bundle: Bundle
) -> None:
    settings = {"device": "cuda", "threads": "2", "backend": "torch", "workers": "4"}
    (found,) = Lineup(bundle=tiny_bundle, model=MODEL, settings=settings).contenders(STEADY, [name])
    assert (found.name, found.schedule) == (name, None)
    as_served = {"device": "cuda", "threads": "2", "dtype": "float32", "steps": 20, "guidance": 1.5}
    assert opened[-1] == ("peer", kind, MODEL, as_served | {"compiled": compiled})


@pytest.mark.parametrize("name", ["diffusers-flask", "diffusers-", "diffusers-fastapi-", "diffusers-compiled"])
def test_a_peer_that_there_is_not_is_named_with_those_there_are(name: str, tiny_bundle: Bundle) -> None:
    words = told(Lineup(bundle=tiny_bundle, model=MODEL), compare=[name])
    expected = "a schedule, or diffusers-fastapi[-compiled] or diffusers-bentoml[-compiled]"
    assert words == f"invalid compare: expected {expected}, found {name}"


@pytest.mark.parametrize("given", ["model", "bundle"])
def test_a_peer_needs_the_model_and_the_bundle_it_stands_beside(given: str, tiny_bundle: Bundle) -> None:
    who = Lineup(url=HERE, model=MODEL) if given == "model" else Lineup(bundle=tiny_bundle)
    words = told(who, compare=["diffusers-fastapi"])
    assert words.startswith("invalid diffusers-fastapi: expected --model, ")
    assert words.endswith("and --bundle, found not both")


@pytest.mark.parametrize(
    ("name", "settings", "found"),
    [
        ("steady", [], "mix.stream"),
        ("overload", [], "mix.timeout"),
        ("saturation", ["mix.schedules={dense=1}"], "mix.schedules"),
        ("kill-worker", [], "mix.stream, faults"),
    ],
)
def test_a_peer_is_not_asked_for_what_it_was_never_made_for(
    name: str, settings: list[str], found: str, tiny_bundle: Bundle
) -> None:
    who = Lineup(bundle=tiny_bundle, model=MODEL)
    words = told(who, load_scenario(name, settings), ["dense", "diffusers-fastapi"])
    expected = "none of mix.stream, mix.timeout, mix.schedules, faults"
    assert words == f"invalid scenario for diffusers-fastapi: expected {expected}, found {found}"
