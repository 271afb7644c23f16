"""Configuration from the environment."""

from pathlib import Path

import pytest

from diffes.engine.request import Limits
from diffes.errors import InvalidInput
from diffes.serving.settings import Settings


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DIFFES_{name.upper()}", raising=False)


def test_a_bundle_is_all_that_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFES_BUNDLE", "out/bundle")
    settings = Settings.from_environment()
    assert settings.bundle == Path("out/bundle")
    assert (settings.backend, settings.device, settings.threads) == ("onnxruntime", "cpu", None)
    assert settings.limits == Limits(batch=4)


def test_every_setting_has_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"BUNDLE": "b", "BACKEND": "torch", "DEVICE": "cuda:1", "THREADS": "3"}
    values |= {"MAX_BATCH": "2", "MAX_RUNNING": "5", "MAX_QUEUE": "7", "MAX_BACKLOG": "2.5"}
    values |= {"POLICY": "oldest", "MODEL": "dit", "LOG": "json"}
    assert {name.lower() for name in values} == Settings.model_fields.keys()
    for name, value in values.items():
        monkeypatch.setenv(f"DIFFES_{name}", value)
    settings = Settings.from_environment()
    assert (settings.backend, settings.device, settings.threads) == ("torch", "cuda:1", 3)
    assert settings.limits == Limits(batch=2, running=5, queue=7, backlog=2.5)
    assert (settings.policy, settings.model, settings.log) == ("oldest", "dit", "json")


def test_an_accelerator_gets_larger_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFES_BUNDLE", "b")
    monkeypatch.setenv("DIFFES_DEVICE", "cuda:0")
    assert Settings.from_environment().limits.batch == 32


def test_there_is_no_default_bundle() -> None:
    with pytest.raises(InvalidInput, match="invalid DIFFES_BUNDLE: expected a bundle folder, found nothing. Set DIFF"):
        Settings.from_environment()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_BATCH", "0"),
        ("MAX_QUEUE", "many"),
        ("THREADS", "-1"),
        ("BACKEND", "tpu"),
        ("POLICY", "lifo"),
        ("LOG", "xml"),
    ],
)
def test_a_wrong_value_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("DIFFES_BUNDLE", "b")
    monkeypatch.setenv(f"DIFFES_{name}", value)
    with pytest.raises(InvalidInput, match=f"invalid DIFFES_{name}: .*found '{value}'"):
        Settings.from_environment()
