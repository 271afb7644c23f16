"""Every scheduler meets the same load, and what became of each request is told."""

import json
from pathlib import Path

from diffes.bundle import Bundle
from tests.examples.scripts import run


def test_loads_deadlines_and_simulations_are_measured(tiny_bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "load.json"
    loads = "--load", "0.5", "--load", "2", "--serial-up-to", "1", "--deadline-load", "2"
    slacks = "--slack", "2", "--slack", "50", "--slack", "0.1"
    short = *slacks, "--seconds", "0.5", "--stretches", "2", "--simulated", "50"
    bundle = tiny_bundle.folder, "--schedule", tiny_bundle.default, "--threads", "1"
    done = run("benchmarks/serving_load.py", *bundle, *loads, *short, "--out", out)
    assert done.error is None
    result = json.loads(out.read_text())
    met = [(each["load"], each["scheduler"]) for each in result["loads"]]
    peers = ["whole requests", "diffes, catch-up"]
    assert met == [(0.5, "one at a time"), *((0.5, name) for name in peers), *((2.0, name) for name in peers)]
    for each in result["loads"]:
        assert each["alone"] * 0.5 < each["p50"] <= each["p99"]
    kept = [(each["scheduler"], each["load"], each["slack"]) for each in result["deadlines"]]
    assert kept == [(name, 2.0, slack) for slack in (2.0, 50.0, 0.1) for name in peers]
    for each in result["deadlines"]:
        assert each["good"] + each["refused"] + each["dropped"] <= 1 + 1e-9
        assert (each["p99"] is None) == (each["slack"] == 0.1)  # which nothing can be done in
    simulated = {each["scheduler"] for each in result["simulated"]}
    assert simulated == {"one at a time", *peers, "diffes, catch-up, were it one stage"}


def test_a_simulation_is_done_again_from_its_result_alone(tmp_path: Path) -> None:
    names = ["one at a time", "whole requests", "diffes, catch-up"]
    result = {
        "most": 4,
        "loads": [{"load": 0.5, "scheduler": name, "good": {"2": 1.0}} for name in names]
        + [{"load": 2.0, "scheduler": name, "good": {"2": 1.0}} for name in names[1:]],
        "costs": {"a": {"1": 1.0, "8": 1.0}, "b": {"1": 2.0, "8": 2.0}},
        "buckets": [],
        "path": {"subgraphs": ["a", "b", "b"], "guided": True},
    }
    out = tmp_path / "load.json"
    out.write_text(json.dumps(result))
    done = run("benchmarks/serving_simulated.py", out, "--requests", "200")
    assert done.error is None
    written = json.loads(out.read_text())
    assert {name: written[name] for name in result} == result
    undivided = "diffes, catch-up, were it one stage"
    met = [(each["load"], each["scheduler"]) for each in written["simulated"]]
    assert met == [*((0.5, name) for name in (*names, undivided)), *((2.0, name) for name in (*names[1:], undivided))]
    for each in written["simulated"]:
        assert each["alone"] == (6 if each["scheduler"] == undivided else 5)
        assert each["p50"] >= each["alone"]
