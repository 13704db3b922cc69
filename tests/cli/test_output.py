import io
import json
import os
import sys

import pytest
from rich.console import Console

from featherweight.cli import output
from featherweight.cli.output import MissingInputError, NoPermissionError, OutputError
from featherweight.errors import UsageError
from featherweight.report.text import TIMES


def test_a_document_is_json_whatever_is_in_it(capsys, tmp_path):
    output.document({"a": float("nan"), "b": [1, float("inf")], "c": {"d": "名\ud800"}, 5: tmp_path, "t": (True, None)})
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {
        "a": None,
        "b": [1, None],
        "c": {"d": "名\ud800"},
        "5": str(tmp_path),
        "t": [True, None],
    }


def test_news_go_to_stderr_on_one_line(capsys):
    output.news("a\nb\x07")
    assert capsys.readouterr() == ("", "a b\\x07\n")


def test_lines_survive_a_terminal_that_cannot_show_them(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        output.line(f"41.3{TIMES} \x1b[31m")
    assert (tmp_path / "out").read_text() == "41.3? \\x1b[31m\n"


def test_a_table_in_a_pipe_is_not_cut(capsys):
    name = "blocks." * 15 + "weight"
    output.table(("tensor", "bytes"), [(name, "1,000"), ("[bold]all[/bold]", "12")], total=True)
    text = capsys.readouterr().out
    assert name in text
    assert "[bold]all[/bold]" in text
    assert [line.rstrip()[-5:] for line in text.splitlines() if "weight" in line] == ["1,000"]


def test_on_a_narrow_terminal_names_fold_and_numbers_do_not(monkeypatch):
    narrow = Console(file=io.StringIO(), width=24)
    monkeypatch.setattr(output, "screen", lambda: narrow)
    output.table(("tensor", "bytes"), [("features.block.weight", "1,234,567")])
    (first, *_) = [line for line in narrow.file.getvalue().splitlines() if "1,234,567" in line]
    assert first.startswith("features.")
    assert "features.block.weight" not in narrow.file.getvalue()


def test_a_target_must_be_a_file_in_a_directory_that_is_there(tmp_path):
    assert output.check_target(tmp_path / "x.fwt") == tmp_path / "x.fwt"
    with pytest.raises(UsageError, match="is a directory"):
        output.check_target(tmp_path)
    with pytest.raises(OutputError, match="does not exist"):
        output.check_target(tmp_path / "no" / "x.fwt")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="does not exist"):
        output.check_target(tmp_path / "file" / "x.fwt")


def test_a_closed_directory_is_no_target(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "access", lambda *given, **_: asked.append(given) or False)
    with pytest.raises(NoPermissionError, match="cannot be written"):
        output.check_target(tmp_path / "x.fwt")
    assert asked == [(tmp_path, os.W_OK | os.X_OK)]


def test_a_source_must_be_there_and_of_the_right_kind(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert output.check_source(file) == file
    assert output.check_source(tmp_path, directory=True) == tmp_path
    with pytest.raises(MissingInputError, match="no such file"):
        output.check_source(tmp_path / "nothing")
    with pytest.raises(MissingInputError, match="a directory where"):
        output.check_source(tmp_path)
    with pytest.raises(MissingInputError, match="no such run directory"):
        output.check_source(file, what="run directory", directory=True)
