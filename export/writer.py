"""Write pieces as ONNX files beside the blob: one trace per topology, one small file per piece."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

import onnx

from diffes.blob import Blob, Entry
from diffes.files import sha256_of
from diffes.graphs import tensor_specs
from diffes.manifest import WEIGHTS, Graph
from export import contrib
from export.pieces import Piece
from export.placement import place
from export.rewrite import merge_equal_nodes, use_stored_layouts
from export.thinning import thinned
from export.trace import TRACED_ROWS, trace
from export.verify import verify_graph

Progress = Callable[[str, float], None]  # what is being done, and the share done

BLOB = "weights.safetensors"
VERIFIED_ROWS = 3  # not the traced number: the row axis must be free


def write_graphs(
    folder: Path, pieces: Sequence[Piece], *, verify: bool, progress: Progress
) -> tuple[dict[str, Graph], float | None]:
    """Write every piece beside the blob in `folder`.

    Returns the graphs by file name and the largest difference from torch that verification saw (None: not asked).
    """
    blob = Blob(folder / BLOB)
    graphs: dict[str, Graph] = {}
    worst = 0.0
    for done, piece in enumerate(pieces, 1):
        graphs[piece.file] = _write(folder, piece, blob.entries)
        if verify:
            inputs = piece.inputs(VERIFIED_ROWS)
            worst = max(worst, verify_graph(folder / piece.file, piece.module, inputs, piece.prefixes, blob))
        progress("writing graphs", done / len(pieces))
    return graphs, worst if verify else None


# by topology; a trace takes seconds, of a large model minutes, and holds no weights
_traces: dict[Hashable, onnx.ModelProto] = {}
_templates: dict[Hashable, onnx.ModelProto] = {}


def traced(piece: Piece) -> onnx.ModelProto:
    """The piece's graph, in ONNX's own operators."""
    if piece.topology not in _traces:
        model = trace(piece.traced, piece.inputs(TRACED_ROWS), piece.outputs, sides=piece.sides)
        merge_equal_nodes(model)
        _traces[piece.topology] = model
    return _cut(_traces[piece.topology], piece)


def _template(piece: Piece) -> onnx.ModelProto:
    """The same in ONNX Runtime's operators, which read weights as they are stored."""
    if piece.topology not in _templates:
        model = trace(piece.traced, piece.inputs(TRACED_ROWS), piece.outputs, contrib, piece.sides)
        use_stored_layouts(model)
        merge_equal_nodes(model)
        _templates[piece.topology] = model
    return _cut(_templates[piece.topology], piece)


def _cut(graph: onnx.ModelProto, piece: Piece) -> onnx.ModelProto:
    """The graph of a whole, cut to what the piece has of its weights."""
    if piece.whole is None:
        return graph
    weights = {tensor.name for tensor in graph.graph.initializer if tensor.name.startswith(WEIGHTS)}
    return thinned(graph, weights.difference(piece.prefixes))


def _write(folder: Path, piece: Piece, entries: Mapping[str, Entry]) -> Graph:
    model = place(_template(piece), piece.prefixes, entries, BLOB)
    path = folder / piece.file
    path.write_bytes(model.SerializeToString(deterministic=True))
    return Graph(
        file=piece.file,
        sha256=sha256_of(path),
        inputs=tensor_specs(model.graph.input),
        outputs=tensor_specs(model.graph.output),
        prefixes=piece.prefixes,
    )
