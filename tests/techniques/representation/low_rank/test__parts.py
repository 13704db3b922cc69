import pytest
import torch
from torch import nn

from featherweight.techniques.representation.low_rank._parts import Places, chain, convolution, linear, matrix_part


def test_places_follow_the_axes_that_have_been_convolved():
    places = Places.of((2, 3, 10, 8), (2, 5, 5, 4), 2, "macs")
    assert (places.first, places.when(1), places.last) == (2 * 80, 2 * 5 * 8, 2 * 20)
    ones = Places.of((2, 3, 10, 8), (2, 5, 5, 4), 2, "parameters")
    assert (ones.first, ones.when(1), ones.last) == (1, 1, 1)


def test_a_matrix_costs_its_ranks():
    part = matrix_part(torch.randn(6, 9), 15, 2)
    assert part.full == (6,) and part.whole == 108 and part.cost((4,)) == 60
    assert part.ladder(2).ranks == ((6,), (4,), (2,))
    planted = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)) @ torch.ones(2, 40)
    assert matrix_part(planted, 70, 1).automatic() == (1,)


def test_an_axis_that_is_not_named_is_left_alone():
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=(1, 2), padding_mode="circular").eval()
    made = convolution(conv, torch.randn(5, 4, 3, 1), (0,))
    assert (made.stride, made.padding, made.dilation) == ((2, 1), (1, 0), (1, 1))
    assert made.bias is None and made.padding_mode == "circular" and not made.training
    assert convolution(conv, torch.randn(5, 4, 1, 1)).padding == (0, 0)


@pytest.mark.parametrize("bias", [True, False])
def test_layers_take_type_device_and_freedom_from_the_old_one(bias):
    old = nn.Linear(3, 4, bias=bias, dtype=torch.float64)
    old.weight.requires_grad_(False)
    made = linear(old, torch.randn(2, 3), torch.ones(2) if bias else None)
    assert made.weight.dtype == torch.float64 and not made.weight.requires_grad
    assert (made.bias is None) == (not bias)
    assert len(chain([made], old)) == 1


def test_the_values_are_copies():
    old, values = nn.Linear(3, 2), torch.randn(2, 3)
    made = linear(old, values)
    values.zero_()
    assert bool(made.weight.detach().abs().sum() > 0)
