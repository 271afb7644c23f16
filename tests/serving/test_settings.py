"""Configuration from the environment and a file."""

from pathlib import Path

import pytest

from diffes.bundle import Bundle
from diffes.engine.request import Limits
from diffes.engine.shedding import Shedding
from diffes.errors import InvalidInput
from diffes.serving.settings import Settings, WorkerSettings

KEY = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", *Settings.model_fields):
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
    values |= {"POLICY": "oldest", "MODEL": "dit", "WORKERS": "2", "DRAIN_SECONDS": "5", "STALL_SECONDS": "60"}
    values |= {"API_KEYS": KEY, "API_KEYS_FILE": "keys", "LOG": "json", "SHED_TO": "fast", "SHED_ABOVE": "1.5"}
    assert {name.lower() for name in values} == Settings.model_fields.keys()
    for name, value in values.items():
        monkeypatch.setenv(f"DIFFES_{name}", value)
    settings = Settings.from_environment()
    assert (settings.backend, settings.device, settings.threads) == ("torch", "cuda:1", 3)
    assert settings.limits == Limits(batch=2, running=5, queue=7, backlog=2.5, shedding=Shedding("fast", 1.5))
    assert (settings.policy, settings.model, settings.log) == ("oldest", "dit", "json")
    assert (settings.workers, settings.drain_seconds, settings.stall_seconds) == (2, 5, 60)
    assert settings.api_keys_file == Path("keys")


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


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the environment names."""
    path = tmp_path / "diffes.toml"
    monkeypatch.setenv("DIFFES_CONFIG", str(path))
    return path


def test_the_environment_wins_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('bundle = "bundles/one"\nmax_queue = 7\nmax_batch = 3\n')
    monkeypatch.setenv("DIFFES_MAX_QUEUE", "8")
    settings = Settings.from_environment()
    assert settings.limits == Limits(batch=3, queue=8)
    assert settings.bundle == file.parent / "bundles/one"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('bundel = "b"', "invalid bundel in .*diffes.toml: expected one of workers, bundle,.*found an unknown key"),
        ("bundle = ", "invalid DIFFES_CONFIG: expected a TOML file, found .*diffes.toml: "),
        ('bundle = "b"\nmax_queue = 0', "invalid DIFFES_MAX_QUEUE"),
    ],
)
def test_a_wrong_file_is_refused_by_what_is_wrong_in_it(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        Settings.from_environment()


def test_a_file_that_is_not_there_is_refused(file: Path) -> None:
    with pytest.raises(InvalidInput, match=f"found {file}, which is not there"):
        Settings.from_environment()


def test_a_variable_that_nothing_reads_is_refused_with_the_nearest_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFES_BUNDLE", "b")
    monkeypatch.setenv("DIFFES_MAX_QEUE", "1")
    with pytest.raises(InvalidInput, match="invalid DIFFES_MAX_QEUE: .*such as DIFFES_MAX_QUEUE, found an unknown one"):
        Settings.from_environment()


def test_what_others_read_and_what_kubernetes_sets_is_no_typo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFES_BUNDLE", "b")
    for name in ("CACHE", "TENSORRT_BATCHES", "PORT", "PORT_3000_TCP_ADDR", "SERVICE_HOST", "SERVICE_PORT_HTTP"):
        monkeypatch.setenv(f"DIFFES_{name}", "x")
    assert Settings.from_environment().bundle == Path("b")


def test_keys_are_not_shown_and_not_kept_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFES_BUNDLE", "b")
    monkeypatch.setenv("DIFFES_API_KEYS", f"alice:{KEY}")
    settings = Settings.from_environment()
    assert KEY not in repr(settings) + str(settings) + repr(settings.keys) + settings.model_dump_json()
    assert settings.keys.name_of(KEY) == "alice"


def test_no_error_shows_a_key(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(f'bundle = "b"\napi_keys = ["{KEY}"]')
    with pytest.raises(InvalidInput) as raised:
        Settings.from_environment()
    assert KEY not in str(raised.value)
    monkeypatch.setenv("DIFFES_API_KEYS", f"{KEY},short")
    with pytest.raises(InvalidInput, match="found something else as entry 2") as malformed:
        assert Settings.from_environment().keys
    assert "short" not in str(malformed.value)


def test_keys_in_two_places_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFES_BUNDLE", "b")
    monkeypatch.setenv("DIFFES_API_KEYS", KEY)
    monkeypatch.setenv("DIFFES_API_KEYS_FILE", "keys")
    with pytest.raises(InvalidInput, match="found both"):
        assert Settings.from_environment().keys


@pytest.mark.parametrize(("said", "lacking"), [("SHED_TO", "SHED_ABOVE"), ("SHED_ABOVE", "SHED_TO")])
def test_shedding_needs_to_know_what_and_when(said: str, lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFES_BUNDLE", "b")
    monkeypatch.setenv(f"DIFFES_{said}", "1")
    with pytest.raises(InvalidInput, match=f"invalid DIFFES_{lacking}: expected a value"):
        assert Settings.from_environment().limits


def test_a_schedule_that_sheds_nothing_is_refused(bundle: Bundle) -> None:
    with pytest.raises(InvalidInput, match="found mixed, which removes"):
        Settings(bundle=Path("b"), shed_to="mixed", shed_above=1.0).require_sound(bundle)


def test_workers_are_known_before_a_bundle_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WorkerSettings.from_environment().workers == 1
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setenv("DIFFES_WORKERS", "auto")
    assert WorkerSettings.from_environment().workers == 4
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(InvalidInput, match="DIFFES_WORKERS: expected a number where no GPU is visible, found 'auto'"):
        WorkerSettings.from_environment()


def test_every_worker_on_cuda_has_a_gpu_of_its_own(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(bundle=Path("b"), device="cuda", workers=2)
    assert [settings.on_worker(index).device for index in (1, 2)] == ["cuda:0", "cuda:1"]
    assert Settings(bundle=Path("b"), device="cuda:3", workers=2).on_worker(2).device == "cuda:3"
    assert Settings(bundle=Path("b"), device="cuda").on_worker(1).device == "cuda"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(InvalidInput, match="DIFFES_WORKERS: expected at most 1"):
        settings.require_sound(bundle)
