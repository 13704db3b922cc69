"""The vision networks of `transformers`, small: what each calls by a name of its own. For structure_zoo.py.

`cases()` goes through transformers' own lists (image classification, segmentation, detection, depth, backbones), so a
type that is new there is tried with its default names and, where that fails, shows up in `structure_zoo.py --list`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from transformers.models.auto import modeling_auto

Changes = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A class of `transformers` with a small configuration and the kind of example it takes."""

    name: str
    family: str
    kind: str  # model type
    class_name: str
    changes: Changes = field(default_factory=dict)
    example: str = "image"
    answers: tuple[str, ...] = ()  # fields of the output that are the answer; empty: all of it
    pooled: bool = False  # a backbone, which gets a classifier of its own


WIDTHS = [32, 48, 64, 96]
SWIN = {"embed_dim": 32, "num_heads": [2, 2, 4, 4], "window_size": 4}
SWIN_THREE = {**SWIN, "depths": [2, 2, 2], "num_heads": [2, 2, 4]}  # a fourth stage would be smaller than a window
STAGES = ["stage1", "stage2", "stage3", "stage4"]
RESNET = {"model_type": "resnet", "embedding_size": 32, "hidden_sizes": WIDTHS, "depths": [2, 2, 2, 2]}
RESNET_OUT = {"use_timm_backbone": False, "backbone": None, "backbone_config": {**RESNET, "out_features": STAGES[3:]}}
HGNET: Changes = {
    "stem_channels": [3, 32, 32],
    "stage_in_channels": [32, 64, 96, 128],
    "stage_mid_channels": [32, 32, 48, 64],
    "stage_out_channels": [64, 96, 128, 160],
    "stage_num_blocks": [1, 1, 2, 1],
    "stage_numb_of_layers": [3, 3, 3, 3],
    "hidden_sizes": [64, 96, 128, 160],
}
HGNET_OUT = {**HGNET, "model_type": "hgnet_v2", "out_features": STAGES[1:]}
RT_RESNET = {**RESNET, "model_type": "rt_detr_resnet", "out_features": STAGES[1:]}
HYBRID = {"encoder_hidden_dim": 64, "decoder_in_channels": [64, 64, 64], "decoder_layers": 2}
FOUR_LAYERS = {"num_hidden_layers": 4, "out_indices": [1, 2, 3, 4]}
SWIN_OUT = {**SWIN, "model_type": "swin", "depths": [2, 2, 2, 2], "image_size": 64, "out_features": STAGES}
MASKS = {"hidden_dim": 64, "mask_feature_size": 64, "encoder_feedforward_dim": 96, "decoder_layers": 3}
DPT_NECK = {"neck_hidden_sizes": WIDTHS, "fusion_hidden_size": 32}
DINO_OUT = {"num_hidden_layers": 4, "patch_size": 16, "out_indices": [1, 2, 3, 4]}
DECODER = {"decoder_self_attention_heads": 4, "decoder_cross_attention_heads": 4, "group_detr": 2}

