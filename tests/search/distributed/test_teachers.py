from pathlib import Path

import torch

from search.distributed.teachers import load_teacher, save_teacher
from search.fitness import Distance


def test_a_teacher_comes_back_bit_for_bit(distance: Distance, tmp_path: Path) -> None:
    teacher = distance.rows(slice(1, 3)).teacher
    save_teacher(teacher, tmp_path / "teacher.safetensors")
    read = load_teacher(tmp_path / "teacher.safetensors", torch.device("cpu"))
    assert torch.equal(read.labels, teacher.labels)
    assert torch.equal(read.final, teacher.final)
    assert list(read.states) == list(teacher.states)
    for index, state in teacher.states.items():
        assert read.states[index].index == state.index
        assert torch.equal(read.states[index].latents, state.latents)
        assert torch.equal(read.states[index].clean, state.clean)
