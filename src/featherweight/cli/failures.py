"""From an exception to one line on stderr and an exit code.

0 done, 1 failed, 2 wrong usage, 65 damaged file, 66 missing input, 73 output cannot be created, 74 input or output
error, 77 no permission, 130 interrupted, 143 terminated: as in sysexits.h where it has a name for the case.
"""

import os
import sys
import traceback

from featherweight.cli import output
from featherweight.errors import FeatherweightError, StorageError

CODES = frozenset({0, 1, 2, 65, 66, 73, 74, 77, 130, 143})


def tell(error: BaseException, *, debug: bool = False) -> int:
    """Says on stderr what went wrong, in one line (with `debug`: and where), and gives the exit code."""
    if isinstance(error, SystemExit):
        return _code_of_exit(error)
    if isinstance(error, BrokenPipeError):
        _hush()
        return 1
    if debug:
        traceback.print_exception(error)
    output.news(f"featherweight: {_sentence(error)}")
    return exit_code(error)


def exit_code(error: BaseException) -> int:
    """The exit code for an exception, one of CODES."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if type(error) is StorageError and isinstance(error.__cause__, OSError):
        return _code_of_os(error.__cause__, missing=73)
    if isinstance(error, OSError):
        return _code_of_os(error, missing=66)
    code = getattr(error, "exit_code", 1)
    return code if code in CODES else 1


def _code_of_os(error: OSError, *, missing: int) -> int:
    if isinstance(error, PermissionError):
        return 77
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return missing
    return 74


def _sentence(error: BaseException) -> str:
    if isinstance(error, FeatherweightError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError):
        return "out of memory. Try a smaller batch size or a machine with more memory."
    usage = getattr(error, "format_message", None)  # the parser's own exceptions have this in every release of typer
    if callable(usage):
        return _usage(error, str(usage()))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error} (unexpected; --debug shows where)"


def _usage(error: BaseException, message: str) -> str:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "featherweight")
    return f"{message.rstrip('.')}. See: {command} --help"


def _code_of_exit(error: SystemExit) -> int:
    if error.code is None or error.code in CODES:
        return int(error.code or 0)
    if not isinstance(error.code, int):
        output.news(f"featherweight: {error.code}")
    return 1


def _hush() -> None:
    # the reader of our output went away: what is still buffered must not raise again when the interpreter ends
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, sys.stdout.fileno())
    except (OSError, ValueError):
        return
    finally:
        os.close(devnull)
