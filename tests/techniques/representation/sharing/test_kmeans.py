import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from featherweight.core.config import from_dict, to_dict
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.errors import ConfigError, TechniqueError
from featherweight.numerics.clustering import kmeans
from featherweight.techniques.pruning.connection.magnitude import Magnitude
from featherweight.techniques.representation.sharing.kmeans import Kmeans
from featherweight.training.constraints import constraints_of

LAYERS = ("0.weight", "2.weight", "4.weight")


@pytest.fixture(scope="module")
def pruned(digits):
    """The network at a tenth of its weights, retrained (never changed by a test: take a copy)."""
    return Magnitude(density=0.1, epochs=6).apply(digits.dense(), digits.context())


def values(model, name):
    return dict(model.named_parameters())[name].detach()


# accuracy: the reference experiment (catalogue of techniques, appendix E4) -------------------------------------------


@pytest.mark.parametrize("initialisation", ["linear", "density", "random"])
def test_three_bits_keep_the_accuracy_of_a_pruned_network(digits, pruned, initialisation):
    settings = Kmeans(bits=3, initialisation=initialisation, epochs=4)
    model = settings.apply(copy.deepcopy(pruned), digits.context())
    assert digits.accuracy(model) >= digits.accuracy(pruned) - 0.015


def test_training_the_centroids_repairs_coarse_sharing(digits):
    before = digits.accuracy(Kmeans(bits=1, epochs=0).apply(digits.dense(), digits.context(train=False)))
    after = digits.accuracy(Kmeans(bits=1, epochs=5).apply(digits.dense(), digits.context()))
    assert before < digits.accuracy(digits.dense()) - 0.02
    assert after > before + 0.01


@pytest.mark.parametrize("gradient", ["sum", "mean"])
def test_plain_gradient_descent_learns_with_either_gradient(digits, gradient):
    start = Kmeans(bits=2, epochs=0).apply(digits.dense(), digits.context())
    context = digits.context(optimizer="sgd", learning_rate=0.1)
    model = Kmeans(bits=2, epochs=5, gradient=gradient).apply(digits.dense(), context)
    assert digits.accuracy(model) > digits.accuracy(start)
    assert all(isinstance(item, Codebook) for item in constraints_of(model).values())


# structure -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0, 1, 3, 4.585])
def test_at_most_so_many_values_and_the_same_zeros(digits, pruned, bits):
    model = Kmeans(bits=bits, epochs=1).apply(copy.deepcopy(pruned), digits.context())
    for name in LAYERS:
        encoding = encodings_of(model)[name]
        assert torch.equal(encoding.mask, encodings_of(pruned)[name].mask)
        assert (values(model, name)[~encoding.mask] == 0).all()
        assert len(torch.unique(values(model, name)[encoding.mask])) <= round(2**bits)
        assert torch.equal(encoding.to_tensor(), values(model, name))


def test_shared_weights_stay_bit_equal_at_every_step(digits):
    seen = []

    class Watch:
        def __init__(self, context):
            self._context = context

        def __getattr__(self, name):
            return getattr(self._context, name)

        def finetune(self, model, settings):
            assert settings.weight_decay == 0.0  # decay would pull all centroids towards zero
            return self._context.finetune(model, settings, on_step=record)

    def record(model, step, total):
        seen.append([len(torch.unique(values(model, name))) for name in LAYERS])

    Kmeans(bits=3, epochs=1).apply(digits.dense(), Watch(digits.context(weight_decay=0.1)))
    assert len(seen) > 40
    assert all(count <= 8 for step in seen for count in step)


def test_without_training_the_values_are_the_clustering(digits):
    model = digits.dense()
    expected = {name: kmeans(values(model, name), 16, start="density") for name in LAYERS}
    Kmeans(bits=4, initialisation="density", epochs=0).apply(model, digits.context(train=False))
    for name in LAYERS:
        rebuilt = expected[name].centroids[expected[name].indices.long()].float()
        assert torch.equal(values(model, name), rebuilt)


def test_exact_clustering_is_nearer_to_the_weights(digits):
    weight = values(digits.dense(), "0.weight")
    error = []
    for exact in (False, True):
        model = Kmeans(bits=3, exact=exact, epochs=0).apply(digits.dense(), digits.context())
        error.append(float((values(model, "0.weight") - weight).square().sum()))
    assert error[1] < error[0]


def test_fewer_distinct_values_than_bits_allow(digits):
    model = digits.dense()
    model[4].weight.data.fill_(0.25)
    Kmeans(bits=5, epochs=0).apply(model, digits.context())
    assert encodings_of(model)["4.weight"].centroids.to_tensor().tolist() == [0.25]
    assert (values(model, "4.weight") == 0.25).all()


def test_a_centroid_at_zero_prunes_nothing_and_revives_nothing():
    model = nn.Sequential(nn.Linear(4, 2, bias=False))
    weight = torch.tensor([[1.0, 1e-12, -1e-12, 0.0], [1.0, 0.0, -1.0, -1.0]])
    mask = torch.tensor([[True, True, True, False], [True, False, True, True]])
    attach(model, {"0.weight": Sparse.of(weight, mask)})
    Kmeans(bits=1.585, epochs=0).apply(model, NoData())
    encoding = encodings_of(model)["0.weight"]
    assert torch.equal(encoding.mask, mask)
    assert encoding.inner.centroids.to_tensor().tolist() == pytest.approx([-1.0, 0.0, 1.0])


