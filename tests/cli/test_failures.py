import io
import os
import sys

import pytest
import typer

from featherweight.cli import failures
from featherweight.cli.output import MissingInputError, NoPermissionError, OutputError
from featherweight.errors import (
    FeatherweightError,
    FormatError,
    GuardError,
    InterruptedRunError,
    LockedError,
    StorageError,
    TaskError,
    TerminatedRunError,
    UnknownNameError,
)


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FeatherweightError("x"), 1),
        (UnknownNameError("x"), 2),
        (TaskError("x"), 66),
        (FormatError("E_MAGIC", "x"), 65),
        (GuardError("x"), 1),
        (LockedError("x"), 74),
        (StorageError("x"), 74),
        (caused(StorageError("x"), PermissionError(13, "no")), 77),
        (caused(StorageError("x"), FileNotFoundError(2, "no")), 73),
        (caused(StorageError("x"), OSError(28, "full")), 74),
        (OutputError("x"), 73),
        (NoPermissionError("x"), 77),
        (MissingInputError("x"), 66),
        (InterruptedRunError("x"), 130),
        (TerminatedRunError("x"), 143),
        (PermissionError(13, "no"), 77),
        (FileNotFoundError(2, "no"), 66),
        (OSError(5, "input/output error"), 74),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 1),
        (ValueError("x"), 1),
        (typer.BadParameter("x"), 2),
    ],
)
def test_every_failure_has_its_exit_code(error, code):
    assert failures.exit_code(error) == code
    assert code in failures.CODES


def test_a_failure_is_one_line(capsys):
    assert failures.tell(FeatherweightError("two\nlines\x1b[31m", where="here", value=3)) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "featherweight: here: two lines\\x1b[31m (got 3).\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("odd"), "RuntimeError: odd (unexpected; --debug shows where)"),
        (MemoryError(), "out of memory"),
        (KeyboardInterrupt(), "interrupted"),
        (FileNotFoundError(2, "No such file", "a.txt"), "a.txt: No such file"),
        (OSError(5, "Broken disk"), "Broken disk"),
        (typer.BadParameter("no number"), "Invalid value: no number. See: featherweight --help"),
    ],
)
def test_what_is_said(error, said, capsys):
    failures.tell(error)
    assert said in capsys.readouterr().err


def test_debug_adds_the_traceback(capsys):
    try:
        raise ValueError("deep")
    except ValueError as error:
        failures.tell(error, debug=True)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "left"), [(None, 0), (0, 0), (2, 2), (99, 1), ("a word", 1)])
def test_an_exit_of_somebody_elses_code_becomes_one_of_ours(code, left, capsys):
    assert failures.tell(SystemExit(code)) == left
    assert ("a word" in capsys.readouterr().err) is (code == "a word")


def test_a_reader_that_goes_away_is_no_news(monkeypatch, tmp_path, capsys):
    with (tmp_path / "pipe").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert failures.tell(BrokenPipeError()) == 1
        stream.write("into the void")
        stream.flush()
    assert (tmp_path / "pipe").read_text() == ""
    assert capsys.readouterr().err == ""


def test_a_stdout_without_a_descriptor_does_not_matter(monkeypatch):
    free = os.dup(0)
    os.close(free)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert failures.tell(BrokenPipeError()) == 1
    assert os.dup(0) == free, "a descriptor was left open"
    os.close(free)
