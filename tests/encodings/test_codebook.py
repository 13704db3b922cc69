import pytest
import torch
from torch import nn

from featherweight.encodings import payload
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.entropy.raw import Raw
from featherweight.errors import EncodingError, FormatError
from featherweight.training.constraints import constraints_of


def there_and_back(encoding):
    written = payload.encode(encoding)
    read = payload.decode(encoding.shape, written.spec, written.data)
    assert torch.equal(read.to_tensor(), encoding.to_tensor())
    assert payload.encode(read) == written
    return read


@pytest.mark.parametrize("count", [1, 2, 3, 256, 257, 5000, 32769, 65536])
def test_any_number_of_values(count):
    indices = torch.cat([torch.arange(count), torch.randint(0, count, (50,))])
    encoding = Codebook(indices, torch.randn(count))
    assert encoding.indices.dtype == (torch.uint8 if count <= 256 else torch.int16 if count <= 32768 else torch.int32)
    assert torch.equal(there_and_back(encoding).indices, encoding.indices)


def test_one_value_costs_nothing_but_itself():
    encoding = Codebook(torch.zeros(1000, 100, dtype=torch.int64), torch.tensor([0.5]))
    assert len(payload.encode(encoding, [Raw()]).data) == 4
    there_and_back(encoding)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3)])
def test_any_shape(shape):
    encoding = Codebook(torch.zeros(shape, dtype=torch.uint8), torch.tensor([1.5, 2]))
    assert there_and_back(encoding).to_tensor().shape == shape


def test_no_values_for_no_weights():
    there_and_back(Codebook(torch.zeros(0, 4, dtype=torch.uint8), torch.zeros(0)))
    with pytest.raises(EncodingError, match="1 to 65536"):
        Codebook(torch.zeros(1, dtype=torch.uint8), torch.zeros(0))


@pytest.mark.parametrize(
    ("indices", "centroids", "match"),
    [
        ([0, 2], torch.zeros(2), "outside 0..1"),
        ([-1, 0], torch.zeros(2), "outside 0..1"),
        ([0], torch.zeros(65537), "65536"),
        ([0], torch.zeros(2, 2), "shape"),
    ],
)
def test_what_is_no_codebook(indices, centroids, match):
    with pytest.raises(EncodingError, match=match):
        Codebook(torch.tensor(indices), centroids)


def test_each_weight_takes_its_nearest_value():
    weight = torch.randn(40, 50)
    centroids = torch.tensor([0.7, -1.0, 0.0, 2.0])
    encoding = Codebook.of(weight, centroids)
    distance = (weight[..., None] - centroids).abs()
    assert torch.equal(encoding.indices.long(), distance.argmin(-1))
    assert torch.equal(Codebook.of(torch.tensor([1.0]), torch.tensor([2.0, 0.0])).indices, torch.tensor([1]).byte())


def test_weights_that_are_no_numbers():
    with pytest.raises(EncodingError, match="must be numbers"):
        Codebook.of(torch.tensor([float("nan")]), torch.zeros(1))
    with pytest.raises(EncodingError, match="must be numbers"):
        Codebook.of(torch.zeros(1), torch.tensor([float("inf")]))


def test_the_gradient_is_a_finite_difference():
    """Catalogue, pruning 18, check iv."""
    encoding = Codebook(torch.randint(0, 4, (6, 7)), torch.randn(4, dtype=torch.float64))
    upstream = torch.randn(6, 7, dtype=torch.float64)

    def loss(centroids):
        return (Codebook(encoding.indices, centroids).to_tensor() * upstream).sin().sum()

    centroids = encoding.centroids.values.clone().requires_grad_()
    loss(centroids).backward()
    for k in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[k] = 1e-6
        difference = (loss(centroids.detach() + step) - loss(centroids.detach() - step)) / 2e-6
        assert torch.allclose(centroids.grad[k], difference, atol=1e-7)


