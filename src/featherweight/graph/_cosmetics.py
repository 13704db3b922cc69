"""Sizes that modules of torch.nn write down beside their tensors, put right after the tensors have changed.

Most are read by `extra_repr` and by people only, some by the computation (`normalized_shape`, `num_channels`). They
follow from the shapes, so no log has to say them.
"""

from collections.abc import Callable
from typing import Any, Final, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

Sizes = dict[str, Any]

_GATES: Final = {"LSTM": 4, "GRU": 3}


def refresh(module: nn.Module) -> None:
    """Sets what follows from the shapes of the module's tensors; does nothing for a class that torch.nn lacks."""
    for cls, sizes in _SIZES:
        if isinstance(module, cls):
            for name, value in sizes(module).items():
                setattr(module, name, value)
            return


def _linear(module: nn.Linear) -> Sizes:
    return {"in_features": module.weight.shape[1], "out_features": module.weight.shape[0]}


def _bilinear(module: nn.Bilinear) -> Sizes:
    names = ("out_features", "in1_features", "in2_features")
    return dict(zip(names, module.weight.shape, strict=True))


def _convolution(module: _ConvNd) -> Sizes:
    first, second = module.weight.shape[:2]
    if module.transposed:
        return {"in_channels": first, "out_channels": second * module.groups}
    return {"in_channels": second * module.groups, "out_channels": first}


def _channel_norm(module: _NormBase) -> Sizes:
    tensor = module.weight if module.weight is not None else module.running_mean
    return {} if tensor is None else {"num_features": tensor.numel()}


def _shape_norm(module: nn.LayerNorm | nn.RMSNorm) -> Sizes:
    return {} if module.weight is None else {"normalized_shape": tuple(module.weight.shape)}


def _group_norm(module: nn.GroupNorm) -> Sizes:
    return {} if module.weight is None else {"num_channels": module.weight.numel()}


def _embedding(module: nn.Embedding | nn.EmbeddingBag) -> Sizes:
    return {"num_embeddings": module.weight.shape[0], "embedding_dim": module.weight.shape[1]}


def _prelu(module: nn.PReLU) -> Sizes:
    return {"num_parameters": module.weight.numel()}


def _recurrent(module: nn.RNNBase) -> Sizes:
    hidden, inputs = cast(Tensor, module.weight_hh_l0), cast(Tensor, module.weight_ih_l0)
    sizes = {"input_size": inputs.shape[1], "hidden_size": hidden.shape[0] // _GATES.get(module.mode, 1)}
    return sizes | ({"proj_size": hidden.shape[1]} if module.proj_size else {})


def _cell(module: nn.RNNCellBase) -> Sizes:
    return {"input_size": module.weight_ih.shape[1], "hidden_size": module.weight_hh.shape[1]}


def _attention(module: nn.MultiheadAttention) -> Sizes:
    width = (module.in_proj_weight if module._qkv_same_embed_dim else module.q_proj_weight).shape[1]  # of queries
    sizes = {"embed_dim": width, "head_dim": width // module.num_heads}
    if module._qkv_same_embed_dim:
        return sizes | {"kdim": width, "vdim": width}
    return sizes | {"kdim": module.k_proj_weight.shape[1], "vdim": module.v_proj_weight.shape[1]}


_SIZES: Final[tuple[tuple[Any, Callable[[Any], Sizes]], ...]] = (
    (nn.Linear, _linear),
    (nn.Bilinear, _bilinear),
    (_ConvNd, _convolution),
    (_NormBase, _channel_norm),
    (nn.LayerNorm, _shape_norm),
    (nn.RMSNorm, _shape_norm),
    (nn.GroupNorm, _group_norm),
    (nn.Embedding, _embedding),
    (nn.EmbeddingBag, _embedding),
    (nn.PReLU, _prelu),
    (nn.RNNBase, _recurrent),
    (nn.RNNCellBase, _cell),
    (nn.MultiheadAttention, _attention),
)
