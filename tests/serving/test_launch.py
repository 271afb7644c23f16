"""`diffes serve` becomes `bentoml serve`, from any folder."""

import os
from pathlib import Path
from typing import Any

import pytest

from diffes.bundle import Bundle
from diffes.errors import BundleError
from diffes.serving.launch import SERVICE, serve, server_home


def test_it_becomes_a_bentoml_server_with_its_own_home(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    became: list[Any] = []
    monkeypatch.setattr(Bundle, "open", classmethod(lambda *_: bundle))
    monkeypatch.setattr(os, "execve", lambda *call: became.append(call))
    monkeypatch.chdir(tmp_path)
    for name in ("BUNDLE", "THREADS", "CONFIG"):  # is put back after the test
        monkeypatch.setenv(f"DIFFES_{name}", "")
        monkeypatch.delenv(f"DIFFES_{name}")
    serve(Path("here"), host="0.0.0.0", port=3999, threads=2)
    ((program, arguments, environment),) = became
    assert program == arguments[0]
    assert arguments[arguments.index("serve") + 1] == SERVICE
    assert arguments[arguments.index("--port") + 1] == "3999"
    assert int(arguments[arguments.index("--timeout-keep-alive") + 1]) > 5  # what clients keep connections for
    assert environment["DIFFES_BUNDLE"] == str(tmp_path / "here")
    assert environment["DIFFES_THREADS"] == "2"
    assert environment["BENTOML_HOME"] == str(server_home("0.0.0.0", 3999))
    assert environment["BENTOML_DO_NOT_TRACK"] == "True"


def test_servers_on_different_addresses_share_no_home() -> None:
    homes = {server_home(host, port) for host in ("127.0.0.1", "::1") for port in (3000, 3001)}
    assert len(homes) == 4
    assert all(home.is_dir() for home in homes)


def test_a_folder_that_is_no_bundle_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFES_BUNDLE", "")
    with pytest.raises(BundleError, match="manifest.json"):
        serve(tmp_path)


def test_a_file_says_what_options_do_not(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    became: list[Any] = []
    monkeypatch.setattr(Bundle, "open", classmethod(lambda *_: bundle))
    monkeypatch.setattr(os, "execve", lambda *call: became.append(call))
    monkeypatch.chdir(tmp_path)
    for name in ("BUNDLE", "CONFIG", "BACKEND", "API_KEYS_FILE"):
        monkeypatch.setenv(f"DIFFES_{name}", "")
        monkeypatch.delenv(f"DIFFES_{name}")
    Path("diffes.toml").write_text('bundle = "b"\nbackend = "torch"\ndevice = "cuda"\n')
    serve(None, config=Path("diffes.toml"), backend="onnxruntime", device=None)
    ((_, _, environment),) = became
    assert environment["DIFFES_BUNDLE"] == str(tmp_path / "b")
    assert environment["DIFFES_CONFIG"] == str(tmp_path / "diffes.toml")
    assert environment["DIFFES_BACKEND"] == "onnxruntime"
    assert "DIFFES_DEVICE" not in environment