class NoData:
    """All that sharing without training needs of a context."""

    def generator(self, *purpose):
        return torch.Generator().manual_seed(0)

    def record(self, key, value):
        self.recorded = (key, value)


def test_centroids_that_meet_are_merged(digits):
    class Collapse(NoData):
        training = digits.context().training

        def finetune(self, model, settings):
            with torch.no_grad():
                weight = model[0].weight
                weight.copy_(torch.where(weight > 0, 0.5, -0.25))

    model, context = digits.dense(), Collapse()
    Kmeans(bits=4, tensors=("0.weight",)).apply(model, context)
    assert context.recorded == ("centroids", {"0.weight": [-0.25, 0.5]})
    codebook = encodings_of(model)["0.weight"]
    assert codebook.centroids.shape == (2,)
    assert torch.equal(codebook.indices.bool(), model[0].weight > 0)


def test_the_gradient_of_a_centroid_is_the_slope_of_the_loss(digits):
    model = Kmeans(bits=2, epochs=0).apply(digits.dense().double(), digits.context())
    codebook = encodings_of(model)["2.weight"]
    inputs, labels = digits.inputs[:64].double(), digits.labels[:64]

    def loss(centroids):
        weight = centroids[codebook.indices.long()]
        return functional.cross_entropy(torch.func.functional_call(model, {"2.weight": weight}, (inputs,)), labels)

    centroids = codebook.centroids.to_tensor()
    (slope,) = torch.autograd.grad(functional.cross_entropy(model(inputs), labels), model[2].weight)
    summed = codebook.gradient(slope)
    for index in range(len(centroids)):
        step = torch.zeros_like(centroids)
        step[index] = 1e-6
        finite = float((loss(centroids + step) - loss(centroids - step)).detach()) / 2e-6
        assert float(summed[codebook.indices == index][0]) == pytest.approx(finite, rel=1e-5, abs=1e-9)


# composition ---------------------------------------------------------------------------------------------------------


def test_patterns_choose_any_tensor_and_its_bits(digits):
    settings = Kmeans(bits={"*.bias": 2, "0": 3, "*": 4}, tensors=("*",), epochs=0)
    model = settings.apply(digits.dense(), digits.context())
    counts = {name: encoding.centroids.shape[0] for name, encoding in encodings_of(model).items()}
    assert counts == {"0.weight": 8, "0.bias": 4, "2.weight": 16, "2.bias": 4, "4.weight": 16, "4.bias": 4}


def test_bits_by_pattern_leave_the_rest_alone(digits):
    model = Kmeans(bits={"2": 3}, epochs=0).apply(digits.dense(), digits.context())
    assert set(encodings_of(model)) == {"2.weight"}


def test_sharing_again_needs_fewer_values(digits, pruned):
    model = Kmeans(bits=4, epochs=0).apply(copy.deepcopy(pruned), digits.context())
    Kmeans(bits=2, epochs=0).apply(model, digits.context())
    for name in LAYERS:
        assert encodings_of(model)[name].inner.centroids.shape == (4,)
        assert torch.equal(encodings_of(model)[name].mask, encodings_of(pruned)[name].mask)


def test_stored_precision_is_kept(digits):
    model = digits.dense()
    attach(model, {"0.weight": Dense(model[0].weight.detach().clone(), torch.float16)})
    Kmeans(bits=3, epochs=1).apply(model, digits.context())
    assert encodings_of(model)["0.weight"].centroids.stored == torch.float16
    assert encodings_of(model)["2.weight"].centroids.stored == torch.float32


def test_same_seed_same_weights(digits):
    settings = Kmeans(bits=3, initialisation="random", epochs=1)
    first, second = (settings.apply(digits.dense(), digits.context()).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_records_the_centroids(digits):
    context = digits.context()
    model = Kmeans(bits=2, epochs=1).apply(digits.dense(), context)
    for name in LAYERS:
        assert context.details["centroids"][name] == torch.unique(values(model, name)).tolist()


# bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"bits": -1},
        {"bits": 17},
        {"bits": float("nan")},
        {"bits": {}},
        {"bits": {"fc": 20}},
        {"epochs": -1},
        {"learning_rate": 0},
        {"initialisation": "guess"},
        {"gradient": "max"},
        {"bit": 3},
    ],
)
def test_bad_settings_are_refused_with_the_field(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        from_dict(Kmeans, settings)


def test_settings_come_back():
    for settings in (Kmeans(), Kmeans(bits={"0": 2.5}, exact=True, tensors=("*",))):
        assert from_dict(Kmeans, to_dict(settings)) == settings


def test_what_cannot_be_shared(digits):
    with pytest.raises(TechniqueError, match="no conv, linear, recurrent weights"):
        Kmeans().apply(nn.Sequential(nn.ReLU()), digits.context())
    with pytest.raises(ConfigError, match="fits no tensor"):
        Kmeans(bits={"fc1": 3}).apply(digits.dense(), digits.context())
    broken = digits.dense()
    broken[0].weight.data[0, 0] = float("inf")
    with pytest.raises(TechniqueError, match=r"0\.weight: weights are NaN or infinite"):
        Kmeans().apply(broken, digits.context())
