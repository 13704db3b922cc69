"""What every network must do: trace, go through the plain form and come back as the same function."""

import pytest
import torch

from featherweight.graph.module import tensors_of, to_module
from featherweight.graph.plain import from_plain, to_plain
from featherweight.graph.trace import trace


def parameters(model):
    """How many parameters a model has."""
    return sum(item.numel() for item in model.parameters())


@pytest.fixture
def count():
    """count(model) -> number of its parameters."""
    return parameters


@pytest.fixture
def comes_back():
    """comes_back(model, example): whether the model read back from its plain graph gives equal outputs, to 1e-6."""

    def check(model, example):
        graph = trace(model, example)
        again = to_module(from_plain(to_plain(graph)), tensors_of(graph, model))
        batch = torch.cat([example, example.flip(-1), example])
        with torch.no_grad():
            torch.testing.assert_close(again(batch), model.eval()(batch), rtol=1e-6, atol=1e-6)
        names = {name for name in model.state_dict() if not name.endswith("num_batches_tracked")}
        return set(again.state_dict()) == names and graph.notes == ()

    return check
