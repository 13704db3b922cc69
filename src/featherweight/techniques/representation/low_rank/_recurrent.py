"""LSTM and GRU layers by their matrices: parts to factor, and the thin layers in their places.

Chauhan et al. 2018: the stacked gates of an LSTM of d inputs and h units are (4h, d) and (4h, h). Apart they keep
k (4h + d) + k (4h + h) weights, with a shared left factor k (5h + d), of 4h (d + h).
"""

import math

import torch
from torch import Tensor, nn

from featherweight.graph._recurrent import LowRankGRU, LowRankLSTM
from featherweight.numerics.factor import svd
from featherweight.techniques.representation.low_rank._parts import Measure, Part, Ranks, matrix_part

KINDS = (nn.LSTM, nn.GRU)
Recurrent = nn.LSTM | nn.GRU


def parts(module: Recurrent, inputs: tuple[int, ...], measure: Measure, *, shared: bool) -> list[Part]:
    """For each layer and direction the matrix of inputs and that of states, or one of both; none with projections."""
    if module.proj_size:
        return []
    steps = 1 if measure == "parameters" else math.prod(inputs[:-1])
    found = []
    for suffix in _suffixes(module):
        if shared and isinstance(module, nn.LSTM):
            matrices = [_beside(module, suffix)]
        else:
            matrices = [getattr(module, f"weight_{kind}{suffix}").detach() for kind in ("ih", "hh")]
        found += [matrix_part(matrix, sum(matrix.shape) * steps, steps) for matrix in matrices]
    return found


def build(module: Recurrent, ranks: list[Ranks | None], *, shared: bool) -> nn.Module:
    """The layer with thin matrices where there are ranks, its other tensors as they are."""
    suffixes = _suffixes(module)
    numbers = [0 if item is None else item[0] for item in ranks]
    one_each = shared and isinstance(module, nn.LSTM)
    by_input, by_state = (numbers, numbers) if one_each else (numbers[0::2], numbers[1::2])
    tensors: dict[str, Tensor] = {}
    for suffix, *pair in zip(suffixes, by_input, by_state, strict=True):
        if one_each and pair[0]:
            tensors |= _shared(module, suffix, pair[0])
            continue
        for kind, rank in zip(("ih", "hh"), pair, strict=True):
            weight = getattr(module, f"weight_{kind}{suffix}").detach()
            if rank:
                tensors[f"left_{kind}{suffix}"], tensors[f"right_{kind}{suffix}"] = svd(weight, rank)
            else:
                tensors[f"weight_{kind}{suffix}"] = weight
    kept = {name: tensor.detach() for name, tensor in module.named_parameters() if name.startswith("bias")}
    cls = LowRankLSTM if isinstance(module, nn.LSTM) else LowRankGRU
    settings = {name: getattr(module, name) for name in ("bias", "batch_first", "dropout", "bidirectional")}
    sizes = (module.input_size, module.hidden_size, by_input, by_state, module.num_layers)
    made = cls(*sizes, **settings, shared=one_each, device="meta")
    return _filled(made, module, tensors | kept)


def _shared(module: Recurrent, suffix: str, rank: int) -> dict[str, Tensor]:
    left, right = svd(_beside(module, suffix), rank)
    inputs = right.shape[1] - module.hidden_size
    return {f"left{suffix}": left, f"right_ih{suffix}": right[:, :inputs], f"right_hh{suffix}": right[:, inputs:]}


def _filled(made: nn.Module, old: Recurrent, tensors: dict[str, Tensor]) -> nn.Module:
    """The new layer with its tensors; a part is trainable where the old layer's first weight is."""
    free = next(old.parameters()).requires_grad
    for name in [name for name, _ in made.named_parameters()]:
        trainable = old.get_parameter(name).requires_grad if name in old._parameters else free
        values = tensors[name].contiguous().clone()
        made.register_parameter(name, nn.Parameter(values, requires_grad=trainable))
    return made.train(old.training)


def _beside(module: Recurrent, suffix: str) -> Tensor:
    """[W_ih W_hh], (4h, d + h)."""
    weights = [getattr(module, f"weight_{kind}{suffix}").detach() for kind in ("ih", "hh")]
    return torch.cat(weights, dim=1)


def _suffixes(module: Recurrent) -> list[str]:
    ends = ("", "_reverse") if module.bidirectional else ("",)
    return [f"_l{layer}{end}" for layer in range(module.num_layers) for end in ends]
