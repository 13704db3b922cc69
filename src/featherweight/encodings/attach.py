"""Puts encodings on the parameters of a model: the weights stay plain tensors, the encoding says how they are kept."""

from collections.abc import Mapping

import torch
from torch import nn

from featherweight.encodings.base import Encoding
from featherweight.errors import EncodingError
from featherweight.training.constraints import constrain, constraints_of


def encodings_of(model: nn.Module) -> dict[str, Encoding]:
    """The attached encodings by parameter or buffer name, with the values that the weights have now."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return {
        name: encoding.updated(tensors[name].detach())
        for name, encoding in constraints_of(model).items()
        if isinstance(encoding, Encoding)
    }


def attach(model: nn.Module, encodings: Mapping[str, Encoding]) -> None:
    """Attaches encodings by parameter or buffer name and sets those tensors to what the encodings hold.

    Raises: EncodingError when a name is no tensor of the model or a shape differs.
    """
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, encoding in encodings.items():
        if name not in tensors:
            raise EncodingError("no parameter or buffer of this name", value=name, fix="Use a name of state_dict().")
        tensor = tensors[name]
        if tuple(tensor.shape) != encoding.shape:
            raise EncodingError("shape differs from the encoding's", where=name, value=tuple(tensor.shape))
        with torch.no_grad():
            tensor.copy_(encoding.to_tensor())
    constrain(model, constraints_of(model) | dict(encodings))


def detach(model: nn.Module, names: set[str] | None = None) -> None:
    """Takes the encodings off again (all, or those named); the weights keep their values."""
    kept = {} if names is None else {name: item for name, item in constraints_of(model).items() if name not in names}
    constrain(model, kept)
