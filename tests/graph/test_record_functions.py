"""Functions of torch in Python run under a mode without asking for it again; sizes know whose they are."""

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from featherweight.graph._record_functions import body_of, named_count, named_size
from featherweight.graph.origins import Operation, Size


class Listening(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.heard = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.heard.append(func)
        return func(*args, **(kwargs or {}))


def test_the_body_runs_under_a_mode_and_what_it_calls_is_heard():
    x = torch.randn(2, 3)
    with Listening() as mode:
        found = body_of(F.relu)(x, inplace=False)
    assert mode.heard == [torch.relu]
    torch.testing.assert_close(found, x.relu())


def test_defaults_and_closures_are_kept():
    x = torch.randn(2, 6)
    with Listening():
        parts = body_of(torch.Tensor.split)(x, 2, dim=1)
        power = body_of(torch.Tensor.__rpow__)(x, 2)
        norm = body_of(F.normalize)(x)
    assert [tuple(part.shape) for part in parts] == [(2, 2)] * 3
    torch.testing.assert_close(power, 2**x)
    torch.testing.assert_close(norm, F.normalize(x))


def test_functions_that_do_not_ask_have_no_body():
    assert body_of(shape_of) is None
    assert body_of(F.max_pool1d) is None


def shape_of(x):
    return x.shape


def test_sizes_are_torch_sizes_of_named_integers():
    size = named_size(5, (2, 3))
    assert type(size) is torch.Size
    assert size == (2, 3)
    assert [item.expr for item in size] == [Size(5, 0), Size(5, 1)]
    assert [item.expr for item in size[1:]] == [Size(5, 1)]
    assert size.numel() == 6


def test_a_count_is_the_product_of_the_sizes():
    assert named_count(5, ()) == 1
    count = named_count(5, (2, 3))
    assert count == 6
    assert count.expr.right == Size(5, 1)
    assert isinstance(count.expr, Operation)
