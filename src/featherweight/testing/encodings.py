"""The battery for encodings: what every `encodings.base.Encoding` promises, as checks that any test runner can call.

    for check in CHECKS.values():
        check(MyEncoding)

An encoding may refuse a tensor with EncodingError in `from_tensor`; the checks pass over those tensors.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from featherweight.core import catalog
from featherweight.encodings import payload
from featherweight.encodings.base import Encoding
from featherweight.encodings.payload import Payload
from featherweight.entropy.base import Coder
from featherweight.errors import EncodingError, FormatError
from featherweight.testing._expect import expect

Check = Callable[[type[Encoding]], None]

_MUTATIONS = 60  # a tensor


def tensors(seed: int = 0) -> Iterator[Tensor]:
    """Float tensors of ranks 0 to 4, empty ones too, of few different values, at densities from 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
    for shape in ((), (1,), (0,), (0, 3), (3, 0), (17,), (1, 9), (9, 1), (30, 41), (4, 3, 5, 5)):
        for density in (0.0, 0.04, 0.5, 1.0):
            values = torch.randint(-8, 8, shape, generator=generator).float() / 4 + 0.125
            yield values * (torch.rand(shape, generator=generator) < density)
    dead = torch.zeros(40, 60)  # rows and columns without weights, zeros at both ends
    dead[5:20:3, 10:50:7] = 1.5
    yield dead


def check_keeps(kind: type[Encoding]) -> None:
    """Shape and type are those of the tensor, and what is kept is finite and counted right."""
    for encoding, weight in _encoded(kind):
        kept = encoding.to_tensor()
        where = _where(encoding)
        expect(encoding.shape == tuple(weight.shape) == tuple(kept.shape), "shape", where=where, value=encoding.shape)
        expect(encoding.dtype == weight.dtype == kept.dtype, "type", where=where, value=encoding.dtype)
        expect(encoding.finite, "finite", where=where)
        expect(encoding.nonzeros == int(torch.count_nonzero(kept)), "nonzeros", where=where, value=encoding.nonzeros)
        expect(torch.equal(kept, encoding.to_tensor()), "gives the same tensor each time", where=where)


def check_payload(kind: type[Encoding]) -> None:
    """What is written reads back to the same tensor, and writes to the same bytes again, whatever the coders."""
    for encoding, _ in _encoded(kind):
        for coders in (None, (), *((coder,) for coder in _coders())):
            written = payload.encode(encoding, coders)
            where = f"{_where(encoding)}, {coders}"
            read = payload.decode(encoding.shape, written.spec, written.data)
            expect(_equal(read.to_tensor(), encoding.to_tensor()), "reads what it wrote", where=where)
            expect(payload.encode(read, coders) == written, "writes the same bytes again", where=where)
            expect(payload.encode(read, like=written.spec) == written, "repeats its choices", where=where)
            size = payload.coded_bytes(encoding, coders)
            expect(size == len(written.data), "tells its size", where=where, value=size)
            plan = payload.inspect(encoding.shape, written.spec)
            expect(plan.length == len(written.data), "plans its length", where=where, value=plan)
            told = encoding.to_tensor().numel() * encoding.dtype.itemsize
            expect(plan.decoded_bytes == told, "plans its memory", where=where, value=plan)
            expect(payload.describe(encoding.shape, written.spec) != "", "describes itself", where=where)


def check_forms(kind: type[Encoding]) -> None:
    """Every form has the layout that its fields promise, unpacks to the same tensor, and packs to the same again."""
    for encoding, _ in _encoded(kind):
        for form in encoding.forms():
            packed = encoding.pack(form)
            where = f"{_where(encoding)}, form {form}"
            expect(packed.fields[0] == form and len(packed.fields) == kind.field_count, "fields", where=where)
            layout = kind.layout(encoding.shape, packed.fields)
            told = [(stream.count, stream.alphabet) for stream in layout.streams]
            expect([len(stream) for stream in packed.streams] == [count for count, _ in told], "counts", where=where)
            fits = all(int(item.max(initial=0)) < size for item, (_, size) in zip(packed.streams, told, strict=True))
            expect(fits, "alphabets", where=where, value=told)
            expect(layout.children == tuple(child.shape for child in packed.children), "children", where=where)
            again = kind.unpack(encoding.shape, packed)
            expect(_equal(again.to_tensor(), encoding.to_tensor()), "unpacks what it packed", where=where)
            repeated = again.pack(form)
            same = zip(repeated.streams, packed.streams, strict=True)
            expect(all(np.array_equal(one, other) for one, other in same), "packs the same again", where=where)


