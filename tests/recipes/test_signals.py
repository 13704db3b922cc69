import os
import signal
import subprocess
import sys
import threading

import pytest

from featherweight.errors import InterruptedRunError, TerminatedRunError
from featherweight.recipes.signals import Stop, listening


@pytest.mark.parametrize(
    ("number", "error", "code"), [(signal.SIGINT, InterruptedRunError, 130), (signal.SIGTERM, TerminatedRunError, 143)]
)
def test_the_first_signal_is_a_wish(number, error, code: int) -> None:
    stop, before = Stop(), signal.getsignal(number)
    with listening(stop):
        assert stop.error is None
        os.kill(os.getpid(), number)
        assert stop.error is error
    assert error.exit_code == code
    assert signal.getsignal(number) is before


def test_the_second_interrupt_is_obeyed_at_once() -> None:
    stop, before = Stop(), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), listening(stop):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("went on")
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_termination_ends_the_process() -> None:
    script = (
        "import os, signal\n"
        "from featherweight.recipes.signals import Stop, listening\n"
        "with listening(Stop()):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    raise SystemExit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGTERM


def test_other_threads_do_not_listen() -> None:
    stop, before = Stop(), signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with listening(stop):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
