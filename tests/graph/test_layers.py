"""The house's own modules: what they compute, and that they trace."""

import pytest
import torch
from torch import nn

from featherweight.errors import UsageError
from featherweight.graph.layers import ChannelPad, ChannelSelect, Constant, PassOn, Zeros
from featherweight.graph.trace import trace


@pytest.mark.parametrize("dim", [1, -3])
def test_select_keeps_the_channels_in_the_order_asked(dim):
    x = torch.randn(2, 5, 3, 4)
    assert torch.equal(ChannelSelect([3, 0, 0], dim)(x), x[:, [3, 0, 0]])


@pytest.mark.parametrize("wrong", [[[1, 2]], [0.5, 1.0], [0, -1]])
def test_select_refuses_what_are_no_indices(wrong):
    with pytest.raises(UsageError, match="ChannelSelect"):
        ChannelSelect(torch.tensor(wrong))


@pytest.mark.parametrize("dim", [1, 3, -1])
def test_pad_puts_zeros_around_one_dimension(dim):
    x = torch.randn(2, 3, 4, 5)
    y = ChannelPad(1, 2, dim)(x)
    expected = list(x.shape)
    expected[dim] += 3
    assert list(y.shape) == expected
    assert torch.equal(y.narrow(dim, 1, x.shape[dim]), x)
    assert y.count_nonzero() == x.numel()


def test_pad_refuses_channels_below_zero():
    with pytest.raises(UsageError, match="-1"):
        ChannelPad(-1, 0)


def test_constant_gives_its_value_for_each_example_and_keeps_it_in_the_state():
    value = torch.randn(3, 1, 1)
    layer = Constant(value)
    assert torch.equal(layer(torch.zeros(4, 7)), value.expand(4, 3, 1, 1))
    assert list(layer.state_dict()) == ["value"]
    assert not list(layer.parameters())


def test_pass_on_gives_its_first_argument_in_the_form_asked():
    x = torch.randn(2, 3)
    assert PassOn()(x, mask=None) is x
    assert PassOn()(hidden=x, mask=None) is x
    first, *rest = PassOn(3)(x)
    assert first is x
    assert rest == [None, None]
    with pytest.raises(UsageError, match="nothing to pass on"):
        PassOn()()


@pytest.mark.parametrize("length", [0, 4097])
def test_pass_on_refuses_tuples_that_nobody_gives(length):
    with pytest.raises(UsageError, match="PassOn"):
        PassOn(length)


def test_zeros_take_sizes_type_and_device_from_what_they_get():
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.equal(Zeros((-1, 5, 1))(x), torch.zeros(2, 5, 1, dtype=torch.float64))
    assert Zeros((1, 1))(hidden=torch.ones(2, 2).half()).dtype is torch.float16
    first, *rest = Zeros((1,), 3)(torch.arange(3), x)
    assert (first.dtype, rest) == (torch.float64, [None, None])
    with pytest.raises(UsageError, match="no tensor"):
        Zeros((1,))(None)


def test_zeros_take_the_memory_of_one_number_unless_code_writes_into_them():
    x = torch.randn(8, 1000)
    assert Zeros((-1, -1))(x).untyped_storage().nbytes() == 4
    filled = Zeros((-1, -1), filled=True)(x)
    filled += x
    assert torch.equal(filled, x)


@pytest.mark.parametrize(("shape", "length"), [((-2, 1), None), ((2**16, 2**16), None), ((1,), 0), ((1,), 4097)])
def test_zeros_refuse_what_nobody_gives(shape, length):
    with pytest.raises(UsageError, match="Zeros"):
        Zeros(shape, length)


@pytest.mark.parametrize(
    "layer",
    [ChannelSelect([2, 0]), ChannelPad(1, 1), Constant(torch.ones(3, 1, 1)), PassOn(), Zeros((-1, 3, 1, 1))],
    ids=lambda x: type(x).__name__,
)
def test_they_trace_for_any_batch(layer):
    model = nn.Sequential(nn.Conv2d(1, 3, 1), layer, nn.ReLU())
    graph = trace(model, torch.randn(2, 1, 4, 4))  # compares the outputs itself
    assert graph.notes == ()
    assert str(layer)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_they_export_to_onnx(tmp_path):
    for extra in ("onnx", "onnxscript"):
        pytest.importorskip(extra)
    model = nn.Sequential(nn.Conv2d(1, 3, 1), ChannelSelect([2, 0]), ChannelPad(1, 1)).eval()
    path = tmp_path / "layers.onnx"
    torch.onnx.export(model, (torch.randn(2, 1, 4, 4),), path, dynamo=True, verbose=False)
    assert path.stat().st_size > 0
