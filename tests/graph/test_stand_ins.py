"""What stands for branches, and that a network with it is held against one whose branch was made zero."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.graph._block_calls import calls_of
from featherweight.graph._branches import Branch
from featherweight.graph._stand_ins import StandIn, Trials, choices
from featherweight.graph.layers import PassOn, Zeros


class Net(nn.Module):
    """x + down(gelu(up(norm(x)))), where training and evaluation may go other ways."""

    def __init__(self, way: str = "") -> None:
        super().__init__()
        self.norm, self.up, self.down, self.way = nn.BatchNorm1d(4), nn.Linear(4, 8), nn.Linear(8, 4), way

    def forward(self, x: Tensor) -> Tensor:
        inner = self.up(self.norm(x))
        if self.way == "sizes":
            inner = inner[: len(x)].reshape(len(x), 2, 4).flatten(1)
        out = self.down(F.gelu(inner))
        if self.way == "writes":
            out += x
            return out
        if self.way == "training" and self.training:
            return x + out + self.up.bias[:4]
        return x + out if self.way != "batch" or len(x) == 2 else x + self.down.bias


BRANCH = Branch("down", ("norm", "up"), frozenset({"up"}), works=False)
X = torch.randn(2, 4)


def served(way):
    """The number of the first choice that serves, None for none."""
    model = Net(way)
    trials = Trials(model, (X,))
    for number, parts in enumerate(choices(BRANCH, calls_of(model, (X,)))):
        if trials.agree(["down"], {path: part.module() for path, part in parts.items()}):
            return number
    return None


def test_the_cheapest_comes_first():
    small, shaped, filled = choices(BRANCH, calls_of(Net(), (X,)))
    assert small == {
        "down": StandIn((1, 1), plain=False),
        "norm": StandIn(None, plain=False),
        "up": StandIn((1, 1), plain=False),
    }
    assert shaped["down"] == StandIn((-1, 4), plain=False)
    assert shaped["up"] == StandIn((-1, 8), plain=False)
    assert filled["down"] == StandIn((-1, 4), plain=False, filled=True)
    assert filled["norm"] == StandIn(None, plain=False)


def test_products_that_stay_keep_their_sizes():
    several = list(choices(Branch("down", ("up",), frozenset(), works=True), calls_of(Net(), (X,))))
    assert [parts["down"].shape for parts in several] == [(-1, 4), (-1, 4)]


@pytest.mark.parametrize(("way", "number"), [("", 0), ("sizes", 1), ("writes", 2), ("training", None), ("batch", None)])
def test_what_serves_depends_on_the_code_around(way, number):
    assert served(way) == number


def test_another_network_does_not_agree():
    trials = Trials(Net(), (X,))
    assert trials.agree(["down"], {"down": Zeros((1, 1))})
    assert not trials.agree(["down"], {"up": nn.Linear(4, 8)})
    assert not trials.agree(["down"], {"down": nn.Linear(8, 1)})


def test_trying_leaves_everything_as_it_was():
    model = Net().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    assert Trials(model, (X,)).agree(["down"], {"down": Zeros((1, 1))})
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert not model.down._forward_hooks


def test_stand_ins_are_made_of_their_settings():
    assert type(StandIn().module()) is nn.Identity
    assert isinstance(StandIn(None, 2, plain=False).module(), PassOn)
    zeros = StandIn((1, -1), 3, plain=False, filled=True).module()
    assert isinstance(zeros, Zeros)
    assert (zeros.shape, zeros.length, zeros.filled) == ((1, -1), 3, True)
