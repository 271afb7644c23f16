"""A Triton kernel for attention over few tokens with heads of any size.

Tensor cores multiply powers of two, and libraries pad a head of 72 to 96 or 128. Here a head is cut in two, 64 + 8,
and only the second part is padded, to 16.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_LOG2_E = 1.4426950408889634
_LEAST = 16  # the shortest side of a product on tensor cores


@triton.jit
def _attention_rows(  # type: ignore[no-untyped-def]  # noqa: PLR0915 - one loop, its parts need all of it
    qkv,
    bias,
    out,
    tokens,
    heads,
    scale,
    HEAD: tl.constexpr,
    MAIN: tl.constexpr,
    REST: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    BIASED: tl.constexpr,
):
    image = (tl.program_id(1) // heads).to(tl.int64)
    head = tl.program_id(1) % heads
    stride = heads * 3 * HEAD
    start = qkv + image * tokens * stride + head * 3 * HEAD
    row = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    main = tl.arange(0, MAIN)
    rest = MAIN + tl.arange(0, REST if REST else 1)
    inside = row[:, None] < tokens
    query = tl.load(start + row[:, None] * stride + main[None, :], mask=inside, other=0.0)
    bias += head * 3 * HEAD
    if BIASED:  # a key's bias adds the same to all scores of a query, which softmax does not see
        query += tl.load(bias + main)[None, :]
    if REST:
        query_rest = tl.load(
            start + row[:, None] * stride + rest[None, :], mask=inside & (rest[None, :] < HEAD), other=0.0
        )
        if BIASED:
            query_rest += tl.load(bias + rest, mask=rest < HEAD, other=0.0)[None, :]
        rest_sum = tl.zeros((QUERIES, REST), dtype=tl.float32)
    main_sum = tl.zeros((QUERIES, MAIN), dtype=tl.float32)
    largest = tl.full((QUERIES,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((QUERIES,), dtype=tl.float32)
    for first in range(0, tokens, KEYS):
        key = first + tl.arange(0, KEYS)
        at = start + HEAD + key[None, :] * stride
        there = key[None, :] < tokens
        score = tl.dot(query, tl.load(at + main[:, None], mask=there, other=0.0))
        if REST:
            keys_rest = tl.load(at + rest[:, None], mask=there & (rest[:, None] < HEAD), other=0.0)
            score = tl.dot(query_rest, keys_rest, score)
        score = tl.where(there, score * scale, float("-inf"))
        new_largest = tl.maximum(largest, tl.max(score, axis=1))
        weight = tl.exp2(score - new_largest[:, None])
        shrink = tl.exp2(largest - new_largest)
        total = total * shrink + tl.sum(weight, axis=1)
        largest = new_largest
        weight = weight.to(qkv.dtype.element_ty)
        at = start + 2 * HEAD + key[:, None] * stride
        there = key[:, None] < tokens
        main_sum = tl.dot(weight, tl.load(at + main[None, :], mask=there, other=0.0), main_sum * shrink[:, None])
        if REST:
            values_rest = tl.load(at + rest[None, :], mask=there & (rest[None, :] < HEAD), other=0.0)
            rest_sum = tl.dot(weight, values_rest, rest_sum * shrink[:, None])
    place = out + (image * tokens + row[:, None]) * heads * HEAD + head * HEAD
    bias += 2 * HEAD
    main_mean = main_sum / total[:, None]
    if BIASED:  # weights add up to 1, so that a value's bias is added to their mean
        main_mean += tl.load(bias + main).to(tl.float32)[None, :]
    tl.store(place + main[None, :], main_mean.to(out.dtype.element_ty), mask=inside)
    if REST:
        rest_mean = rest_sum / total[:, None]
        if BIASED:
            rest_mean += tl.load(bias + rest, mask=rest < HEAD, other=0.0).to(tl.float32)[None, :]
        tl.store(place + rest[None, :], rest_mean.to(out.dtype.element_ty), mask=inside & (rest[None, :] < HEAD))


def self_attention(
    qkv: Tensor,
    images: tuple[int, int],
    head_dim: int,
    *,
    tile: tuple[int, int, int] = (128, 64, 4),
    bias: Tensor | None = None,
    into: Tensor | None = None,
) -> Tensor:
    """plain.self_attention of 16-bit numbers; `tile`: rows a program, keys at a time, warps.

    `bias` [heads*3*d] is still to be added to qkv. `into` [B*tokens, heads*d] is written, if it is there already.
    """
    rows, tokens = images
    qkv = qkv.contiguous()
    heads = qkv.shape[1] // (3 * head_dim)
    out = qkv.new_empty(rows * tokens, heads * head_dim) if into is None else into
    main = 1 << (head_dim.bit_length() - 1)
    rest = 0 if main == head_dim else max(_LEAST, triton.next_power_of_2(head_dim - main))
    queries, keys, warps = tile
    with torch.cuda.device(qkv.device if qkv.is_cuda else -1):
        _attention_rows[(triton.cdiv(tokens, queries), rows * heads)](
            qkv,
            qkv if bias is None else bias,
            out,
            tokens,
            heads,
            head_dim**-0.5 * _LOG2_E,
            HEAD=head_dim,
            MAIN=main,
            REST=rest,
            QUERIES=queries,
            KEYS=keys,
            BIASED=bias is not None,
            num_warps=warps,
        )
    return out
