"""A script as people wrote them for the TensorFlow classes of `transformers` 4; the test runs it twice.

The first argument names the library to import from, the second a folder with a checkpoint for each class and the files
of a tokenizer, the third the file for the results. All but the import is the same text for both.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

LIBRARY = importlib.import_module(sys.argv[1])
SOURCE, RESULTS = Path(sys.argv[2]), Path(sys.argv[3])

arrays, values, errors = {}, {}, {}


def keep(name, value):
    """Keeps a result: an array, or JSON."""
    if isinstance(value, dict) and value and all(hasattr(item, "shape") for item in value.values()):
        for key, item in value.items():
            keep(f"{name}.{key}", item)
    elif isinstance(value, (list, tuple)) and value and all(hasattr(item, "shape") for item in value):
        for index, item in enumerate(value):
            keep(f"{name}.{index}", item)
    elif hasattr(value, "shape"):
        arrays[name] = np.asarray(value)
    else:
        values[name] = json.loads(json.dumps(value, default=str))


def attempt(name, function):
    """Keeps what a function returns, or that it fails."""
    try:
        keep(name, function())
    except Exception as error:  # whatever it is, the other library must be no worse
        errors[name] = f"{type(error).__name__}: {error}"[:300]


def numpy_of(output):
    """The first output of a call or of `predict`."""
    return np.asarray(output[0])


BATCH = np.load(SOURCE / "batch.npz")
IDS, MASK, LANGS = BATCH["input_ids"], BATCH["attention_mask"], BATCH["langs"]


def inputs_of(name, dtype="int32"):
    """A batch; the class that chooses gets two texts for each row."""
    batch = {"input_ids": IDS, "attention_mask": MASK, "langs": LANGS}
    if name == "TFXLMForMultipleChoice":
        batch = {key: value.reshape(-1, 2, value.shape[1]) for key, value in batch.items()}
    return {key: value.astype(dtype) for key, value in batch.items()}


def labels_of(name):
    """Labels as `fit` takes them."""
    return {
        "TFXLMWithLMHeadModel": IDS.astype("int32"),
        "TFXLMForSequenceClassification": BATCH["classes"],
        "TFXLMForTokenClassification": BATCH["token_classes"],
        "TFXLMForMultipleChoice": BATCH["choices"],
        "TFXLMForQuestionAnsweringSimple": {"start_positions": BATCH["starts"], "end_positions": BATCH["ends"]},
    }.get(name)


def calls(name, model):
    """Inputs and outputs in every form."""
    batch = inputs_of(name)
    ids, mask, langs = batch["input_ids"], batch["attention_mask"], batch["langs"]
    keep("by keyword", dict(model(input_ids=ids, attention_mask=mask, langs=langs)))
    attempt("by position", lambda: numpy_of(model(ids, mask, langs)))
    attempt("dict", lambda: numpy_of(model(batch)))
    attempt("list", lambda: numpy_of(model([ids, mask, langs])))
    attempt("tuple", lambda: numpy_of(model((ids, mask, langs))))
    attempt("dict of tensors", lambda: numpy_of(model({key: tf.constant(value) for key, value in batch.items()})))
    attempt("first by position", lambda: numpy_of(model(ids, attention_mask=mask, langs=langs)))
    attempt(
        "plain lists",
        lambda: numpy_of(model(input_ids=ids.tolist(), attention_mask=mask.tolist(), langs=langs.tolist())),
    )
    attempt("without mask", lambda: numpy_of(model(ids, langs=langs)))
    for dtype in ("int8", "int16", "int32", "int64", "uint8"):
        attempt(f"numpy {dtype}", lambda dtype=dtype: numpy_of(model(inputs_of(name, dtype))))
        tensors = {key: tf.constant(value) for key, value in inputs_of(name, dtype).items()}
        attempt(f"tensors {dtype}", lambda tensors=tensors: numpy_of(model(tensors)))
    attempt("return_dict", lambda: list(model(batch, return_dict=False)))
    outputs = model(batch, output_hidden_states=True, output_attentions=True)
    values["fields"] = [key for key in outputs if outputs[key] is not None]
    keep("hidden states", list(outputs.hidden_states))
    # What padding attends to is read by nobody.
    real = mask.reshape(-1, mask.shape[-1]).astype(bool)
    keep("attentions", [np.moveaxis(np.asarray(weights), 1, 2)[real] for weights in outputs.attentions])
    keep("by index", outputs[0])
    attempt("training=False", lambda: numpy_of(model(batch, training=False)))
    attempt("head mask", lambda: numpy_of(model(**batch, head_mask=tf.constant([[1.0, 0.0], [0.0, 1.0]]))))
    attempt(
        "lengths", lambda: numpy_of(model(input_ids=ids, lengths=mask.sum(-1), langs=langs)) if mask.ndim == 2 else 0
    )
    attempt(
        "embeddings", lambda: numpy_of(model(None, inputs_embeds=BATCH["embeddings"], attention_mask=MASK, langs=LANGS))
    )
    attempt("graph", lambda: numpy_of(tf.function(lambda x: model(x))(batch)))
    labels = labels_of(name)
    if isinstance(labels, dict):
        keep("loss", model(**batch, **labels).loss)
    elif labels is not None and name != "TFXLMWithLMHeadModel":
        outputs = model(**batch, labels=labels)
        keep("loss", outputs.loss)
        keep("loss by index", outputs[0])
        attempt("loss in a tuple", lambda: model(**batch, labels=labels, return_dict=False)[0])


def training(name, make):
    """`fit`, `evaluate` and `predict`, with the model's own loss and with one that is given."""
    batch, labels = inputs_of(name), labels_of(name)
    if labels is None:
        return
    given = {"loss": tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    # The language model takes no labels in its call there, and has no loss of its own.
    own = given if name == "TFXLMWithLMHeadModel" else {}
    model = make()
    model.compile(optimizer=tf.keras.optimizers.SGD(0.05), **own)
    history = model.fit(batch, labels, batch_size=2, epochs=2, shuffle=False, verbose=0).history
    keep("arrays: history", np.array(history["loss"]))
    keep("arrays: evaluate", np.array(model.evaluate(batch, labels, batch_size=2, verbose=0, return_dict=True)["loss"]))
    predicted = model.predict(batch, batch_size=2, verbose=0)
    keep("arrays: predict", next(iter(predicted.values())))
    keep("arrays: call", numpy_of(model(batch)))
    if not isinstance(labels, dict):
        model = make()
        model.compile(optimizer=tf.keras.optimizers.Adam(1e-3), **given)
        dataset = tf.data.Dataset.from_tensor_slices((batch, labels)).batch(2)
        keep("dataset: history", np.array(model.fit(dataset, epochs=1, verbose=0).history["loss"]))
        keep("dataset: call", numpy_of(model(batch)))
    if name != "TFXLMWithLMHeadModel":
        model = make()
        model.compile(optimizer=tf.keras.optimizers.SGD(0.05), loss="passthrough")
        inside = labels if isinstance(labels, dict) else {"labels": labels}
        dataset = tf.data.Dataset.from_tensor_slices({**batch, **inside}).batch(2)
        keep("labels inside: history", np.array(model.fit(dataset, epochs=1, verbose=0).history["loss"]))
        keep("labels inside: call", numpy_of(model(batch)))


def with_labels(cls, folder, count):
    """Loads a classifier with more labels than it was trained for."""
    options = {"ignore_mismatched_sizes": True, "output_loading_info": True, "from_pt": True}
    model, info = cls.from_pretrained(folder, num_labels=count, **options)
    shape = list(model(inputs_of(cls.__name__)).logits.shape)
    return [model.config.num_labels, shape, model.config.id2label[count - 1], len(info["mismatched_keys"])]


def storing(name, cls, folder, model):
    """Options of `from_pretrained`, and `save_pretrained`."""
    batch = inputs_of(name)
    target = RESULTS.with_suffix("") / name
    model.save_pretrained(target)
    keep("saved", numpy_of(cls.from_pretrained(target)(batch)))
    values["saved configuration"] = {
        key: value
        for key, value in json.loads((target / "config.json").read_text()).items()
        if key
        in (
            "architectures",
            "model_type",
            "emb_dim",
            "n_heads",
            "n_layers",
            "id2label",
            "label2id",
            "n_langs",
            "dropout",
        )
    }
    model.save_pretrained(str(target), max_shard_size="5MB")
    config = LIBRARY.XLMConfig.from_pretrained(folder)
    again = cls.from_pretrained(folder, config=config, from_pt=True, local_files_only=True)
    keep("config=", numpy_of(again(batch)))
    again, info = cls.from_pretrained(
        folder, from_pt=True, output_hidden_states=True, output_loading_info=True, cache_dir=None, force_download=False
    )
    keep("overrides", len(again(batch).hidden_states))
    keep("loading info", {key: list(info[key]) for key in ("missing_keys", "mismatched_keys")})
    attempt("subfolder", lambda: numpy_of(cls.from_pretrained(SOURCE, subfolder=folder.name, from_pt=True)(batch)))
    if name == "TFXLMForSequenceClassification":
        attempt("another number of labels", lambda: with_labels(cls, folder, 5))
        names = {0: "a", 1: "b", 2: "c"}
        numbers = {label: index for index, label in names.items()}
        again = cls.from_pretrained(folder, from_pt=True, id2label=names, label2id=numbers)
        keep("id2label", [again.config.num_labels, again.config.id2label, again.config.label2id])
    sizes = {"vocab_size": 40, "emb_dim": 16, "n_layers": 1, "n_heads": 2, "num_labels": 2}
    fresh = cls(LIBRARY.XLMConfig(**sizes, initializer_range=0.02))
    values["fresh"] = fresh.config.to_dict()["emb_dim"]
    fresh.save_weights(str(RESULTS.with_suffix("")) + f"{name}.weights.h5")


def description(name, model):
    """What a model says of itself, and its embeddings."""
    values["parameters"] = [model.num_parameters(), model.num_parameters(only_trainable=True)]
    values["about"] = [model.main_input_name, model.base_model_prefix, model.framework]
    keep("dummy inputs", {key: np.asarray(value) for key, value in model.dummy_inputs.items()})
    fields = ("vocab_size", "n_words", "hidden_size", "emb_dim", "num_hidden_layers", "num_attention_heads",
              "num_labels", "id2label", "label2id", "pad_token_id", "bos_token_id", "pad_index", "use_return_dict",
              "n_langs", "lang2id", "model_type", "max_position_embeddings", "summary_type", "output_attentions",
              "problem_type")  # fmt: skip
    keep("configuration", {field: getattr(model.config, field) for field in fields})
    keep("trainable", [len(model.trainable_weights), len(model.trainable_variables), len(model.weights)])
    keep("word embeddings", np.asarray(model.get_input_embeddings().weights[0]))
    keep(
        "no output layer",
        [model.get_lm_head() is None, model.get_output_embeddings() is None, model.get_bias() is None],
    )
    if model.get_bias() is not None:
        keep("bias", {key: np.asarray(value) for key, value in model.get_bias().items()})


def resizing(name, model):
    """`resize_token_embeddings`."""
    batch = inputs_of(name)
    before = numpy_of(model(batch))
    model.resize_token_embeddings(None)
    model.resize_token_embeddings(model.config.vocab_size + 7)
    after = numpy_of(model(batch))
    keep("resized", [model.config.vocab_size, list(after.shape)])
    keep("resized outputs", after[..., : before.shape[-1]])


def tokenizer():
    """What scripts do with a tokenizer."""
    tok = LIBRARY.XLMTokenizer.from_pretrained(SOURCE / "tokenizer")
    texts = ["Will it rain in Paris tomorrow?", "Play some jazz.", "Wecke mich um 7 Uhr!"]
    plain = {"return_token_type_ids": False}
    keep("padded", dict(tok(texts, padding=True, return_tensors="np", **plain)))
    batch = tok(texts, padding=True, return_tensors="tf", **plain)
    keep("tensors", {key: np.asarray(value) for key, value in batch.items()})
    keep("pairs", dict(tok(texts[:2], texts[1:], padding="max_length", truncation=True, max_length=24, **plain)))
    keep("one", dict(tok(texts[0], **plain)))
    keep("types", dict(tok(texts[0], texts[1], return_token_type_ids=True)))
    keep("encode", [tok.encode(text) for text in texts])
    keep("tokenize", [tok.tokenize(text) for text in texts])
    keep("decode", [tok.decode(tok.encode(text)) for text in texts])
    keep("decode without", tok.batch_decode([tok.encode(text) for text in texts], skip_special_tokens=True))
    keep("tokens", tok.convert_ids_to_tokens(tok.encode(texts[1])))
    keep("ids", tok.convert_tokens_to_ids(tok.tokenize(texts[1])))
    keep("sizes", [tok.vocab_size, len(tok), tok.model_max_length])
    special = [tok.bos_token, tok.sep_token, tok.pad_token, tok.unk_token, tok.mask_token, tok.cls_token]
    keep("special", [special, tok.pad_token_id, tok.mask_token_id, tok.all_special_ids])
    keep("languages", [tok.lang2id, tok.id2lang])
    keep("pad", dict(tok.pad([tok(text, **plain) for text in texts], return_tensors="np")))
    tok.save_pretrained(RESULTS.with_suffix("") / "tokenizer")
    again = LIBRARY.XLMTokenizer.from_pretrained(RESULTS.with_suffix("") / "tokenizer")
    keep("saved", [again.encode(text) for text in texts])


def section(name, function, *arguments):
    """Runs a part and puts its name before those of its results."""
    global arrays, values, errors
    outer, (arrays, values, errors) = (arrays, values, errors), ({}, {}, {})
    try:
        function(*arguments)
    except Exception as error:
        errors["whole"] = f"{type(error).__name__}: {error}"[:500]
    for all_of, mine in zip(outer, (arrays, values, errors), strict=True):
        all_of.update({f"{name}/{key}": value for key, value in mine.items()})
    arrays, values, errors = outer


RESULTS.with_suffix("").mkdir()
for class_name in sys.argv[4].split(","):
    loaded_class, source = getattr(LIBRARY, class_name), SOURCE / class_name

    def load(cls=loaded_class, source=source):
        return cls.from_pretrained(source, from_pt=True)

    section(f"{class_name}/calls", calls, class_name, load())
    section(f"{class_name}/description", description, class_name, load())
    section(f"{class_name}/storing", storing, class_name, loaded_class, source, load())
    section(f"{class_name}/training", training, class_name, load)
    section(f"{class_name}/resizing", resizing, class_name, load())
section("tokenizer", tokenizer)
np.savez(RESULTS.with_suffix(".npz"), **arrays)
RESULTS.with_suffix(".json").write_text(json.dumps({"values": values, "errors": errors}))
