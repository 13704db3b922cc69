"""Every exception of the house, under one base.

A message says what is wrong, where (tensor, layer, file or field), with which value, and the way out.
The command line prints it in one line and exits with `exit_code`.
"""

from typing import ClassVar


class FeatherweightError(Exception):
    """Base of all errors that featherweight raises on purpose.

    `what` is the sentence, `where` the thing it is about (layer, tensor, file, field), `value` the offending
    value and `fix` the way out.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", value: object = None, fix: str = "") -> None:
        self.what, self.where, self.value, self.fix = what, where, value, fix
        super().__init__(self._message())

    def _message(self) -> str:
        got = "" if self.value is None else f" (got {_short(self.value)})"
        subject = f"{self.where}: " if self.where else ""
        fix = f" {self.fix}" if self.fix else ""
        return f"{subject}{self.what.rstrip('.')}{got}.{fix}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


class UsageError(FeatherweightError):
    """An argument, option or combination of them that makes no sense."""

    exit_code = 2


class ConfigError(UsageError):
    """A field or value of a recipe, technique or other settings that does not validate."""


class UnknownNameError(UsageError):
    """A technique, coder, encoding, metric or data source that does not exist; the fix names the nearest one."""


class TaskError(FeatherweightError):
    """A task (model, data, loss, metric) that is missing, incomplete or does not fit together."""

    exit_code = 66


class DataError(FeatherweightError):
    """Examples that cannot be found or do not match the model."""

    exit_code = 66


class MissingDataError(DataError):
    """A data set that is nowhere to be found; the fix says which file to put where."""


class TraceError(FeatherweightError):
    """A model whose graph cannot be captured."""


class SurgeryError(FeatherweightError):
    """Channels or layers that cannot be taken out of this network as asked."""


class TechniqueError(FeatherweightError):
    """A technique that cannot be applied to this model as asked."""


class DivergedError(FeatherweightError):
    """Training or a model that gives values that are not finite."""


class EncodingError(FeatherweightError):
    """A tensor that an encoding or a coder cannot hold."""


class ConformanceError(FeatherweightError):
    """A coder, encoding or technique that breaks a promise of its interface; raised by the batteries in `testing`."""


class GuardError(FeatherweightError):
    """An accuracy guard that no strength of a required step can satisfy."""


class FormatError(FeatherweightError):
    """A file that breaks a rule of the `.fwt` format.

    `code` is one of the codes of docs/format.md (`E_MAGIC`, `E_CHECKSUM`, ...), `section` the section or tensor,
    `offset` the byte offset in the file where the broken rule was noticed.
    """

    exit_code = 65

    def __init__(
        self, code: str, what: str, *, section: str = "", offset: int = 0, value: object = None, fix: str = ""
    ) -> None:
        self.code, self.section, self.offset = code, section, offset
        place = f"{section or 'file'} at byte {offset}"
        super().__init__(f"{code}: {what}", where=place, value=value, fix=fix)

    def moved(self, offset: int) -> "FormatError":
        """The same error in bytes that begin `offset` bytes further on."""
        what = self.what.removeprefix(f"{self.code}: ")
        return FormatError(
            self.code, what, section=self.section, offset=self.offset + offset, value=self.value, fix=self.fix
        )


class StorageError(FeatherweightError):
    """A file that cannot be read, written or locked: full disk, read-only place, lost permission.

    `code` tells programs what a FormatError's tells them: here that the file need not be wrong, its place is.
    """

    exit_code = 74
    code: ClassVar[str] = "E_IO"


class LockedError(StorageError):
    """A run directory that another living process owns."""

    code = "E_LOCKED"


class MissingExtraError(FeatherweightError):
    """An optional dependency that is not installed; the fix is the pip line."""


class InterruptedRunError(FeatherweightError):
    """A run that was stopped by a signal after saving its state; resume continues it."""

    exit_code = 130


class TerminatedRunError(InterruptedRunError):
    """A run that SIGTERM stopped after saving its state; resume continues it."""

    exit_code = 143
