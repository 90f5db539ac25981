"""What the tests of generation share: small causal models, prompts with padding, and the slow way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tests.generation.reference import Score
from tests.models.battery import perturb
from tests.models.families import XLM, Family

# The rest of the name of the class that predicts the next token.
TASKS = {XLM: "WithLMHeadModel"}
ROOM = 32


def causal_model(family: Family, seed: int = 0, **changes: Any) -> Any:
    """A model that predicts next tokens, with random weights, and so with texts that end now and then."""
    room = {"max_position_embeddings": ROOM if family is XLM else ROOM + 2}
    config = family.small.replace(**{family.causal: True, **room, **changes})
    return perturb(family.cls(TASKS.get(family, "ForCausalLM"))(config), seed)


def masked_model(family: Family, **changes: Any) -> Any:
    """A model that predicts masked tokens."""
    return perturb(family.cls(family.language_model)(family.small.replace(**changes)))


def drawn_prompts(config: Any, rng: np.random.Generator, lengths: Sequence[int] = (5, 2, 4)) -> list[list[int]]:
    """Prompts without padding, and without what ends a text."""
    words = [token for token in range(config.vocab_size) if token not in (config.pad_index, config.end_token_id)]
    return [rng.choice(words, length).tolist() for length in lengths]


def padded(prompts: Sequence[Sequence[int]], side: str, padding: int, width: int = 6) -> dict[str, np.ndarray]:
    """Rows of one length, with padding on a side, or on both."""
    ids, mask = np.full((len(prompts), width), padding), np.zeros((len(prompts), width), int)
    for row, prompt in enumerate(prompts):
        start = {"left": width - len(prompt), "right": 0, "both": (width - len(prompt)) // 2}[side]
        ids[row, start : start + len(prompt)] = prompt
        mask[row, start : start + len(prompt)] = 1
    return {"input_ids": ids, "attention_mask": mask}


class Slow:
    """A model that is asked for whole texts, without a cache; it remembers what it has answered.

    Texts are padded to one width, so that one graph reads all.
    """

    def __init__(self, model: Any) -> None:
        self.known: dict[Any, np.ndarray] = {}
        first = model.base_model.first_position
        has_langs = model.config.uses_lang_embeddings

        def read(ids: Any, size: Any, lang: Any, more: dict[str, Any]) -> Any:
            places = tf.range(ROOM)[None]
            langs = {"langs": tf.fill([1, ROOM], lang)} if has_langs else {}
            mask = tf.cast(places < size, tf.int32)
            last = {"logits_to_keep": (size - 1)[None]}
            return model(ids, attention_mask=mask, position_ids=places + first, **langs, **more, **last).logits[0, 0]

        self.read = tf.function(read, autograph=False)
        self.graph: Any = None

    def score(self, row: int = 0, lang: int | None = None, more: dict[str, np.ndarray] | None = None) -> Score:
        """Returns the function of a text's row, with what else the call takes of that row."""
        own = {name: tf.constant(value[row : row + 1]) for name, value in (more or {}).items()}

        def scores(text: list[int]) -> np.ndarray:
            key = (row if own else None, lang, *text)
            if key not in self.known:
                ids = np.zeros((1, ROOM), np.int32)
                ids[0, : len(text)] = text
                given = (tf.constant(ids), tf.constant(len(text)), tf.constant(lang or 0), own)
                self.graph = self.graph or self.read.get_concrete_function(*given)
                self.known[key] = self.graph(*given).numpy()
            return self.known[key]

        return scores


def rows_of(sequences: Any, inputs: dict[str, np.ndarray]) -> list[list[int]]:
    """The new tokens of texts with the padding behind them; checks that the prompts stand before them."""
    found = np.asarray(sequences)
    copies = len(found) // len(inputs["input_ids"])
    news = []
    for row, text in enumerate(found):
        end = int(np.flatnonzero(inputs["attention_mask"][row // copies])[-1]) + 1
        assert text[:end].tolist() == inputs["input_ids"][row // copies, :end].tolist()
        news.append(text[end:].tolist())
    return news


def filled_up(new: list[int], like: list[int], padding: int) -> list[int]:
    """New tokens with padding behind them, as many as another row has."""
    return new + [padding] * (len(like) - len(new))
