"""What all models around a backbone share: its making, its cache, and the checks before it runs."""

from __future__ import annotations

from typing import Any, ClassVar

from keras import ops

from tfxlm.layers import KeyValueCache
from tfxlm.models.backbone import Backbone
from tfxlm.models.calls import check_grid, check_head_mask, words_of
from tfxlm.models.pretrained import TFPreTrainedModel


class BackboneModel(TFPreTrainedModel):
    """A model around a backbone, which is its attribute `base_model_prefix`."""

    backbone_class: ClassVar[type[Backbone]]

    @property
    def backbone_options(self) -> dict[str, Any]:
        """Further arguments of the backbone."""
        return {}

    def make_layers(self, config: Any) -> None:
        """Makes the backbone."""
        name = self.base_model_prefix
        setattr(self, name, self.backbone_class(config, name=name, dtype=self.dtype_policy, **self.backbone_options))

    def make_cache(self, batch_size: Any, max_length: int | None = None) -> KeyValueCache:
        """Makes an empty cache, for calls that bring one or several new tokens of a text at a time.

        It takes 2 x layers x hidden size numbers for each slot of a row, at once. Compiled with XLA, nothing checks
        that tokens still fit. XLM's default positions go on counting by slots, padding included: where prompts of
        different lengths are padded on the right, give the `position_ids` of the tokens that follow. Those of the
        other families count words.

        Args:
            batch_size: rows.
            max_length: most tokens of a row, padding included; as many as there are positions by default.

        Returns:
            The cache of the first call; each call returns the next one in its outputs.

        Raises:
            InputError: when `max_length` is not a positive integer.
        """
        return self.base_model.make_cache(batch_size, max_length)

    def encode(self, **inputs: Any) -> tuple[dict[str, Any], Any]:
        """Checks the inputs, those of the call that are the body's, and runs the backbone.

        Returns:
            Its outputs by name, and the padding mask (batch, length), boolean.

        Raises:
            InputError: when inputs are missing, contradict each other, or do not fit the model.
        """
        config = self.config
        words = words_of(inputs)
        for name in ("position_ids", "token_type_ids"):
            value = inputs.get(name)
            if words is not None and value is not None and tuple(value.shape[:1]) == (1,):
                # The same for every row, as scripts for `transformers` give them.
                inputs[name] = ops.broadcast_to(value, (ops.shape(words)[0], *ops.shape(value)[1:]))
        check_grid(inputs, config)
        check_head_mask(
            inputs.get("head_mask"), config.num_hidden_layers, config.num_attention_heads, bool(config.pruned_heads)
        )
        for name in ("output_attentions", "output_hidden_states"):
            if inputs.get(name) is None:
                inputs[name] = getattr(config, name)
        encoded, mask = self.base_model(past_key_values=inputs.pop(self.backbone_class.cache_name, None), **inputs)
        if "past_key_values" in encoded:
            encoded[self.backbone_class.cache_name] = encoded.pop("past_key_values")
        return encoded, mask
