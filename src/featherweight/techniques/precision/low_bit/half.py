"""Keeps the numbers of tensors in 16 bits: those that no other technique has taken, and the values inside encodings.

Survey: bits precision. "float16" has 11 significant bits and ends at 65,504; "bfloat16" has 8 and the range of
float32. The network still computes in its own type: only what is kept gets narrower.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.base import Encoding
from featherweight.errors import TechniqueError
from featherweight.techniques._encoded import narrowed
from featherweight.techniques._selection import Weight, check_patterns, tensors_of
from featherweight.techniques.base import PerTensor

_FORMATS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Half(PerTensor):
    """Keeps tensors in 16-bit floats: plain ones, and the survivors and centroids inside their encodings.

    Belongs at the end of a recipe: what is trained afterwards is rounded after every step. A tensor that does not fit
    into the range of the format keeps its own type when it was not named; the record says which.
    """

    survey: ClassVar[str] = "bits precision; IEEE 754 binary16, bfloat16"
    applies_to: ClassVar[tuple[str, ...]] = ("any floating-point parameter or buffer",)

    format: Literal["float16", "bfloat16"] = "float16"  # finer, or of wider range
    tensors: tuple[str, ...] = ()  # patterns of names; empty: every floating-point parameter and buffer

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The model with 16-bit values. Records "narrowed": {tensor: largest change of a value}.

        Tensors that have 16 bits or fewer already stay as they are.

        Raises: TechniqueError when there is no tensor to narrow, or a named tensor overflows the format or is kept in
        a way that has no values; ConfigError for a pattern that fits nothing.
        """
        present = encodings_of(model)
        narrow: dict[str, Encoding] = {}
        changes: dict[str, float] = {}
        for item in self._chosen(model):
            values = item.parameter.detach()
            made = self.encode(item.name, values, present.pop(item.name, None))
            if made is not None:
                narrow[item.name] = made
                changes[item.name] = float((made.to_tensor() - values).abs().max())
        attach(model, narrow)
        context.record("narrowed", changes)
        return model

    def needs_model(self) -> str | None:
        """See PerTensor: never."""
        return None

    def names(self, model: nn.Module) -> tuple[str, ...]:
        """See PerTensor."""
        return tuple(item.name for item in self._chosen(model))

    def encode(self, name: str, weight: Tensor, encoding: Encoding | None) -> Encoding | None:
        """See PerTensor."""
        stored = _FORMATS[self.format]
        if weight.element_size() <= 2:
            return None
        if bool(torch.isfinite(weight.to(stored)).all()):
            return narrowed(name, encoding, weight, stored)
        if self.tensors:
            largest = float(weight.abs().max())
            fix = "Use format 'bfloat16', or leave the tensor out."
            raise TechniqueError(f"does not fit into {self.format}", where=name, value=largest, fix=fix)
        return None

    def _chosen(self, model: nn.Module) -> list[Weight]:
        everything = [item for item in tensors_of(model) if item.parameter.numel()]
        check_patterns(self.tensors, everything)
        if not everything:
            raise TechniqueError("the model has no tensor to keep in 16 bits", value=type(model).__name__)
        return [item for item in everything if not self.tensors or any(item.matches(name) for name in self.tensors)]