CHANGES: dict[str, Changes] = {
    "bit": {"num_groups": 8},
    "convnext": {"patch_size": 4},
    "cvt": {"embed_dim": [32, 64, 96], "num_heads": [1, 2, 3], "depth": [1, 2, 3]},
    "donut-swin": SWIN_THREE,
    "efficientnet": {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640},
    "focalnet": {"embed_dim": 32},
    "hgnet_v2": HGNET,
    "hiera": {"embed_dim": 32, "num_heads": [1, 2, 4, 4], "patch_size": [7, 7]},
    "imagegpt": {"n_positions": 64},
    "mobilenet_v1": {"depth_multiplier": 0.5},
    "mobilenet_v2": {"depth_multiplier": 0.5},
    "mobilevit": {"hidden_sizes": [48, 64, 80], "neck_hidden_sizes": [16, 32, 32, 48, 64, 80, 128]},
    "mobilevitv2": {"base_attn_unit_dims": [32, 48, 64], "n_attn_blocks": [2, 2, 2]},
    "perceiver": {
        "num_latents": 16,
        "d_latents": 64,
        "image_size": 32,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 1,
    },
    "regnet": {"hidden_sizes": [32, 64, 64, 96], "groups_width": 16},
    "siglip2": {"vision_config": {"num_patches": 16}},
    "swiftformer": {"embed_dims": WIDTHS},
    "swin": SWIN_THREE,
    "swinv2": SWIN_THREE,
    "textnet": {"stem_out_channels": 32, "hidden_sizes": [32, 32, 48, 64, 96]},
    "upernet": {
        "backbone_config": {"model_type": "convnext", "hidden_sizes": WIDTHS, "depths": [2] * 4, "out_features": STAGES}
    },
    "detr": {**RESNET_OUT, "encoder_attention_heads": 8, "decoder_attention_heads": 8},
    "conditional_detr": RESNET_OUT,
    "dab-detr": RESNET_OUT,
    "table-transformer": RESNET_OUT,
    "deformable_detr": {
        **RESNET_OUT,
        "backbone_config": {**RESNET, "out_features": STAGES[1:]},
        "num_feature_levels": 3,
    },
    "eomt": {"num_blocks": 1},
    "eomt_dinov3": {"num_blocks": 1},
    "mask2former": {**MASKS, "backbone_config": SWIN_OUT, "feature_size": 64},
    "maskformer": {
        "fpn_feature_size": 64,
        "mask_feature_size": 64,
        "backbone_config": SWIN_OUT,
        "decoder_config": {
            "model_type": "detr",
            "d_model": 64,
            "encoder_ffn_dim": 96,
            "decoder_ffn_dim": 96,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "num_queries": 12,
        },
    },
    "oneformer": {
        **MASKS,
        "backbone_config": SWIN_OUT,
        "conv_dim": 64,
        "mask_dim": 64,
        "text_encoder_width": 64,
        "text_encoder_vocab_size": 99,
        "text_encoder_num_layers": 2,
        "task_seq_len": 8,
        "query_dec_layers": 1,
    },
    "rt_detr": {**HYBRID, "backbone_config": RT_RESNET, "encoder_in_channels": [48, 64, 96]},
    "rt_detr_v2": {**HYBRID, "backbone_config": RT_RESNET, "encoder_in_channels": [48, 64, 96]},
    "d_fine": {**HYBRID, "backbone_config": HGNET_OUT, "encoder_in_channels": [96, 128, 160]},
    "deimv2": {**HYBRID, "backbone_config": HGNET_OUT, "encoder_in_channels": [96, 128, 160]},
    "pp_doclayout_v2": {
        **HYBRID,
        "class_thresholds": [0.5] * 10,
        "class_order": list(range(10)),
        "backbone_config": HGNET_OUT,
        "encoder_in_channels": [96, 128, 160],
    },
    "pp_doclayout_v3": {
        **HYBRID,
        "backbone_config": {**HGNET_OUT, "out_features": STAGES},
        "encoder_in_channels": [96, 128, 160],
        "x4_feat_dim": 64,
    },
    "pp_doclayout_v4": {**HYBRID, "backbone_config": HGNET_OUT, "encoder_in_channels": [96, 128, 160]},
    "lw_detr": {
        **DECODER,
        "backbone_config": {
            "model_type": "lw_detr_vit",
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": 64,
            "pretrain_image_size": 64,
            "num_windows": 4,
            "num_windows_side": 2,
            "window_block_indices": [0, 2],
            "out_features": ["stage2", "stage4"],
        },
        "projector_scale_factors": [1.0],
    },
    "rf_detr": DECODER,
    "dpt": {**DPT_NECK, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3]},
    "depth_anything": {
        **DPT_NECK,
        "backbone_config": {
            "model_type": "dinov2",
            "hidden_size": 64,
            "image_size": 64,
            "num_attention_heads": 4,
            **DINO_OUT,
            "reshape_hidden_states": False,
        },
        "patch_size": 16,
        "reassemble_hidden_size": 64,
    },
    "tipsv2_dpt": {
        **DPT_NECK,
        "backbone_config": {
            "model_type": "tipsv2_vision_model",
            "hidden_size": 64,
            "image_size": 64,
            "num_attention_heads": 4,
            **DINO_OUT,
            "reshape_hidden_states": False,
        },
    },
    "zoedepth": {
        **DPT_NECK,
        "backbone_config": {
            "model_type": "beit",
            "hidden_size": 64,
            "image_size": 64,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            **DINO_OUT,
            "reshape_hidden_states": False,
        },
        "backbone_hidden_size": 64,
        "bottleneck_features": 32,
    },
    "sapiens2": {
        "num_key_value_attention_heads": 2,
        "num_first_full_attention_layers": 1,
        "num_last_full_attention_layers": 1,
        "num_key_value_heads_per_layer": None,
        "head_config": {
            "upsample_out_channels": [32, 32],
            "upsample_kernel_sizes": [4, 4],
            "conv_out_channels": [32],
            "conv_kernel_sizes": [1],
        },
    },
    "lw_detr_vit": {"num_windows": 4, "num_windows_side": 2, "pretrain_image_size": 64},
    "rf_detr_dinov2": {"num_windows": 2, "patch_size": 16},
    "maskformer-swin": SWIN,
    "pp_ocrv5_mobile_det": {"backbone_config": ...},
    "pp_ocrv6_small_det": {
        "backbone_config": {"model_type": "pp_lcnet_v4", "out_features": STAGES},
        "layer_list_out_channels": [96, 96, 192, 384],
    },
}
CHANGES["convnextv2"] = CHANGES["convnext"]
CHANGES["prompt_depth_anything"] = CHANGES["depth_anything"]

