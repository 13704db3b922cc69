"""Puts each batch norm into the convolution or linear layer before it: the same network, with fewer tensors and steps.

In evaluation a batch norm is y = scale x + shift by channel, with scale = gamma / sqrt(variance + epsilon) and
shift = beta - mean scale. So weight' = scale weight (row by row) and bias' = scale bias + shift give the same outputs.
B. Jacob et al. 2018 (CVPR, "Quantization and training of neural networks for efficient integer-arithmetic-only
inference"), section 3.2, fold so that weights are quantized as they run; here weights may be quantized already, and
keep their levels: only their steps become one a row.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from featherweight.core.context import Context
from featherweight.encodings.attach import attach, detach, encodings_of
from featherweight.encodings.base import Encoding
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.encodings.uniform import Uniform
from featherweight.errors import TechniqueError, TraceError, UsageError
from featherweight.graph.described import describe
from featherweight.graph.fold import Folding
from featherweight.graph.ir import Graph, Meta, Node, Ref, leaves
from featherweight.graph.log import Log, Replacement, keep_log, log_of
from featherweight.graph.trace import trace
from featherweight.techniques.base import Technique

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_OPS = ("linear", *(f"conv{axes}d{kind}" for axes in (1, 2, 3) for kind in ("", ".padding")))


@dataclass(frozen=True)
class _Pair:
    """The module paths of a layer and of the batch norm that alone reads it."""

    layer: str
    norm: str


@dataclass(frozen=True, kw_only=True)
class FoldNorms(Technique):
    """Puts each batch norm into the convolution or linear layer before it. Exact, up to rounding.

    Belongs behind all training: the network that is left has no batch statistics to train with. Quantized weights keep
    their levels and get one step a row. A norm stays where its layer is read by something else too, or kept in a way
    whose rows cannot be scaled.
    """

    survey: ClassVar[str] = "Jacob et al. 2018, Quantization and Training of Neural Networks, section 3.2"
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "linear", "batch norm behind them")

    half: bool = True  # keep the new biases in 16 bits; False: in the type of the weights

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The model with `nn.Identity` in the places of its norms. Records "folded": {norm: layer}.

        The log of surgery tells it, so that a file of the weights loads into the user's class; the file itself need not
        where each layer got its bias so (graph/fold.py). Layers of a class of the user's own cannot be described as
        data: with one of these folded, the log keeps silent.

        Raises: TechniqueError when there is nothing to fold, or the model cannot be traced.
        """
        try:
            pairs = _pairs(trace(model, context.example), model)
        except TraceError as error:
            raise TechniqueError("the model cannot be traced", value=type(model).__name__, fix=error.fix) from error
        bare = {pair.layer for pair in pairs if model.get_submodule(pair.layer).bias is None}
        folded = {pair.norm: pair.layer for pair in pairs if self._fold(model, pair)}
        if not folded:
            raise TechniqueError(
                "the model has no batch norm that can be folded",
                where=type(model).__name__,
                value=[pair.norm for pair in pairs],
                fix="Leave the step out, or put it before the weights are shared.",
            )
        _note(model, folded, bare)
        context.record("folded", folded)
        return model

    def _fold(self, model: nn.Module, pair: _Pair) -> bool:
        """Folds one pair; False, and nothing changed, where the weight's encoding does not allow it."""
        layer, norm = model.get_submodule(pair.layer), model.get_submodule(pair.norm)
        scale, shift = _affine(norm)
        present = encodings_of(model)
        name, bias = f"{pair.layer}.weight", f"{pair.layer}.bias"
        weight, old = layer.get_parameter("weight"), dict(layer.named_parameters(recurse=False)).get("bias")
        scaled = _rows_times(weight.detach(), scale)
        kept = _scaled(present.get(name), scaled, scale)
        if kept is None and name in present:
            return False
        moved = shift if old is None else shift + scale * old.detach()
        detach(model, {name, bias, *(f"{pair.norm}.{part}" for part, _ in _state(norm))})
        with torch.no_grad():
            weight.copy_(scaled)
        fresh_bias = nn.Parameter(moved.to(weight), requires_grad=weight.requires_grad)
        layer.register_parameter("bias", fresh_bias)
        nothing = nn.Identity().train(norm.training)
        for path in [path for path, module in _named(model) if module is norm]:
            parent, _, child = path.rpartition(".")
            setattr(model.get_submodule(parent), child, nothing)
        fits = bool(torch.isfinite(moved.to(torch.float16)).all())
        fresh = {bias: Dense(fresh_bias.detach().clone(), torch.float16)} if self.half and fits else {}
        attach(model, fresh if kept is None else fresh | {name: kept})
        return True


