"""What the weights looked like, and how many bytes they took, after each step of a run."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from featherweight.container.pack import open_file
from featherweight.container.reader import Reader
from featherweight.encodings import payload
from featherweight.encodings.base import Encoding
from featherweight.entropy.raw import Raw
from featherweight.recipes.ledger import Entry
from featherweight.report.story import Histogram, Layer
from featherweight.report.weights import centroids, histogram

DENSE, CODED = "dense", "coded"
_WORDS = {"pruning": "pruned", "sharing": "shared", "precision": "rounded", "low_rank": "factored"}
_SMALL = 64  # tensors with fewer values (biases of small layers) get no histogram of their own


@dataclass(frozen=True)
class Weights:
    """The part of a story that is about tensors."""

    stages: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    extras: Mapping[str, bytes] = field(default_factory=dict)
    file_bytes: int | None = None


def from_files(entries: Sequence[Entry], steps: Mapping[int, Path], result: Path | None) -> Weights:
    """The tensors of a run: `steps` has the file after each kept step by its index, `result` is the finished file.

    Raises: FormatError for a damaged file.
    """
    shown = [entry for entry in entries if entry.index in steps and _changed(entry)]
    with _opened([*(steps[entry.index] for entry in shown), *([result] if result else [])]) as readers:
        if not readers:
            return Weights()
        labels = (DENSE, *_labels(shown), *([CODED] if result else []))
        before = readers[:-1] if result else readers
        told = [_tensor(record.name, before, readers[-1]) for record in readers[-1].tensors]
        return Weights(
            labels,
            tuple(layer for layer, _ in told),
            tuple(item for _, item in told if item is not None),
            readers[-1].extras,
            readers[-1].prefix.file_length if result else None,
        )


def from_encodings(encodings: Mapping[str, Encoding]) -> Weights:
    """The tensors of a model in memory: dense, as encoded, and as the entropy coders would keep them."""
    layers, histograms = [], []
    for name, encoding in encodings.items():
        sizes = (_dense(encoding), payload.coded_bytes(encoding, [Raw()]), payload.coded_bytes(encoding))
        layers.append(Layer(name, encoding.shape, payload.describe(*_form(encoding)), encoding.nonzeros, sizes))
        if _worth_a_picture(encoding):
            histograms.append(histogram(name, encoding.to_tensor(), encoding))
    return Weights((DENSE, "encoded", CODED), tuple(layers), tuple(histograms))


def _changed(entry: Entry) -> bool:
    return entry.guard is None or entry.guard.verdict != "refused"


def _labels(entries: Sequence[Entry]) -> list[str]:
    """What each step did to the weights, in a word; the same word again gets a number."""
    labels: list[str] = []
    for entry in entries:
        parts = entry.technique.split(".")
        word = next((_WORDS[part] for part in parts if part in _WORDS), parts[-1])
        times = sum(label.split(" (")[0] == word for label in labels)
        labels.append(f"{word} ({times + 1})" if times else word)
    return labels


@contextmanager
def _opened(paths: Sequence[Path]) -> Iterator[list[Reader]]:
    with ExitStack() as stack:
        yield [stack.enter_context(open_file(path, nonfinite="allow")) for path in paths]


def _tensor(name: str, before: Sequence[Reader], last: Reader) -> tuple[Layer, Histogram | None]:
    """One tensor through all stages; `last` holds it as it ended, and says how many bytes it takes there."""
    record = next(record for record in last.tensors if record.name == name)
    earlier = [_encoding(reader, name) for reader in before]
    final = last.encoding(name)
    dense = _dense(final)
    sizes = [dense, *(dense if item is None else payload.coded_bytes(item, [Raw()]) for item in earlier)]
    if last not in before:
        sizes.append(record.length)
    layer = Layer(name, record.shape, payload.describe(record.shape, record.spec), final.nonzeros, tuple(sizes))
    if not _worth_a_picture(final):
        return layer, None
    unshared = [item for item in earlier if item is not None and not centroids(item)]
    return layer, histogram(name, (unshared[-1] if unshared else final).to_tensor(), final)


def _encoding(reader: Reader, name: str) -> Encoding | None:
    known = {record.name for record in reader.tensors} | set(reader.aliases)
    return reader.encoding(name) if name in known else None


def _dense(encoding: Encoding) -> int:
    """Bytes of the tensor as plain numbers of its type."""
    return math.prod(encoding.shape) * encoding.dtype.itemsize


def _form(encoding: Encoding) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return encoding.shape, payload.encode(encoding).spec


def _worth_a_picture(encoding: Encoding) -> bool:
    count = math.prod(encoding.shape)
    return bool(centroids(encoding)) or (encoding.dtype in _FLOATS and len(encoding.shape) > 1 and count >= _SMALL)


_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