HEADED: dict[tuple[str, str], Changes] = {  # where a task asks more of a type
    ("segmentation", "beit"): FOUR_LAYERS,
    ("masks", "detr"): {"backbone_config": {**RESNET, "out_features": STAGES}},
    ("segmentation", "data2vec-vision"): {"num_hidden_layers": 4, "out_indices": [0, 1, 2, 3]},
}

QUERIES = ("class_queries_logits", "masks_queries_logits", "logits", "pred_masks", "pred_boxes")
TASKS = {  # family: the lists of transformers, and the fields that are the answer (empty: the whole output)
    "classification": (("IMAGE_CLASSIFICATION",), ()),
    "segmentation": (("SEMANTIC_SEGMENTATION",), ()),
    "masks": (("UNIVERSAL_SEGMENTATION", "INSTANCE_SEGMENTATION"), QUERIES),
    "detection": (("OBJECT_DETECTION",), ("logits", "pred_boxes")),
    "depth": (("DEPTH_ESTIMATION",), ("predicted_depth",)),
    "backbone": (("BACKBONE",), ()),
}
EXAMPLES = {"imagegpt": "words", "siglip2": "patches", "oneformer": "image and task", "videomt": "video",
            "perceiver": "image 32"}  # fmt: skip
MAPS = {"pp_ocrv5_mobile_det": ("last_hidden_state",)}  # the map of where text is
LEFT_OUT = {
    "shieldgemma2": "a language model that looks at images, no vision backbone",
    "timm_backbone": "needs timm",
    "timm_wrapper": "needs timm",
    "dinat": "needs natten",
    "tipsv2_vision_model": "the same class as tipsv2",
    "pp_ocrv5_server_det": "its configuration has no default for the blocks of its neck",
    "pp_ocrv6_medium_det": "its configuration has no default for the blocks of its neck",
    "pp_ocrv6_small_det": "its default configuration does not fit its default backbone",
    "depth_pro": "cuts images of at least 1536 pixels into patches of 384",
    "chmv2": "its backbone's default gives no class tokens, which it needs",
}


def cases() -> Iterator[Case]:
    """Every class of the lists; a backbone only where its type has no classifier."""
    classified: set[str] = set()
    for family, (lists, answers) in TASKS.items():
        seen: set[str] = set()
        for kind, class_names in _listed(lists):
            class_name = class_names if isinstance(class_names, str) else class_names[0]
            if kind in LEFT_OUT or class_name in seen or (family == "backbone" and kind in classified):
                continue
            seen.add(class_name)
            classified.add(kind)
            yield Case(
                name=f"{kind}" if family == "classification" else f"{kind}/{family}",
                family=family,
                kind=kind,
                class_name=class_name,
                changes={**CHANGES.get(kind, {}), **HEADED.get((family, kind), {})},
                example=EXAMPLES.get(kind, "image"),
                answers=MAPS.get(kind, answers),
                pooled=family == "backbone",
            )


def _listed(lists: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name in lists:
        yield from getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES").items()
