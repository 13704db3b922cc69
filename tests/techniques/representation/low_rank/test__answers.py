import pytest
import torch
from torch import nn

from featherweight.techniques.representation.low_rank._answers import Answers, Fit, Study, thinned
from featherweight.techniques.representation.low_rank._following import Behind

INPUTS = torch.randn(300, 2, 5, 5, generator=torch.Generator().manual_seed(0))


def nothing(count, relu=False):
    return Behind(torch.ones(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64), relu)


def study(lender, model, positions=9):
    data = (INPUTS, torch.zeros(len(INPUTS), dtype=torch.int64))
    return Study(lender(model, INPUTS[:2], calibration=data), 300, positions)


def test_windows_and_answers_belong_together_and_come_from_two_networks(lender):
    torch.manual_seed(0)
    original = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 4, 3)).eval()
    now = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 4, 3)).eval()
    same = study(lender, original).answers(original, original, "1")
    weight = original[1].weight.detach().flatten(1)
    assert same.windows.shape == (2700, 27) and same.wanted.shape == (2700, 4)
    assert torch.allclose(same.windows @ weight.T + original[1].bias.detach(), same.wanted, atol=1e-5)
    other = study(lender, original).answers(now, original, "1")
    assert torch.equal(other.wanted, same.wanted) and not torch.allclose(other.windows, same.windows)


def test_energies_are_the_variances_of_what_the_relu_sees(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1)).eval()
    after = Behind(torch.tensor([1.0, -2.0, 0.5, 3.0]).double(), torch.randn(4).double(), True)
    found = study(lender, model, positions=25).energies(model, "0", after)
    seen = (model(INPUTS).detach().double() * after.scale[:, None, None]).movedim(1, -1).reshape(-1, 4)
    values = torch.linalg.svdvals(seen - seen.mean(0)).square()
    assert torch.allclose(found, values, rtol=1e-4)


@pytest.mark.parametrize("ranks", [(3,), (3, 9)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_of_low_rank_is_found_with_any_norm_behind(lender, ranks, bias):
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 8, 3, bias=bias)
    with torch.no_grad():
        layer.weight.copy_((torch.randn(8, 3) @ torch.randn(3, 36)).reshape(8, 4, 3, 3))
    windows = torch.randn(2000, 36)
    wanted = windows @ layer.weight.detach().flatten(1).T + (layer.bias.detach() if bias else 0)
    after = Behind(torch.randn(8).double(), torch.randn(8).double(), False)
    thin = thinned(layer, Answers(windows, wanted), after, ranks, Fit(0))
    if len(ranks) == 1:
        product = thin.weights[1] @ thin.weights[0].flatten(1)
    else:
        columns, rows, back = thin.weights
        product = back @ torch.einsum("rcak,nrkb->ncab", columns, rows).flatten(1)
    assert torch.allclose(product, layer.weight.detach().double().flatten(1), atol=1e-3)
    assert torch.allclose(thin.bias, layer.bias.detach().double() if bias else torch.zeros(8).double(), atol=1e-3)


def test_outputs_that_the_norm_shuts_off_are_constants():
    layer = nn.Linear(6, 4)
    windows = torch.randn(500, 6)
    after = Behind(torch.tensor([1.0, 0.0, 1.0, 1.0]).double(), torch.zeros(4).double(), True)
    thin = thinned(layer, Answers(windows, layer(windows).detach()), after, (2,), Fit(3))
    assert bool(torch.isfinite(thin.weights[1]).all()) and not thin.weights[1][1].any()
    assert float(thin.bias[1]) == pytest.approx(float(layer.bias[1].detach()))


def test_rounds_are_for_relus_only():
    responses = torch.randn(300, 6, generator=torch.Generator().manual_seed(0)).double()
    fit, linear = Fit(5), Fit(0)
    same = fit(responses, 3, responses, nothing(6))
    assert torch.equal(same.left, linear(responses, 3, responses, nothing(6)).left)
    through = fit(responses, 3, responses, nothing(6, relu=True))
    assert not torch.allclose(through.left @ through.right, same.left @ same.right)
