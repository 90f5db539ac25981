"""One text at a time: the likeliest token, or a drawn one."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from tfxlm.backend import argmax, slice_update
from tfxlm.generation.loop import Generated, Prompt, Steps
from tfxlm.generation.options import GenerationOptions
from tfxlm.generation.scores import Rules, drawn


class _Variables(NamedTuple):
    """The variables of the loop.

    Args:
        count: int32 scalar, how many tokens were chosen.
        tokens: int32 (rows,), the last of them.
        texts: int32 (rows, width): prompts and new tokens; -1 where there is none.
        lengths: int32 (rows,), how many new tokens there are.
        have_ended: boolean (rows,).
        prompt: what is needed of the prompt in each step, without its ids.
        scores: see `Generated`.
        state: of the model.
    """

    count: Any
    tokens: Any
    texts: Any
    lengths: Any
    have_ended: Any
    prompt: Prompt
    scores: Any
    state: Any


class Sampling:
    """Greedy or sampled texts; see `Strategy`.

    Args:
        options: how to generate.
        most: the most new tokens of a text.
    """

    def __init__(self, options: GenerationOptions, most: int) -> None:
        self.options, self.most, self.rules = options, most, Rules(options)

    def begin(self, prompt: Prompt, logits: Any, state: Any, steps: Steps) -> _Variables:
        """Chooses the first token; see `Strategy`."""
        copies = self.options.num_return_sequences
        if copies > 1:
            rows = ops.repeat(ops.arange(ops.shape(logits)[0], dtype="int32"), copies)
            logits, state = ops.take(logits, rows, axis=0), steps.take(state, rows)
            # Each copy has draws of its own.
            own = {name: ops.take(getattr(prompt, name), rows, axis=0) for name in ("ids", "limits", "minimums")}
            prompt = prompt._replace(**own)
        rows, vocab_size = ops.shape(logits)
        scores = ops.zeros((self.most, rows, vocab_size), "float32") if self.options.output_scores else ()
        room = ops.full((rows, self.most), -1, "int32")
        zeros = ops.zeros((rows,), "int32")
        variables = _Variables(
            count=ops.convert_to_tensor(0, "int32"),
            tokens=zeros,
            texts=ops.concatenate([prompt.ids, room], axis=1),
            lengths=zeros,
            have_ended=ops.zeros((rows,), "bool"),
            prompt=prompt._replace(ids=(), draws=() if prompt.draws is None else prompt.draws),
            scores=scores,
            state=state,
        )
        return self._chosen(variables, logits)

    def goes_on(self, variables: _Variables) -> Any:
        """Returns whether a text has not ended; see `Strategy`."""
        return ops.logical_not(ops.all(variables.have_ended))

    def proceed(self, variables: _Variables, steps: Steps) -> _Variables:
        """Chooses the next token; see `Strategy`."""
        logits, state = steps.step(variables.tokens, variables.count, variables.state)
        return self._chosen(variables._replace(state=state), logits)

    def _chosen(self, variables: _Variables, logits: Any) -> _Variables:
        count, prompt, ended = variables.count, variables.prompt, variables.have_ended
        end = ops.shape(variables.texts)[1] - self.most + count
        scores = self.rules(ops.cast(logits, "float32"), variables.texts, end, count < prompt.minimums)
        tokens = drawn(scores, ops.take(prompt.draws, count, axis=1)) if self.options.do_sample else argmax(scores)
        written = ops.where(ended, -1, tokens)[:, None]
        kept = variables.scores
        return variables._replace(
            count=count + 1,
            tokens=ops.where(ended, self.options.pad_token_id, tokens),
            texts=slice_update(variables.texts, (0, end), written),
            lengths=variables.lengths + ops.cast(ops.logical_not(ended), "int32"),
            have_ended=ended | self.rules.are_ends(tokens) | (count + 1 >= prompt.limits),
            scores=slice_update(kept, (count, 0, 0), scores[None]) if self.options.output_scores else kept,
        )

    def finish(self, variables: _Variables) -> Generated:
        """Returns the new tokens; see `Strategy`."""
        tokens = variables.texts[:, -self.most :]
        return Generated(
            tokens=ops.where(tokens < 0, self.options.pad_token_id, tokens),
            lengths=variables.lengths,
            steps=variables.count,
            scores=variables.scores,
        )
