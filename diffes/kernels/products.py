"""A Triton kernel for products of 16-bit matrices, for where a library's leaves the GPU idle.

A step of few rows has fewer tiles than a GPU has processors. So the sum over K may be cut into parts, which whoever
reads the product adds up on the way (norms.gated_norm); and what follows a product, a bias and GELU, is done before it
leaves the registers.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a product is cut: tiles of rows x columns, steps of `depth` along K in `parts` equal runs, warps, stages.

    With `programs` that many programs stay and take tile after tile, loading them by descriptors (Hopper's tensor
    memory accelerator); with 0 every tile has its own, which calculates addresses.
    """

    rows: int
    columns: int
    depth: int
    parts: int
    warps: int
    stages: int
    programs: int = 0

    def __str__(self) -> str:
        kept = f" {self.programs} programs" if self.programs else ""
        return f"{self.rows}x{self.columns}x{self.depth}/{self.parts} {self.warps} warps {self.stages} stages{kept}"


_TILES = (  # rows, columns, depth, warps, stages
    (128, 256, 64, 8, 3),
    (256, 128, 64, 8, 3),
    (128, 128, 64, 8, 4),
    (128, 128, 64, 4, 4),
    (128, 64, 64, 4, 4),
    (64, 128, 64, 4, 4),
    (64, 64, 64, 4, 5),
    (64, 64, 128, 4, 4),
)
_MOST_PARTS = 6
_GRAIN = 16  # bytes
_SHARED = 220 * 1024  # bytes of shared memory a block may take on the GPUs this is for


