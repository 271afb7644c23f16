import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from diffes.bundle import Bundle
from diffes.cli import app
from diffes.cli.app import ORDER
from diffes.errors import DiffesError
from diffes.latency.table import LatencyTable

FAST = ["--steps", "4", "--stages", "4"]


def run(*arguments: object) -> Result:
    """The command line in this process; errors raised on purpose stay exceptions."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


@pytest.fixture(scope="module")
def bundle(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "bundle"
    result = run("export", tiny_model_folder, "--schedule", "half=uniform:0.5", "--out", out, *FAST)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return out


@pytest.mark.parametrize("verb", ORDER)
def test_every_verb_explains_itself_and_every_option_it_has(verb: str) -> None:
    result = run(verb, "--help")

    assert result.exit_code == 0
    for line in result.output.splitlines():
        option = re.match(r"│ \*?\s+(--[a-z-]+)\s+(<.*?>)?\s*(?:\[.*?\])?\s*(.*?)│$", line)
        if option:
            assert option[3].strip(), f"{verb} {option[1]} has no help"


def test_the_help_lists_the_verbs_in_the_order_they_are_needed() -> None:
    output = run("--help").output

    positions = [output.index(f"│ {verb} ") for verb in ORDER]
    assert positions == sorted(positions)


def test_search_export_inspect_and_generate_make_an_image(tiny_model_folder: Path, tmp_path: Path) -> None:
    small = ["--population", 4, "--generations", 1, "--probes", 8, "--time-limit", 60]

    found = run("search", tiny_model_folder, "--macs", 0.3, "--out", tmp_path / "s", "--effort", "quick", *FAST, *small)
    assert found.exit_code == 0, found.output + repr(found.exception)
    made = run("export", tiny_model_folder, "--schedule", tmp_path / "s/schedule.json", "--out", tmp_path / "b")
    assert made.exit_code == 0, made.output + repr(made.exception)
    inspected = run("inspect", tmp_path / "b", "--json")
    generated = run("generate", tmp_path / "b", "--label", "ship", "--seed", 3, "-n", 2, "--out", tmp_path / "x.png")

    assert generated.exit_code == 0, generated.output + repr(generated.exception)
    document = json.loads(inspected.stdout)
    assert document["macs_removed"] >= 0.3
    assert len(document["stages"]) == 4
    assert document["memory_ratio"] > 1  # full compensation keeps more than the dense weights
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (16, 8)


def test_a_point_of_a_searched_front_is_exported(tiny_model_folder: Path, tmp_path: Path) -> None:
    small = ["--population", 4, "--generations", 1, "--probes", 4, "--time-limit", 60]
    found = run(
        "search", tiny_model_folder, "--macs", "0.2:0.6", "--out", tmp_path / "s", "--effort", "quick", *FAST, *small
    )
    assert found.exit_code == 0, found.output + repr(found.exception)

    front = tmp_path / "s/pareto.json"
    made = run("export", tiny_model_folder, "--schedule", f"{front}@0.375", "--out", tmp_path / "b")
    refused = run("export", tiny_model_folder, "--schedule", front, "--out", tmp_path / "c")

    assert made.exit_code == 0, made.output + repr(made.exception)
    assert json.loads(run("inspect", tmp_path / "b", "--json").stdout)["macs_removed"] >= 0.375
    assert "a front that removes" in str(refused.exception)
    assert not (tmp_path / "c").exists()


def test_the_same_seed_makes_the_same_image_by_name_and_by_number(bundle: Path, tmp_path: Path) -> None:
    for name, label in (("a", "cat"), ("b", "3")):
        result = run("generate", bundle, "--label", label, "--seed", 1, "--out", tmp_path / f"{name}.png")
        assert result.exit_code == 0, repr(result.exception)

    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_inspect_prints_a_table_a_person_can_read(bundle: Path) -> None:
    output = run("inspect", bundle).output

    assert "half" in output
    assert "dense" in output


@pytest.mark.parametrize("verb", ["step", "compare", "memory", "table"])
def test_every_kind_of_bench_explains_itself(verb: str) -> None:
    assert verb in run("bench", "--help").output
    assert "--backend" in run("bench", verb, "--help").output


@pytest.mark.parametrize("named", [["step"], []], ids=["by name", "by default"])
def test_bench_times_every_subgraph(named: list[str], bundle: Path) -> None:
    result = run("bench", *named, bundle, "--rows", 2, "--seconds", 0.1, "--json")

    steps = json.loads(result.stdout)["steps"]
    assert len(steps) == 2  # half and dense
    assert all(0 < step["low"] <= step["high"] and step["roofline"] > 0 for step in steps)


def test_bench_compares_with_diffusers(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "compared.json"
    result = run("bench", "compare", bundle, "--backend", "torch", "--rows", 2, "--seconds", 0.1, "--out", out)

    assert result.exit_code == 0, result.output + repr(result.exception)
    steps = json.loads(out.read_text())["steps"]
    assert [(s["name"], s["plan"]) for s in steps] == [
        ("diffes torch", "dense"),
        ("diffes torch", "half"),
        ("diffusers", "dense"),
    ]


def test_bench_counts_weights_by_how_they_are_held(bundle: Path) -> None:
    found = json.loads(run("bench", "memory", bundle, "--json").stdout)

    assert found["dense"] <= found["bundle"] < found["bank"]
    assert found["bundle"] < found["copies"]
    assert found["opened"] is None  # of a device, which a CPU is not
    assert "not measured" in run("bench", "memory", bundle).output


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_bench_writes_a_table_that_knows_every_plan_of_the_bundle(backend: str, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.json"
    fast = ["--batch", 2, "--seconds", 0.1, "--checks", 2, "--threads", 1]

    result = run("bench", "table", bundle, "--backend", backend, "--out", out, *fast)

    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "2 rows, float32" in " ".join(result.output.split())  # a long processor name wraps the title
    table, opened = LatencyTable.load(out), Bundle.open(bundle)
    table.require_fit(opened.manifest.model, backend=backend, batch=2)
    dense = opened.architecture.dense
    assert all(0 < table.latency(plan) <= table.latency(dense) for plan in opened.subgraph_of)
    assert len(table.checks) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "table", "nowhere", "--out", "t.json"], r"nowhere/model_index\.json"),
        (["bench", "table", "{model}", "--backend", "fake", "--out", "t.json"], r"onnxruntime or torch, found fake"),
        (["bench", "table", "{model}", "--dtype", "bfloat16", "--out", "t.json"], r"float32 with onnxruntime"),
        (["search", "{model}", "--macs", "0.3", "--objective", "nice", "--out", "z"], r"objective.*mse.*nice"),
        (["search", "{model}", "--macs", "0.3", "--method", "annealing", "--out", "z"], r"method.*diff-es.*annealing"),
        (["search", "{model}", "--macs", "0.3", "--objective", "frechet", "--out", "z"], r"frechet cannot judge"),
        (["generate", "{bundle}", "--label", "unicorn", "--out", "x.png"], r"label.*airplane.*unicorn"),
        (["generate", "{bundle}", "--label", "cat", "--steps", "1001", "--out", "x.png"], r"steps.*1\.\.1000.*1001"),
        (["generate", "{bundle}", "--label", "cat", "--schedule", "fast", "--out", "x.png"], r"schedule.*half.*fast"),
        (["inspect", "nowhere"], r"nowhere"),
        (["export", "{model}", "--schedule", "uniform:0.3", "--out", "y"], r"0\.25, 0\.5.*found 0\.3"),
        (["export", "{model}", "--schedule", "uniform:half", "--out", "y"], r"uniform:SHARE.*uniform:half"),
        (["export", "{model}", "--schedule", "lost.json", "--out", "y"], r"lost\.json"),
        (
            ["export", "{model}", "--schedule", "dense", "--compensation", "some", "--out", "y"],
            r"none.*bias.*full.*some",
        ),
        (["export", "nowhere", "--schedule", "dense", "--out", "y"], r"nowhere/model_index\.json"),
        (["search", "{model}", "--macs", "0.6:0.2", "--out", "z"], r"macs.*LOW:HIGH.*found 0\.6:0\.2"),
        (["search", "{model}", "--macs", "0.999", "--out", "z", "--effort", "quick"], r"macs|MACs"),
    ],
)
def test_wrong_input_says_what_was_expected_and_found_and_leaves_nothing_behind(
    arguments: list[str],
    message: str,
    bundle: Path,
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    result = run(*(argument.format(bundle=bundle, model=tiny_model_folder) for argument in arguments))

    assert isinstance(result.exception, DiffesError)
    assert re.search(message, str(result.exception)), str(result.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["inspect", "nowhere"], 1, "error: nowhere is no readable bundle: expected a manifest.json"),
        (["generate", "{bundle}", "--label", "dragon", "--out", "x.png"], 2, "error: invalid label: expected"),
    ],
)
def test_a_person_sees_one_sentence_and_a_failing_exit_code(
    arguments: list[str], code: int, message: str, bundle: Path, tmp_path: Path
) -> None:
    filled = [argument.format(bundle=bundle) for argument in arguments]

    done = subprocess.run(
        [sys.executable, "-m", "diffes", *filled], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == code
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_serving_loads_neither_search_nor_export() -> None:
    code = "import diffes.cli, diffes.serving.bento, sys; print([m for m in ('search', 'export') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
