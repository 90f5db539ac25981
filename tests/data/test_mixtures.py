"""The text that says what is learned, and in which shares."""

from __future__ import annotations

import pytest

from tfxlm.data.mixtures import entries, parse
from tfxlm.errors import InputError

LANGUAGES, PAIRS = ("en", "de", "zh-classical"), (("en", "de"), ("en", "zh-classical"))
SIZES = {"en": 900, "de": 100, "zh-classical": 10, "en-de": 50, "en-zh-classical": 50}


def shares(text: str, alpha: float) -> dict[tuple[str, str], float]:
    wanted = parse(text, LANGUAGES, PAIRS)
    found = entries(wanted, [{name: SIZES[name] for name in one.names} for one in wanted], alpha)
    return {(entry.objective, entry.name): entry.share for entry in found}


def test_shares() -> None:
    assert shares("mlm:en,de", 1) == pytest.approx({("mlm", "en"): 0.9, ("mlm", "de"): 0.1})
    assert shares("mlm:en,de", 0) == pytest.approx({("mlm", "en"): 0.5, ("mlm", "de"): 0.5})
    # sqrt(0.9) : sqrt(0.1) = 3 : 1
    assert shares("mlm:en,de", 0.5) == pytest.approx({("mlm", "en"): 0.75, ("mlm", "de"): 0.25})
    assert shares("mlm:en,de*3", 0.5) == pytest.approx({("mlm", "en"): 0.5, ("mlm", "de"): 0.5})
    assert shares(" mlm:en,de*3\n clm*2:zh-classical  tlm*0.5:de-en ", 0.5) == pytest.approx(
        {("mlm", "en"): 1 / 7, ("mlm", "de"): 1 / 7, ("clm", "zh-classical"): 4 / 7, ("tlm", "en-de"): 1 / 7}
    )
    assert set(shares("mlm:all tlm:all", 0.7)) == {("mlm", name) for name in LANGUAGES} | {
        ("tlm", "en-de"),
        ("tlm", "en-zh-classical"),
    }
    assert set(shares("tlm:zh-classical-en,de-en", 1)) == {("tlm", "en-zh-classical"), ("tlm", "en-de")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has nothing to learn from. A mixture is written like 'mlm:en,de\\*2 clm:fr tlm\\*0.5:en-de'"),
        ("mlm:en de", "at character 8: 'de' has no colon between an objective and its languages"),
        ("mlm:en xlm:en", "at character 8: there is no objective 'xlm', but mlm, clm, tlm"),
        ("mlm:en,fr", "at character 8: mlm needs a language of the store, which 'fr' is not. It has en, de, zh"),
        ("tlm:en", "at character 5: tlm needs a pair of languages of the store, which 'en' is not. It has en-de"),
        ("mlm:en*x", "at character 8: 'x' is no weight, a number such as 2 or 0.5"),
        ("mlm*-1:en", "at character 5: '-1' is no weight"),
        ("mlm:en*nan", "'nan' is no weight"),
        ("mlm:en,", "at character 8: a name is missing"),
        (":en", "at character 1: a name is missing"),
        ("tlm:de-en,en-de", "at character 11: 'en-de' stands twice in 'tlm:de-en,en-de'"),
        ("tlm:classical-en", "which 'classical-en' is not. It has en-de, en-zh-classical. A mixture"),
        ("mlm:en,en", "at character 8: 'en' stands twice in 'mlm:en,en'"),
        ("mlm:en mlm:de", "has 'mlm' twice. Put its languages into one list"),
        ("mlm:en*0", "All weights of the mixture, or of one of its objectives, are 0"),
        ("mlm*0:en", "All weights of the mixture"),
    ],
)
def test_errors_say_where(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        shares(text, 0.7)
