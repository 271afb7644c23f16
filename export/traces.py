"""Pieces' graphs as traced: once a topology, and kept, since a trace takes seconds and of a large model minutes.

They lie in `traces` of the cache folder, without weights, each named by a digest of everything that it depends on:
topology, operators, the code of Diffes, and the packages that trace. So none is ever stale, and an export of the same
model by another schedule traces nothing.
"""

import logging
from collections.abc import Hashable
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import onnx

import diffes
import export
from diffes.files import atomic_path, cache_folder
from diffes.kernels import plain
from diffes.manifest import WEIGHTS
from export import contrib
from export.pieces import Piece
from export.rewrite import merge_equal_nodes, use_stored_layouts
from export.thinning import thinned
from export.trace import TRACED_ROWS, trace

_TRACERS = ("torch", "onnx", "onnx-ir", "onnxscript", "diffusers", "transformers")

logger = logging.getLogger(__name__)
_known: dict[str, onnx.ModelProto] = {}  # of this process, by name


def own_graph(piece: Piece) -> onnx.ModelProto:
    """The piece's graph, in ONNX's own operators."""
    return _cut(_traced(piece, plain), piece)


def runtime_graph(piece: Piece) -> onnx.ModelProto:
    """The same in ONNX Runtime's operators, which read weights as they are stored."""
    return _cut(_traced(piece, contrib), piece)


def name_of(topology: Hashable, operators: ModuleType) -> str:
    """Of a trace: a digest of everything it depends on."""
    key = [repr(topology), operators.__name__, _code(), *(f"{name} {version(name)}" for name in _TRACERS)]
    return sha256("\n".join(key).encode()).hexdigest()[:16]


@cache
def _code() -> str:
    """Digest of every module that may have a say in a trace."""
    digest = sha256()
    for package in (diffes, export):
        for folder in map(Path, package.__path__):
            for path in sorted(folder.rglob("*.py")):
                digest.update(path.relative_to(folder).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _traced(piece: Piece, operators: ModuleType) -> onnx.ModelProto:
    name = name_of(piece.topology, operators)
    if name not in _known:
        path = cache_folder() / "traces" / name
        found = _read(path)
        if found is None:
            found = _trace(piece, operators)
            _keep(path, found.SerializeToString(deterministic=True))
        _known[name] = found
    return _known[name]


def _trace(piece: Piece, operators: ModuleType) -> onnx.ModelProto:
    model = trace(piece.traced, piece.inputs(TRACED_ROWS), piece.outputs, operators, piece.sides)
    if operators is contrib:
        use_stored_layouts(model)
    merge_equal_nodes(model)
    return model


def _cut(graph: onnx.ModelProto, piece: Piece) -> onnx.ModelProto:
    """The graph of a whole, cut to what the piece has of its weights."""
    if piece.whole is None:
        return graph
    weights = {tensor.name for tensor in graph.graph.initializer if tensor.name.startswith(WEIGHTS)}
    return thinned(graph, weights.difference(piece.prefixes))


def _read(path: Path) -> onnx.ModelProto | None:
    """What was kept, if it is whole: behind the SHA-256 of the rest."""
    try:
        written = path.read_bytes()
        if sha256(written[32:]).digest() != written[:32]:
            raise ValueError(f"{path} is damaged")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s; tracing again", error)
        return None
    model: onnx.ModelProto = onnx.ModelProto.FromString(written[32:])
    return model


def _keep(path: Path, content: bytes) -> None:
    """A trace that cannot be kept has been made all the same."""
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(sha256(content).digest() + content)
    except OSError as error:
        logger.warning("a trace could not be kept, so that the next export will trace again: %s", error)
