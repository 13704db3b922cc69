import torch

from featherweight.encodings.codebook import Codebook
from featherweight.encodings.sparse import Sparse
from featherweight.techniques.representation.sharing._mean_gradient import MeanGradient
from featherweight.training.constraints import Constraint

MASK = torch.tensor([[True, True, False], [True, True, True]])
INNER = Sparse(MASK, Codebook(torch.tensor([0, 1, 1, 0, 1]), torch.tensor([-1.0, 2.0])))


def test_the_gradient_is_the_mean_over_the_sharers():
    wrapped = MeanGradient.of(INNER, INNER.to_tensor())
    gradient = torch.tensor([[1.0, 2.0, 50.0], [3.0, 5.0, 4.0]])
    assert torch.equal(wrapped.gradient(gradient), torch.tensor([[3.0, 3.0, 0.0], [3.0, 3.0, 3.0]]))


def test_all_else_is_the_inner_constraint():
    wrapped = MeanGradient.of(INNER, INNER.to_tensor())
    assert isinstance(wrapped, Constraint)
    weight = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(wrapped.project(weight), INNER.project(weight))
    assert torch.equal(wrapped.updated(weight).inner.to_tensor(), INNER.updated(weight).to_tensor())
    again = MeanGradient(INNER.updated(weight), torch.ones(2, 3)).restored(wrapped.state())
    assert torch.equal(again.inner.to_tensor(), INNER.to_tensor())
    assert torch.equal(again.sharers, wrapped.sharers)
