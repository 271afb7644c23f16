"""Engines are built once, and again when anything they depend on differs or their file is damaged."""

import dataclasses
import logging
from pathlib import Path

import pytest

from diffes.backends.tensorrt.build import Progress, build
from diffes.backends.tensorrt.cache import EngineCache, read_header
from diffes.backends.tensorrt.package import Package
from diffes.backends.tensorrt.profiles import EngineSpec, engine_specs
from diffes.checkpoint import Checkpoint
from diffes.errors import BackendError
from diffes.pruning.calibration import Calibration
from tests.bundles import export

Specs = tuple[EngineSpec, EngineSpec]


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the networks that are built meanwhile."""
    built: list[str] = []

    def counted(package: Package, spec: EngineSpec, progress: Progress) -> bytes:
        built.append(spec.network.name)
        return build(package, spec, progress)

    monkeypatch.setattr("diffes.backends.tensorrt.cache.build", counted)
    return built


def test_an_engine_is_built_once(cache: EngineCache, specs: Specs, builds: list[str]) -> None:
    first = cache.load(specs[1])
    assert cache.load(specs[1]) == first
    assert builds == [specs[1].network.name]
    assert [path.name for path in cache.folder.iterdir()] == [cache.path(specs[1]).name]


def test_the_file_says_what_it_holds(cache: EngineCache, specs: Specs) -> None:
    plan = cache.load(specs[1])
    header = read_header(cache.path(specs[1]))
    assert header["network"] == specs[1].sha256
    assert (header["package"], header["version"]) == ("tensorrt_rtx", cache.package.version)
    assert header["target"] == "portable"
    assert header["bytes"] == len(plan)
    assert header["profiles"] == [
        {
            "graph": "condition.onnx",
            "rows": rows,
            "shapes": [["timesteps", [rows]], ["labels", [rows]]],
            "outputs": [["modulation", [rows, 2, 6, 32]], ["final_modulation", [rows, 2, 32]]],
            "sides": [],
        }
        for rows in (2, 8)
    ]


def test_whatever_an_engine_depends_on_makes_it_another_file(cache: EngineCache, specs: Specs) -> None:
    spec, _ = specs

    class Newer:
        __version__ = "99.0"

    others = [
        cache.path(dataclasses.replace(spec, sha256="0" * 64)),
        cache.path(dataclasses.replace(spec, profiles=spec.profiles[:-1])),
        cache.path(dataclasses.replace(spec, profiles=spec.profiles[::-1])),
        dataclasses.replace(cache, package=Package("tensorrt_rtx", Newer)).path(spec),
        dataclasses.replace(cache, package=Package("tensorrt", cache.package.module)).path(spec),
        dataclasses.replace(cache, target="another GPU").path(spec),
    ]
    assert len({cache.path(spec), *others}) == 7


def test_where_the_network_lies_does_not(cache: EngineCache, specs: Specs) -> None:
    moved = dataclasses.replace(specs[0], network=Path("elsewhere") / "renamed.onnx")
    assert cache.path(moved) == cache.path(specs[0])


def test_bundles_that_differ_in_their_weights_alone_share_an_engine(
    cache: EngineCache, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    modes = ("none", "full")
    bundles = [export(tiny_checkpoint, [(1, 1)], tiny_calibration, tmp_path / mode, mode) for mode in modes]
    assert bundles[0].manifest.blob.sha256 != bundles[1].manifest.blob.sha256
    paths = [{cache.path(spec) for spec in engine_specs(bundle, (2,))} for bundle in bundles]
    assert paths[0] == paths[1]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "no header"])
def test_a_damaged_engine_is_built_again_and_that_is_logged(
    cache: EngineCache, specs: Specs, builds: list[str], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    cache.load(specs[1])
    path = cache.path(specs[1])
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    worse = {"flipped": bytes(data), "truncated": bytes(data[:-7]), "empty": b"", "no header": b"\x00" * 100}
    path.write_bytes(worse[damage])
    with caplog.at_level(logging.WARNING):
        again = cache.load(specs[1])
    assert len(builds) == 2
    assert "is damaged" in caplog.text
    assert path.name in caplog.text
    assert cache.load(specs[1]) == again
    assert len(builds) == 2


def test_a_build_that_fails_leaves_no_file(cache: EngineCache, specs: Specs, tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(b"nothing")
    with pytest.raises(BackendError):
        cache.load(dataclasses.replace(specs[1], network=tmp_path / "n.onnx"))
    assert not cache.folder.exists() or not list(cache.folder.iterdir())


def test_by_default_engines_lie_in_the_users_cache(
    rtx: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DIFFES_CACHE", str(tmp_path))
    assert EngineCache.default(rtx, "portable").folder == tmp_path / "engines"
