"""The interface of a technique: the settings are the technique; model and data come later, in one method."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.encodings.base import Encoding

SOCKET = "featherweight.techniques"


@dataclass(frozen=True, kw_only=True)
class Technique(ABC):
    """Changes a model. Subclasses are frozen dataclasses of settings in a file of their own, found by its path.

    `strength` names the numeric field that an accuracy guard may lower (towards `gentle`) when the step costs too
    much; None when the step can only be refused. `survey` is the reference in the surveys and the paper, `applies_to`
    the kinds of layers the technique changes.
    """

    strength: ClassVar[str | None] = None
    gentle: ClassVar[float] = 0.0  # the value of the strength field that changes (almost) nothing
    survey: ClassVar[str] = ""
    applies_to: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The changed model. The given one may be changed in place; the caller keeps a copy where it needs one.

        Raises: TechniqueError when the model has nothing that the technique applies to.
        """


class PerTensor(Technique):
    """A technique that can look at one tensor at a time, so that checkpoints larger than memory can pass through.

    What `encode` makes of a tensor, with the settings for which `needs_model` gives None, is what `apply` makes of it
    in a whole model, bit for bit: it depends on no other tensor, on no data and on no random number.
    """

    lossless: ClassVar[bool] = False  # whether every bit of every value is kept, NaN and infinity included

    @property
    def working_bytes(self) -> int:
        """Bytes of memory that these settings take for each weight of a tensor while it is encoded, at most."""
        return 24

    @abstractmethod
    def needs_model(self) -> str | None:
        """Why these settings need the whole model at once, as a clause; None when they do not."""

    @abstractmethod
    def names(self, model: nn.Module) -> tuple[str, ...]:
        """The tensors that the technique works on; their values are not looked at and need not be there.

        Raises: TechniqueError, ConfigError where `apply` raises them for names and shapes alone.
        """

    @abstractmethod
    def encode(self, name: str, weight: Tensor, encoding: Encoding | None) -> Encoding | None:
        """How the tensor `name` of a bare checkpoint is kept from now on; None: as before.

        `encoding` is how an earlier step keeps it (its values are those of `weight`), None for a plain tensor.

        Raises: TechniqueError where `apply` does.
        """
