"""How a file fits a model of the user's class: its tensors as they are, or once the surgery in the file is replayed.

Norms that were folded into the layers before them are surgery that a file need not tell (graph/fold.py).
"""

from torch import nn

from featherweight.container.reader import Reader
from featherweight.encodings import payload
from featherweight.errors import UsageError
from featherweight.graph.fold import folding
from featherweight.graph.log import Log, log_of, replay, sketch


def surgery_for(reader: Reader, model: nn.Module) -> Log:
    """What has to be replayed on `model`, which is not changed, so that the tensors of the file fit into it.

    A model on which the first steps of the file's log were done already needs the others only; one that has the
    structure of the file without saying so, none.

    Raises: UsageError when the tensors do not fit, FormatError for a log that is none.
    """
    own, whole = log_of(model).steps, reader.log.steps
    rest = Log(whole[len(own) :] if whole[: len(own)] == own else whole)
    try:
        return _completed(reader, model, rest)
    except UsageError:
        if rest and _fits(reader, model):
            return Log()
        raise


def _completed(reader: Reader, model: nn.Module, log: Log) -> Log:
    """The log and, behind it, the folding of norms that the names of the tensors tell. Raises: UsageError."""
    done = replay(sketch(model), log, in_place=True) if log else model
    try:
        check_fits(reader, done)
    except UsageError:
        more = folding(done, {*(record.name for record in reader.tensors), *reader.aliases})
        if not more or not _fits(reader, replay(sketch(done), more, in_place=True)):
            raise
        return log + more
    return log


def check_fits(reader: Reader, model: nn.Module) -> None:
    """Raises UsageError unless the model has the tensors of the file, in their shapes and types, and no others."""
    state = model.state_dict()
    records = {record.name: record for record in reader.tensors}
    records |= {alias: records[name] for alias, name in reader.aliases.items()}
    # a graph need not use all that a model has: the counters of batch norms, say
    unused = set(state) - set(records) if reader.header.graph is None else set()
    for what, names in (("lacks", set(records) - set(state)), ("has, and the file lacks,", unused)):
        if names:
            raise UsageError(f"the model {what} the tensor", where=reader.name, value=min(names))
    for name, record in records.items():
        if tuple(state[name].shape) != record.shape:
            raise UsageError(f"the file holds the shape {record.shape}", where=name, value=tuple(state[name].shape))
        dtype = payload.dtype_of(record.shape, record.spec)
        if state[name].dtype != dtype:
            raise UsageError(
                f"the file holds {dtype}", where=name, value=state[name].dtype, fix="Convert the model with .to()."
            )


def _fits(reader: Reader, model: nn.Module) -> bool:
    try:
        check_fits(reader, model)
    except UsageError:
        return False
    return True
