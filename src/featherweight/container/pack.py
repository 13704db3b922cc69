"""Models to files and back: `save`, `load`, `open_file`, `repack`."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from featherweight.container import header as headers
from featherweight.container.limits import Limits
from featherweight.container.reader import Reader, check_choice
from featherweight.container.report import FileReport, report
from featherweight.container.source import FileSource, MemorySource, Source
from featherweight.container.spec import SURGERY, Alias, ExtraRecord, Header, TensorRecord
from featherweight.container.state import tied_tensors
from featherweight.container.structure import surgery_for
from featherweight.container.writer import Body, Contents, Spool, pieces, write
from featherweight.encodings import payload
from featherweight.encodings.attach import detach
from featherweight.encodings.base import Encoding
from featherweight.encodings.dense import Dense
from featherweight.entropy.base import Coder
from featherweight.errors import EncodingError, FormatError, UsageError
from featherweight.frontends.safetensors import holder_of
from featherweight.graph.fold import without_folding
from featherweight.graph.ir import Graph
from featherweight.graph.log import Log, keep_log, log_of, replay
from featherweight.graph.module import GraphModule
from featherweight.graph.plain import to_plain
from featherweight.training.constraints import constrain, constraints_of

NO_EXTRAS: Mapping[str, bytes] = MappingProxyType({})


def save(
    path: str | Path,
    model: nn.Module,
    *,
    graph: Graph | None = None,
    extras: Mapping[str, bytes] = NO_EXTRAS,
    coders: Sequence[Coder] | None = None,
    nonfinite: str = "reject",
) -> FileReport:
    """Writes the tensors of a model as their attached encodings keep them, the others as they are.

    With `graph` the file runs by itself and holds the tensors that the graph uses; without it, all of state_dict().
    A model that came out of such a file brings its graph along.
    A model whose structure was changed keeps the log of that (graph/log.py) in the section `surgery`.
    `extras` are further sections by name. `coders` are those to choose from, per stream (default: all).
    The same model gives the same bytes. An old file stays until the new one is complete.

    Raises: UsageError for a name, tensor or value that cannot be kept (NaN and infinity unless nonfinite="allow"),
    EncodingError for a tensor that its encoding does not fit, StorageError when the file cannot be written.
    """
    with Spool(path) as spool:
        write(path, _contents(spool.add, model, graph, extras, coders, nonfinite))
    return describe(path)


def save_bytes(
    model: nn.Module,
    *,
    graph: Graph | None = None,
    extras: Mapping[str, bytes] = NO_EXTRAS,
    coders: Sequence[Coder] | None = None,
    nonfinite: str = "reject",
) -> bytes:
    """The file that `save` writes, in memory.

    Raises: UsageError, EncodingError, as `save` does.
    """
    contents = _contents(_keep, model, graph, extras, coders, nonfinite)
    return b"".join(pieces(contents))


def load(
    path: str | Path,
    *,
    into: nn.Module | None = None,
    limits: Limits | None = None,
    nonfinite: str = "reject",
    threads: int = 1,
) -> nn.Module:
    """The model in a file, every byte of it checked; encodings are attached again. Runs no code from the file.

    A file with a graph gives a module that computes it. One of weights alone gives a module that holds them by name
    and cannot be called. With `into` the tensors are copied into that module, all or none, and it is given back; one of
    the structure that the network had before surgery is changed first, as the log in the file says.
    `threads` is how many may decode at a time; what comes out does not depend on it.

    Raises: FormatError for a file that breaks a rule, goes beyond `limits` or holds NaN or infinity (unless
    nonfinite="allow"), StorageError when it cannot be read, UsageError when it does not fit `into`.
    """
    with _reader(FileSource(path), limits, nonfinite) as reader:
        return _model(reader, into, threads)


def load_bytes(
    data: bytes, *, into: nn.Module | None = None, limits: Limits | None = None, nonfinite: str = "reject"
) -> nn.Module:
    """The same as `load` for a file that lies in memory."""
    with _reader(MemorySource(data), limits, nonfinite) as reader:
        return _model(reader, into)


def open_file(path: str | Path, *, limits: Limits | None = None, nonfinite: str = "reject") -> Reader:
    """Opens a file without reading its sections: a tensor is read and decoded when it is asked for.

    Prefix and header are checked now, each section with its checksum when it is read; the digest only by `verify`.
    The file stays open. Replacing it meanwhile, as `save` does, changes nothing; one that is changed or cut short in
    place gives a FormatError or StorageError where it is noticed (nothing is mapped into memory, so no SIGBUS).

    Raises: FormatError for a file that breaks a rule or goes beyond `limits`, StorageError when it cannot be read.
    """
    return _reader(FileSource(path), limits, nonfinite)


def describe(path: str | Path) -> FileReport:
    """Where the bytes of a file go; reads prefix and header only.

    Raises: FormatError, StorageError.
    """
    with open_file(path, nonfinite="allow") as reader:
        return report(reader)


def repack(path_in: str | Path, path_out: str | Path, *, drop_extras: bool | Collection[str] = False) -> FileReport:
    """Copies a file without the extra sections named (True: without any); nothing is coded anew.

    Extra sections that this release does not know are kept. The paths may be the same.

    Raises: UsageError for an extra section that is not there, FormatError for a damaged file, StorageError.
    """
    with _reader(FileSource(path_in), None, "allow") as reader:
        reader.verify()
        header = reader.header
        names = [record.name for record in header.extras]
        if isinstance(drop_extras, bool):
            dropped = set(names) if drop_extras else set()
        else:
            dropped = {drop_extras} if isinstance(drop_extras, str) else set(drop_extras)
        if dropped - set(names):
            raise UsageError(
                "there is no extra section of this name",
                where=str(path_in),
                value=min(dropped - set(names)),
                fix=f"There are: {', '.join(names) or 'none'}.",
            )
        first = len(header.tensors)
        kept = [*range(first), *(first + index for index, name in enumerate(names) if name not in dropped)]
        extras = tuple(record for record in header.extras if record.name not in dropped)
        bodies = [partial(reader.payload, index) for index in kept]
        slim = Header(header.tensors, header.graph, header.aliases, extras)
        write(path_out, Contents(slim, bodies, reader.prefix.nonfinite, reader.prefix.minor))
    return describe(path_out)


def _keep(data: bytes) -> Body:
    return partial(bytes, data)


def _contents(
    keep: Callable[[bytes], Body],
    model: nn.Module,
    graph: Graph | None,
    extras: Mapping[str, bytes],
    coders: Sequence[Coder] | None,
    nonfinite: str,
) -> Contents:
    """All that goes into a file; `keep` puts coded sections by until they are written."""
    check_choice(nonfinite)
    if graph is None and isinstance(model, GraphModule):
        graph = model.graph
    records: list[TensorRecord] = []
    aliases: list[Alias] = []
    bodies: list[Body] = []
    flagged = False
    for tied in tied_tensors(model, graph):
        with _about(tied.name):
            encoding = tied.encoding()
            flagged = _finite_or_allowed(tied.name, encoding, nonfinite) or flagged
            packed = payload.encode(encoding, coders)
        aliases += [Alias(name, len(records)) for name in tied.other_names]
        records.append(headers.tensor_record(tied.name, encoding.shape, packed.spec))
        bodies.append(keep(packed.data))
    log = without_folding(log_of(model))
    extras = {**extras, SURGERY: log.to_json().encode()} if log else extras
    extra_records = [ExtraRecord(name, False, len(data)) for name, data in extras.items()]
    bodies += [_keep(data) for data in extras.values()]
    plain = None if graph is None else _plain(graph, records)
    return Contents(Header(tuple(records), plain, tuple(aliases), tuple(extra_records)), bodies, flagged)


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Names the tensor in errors of its encoding."""
    try:
        yield
    except EncodingError as error:
        raise EncodingError(error.what, where=name, value=error.value, fix=error.fix) from error


