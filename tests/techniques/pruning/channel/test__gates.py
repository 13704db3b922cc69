import pytest
import torch
from tests.techniques.pruning.conftest import NETWORKS
from torch import nn

from featherweight.errors import TechniqueError
from featherweight.graph.surgery import anatomy, remove
from featherweight.techniques.pruning._budget import candidates
from featherweight.techniques.pruning.channel._gates import Gates, examples_in, gated

X = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def fitted(name):
    """A network whose batch norms have seen data, in evaluation mode."""
    torch.manual_seed(0)
    model = NETWORKS[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    model(X)
    return model.eval()


def choices(groups, share=0.4):
    generator = torch.Generator().manual_seed(1)
    return [torch.randperm(len(group), generator=generator)[: int(share * len(group))] for group in groups]


@pytest.mark.parametrize("name", ["plain", "residual", "concat", "lstm"])
def test_factors_of_zero_are_what_surgery_does(name):
    model = fitted(name)
    known = anatomy(model, (X,))
    groups = candidates(model, known)
    gates = Gates(model, known, groups)
    assert all(gates.open)
    gone = choices(groups)
    cut = remove(model, known, [int(group.atoms[i]) for group, out in zip(groups, gone, strict=True) for i in out])
    gates.values = [torch.ones(len(group)).index_fill(0, out, 0) for group, out in zip(groups, gone, strict=True)]
    before = model(X)
    with gates.on():
        masked = model(X)
    torch.testing.assert_close(masked, cut(X), rtol=1e-4, atol=1e-5)
    assert float((masked - before).detach().abs().max()) > 1e-2
    assert torch.equal(model(X), before)  # the modules are as they were


@pytest.mark.parametrize("name", NETWORKS)
def test_each_example_has_its_own_row(name):
    model = fitted(name)
    known = anatomy(model, (X,))
    groups = candidates(model, known)
    gates = Gates(model, known, groups)
    generator = torch.Generator().manual_seed(2)
    rows = [(torch.rand(len(X), len(group), generator=generator) < 0.7).float() for group in groups]
    with gates.on():
        gates.values = list(rows)
        together = model(X)
        for place in range(len(X)):
            gates.values = [item[place : place + 1] for item in rows]
            torch.testing.assert_close(model(X[place : place + 1]), together[place : place + 1], rtol=1e-4, atol=1e-5)


def test_norms_that_read_several_groups_add_nothing_to_channels_of_factor_zero():
    model = fitted("concat")
    known = anatomy(model, (X,))
    groups = [known.group("left")]
    gates = Gates(model, known, groups)
    gates.values = [torch.zeros(12)]
    seen = []
    handle = model.norm.register_forward_hook(lambda *given: seen.append(given[2]))
    with gates.on():
        handle.remove()
        handle = model.norm.register_forward_hook(lambda *given: seen.append(given[2]))
        model(X)
    handle.remove()
    dead = (seen[-1] == 0).all(dim=(0, 2, 3))
    assert dead.tolist() == [True] * 12 + [False] * 28
    assert gates.modules == {"left": (0,)}


class Functional(nn.Module):
    """One layer runs by itself, the other by its weight alone."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(8, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.one(x.flatten(1)[:, :8]))
        return self.head(torch.relu(nn.functional.linear(x, self.two.weight, self.two.bias)))


def test_layers_that_do_not_run_by_themselves_have_no_factors():
    model = Functional()
    known = anatomy(model, (X,))
    groups = candidates(model, known)
    assert [group.name for group in groups] == ["one", "two"]
    assert Gates(model, known, groups).open == [True, False]
    assert [group.name for group in gated(model, known, groups)] == ["one"]
    with pytest.raises(TechniqueError, match="run by themselves"):
        gated(model, known, groups[1:])


def test_the_number_of_examples():
    assert examples_in(({"a": [torch.zeros(5, 2)]}, 3)) == 5
    with pytest.raises(TechniqueError, match="examples"):
        examples_in((1, "x"))
