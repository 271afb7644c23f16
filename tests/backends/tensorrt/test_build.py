"""Engines are really built, without a GPU: weights are inputs of them, and none is inside."""

import dataclasses
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from diffes.backends.tensorrt.build import build, prepare
from diffes.backends.tensorrt.package import Package
from diffes.backends.tensorrt.profiles import EngineSpec, engine_specs
from diffes.bundle import Bundle
from diffes.errors import BackendError
from diffes.manifest import Graph

Specs = tuple[EngineSpec, EngineSpec]


def with_constants(bundle: Bundle, graph: Graph, network: Path, out: Path) -> Path:
    """The network with a graph's weights inside, as an exporter that knows nothing of prefixes would write it."""
    model = onnx.load(network)
    for name in graph.prefixes:
        value = next(value for value in model.graph.input if value.name == name)
        model.graph.input.remove(value)
        tensor = bundle.weights(graph)[name.removeprefix("weights.")].contiguous()
        model.graph.initializer.append(numpy_helper.from_array(tensor.numpy(), name))
    out.write_bytes(model.SerializeToString())
    return out


def samples(bundle: Bundle, graph: Graph) -> dict[str, bytes]:
    """Bytes in the middle of every matrix: what a copy of it would hold somewhere."""
    found = {}
    for name, tensor in bundle.weights(graph).items():
        data = tensor.contiguous().numpy().tobytes()
        if len(data) >= 1024:
            found[name] = data[len(data) // 2 :][:64]
    return found


@pytest.fixture(scope="module")
def two_widths(specs: Specs, tiny_bundle: Bundle) -> EngineSpec:
    """The dense plan and one of fewer heads and channels, at 2 rows."""
    plans = {subgraph.plan: subgraph.file for subgraph in tiny_bundle.manifest.subgraphs}
    dense = tiny_bundle.architecture.dense
    pruned = next(plan for plan in plans if plan[0].heads < dense[0].heads and plan[0].channels < dense[0].channels)
    at_two = {profile.graph: profile for profile in specs[0].profiles if profile.rows == 2}
    return dataclasses.replace(specs[0], profiles=(at_two[plans[dense]], at_two[plans[pruned]]))


@pytest.fixture(scope="module")
def plan(rtx: Package, two_widths: EngineSpec) -> bytes:
    """Their engine."""
    return build(rtx, two_widths)


def test_every_weight_is_an_input_of_the_network_free_where_levels_cut(
    rtx: Package, two_widths: EngineSpec, tiny_bundle: Bundle
) -> None:
    network = prepare(rtx, two_widths).network
    inputs = {network.get_input(i).name: tuple(network.get_input(i).shape) for i in range(network.num_inputs)}
    dense = tiny_bundle.manifest.subgraphs[0]
    assert set(inputs) == {*dense.prefixes, "latents", "modulation", "final_modulation"}
    assert inputs["weights.blocks.0.qkv.weight"] == (-1, 32)
    assert inputs["weights.blocks.1.fc1.bias"] == (-1,)
    assert inputs["weights.blocks.1.fc2.bias"] == (32,)
    assert inputs["latents"] == (-1, 3, 8, 8)


def test_profiles_are_one_width_each(rtx: Package, two_widths: EngineSpec) -> None:
    prepared = prepare(rtx, two_widths)
    assert prepared.config.num_optimization_profiles == 2
    widths = []
    for wanted, made in zip(two_widths.profiles, prepared.profiles, strict=True):
        for name, shape in wanted.shapes:
            assert [tuple(dims) for dims in made.get_shape(name)] == [shape] * 3
        widths.append(dict(wanted.shapes)["weights.blocks.0.fc1.weight"])
    assert widths[0] != widths[1]


def test_float32_is_not_rounded_to_tf32(rtx: Package, two_widths: EngineSpec) -> None:
    assert not prepare(rtx, two_widths).config.get_flag(rtx.module.BuilderFlag.TF32)


def test_no_weight_is_in_an_engine(plan: bytes, tiny_bundle: Bundle) -> None:
    dense = tiny_bundle.manifest.subgraphs[0]
    assert len(samples(tiny_bundle, dense)) >= 9
    assert [name for name, data in samples(tiny_bundle, dense).items() if data in plan] == []


def test_an_engine_of_the_same_graph_with_constants_holds_them(
    rtx: Package, two_widths: EngineSpec, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    dense = tiny_bundle.manifest.subgraphs[0]
    network = with_constants(tiny_bundle, dense, two_widths.network, tmp_path / "constants.onnx")
    data = dict(two_widths.profiles[0].shapes)
    shapes = tuple((name, shape) for name, shape in data.items() if name not in dense.prefixes)
    profile = dataclasses.replace(two_widths.profiles[0], shapes=shapes)
    constant = build(rtx, EngineSpec(network, "0" * 64, (profile,)))
    held = [name for name, part in samples(tiny_bundle, dense).items() if part in constant]
    assert "blocks.0.fc1.weight" in held


def test_the_condition_is_an_engine_too(rtx: Package, specs: Specs) -> None:
    seen: list[tuple[str, float]] = []
    assert len(build(rtx, specs[1], lambda phase, share: seen.append((phase, share)))) > 10_000
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert {phase for phase, _ in seen} == {f"building {specs[1].network.name}"}


class TestRefusals:
    """What the parser or the builder does not take is said in its own words."""

    def edited(self, spec: EngineSpec, out: Path, operator: str) -> EngineSpec:
        model = onnx.load(spec.network)
        model.graph.node[-1].op_type = operator
        out.write_bytes(model.SerializeToString())
        return dataclasses.replace(spec, network=out)

    def test_an_operator_the_parser_does_not_know(self, rtx: Package, specs: Specs, tmp_path: Path) -> None:
        spec = self.edited(specs[1], tmp_path / "n.onnx", "Nonsense")
        with pytest.raises(BackendError, match=rf"{rtx.version} cannot read n\.onnx: .*found .*Nonsense"):
            build(rtx, spec)

    def test_a_file_that_is_no_onnx(self, rtx: Package, specs: Specs, tmp_path: Path) -> None:
        (tmp_path / "n.onnx").write_bytes(b"nothing")
        with pytest.raises(BackendError, match=r"cannot read n\.onnx"):
            build(rtx, dataclasses.replace(specs[1], network=tmp_path / "n.onnx"))

    def test_a_profile_that_leaves_an_axis_open(self, rtx: Package, specs: Specs) -> None:
        profile = dataclasses.replace(specs[1].profiles[0], shapes=(("timesteps", (2,)),))
        with pytest.raises(BackendError, match=r"cannot build .*found .*labels"):
            build(rtx, dataclasses.replace(specs[1], profiles=(profile,)))

    def test_a_profile_whose_widths_do_not_fit_each_other(self, rtx: Package, specs: Specs) -> None:
        wanted = specs[0].profiles[0]
        shapes = tuple((n, (7, 32) if n == "weights.blocks.0.fc2.weight" else s) for n, s in wanted.shapes)
        with pytest.raises(BackendError, match="cannot build"):
            build(rtx, dataclasses.replace(specs[0], profiles=(dataclasses.replace(wanted, shapes=shapes),)))

    def test_a_profile_of_another_rank(self, rtx: Package, specs: Specs) -> None:
        shapes = (("timesteps", (2,)), ("labels", (2, 2)))
        profile = dataclasses.replace(specs[1].profiles[0], shapes=shapes)
        with pytest.raises(BackendError, match="labels has 1 dimensions"):
            build(rtx, dataclasses.replace(specs[1], profiles=(profile,)))


def test_a_vae_decoder_can_be_built(rtx: Package, latent_bundle: Bundle) -> None:
    spec = next(s for s in engine_specs(latent_bundle, (2,)) if s.profiles[0].graph == "decode.onnx")
    assert [profile.rows for profile in spec.profiles] == [1, 2]
    assert len(build(rtx, spec)) > 10_000


def test_a_unets_engine_has_a_profile_for_every_size(rtx: Package, tiny_sdxl_sized: Bundle) -> None:
    (dense,) = (subgraph.file for subgraph in tiny_sdxl_sized.manifest.subgraphs)
    spec = next(s for s in engine_specs(tiny_sdxl_sized, (2,)) if s.profiles[0].graph == dense)
    prepared = prepare(rtx, spec)
    shapes = [[tuple(each) for each in profile.get_shape("latents")] for profile in prepared.profiles]

    assert shapes == [[(2, 4, *sides)] * 3 for sides in ((8, 8), (8, 12), (16, 8))]
    assert len(build(rtx, spec)) > 10_000
