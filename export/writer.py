"""Write pieces as ONNX files beside the blob: one trace per topology, one small file per piece."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from diffes.blob import Blob, Entry
from diffes.files import sha256_of
from diffes.graphs import tensor_specs
from diffes.manifest import Graph
from export.pieces import Piece
from export.placement import place
from export.traces import runtime_graph
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


def _write(folder: Path, piece: Piece, entries: Mapping[str, Entry]) -> Graph:
    model = place(runtime_graph(piece), piece.prefixes, entries, BLOB)
    path = folder / piece.file
    path.write_bytes(model.SerializeToString(deterministic=True))
    return Graph(
        file=piece.file,
        sha256=sha256_of(path),
        inputs=tensor_specs(model.graph.input),
        outputs=tensor_specs(model.graph.output),
        prefixes=piece.prefixes,
    )
