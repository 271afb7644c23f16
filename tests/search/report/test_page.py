"""The page as its reader gets it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from diffes.checkpoint import Checkpoint
from diffes.errors import ScheduleError, SearchError
from search.report.page import FIGURES, make_report
from tests.search.report.conftest import searched
from tests.search.report.pages import copied, page_of, read


def test_a_finished_search_has_a_page_and_its_figures(
    finished: Path, tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder = copied(finished, tmp_path / "copy")
    page = page_of(folder, tiny_checkpoint, images=2)
    made = {path.name for path in folder.glob("*.png")}
    assert made == set(FIGURES) - {"pareto.png"}
    assert len(page.alts) == len(made)
    assert all(page.alts)
    assert page.tags.count("caption") == page.tags.count("table") > 5


def test_the_page_needs_nothing_but_itself(finished: Path, tmp_path: Path) -> None:
    page = page_of(copied(finished, tmp_path / "copy"))
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert "script" not in page.tags


def test_the_figures_are_those_of_the_files(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "copy")
    page, log = page_of(folder), read(folder / "search.json")
    chosen = next(f for f in log["finalists"] if f["genome"] == log["chosen"])
    wanted = [chosen["held_out"], log["uniform"]["held_out"], log["budget"]["achieved"]]
    wanted += [value for stage in log["stages"] for value in (stage["steps"], stage["macs"], stage["dense_macs"])]
    wanted += [generation["best"] for generation in log["generations"]]
    wanted += list(log["seconds"].values())
    assert set(wanted) <= set(page.values)


@pytest.mark.parametrize("space", [{"genes": "block"}, {"genes": "group:2", "widths": "tied"}, {"depth": "none"}])
def test_every_stage_and_block_of_any_schedule_appears(
    tiny_checkpoint: Checkpoint, tmp_path: Path, space: dict[str, Any]
) -> None:
    folder = searched(tiny_checkpoint, tmp_path / "out", generations=0, **space)
    page, schedule = page_of(folder), read(folder / "schedule.json")
    for stage in schedule["stages"]:
        assert f"{stage['high']}–{stage['low']}" in page.text
    rows = ["all 2 blocks"] if space.get("genes") is None else ["block 0", "block 1"]
    for row in rows:
        assert f"{row}, attention heads" in page.text
        assert f"{row}, MLP channels" in page.text
    dense = tiny_checkpoint.architecture.dense[0]
    kept = {1 - (dense.channels - channels) / dense.channels for s in schedule["stages"] for _, channels in s["blocks"]}
    assert kept - {0.0} <= set(page.values)


def test_an_interrupted_search_says_so_and_what_is_missing(interrupted: Path, tiny_checkpoint: Checkpoint) -> None:
    page = page_of(interrupted, tiny_checkpoint)
    assert "not finished" in page.text
    assert "diffes search --resume" in page.text
    assert "best schedule so far" in page.text
    for missing in ("Samples need a finished search", "Costs are written when a search ends"):
        assert missing in page.text
    assert not (interrupted / "samples.png").exists()


def test_a_search_that_has_only_begun_has_a_page(interrupted: Path) -> None:
    (interrupted / "table.json").unlink()
    text = page_of(interrupted).text
    assert "The error table is not measured yet" in text


def test_without_the_model_the_page_says_why_there_are_no_samples(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "copy")
    (folder / "samples.png").touch()
    assert "Nobody gave a model." in page_of(folder, why_no_model="Nobody gave a model.").text
    assert not (folder / "samples.png").exists()  # of an earlier report


def test_a_lost_calibration_is_named(finished: Path, tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "copy")
    (folder / "calibration.safetensors").unlink()
    assert "calibration.safetensors is not in this folder" in page_of(folder, tiny_checkpoint).text


def test_equal_files_give_an_equal_page(finished: Path, tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    one, other = (copied(finished, tmp_path / name) for name in ("one", "other"))
    for folder in (one, other):
        make_report(folder, tiny_checkpoint, images=1)
    for name in ("report.html", "samples.png", "levels.png", "convergence.png", "errors.png"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_values_are_escaped(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "copy")
    log = read(folder / "search.json")
    log["machine"]["platform"] = "<script>alert('Linux')</script> & \"co\""
    (folder / "search.json").write_text(json.dumps(log))
    page = page_of(folder)
    assert "script" not in page.tags
    assert "<script>alert('Linux')</script> & \"co\"" in page.text


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"holds no search.*checkpoint\.json"):
        make_report(tmp_path, None)


def test_files_of_different_searches_are_refused(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "copy")
    schedule = read(folder / "schedule.json")
    schedule["provenance"]["genome"][0] += 1
    (folder / "schedule.json").write_text(json.dumps(schedule))
    with pytest.raises(SearchError, match="different searches"):
        make_report(folder, None)


def test_a_malformed_log_is_named_by_its_entry(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "copy")
    log = read(folder / "search.json")
    del log["stages"]
    (folder / "search.json").write_text(json.dumps(log))
    with pytest.raises(SearchError, match=r"search\.json is malformed at stages"):
        make_report(folder, None)


def test_samples_of_another_model_are_refused(finished: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    folder, model = copied(finished, tmp_path / "copy"), copied(tiny_model_folder, tmp_path / "model")
    config = read(model / "scheduler/scheduler_config.json")
    config["beta_end"] = 0.01
    (model / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(ScheduleError, match="made for another model"):
        make_report(folder, Checkpoint.open(model))


def test_no_figure_is_larger_than_a_page(finished: Path, tmp_path: Path) -> None:
    html = make_report(copied(finished, tmp_path / "copy"), None).read_text(encoding="utf-8")
    assert all(int(width) < 1200 for width in re.findall(r'<img [^>]*width="(\d+)"', html))
