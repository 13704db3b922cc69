"""Keeps the numbers of tensors in 16 bits: those that no other technique has taken, and the values inside encodings.

Survey: bits precision. "float16" has 11 significant bits and ends at 65,504; "bfloat16" has 8 and the range of
float32. The network still computes in its own type: only what is kept gets narrower.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from featherweight.core.context import Context
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.base import Encoding
from featherweight.errors import TechniqueError
from featherweight.techniques._encoded import narrowed
from featherweight.techniques._selection import Weight, check_patterns, tensors_of
from featherweight.techniques.base import Technique

_FORMATS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Half(Technique):
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

        Raises: TechniqueError when there is nothing to narrow, or a named tensor overflows the format or is kept in a
        way that has no values; ConfigError for a pattern that fits nothing.
        """
        stored = _FORMATS[self.format]
        present = encodings_of(model)
        narrow: dict[str, Encoding] = {}
        changes: dict[str, float] = {}
        for item in self._chosen(model):
            values = item.parameter.detach()
            if values.element_size() <= 2:
                continue
            if bool(torch.isfinite(values.to(stored)).all()):
                narrow[item.name] = narrowed(item.name, present.pop(item.name, None), values, stored)
                changes[item.name] = float((narrow[item.name].to_tensor() - values).abs().max())
            elif self.tensors:
                largest = float(values.abs().max())
                fix = "Use format 'bfloat16', or leave the tensor out."
                raise TechniqueError(f"does not fit into {self.format}", where=item.name, value=largest, fix=fix)
        if not narrow:
            raise TechniqueError("the model has no tensor to keep in 16 bits", value=type(model).__name__)
        attach(model, narrow)
        context.record("narrowed", changes)
        return model

    def _chosen(self, model: nn.Module) -> list[Weight]:
        everything = [item for item in tensors_of(model) if item.parameter.numel()]
        check_patterns(self.tensors, everything)
        return [item for item in everything if not self.tensors or any(item.matches(name) for name in self.tensors)]
