"""A model for KyTea, written by hand: words end where the kind of character changes.

The models that are released for it are large, and not in its Python package; this one makes the real program run.
"""

import itertools
from pathlib import Path

#: Kanji, katakana, hiragana, Roman letters, digits, others: KyTea's names for kinds of characters.
KINDS = "KTHRDO"


def write_kytea_model(folder: Path) -> Path:
    """Writes a model in KyTea's text format.

    Args:
        folder: where.

    Returns:
        The file.
    """
    pairs = ["".join(pair) for pair in itertools.permutations(KINDS, 2)]
    options = ["-notags", "-numtags 0", "-charw 1", "-charn 1", "-typew 1", "-typen 2", ""]
    solver = [
        "solver_type L2R_L2LOSS_SVC_DUAL",
        "nr_class 2",
        "label 1 -1",
        "nr_feature 0",
        "bias -1",
        "mult 1",
        "w",
        "",
    ]
    # An automaton over kinds: the root, a state for each kind seen, and one for each pair of unlike ones.
    states = [*_state(0, {kind: 1 + place for place, kind in enumerate(KINDS)})]
    for kind in KINDS:
        states += _state(0, {pair[1]: 1 + len(KINDS) + place for place, pair in enumerate(pairs) if pair[0] == kind})
    for place, pair in enumerate(pairs):
        states += _state(1 + KINDS.index(pair[1]), {}, str(place))
    automaton = ["0", str(1 + len(KINDS) + len(pairs)), *states, str(len(pairs)), *["10 0"] * len(pairs)]
    none, bias, dictionary = ["0", "0"], ["", "-5", "", ""], ["0", "1", *_state(0, {}), "0"]
    lines = [
        "KyTea 0.4.0 T utf8",
        *options,
        "characters",
        KINDS,
        "",
        *solver,
        "lookup",
        *none,
        *automaton,
        *none,
        *bias,
    ]
    path = folder / "kytea.txt"
    path.write_text("\n".join([*lines, *dictionary, *none, ""]), encoding="utf-8")
    return path


def _state(failure: int, following: dict[str, int], found: str = "") -> list[str]:
    return [" ".join([str(failure), *(f"{kind} {state}" for kind, state in following.items())]), found, "n"]
