from pathlib import Path

import torch

from diffes.prompts import Prompts, Rows
from search.distributed.teachers import load_teacher, save_teacher
from search.fitness import Distance


def branches(prompts: Prompts) -> tuple[Rows, Rows]:
    return prompts.wanted, prompts.unwanted


def test_a_teacher_comes_back_bit_for_bit(distance: Distance, tmp_path: Path) -> None:
    teacher = distance.rows(slice(1, 3)).teacher
    save_teacher(teacher, tmp_path / "teacher.safetensors")
    read = load_teacher(tmp_path / "teacher.safetensors", torch.device("cpu"))
    assert len(read.prompts) == 2
    for found, kept in zip(branches(read.prompts), branches(teacher.prompts), strict=True):
        assert found.keys() == kept.keys()
        assert all(torch.equal(found[name], rows) for name, rows in kept.items())
    assert torch.equal(read.final, teacher.final)
    assert list(read.states) == list(teacher.states)
    for index, state in teacher.states.items():
        assert read.states[index].index == state.index
        assert torch.equal(read.states[index].latents, state.latents)
        assert torch.equal(read.states[index].clean, state.clean)
