import torch
from torch import nn

from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.sparse import Sparse
from featherweight.techniques._selection import WEIGHTS, select
from featherweight.techniques.pruning.connection._allocation import Goal, cubic
from featherweight.techniques.pruning.connection._pruner import Pruner


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))


def test_opens_with_masks_that_keep_everything_and_closes_without_them():
    model = network()
    before = model[0].weight.detach().clone()
    pruner = Pruner(model, select(model, (), WEIGHTS))
    assert pruner.densities() == pruner.start == [1.0, 1.0]
    assert encodings_of(model) == {}
    pruner.open()
    assert pruner.densities() == [1.0, 1.0]
    assert torch.equal(model[0].weight, before)
    assert all(isinstance(encoding, Sparse) for encoding in encodings_of(model).values())
    pruner.towards(Goal((0.5, 1.0)), cubic(1.0))
    pruner.close()
    assert set(encodings_of(model)) == {"0.weight"}


def test_keeps_the_largest_and_never_gives_back():
    model = network()
    pruner = Pruner(model, select(model, (), WEIGHTS))
    before = model[0].weight.detach().clone()
    pruner.towards(Goal((0.5, 1.0)), cubic(1.0))
    mask = pruner.masks()[0]
    assert pruner.densities() == [0.5, 1.0]
    assert before.abs()[mask].min() > before.abs()[~mask].max()
    assert torch.equal(model[0].weight, before * mask)
    pruner.towards(Goal((1.0, 0.25)), cubic(1.0))
    assert pruner.densities() == [0.5, 0.25]
    assert torch.equal(pruner.masks()[0], mask)


def test_an_earlier_mask_is_where_pruning_starts():
    model = network()
    mask = torch.arange(48).reshape(6, 8) % 4 == 0
    attach(model, {"0.weight": Sparse.of(model[0].weight.detach(), mask)})
    pruner = Pruner(model, select(model, (), WEIGHTS))
    assert pruner.start == [0.25, 1.0]
    pruner.towards(Goal((0.125, 1.0)), cubic(1.0))
    assert not (pruner.masks()[0] & ~mask).any()
    assert pruner.densities()[0] == 0.125


def test_shared_values_stay_shared():
    model = network()
    attach(model, {"0.weight": Codebook(torch.arange(48).reshape(6, 8) % 3, torch.tensor([-1.0, 0.5, 2.0]))})
    pruner = Pruner(model, select(model, (), WEIGHTS))
    pruner.towards(Goal((2 / 3, 1.0)), cubic(1.0))
    assert sorted(set(model[0].weight.flatten().tolist())) == [-1.0, 0.0, 2.0]
    assert isinstance(encodings_of(model)["0.weight"].inner, Codebook)
