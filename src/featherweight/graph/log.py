"""The replayable log of surgery: what was taken out of a network or put in its place, without any weight.

After `replay` on a fresh instance of the user's class the state dict of the pruned network loads into it. A model
carries the log of all that was done to it (`log_of`): it travels with `copy.deepcopy` and is kept in `.fwt` files.

    {"format": "featherweight surgery", "version": 1, "steps": [
      {"do": "remove", "tensors": {"conv.weight": [[0, 8, [[0, 3], [5, 2]]]]}, "set": [["conv", "groups", 1]]},
      {"do": "replace", "modules": [["block", {"kind": "Identity"}]]}]}

A cut is [dimension, size before, runs that stay], a run [first index, count].
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from torch import nn

from featherweight.core.attached import SURGERY, attached, hang
from featherweight.core.patience import Check, never
from featherweight.errors import FormatError, UsageError
from featherweight.graph._log_steps import Cut, Removal, Replacement, Step, read_step
from featherweight.graph._replay import perform, sketch

__all__ = ["Cut", "Log", "Removal", "Replacement", "Step", "keep_log", "log_of", "replay", "sketch"]

FORMAT: Final = "featherweight surgery"
VERSION: Final = 1
MAX_STEPS: Final = 4096
MAX_VALUES: Final = 2**20  # names, runs and settings of all steps together
MAX_BYTES: Final = 16 * 2**20  # of JSON


@dataclass(frozen=True)
class Log:
    """Steps in the order in which they were done. Logs add up: `first + then`.

    Raises: UsageError for more than 4096 steps or 2^20 names, runs and settings.
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if len(self.steps) > MAX_STEPS:
            raise UsageError(f"a log has at most {MAX_STEPS} steps", where="log", value=len(self.steps))
        values = sum(step.weight for step in self.steps)
        if values > MAX_VALUES:
            raise UsageError(f"a log has at most {MAX_VALUES} names, runs and settings", where="log", value=values)

    def __add__(self, then: "Log") -> "Log":
        return Log(self.steps + then.steps)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {"format": FORMAT, "version": VERSION, "steps": [step.plain() for step in self.steps]}

    def to_json(self) -> str:
        """As compact JSON text; the same log gives the same text."""
        return json.dumps(self.to_dict(), separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @property
    def elements(self) -> int:
        """How many numbers the modules that it puts in hold, all together."""
        return sum(step.elements for step in self.steps if isinstance(step, Replacement))

    @classmethod
    def from_dict(cls, plain: Any, check: Check = never) -> "Log":
        """A log from JSON data; `check` is called at each step and may end it.

        Raises: FormatError E_LOG for whatever a log must not be or say.
        """
        if type(plain) is not dict or set(plain) != {"format", "version", "steps"} or plain["format"] != FORMAT:
            _refuse(f'a log is {{"format": "{FORMAT}", "version": {VERSION}, "steps": [...]}}', plain)
        if type(plain["version"]) is not int or plain["version"] != VERSION:
            _refuse(f"this release reads version {VERSION}", plain["version"])
        steps = plain["steps"]
        if type(steps) is not list or len(steps) > MAX_STEPS:
            _refuse(f"a log has a list of at most {MAX_STEPS} steps", steps)
        try:
            return cls(tuple(_read(steps, check)))
        except UsageError as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            raise FormatError("E_LOG", what, section="surgery", value=error.value, fix=error.fix) from error

    @classmethod
    def from_json(cls, text: str | bytes, check: Check = never) -> "Log":
        """A log from JSON text. Raises: FormatError E_LOG, as `from_dict` does, and for text that is no JSON."""
        if len(text) > MAX_BYTES:
            _refuse(f"a log has at most {MAX_BYTES} bytes", len(text))
        try:
            plain = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise FormatError("E_LOG", f"the log is no JSON: {error}", section="surgery") from error
        return cls.from_dict(plain, check)


def _read(steps: list[Any], check: Check) -> Iterator[Step]:
    """Each step; ends where the limit is passed, before the next one is looked at."""
    values = 0
    for plain in steps:
        check()
        step = read_step(plain)
        values += step.weight
        yield step
        if values > MAX_VALUES:
            return  # the log itself says why


def _refuse(what: str, value: object) -> NoReturn:
    raise FormatError("E_LOG", what, section="surgery", value=value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("a key occurs twice in one object", sorted(key for key, _ in pairs))
    return found


def _no_constant(name: str) -> NoReturn:
    _refuse("a number is finite", name)


def replay(model: nn.Module, log: Log | Mapping[str, Any], *, in_place: bool = False) -> nn.Module:
    """Does to a copy of `model` (with `in_place` to itself) what the log says; gives that model, the log kept on it.

    The model has the structure that the log began with: a fresh instance of the user's class, or one on which earlier
    logs were replayed. Tensors stay where they are, in their type, with their `requires_grad`; tied ones stay tied.
    Gradients are dropped. What does not fit is found before anything changes.

    Raises: UsageError, which names the tensor, module or attribute, for a model of another architecture and for
    weights that an encoding holds; FormatError E_LOG for a mapping that is no log.
    """
    done = log if isinstance(log, Log) else Log.from_dict(dict(log))
    if in_place:
        rehearsal = sketch(model)
        for step in done.steps:
            perform(rehearsal, step)
    target = model if in_place else copy.deepcopy(model)
    for step in done.steps:
        perform(target, step)
    keep_log(target, log_of(target) + done)
    return target


def log_of(model: nn.Module) -> Log:
    """All that was done to the structure of the model since the user's class made it; an empty log when nothing."""
    found = attached(model, SURGERY, None)
    return found if isinstance(found, Log) else Log()


def keep_log(model: nn.Module, log: Log) -> None:
    """Makes `log` the log of the model, in the place of the one that it had."""
    hang(model, SURGERY, log)
