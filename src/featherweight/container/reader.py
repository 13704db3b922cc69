"""Reads a `.fwt` file: prefix and header when it is opened, each section when it is asked for."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from types import MappingProxyType, TracebackType

import torch
from torch import Tensor, nn

from featherweight.container import header as headers
from featherweight.container import layout, prefix
from featherweight.container.ahead import ahead
from featherweight.container.limits import Deadline, Limits
from featherweight.container.source import PIECE_BYTES, Bytes, Source
from featherweight.container.spec import CHECKSUM_BYTES, DIGEST_BYTES, PREFIX_BYTES, SURGERY, Section, TensorRecord
from featherweight.core.checksum import crc32
from featherweight.encodings import payload
from featherweight.encodings.base import Encoding
from featherweight.entropy.base import ALONE, Work
from featherweight.errors import FormatError, UsageError
from featherweight.graph.ir import Graph
from featherweight.graph.log import Log
from featherweight.graph.module import to_module
from featherweight.graph.plain import from_plain

NONFINITE = ("reject", "allow")

_LARGE = 1 << 18  # decoded bytes from which on a tensor is worth a thread: decoding it takes a few hundred microseconds
_NOTHING = (0, 0, 0, 0)  # the spec of an empty tensor: dense float32, one constant stream of no bytes


def check_choice(nonfinite: str) -> None:
    """Raises UsageError unless `nonfinite` is "reject" or "allow"."""
    if nonfinite not in NONFINITE:
        raise UsageError(f"must be one of {NONFINITE}", where="nonfinite", value=nonfinite)


class Reader:
    """An open file. Prefix and header are checked when it is made, a section each time it is read.

    Use it as a context manager, or close it. `limits` is what may be spent; `nonfinite` ("reject" or "allow") says
    whether tensors may hold NaN and infinity.

    Raises: FormatError for a broken rule or a file beyond the limits, StorageError when it cannot be read.
    """

    def __init__(self, source: Source, *, limits: Limits | None = None, nonfinite: str = "reject") -> None:
        check_choice(nonfinite)
        self._source, self._limits = source, limits or Limits()
        payload.inspect((0,), _NOTHING)  # finds coders and encodings, once in a process: before the clock runs
        self._deadline = Deadline(self._limits.seconds)
        self._allowed = nonfinite == "allow"
        self.prefix = prefix.parse(bytes(source.read(0, min(PREFIX_BYTES, source.size))), source.size, self._limits)
        if self.prefix.nonfinite and not self._allowed:
            raise FormatError(
                "E_NONFINITE",
                "the file holds NaN or infinity",
                section="prefix",
                offset=10,
                fix='If that is meant to be, read it with nonfinite="allow".',
            )
        raw = bytes(source.read(PREFIX_BYTES, self.prefix.header_length))
        if crc32(raw) != self.prefix.header_checksum:
            raise FormatError("E_CHECKSUM", "the header is damaged", section="header", offset=32)
        self.header = headers.from_bytes(raw, self._limits, self._deadline)
        self.sections = layout.sections(self.header, len(raw))
        self._check_sizes()
        self._numbers = {record.name: index for index, record in enumerate(self.header.tensors)}
        self._numbers |= {alias.name: alias.index for alias in self.header.aliases}

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the file back."""
        self._source.close()

    @property
    def name(self) -> str:
        """The path, or what stands for it."""
        return self._source.name

    @property
    def tensors(self) -> tuple[TensorRecord, ...]:
        """The records of the tensors, in the order of the file."""
        return self.header.tensors

    @property
    def aliases(self) -> dict[str, str]:
        """Further names of tensors, each with the name under which the tensor is kept."""
        return {alias.name: self.header.tensors[alias.index].name for alias in self.header.aliases}

    @cached_property
    def extras(self) -> Mapping[str, bytes]:
        """The extra sections by name, also those that this release does not know.

        Raises: FormatError for a damaged one.
        """
        first = len(self.header.tensors)
        found = {section.name: bytes(self._payload(section)) for section in self.sections[first:]}
        return MappingProxyType(found)

    @cached_property
    def graph(self) -> Graph | None:
        """What is computed with the tensors; None for a file of weights alone.

        Raises: FormatError E_GRAPH.
        """
        plain = self.header.graph
        if plain is None:
            return None
        records = [record.name for record in self.header.tensors]
        counted = len(plain) > 1 and isinstance(plain[1], int)
        try:
            graph = from_plain(plain, records if counted else None, self._check_time_of_graph)
        except FormatError as error:
            raise headers.relocated(error, "graph", PREFIX_BYTES) from error
        self._check_graph(graph, counted)
        return graph

    @cached_property
    def log(self) -> Log:
        """How the structure differs from that of the user's class; an empty log where the file says nothing.

        Raises: FormatError for a damaged section, E_LOG for one that is no log, E_BUDGET for modules beyond the limits.
        """
        first = len(self.header.tensors)
        section = next((section for section in self.sections[first:] if section.name == SURGERY), None)
        if section is None:
            return Log()
        data = bytes(self._payload(section))
        try:
            log = Log.from_json(data, self._work(section).check)
            if not log or log.to_json().encode() != data:
                raise FormatError("E_LOG", "a log that is empty or not in its one form")
            if log.elements > self._limits.budget() // 8:
                raise FormatError("E_BUDGET", "the modules of the log take more memory than the limit")
        except FormatError as error:
            raise headers.relocated(error, section.name, section.start) from error
        return log

    def encoding(self, name: str, *, threads: int = 1) -> Encoding:
        """How the tensor (or alias) `name` is kept, with its values; decoded on at most so many threads.

        Raises: UsageError for an unknown name or fewer than 1 thread, FormatError for a damaged section.
        """
        section = self._section(name)
        return self._decoded(section, self._payload(section), _checked(threads))

    def tensor(self, name: str, out: Tensor | None = None, *, threads: int = 1) -> Tensor:
        """The values of the tensor (or alias) `name`; nothing but its section is read. Several threads may ask at once.

        They go into `out`, which must have their shape and type, where it is given. The same values come out whatever
        `threads` is.

        Raises: UsageError for an unknown name, fewer than 1 thread or an `out` that does not fit (nothing is decoded
        then), FormatError for a damaged section.
        """
        if out is not None:
            self._check_out(name, out)
        values = self.decoded(name, self.encoding(name, threads=threads))
        if out is None:
            return values
        with torch.no_grad():
            return out.copy_(values)

    def decoded(self, name: str, encoding: Encoding) -> Tensor:
        """The values of an encoding that `encoding` or `encodings` gave for `name`, within the time of the limits.

        Raises: FormatError E_DEADLINE.
        """
        return encoding.decoded(self._work(self._section(name)))

    def payload(self, index: int) -> bytes:
        """The coded bytes of section number `index`, checked against their checksum."""
        return bytes(self._payload(self.sections[index]))

    def encodings(self, *, threads: int = 1) -> Iterator[tuple[str, Encoding]]:
        """All tensors in the order of the file, after checksums and digest of everything have been compared.

        Raises: FormatError for anything that is not right, UsageError for fewer than 1 thread.
        """
        yield from ((name, encoding) for name, encoding, _ in self._all(threads, values=False))

    def values(self, *, threads: int = 1) -> Iterator[tuple[str, Encoding, Tensor]]:
        """What `encodings` gives, and the values of each.

        Raises: as `encodings`.
        """
        for name, encoding, values in self._all(threads, values=True):
            yield name, encoding, torch.empty(0) if values is None else values

    def _all(self, threads: int, *, values: bool) -> Iterator[tuple[str, Encoding, Tensor | None]]:
        """Tensors in order, up to `threads` of them in work at a time; a large share of the file gets all threads."""
        _checked(threads)
        self.check()
        everything = sum(record.decoded for record in self.header.tensors)
        sections = self.sections[: len(self.header.tensors)]

        def decode(section: Section) -> tuple[str, Encoding, Tensor | None, bool]:
            alone = self.header.tensors[section.index].decoded * threads > everything
            encoding = self._decoded(section, self._payload(section), threads if alone else 1)
            finite = not self.prefix.nonfinite or encoding.is_finite(self._work(section))
            return section.name, encoding, encoding.decoded(self._work(section)) if values else None, finite

        def large(section: Section) -> bool:
            return self.header.tensors[section.index].decoded >= _LARGE

        nonfinite = False
        for name, encoding, tensor, finite in ahead(decode, sections, threads, large):
            nonfinite = nonfinite or not finite
            yield name, encoding, tensor
        if self.prefix.nonfinite and not nonfinite:
            raise FormatError(
                "E_NONFINITE", "the file announces NaN or infinity and holds none", section="prefix", offset=10
            )

    def check(self) -> None:
        """Compares all checksums and the digest; decodes nothing, so that decoders see no accidental damage at all.

        Raises: FormatError for a damaged file.
        """
        digest = hashlib.sha256(self._source.read(0, PREFIX_BYTES + self.prefix.header_length))
        for section in self.sections:
            self._scan(section, digest)
        if digest.digest() != self.digest:
            raise FormatError(
                "E_DIGEST",
                "the file is not what was written: its digest differs",
                section="digest",
                offset=self.prefix.file_length - DIGEST_BYTES,
            )

    def verify(self) -> None:
        """Checks everything: every section is decoded, graph and log are read, the digest is compared.

        Raises: FormatError for the first thing that is not right.
        """
        graph, _ = self.graph, self.log
        empty = {
            name: torch.empty(encoding.shape, dtype=encoding.dtype, device="meta")
            for name, encoding in self.encodings()
        }
        if graph is not None:
            self.module(graph, empty)

    def module(self, graph: Graph, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The model that computes `graph` with these tensors, by name; further names are added.

        Raises: FormatError E_SHAPE for a graph that cannot run with tensors of these shapes.
        """
        try:
            known = {**tensors, **{alias: tensors[name] for alias, name in self.aliases.items()}}
            return to_module(graph, known, self._check_time_of_graph)
        except FormatError as error:
            raise headers.relocated(error, "graph", PREFIX_BYTES) from error

    @property
    def digest(self) -> bytes:
        """The SHA-256 that the file states of itself; `verify` compares it."""
        return bytes(self._source.read(self.prefix.file_length - DIGEST_BYTES, DIGEST_BYTES))

    def _check_sizes(self) -> None:
        needed = layout.file_length(self.sections, self.prefix.header_length)
        if needed != self.prefix.file_length:
            raise FormatError(
                "E_SPAN",
                f"the sections end at byte {needed}, the file at {self.prefix.file_length}",
                section="header",
                offset=24,
                value=needed,
            )
        decoded = headers.decoded_bytes(self.header)
        if decoded != self.prefix.decoded_bytes:
            raise FormatError(
                "E_DECODED_SIZE",
                f"the sections decode to {decoded} bytes, the file announces {self.prefix.decoded_bytes}",
                section="header",
                offset=16,
                value=decoded,
            )

    def _payload(self, section: Section) -> Bytes:
        """The payload of a section, its padding and checksum checked."""
        begin, check = section.start - section.padding, self._work(section).check
        check()
        data = memoryview(self._source.read(begin, section.end - begin, check))
        body = data[section.padding : -CHECKSUM_BYTES]
        found = layout.checksum(section, body, check)
        _compare(section, data[: section.padding], found, data[-CHECKSUM_BYTES:])
        return body

    def _scan(self, section: Section, digest: "hashlib._Hash") -> None:
        """Checks padding and checksum of a section and puts all of it into `digest`, a piece in memory at a time."""

        def read(start: int, end: int) -> Iterator[Bytes]:
            for at in range(start, end, PIECE_BYTES):
                self._deadline.check(section.name, section.start)
                piece = self._source.read(at, min(end - at, PIECE_BYTES))
                digest.update(piece)
                yield piece

        behind = section.start + section.length
        padding = b"".join(read(section.start - section.padding, section.start))
        found = layout.checksum(section, b"")
        for piece in read(section.start, behind):
            found = crc32(piece, found)
        _compare(section, padding, found, b"".join(read(behind, section.end)))

    def _section(self, name: str) -> Section:
        if name not in self._numbers:
            raise UsageError("there is no tensor of this name", where=self.name, value=name)
        return self.sections[self._numbers[name]]

    def _check_out(self, name: str, out: Tensor) -> None:
        record = self.header.tensors[self._section(name).index]
        wanted = (payload.dtype_of(record.shape, record.spec), record.shape)
        if (out.dtype, tuple(out.shape)) != wanted:
            raise UsageError(
                f"the file holds {wanted[0]} of shape {wanted[1]}", where=name, value=(out.dtype, out.shape)
            )

    def _decoded(self, section: Section, data: Bytes, threads: int = 1) -> Encoding:
        record = self.header.tensors[section.index]
        within = self._within(threads)
        try:
            encoding = payload.decode_planned(record.plan, data, within)
        except FormatError as error:
            raise headers.relocated(error, section.name, section.start + error.offset) from error
        if not self.prefix.nonfinite and not encoding.is_finite(self._work(section)):
            raise FormatError(
                "E_NONFINITE", "holds NaN or infinity unannounced", section=section.name, offset=section.start
            )
        return encoding

    def _within(self, threads: int) -> Work:
        """How decoders go about a section: they count from the begin of their bytes."""
        if not self._deadline.limited:
            return ALONE if threads == 1 else Work(threads)
        return Work(threads, partial(self._deadline.check, "", 0))

    def _work(self, section: Section) -> Work:
        """How long steps go about a section: they look at the deadline."""
        if not self._deadline.limited:
            return ALONE
        return Work(check=partial(self._deadline.check, section.name, section.start))

    def _check_time_of_graph(self) -> None:
        self._deadline.check("graph", PREFIX_BYTES)

    def _check_graph(self, graph: Graph, counted: bool) -> None:
        """The graph uses every tensor, and names them only where their order is not that of the header."""
        names = list(graph.tensors)
        used = {self._numbers.get(name) for name in names}
        what, value = "", len(used)
        if None in used:
            what = "the graph uses a tensor that is not there"
        elif len(used) != len(self.header.tensors):
            what = "the graph does not use all tensors"
        elif not counted and names == [record.name for record in self.header.tensors]:
            what = "the graph names its tensors without need"
        if what:
            raise FormatError("E_GRAPH", what, section="graph", offset=PREFIX_BYTES, value=value)


def _compare(section: Section, padding: Bytes, checksum: int, stored: Bytes) -> None:
    """Raises: FormatError for padding that is not zero or a checksum that is not the stored one."""
    if any(padding):
        begin = section.start - section.padding
        raise FormatError("E_PADDING", "padding that is not zero", section=section.name, offset=begin)
    if checksum != int.from_bytes(stored, "little"):
        raise FormatError("E_CHECKSUM", "the section is damaged", section=section.name, offset=section.start)


def _checked(threads: int) -> int:
    if threads < 1:
        raise UsageError("decoding takes at least one thread", where="threads", value=threads)
    return threads
