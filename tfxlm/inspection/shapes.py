"""The shapes of a body's tensors, by its configuration alone."""

from __future__ import annotations

from tfxlm.checkpoints import NameMap
from tfxlm.checkpoints.name_map import BACKBONE
from tfxlm.configs import PreTrainedConfig


def backbone_shapes(config: PreTrainedConfig, name_map: NameMap, layers: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the tensors that every model of a configuration has, without making one.

    Args:
        config: the configuration.
        name_map: of its family.
        layers: how many layers to count. Of those with pruned heads, attention is left out.

    Returns:
        The shapes in files by full name.
    """
    dim = config.hidden_size
    wide = getattr(config, "intermediate_size", 4 * dim)  # XLM has no setting for it
    pruned = {int(layer) for layer in getattr(config, "pruned_heads", None) or ()}
    rows = {
        "word": config.vocab_size,
        "position": config.max_position_embeddings,
        "token_type": getattr(config, "type_vocab_size", 0),
        "lang": config.n_langs if getattr(config, "uses_lang_embeddings", False) else 0,
    }
    shapes = {}
    for rule in (rule for rule in name_map.rules if rule.part == BACKBONE):
        *_, block, layer, kind = rule.variable.split("/")
        if rows.get(layer) == 0:
            continue
        sizes = (
            wide if (block, layer) == ("feed_forward", "output") else dim,
            wide if layer == "intermediate" else dim,
        )
        shape = (rows[layer], dim) if layer in rows else sizes if kind == "kernel" else sizes[1:]
        for index in range(layers) if "{i}" in rule.tensor else (None,):
            if index not in pruned or block != "attention":
                shapes[rule.tensor.replace("{i}", str(index))] = rule.transform.shape(shape)
    return shapes
