"""Small configurations of the models of `transformers`, by one rule for all: for structure_zoo.py.

`shrunk("vit")` is ViT's own default configuration with every width, depth and size that has a usual name made small.
What a family calls by a name of its own is said where the family is listed. Nothing is downloaded.
"""

from collections.abc import Mapping
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

IMAGE = 64  # pixels
WORDS = 99  # tokens of the vocabulary
CLASSES = 10

TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL: dict[str, Any] = {
    **TOKENS,
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "embed_dim", "embedding_size", "dim", "dim_model"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "encoder_attention_heads", "num_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "decoder_self_attention_heads", "decoder_cross_attention_heads"), 4),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim", "d_ff", "n_inner"), 96),
    **dict.fromkeys(("hidden_dim", "dff", "dim_feedforward", "feed_forward_size"), 96),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len"), 64),
    **dict.fromkeys(("decoder_hidden_size", "fusion_hidden_size", "hidden_size_per_layer_input"), 32),
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": WORDS,
    "vocab_size_per_layer_input": WORDS,
    "image_size": IMAGE,
    "patch_size": 16,
    "num_queries": 12,
    "use_cache": False,
    "depths": 2,
    "hidden_sizes": (32, 48, 64, 96, 128),
}


def shrunk(kind: str, changes: Mapping[str, Any] | None = None) -> PreTrainedConfig:
    """The small configuration of a model type; `changes` win, and reach into nested configurations as dictionaries."""
    return CONFIG_MAPPING[kind](**_settings(CONFIG_MAPPING[kind](), changes or {}))


def _settings(default: PreTrainedConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the default's class: those of SMALL that it knows, and `changes`.

    A change of `...` leaves the default; a nested configuration that names its `model_type` is taken as it is.
    """
    settings: dict[str, Any] = {"num_labels": CLASSES}
    for name, value in vars(default).items():
        if isinstance(value, PreTrainedConfig):
            nested = changes.get(name) or {}
            if nested is not ... and "model_type" not in nested:
                settings[name] = {**_settings(value, nested), "model_type": value.model_type}
        elif name in SMALL and not (value is None and name in ("head_dim", "n_inner")):
            settings[name] = _resized(name, value)
    for name, value in changes.items():
        if value is ...:
            settings.pop(name, None)
        elif not (
            isinstance(value, Mapping)
            and isinstance(getattr(default, name, None), PreTrainedConfig)
            and "model_type" not in value
        ):
            settings[name] = value
    return settings


def _resized(name: str, value: Any) -> Any:
    """The small value in the form that the default has, one number or one for each stage, and never above it."""
    small = SMALL[name]
    if name in TOKENS or value is None:
        return small
    if isinstance(value, list | tuple):
        items = small if isinstance(small, tuple) else (small,) * len(value)
        return [min(pair) for pair in zip(items, value, strict=False)]
    return min(small, value)
