import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featherweight.encodings import payload
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.entropy.huffman import Huffman
from featherweight.entropy.raw import Raw
from featherweight.errors import EncodingError, FormatError

DENSITIES = (0, 0.001, 0.04, 0.09, 0.5, 1)
SHAPES = st.lists(st.integers(0, 12), max_size=4).map(tuple)


def there_and_back(encoding, coders=None):
    written = payload.encode(encoding, coders)
    read = payload.decode(encoding.shape, written.spec, written.data)
    assert torch.equal(read.mask, encoding.mask)
    assert torch.equal(read.to_tensor(), encoding.to_tensor())
    assert payload.encode(read, coders) == written
    return read


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("shape", [(60, 90), (1, 4000), (4000, 1), (20, 8, 5, 5), (), (7,)])
def test_densities(shape, density):
    there_and_back(Sparse.of(torch.randn(shape), torch.rand(shape) < density))


@given(SHAPES, st.sampled_from(DENSITIES), st.integers(0, 999))
def test_any_shape(shape, density, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape, generator=generator) < density
    there_and_back(Sparse.of(torch.randn(shape, generator=generator), mask))


def test_zeros_at_the_end_and_rows_of_zeros():
    weight = torch.randn(30, 50)
    mask = torch.rand(30, 50) < 0.2
    mask[-1] = mask[10:15] = False
    mask[-2, -20:] = False
    there_and_back(Sparse.of(weight, mask))


def test_deep_compression():
    weight = torch.randn(100, 300)
    mask = weight.abs() > 1.7
    encoding = Sparse(mask, Codebook.of(weight[mask], Dense(torch.linspace(-3, 3, 16), torch.float16)))
    read = there_and_back(encoding)
    assert isinstance(read.inner, Codebook)
    assert len(read.to_tensor()[mask].unique()) <= 16
    density = float(mask.float().mean())
    bits = 8 * len(payload.encode(encoding).data) / weight.numel()
    assert bits < 1.1 * (density * 4 - density * np.log2(density) - (1 - density) * np.log2(1 - density))


def test_dead_inputs_are_left_out():
    """A first layer with many inputs that nothing looks at: rows and columns without weights cost a bit each."""
    weight = torch.randn(100, 400)
    mask = (torch.rand(100, 400) < 0.1) & (torch.rand(400) < 0.4)
    spec = payload.encode(Sparse.of(weight, mask)).spec
    assert spec[1] >= 64
    live = mask[:, mask.any(0)]
    entropy = live.numel() * -sum(p * np.log2(p) for p in (float(live.float().mean()), 1 - float(live.float().mean())))
    index_bytes = sum(spec[5:10:2])
    assert index_bytes < 1.03 * entropy / 8 + 13 + 50 + 20


def test_the_smaller_form_is_chosen():
    few = Sparse.of(torch.ones(200, 200), torch.rand(200, 200) < 0.01)
    many = Sparse.of(torch.ones(200, 200), torch.rand(200, 200) < 0.5)
    assert payload.encode(few).spec[1] > 0
    assert payload.encode(many).spec[1] == 0
    for encoding in (few, many):
        sizes = [index_bytes(encoding, form) for form in range(17)]
        assert payload.encode(encoding).spec[5] <= min(sizes)


def index_bytes(encoding, form):
    """The smallest size of the mask in a form of one stream."""
    packed = encoding.pack(form)
    stream = Sparse.layout(encoding.shape, packed.fields).streams[0]
    return min(coder.size(packed.streams[0], stream) for coder in (Raw(), Huffman()))


def test_the_mask_decides_what_is_zero():
    """A weight that is kept may be zero; it stays in the file, and a value near zero prunes nothing."""
    mask = torch.tensor([True, False, True])
    encoding = Sparse(mask, Codebook(torch.tensor([0, 1]), torch.tensor([0.0, 1e-30])))
    read = there_and_back(encoding)
    assert read.mask.tolist() == mask.tolist()
    assert encoding.nonzeros == 1


def test_training_keeps_zeros():
    weight = torch.randn(6, 6)
    mask = torch.rand(6, 6) < 0.5
    for inner in (Dense(weight[mask]), Codebook.of(weight[mask], torch.tensor([-1.0, 1.0]))):
        encoding = Sparse(mask, inner)
        gradient = encoding.gradient(torch.randn(6, 6))
        assert not gradient[~mask].any()
        assert gradient[mask].any()
        spoiled = weight.clone()
        spoiled[~mask] = float("nan")
        assert not encoding.project(spoiled)[~mask].any()
        assert torch.equal(encoding.updated(weight).to_tensor()[~mask], torch.zeros(int((~mask).sum())))


def test_gradients_of_a_codebook_inside_are_those_of_autograd():
    mask = torch.rand(8, 9) < 0.4
    centroids = torch.randn(3, dtype=torch.float64, requires_grad=True)
    encoding = Sparse(mask, Codebook(torch.randint(0, 3, (int(mask.sum()),)), centroids))
    upstream = torch.randn(8, 9, dtype=torch.float64)
    (encoding.to_tensor() * upstream).sum().backward()
    spread = encoding.gradient(upstream)
    assert torch.allclose(spread[mask], centroids.grad[encoding.inner.indices.long()])


def test_state():
    encoding = Sparse.of(torch.randn(4, 4), torch.rand(4, 4) < 0.5)
    other = Sparse.of(torch.randn(4, 4), torch.ones(4, 4, dtype=torch.bool))
    assert torch.equal(other.restored(encoding.state()).to_tensor(), encoding.to_tensor())


def test_what_does_not_go_together():
    mask = torch.tensor([True, False])
    with pytest.raises(EncodingError, match="keeps 1 weights"):
        Sparse(mask, Dense(torch.zeros(2)))
    with pytest.raises(EncodingError, match="tensor of bool"):
        Sparse(mask.float(), Dense(torch.zeros(1)))
    with pytest.raises(EncodingError, match="differ in shape"):
        Sparse.of(torch.zeros(3), mask)
    with pytest.raises(EncodingError, match="no such form"):
        Sparse.of(torch.zeros(2), mask).pack(17)


@pytest.mark.parametrize("fields", [(17, 1, 0), (0, 5, 0), (2, 3, 1), (64, 1, 0)])
def test_fields_that_lie(fields):
    with pytest.raises(FormatError):
        Sparse.layout((2, 2), fields)
    assert Sparse.layout((2, 2), (2, 4, 0)).children == ((4,),)


def test_finite_asks_the_values():
    mask = torch.tensor([True, False])
    assert Sparse(mask, Dense(torch.tensor([1.0]))).finite
    assert not Sparse(mask, Dense(torch.tensor([float("inf")]))).finite
