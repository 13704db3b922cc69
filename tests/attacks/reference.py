"""Reference files: one for each mix of encodings, coders and parts of the format, made of numbers that never change.

They lie in tests/golden/files. `python tests/attacks/reference.py` writes those that are not there yet; a file that is
there is never changed, so that a reader of tomorrow still reads what one of today wrote.
"""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from featherweight.container import pack
from featherweight.encodings.attach import attach
from featherweight.encodings.base import Encoding
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.encodings.uniform import Uniform
from featherweight.entropy.base import Coder
from featherweight.entropy.context_range import ContextRange
from featherweight.entropy.huffman import Huffman
from featherweight.entropy.rans import Rans
from featherweight.graph.ir import Graph
from featherweight.graph.log import Cut, Log, Removal, Replacement, keep_log
from featherweight.graph.plain import Ref, from_plain

FOLDER = Path(__file__).parents[1] / "golden" / "files"


@dataclass(frozen=True)
class Reference:
    """What goes into a file. `graph` as in pack.save; `coders` too: those that there were when the file was made."""

    model: nn.Module
    graph: Graph | None = None
    extras: Mapping[str, bytes] = field(default_factory=dict)
    nonfinite: str = "reject"
    coders: Sequence[Coder] = (Huffman(),)

    def save(self, path: Path, model: nn.Module | None = None) -> bytes:
        """Writes the file with this model or another one."""
        whole = self.model if model is None else model
        pack.save(path, whole, graph=self.graph, extras=self.extras, nonfinite=self.nonfinite, coders=list(self.coders))
        return path.read_bytes()


REFERENCES: dict[str, Callable[[int], Reference]] = {}


def reference(build: Callable[[int], Reference]) -> Callable[[int], Reference]:
    """Enters a builder under its name; it takes a scale: 1 for a file below 1 KB or so, more for larger ones."""
    REFERENCES[build.__name__] = build
    return build


def numbers(*shape: int, modulus: int = 251) -> Tensor:
    """Small float32 numbers that look random and are exact in half precision."""
    index = torch.arange(math.prod(shape), dtype=torch.int64)
    return ((index * index * 7 + index * 13) % modulus - modulus // 2).reshape(shape).float() / 64


def held(encodings: Mapping[str, Encoding | Tensor]) -> nn.Module:
    """A module without a function that holds these tensors, encodings attached."""
    model = nn.Module()
    for name, item in encodings.items():
        value = item.to_tensor().detach().clone() if isinstance(item, Encoding) else item
        if value.dtype.is_floating_point:
            model.register_parameter(name, nn.Parameter(value, requires_grad=False))
        else:
            model.register_buffer(name, value)
    attach(model, {name: item for name, item in encodings.items() if isinstance(item, Encoding)})
    return model


@reference
def empty(scale: int) -> Reference:
    return Reference(nn.Module(), extras={"note": b"n" * scale} if scale > 1 else {})


@reference
def dense_types(scale: int) -> Reference:
    whole = torch.arange(6 * scale)
    return Reference(
        held(
            {
                "a_float32": numbers(3, 4 * scale),
                "a_float16": numbers(5 * scale).half(),
                "a_bfloat16": numbers(5 * scale).bfloat16(),
                "a_float64": numbers(2 * scale).double() / 3,
                "a_uint8": whole.to(torch.uint8),
                "a_int8": (whole - 3).to(torch.int8),
                "a_int16": (whole * 300).to(torch.int16),
                "a_int32": (whole * 70_000).to(torch.int32),
                "a_int64": whole * 2**40,
                "a_bool": whole % 3 == 0,
                "größe": torch.tensor(2.5),
                "nothing": torch.zeros(0, 3),
                "same": torch.full((2, 3), 0.5),
            }
        )
    )


@reference
def half_precision(scale: int) -> Reference:
    return Reference(
        held(
            {
                "narrow": Dense(numbers(16, 8 * scale), torch.float16),
                "brain": Dense(numbers(60 * scale).bfloat16().float(), torch.bfloat16),
            }
        )
    )


@reference
def pruned_bitmap(scale: int) -> Reference:
    weight = numbers(12, 10 * scale)
    return Reference(held({"weight": Sparse.of(weight, numbers(12, 10 * scale, modulus=241) > 0)}))


@reference
def pruned_index(scale: int) -> Reference:
    weight = numbers(40, 50 * scale)
    return Reference(held({"weight": Sparse.of(weight, numbers(40, 50 * scale, modulus=509) > 3.6)}))


@reference
def shared(scale: int) -> Reference:
    weight = numbers(20, 40 * scale)
    skewed = weight * weight.abs() / 2
    return Reference(held({"weight": Codebook.of(skewed, torch.linspace(-2, 2, 15)), "bias": numbers(7)}))


class Small(nn.Module):
    """A network with a convolution, a batch norm and a linear layer."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4, eps=1e-3)
        self.fc = nn.Linear(4 * 3 * 3, 10 * scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.max_pool2d(torch.relu(self.norm(self.conv(x))), 2).flatten(1))


@reference
def deep_compression(scale: int) -> Reference:
    model = Small(scale).eval()
    with torch.no_grad():
        for tensor in [*model.parameters(), model.norm.running_mean]:
            tensor.copy_(numbers(*tensor.shape))
    weight = model.fc.weight.detach()
    mask = numbers(*weight.shape, modulus=509) > 2
    attach(model, {"fc.weight": Sparse(mask, Codebook.of(weight[mask], torch.linspace(-2, 2, 9)))})
    names = [name for name in model.state_dict() if name != "norm.num_batches_tracked"]
    nodes = [
        [0, Ref(0), Ref(1), Ref(2)],
        [1, Ref(9), Ref(3), Ref(4), Ref(5), Ref(6), 1e-3],
        [2, Ref(10)],
        [3, Ref(11), [2, 2]],
        [4, Ref(12), 1],
        [5, Ref(13), Ref(7), Ref(8)],
    ]
    ops = ["conv2d", "batch_norm", "relu", "max_pool2d", "flatten", "linear"]
    graph = from_plain([[["x", [None, 1, 8, 8]]], 8, ops, nodes, Ref(14)], names)
    return Reference(model, graph, {"recipe": b'{"version": 1}'})


class Tied(nn.Module):
    """A network whose last layer is its first one, transposed, under two names."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(7 * scale, 4)
        self.decode = nn.Linear(4, 7 * scale, bias=False)
        self.decode.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decode(self.embed(tokens))


@reference
def tied_with_extras(scale: int) -> Reference:
    model = Tied(scale).eval()
    with torch.no_grad():
        model.embed.weight.copy_(numbers(7 * scale, 4))
    nodes = [[0, Ref(1), Ref(0)], [1, Ref(2), Ref(1)]]
    graph = from_plain([[["tokens", [None, 3], "int64"]], 1, ["embedding", "linear"], nodes, Ref(3)], ["embed.weight"])
    extras = {"recipe": b"{}", "ledger": b"[" + b"1," * 20 * scale + b"1]", "of another program": bytes(range(20))}
    return Reference(model, graph, extras)


@reference
def not_finite(scale: int) -> Reference:
    special = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 1e-45, 3.4028234663852886e38])
    return Reference(
        held({"special": special, "finite": numbers(9 * scale), "narrow": Dense(special[:4], torch.float16)}),
        nonfinite="allow",
    )