def tilings(shape: tuple[int, int, int], processors: int, *, split: bool) -> list[Tiling]:
    """Worth trying for M x N x K on a GPU of so many processors; with `split` also cut along K if tiles are few."""
    rows, columns, depth = shape
    found = []
    for tile_rows, tile_columns, step, warps, stages in _TILES:
        if (tile_rows + tile_columns) * step * 2 * stages > _SHARED:
            continue
        tiles = triton.cdiv(rows, tile_rows) * triton.cdiv(columns, tile_columns)
        steps = triton.cdiv(depth, step)
        most = min(_MOST_PARTS, steps, max(1, 2 * processors // tiles)) if split else 1
        found += [
            Tiling(tile_rows, tile_columns, step, parts, warps, stages, programs)
            for parts in range(1, most + 1)
            if triton.cdiv(steps, parts) * (parts - 1) < steps  # none has nothing to do
            for programs in ((0, min(processors, tiles * parts)) if tile_columns <= columns and step <= depth else (0,))
        ]
    return found


def describable(*matrices: Tensor) -> bool:
    """Whether descriptors can be made of matrices as they are stored: rows and starts at multiples of 16 bytes."""
    return all(
        matrix.data_ptr() % _GRAIN == 0 and max(matrix.stride()) * matrix.element_size() % _GRAIN == 0
        for matrix in matrices
    )


@triton.jit
def _place_of(tile, row_tiles, column_tiles, GROUP: tl.constexpr):  # type: ignore[no-untyped-def]
    # tiles that read the same columns run side by side, GROUP rows of tiles at a time, so that they meet in the cache
    group = tile // (GROUP * column_tiles)
    first = group * GROUP
    height = min(row_tiles - first, GROUP)
    return first + (tile % (GROUP * column_tiles)) % height, (tile % (GROUP * column_tiles)) // height


@triton.jit
def _finished(total, bias, column, N, BIAS: tl.constexpr, GELU: tl.constexpr):  # type: ignore[no-untyped-def]
    if BIAS:
        total += tl.load(bias + column, mask=column < N, other=0.0).to(tl.float32)[None, :]
    if GELU:  # its tanh form, by x * sigmoid(2 z) = x * (1 + tanh z) / 2
        total = total * tl.sigmoid(1.5957691216057308 * (total + 0.044715 * total * total * total))
    return total


@triton.jit
def _product_tile(  # type: ignore[no-untyped-def]
    x,
    weight,
    bias,
    out,
    M,
    N,
    K,
    x_stride,
    weight_k_stride,
    weight_n_stride,
    steps_of_part,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
    BIAS: tl.constexpr,
    GELU: tl.constexpr,
):
    tile = tl.program_id(0)
    part = tl.program_id(1)
    row_tile, column_tile = _place_of(tile, tl.cdiv(M, ROWS), tl.cdiv(N, COLUMNS), GROUP)
    row = row_tile * ROWS + tl.arange(0, ROWS)
    column = column_tile * COLUMNS + tl.arange(0, COLUMNS)
    k = part * steps_of_part * DEPTH + tl.arange(0, DEPTH)
    left = x + row[:, None].to(tl.int64) * x_stride + k[None, :]
    right = weight + k[:, None].to(tl.int64) * weight_k_stride + column[None, :].to(tl.int64) * weight_n_stride
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    end = min(K, (part + 1) * steps_of_part * DEPTH)
    for _ in range(part * steps_of_part * DEPTH, end, DEPTH):
        a = tl.load(left, mask=(row[:, None] < M) & (k[None, :] < K), other=0.0)
        b = tl.load(right, mask=(k[:, None] < K) & (column[None, :] < N), other=0.0)
        total = tl.dot(a, b, total)
        k += DEPTH
        left += DEPTH
        right += DEPTH * weight_k_stride
    total = _finished(total, bias, column, N, BIAS, GELU)
    place = out + part.to(tl.int64) * M * N + row[:, None].to(tl.int64) * N + column[None, :]
    tl.store(place, total.to(out.dtype.element_ty), mask=(row[:, None] < M) & (column[None, :] < N))


@triton.jit
def _product_tiles(  # type: ignore[no-untyped-def]
    x,
    weight,
    bias,
    out,
    M,
    N,
    K,
    steps_of_part,
    parts,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
    TURNED: tl.constexpr,
    BIAS: tl.constexpr,
    GELU: tl.constexpr,
):
    row_tiles = tl.cdiv(M, ROWS)
    column_tiles = tl.cdiv(N, COLUMNS)
    whole = row_tiles * column_tiles
    for work in tl.range(tl.program_id(0), whole * parts, tl.num_programs(0), flatten=True):
        part = work // whole
        row_tile, column_tile = _place_of(work % whole, row_tiles, column_tiles, GROUP)
        total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        first = part * steps_of_part
        for step in range(first, min(tl.cdiv(K, DEPTH), first + steps_of_part)):
            a = x.load([row_tile * ROWS, step * DEPTH])
            if TURNED:
                b = weight.load([column_tile * COLUMNS, step * DEPTH]).T
            else:
                b = weight.load([step * DEPTH, column_tile * COLUMNS])
            total = tl.dot(a, b, total)
        row = row_tile * ROWS + tl.arange(0, ROWS)
        column = column_tile * COLUMNS + tl.arange(0, COLUMNS)
        total = _finished(total, bias, column, N, BIAS, GELU)
        place = out + part.to(tl.int64) * M * N + row[:, None].to(tl.int64) * N + column[None, :]
        tl.store(place, total.to(out.dtype.element_ty), mask=(row[:, None] < M) & (column[None, :] < N))


def product(x: Tensor, weight: Tensor, bias: Tensor | None, tiling: Tiling, *, gelu: bool = False) -> Tensor:
    """x [M, K] @ weight [K, N] (+ bias [N]) (through GELU) → [parts, M, N], to be added up over the parts.

    One part has x's type, several are float32. Bias and GELU are of whole sums: they need a tiling of one part.
    """
    if tiling.parts > 1 and (gelu or bias is not None):
        raise ValueError(f"bias and GELU of a product in one part, found {tiling.parts}")
    x = x if x.stride(1) == 1 else x.contiguous()
    kind = x.dtype if tiling.parts == 1 else torch.float32
    out = x.new_empty(tiling.parts, len(x), weight.shape[1], dtype=kind)
    steps = triton.cdiv(triton.cdiv(len(weight), tiling.depth), tiling.parts)
    shared = {
        "ROWS": tiling.rows,
        "COLUMNS": tiling.columns,
        "DEPTH": tiling.depth,
        "GROUP": 8,
        "BIAS": bias is not None,
        "GELU": gelu,
        "num_warps": tiling.warps,
        "num_stages": tiling.stages,
    }
    launch = _launch_tiles if tiling.programs else _launch_tile
    with torch.cuda.device(x.device if x.is_cuda else -1):
        launch(x, weight, x if bias is None else bias, out, steps, tiling, shared)
    return out


def _launch_tile(
    x: Tensor, weight: Tensor, bias: Tensor, out: Tensor, steps: int, tiling: Tiling, shared: dict[str, Any]
) -> None:
    (rows, depth), columns = x.shape, weight.shape[1]
    tiles = triton.cdiv(rows, tiling.rows) * triton.cdiv(columns, tiling.columns)
    strides = x.stride(0), *weight.stride()
    _product_tile[(tiles, tiling.parts)](x, weight, bias, out, rows, columns, depth, *strides, steps, **shared)


def _launch_tiles(
    x: Tensor, weight: Tensor, bias: Tensor, out: Tensor, steps: int, tiling: Tiling, shared: dict[str, Any]
) -> None:
    (rows, depth), columns = x.shape, weight.shape[1]
    turned = weight.stride(1) != 1  # stored [N, K]
    block = [tiling.columns, tiling.depth] if turned else [tiling.depth, tiling.columns]
    described = (
        TensorDescriptor.from_tensor(x, [tiling.rows, tiling.depth]),
        TensorDescriptor.from_tensor(weight.t() if turned else weight, block),
    )
    sizes = rows, columns, depth, steps, tiling.parts
    _product_tiles[(tiling.programs,)](*described, bias, out, *sizes, TURNED=turned, **shared)
