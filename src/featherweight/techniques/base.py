"""The interface of a technique: the settings are the technique; model and data come later, in one method."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from featherweight.core.context import Context

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
