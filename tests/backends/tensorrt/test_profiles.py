"""Profiles fix each plan's prefixes at each size of batch; rows are cut and padded to these sizes."""

import pytest

from diffes.backends.tensorrt.profiles import (
    BATCHES,
    VARIABLE,
    EngineSpec,
    batches_from,
    decoder_batches,
    engine_specs,
)
from diffes.bundle import Bundle
from diffes.errors import InvalidInput

Specs = tuple[EngineSpec, EngineSpec]


def test_all_plans_of_a_topology_share_one_engine_with_a_profile_a_plan_and_batch(
    specs: Specs, tiny_bundle: Bundle
) -> None:
    denoisers, condition = specs
    files = [subgraph.file for subgraph in tiny_bundle.manifest.subgraphs]
    assert [(p.graph, p.rows) for p in denoisers.profiles] == [(file, rows) for file in files for rows in (2, 8)]
    assert [(p.graph, p.rows) for p in condition.profiles] == [("condition.onnx", 2), ("condition.onnx", 8)]


def test_a_profile_has_the_shape_of_every_prefix_that_levels_cut(specs: Specs, tiny_bundle: Bundle) -> None:
    by_file = {subgraph.file: subgraph for subgraph in tiny_bundle.manifest.subgraphs}
    seen = set()
    for profile in specs[0].profiles:
        shapes, subgraph = dict(profile.shapes), by_file[profile.graph]
        for index, block in enumerate(subgraph.plan):
            assert shapes[f"weights.blocks.{index}.qkv.weight"] == (block.heads * 24, 32)
            assert shapes[f"weights.blocks.{index}.qkv.bias"] == (block.heads * 24,)
            assert shapes[f"weights.blocks.{index}.out.weight"] == (block.heads * 8, 32)
            assert shapes[f"weights.blocks.{index}.fc2.weight"] == (block.channels, 32)
            seen.add(block)
        assert shapes["latents"] == (profile.rows, 3, 8, 8)
        assert shapes["modulation"] == (profile.rows, 2, 6, 32)
        assert not any("bias" in name and ("out" in name or "fc2" in name) for name in shapes)  # of one shape always
    assert len(seen) > 4


def test_equal_engines_are_told_by_the_network_and_not_by_where_it_lies(specs: Specs, tiny_bundle: Bundle) -> None:
    again = engine_specs(Bundle.open(tiny_bundle.folder), (2, 8))
    assert again == specs


class TestBatches:
    """Sizes are said by a word, or by the environment."""

    def test_by_default_they_are_three(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(VARIABLE, raising=False)
        assert batches_from(None) == BATCHES == (2, 8, 32)

    def test_the_environment_says_them_where_nothing_else_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "16, 4,4")
        assert batches_from(None) == (4, 16)
        assert batches_from("6") == (6,)

    @pytest.mark.parametrize("text", ["", "2,", "0", "-2", "2.5", "two", "5000"])
    def test_anything_but_counts_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(InvalidInput, match=f"{VARIABLE}.*expected counts"):
            batches_from(text)

    def test_a_decoder_is_built_for_one_image_and_a_few(self) -> None:
        assert decoder_batches((2, 8, 32)) == (1, 2)
        assert decoder_batches((4, 16)) == (1, 4)
        assert decoder_batches((8,)) == (1,)


def test_free_sides_are_those_of_the_one_size_there_is(tiny_sdxl_bundle: Bundle) -> None:
    profiles = [profile for spec in engine_specs(tiny_sdxl_bundle, (2,)) for profile in spec.profiles]
    shapes = [dict(profile.shapes).get("latents") for profile in profiles if profile.rows == 2]
    assert (2, 4, 8, 8) in shapes
    assert {shape for shape in shapes if shape is not None} == {(2, 4, 8, 8)}


def test_what_takes_latents_has_a_profile_for_every_size(tiny_sdxl_sized: Bundle) -> None:
    profiles = [profile for spec in engine_specs(tiny_sdxl_sized, (2,)) for profile in spec.profiles]
    (dense,) = (subgraph.file for subgraph in tiny_sdxl_sized.manifest.subgraphs)
    sides = [(8, 8), (8, 12), (16, 8)]

    assert [p.sides for p in profiles if p.graph == dense] == sides
    assert [dict(p.shapes)["latents"] for p in profiles if p.graph == dense] == [(2, 4, *each) for each in sides]
    assert [p.outputs for p in profiles if p.graph == dense] == [(("prediction", (2, 4, *each)),) for each in sides]
    decoded = [dict(p.outputs)["images"] for p in profiles if p.graph == "decode.onnx" and p.rows == 2]
    assert decoded == [(2, 3, 16, 16), (2, 3, 16, 24), (2, 3, 32, 16)]
    assert [p.sides for p in profiles if p.graph in ("encode.onnx", "condition.onnx")] == [(), ()]