def whole_numbers(scale: int) -> nn.Module:
    """Levels of kernels and of rows, on one grid and on two, indices, a mask and numbers of their own."""

    def steep(divisor: int, power: int, *shape: int) -> Tensor:
        """Mostly small, now and then large."""
        return ((numbers(*shape) * 64).long() ** power // divisor).int()

    weight = numbers(9, 20 * scale)
    return held(
        {
            "kernels": Uniform(
                steep(300_000, 3, 6, 2 * scale, 3, 3), torch.tensor([0.25]), dependent=True, continued=True
            ),
            "rows": Uniform(steep(3_000_000, 4, 12, 10 * scale), torch.arange(1.0, 13.0) / 16),
            "large": Uniform(steep(20_000, 5, 100 * scale), torch.tensor([2.0**-20])),
            "shared": Codebook.of(weight * weight.abs() / 2, torch.linspace(-2, 2, 15)),
            "bool": numbers(10, 20 * scale, modulus=101) > 0.7,
            "bytes": (numbers(60 * scale).abs() * 16).to(torch.uint8),
        }
    )


@reference
def interleaved(scale: int) -> Reference:
    return Reference(whole_numbers(scale), coders=(Rans(),))


@reference
def in_context(scale: int) -> Reference:
    return Reference(whole_numbers(scale), coders=(ContextRange(),))


@reference
def after_surgery(scale: int) -> Reference:
    """Two of eight channels are gone, and a module was replaced; the weights are what is left."""
    layers = {"first": nn.Linear(3, 6), "second": nn.Linear(6, 4 * scale), "third": nn.Sequential(nn.Linear(4, 2))}
    model = nn.ModuleDict(layers).requires_grad_(False)
    for tensor in model.parameters():
        tensor.copy_(numbers(*tensor.shape))
    kept = Cut.of(0, 8, [0, 1, 2, 4, 5, 7])
    cuts = {"first.weight": (kept,), "first.bias": (kept,), "second.weight": (Cut.of(1, 8, kept.indices()),)}
    low = {"kind": "Sequential", "children": [["0", {"kind": "Linear", "in_features": 4, "out_features": 2}]]}
    keep_log(model, Log((Removal(cuts, (("", "channels", 6),)), Replacement((("third", low),)))))
    return Reference(model)


LARGE = "aligned"


def aligned() -> Reference:
    """A section of more than 64 KiB, so that there is padding: not one of those that are broken in every place."""
    return Reference(
        held({"small": numbers(3), "large": (numbers(68, 1000, modulus=65_521) * 64 % 256).byte(), "last": numbers(2)})
    )


def exact() -> Reference:
    """Exponents apart from mantissas, as only tensors of some thousand values are kept: not broken in every place."""
    values = numbers(64, 65, modulus=65_521) / 3 * numbers(65)
    return Reference(
        held({"single": values, "brain": values.bfloat16(), "short": values.half(), "few": values[:2].clone()}),
        coders=(Rans(),),
    )


def golden() -> dict[str, Reference]:
    """All reference files as they lie in the folder."""
    return {name: build(1) for name, build in REFERENCES.items()} | {LARGE: aligned(), "exact": exact()}


def main() -> None:
    """Writes the reference files that are not there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, made in golden().items():
        if not (FOLDER / f"{name}.fwt").exists():
            with tempfile.TemporaryDirectory() as folder:
                (FOLDER / f"{name}.fwt").write_bytes(made.save(Path(folder) / "file"))


if __name__ == "__main__":
    main()
