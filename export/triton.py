"""A Triton model repository around a bundle: one Python model whose operations run every stage over one blob.

REPOSITORY/diffes/{config.pbtxt, 1/{model.py, bundle/}}. Not a model a stage: Triton gives every Python model a process
of its own, and processes would not share the blob.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from diffes.backends.remote import protocol
from diffes.bundle import Bundle
from diffes.errors import BundleError
from diffes.files import write_text_atomically
from diffes.manifest import MANIFEST, Manifest, TensorSpec
from export.folder import new_folder

CONFIG = "config.pbtxt"
VERSION = "1"


@dataclass(frozen=True, slots=True)
class Hosting:
    """Parameters of config.pbtxt: what the server runs the bundle on. `threads` empty: as many as cores."""

    backend: str = "onnxruntime"
    device: str = "cpu"
    threads: str = ""
    max_rows: str = "64"
    python_path: str = ""


def bundle_folder(repository: Path, model: str = protocol.MODEL) -> Path:
    """Where a repository keeps its bundle."""
    return repository / model / VERSION / protocol.BUNDLE_FOLDER


def wrap_bundle(
    bundle: Bundle,
    repository: Path,
    *,
    hosting: Hosting | None = None,
    model: str = protocol.MODEL,
    overwrite: bool = False,
) -> Bundle:
    """Put a bundle into a repository, hard-linked where the file system can, and open it there.

    BundleError if the repository has another model of this name, or this one and may not overwrite it.
    """
    with new_model(repository, hosting=hosting, model=model, overwrite=overwrite) as folder:
        folder.mkdir()
        names = {MANIFEST, *(name for name, _ in bundle.manifest.files)}
        for name in sorted(names):
            _link(bundle.folder / name, folder / name)
    return Bundle.open(bundle_folder(repository, model))


@contextmanager
def new_model(
    repository: Path, *, hosting: Hosting | None = None, model: str = protocol.MODEL, overwrite: bool = False
) -> Iterator[Path]:
    """Yield the folder a bundle is to be written to; the model appears around it, whole or not at all."""
    out = repository / model
    inner = Path(VERSION) / protocol.BUNDLE_FOLDER
    _check_repository(repository)
    with new_folder(out, overwrite=overwrite, mark=inner / MANIFEST) as folder:
        (folder / VERSION).mkdir()
        yield folder / inner
        bundle = Bundle.open(folder / inner)
        source = files("export").joinpath("triton_model.py").read_text(encoding="utf-8")
        write_text_atomically(folder / VERSION / "model.py", source)
        write_text_atomically(folder / CONFIG, config_text(bundle, hosting or Hosting()))


def config_text(bundle: Bundle, hosting: Hosting) -> str:
    """config.pbtxt. It names no model, so that Triton takes the folder's name and the folder may be renamed."""
    manifest = bundle.manifest
    inputs = [_text_input(name, optional=name != protocol.OPERATION) for name in protocol.TEXTS]
    inputs += [_tensor(spec, optional=True) for spec in _inputs(manifest)]
    outputs = [_field(protocol.DESCRIPTION, "TYPE_UINT8", [-1])]
    outputs += [_tensor(spec) for spec in _outputs(bundle)]
    parameters = [
        f'{{ key: "{name}" value: {{ string_value: "{_quoted(value)}" }} }}' for name, value in asdict(hosting).items()
    ]
    return "\n".join(
        [
            "# Every stage of the bundle in one model: `operation` is describe, encode, condition, denoise or decode.",
            "# operation, bundle (SHA-256 of the manifest) and subgraph are texts, as their UTF-8 bytes.",
            'backend: "python"',
            "max_batch_size: 0",
            _list("input", inputs),
            _list("output", outputs),
            "# One instance, wherever it computes: a second would load the weights a second time.",
            _list("instance_group", ["{ kind: KIND_CPU count: 1 }"]),
            "# backend and device as in `diffes serve`; threads empty: as many as cores; python_path: folders put",
            "# first on sys.path, for a server whose Python has no Diffes.",
            _list("parameters", parameters),
            "",
        ]
    )


def _inputs(manifest: Manifest) -> list[TensorSpec]:
    """Of all operations, each name once."""
    specs = [spec for graph in (*manifest.once, manifest.subgraphs[0]) for spec in graph.inputs]
    return list({spec.name: spec for spec in specs}.values())


def _outputs(bundle: Bundle) -> list[TensorSpec]:
    manifest, decode = bundle.manifest, bundle.manifest.decode.graph
    pixels = TensorSpec(name=protocol.IMAGES, dtype="float32", shape=(None, *bundle.architecture.latent_shape))
    images = (pixels,) if decode is None else decode.outputs
    return [*(spec for graph in (*manifest.once, manifest.subgraphs[0]) for spec in graph.outputs), *images]


def _tensor(spec: TensorSpec, *, optional: bool = False) -> str:
    kind = "TYPE_INT64" if spec.dtype == "int64" else "TYPE_FP32"  # between client and server, whatever the bundle's is
    return _field(spec.name, kind, [-1 if size is None else size for size in spec.shape], optional)


def _text_input(name: str, *, optional: bool) -> str:
    return _field(name, "TYPE_UINT8", [-1], optional)


def _field(name: str, kind: str, sizes: list[int], optional: bool = False) -> str:
    end = " optional: true }" if optional else " }"
    return f'{{ name: "{name}" data_type: {kind} dims: {sizes}{end}'


def _list(name: str, entries: list[str]) -> str:
    return f"{name} [\n  " + ",\n  ".join(entries) + "\n]"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _check_repository(repository: Path) -> None:
    if (repository / MANIFEST).exists() or (repository.exists() and not repository.is_dir()):
        raise BundleError(
            f"{repository} is no place for a Triton repository",
            expected="a new folder, or one of Triton models",
            found="a bundle" if repository.is_dir() else "a file",
        )


def _link(source: Path, target: Path) -> None:
    """A file of a bundle is never changed in place, so two bundles may share it."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
