"""Reads a `.fwt` file: prefix and header when it is opened, each section when it is asked for."""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from types import MappingProxyType, TracebackType

import torch
from torch import Tensor, nn

from featherweight.container import header as headers
from featherweight.container import layout, prefix
from featherweight.container.limits import Deadline, Limits
from featherweight.container.source import PIECE_BYTES, Bytes, Source
from featherweight.container.spec import CHECKSUM_BYTES, DIGEST_BYTES, PREFIX_BYTES, Section, TensorRecord
from featherweight.encodings import payload
from featherweight.encodings.base import Encoding
from featherweight.entropy.base import Work
from featherweight.errors import FormatError, UsageError
from featherweight.graph.ir import Graph
from featherweight.graph.module import to_module
from featherweight.graph.plain import from_plain

NONFINITE = ("reject", "allow")


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
        if zlib.crc32(raw) != self.prefix.header_checksum:
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

    def encoding(self, name: str) -> Encoding:
        """How the tensor (or alias) `name` is kept, with its values.

        Raises: UsageError for an unknown name, FormatError for a damaged section.
        """
        if name not in self._numbers:
            raise UsageError("there is no tensor of this name", where=self.name, value=name)
        section = self.sections[self._numbers[name]]
        return self._decoded(section, self._payload(section))

    def tensor(self, name: str) -> Tensor:
        """The values of the tensor (or alias) `name`.

        Raises: UsageError for an unknown name, FormatError for a damaged section.
        """
        return self.decoded(name, self.encoding(name))

    def decoded(self, name: str, encoding: Encoding) -> Tensor:
        """The values of an encoding that `encoding` or `encodings` gave for `name`, within the time of the limits.

        Raises: FormatError E_DEADLINE.
        """
        return encoding.decoded(self._work(self.sections[self._numbers[name]]))

    def payload(self, index: int) -> bytes:
        """The coded bytes of section number `index`, checked against their checksum."""
        return bytes(self._payload(self.sections[index]))

    def encodings(self) -> Iterator[tuple[str, Encoding]]:
        """All tensors in the order of the file, after checksums and digest of everything have been compared.

        Raises: FormatError for anything that is not right.
        """
        self.check()
        nonfinite = False
        for section in self.sections[: len(self.header.tensors)]:
            encoding = self._decoded(section, self._payload(section))
            nonfinite = nonfinite or (self.prefix.nonfinite and not encoding.is_finite(self._work(section)))
            yield section.name, encoding
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
        """Checks everything: every section is decoded, the graph is read, the digest is compared.

        Raises: FormatError for the first thing that is not right.
        """
        graph = self.graph
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
            found = zlib.crc32(piece, found)
        _compare(section, padding, found, b"".join(read(behind, section.end)))

    def _decoded(self, section: Section, data: Bytes) -> Encoding:
        record = self.header.tensors[section.index]
        within = Work(check=partial(self._deadline.check, "", 0))  # decoders count from the begin of their bytes
        try:
            encoding = payload.decode(record.shape, record.spec, data, within)
        except FormatError as error:
            raise headers.relocated(error, section.name, section.start + error.offset) from error
        if not self.prefix.nonfinite and not encoding.is_finite(self._work(section)):
            raise FormatError(
                "E_NONFINITE", "holds NaN or infinity unannounced", section=section.name, offset=section.start
            )
        return encoding

    def _work(self, section: Section) -> Work:
        """How long steps go about a section: they look at the deadline."""
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
