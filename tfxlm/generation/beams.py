"""Beam search: the best of several texts that are followed at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from tfxlm.backend import slice_update
from tfxlm.generation.loop import Generated, Prompt, Steps
from tfxlm.generation.options import GenerationOptions
from tfxlm.generation.scores import Rules

# The score of a text that is not there. Sums with it stay finite.
_NO_TEXT = -1.0e9


class _Texts(NamedTuple):
    """Texts with their scores.

    Args:
        ids: int32 (batch, texts, width): prompts and new tokens; -1 where there is none.
        rows: int32 (batch, texts, most tokens): the row of the model's scores that each new token is from, -1 behind
            the end.
        scores: float32 (batch, texts): the sums of log-probabilities, best first; of whole texts, divided by the power
            of their lengths.
    """

    ids: Any
    rows: Any
    scores: Any

    def take(self, chosen: Any) -> _Texts:
        """Returns some texts (batch, count) of each prompt."""
        many = chosen[:, :, None]
        return _Texts(
            ops.take_along_axis(self.ids, many, axis=1),
            ops.take_along_axis(self.rows, many, axis=1),
            ops.take_along_axis(self.scores, chosen, axis=1),
        )

    def joined(self, other: _Texts) -> _Texts:
        """Returns the texts of both."""
        return _Texts(*(ops.concatenate(pair, axis=1) for pair in zip(self, other, strict=True)))


class _Variables(NamedTuple):
    """The variables of the loop.

    Args:
        count: int32 scalar, how many tokens were chosen.
        running: the texts that go on.
        whole: the best texts that have ended.
        are_whole: boolean (batch, beams), which of these there are.
        are_open: boolean (batch,): whether better texts may be found.
        prompt: what is needed of the prompt in each step, without its ids.
        scores: see `Generated`.
        state: of the model.
    """

    count: Any
    running: _Texts
    whole: _Texts
    are_whole: Any
    are_open: Any
    prompt: Prompt
    scores: Any
    state: Any


class BeamSearch:
    """Texts by beam search, with the lengths, ends and scores of `transformers`; see `Strategy`.

    Each step takes the best continuations of all running texts: so many that enough of them do not end. Of those that
    end, the ones among the best `num_beams` become whole texts.

    Args:
        options: how to generate.
        most: the most new tokens of a text.
    """

    def __init__(self, options: GenerationOptions, most: int) -> None:
        self.options, self.most, self.rules = options, most, Rules(options)
        self.beams = options.num_beams
        self.candidates = max(2, 1 + len(options.eos_token_ids)) * self.beams

    def begin(self, prompt: Prompt, logits: Any, state: Any, steps: Steps) -> _Variables:
        """Chooses the first tokens; see `Strategy`."""
        batch, vocab_size = ops.shape(logits)
        rows = ops.repeat(ops.arange(batch, dtype="int32"), self.beams)
        ids = ops.concatenate([prompt.ids, ops.full((batch, self.most), -1, "int32")], axis=1)
        ids = ops.repeat(ids[:, None], self.beams, axis=1)
        none = ops.full((batch, self.beams), _NO_TEXT, "float32")
        # One beam alone runs, or all would find the same.
        first = ops.where(ops.arange(self.beams) == 0, ops.zeros_like(none), none)
        parents = ops.full((batch, self.beams, self.most), -1, "int32")
        size = (self.most, batch * self.beams, vocab_size)
        variables = _Variables(
            count=ops.convert_to_tensor(0, "int32"),
            running=_Texts(ids, parents, first),
            whole=_Texts(ids, parents, none),
            are_whole=ops.zeros((batch, self.beams), "bool"),
            are_open=ops.ones((batch,), "bool"),
            prompt=prompt._replace(ids=(), draws=()),
            scores=ops.zeros(size, "float32") if self.options.output_scores else (),
            state=steps.take(state, rows),
        )
        return self._chosen(variables, ops.take(logits, rows, axis=0), steps)

    def goes_on(self, variables: _Variables) -> Any:
        """Returns whether better texts may be found; see `Strategy`."""
        return ops.any(variables.are_open)

    def proceed(self, variables: _Variables, steps: Steps) -> _Variables:
        """Chooses the next tokens; see `Strategy`."""
        ids, count = variables.running.ids, variables.count
        last = ops.take(ids, ops.shape(ids)[2] - self.most + count - 1, axis=2)
        logits, state = steps.step(ops.reshape(last, (-1,)), count, variables.state)
        return self._chosen(variables._replace(state=state), logits, steps)

    def _chosen(self, variables: _Variables, logits: Any, steps: Steps) -> _Variables:
        count, prompt, running = variables.count, variables.prompt, variables.running
        scores = self._scores_of_tokens(variables, logits)
        candidates, tokens, parents = self._continued(running, scores, count)
        do_end = self.rules.are_ends(tokens) | (count + 1 >= prompt.limits)[:, None]
        # What ends does not go on.
        best, going_on = ops.top_k(ops.where(do_end, candidates.scores + _NO_TEXT, candidates.scores), self.beams)
        kept = variables.scores
        variables = self._with_whole(variables, candidates, do_end)._replace(
            count=count + 1,
            running=candidates.take(going_on)._replace(scores=best),
            scores=slice_update(kept, (count, 0, 0), scores[None]) if self.options.output_scores else kept,
            state=steps.take(variables.state, ops.reshape(ops.take_along_axis(parents, going_on, axis=1), (-1,))),
        )
        is_left = ops.logical_not(ops.all(do_end, axis=1))
        return variables._replace(are_open=variables.are_open & self._may_improve(variables) & is_left)

    def _scores_of_tokens(self, variables: _Variables, logits: Any) -> Any:
        """Returns the log-probabilities of the next tokens, as the rules leave them: (batch * beams, vocab_size)."""
        ids, count, minimums = variables.running.ids, variables.count, variables.prompt.minimums
        width = ops.shape(ids)[2]
        too_short = ops.repeat(count < minimums, self.beams)
        log_probs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        return self.rules(log_probs, ops.reshape(ids, (-1, width)), width - self.most + count, too_short)

    def _continued(self, running: _Texts, scores: Any, count: Any) -> tuple[_Texts, Any, Any]:
        """Returns the best continuations, and the last token of each and the row that it is from, (batch, some)."""
        batch, vocab_size = ops.shape(running.ids)[0], scores.shape[-1]
        total = running.scores[:, :, None] + ops.reshape(scores, (-1, self.beams, vocab_size))
        best, chosen = ops.top_k(ops.reshape(total, (-1, self.beams * vocab_size)), self.candidates)
        chosen = ops.cast(chosen, "int32")
        beams, tokens = chosen // vocab_size, chosen % vocab_size
        parents = beams + ops.arange(batch, dtype="int32")[:, None] * self.beams
        texts = running.take(beams)
        end = ops.shape(running.ids)[2] - self.most + count
        ids = slice_update(texts.ids, (0, 0, end), tokens[:, :, None])
        rows = slice_update(texts.rows, (0, 0, count), parents[:, :, None])
        return _Texts(ids, rows, best), tokens, parents

    def _with_whole(self, variables: _Variables, candidates: _Texts, do_end: Any) -> _Variables:
        """Puts those that end, and are among the best candidates, among the best whole texts."""
        are_new = do_end & (ops.arange(self.candidates) < self.beams) & variables.are_open[:, None]
        scores = candidates.scores / self._power(variables.count + 1)
        new = candidates._replace(scores=ops.where(are_new, scores, _NO_TEXT))
        texts = variables.whole.joined(new)
        # Of equals the first, so none takes the place of a text that is there.
        _, chosen = ops.top_k(texts.scores, self.beams)
        are_whole = ops.concatenate([variables.are_whole, are_new], axis=1)
        return variables._replace(whole=texts.take(chosen), are_whole=ops.take_along_axis(are_whole, chosen, axis=1))

    def _may_improve(self, variables: _Variables) -> Any:
        """Returns for which prompts better texts may be found, or enough have not been: boolean (batch,)."""
        options, are_all = self.options, ops.all(variables.are_whole, axis=1)
        to_the_limit = options.early_stopping == "never" and options.length_penalty > 0
        length = variables.prompt.limits if to_the_limit else variables.count
        reachable = variables.running.scores[:, 0] / self._power(length)
        improves = reachable > ops.min(variables.whole.scores, axis=1)
        return ops.logical_not(are_all) | (improves & (options.early_stopping in (False, "never")))

    def _power(self, length: Any) -> Any:
        return ops.power(ops.cast(length, "float32"), self.options.length_penalty)

    def finish(self, variables: _Variables) -> Generated:
        """Returns the best texts, best first; see `Strategy`."""
        count = self.options.num_return_sequences
        ids, rows, scores = (part[:, :count] for part in variables.whole)
        tokens = ops.reshape(ids[:, :, -self.most :], (-1, self.most))
        rows = ops.reshape(rows, (-1, self.most))
        return Generated(
            tokens=ops.where(tokens < 0, self.options.pad_token_id, tokens),
            lengths=ops.sum(ops.cast(rows >= 0, "int32"), axis=1),
            steps=variables.count,
            scores=variables.scores,
            text_scores=ops.reshape(scores, (-1,)),
            rows=rows,
        )
