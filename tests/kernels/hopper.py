"""Compiles the kernels for a Hopper GPU, which needs none, and prints what came of it as JSON.

    TRITON_INTERPRET=0 python -m tests.kernels.hopper

Run by test_hopper.py in a process of its own: where Triton interprets, it does not compile.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from diffes.kernels import advance, attention, channels_last, cuda, gating, norms

_TARGET = GPUTarget("cuda", 90, 32)
_HALF = "*bf16"


def compiled(
    kernel: Any,
    types: Mapping[str, str],
    constants: Mapping[str, object],
    *,
    warps: int,
    multiples_of_16: Sequence[str] = (),
) -> dict[str, int]:
    """Bytes of shared memory, and how often some instructions stand in the kernel."""
    names = kernel.arg_names
    aligned = [name for name, kind in types.items() if kind.startswith("*") or name in multiples_of_16]
    source = ASTSource(
        fn=kernel,
        signature={name: types.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    made = triton.compile(source, target=_TARGET, options={"num_warps": warps})
    text = made.asm["ptx"]
    return {
        "shared": made.metadata.shared,
        "products": text.count("wgmma.mma_async") + text.count("mma.sync"),
        "copies": text.count("cp.async.c") + text.count("cp.async.bulk.tensor"),
        "spills": text.count("st.local"),
    }


def self_attention(queries: int, keys: int, warps: int) -> dict[str, int]:
    """With heads of 72."""
    types = {"qkv": _HALF, "bias": _HALF, "out": _HALF, "tokens": "i32", "heads": "i32", "scale": "fp32"}
    constants = {"HEAD": 72, "MAIN": 64, "REST": 16, "QUERIES": queries, "KEYS": keys, "BIASED": True}
    return compiled(attention._attention_rows, types, constants, warps=warps, multiples_of_16=("tokens", "heads"))


def gated_norm() -> dict[str, int]:
    """Of rows of 1,152."""
    pointers = dict.fromkeys(("x", "gate", "offset", "product", "scale", "shift", "out", "normed"), _HALF)
    strides = dict.fromkeys((f"{name}_stride" for name in ("gate", "offset", "scale", "shift")), "i32")
    types = {**pointers, "tokens": "i32", "width": "i32", **strides, "eps": "fp32"}
    constants = {"GATED": True, "PRODUCT": True, "MAIN": 1024, "REST": 128, "EXACT": True}
    return compiled(
        norms._gated_norm_row,
        types,
        constants,
        warps=norms.warps_of(1152),
        multiples_of_16=("tokens", "width", *strides),
    )


def between_convolutions() -> dict[str, dict[str, int]]:
    """Of 256 channels in 32 groups, and of 512."""
    whole = {"pixels": "i32", "channels": "i32"}
    sums = whole | dict.fromkeys(("means", "squares"), "*fp32")
    scales = whole | dict.fromkeys(("centre", "scale"), "*fp32")
    found = {}
    for wide in (256, 512):
        tile = {"PIXELS": channels_last._TILE // wide, "WIDTH": wide}
        run = {"GROUP": wide // 32, "PIXELS": 8 * tile["PIXELS"], "RUNS": 32 * channels_last._ADDED // wide}
        kernels = [
            (channels_last._sum_runs, {"x": _HALF, **sums}, {"TILES": 8, **tile}),
            (
                channels_last._mean_and_scale,
                {**sums, **scales, "weight": _HALF, "runs": "i32", "eps": "fp32"},
                {**run, "WIDTH": wide // 32},
            ),
            (channels_last._apply, {**scales, **dict.fromkeys(("x", "bias", "out"), _HALF)}, {"SILU": True, **tile}),
            (
                channels_last._sum_of_three,
                {**whole, "apart": "i32", **dict.fromkeys(("x", "bias", "skip", "out"), _HALF)},
                {"SKIP": True, **tile},
            ),
            (channels_last._four_of_each, {**whole, "x": _HALF, "out": _HALF, "columns": "i32"}, tile),
        ]
        for kernel, types, constants in kernels:
            name = f"{kernel.fn.__name__}, {wide} channels"
            found[name] = compiled(
                kernel, types, constants, warps=channels_last._WARPS, multiples_of_16=("pixels", "channels")
            )
    return found


def advanced() -> dict[str, int]:
    """Of guided rows."""
    pointers = dict.fromkeys(("x", "out", "before", "coefficients", "after", "clean"), "*fp32") | {"finite": "*i8"}
    types = pointers | dict.fromkeys(("rows", "size", "stride"), "i32") | {"clip": "fp32"}
    constants = {"GUIDED": True, "CLIPPED": True, "BLOCK": advance._BLOCK}
    return compiled(advance._advance_block, types, constants, warps=4, multiples_of_16=("size",))


def gated_gelu() -> dict[str, int]:
    """Of values side by side."""
    types = {**dict.fromkeys(("hidden", "gate", "out"), _HALF), "size": "i32"}
    return compiled(gating._gated_gelu_block, types, {"BLOCK": gating._BLOCK}, warps=4, multiples_of_16=("size",))


def main() -> None:
    """Compile and print."""
    found = {"gated_norm": gated_norm(), "gated_gelu": gated_gelu(), "advance": advanced(), **between_convolutions()}
    found |= {"x".join(map(str, tile)): self_attention(*tile) for tile in cuda._ATTENTION_TILES}
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
