import copy

import pytest
import torch
from torch import nn

from featherweight.core.config import from_dict, to_dict
from featherweight.core.context import Finetuning
from featherweight.encodings.attach import encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.payload import coded_bytes
from featherweight.encodings.sparse import Sparse
from featherweight.errors import ConfigError, TechniqueError
from featherweight.techniques.precision.low_bit.half import Half
from featherweight.techniques.pruning.connection.magnitude import Magnitude
from featherweight.techniques.representation.sharing.kmeans import Kmeans

FORMATS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_value_is_one_of_the_format(digits, kind):
    model = digits.dense()
    before = copy.deepcopy(model.state_dict())
    Half(format=kind).apply(model, digits.context(train=False))
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, before[name].to(FORMATS[kind]).float())
        assert encodings_of(model)[name].stored == FORMATS[kind]
    assert digits.accuracy(model) >= digits.accuracy(digits.dense()) - 0.01


def test_survivors_and_centroids_get_narrow_and_keep_their_structure(digits):
    model = Magnitude(density=0.2, epochs=0).apply(digits.dense(), digits.context())
    Kmeans(bits=3, epochs=0, tensors=("0.weight",)).apply(model, digits.context())
    masks = {name: encoding.mask for name, encoding in encodings_of(model).items()}
    size = sum(coded_bytes(encoding) for encoding in encodings_of(model).values())
    Half().apply(model, digits.context())
    encodings = encodings_of(model)
    assert isinstance(encodings["0.weight"].inner, Codebook)
    assert encodings["0.weight"].inner.centroids.stored == torch.float16
    assert isinstance(encodings["2.weight"].inner, Dense)
    assert encodings["2.weight"].inner.stored == torch.float16
    assert all(torch.equal(encodings[name].mask, mask) for name, mask in masks.items())
    assert sum(coded_bytes(encodings[name]) for name in masks) < 0.8 * size


def test_patterns(digits):
    model = Half(tensors=("*.bias",)).apply(digits.dense(), digits.context())
    assert set(encodings_of(model)) == {"0.bias", "2.bias", "4.bias"}
    with pytest.raises(ConfigError, match="fits no tensor"):
        Half(tensors=("fc1",)).apply(model, digits.context())


def test_buffers_of_norms_too(digits):
    model = nn.Sequential(nn.Linear(64, 10), nn.BatchNorm1d(10))
    Half().apply(model, digits.context())
    assert set(encodings_of(model)) == {"0.weight", "0.bias"} | {
        f"1.{name}" for name in ("weight", "bias", "running_mean", "running_var")
    }


def test_what_does_not_fit_is_left_or_named(digits):
    model = nn.Sequential(nn.Linear(64, 10))
    model[0].bias.data[0] = 1e6
    context = digits.context()
    Half().apply(model, context)
    assert set(encodings_of(model)) == set(context.details["narrowed"]) == {"0.weight"}
    with pytest.raises(TechniqueError, match=r"0\.bias: does not fit into float16 \(got 1000000"):
        Half(tensors=("0.bias",)).apply(model, context)
    Half(format="bfloat16", tensors=("0.bias",)).apply(model, context)
    assert model[0].bias[0].item() == pytest.approx(1e6, rel=0.01)


def test_what_has_16_bits_already_stays_as_it_is(digits):
    context = digits.context()
    model = Half().apply(nn.Sequential(nn.Linear(2, 2)).half(), context)
    assert encodings_of(model) == {}
    assert context.details["narrowed"] == {}


def test_nothing_left_to_narrow(digits):
    with pytest.raises(TechniqueError, match="no tensor"):
        Half().apply(nn.Sequential(nn.ReLU()), digits.context())


def test_training_afterwards_still_moves_the_weights(digits):
    model = Half().apply(digits.dense(), digits.context())
    before = model[0].weight.detach().clone()
    digits.context().finetune(model, Finetuning(epochs=1, learning_rate=1e-4))
    kept = encodings_of(model)["0.weight"]
    assert isinstance(kept, Dense)
    assert not isinstance(kept, Sparse)
    assert kept.stored == torch.float16
    assert not torch.equal(kept.to_tensor(), before)


def test_records_the_largest_change(digits):
    context = digits.context()
    before = digits.dense()
    model = Half().apply(digits.dense(), context)
    for name, parameter in model.named_parameters():
        change = (parameter - dict(before.named_parameters())[name]).abs().max().item()
        assert context.details["narrowed"][name] == pytest.approx(change)


def test_settings_come_back():
    for settings in (Half(), Half(format="bfloat16", tensors=("*.bias",))):
        assert from_dict(Half, to_dict(settings)) == settings
    with pytest.raises(ConfigError, match="format"):
        from_dict(Half, {"format": "float12"})
