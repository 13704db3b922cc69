"""The battery notices what it is there for: each broken technique breaks exactly the promise named."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from featherweight.encodings.attach import attach
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.errors import ConformanceError, TechniqueError
from featherweight.techniques.base import Technique
from featherweight.techniques.precision.low_bit.half import Half
from featherweight.testing.techniques import CHECKS, check_pair, context, network, zoo


@dataclass(frozen=True, kw_only=True)
class Good(Technique):
    """Prunes every second weight of the last matrix, and keeps all that the battery asks for."""

    strength: ClassVar[str | None] = "share"
    gentle: ClassVar[float] = 1.0
    survey: ClassVar[str] = "none"
    applies_to: ClassVar[tuple[str, ...]] = ("linear",)

    share: float = 0.5  # of the weights that are kept, 0..1

    def apply(self, model, context):
        name, weight = [(name, item) for name, item in model.named_parameters() if item.dim() == 2][-1]
        mask = torch.arange(weight.numel()).reshape(weight.shape) % 2 == 0
        attach(model, {name: Sparse.of(weight, mask)})
        return model


class Undocumented(Good):
    pass


@dataclass(frozen=True, kw_only=True)
class Uncommented(Good):
    """The field says nothing of its unit or range, which leaves the reader in the dark."""

    share: float = 0.5


class Strong(Good):
    gentle: ClassVar[float] = 0.5


class Wordy(Good):
    strength: ClassVar[str | None] = "survey"


class Broken(Good):
    def apply(self, model, context):
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        return model


class Shorter(Good):
    def apply(self, model, context):
        return nn.Sequential(model, nn.LazyLinear(1))


class Forgetful(Good):
    def apply(self, model, context):
        model = super().apply(model, context)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1)
        return model


class Moody(Good):
    def apply(self, model, context):
        return super().apply(model.eval(), context)


class Frozen(Good):
    def apply(self, model, context):
        return super().apply(model.requires_grad_(requires_grad=False), context)


class Littering(Good):
    def apply(self, model, context):
        model(*context.example).sum().backward()
        return super().apply(model, context)


class Dicing(Good):
    def apply(self, model, context):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        return super().apply(model, context)


class Clinging(Good):
    def apply(self, model, context):
        model.__class__ = _cling(type(model))
        return super().apply(model, context)


def _cling(kind):
    return type("Cling", (kind,), {"__deepcopy__": lambda self, memo: self})


class Leaky(Dense):
    """Says it is kept, and is not."""

    def project(self, weight: Tensor) -> Tensor:
        return weight * 0.5

    def updated(self, weight: Tensor) -> "Leaky":
        return Leaky(weight.clone())

    def restored(self, state: Mapping[str, Tensor]) -> "Leaky":
        return Leaky(state["values"])


class Dripping(Good):
    def apply(self, model, context):
        name, weight = next(iter(model.named_parameters()))
        attach(model, {name: Leaky(weight.detach().clone())})
        return model


class Picky(Good):
    def apply(self, model, context):
        raise TechniqueError("takes no network at all, ever")


class Curt(Good):
    def apply(self, model, context):
        raise TechniqueError("no")


@pytest.mark.parametrize("promise", CHECKS)
def test_a_good_technique_passes(promise):
    CHECKS[promise](Good)
    check_pair(Good, Half)
    assert promise


@pytest.mark.parametrize(
    ("kind", "promise", "words"),
    [
        (Undocumented, "settings", "docstring"),
        (Uncommented, "settings", "comment"),
        (Strong, "strength", "gentler"),
        (Wordy, "strength", "a number"),
        (Broken, "applies", "runs"),
        (Shorter, "applies", "same kind of output"),
        (Forgetful, "applies", "keeps the weights exactly"),
        (Moody, "mode", "mode"),
        (Frozen, "mode", "trainable"),
        (Littering, "mode", "gradient"),
        (Dicing, "repeats", "same seed"),
        (Clinging, "copies", "independent"),
        (Dripping, "trains_on", "keeps the structure"),
        (Picky, "applies", "at least one"),
        (Curt, "applies", "says why"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_broken_one_is_noticed(kind, promise, words):
    with pytest.raises(ConformanceError, match=words):
        CHECKS[promise](kind)


def test_pairs_are_checked_in_order():
    with pytest.raises(ConformanceError, match=r"Forgetful after Good on mlp.*weights exactly"):
        check_pair(Good, Forgetful)
    check_pair(Forgetful, Picky)


def test_the_networks_are_the_same_every_time():
    first, second = zoo(), zoo()
    for name, model in first.items():
        state = second[name].state_dict()
        assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    model = network("mlp")
    assert context().evaluate(model) > 0.8
    assert copy.deepcopy(model) is not network("mlp")
