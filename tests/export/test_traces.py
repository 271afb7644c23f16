"""A model is traced once, by whichever export comes first."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffes.checkpoint import Checkpoint
from diffes.kernels import plain
from diffes.latency.stand import Subject, UnorderedModel
from export import contrib, traces
from export.pieces import Piece, condition_piece, denoiser_piece
from export.trace import trace
from export.traces import name_of, own_graph, runtime_graph
from export.weights import Weights


def model_of(folder: Path) -> UnorderedModel:
    checkpoint = Checkpoint.open(folder)
    subject = Subject(checkpoint.identity, checkpoint.architecture, checkpoint.weights())
    return UnorderedModel(subject, "cpu", torch.float32)


def piece_of(folder: Path) -> Piece:
    model = model_of(folder)
    return denoiser_piece(model, model.architecture.dense, Weights(model.dtype))


@pytest.fixture
def next_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """Has a cache folder of its own; a call forgets what is in memory, and lists what is traced from then on."""
    monkeypatch.setenv("DIFFES_CACHE", str(tmp_path / "cache"))

    def begin() -> list[str]:
        traced: list[str] = []

        def counted(module: Any, *rest: Any) -> Any:
            traced.append(type(module).__name__)
            return trace(module, *rest)

        monkeypatch.setattr(traces, "_known", {})
        monkeypatch.setattr(traces, "trace", counted)
        return traced

    return begin


def test_the_next_process_reads_what_one_traced(
    tiny_model_folder: Path, next_process: Callable[[], list[str]], tmp_path: Path
) -> None:
    traced = next_process()
    piece = piece_of(tiny_model_folder)
    first = own_graph(piece), runtime_graph(piece), own_graph(piece)
    assert traced == ["AdaLNStep"] * 2
    traced = next_process()
    piece = piece_of(tiny_model_folder)
    assert (own_graph(piece), runtime_graph(piece), own_graph(piece)) == first
    assert first[0] != first[1]
    assert traced == []
    assert len(list((tmp_path / "cache" / "traces").iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"\0" + content[1:], lambda _: b""])
def test_a_damaged_file_is_made_anew_and_told(
    tiny_model_folder: Path,
    next_process: Callable[[], list[str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    model = model_of(tiny_model_folder)
    next_process()
    first = own_graph(condition_piece(model, Weights(model.dtype)))
    (kept,) = (tmp_path / "cache" / "traces").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    traced = next_process()
    assert own_graph(condition_piece(model, Weights(model.dtype))) == first
    assert len(traced) == 1
    assert kept.read_bytes() == whole
    assert f"{kept} is damaged" in caplog.text


def test_where_nothing_can_be_kept_an_export_goes_on_and_says_so(
    tiny_model_folder: Path,
    next_process: Callable[[], list[str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    model = model_of(tiny_model_folder)
    traced = next_process()
    with caplog.at_level(logging.WARNING):
        assert own_graph(condition_piece(model, Weights(model.dtype))).graph.node
    assert len(traced) == 1
    assert "the next export will trace again" in caplog.text


@pytest.mark.parametrize("folder", ["tiny_model_folder", "tiny_sdxl_folder"])
def test_a_model_opened_again_is_named_alike(folder: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(folder)
    topology = piece_of(path).topology
    assert name_of(topology, plain) == name_of(piece_of(path).topology, plain)
    assert " at 0x" not in repr(topology)  # another process would name it otherwise


def test_whatever_a_trace_depends_on_names_another(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = piece_of(tiny_model_folder).topology
    names = [name_of(topology, plain), name_of((topology, "another"), plain), name_of(topology, contrib)]
    with monkeypatch.context() as patch:
        patch.setattr(traces, "version", lambda name: "1.2.3" if name == "torch" else "0")
        names.append(name_of(topology, plain))
    monkeypatch.setattr(traces, "_code", lambda: "another code")
    names.append(name_of(topology, plain))
    assert len(set(names)) == len(names)
