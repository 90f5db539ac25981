"""Texts token by token: samplers, the decoding loop, beam search, and filling of masks. Nothing here knows a model.

A model comes as a `Steps`: what scores the tokens after a text, given one token at a time.
"""

from tfxlm.generation.beams import BeamSearch
from tfxlm.generation.loop import Generated, Prompt, Steps, Strategy, decoded, proceeding, streamed
from tfxlm.generation.mask_predict import filled
from tfxlm.generation.options import GenerationOptions, checked_option, token_id, token_ids
from tfxlm.generation.sampling import Sampling
from tfxlm.generation.scores import Rules

__all__ = [
    "BeamSearch",
    "Generated",
    "GenerationOptions",
    "Prompt",
    "Rules",
    "Sampling",
    "Steps",
    "Strategy",
    "checked_option",
    "decoded",
    "filled",
    "proceeding",
    "streamed",
    "token_id",
    "token_ids",
]
