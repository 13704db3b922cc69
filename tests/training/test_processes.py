"""The loop on two processes, started as `accelerate launch` starts them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import sys, torch
from torch import nn
from featherweight.core.context import Finetuning
from featherweight.core.task import Task, Training
from featherweight.training.constraints import constrain
from featherweight.training.context import TaskContext
from tests.training.conftest import Mask

torch.manual_seed(0)
x, y = torch.randn(256, 8), torch.randint(3, (256,))
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
constrain(model, {"0.weight": Mask(torch.rand(16, 8) > 0.5)})
training = Training(optimizer="sgd", batch_size=32)
context = TaskContext(Task(model=model, example=x[:1], train=(x, y), training=training))
context.finetune(model, Finetuning(epochs=3, learning_rate=0.1))
torch.save(model.state_dict(), sys.argv[1])
"""


def run(path: Path, **environment: str) -> subprocess.Popen[bytes]:
    tree = Path(__file__).parents[2]
    surroundings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree)} | environment
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], env=surroundings)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    processes = [run(tmp_path / "alone")]
    processes += [run(tmp_path / str(rank), RANK=str(rank), LOCAL_RANK=str(rank), **together) for rank in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0, 0]
    alone, first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("alone", "0", "1"))
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name], weight, atol=1e-5)
        assert torch.equal(first[name] == 0, weight == 0)
