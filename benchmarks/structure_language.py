"""The language networks of `transformers`, small: for structure_zoo.py.

Of transformers' three hundred those whose wiring is their own; the many that are another's under a new name are not
repeated. Encoders classify sequences, decoders predict the next word.
"""

from collections.abc import Iterator

from transformers.models.auto import modeling_auto

from structure_vision import Case, Changes

ENCODERS = (
    *("albert", "bert", "big_bird", "canine", "convbert", "deberta", "deberta-v2", "distilbert", "electra", "esm"),
    *(
        "eurobert",
        "flaubert",
        "fnet",
        "funnel",
        "gte",
        "ibert",
        "layoutlm",
        "longformer",
        "megatron-bert",
        "mobilebert",
    ),
    *("modernbert", "mpnet", "mra", "nomic_bert", "nystromformer", "rembert", "roberta", "roberta-prelayernorm"),
    *("roformer", "squeezebert", "xlm", "xlm-roberta-xl", "xlnet", "yoso"),
)
DECODERS = (
    *("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "gpt2", "opt", "gpt_neox"),
    *("gpt_neo", "gptj", "gpt_bigcode", "bloom", "falcon", "mpt", "olmo2", "cohere", "stablelm", "starcoder2"),
    *("persimmon", "nemotron", "glm4", "granite", "smollm3", "exaone4", "biogpt", "codegen", "ctrl", "openai-gpt"),
    *("xglm", "diffllama", "doge", "nanochat", "apertus", "bitnet"),
)
RECURRENT = ("mamba", "mamba2", "falcon_mamba", "rwkv", "recurrent_gemma", "lfm2", "jamba", "bamba", "qwen3_next")
EXPERTS = ("mixtral", "qwen3_moe", "gpt_oss", "deepseek_v2", "granitemoe")

FEW_EXPERTS: Changes = {"moe_intermediate_size": 48, "num_experts": 4, "num_experts_per_tok": 2, "num_local_experts": 4}
LATENT = {"kv_lora_rank": 32, "q_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16}
CHANGES: dict[str, Changes] = {
    "funnel": {"block_sizes": [2, 2], "d_head": 16, "d_inner": 96},
    "flaubert": {"emb_dim": 64, "n_words": 99},
    "xlm": {"emb_dim": 64, "n_words": 99},
    "mobilebert": {"embedding_size": 32, "intra_bottleneck_size": 32},
    "layoutlm": {"max_2d_position_embeddings": 64},
    "rembert": {"input_embedding_size": 32, "output_embedding_size": 32},
    "xlnet": {"d_inner": 96},
    "canine": {"num_hash_buckets": 64, "local_transformer_stride": 8, "downsampling_rate": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gptj": {"rotary_dim": 8},
    "codegen": {"rotary_dim": 8},
    "gemma3_text": {"sliding_window": 8},
    "ctrl": {"dff": 96},
    "mamba": {"state_size": 8},
    "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 8, "n_groups": 2, "chunk_size": 8},
    "bamba": {
        "mamba_n_heads": 8,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
        "attn_layer_indices": [1],
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "jamba": {**FEW_EXPERTS, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "mamba_dt_rank": 8},
    "qwen3_next": {
        **FEW_EXPERTS,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "shared_expert_intermediate_size": 48,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": FEW_EXPERTS,
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v2": {
        **LATENT,
        "head_dim": 8,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
        "first_k_dense_replace": 1,
    },
}


def cases() -> Iterator[Case]:
    """Encoders with a classifier, decoders with their head, and the encoder of T5."""
    for kind in ENCODERS:
        yield _case(kind, "encoder", "SEQUENCE_CLASSIFICATION")
    for family, kinds in (("decoder", DECODERS), ("recurrent", RECURRENT), ("experts", EXPERTS)):
        for kind in kinds:
            yield _case(kind, family, "CAUSAL_LM")
    t5 = {"d_kv": 16, "num_heads": 4, "num_layers": 2}
    yield Case("t5-encoder", "encoder", "t5", "T5EncoderModel", t5, "words", pooled=True)
    yield Case(
        "t5-gated-encoder",
        "encoder",
        "t5",
        "T5EncoderModel",
        {**t5, "feed_forward_proj": "gated-gelu"},
        "words",
        pooled=True,
    )


def _case(kind: str, family: str, task: str) -> Case:
    names = getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES")
    class_name = names.get(kind, f"no class of {task} for {kind}")
    answers = ("logits",)
    return Case(kind, family, kind, class_name, CHANGES.get(kind, {}), "words", answers)
