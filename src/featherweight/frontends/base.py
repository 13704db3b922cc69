"""The interface of a front end: what a user names becomes a task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from featherweight.core.task import Task

SOCKET = "featherweight.frontends"


class FrontEnd(ABC):
    """One kind of thing that can be compressed. Subclasses are found by file name and told apart by `accepts`."""

    looks: ClassVar[str]  # in words, how a name of this kind looks; for error messages

    @classmethod
    @abstractmethod
    def accepts(cls, name: str) -> bool:
        """Whether `name` looks like this kind; nothing is opened."""

    @abstractmethod
    def read(self, name: str, settings: Mapping[str, Any], *, seed: int | None = None) -> Task:
        """The task that `name` stands for. `settings` are arguments of the user's; `seed` is passed on where taken.

        Raises: TaskError when it is missing, broken or of another kind than it looks.
        """
