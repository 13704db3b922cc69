"""What a model costs, layer by layer and in all: one table for people, programs and notebooks."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from html import escape
from typing import Any

import torch
from torch import nn

from featherweight.errors import EncodingError, TraceError
from featherweight.graph.ir import Graph
from featherweight.profiling._tensors import Stored, batch_size, stored_tensors
from featherweight.profiling.base import Measurement
from featherweight.profiling.latency import Latency
from featherweight.profiling.macs import Macs
from featherweight.profiling.size import dense_bytes, encoding_words, kept_as, tensor_bytes

UNITS = ("B", "KB", "MB", "GB")


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """One layer: all tensors of one module, or one operator without weights (attention, a product of activations)."""

    name: str  # path of the module; "" is the model itself
    kind: str  # class of the module, or "operator"
    parameters: int
    nonzeros: int  # parameters that are not zero
    macs: int | None  # multiply-adds for one example; None: not counted
    encoding: str  # of the largest tensor, in words
    encoded_bytes: int  # of all its tensors, as coded

    @property
    def density(self) -> float:
        """Share of parameters that are not zero, 0..1; 1 without parameters."""
        return self.nonzeros / self.parameters if self.parameters else 1.0

    @property
    def bits_per_weight(self) -> float:
        """Encoded bits for each parameter, zeros included; 0 without parameters."""
        return 8 * self.encoded_bytes / self.parameters if self.parameters else 0.0

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON values."""
        return asdict(self) | {"density": self.density, "bits_per_weight": self.bits_per_weight}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The figures of a model. Sizes are in bytes, latency in milliseconds, MACs in multiply-adds for one example."""

    layers: tuple[LayerProfile, ...]
    macs: int | None = None
    file_bytes: int | None = None  # of the whole file, where one was written
    latency: Mapping[str, float] = field(default_factory=dict)  # parts of profiling.latency.Latency, where measured
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """All parameters, zeros included."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def nonzeros(self) -> int:
        """All parameters that are not zero."""
        return sum(layer.nonzeros for layer in self.layers)

    @property
    def density(self) -> float:
        """Share of parameters that are not zero, 0..1; 1 without parameters."""
        return self.nonzeros / self.parameters if self.parameters else 1.0

    @property
    def dense_bytes(self) -> int:
        """Bytes of all parameters as 32-bit floats: what sizes are compared with."""
        return dense_bytes(self.parameters)

    @property
    def encoded_bytes(self) -> int:
        """Bytes of all tensors as coded, codebooks and statistics included, names and head of the file not."""
        return sum(layer.encoded_bytes for layer in self.layers)

    def with_file(self, file_bytes: int) -> "Profile":
        """The same profile with the size of the file that was written."""
        return replace(self, file_bytes=file_bytes)

    def summary(self) -> dict[str, Any]:
        """The totals, as JSON values; latency only where it was measured."""
        totals = {
            "parameters": self.parameters,
            "nonzeros": self.nonzeros,
            "density": self.density,
            "macs": self.macs,
            "dense_bytes": self.dense_bytes,
            "encoded_bytes": self.encoded_bytes,
            "file_bytes": self.file_bytes,
        }
        return totals | dict(self.latency)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        layers = [layer.to_dict() for layer in self.layers]
        return {"totals": self.summary(), "layers": layers, "notes": list(self.notes)}

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        head = "".join(f"<th>{title}</th>" for title in _TITLES)
        rows = "".join(_row(_cells(layer)) for layer in self.layers)
        total = _row(("<b>all</b>", "", *_figures(self)), bold=True)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}{total}</tbody></table>{notes}"


def profile(
    model: nn.Module, example: tuple[Any, ...], *, latency: bool | Latency = False, graph: Graph | None = None
) -> Profile:
    """Profiles a model as it stands, with its attached encodings.

    `example` are the positional inputs, batch in front; MACs are for one example of it. `latency` times forward
    passes too (True: with the default settings). `graph` saves tracing again where the caller has it. A model whose
    graph cannot be captured has no MACs; `notes` says why.
    """
    macs, notes = _macs(model, example, graph)
    timing = Latency() if latency is True else latency
    times = timing.measure(model, example) if isinstance(timing, Latency) else None
    by_module: dict[str, list[Stored]] = {}
    for item in stored_tensors(model):
        by_module.setdefault(item.layer, []).append(item)
    counts = dict(macs.parts) if macs is not None else {}
    layers = [_layer(model, name, items, counts.pop(name, None)) for name, items in by_module.items()]
    layers += [_operator(name, int(count)) for name, count in counts.items()]
    return Profile(
        layers=tuple(layers),
        macs=int(macs.value) if macs is not None else None,
        latency={} if times is None else times.parts,
        notes=notes if times is None else (*notes, *times.notes),
    )


def _macs(
    model: nn.Module, example: tuple[Any, ...], graph: Graph | None
) -> tuple[Measurement | None, tuple[str, ...]]:
    try:
        metric = Macs()
        found = metric.measure(model, example) if graph is None else metric.count(graph, batch_size(example))
    except TraceError as error:
        return None, (f"MACs are unknown: {error}",)
    return found, found.notes


def _layer(model: nn.Module, name: str, items: list[Stored], macs: float | None) -> LayerProfile:
    largest = max(items, key=lambda item: item.tensor.numel())
    parameters = [item for item in items if item.is_parameter]
    return LayerProfile(
        name=name,
        kind=type(dict(model.named_modules())[name]).__name__,
        parameters=sum(item.tensor.numel() for item in parameters),
        nonzeros=sum(int(torch.count_nonzero(item.tensor)) for item in parameters),
        macs=None if macs is None else int(macs),
        encoding=_words(largest),
        encoded_bytes=sum(tensor_bytes(item) for item in items),
    )


def _words(item: Stored) -> str:
    try:
        return encoding_words(kept_as(item))
    except EncodingError:  # a type that no encoding has
        return str(item.tensor.dtype).removeprefix("torch.")


def _operator(name: str, macs: int) -> LayerProfile:
    return LayerProfile(name=name, kind="operator", parameters=0, nonzeros=0, macs=macs, encoding="", encoded_bytes=0)


_TITLES = ("layer", "kind", "parameters", "nonzeros", "density", "MACs", "bits per weight", "encoded", "encoding")


def _cells(layer: LayerProfile) -> tuple[str, ...]:
    return (escape(layer.name or "(model)"), escape(layer.kind), *_figures(layer), escape(layer.encoding))


def _figures(item: LayerProfile | Profile) -> tuple[str, ...]:
    bits = 8 * item.encoded_bytes / item.parameters if item.parameters else 0.0
    macs = "" if item.macs is None else f"{item.macs:,}"
    counts = (f"{item.parameters:,}", f"{item.nonzeros:,}", f"{item.density:.1%}")
    return (*counts, macs, f"{bits:.2f}", _bytes(item.encoded_bytes))


def _bytes(count: int) -> str:
    size, unit = float(count), UNITS[0]
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _row(cells: tuple[str, ...], *, bold: bool = False) -> str:
    style = ' style="font-weight:bold"' if bold else ""
    return f"<tr{style}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
