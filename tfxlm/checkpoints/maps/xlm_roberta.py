"""XLM-RoBERTa in the layout of `transformers`.

Source: the module tree of `modeling_xlm_roberta.py`.
"""

from tfxlm.checkpoints.maps.roberta import BLOCK, CROSS_ATTENTION, LAYER, roberta_map
from tfxlm.checkpoints.name_map import norm

XLM_ROBERTA = roberta_map(
    [
        *norm("roberta/embeddings/norm", "roberta.embeddings.LayerNorm"),
        *norm(f"{BLOCK}/attention_norm", f"{LAYER}.attention.output.LayerNorm"),
        *norm(f"{BLOCK}/cross_attention_norm", f"{LAYER}.crossattention.output.LayerNorm", CROSS_ATTENTION),
        *norm(f"{BLOCK}/feed_forward_norm", f"{LAYER}.output.LayerNorm"),
    ]
)