def check_training(kind: type[Encoding]) -> None:
    """The kept tensor is a fixed point, a gradient step stays inside the structure, and checkpoints restore it."""
    generator = torch.Generator().manual_seed(2)
    for encoding, _ in _encoded(kind):
        kept, where = encoding.to_tensor(), _where(encoding)
        expect(_equal(encoding.project(kept), kept), "projects what it keeps to itself", where=where)
        expect(_equal(encoding.updated(kept).to_tensor(), kept), "updates with what it keeps to itself", where=where)
        restored = encoding.restored(encoding.state())
        expect(_equal(restored.to_tensor(), kept), "restores its state", where=where)
        stepped = kept - 0.25 * encoding.gradient(torch.randn(kept.shape, generator=generator))
        expect(_close(encoding.project(stepped), stepped), "a gradient step stays inside", where=where)
        moved = encoding.updated(stepped).to_tensor()
        expect(_close(moved, stepped), "keeps what a gradient step gave", where=where)
        wild = encoding.project(torch.randn(kept.shape, generator=generator))
        expect(_close(encoding.project(wild), wild), "projecting twice is projecting once", where=where)
        expect(_equal(encoding.to_tensor(), kept), "nothing of this changes it", where=where)


def check_refuses_broken_payloads(kind: type[Encoding]) -> None:
    """A changed spec or payload is refused with FormatError, or reads to what writes to just that."""
    generator = np.random.default_rng(3)
    for encoding, _ in _encoded(kind):
        written = payload.encode(encoding)
        for mutant in _mutants(generator, written):
            try:
                read = payload.decode(encoding.shape, mutant.spec, mutant.data)
            except FormatError:
                continue
            where = f"{_where(encoding)}, {mutant}"
            expect(payload.encode(read, like=mutant.spec) == mutant, "refuses what no writer gives", where=where)
            expect(tuple(read.to_tensor().shape) == encoding.shape, "keeps the shape", where=where)


CHECKS: Mapping[str, Check] = {
    "keeps": check_keeps,
    "payload": check_payload,
    "forms": check_forms,
    "training": check_training,
    "broken payloads": check_refuses_broken_payloads,
}


def _encoded(kind: type[Encoding]) -> Iterator[tuple[Encoding, Tensor]]:
    for weight in tensors():
        try:
            yield kind.from_tensor(weight), weight
        except EncodingError:
            continue


def _coders() -> list[Coder]:
    socket, parts = "featherweight.entropy", ("tables",)
    names = catalog.names(socket, parts)
    return [catalog.load(socket, name, Coder, parts)() for name in names]  # type: ignore[type-abstract]  # a subclass


def _mutants(generator: np.random.Generator, written: Payload) -> Iterator[Payload]:
    for _ in range(_MUTATIONS):
        spec, data = list(written.spec), bytearray(written.data)
        for _ in range(int(generator.integers(1, 3))):
            if data and generator.random() < 0.6:
                data[int(generator.integers(0, len(data)))] ^= 1 << int(generator.integers(0, 8))
            else:
                place = int(generator.integers(0, len(spec)))
                changes = (spec[place] + 1, max(spec[place] - 1, 0), 0, 1, 255, 1 << 40, int(generator.integers(0, 99)))
                spec[place] = changes[int(generator.integers(0, len(changes)))]
        yield Payload(tuple(spec), bytes(data))


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def _where(encoding: Encoding) -> str:
    return f"{type(encoding).__name__} of shape {encoding.shape}"
