import torch
from torch import nn

from featherweight.core.version import VERSION
from featherweight.recipes.environment import environment, fingerprint


def test_what_decides_the_bits_is_listed() -> None:
    found = environment()
    assert found["featherweight"] == VERSION
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__


def test_any_bit_of_any_tensor_changes_the_fingerprint() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    prints = [fingerprint(model)]
    assert fingerprint(model) == prints[0]
    with torch.no_grad():
        model[0].weight[0, 0].neg_()
        prints.append(fingerprint(model))
        model[1].num_batches_tracked.add_(1)
        prints.append(fingerprint(model))
    prints += [fingerprint(model.half()), fingerprint(nn.Sequential(model))]
    assert len(set(prints)) == 5
    assert all(len(one) == 64 for one in prints)


def test_bfloat16_and_transposed_tensors_have_one() -> None:
    model = nn.Linear(3, 2).to(torch.bfloat16)
    turned = nn.Linear(2, 3)
    turned.weight = nn.Parameter(turned.weight.detach().T)
    assert fingerprint(model) != fingerprint(turned)
