"""XLM-RoBERTa-XL in the layout of `transformers`.

Source: the module tree of `modeling_xlm_roberta_xl.py`.
"""

from tfxlm.checkpoints.maps.roberta import BLOCK, CROSS_ATTENTION, LAYER, roberta_map
from tfxlm.checkpoints.name_map import norm

XLM_ROBERTA_XL = roberta_map(
    [
        *norm(f"{BLOCK}/attention_norm", f"{LAYER}.attention.self_attn_layer_norm"),
        *norm(f"{BLOCK}/cross_attention_norm", f"{LAYER}.crossattention.self_attn_layer_norm", CROSS_ATTENTION),
        *norm(f"{BLOCK}/feed_forward_norm", f"{LAYER}.LayerNorm"),
        *norm("roberta/encoder/final_norm", "roberta.encoder.LayerNorm"),
    ]
)
