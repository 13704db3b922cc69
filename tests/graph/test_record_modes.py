"""The modes: what the network's code asks of tensors gets an answer that knows its origin."""

import torch
from torch import nn
from torch.nn import functional as F

from featherweight.graph._record_named import Named
from featherweight.graph.origins import Operation, Size
from featherweight.graph.record import record


def seen(code, x):
    """What `code` gives for the input while it is recorded."""
    found = []

    class Model(nn.Module):
        def forward(self, x):
            found.append(code(x))
            return x + 1

    record(Model(), x)
    return found[0]


def test_sizes_know_their_tensor_and_dimension():
    x = torch.randn(2, 3, 4)
    shape, size, last, middle, first = seen(lambda x: (x.shape, x.size(), x.size(-1), x.size(dim=1), x.shape[0]), x)
    assert type(shape) is type(size) is torch.Size
    assert [item.expr.dim for item in (*shape, *size, last, middle, first)] == [0, 1, 2, 0, 1, 2, 2, 1, 0]
    assert (last, middle, first) == (4, 3, 2)
    assert {item.expr.value for item in (*shape, last)} == {shape[0].expr.value}


def test_counts_are_products_of_sizes():
    counts = seen(lambda x: (x.numel(), x.nelement(), torch.numel(x), x.dim(), len(x)), torch.randn(2, 3))
    assert counts == (6, 6, 6, 2, 2)
    assert all(isinstance(item.expr, Operation) for item in counts[:3])


def test_sizes_inside_of_functions_in_python_are_known():
    def code(x):
        return F.fold(F.unfold(x, x.shape[1]), x.shape[-2:], x.shape[1]).shape[-1]

    found = seen(code, torch.randn(1, 2, 4, 4))
    assert isinstance(found, Named)
    assert isinstance(found.expr, Size)


def test_methods_that_torch_wraps_in_python_are_run_once():
    x = torch.randn(2, 6)
    assert seen(lambda x: x.unflatten(1, (x.shape[0], 3)), x).shape == (2, 2, 3)
    assert seen(lambda x: x.norm(), x) == x.norm()


def test_batched_tensors_of_functorch_have_plain_sizes():
    found = seen(lambda x: torch.vmap(lambda row: row * row.shape[0])(x), torch.ones(2, 3))
    assert torch.equal(found, torch.full((2, 3), 3.0))


def test_functions_of_torch_that_hand_themselves_on_are_run_once():
    rows, columns = seen(lambda x: torch.meshgrid(x[0], x[1], indexing="ij"), torch.arange(6.0).view(2, 3))
    assert torch.equal(rows, torch.tensor([[0.0] * 3, [1.0] * 3, [2.0] * 3]))
    assert torch.equal(columns, torch.tensor([[3.0, 4.0, 5.0]] * 3))
