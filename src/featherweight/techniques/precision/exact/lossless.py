"""Keeps every tensor bit for bit; what makes the file smaller is coding alone.

Trained weights are of few orders of magnitude, so that the exponents of their values take two or three bits instead
of eight; mantissas are as good as random. Exponents and mantissas are therefore coded apart (encodings/dense.py).
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.encodings.attach import encodings_of
from featherweight.encodings.base import Encoding
from featherweight.encodings.dense import Dense
from featherweight.errors import TechniqueError
from featherweight.techniques.base import PerTensor


@dataclass(frozen=True, kw_only=True)
class Lossless(PerTensor):
    """Keeps every value of every tensor with all its bits: NaN payloads, infinities, denormals and -0.0 included.

    The only step of its recipe: where an earlier one has changed how a tensor is kept, there is nothing to keep as it
    was. A checkpoint may hold NaN and infinity; the file then says so, and readers have to allow them.
    """

    survey: ClassVar[str] = "lossless coding; Hershcovitch et al. 2024, ZipNN"
    applies_to: ClassVar[tuple[str, ...]] = ("any tensor",)
    lossless: ClassVar[bool] = True

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The model as it is.

        Raises: TechniqueError when an earlier step has put another encoding on a tensor.
        """
        for name, encoding in encodings_of(model).items():
            self.encode(name, encoding.to_tensor(), encoding)
        return model

    def needs_model(self) -> str | None:
        """See PerTensor: never."""
        return None

    @property
    def working_bytes(self) -> int:
        """See PerTensor: the bytes of a value apart, and coded, in two forms."""
        return 24

    def names(self, model: nn.Module) -> tuple[str, ...]:
        """See PerTensor: all."""
        return tuple(model.state_dict())

    def encode(self, name: str, weight: Tensor, encoding: Encoding | None) -> Encoding | None:
        """See PerTensor."""
        if encoding is None or (isinstance(encoding, Dense) and encoding.stored == encoding.dtype):
            return None
        raise TechniqueError(
            "an earlier step keeps this tensor in another way",
            where=name,
            value=type(encoding).__name__,
            fix="Use the recipe lossless alone.",
        )