def _finite_or_allowed(name: str, encoding: Encoding, nonfinite: str) -> bool:
    if encoding.finite:
        return False
    if nonfinite == "allow":
        return True
    raise UsageError(
        "the tensor holds NaN or infinity",
        where=name,
        fix='Repair the model, or save it with nonfinite="allow"; readers must then allow it too.',
    )


def _plain(graph: Graph, records: Sequence[TensorRecord]) -> list[Any]:
    """The graph for the header: its tensors are named only where their order is not that of the header."""
    return to_plain(graph, names=list(graph.tensors) != [record.name for record in records])


@contextmanager
def _memory_errors(name: str) -> Iterator[None]:
    """Says in our words that the memory did not suffice: numpy raises MemoryError, torch a RuntimeError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise FormatError(
            "E_BUDGET",
            f"{name} needs more memory than there is",
            fix="Free some, or give a smaller budget with Limits.",
        ) from error


def _reader(source: Source, limits: Limits | None, nonfinite: str) -> Reader:
    try:
        with _memory_errors(source.name):
            return Reader(source, limits=limits, nonfinite=nonfinite)
    except BaseException:
        source.close()
        raise


def _model(reader: Reader, into: nn.Module | None, threads: int = 1) -> nn.Module:
    with _memory_errors(reader.name):
        rest = Log() if into is None else surgery_for(reader, into)
        graph, log = reader.graph, reader.log
        encodings, tensors = {}, {}
        for name, encoding, values in reader.values(threads=threads):
            encodings[name], tensors[name] = encoding, values
        tensors |= {alias: tensors[name] for alias, name in reader.aliases.items()}
        if into is not None:
            model = replay(into, rest, in_place=True) if rest else into
            model.load_state_dict(dict(tensors), strict=False)
        elif graph is not None:
            model = reader.module(graph, tensors)
        else:
            model = holder_of(tensors)
        if len(log.steps) > len(log_of(model).steps):
            keep_log(model, log)
        detach(model, set(tensors))
        # their values are there already: `attach` would decode them once more
        constrain(model, constraints_of(model) | _attachable(reader, model, encodings))
        return model


def _attachable(reader: Reader, model: nn.Module, encodings: Mapping[str, Encoding]) -> dict[str, Encoding]:
    """The encodings worth attaching, each under that name of its tensor which the model lists."""
    listed = dict(model.named_parameters()) | dict(model.named_buffers())
    by_alias = {alias: name for alias, name in reader.aliases.items() if name not in listed and alias in listed}
    place = {name: name for name in encodings} | {name: alias for alias, name in by_alias.items()}
    return {place[name]: encoding for name, encoding in encodings.items() if not _as_it_is(encoding)}


def _as_it_is(encoding: Encoding) -> bool:
    """Whether the encoding adds nothing to the plain tensor, so that there is nothing to attach."""
    return isinstance(encoding, Dense) and encoding.stored == encoding.dtype
