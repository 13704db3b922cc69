"""Neighbouring layers made one: the same outputs, a network that is rebuilt, and pairs that stay two."""

import copy

import pytest
import torch
from tests.techniques.pruning.layer.conftest import toy
from torch import Tensor, nn

import featherweight as fw
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.errors import TechniqueError
from featherweight.techniques.architecture.blocks.fold_norms import FoldNorms
from featherweight.techniques.pruning.layer.merge import Merge


def chain() -> nn.Module:
    """Three convolutions in a row (two of them 1x1), and two linear layers with a dropout between them."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 5, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 16), nn.Dropout(), nn.Linear(16, 3)),
    )


def made(build=chain) -> nn.Module:
    torch.manual_seed(0)
    return build().eval()


def test_chains_become_one_layer_and_compute_the_same():
    model = made()
    context, whole, x = toy(model), copy.deepcopy(model), torch.randn(7, 1, 6, 6)
    changed = Merge().apply(model, context)
    assert context.details["merged"] == [["0", "1"], ["0", "2"], ["6", "8"]]
    assert [type(changed[place]) for place in (0, 1, 2, 6, 8)] == [
        nn.Conv2d,
        nn.Identity,
        nn.Identity,
        nn.Linear,
        nn.Identity,
    ]
    assert torch.allclose(changed(x), whole(x), atol=1e-6)
    assert sum(p.numel() for p in changed.parameters()) == 1 * 5 * 9 + 5 + 20 * 3 + 3


def test_a_fresh_instance_takes_the_structure_and_the_weights(tmp_path):
    model = made()
    model = Merge().apply(model, toy(model))
    fw.save(model, tmp_path / "merged.fwt")
    again = fw.rebuild(chain(), tmp_path / "merged.fwt")
    x = torch.randn(3, 1, 6, 6)
    assert torch.equal(again.eval()(x), model(x))


def test_a_thin_pair_stays_thin():
    model = made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 2), nn.Linear(2, 30)))
    context, x = toy(model), torch.randn(2, 1, 6, 6)
    with pytest.raises(TechniqueError, match="no neighbouring layers") as error:
        Merge().apply(model, context)
    assert "1110 weights, the two have 164" in str(error.value)
    expected = model(x)
    assert torch.allclose(Merge(grow=True).apply(model, context)(x), expected, atol=1e-6)


class Reading(nn.Module):
    """Reads the weight of its second layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(36, 36), nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x.flatten(1)).to(self.b.weight.dtype))


def test_what_code_reads_stays():
    model = made(Reading)
    before, context = copy.deepcopy(model.state_dict()), toy(model)
    with pytest.raises(TechniqueError, match="reads something"):
        Merge().apply(model, context)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert type(model.b) is nn.Linear


def test_encoded_weights_stay_where_the_encoding_has_structure():
    model = made()
    context = toy(model)
    mask = torch.rand(3, 16) > 0.5
    attach(model, {"8.weight": Sparse(mask, Dense(model[8].weight.detach()[mask]))})
    attach(model, {"0.weight": Dense(model[0].weight.detach(), torch.float16)})
    changed = Merge().apply(model, context)
    assert context.details["merged"] == [["0", "1"], ["0", "2"]]
    assert "Sparse" in context.details["left"]["6, 8"]
    assert set(encodings_of(changed)) == {"8.weight"}


def test_behind_folded_norms_it_goes_on():
    model = made(lambda: nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 3, 1), nn.Flatten()))
    context, whole, x = toy(model), copy.deepcopy(model), torch.randn(2, 1, 6, 6)
    changed = Merge().apply(FoldNorms(half=False).apply(model, context), context)
    assert context.details["merged"] == [["0", "2"]]
    assert torch.allclose(changed(x), whole(x), atol=1e-6)
