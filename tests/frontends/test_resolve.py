"""A name becomes a task by its looks."""

import pytest
import torch
from safetensors.torch import save_file

from featherweight.errors import TaskError
from featherweight.frontends.resolve import read_task

SOURCE = """
from torch import nn, zeros
from featherweight.core.task import Task
def task(seed=0, width=2):
    return Task(model=nn.Linear(width, 1), example=zeros(1, width), name=f"seed {seed}")
"""


def test_a_python_file_and_a_checkpoint(tmp_path):
    (tmp_path / "own.py").write_text(SOURCE)
    save_file({"w": torch.ones(2)}, tmp_path / "own.safetensors")
    assert read_task(f"{tmp_path / 'own.py'}:task", {"width": 5}, seed=7).name == "seed 7"
    assert list(read_task(str(tmp_path / "own.safetensors"), seed=7).build().state_dict()) == ["w"]


def test_what_looks_like_nothing_is_told_what_there_is():
    with pytest.raises(TaskError, match=r"model\.pt.*file\.py:callable.*weights\.safetensors"):
        read_task("model.pt")