def test_members_get_the_sum_of_their_cluster():
    encoding = Codebook(torch.tensor([[0, 1], [0, 2]]), torch.zeros(4))
    spread = encoding.gradient(torch.tensor([[1.0, 2.0], [10.0, 20.0]]))
    assert spread.tolist() == [[11, 2], [11, 20]]


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.Adam(parameters, 0.05, weight_decay=0.1),
        lambda parameters: torch.optim.AdamW(parameters, 0.05, weight_decay=0.1),
        lambda parameters: torch.optim.SGD(parameters, 0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    ],
)
@pytest.mark.parametrize("pruned", [False, True])
def test_shared_weights_of_an_lstm_stay_equal_bit_for_bit(make, pruned):
    model = nn.LSTM(5, 8, batch_first=True)
    encodings = {}
    for name, weight in model.named_parameters():
        if "weight" not in name:
            continue
        inner = weight.detach()
        mask = inner.abs() > 0.2
        shared = Codebook.of(inner[mask] if pruned else inner, torch.linspace(-0.4, 0.4, 8))
        encodings[name] = Sparse(mask, shared) if pruned else shared
    attach(model, encodings)
    optimizer = make(model.parameters())
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for _ in range(30):
        optimizer.zero_grad()
        model(torch.randn(4, 6, 5))[0].square().mean().backward()
        for name, weight in model.named_parameters():
            if name in encodings:
                weight.grad = constraints_of(model)[name].gradient(weight.grad)
        optimizer.step()
        with torch.no_grad():
            for name, constraint in constraints_of(model).items():
                weight = model.get_parameter(name)
                assert torch.equal(constraint.project(weight), weight)  # nothing to repair: bit for bit
    for name, encoding in encodings.items():
        weight = model.get_parameter(name).detach()
        assert not torch.equal(weight, start[name])
        assert torch.equal(encodings_of(model)[name].to_tensor(), weight)
        if pruned:
            assert torch.equal(weight[~encoding.mask], torch.zeros(int((~encoding.mask).sum())))
        used = weight[encoding.mask] if pruned else weight
        assert len(used.unique()) <= 8


def test_values_that_no_weight_uses_stay():
    encoding = Codebook(torch.tensor([0, 0, 2]), torch.tensor([1.0, 7.0, 3.0]))
    changed = encoding.updated(torch.tensor([2.0, 4.0, 5.0]))
    assert changed.centroids.values.tolist() == [3, 7, 5]
    assert encoding.centroids.values.tolist() == [1, 7, 3]


def test_the_stored_type_of_the_values_is_kept():
    encoding = Codebook(torch.tensor([0, 1]), Dense(torch.tensor([0.1, 0.2]), torch.float16))
    changed = encoding.updated(torch.tensor([0.3, 0.4]))
    assert torch.equal(changed.to_tensor(), torch.tensor([0.3, 0.4]).half().float())
    restored = encoding.restored(changed.state())
    assert torch.equal(restored.to_tensor(), changed.to_tensor())
    assert restored.centroids.stored == torch.float16


def test_counts_that_lie():
    for count, shape in ((0, (3,)), (65537, (3,)), (1 << 50, (0,))):
        with pytest.raises(FormatError, match="E_COUNT"):
            Codebook.layout(shape, (count,))
    with pytest.raises(EncodingError, match="form of this codebook is 2"):
        Codebook(torch.tensor([0]), torch.zeros(2)).pack(3)


def test_a_codebook_of_many_weights_takes_little_memory():
    """Indices stay in one byte; nothing of eight bytes a weight is made."""
    encoding = Codebook(torch.randint(0, 32, (3 << 20,), dtype=torch.uint8), torch.randn(32))
    assert encoding.pack().streams[0].base is not None  # a view, not a copy
    assert encoding.clusters.indices.dtype == torch.uint8
    assert int(encoding.clusters.sizes.sum()) == 3 << 20


def test_finite():
    assert Codebook(torch.tensor([0]), torch.tensor([1.0, 2.0])).finite
    assert not Codebook(torch.tensor([0]), torch.tensor([1.0, float("nan")])).finite
