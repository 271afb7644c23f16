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

from diffes.kernels import attention, norms, products

_TARGET = GPUTarget("cuda", 90, 32)
_HALF = "*bf16"


def compiled(
    kernel: Any,
    types: Mapping[str, str],
    constants: Mapping[str, object],
    *,
    warps: int,
    stages: int = 3,
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
    made = triton.compile(source, target=_TARGET, options={"num_warps": warps, "num_stages": stages})
    text = made.asm["ptx"]
    return {
        "shared": made.metadata.shared,
        "products": text.count("wgmma.mma_async"),
        "copies": text.count("cp.async.c") + text.count("cp.async.bulk.tensor"),
        "spills": text.count("st.local"),
    }


def product(tiling: products.Tiling, *, turned: bool) -> dict[str, int]:
    """A product with bias and GELU, of sizes that are multiples of 16."""
    sizes = dict.fromkeys(("M", "N", "K", "steps_of_part"), "i32")
    constants: dict[str, object] = {
        "ROWS": tiling.rows,
        "COLUMNS": tiling.columns,
        "DEPTH": tiling.depth,
        "GROUP": 8,
        "BIAS": True,
        "GELU": True,
    }
    options: dict[str, Any] = {"warps": tiling.warps, "stages": tiling.stages}
    if tiling.programs:
        block = (tiling.columns, tiling.depth) if turned else (tiling.depth, tiling.columns)
        types = {
            "x": f"tensordesc<bf16[{tiling.rows}, {tiling.depth}]>",
            "weight": f"tensordesc<bf16[{block[0]}, {block[1]}]>",
            "parts": "i32",
        }
        types |= {"bias": _HALF, "out": _HALF, **sizes}
        constants["TURNED"] = turned
        return compiled(products._product_tiles, types, constants, multiples_of_16=("M", "N", "K"), **options)
    strides = ["x_stride", "weight_k_stride", "weight_n_stride"]
    near = strides.pop(1 if turned else 2)  # Triton takes a stride of 1 for a constant
    types = {"x": _HALF, "weight": _HALF, "bias": _HALF, "out": _HALF, **sizes, **dict.fromkeys(strides, "i32")}
    constants[near] = 1
    return compiled(products._product_tile, types, constants, multiples_of_16=("M", "N", "K", *strides), **options)


def self_attention(queries: int, keys: int, warps: int) -> dict[str, int]:
    """With heads of 72."""
    types = {"qkv": _HALF, "out": _HALF, "tokens": "i32", "heads": "i32", "scale": "fp32"}
    constants = {"HEAD": 72, "MAIN": 64, "REST": 16, "QUERIES": queries, "KEYS": keys}
    return compiled(attention._attention_rows, types, constants, warps=warps, multiples_of_16=("tokens", "heads"))


def gated_norm() -> dict[str, int]:
    """Of rows of 1,152 and a product in four parts."""
    pointers = dict.fromkeys(("x", "gate", "offset", "scale", "shift", "out", "normed"), _HALF)
    strides = dict.fromkeys((f"{name}_stride" for name in ("gate", "offset", "part", "scale", "shift")), "i32")
    types = {**pointers, "parts": "*fp32", "tokens": "i32", "width": "i32", **strides, "eps": "fp32"}
    constants = {"PARTS": 4, "BLOCK": 2048}
    return compiled(norms._gated_norm_row, types, constants, warps=4, multiples_of_16=("tokens", "width", *strides))


def main() -> None:
    """Compile and print."""
    found = {"gated_norm": gated_norm()}
    found |= {f"attention {shape}": self_attention(*shape) for shape in ((128, 64, 4), (64, 128, 4))}
    for number, tiling in enumerate(products.tilings((16384, 4608, 1152), 132, split=False)):
        turned = number % 4 < 2  # of each kind of tile one layout in either kernel
        found[f"product {tiling} {'turned' if turned else 'straight'}"] = product(tiling, turned=turned)
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
