"""The decoding loop: one loop of static shapes for every strategy, or one step at a time for who wants to watch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from keras import ops


class Steps(Protocol):
    """A model that reads a text token by token; what it keeps of the text is its state, any structure of tensors."""

    def step(self, tokens: Any, count: Any, state: Any) -> tuple[Any, Any]:
        """Reads the next token of each text.

        Args:
            tokens: int32 (rows,).
            count: int32 scalar, how many new tokens the texts have with these.
            state: what is kept of the tokens before.

        Returns:
            The scores of the token after them, (rows, vocab_size), and the next state.
        """

    def take(self, state: Any, rows: Any) -> Any:
        """Returns the state of some rows, int32 (count,), in that order; a row may be taken several times."""


class Prompt(NamedTuple):
    """What to go on from.

    Args:
        ids: int32 (rows, width): the tokens of each text at the end of its row; -1 before them.
        limits: int32 (rows,): the most new tokens of each, 1 or more.
        minimums: int32 (rows,): the fewest, before an end.
        draws: float32 (rows, most tokens), uniform in [0, 1), for tokens that are drawn; None for none.
    """

    ids: Any
    limits: Any
    minimums: Any
    draws: Any = None


class Generated(NamedTuple):
    """What was made.

    Args:
        tokens: int32 (texts, most tokens): the new tokens; padding follows the end of a text.
        lengths: int32 (texts,): how many they are, the one that ends a text included.
        steps: int32 scalar: how many steps there were.
        scores: float32 (most tokens, rows, vocab_size): those of each step, if they were asked for; else ().
        text_scores: float32 (texts,): of beam search; else ().
        rows: int32 (texts, most tokens): of beam search, the row of `scores` that each token is from, -1 behind the
            end; else ().
    """

    tokens: Any
    lengths: Any
    steps: Any
    scores: Any = ()
    text_scores: Any = ()
    rows: Any = ()


class Strategy(Protocol):
    """How tokens are chosen."""

    def begin(self, prompt: Prompt, logits: Any, state: Any, steps: Steps) -> Any:
        """Chooses the first token.

        Args:
            prompt: what to go on from.
            logits: (rows, vocab_size), the scores of the first token.
            state: of the model, behind the prompt.
            steps: the model.

        Returns:
            The variables of the loop.
        """

    def goes_on(self, variables: Any) -> Any:
        """Returns whether there is a token to choose, a boolean scalar."""

    def proceed(self, variables: Any, steps: Steps) -> Any:
        """Lets the model read what was chosen, and chooses the next token."""

    def finish(self, variables: Any) -> Generated:
        """Returns what the loop has made."""


def decoded(strategy: Strategy, prompt: Prompt, logits: Any, state: Any, steps: Steps) -> Generated:
    """Runs the loop; arguments as of `Strategy`."""

    def body(variables: Any) -> tuple[Any]:
        return (strategy.proceed(variables, steps),)

    (variables,) = ops.while_loop(strategy.goes_on, body, (strategy.begin(prompt, logits, state, steps),))
    return strategy.finish(variables)


def proceeding(strategy: Strategy, steps: Steps) -> Callable[[Any], tuple[Any, Any]]:
    """Returns one turn of the loop: from its variables to the next ones, and whether there is a token to choose."""

    def proceed(variables: Any) -> tuple[Any, Any]:
        variables = strategy.proceed(variables, steps)
        return variables, strategy.goes_on(variables)

    return proceed


def streamed(strategy: Strategy, first: Any, proceed: Callable[[Any], tuple[Any, Any]]) -> Iterator[Any]:
    """Runs the loop one turn at a time.

    Args:
        strategy: how tokens are chosen.
        first: what its `begin` returned.
        proceed: one turn, from `proceeding`, which may be compiled.

    Yields:
        The variables after each turn.
    """
    variables, goes_on = first, strategy.goes_on(first)
    yield variables
    while bool(goes_on):
        variables, goes_on = proceed(variables)
        yield variables
