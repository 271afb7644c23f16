"""A Triton repository: one model with the whole bundle inside; whether a server runs it, tests/backends asks."""

import re
from pathlib import Path

import pytest

import export
from diffes.bundle import Bundle
from diffes.errors import BundleError, InvalidInput
from diffes.manifest import MANIFEST
from export.request import ExportRequest, run_export
from export.triton import Hosting, bundle_folder, config_text, wrap_bundle


def test_a_wrapped_bundle_is_the_bundle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    found = wrap_bundle(tiny_bundle, tmp_path / "repository")
    assert found.folder == tmp_path / "repository/diffes/1/bundle"
    assert found.manifest == tiny_bundle.manifest
    assert sorted(path.name for path in found.folder.iterdir()) == sorted(p.name for p in tiny_bundle.folder.iterdir())


def test_weights_are_not_copied_on_one_file_system(tiny_bundle: Bundle, tmp_path: Path) -> None:
    found = wrap_bundle(tiny_bundle, tmp_path / "repository")
    blob = tiny_bundle.manifest.blob.file
    assert (found.folder / blob).samefile(tiny_bundle.folder / blob)


def test_where_links_are_impossible_files_are_copied(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    assert wrap_bundle(tiny_bundle, tmp_path / "repository").manifest == tiny_bundle.manifest


def test_the_model_is_the_projects_own_file(tiny_bundle: Bundle, tmp_path: Path) -> None:
    wrap_bundle(tiny_bundle, tmp_path)
    source = Path(export.__path__[0], "triton_model.py")
    assert (tmp_path / "diffes/1/model.py").read_text() == source.read_text()


def test_the_configuration_says_every_input_and_output(tiny_bundle: Bundle) -> None:
    text = config_text(tiny_bundle, Hosting())
    declared = re.findall(r'name: "(\w+)" data_type: (\w+) dims: (\[.*?\])', text)
    assert declared == [
        ("operation", "TYPE_UINT8", "[-1]"),
        ("bundle", "TYPE_UINT8", "[-1]"),
        ("subgraph", "TYPE_UINT8", "[-1]"),
        ("timesteps", "TYPE_FP32", "[-1]"),
        ("labels", "TYPE_INT64", "[-1]"),
        ("latents", "TYPE_FP32", "[-1, 3, 8, 8]"),
        ("modulation", "TYPE_FP32", "[-1, 2, 6, 32]"),
        ("final_modulation", "TYPE_FP32", "[-1, 2, 32]"),
        ("description", "TYPE_UINT8", "[-1]"),
        ("modulation", "TYPE_FP32", "[-1, 2, 6, 32]"),
        ("final_modulation", "TYPE_FP32", "[-1, 2, 32]"),
        ("prediction", "TYPE_FP32", "[-1, 3, 8, 8]"),
        ("images", "TYPE_FP32", "[-1, 3, 8, 8]"),
    ]


def test_the_configuration_asks_for_one_process_however_many_stages(tiny_bundle: Bundle) -> None:
    text = config_text(tiny_bundle, Hosting())
    assert text.count("count:") == 1
    assert "{ kind: KIND_CPU count: 1 }" in text


def test_parameters_are_quoted(tiny_bundle: Bundle) -> None:
    text = config_text(tiny_bundle, Hosting(backend="torch", device="cuda:1", python_path='a"b\\c'))
    assert r'{ key: "python_path" value: { string_value: "a\"b\\c" } }' in text
    assert '{ key: "device" value: { string_value: "cuda:1" } }' in text


def test_other_models_of_a_repository_stay(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "resnet").mkdir()
    wrap_bundle(tiny_bundle, tmp_path)
    wrap_bundle(tiny_bundle, tmp_path, model="second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["diffes", "resnet", "second"]


def test_a_model_is_replaced_only_if_asked(tiny_bundle: Bundle, tmp_path: Path) -> None:
    wrap_bundle(tiny_bundle, tmp_path)
    with pytest.raises(BundleError, match="holds a bundle"):
        wrap_bundle(tiny_bundle, tmp_path)
    wrap_bundle(tiny_bundle, tmp_path, hosting=Hosting(threads="3"), overwrite=True)
    assert 'key: "threads" value: { string_value: "3" }' in (tmp_path / "diffes/config.pbtxt").read_text()


def test_a_model_that_is_not_ours_is_never_replaced(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "diffes").mkdir()
    (tmp_path / "diffes/config.pbtxt").write_text('backend: "onnxruntime"')
    with pytest.raises(BundleError, match="is no bundle"):
        wrap_bundle(tiny_bundle, tmp_path, overwrite=True)


def test_a_bundles_folder_is_no_repository(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no place for a Triton repository.*found a bundle"):
        wrap_bundle(tiny_bundle, tiny_bundle.folder)


def test_a_model_folder_becomes_a_repository(tiny_model_folder: Path, tmp_path: Path) -> None:
    request = ExportRequest(tiny_model_folder, ("dense",), tmp_path / "repository", target="triton")
    found = run_export(request)
    assert found.folder == bundle_folder(tmp_path / "repository")
    assert Bundle.open(found.folder).default == "dense"
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


def test_a_bundle_becomes_a_repository(tiny_bundle: Bundle, tmp_path: Path) -> None:
    found = run_export(ExportRequest(tiny_bundle.folder, (), tmp_path, target="triton"))
    assert found.manifest == tiny_bundle.manifest


def test_a_damaged_bundle_is_refused_and_leaves_nothing(tiny_bundle: Bundle, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / MANIFEST).write_text((tiny_bundle.folder / MANIFEST).read_text())
    with pytest.raises(BundleError, match="is missing"):
        run_export(ExportRequest(broken, (), tmp_path / "repository", target="triton"))
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"target": "abacus"}, "invalid target: expected one of bundle, triton, found abacus"),
        ({"target": "bundle"}, "invalid target: expected another than bundle"),
        ({"schedules": ("dense",)}, "invalid schedule: expected nothing: .* is a bundle"),
        ({"compensation": "full"}, "invalid compensation: expected nothing"),
    ],
)
def test_what_makes_no_sense_for_a_bundle_is_refused(
    tiny_bundle: Bundle, tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    asked: dict[str, object] = {"schedules": (), "target": "triton"} | change
    with pytest.raises(InvalidInput, match=complaint):
        run_export(ExportRequest(model=tiny_bundle.folder, out=tmp_path / "out", **asked))  # type: ignore[arg-type]


def test_a_model_needs_a_schedule(tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="invalid schedule: expected at least one, found none"):
        run_export(ExportRequest(tiny_model_folder, (), tmp_path / "out"))
