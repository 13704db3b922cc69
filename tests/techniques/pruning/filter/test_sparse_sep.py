import copy

import pytest
import torch
from torch import nn

from featherweight.encodings.attach import encodings_of
from featherweight.encodings.sparse import Sparse
from featherweight.errors import ConfigError, TechniqueError
from featherweight.graph.log import log_of, replay
from featherweight.techniques.pruning.filter.sparse_sep import SparseSep, _separated


def kept(model):
    codes = encodings_of(model)
    values = {
        name: int((item != 0).sum()) if name in codes else item.numel() for name, item in model.named_parameters()
    }
    return sum(values.values())


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 1), (1, 0)])
def test_kernels_of_that_rank_are_exact(stride, padding):
    layer = nn.Conv2d(6, 8, 3, stride=stride, padding=padding)
    with torch.no_grad():
        layer.weight.copy_(torch.einsum("nrb,rca->ncab", torch.randn(8, 2, 3), torch.randn(2, 6, 3)))
    x = torch.randn(2, 6, 9, 9)
    assert torch.allclose(_separated(layer, 2)(x), layer(x), atol=1e-4)


def test_the_error_is_that_of_the_singular_values_left_out():
    layer = nn.Conv2d(6, 8, 3, bias=False)
    matrix = layer.weight.detach().permute(1, 2, 0, 3).reshape(18, 24).double()
    small = _separated(layer, 5)
    vertical, horizontal = small[0].weight.detach()[..., 0], small[1].weight.detach()[:, :, 0]
    again = torch.einsum("nrb,rca->ncab", horizontal, vertical).permute(1, 2, 0, 3).reshape(18, 24).double()
    assert float((matrix - again).norm()) == pytest.approx(float(torch.linalg.svdvals(matrix)[5:].norm()), rel=1e-4)


def test_smaller_within_the_budget_and_better_than_its_budget_elsewhere(images):
    model = images.trained("plain")
    dense, context = copy.deepcopy(model), images.context()
    small = SparseSep(budget=0.03).apply(model, context)
    assert images.accuracy(small) >= images.accuracy(dense) - 0.03
    assert kept(small) < 0.8 * kept(dense)
    assert context.details["layers"]["8"][1] < context.details["layers"]["8"][0]
    assert isinstance(encodings_of(small)["8.0.weight"], Sparse)
    assert isinstance(small[8][0], nn.Linear)
    assert len(small[8]) == 2  # nothing between the factors


def test_a_larger_budget_gives_no_larger_network(images):
    sizes = [kept(SparseSep(budget=budget).apply(images.trained("plain"), images.context())) for budget in (0.0, 0.3)]
    assert sizes[1] < sizes[0]


def test_the_log_builds_it_again(images):
    small = SparseSep(budget=0.1).apply(images.trained("plain"), images.context())
    again = replay(images.fresh("plain"), log_of(small))
    again.load_state_dict(small.state_dict())
    assert torch.equal(again.eval()(images.inputs[:3]), small.eval()(images.inputs[:3]))


def test_nothing_large_enough(images):
    with pytest.raises(TechniqueError, match="large enough"):
        SparseSep(smallest=10**9).apply(images.fresh("plain"), images.context())


@pytest.mark.parametrize(
    "wrong",
    [
        *({"budget": 2.0}, {"nonzeros": 0.0}, {"atoms": (1.5,)}, {"ranks": (0.0,)}),
        *({"sweeps": -1}, {"smallest": 0}, {"starts": 0}),
    ],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SparseSep(**wrong)
