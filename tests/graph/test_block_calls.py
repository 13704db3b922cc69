"""What modules are given and give, and other modules in their places for a while."""

import pytest
import torch
from torch import Tensor, nn

from featherweight.errors import TraceError
from featherweight.graph._block_calls import arguments_of, calls_of, outputs_of, placed


class Two(nn.Module):
    """Calls `act` on two shapes, and `pair`, which gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.pair, self.linear = nn.ReLU(), Pair(), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        first, _ = self.pair(mask=None, x=self.act(x))
        return self.act(self.linear(first))


class Pair(nn.Module):
    def forward(self, mask: Tensor | None, x: Tensor) -> tuple[Tensor, None]:
        return x + 1, None


def test_forms_of_all_calls():
    calls = calls_of(Two(), (torch.randn(2, 3, 4),))
    assert list(calls) == ["", "act", "pair", "linear"]
    act, pair, linear = calls["act"], calls["pair"], calls["linear"]
    assert (act.fits, act.plain, act.length, act.shape, act.sizes()) == (True, True, None, (2, 3, 4), (-1, -1, -1))
    assert (pair.fits, pair.plain, pair.length, pair.sizes()) == (False, False, 2, (-1, -1, -1))
    assert (linear.fits, linear.sizes()) == (False, (-1, -1, 6))


def test_sizes_that_follow_from_nothing_are_not_known():
    class Rows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(x.shape[0] + 1)

    rows = Rows()
    model = nn.Sequential(rows, rows)
    assert calls_of(model, (torch.randn(2),))["0"].sizes() is None


def test_arguments_are_those_of_the_first_call():
    args, kwargs = arguments_of(Two(), "pair", (torch.ones(1, 1, 4),))
    assert args == ()
    assert kwargs["mask"] is None
    assert torch.equal(kwargs["x"], torch.ones(1, 1, 4))


def test_modules_are_placed_for_a_while_in_the_mode_of_the_old_ones():
    model = Two().train()
    linear = model.linear.eval()
    with pytest.raises(KeyError), placed(model, {"linear": nn.Identity()}):
        assert not model.linear.training
        assert isinstance(model.linear, nn.Identity)
        raise KeyError
    assert model.linear is linear


def test_a_model_that_does_not_run_leaves_no_hooks():
    model = Two()
    with pytest.raises(TraceError, match="does not run"):
        calls_of(model, (torch.randn(2, 5),))
    with pytest.raises(TraceError):
        outputs_of(model, (torch.randn(2, 5),))
    assert not any(item._forward_hooks or item._forward_pre_hooks for item in model.modules())
