"""The closed table of modules that can be written down as plain data: a new kind is one entry of `KINDS`.

An entry names the class, its settings (those without a default first), how a value must look and, where the module
keeps it under another name than the constructor takes it, how to read it. Defaults are part of stored descriptions:
they never change, whatever a release of torch does (a test compares them).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import nn

from featherweight.graph._described_forms import (
    DEPTH,
    EXTENT,
    FLAG,
    GAPS,
    INDICES,
    NONE,
    NUMBER,
    NUMBERS,
    PADDING_MODE,
    REQUIRED,
    SHAPE,
    SIZE,
    SIZES,
    WHOLE,
    WHOLES,
    Form,
    Kind,
    Setting,
    choice,
    either,
)
from featherweight.graph.layers import ChannelPad, ChannelSelect, Constant, LowRankGRU, LowRankLSTM, PassOn, Zeros


def present(name: str, own: str | None = None) -> Setting:
    """A flag, true by default, that says whether the module has the tensor `own` (default: of the same name)."""
    return Setting(name, FLAG, True, lambda module: getattr(module, own or name, None) is not None)


def _extent(name: str, default: Any = REQUIRED, form: Form = EXTENT) -> Setting:
    """A setting for all dimensions of space: one number where all are the same, as most people write it."""

    def read(module: nn.Module) -> Any:
        value = getattr(module, name)
        if isinstance(value, tuple | list):
            return value[0] if len(set(value)) == 1 else list(value)
        return value

    return Setting(name, form, default, read)


def _stride() -> Setting:
    """The stride of pooling, which is the window where nothing is said."""
    plain, window = _extent("stride"), _extent("kernel_size")

    def read(module: nn.Module) -> Any:
        return None if plain.of(module) == window.of(module) else plain.of(module)

    return Setting("stride", either(EXTENT, NONE), None, read)


def _sized(*names: str) -> tuple[Setting, ...]:
    return tuple(Setting(name, SIZE) for name in names)


def _flags(*names: str) -> tuple[Setting, ...]:
    return tuple(Setting(name, FLAG, False) for name in names)


_INPLACE = _flags("inplace")


def _convolution(cls: type[nn.Module], *more: Setting, padding: Form = EXTENT) -> Kind:
    return Kind(
        cls,
        (
            *_sized("in_channels", "out_channels"),
            _extent("kernel_size"),
            _extent("stride", 1),
            _extent("padding", 0, padding),
            *more,
            Setting("groups", SIZE, 1),
            present("bias"),
            _extent("dilation", 1),
            Setting("padding_mode", PADDING_MODE, "zeros"),
        ),
    )


def _channel_norm(cls: type[nn.Module], *, usual: bool) -> Kind:
    """Batch and instance norms; `usual`: whether scales and statistics are there where nothing is said."""
    optional = either(NUMBER, NONE)
    return Kind(
        cls,
        (
            *_sized("num_features"),
            Setting("eps", NUMBER, 1e-5),
            Setting("momentum", optional, 0.1),
            Setting("affine", FLAG, usual),
            Setting("track_running_stats", FLAG, usual),
        ),
    )


def _recurrent(cls: type[nn.Module], *more: Setting) -> Kind:
    return Kind(
        cls,
        (
            *_sized("input_size", "hidden_size"),
            Setting("num_layers", DEPTH, 1),
            Setting("bias", FLAG, True),
            *_flags("batch_first"),
            Setting("dropout", NUMBER, 0.0),
            *_flags("bidirectional"),
            *more,
        ),
    )


def _thin(cls: type[nn.Module], *more: Setting) -> Kind:
    """Recurrent layers with a rank for each layer and direction, 0 for a whole matrix."""
    plain = _recurrent(cls, *more)
    sizes, rest = plain.settings[:2], plain.settings[2:]
    return Kind(cls, (*sizes, Setting("rank_ih", INDICES), Setting("rank_hh", INDICES), *rest), cls)


def _side(name: str) -> Setting:
    """A width of attention that is the model's where nothing is said."""
    return Setting(
        name, either(SIZE, NONE), None, lambda module: None if module._qkv_same_embed_dim else getattr(module, name)
    )


