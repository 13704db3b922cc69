"""SIGINT and SIGTERM while a run is kept: the first stops it cleanly, the second at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from featherweight.errors import FeatherweightError, InterruptedRunError, TerminatedRunError


class Stop:
    """Whether a signal asked for an end, and with which error to obey."""

    def __init__(self) -> None:
        self.error: type[FeatherweightError] | None = None


@contextmanager
def listening(stop: Stop) -> Iterator[None]:
    """Turns the first signal into a wish in `stop`; a second one has its usual effect at once.

    Only the main thread can listen; elsewhere signals keep their usual effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wishes: dict[int, type[FeatherweightError]] = {
        signal.SIGINT: InterruptedRunError,
        signal.SIGTERM: TerminatedRunError,
    }
    before = {number: signal.getsignal(number) for number in wishes}

    def hear(number: int, frame: FrameType | None) -> None:
        if stop.error is None:
            stop.error = wishes[number]
            return
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in wishes:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
