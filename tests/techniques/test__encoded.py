import pytest
import torch

from featherweight.encodings.base import Encoding
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.errors import TechniqueError
from featherweight.techniques._encoded import mask_of, narrowed, pruned, shared, survivors_of

WEIGHT = torch.tensor([[0.5, -1.0, 0.25], [2.0, 0.0, -0.5]])
MASK = torch.tensor([[True, True, False], [True, False, True]])


def forms() -> dict[str, Encoding | None]:
    indices = torch.tensor([[1, 0, 1], [2, 1, 0]])
    centroids = Dense(torch.tensor([-0.75, 0.25, 2.0]), torch.float16)
    return {
        "plain": None,
        "dense": Dense(WEIGHT, torch.float16),
        "sparse": Sparse.of(WEIGHT, MASK),
        "codebook": Codebook(indices, centroids),
        "both": Sparse(MASK, Codebook(indices[MASK], centroids)),
    }


def held(encoding: Encoding | None) -> torch.Tensor:
    return WEIGHT if encoding is None else encoding.to_tensor()


@pytest.mark.parametrize("form", forms())
def test_pruning_zeroes_the_rest_and_changes_nothing_else(form):
    encoding = forms()[form]
    before = held(encoding)
    more = torch.tensor([[True, False, True], [True, True, True]])
    result = pruned("w", encoding, before, more)
    assert torch.equal(result.to_tensor(), before * more)
    assert torch.equal(result.mask, more & mask_of(encoding, WEIGHT))
    kind = {"plain": Dense, "dense": Dense, "sparse": Dense, "codebook": Codebook, "both": Codebook}[form]
    assert type(result.inner) is kind


@pytest.mark.parametrize("form", forms())
def test_survivors_are_the_values_under_the_mask(form):
    encoding = forms()[form]
    found = survivors_of("w", encoding, held(encoding))
    if form in ("sparse", "both"):
        assert torch.equal(found.mask, MASK)
        assert torch.equal(found.values, held(encoding)[MASK])
    else:
        assert found.mask is None
        assert torch.equal(found.values, held(encoding))
    assert found.stored == (torch.float32 if form in ("plain", "sparse") else torch.float16)


@pytest.mark.parametrize("form", forms())
def test_sharing_keeps_mask_and_precision_and_drops_what_is_unused_or_equal(form):
    survivors = survivors_of("w", forms()[form], held(forms()[form]))
    indices = (survivors.values > 0).long() + 1
    result = shared(survivors, indices, torch.tensor([9.0, 0.5, 1.5, 0.5]))
    expected = torch.where(held(forms()[form]) > 0, 1.5, 0.5)
    codebook = result.inner if isinstance(result, Sparse) else result
    assert torch.equal(result.to_tensor(), expected if survivors.mask is None else expected * MASK)
    assert codebook.centroids.to_tensor().tolist() == [0.5, 1.5]
    assert codebook.centroids.stored == survivors.stored
    equal = shared(survivors, indices, torch.tensor([9.0, 0.5, 0.5]))
    assert len(torch.unique(equal.to_tensor()[MASK])) == 1


@pytest.mark.parametrize("form", forms())
def test_narrowing_rounds_the_values_and_keeps_the_structure(form):
    encoding = forms()[form]
    result = narrowed("w", encoding, held(encoding) / 3 if form == "plain" else held(encoding), torch.bfloat16)
    exact = (WEIGHT / 3).bfloat16().float() if form == "plain" else held(encoding).bfloat16().float()
    assert torch.equal(result.to_tensor(), exact)
    assert type(result) is (Dense if encoding is None else type(encoding))
    assert torch.equal(mask_of(result, WEIGHT), mask_of(encoding, WEIGHT))


def test_other_encodings_are_refused_by_name():
    class Strange(Dense):
        """Looks like no encoding that pruning knows."""

    class Other(Encoding):
        shape, dtype, code, field_count = (2, 3), torch.float32, 99, 0

        def to_tensor(self):
            return WEIGHT

        gradient = project = updated = state = restored = pack = layout = unpack = finite = from_tensor = None

    for act in (
        lambda e: pruned("fc", e, WEIGHT, MASK),
        lambda e: survivors_of("fc", e, WEIGHT),
        lambda e: narrowed("fc", e, WEIGHT, torch.float16),
    ):
        with pytest.raises(TechniqueError, match=r"fc: cannot be combined.*'Other'"):
            act(Other())
    assert torch.equal(pruned("fc", Strange(WEIGHT), WEIGHT, MASK).to_tensor(), WEIGHT * MASK)
