"""What a tokenizer is made with, and what it refuses to be made with."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tokenizers.toy import MERGES, toy_vocabulary, write_toy
from tests.tokenizers.toy_pieces import trained, write_trained
from tfxlm.errors import ArgumentError, InputError, TFXLMError, TokenizerError
from tfxlm.tokenizers import AutoTokenizer, XLMRobertaTokenizer, XLMTokenizer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocesing": "fair"}, "XLMTokenizer has no option 'preprocesing'. Did you mean 'preprocessing'"),
        ({"preprocesing": "fair", "case": "ascii"}, "has no option 'preprocesing'"),
        (
            {"do_lower_case": True},
            "has no option 'do_lower_case'. Leave it out, or write it into tokenizer_config.json",
        ),
        ({"settings": {}}, "has no option 'settings'"),
    ],
)
def test_misspelt_options(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        XLMTokenizer.from_pretrained(folder, **options)
    with pytest.raises(InputError, match=message):
        XLMTokenizer(toy_vocabulary(), MERGES, **options)


def test_options_of_transformers_without_meaning(folder: Path, tmp_path: Path) -> None:
    tokenizer = XLMTokenizer.from_pretrained(folder, use_fast=False, trust_remote_code=True, from_slow=True)
    assert tokenizer("the") == XLMTokenizer.from_pretrained(folder)("the")
    assert not {"use_fast", "trust_remote_code", "from_slow"} & tokenizer.settings.keys()


@pytest.mark.parametrize("loader", [XLMTokenizer, XLMRobertaTokenizer, AutoTokenizer])
def test_options_that_scripts_for_transformers_give(tmp_path: Path, loader: Any) -> None:
    folder = write_trained(tmp_path) if loader is XLMRobertaTokenizer else write_toy(tmp_path)
    hub = {"force_download": None, "proxies": None, "use_auth_token": None, "revision": "main", "token": None}
    hub |= {"subfolder": None, "cache_dir": None, "local_files_only": True, "resume_download": None}
    ignored = {"use_fast": True, "trust_remote_code": False, "config": object(), "tokenizer_type": None}
    unset = {"gguf_file": None, "add_prefix_space": None}
    tokenizer = loader.from_pretrained(folder, **hub, **ignored, **unset)
    assert tokenizer("the") == loader.from_pretrained(folder, add_prefix_space=False)("the")
    assert not {*hub, *ignored, *unset} & tokenizer.settings.keys()
    for options, message in (
        ({"add_prefix_space": True}, "add_prefix_space=True is not something .* option of byte-level tokenizers"),
        ({"gguf_file": "x"}, "gguf_file='x' is not something .* Name the folder or the hub repository"),
        ({"proxies": {"https": "x"}}, "proxies=.* Set the environment variable HTTPS_PROXY"),
        ({"token": "a", "use_auth_token": "b"}, "token and use_auth_token are one option"),
    ):
        with pytest.raises(ArgumentError, match=message):
            loader.from_pretrained(folder, **options)


def test_pieces_are_cased(tmp_path: Path) -> None:
    folder = write_trained(tmp_path, do_lower_case=True)  # which has no effect in `transformers` either
    tokenizer = XLMRobertaTokenizer.from_pretrained(folder, do_lower_case=False)
    assert tokenizer.tokenize("Hello") == XLMRobertaTokenizer(trained()).tokenize("Hello")
    message = r"do_lower_case=True is not something that {} can do\. The pieces have capital letters"
    with pytest.raises(ArgumentError, match=message.format("from_pretrained")):
        XLMRobertaTokenizer.from_pretrained(folder, do_lower_case=True)
    with pytest.raises(ArgumentError, match=message.format("XLMRobertaTokenizer")):
        XLMRobertaTokenizer(trained(), do_lower_case=True)
    assert "do_lower_case" not in XLMRobertaTokenizer(trained(), do_lower_case=False).settings
    with pytest.warns(UserWarning, match=r"has do_lower_case=True, which has no effect, .* lower-case the texts"):
        assert XLMRobertaTokenizer.from_pretrained(folder).tokenize("Hello") == tokenizer.tokenize("Hello")


@pytest.mark.parametrize("loader", [XLMTokenizer, AutoTokenizer])
def test_where_a_tokenizer_came_from(folder: Path, tmp_path: Path, loader: Any) -> None:
    tokenizer = loader.from_pretrained(folder.parent, subfolder=folder.name)
    assert tokenizer.name_or_path == str(folder.parent)
    tokenizer.save_pretrained(tmp_path / "saved")
    assert "name_or_path" not in json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert loader.from_pretrained(tmp_path / "saved").name_or_path == str(tmp_path / "saved")
    assert XLMTokenizer(toy_vocabulary(), MERGES).name_or_path == ""


def test_subclasses_hand_options_on(folder: Path) -> None:
    class Mine(XLMTokenizer):
        def __init__(self, *args: Any, mine: int = 0, **options: Any) -> None:
            super().__init__(*args, **options)
            self.mine = mine

    (folder / "tokenizer_config.json").write_text('{"preprocessing": "fair"}', encoding="utf-8")
    tokenizer = Mine.from_pretrained(folder, mine=3, padding_side="left")
    assert (tokenizer.mine, tokenizer.preprocessing, tokenizer.padding_side) == (3, "fair", "left")


def test_roles_can_be_set(tokenizer: XLMTokenizer) -> None:
    tokenizer.pad_token = "<special3>"
    tokenizer.sep_token_id = tokenizer.bos_token_id
    assert (tokenizer.pad_token_id, tokenizer.sep_token) == (7, "<s>")
    encoding = tokenizer(["the", "the the"], padding=True)
    assert [row[-1] for row in encoding["input_ids"]] == [7, 0]
    assert "</s>" in tokenizer.all_special_tokens  # still the cls_token


@pytest.mark.parametrize(("name", "value"), [("pad_token", "[PAD]"), ("pad_token_id", 10**6), ("mask_token", None)])
def test_roles_are_for_tokens_of_the_vocabulary(tokenizer: XLMTokenizer, name: str, value: Any) -> None:
    with pytest.raises(TokenizerError, match=r"cannot be set to .*, which the vocabulary does not have. .*_tokens\("):
        setattr(tokenizer, name, value)


def test_representation(tokenizer: XLMTokenizer) -> None:
    size = len(toy_vocabulary())
    expected = f"XLMTokenizer(vocab_size={size}, languages=['de', 'en', 'fr', 'zh'], preprocessing='hf')"
    assert repr(tokenizer) == expected


SETTINGS = (
    *("additional_special_tokens", "special_tokens", "added_tokens_decoder", "lang2id", "id2lang", "pad_token"),
    *("model_max_length", "padding_side", "truncation_side", "preprocessing", "case", "split_special_tokens", "self"),
    *("vocab_file", "tokenizer_class", "do_lowercase_and_remove_accent", "clean_up_tokenization_spaces", "settings"),
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["<s>", "fair", "0", ""]))
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["0", "content", "en"]), inner)
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.dictionaries(st.sampled_from(SETTINGS), json_values, max_size=3))
def test_any_settings_load_or_are_refused(folder: Path, found: dict[str, Any]) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(found), encoding="utf-8")
    try:
        tokenizer = XLMTokenizer.from_pretrained(folder)
    except TFXLMError as error:
        assert str(error)
    else:
        assert tokenizer("the")["input_ids"]
