import io
import math
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from featherweight.cli import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_quiet_shows_nothing(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.shown(quiet=True) as shown, shown.bar("work", 3) as bar:
        bar.advance()
        shown.note("news")
    assert stream.getvalue() == ""


def test_a_log_gets_lines_and_no_bars(capsys):
    with progress.shown(quiet=False) as shown, shown.bar("work", 3) as bar:
        bar.advance(2)
        shown.note("step 1\nof 2")
    assert capsys.readouterr() == ("", "step 1 of 2\n")


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.shown(quiet=False) as shown, shown.bar("fine-tuning", 4) as bar:
        bar.advance(2)
        shown.note("half of it")
    text = stream.getvalue()
    assert "fine-tuning" in text
    assert "half of it" in text


def test_bars_move_on_nest_and_are_removed():
    display = Progress(console=Console(file=io.StringIO()))
    live = progress.Live(display)
    with live.bar("outer [bold]", 10) as outer:
        outer.advance(4)
        with live.bar("inner", 2) as inner:
            inner.advance()
            assert [(task.description, task.completed, task.total) for task in display.tasks] == [
                ("outer [bold]", 4, 10),
                ("inner", 1, 2),
            ]
        assert len(display.tasks) == 1
        with live.bar("endless", math.inf):
            assert display.tasks[-1].total is None
    assert display.tasks == []


def test_a_bar_is_removed_when_the_work_fails():
    display = Progress(console=Console(file=io.StringIO()))
    with pytest.raises(ValueError, match="broken"), progress.Live(display).bar("work", 1):
        raise ValueError("broken")
    assert display.tasks == []


def test_waiting_shows_that_something_happens(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.waiting("checking", quiet=False):
        pass
    assert "checking" in stream.getvalue()


def test_waiting_is_silent_in_a_log(capsys):
    with progress.waiting("checking", quiet=False):
        pass
    assert capsys.readouterr() == ("", "")