def _named(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """All modules, by each of their paths."""
    return list(model.named_modules(remove_duplicate=False))


def _note(model: nn.Module, folded: Mapping[str, str], bare: Set[str]) -> None:
    """Adds to the log what a fresh network needs for the state dict to load: biases where there were none, no norms."""
    changed = {*folded, *(bare & set(folded.values()))}
    try:
        modules = tuple((path, describe(module)) for path, module in _named(model) if path in changed)
    except UsageError:  # a layer of a class of the user's own
        return
    step = (Folding if bare >= set(folded.values()) else Replacement)(modules)
    keep_log(model, log_of(model) + Log((step,)))


def _pairs(graph: Graph, model: nn.Module) -> list[_Pair]:
    """The layers whose only reader is a batch norm, with modules of their own on both sides."""
    modules, users = dict(model.named_modules()), graph.users()
    outputs = {ref.index for ref in leaves(graph.outputs)}
    once = {index for index, readers in users.items() if len(readers) == 1} - outputs
    found = []
    for node in graph.nodes:
        before = node.args[0] if node.op == "batch_norm" else None
        if not isinstance(before, Ref) or before.index not in once:
            continue
        producer = graph.node(before)
        if producer is None or not _ends_in_channels(producer):
            continue
        layer, norm = _owner(graph, producer, once), _owner(graph, node, once)
        if isinstance(modules.get(layer), _LAYERS) and isinstance(modules.get(norm), _BatchNorm):
            found.append(_Pair(layer, norm))
    return found


def _ends_in_channels(node: Node) -> bool:
    """Whether the axis that a norm takes for channels, the second, is the one of the layer's outputs."""
    return node.op != "linear" or (isinstance(node.meta, Meta) and len(node.meta.shape) == 2)


def _owner(graph: Graph, node: Node, once: set[int]) -> str:
    """The path of the module whose tensors a layer or norm uses and nothing else does; "?" where there is none."""
    if node.op != "batch_norm" and node.op not in _OPS:
        return "?"
    given = node.arguments()
    key = "running_var" if node.op == "batch_norm" else "weight"
    tensors = [given[part] for part in ("weight", "bias", "running_mean", "running_var") if given.get(part) is not None]
    if not all(isinstance(ref, Ref) and ref.index in once for ref in tensors) or not isinstance(given[key], Ref):
        return "?"
    name = graph.tensor_name(given[key]) or "?"
    return name.rpartition(".")[0] if name.endswith(f".{key}") else "?"


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm by channel, in double precision."""
    state = {part: tensor.detach().double() for part, tensor in _state(norm)}
    epsilon = float(norm.eps) if isinstance(norm, _BatchNorm) else 0.0
    scale = (state["running_var"] + epsilon).rsqrt()
    scale = scale * state.get("weight", torch.ones_like(scale))
    return scale, state.get("bias", torch.zeros_like(scale)) - state["running_mean"] * scale


def _state(norm: nn.Module) -> list[tuple[str, Tensor]]:
    return [*norm.named_parameters(recurse=False), *norm.named_buffers(recurse=False)]


def _rows_times(weight: Tensor, scale: Tensor) -> Tensor:
    return (weight.double() * scale.reshape(-1, *(1,) * (weight.dim() - 1))).to(weight)


def _scaled(encoding: Encoding | None, scaled: Tensor, scale: Tensor) -> Encoding | None:
    """The encoding of the scaled weight; None for a plain one, and for one whose rows cannot be scaled."""
    if isinstance(encoding, Dense):
        return Dense(scaled, encoding.stored)
    if isinstance(encoding, Sparse):
        if isinstance(encoding.inner, Dense):
            return Sparse(encoding.mask, Dense(scaled[encoding.mask], encoding.inner.stored))
        if not isinstance(encoding.inner, Uniform) or encoding.inner.step.shape != (1,):
            return None
        levels = torch.zeros(encoding.shape, dtype=torch.int32, device=scaled.device)
        levels[encoding.mask] = encoding.inner.multiples
        return _by_rows(levels, encoding.inner.step, scale)
    if isinstance(encoding, Uniform) and not encoding.dependent:
        return _by_rows(encoding.levels, encoding.step, scale)
    return None


def _by_rows(levels: Tensor, step: Encoding, scale: Tensor) -> Uniform:
    """The levels with one step a row; where the scale is below zero, the levels change sign."""
    signs = scale.sign().to(torch.int32).reshape(-1, *(1,) * (levels.dim() - 1))
    old = step.to_tensor().detach()
    stored = step.stored if isinstance(step, Dense) else old.dtype
    least = torch.finfo(stored or old.dtype).tiny  # a row without effect has levels of 0 and needs some step
    steps = (old.double() * scale.abs()).clamp(min=least).to(old)
    return Uniform(levels * signs.to(levels.device), Dense(steps, stored))