_CONVOLUTIONS = (
    *(_convolution(cls, padding=either(EXTENT, choice("same", "valid"))) for cls in (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    *(
        _convolution(cls, _extent("output_padding", 0))
        for cls in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    ),
)

_NORMS = (
    *(_channel_norm(cls, usual=True) for cls in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)),
    *(_channel_norm(cls, usual=False) for cls in (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)),
    Kind(
        nn.LayerNorm,
        (
            Setting("normalized_shape", SIZES),
            Setting("eps", NUMBER, 1e-5),
            Setting("elementwise_affine", FLAG, True),
            Setting("bias", FLAG, True, lambda module: not module.elementwise_affine or module.bias is not None),
        ),
    ),
    Kind(
        nn.RMSNorm,
        (
            Setting("normalized_shape", SIZES),
            Setting("eps", either(NUMBER, NONE), None),
            Setting("elementwise_affine", FLAG, True),
        ),
    ),
    Kind(
        nn.GroupNorm,
        (*_sized("num_groups", "num_channels"), Setting("eps", NUMBER, 1e-5), Setting("affine", FLAG, True)),
    ),
    Kind(
        nn.LocalResponseNorm,
        (
            *_sized("size"),
            Setting("alpha", NUMBER, 1e-4),
            Setting("beta", NUMBER, 0.75),
            Setting("k", NUMBER, 1.0),
        ),
    ),
)

_PLAIN: tuple[type[nn.Module], ...] = (
    nn.Identity,
    nn.Sigmoid,
    nn.LogSigmoid,
    nn.Tanh,
    nn.Tanhshrink,
    nn.Softsign,
    nn.Softmax2d,
)
_IN_PLACE: tuple[type[nn.Module], ...] = (
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardsigmoid,
    nn.Hardswish,
)

_ACTIVATIONS = (
    *(Kind(cls) for cls in _PLAIN),
    *(Kind(cls, _INPLACE) for cls in _IN_PLACE),
    *(Kind(cls, (Setting("alpha", NUMBER, 1.0), *_INPLACE)) for cls in (nn.ELU, nn.CELU)),
    *(Kind(cls, (Setting("lambd", NUMBER, 0.5),)) for cls in (nn.Softshrink, nn.Hardshrink)),
    *(Kind(cls, (Setting("dim", either(WHOLE, NONE), None),)) for cls in (nn.Softmax, nn.Softmin, nn.LogSoftmax)),
    Kind(nn.GELU, (Setting("approximate", choice("none", "tanh"), "none"),)),
    Kind(nn.GLU, (Setting("dim", WHOLE, -1),)),
    Kind(nn.LeakyReLU, (Setting("negative_slope", NUMBER, 0.01), *_INPLACE)),
    Kind(nn.RReLU, (Setting("lower", NUMBER, 1 / 8), Setting("upper", NUMBER, 1 / 3), *_INPLACE)),
    Kind(nn.Hardtanh, (Setting("min_val", NUMBER, -1.0), Setting("max_val", NUMBER, 1.0), *_INPLACE)),
    Kind(nn.Softplus, (Setting("beta", NUMBER, 1.0), Setting("threshold", NUMBER, 20.0))),
    Kind(nn.Threshold, (Setting("threshold", NUMBER), Setting("value", NUMBER), *_INPLACE)),
    Kind(nn.PReLU, (Setting("num_parameters", SIZE, 1), Setting("init", NUMBER, 0.25))),
)

_CEIL = _flags("ceil_mode")
_POOLS = (
    *(
        Kind(
            cls,
            (
                _extent("kernel_size"),
                _stride(),
                _extent("padding", 0),
                _extent("dilation", 1),
                *_flags("return_indices"),
                *_CEIL,
            ),
        )
        for cls in (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
    ),
    *(
        Kind(
            cls,
            (
                _extent("kernel_size"),
                _stride(),
                _extent("padding", 0),
                *_CEIL,
                Setting("count_include_pad", FLAG, True),
                *((Setting("divisor_override", either(SIZE, NONE), None),) if cls is not nn.AvgPool1d else ()),
            ),
        )
        for cls in (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
    ),
    *(
        Kind(cls, (Setting("norm_type", NUMBER), _extent("kernel_size"), _stride(), *_CEIL))
        for cls in (nn.LPPool1d, nn.LPPool2d, nn.LPPool3d)
    ),
    *(
        Kind(cls, (_extent("output_size", form=either(SIZE, GAPS, NONE)),))
        for cls in (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
    ),
    *(
        Kind(cls, (_extent("output_size", form=either(SIZE, GAPS, NONE)), *_flags("return_indices")))
        for cls in (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
    ),
)

_PADS = (
    *(
        Kind(cls, (_extent("padding", form=either(WHOLE, WHOLES)),))
        for stem in ("Zero", "Reflection", "Replication", "Circular")
        for cls in (getattr(nn, f"{stem}Pad{dims}d") for dims in (1, 2, 3))
    ),
    *(
        Kind(cls, (_extent("padding", form=either(WHOLE, WHOLES)), Setting("value", NUMBER)))
        for cls in (nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
    ),
)

_DROPOUTS = tuple(
    Kind(cls, (Setting("p", NUMBER, 0.5), *_INPLACE))
    for cls in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
)

_SHAPES = (
    Kind(nn.Flatten, (Setting("start_dim", WHOLE, 1), Setting("end_dim", WHOLE, -1))),
    Kind(nn.Unflatten, (Setting("dim", WHOLE), Setting("unflattened_size", WHOLES))),
    Kind(nn.PixelShuffle, _sized("upscale_factor")),
    Kind(nn.PixelUnshuffle, _sized("downscale_factor")),
    Kind(nn.ChannelShuffle, _sized("groups")),
    Kind(
        nn.Upsample,
        (
            Setting("size", either(EXTENT, NONE), None),
            Setting("scale_factor", either(NUMBER, NUMBERS, NONE), None),
            Setting(
                "mode", choice("nearest", "linear", "bilinear", "bicubic", "trilinear", "nearest-exact"), "nearest"
            ),
            Setting("align_corners", either(FLAG, NONE), None),
            Setting("recompute_scale_factor", either(FLAG, NONE), None),
        ),
    ),
)

_GATE = Setting("nonlinearity", choice("tanh", "relu"), "tanh")
_CELL = (*_sized("input_size", "hidden_size"), Setting("bias", FLAG, True))
_SEQUENCES = (
    _recurrent(nn.LSTM, Setting("proj_size", SIZE, 0)),
    _recurrent(nn.GRU),
    _recurrent(nn.RNN, _GATE),
    Kind(nn.LSTMCell, _CELL),
    Kind(nn.GRUCell, _CELL),
    Kind(nn.RNNCell, (*_CELL, _GATE)),
    Kind(
        nn.MultiheadAttention,
        (
            *_sized("embed_dim", "num_heads"),
            Setting("dropout", NUMBER, 0.0),
            present("bias", "in_proj_bias"),
            Setting("add_bias_kv", FLAG, False, lambda module: module.bias_k is not None),
            *_flags("add_zero_attn"),
            _side("kdim"),
            _side("vdim"),
            *_flags("batch_first"),
        ),
    ),
    Kind(
        nn.Embedding,
        (
            *_sized("num_embeddings", "embedding_dim"),
            Setting("padding_idx", either(WHOLE, NONE), None),
            Setting("max_norm", either(NUMBER, NONE), None),
            Setting("norm_type", NUMBER, 2.0),
            *_flags("scale_grad_by_freq", "sparse"),
        ),
    ),
)


def _select(indices: list[int], dim: int = 1) -> nn.Module:
    return ChannelSelect(torch.tensor(indices, dtype=torch.int64), dim)


_HOUSE = (
    Kind(
        ChannelSelect,
        (Setting("indices", INDICES, read=lambda module: module.indices.tolist()), Setting("dim", WHOLE, 1)),
        _select,
    ),
    Kind(ChannelPad, (*_sized("before", "after"), Setting("dim", WHOLE, 1))),
    Kind(
        Constant,
        (Setting("shape", SHAPE, read=lambda module: list(module.value.shape)),),
        lambda shape: Constant(torch.zeros(shape)),
    ),
    _thin(LowRankLSTM, *_flags("shared")),
    _thin(LowRankGRU),
    Kind(PassOn, (Setting("length", either(DEPTH, NONE), None),)),
    Kind(Zeros, (Setting("shape", WHOLES), Setting("length", either(DEPTH, NONE), None), *_flags("filled"))),
)


def _by_name(kinds: Iterable[Kind]) -> Mapping[str, Kind]:
    return {kind.name: kind for kind in kinds}


KINDS: Final[Mapping[str, Kind]] = _by_name(
    (
        Kind(nn.Linear, (*_sized("in_features", "out_features"), present("bias"))),
        *_CONVOLUTIONS,
        *_NORMS,
        *_ACTIVATIONS,
        *_POOLS,
        *_PADS,
        *_DROPOUTS,
        *_SHAPES,
        *_SEQUENCES,
        *_HOUSE,
    )
)
