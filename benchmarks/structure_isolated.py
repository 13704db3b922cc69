"""One network in one process with a time limit: for bench_structure.py, ours and the peer alike.

`run(function, name)` calls `function(name)` in a fresh process in which the zoo is imported already, so that a crash, a
hang or what one network leaves behind touches no other. The function lies in a module and answers with a dictionary
that JSON can hold, with at least `ok`.
"""

import contextlib
import functools
import io
import multiprocessing
import multiprocessing.context
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Row = dict[str, Any]

LIMIT = 60  # seconds

_HEAVY = (  # what transformers imports at the first model only
    *("transformers.modeling_utils", "transformers.generation", "transformers.modeling_layers"),
    *("transformers.models.vit.modeling_vit", "transformers.models.llama.modeling_llama", "featherweight.graph.trace"),
)


def run(function: Callable[[str], Row], name: str, limit: float = LIMIT) -> Row:
    """The function's row; one with `ok` False and the `error` where it raises, dies or takes longer than `limit`."""
    context = _server()
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(function, name, there), daemon=True)
    process.start()
    there.close()
    try:
        row: Row = here.recv() if here.poll(limit) else {"ok": False, "error": f"no end within {limit:g} s"}
    except EOFError:
        process.join(5)
        row = {"ok": False, "error": f"the process died with exit code {process.exitcode}"}
    process.kill()
    process.join()
    return {"name": name, **row}


@functools.cache
def _server() -> multiprocessing.context.ForkServerContext:
    """The server that forks; it imports the zoo once, for which it must know this folder (Python 3.11 does not say)."""
    folder = str(Path(__file__).parent)
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join((folder, known) if known else (folder,))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["structure_zoo", "structure_peer", *_HEAVY])
    return context


def _child(function: Callable[[str], Row], name: str, answer: Connection) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            row = function(name)
        except Exception as error:  # noqa: BLE001  # whatever a library raises is the answer for this network
            row = {"ok": False, "error": explained(error)}
    answer.send(row)


def explained(error: BaseException) -> str:
    """Type, first words and place of an error, in one line."""
    place, trace = "", error.__traceback__
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rpartition('site-packages/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]} [{place}]"
