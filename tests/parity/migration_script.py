"""A script as people wrote them for the TensorFlow classes of `transformers` 4; the test runs it twice.

The first argument names the library to import from, the second a folder with a checkpoint for each class and the files
of a tokenizer, the third the file for the results, the fourth the classes, the fifth the family, by how the names of
its classes begin, and the sixth the classes to train. All but the import is the same text for both.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

LIBRARY = importlib.import_module(sys.argv[1])
SOURCE, RESULTS = Path(sys.argv[2]), Path(sys.argv[3])
CLASSES, FAMILY, TRAINED = sys.argv[4].split(","), sys.argv[5], sys.argv[6].split(",")

# The third argument of calls; fields of the configuration; and what makes a new one, by family.
THIRD = {"XLM": "langs", "XLMRoberta": "token_type_ids"}[FAMILY]
OF_FAMILY = {
    "XLM": ("n_words", "emb_dim", "n_heads", "n_layers", "pad_index", "n_langs", "lang2id", "dropout", "summary_type"),
    "XLMRoberta": ("intermediate_size", "hidden_act", "type_vocab_size", "position_embedding_type", "layer_norm_eps",
                   "is_decoder", "classifier_dropout", "hidden_dropout_prob", "bos_token_id", "eos_token_id"),
}[FAMILY]  # fmt: skip
SIZES = {
    "XLM": {"emb_dim": 16, "n_layers": 1, "n_heads": 2, "initializer_range": 0.02},
    "XLMRoberta": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 20},
}[FAMILY]
# The class that takes no labels in its call there, and has no loss of its own.
NO_LOSS = "TFXLMWithLMHeadModel"

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
        arrays[name] = at_real_positions(np.asarray(value))
    else:
        values[name] = json.loads(json.dumps(value, default=str))


def at_real_positions(array):
    """Leaves padding out where the libraries differ in it: nobody reads it."""
    return array[MASK.astype(bool)] if FAMILY == "XLMRoberta" and array.shape[:2] == MASK.shape else array


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
IDS, MASK, KINDS = BATCH["input_ids"], BATCH["attention_mask"], BATCH["kinds"]


def inputs_of(name, dtype="int32"):
    """A batch; the class that chooses gets two texts for each row."""
    batch = {"input_ids": IDS, "attention_mask": MASK, THIRD: KINDS}
    if name.endswith("ForMultipleChoice"):
        batch = {key: value.reshape(-1, 2, value.shape[1]) for key, value in batch.items()}
    return {key: value.astype(dtype) for key, value in batch.items()}


def labels_of(name):
    """Labels as `fit` takes them."""
    by_task = {
        "LMHeadModel": IDS.astype("int32"),
        "LM": IDS.astype("int32"),
        "ForSequenceClassification": BATCH["classes"],
        "ForTokenClassification": BATCH["token_classes"],
        "ForMultipleChoice": BATCH["choices"],
        "Simple": {"start_positions": BATCH["starts"], "end_positions": BATCH["ends"]},
        "ForQuestionAnswering": {"start_positions": BATCH["starts"], "end_positions": BATCH["ends"]},
    }
    return next((labels for task, labels in by_task.items() if name.endswith(task)), None)


def calls(name, model):
    """Inputs and outputs in every form."""
    batch = inputs_of(name)
    ids, mask, kinds = batch["input_ids"], batch["attention_mask"], batch[THIRD]
    # Decoders return their cache, too, which is another object in each library.
    keep("by keyword", {key: value for key, value in model(**batch).items() if hasattr(value, "shape")})
    attempt("by position", lambda: numpy_of(model(ids, mask, kinds)))
    attempt("dict", lambda: numpy_of(model(batch)))
    attempt("list", lambda: numpy_of(model([ids, mask, kinds])))
    attempt("tuple", lambda: numpy_of(model((ids, mask, kinds))))
    attempt("dict of tensors", lambda: numpy_of(model({key: tf.constant(value) for key, value in batch.items()})))
    attempt("first by position", lambda: numpy_of(model(ids, attention_mask=mask, **{THIRD: kinds})))
    attempt(
        "plain lists",
        lambda: numpy_of(model(**{key: value.tolist() for key, value in batch.items()})),
    )
    if FAMILY == "XLM":  # the other finds no padding by itself
        attempt("without mask", lambda: numpy_of(model(ids, langs=kinds)))
    for dtype in ("int8", "int16", "int32", "int64", "uint8"):
        attempt(f"numpy {dtype}", lambda dtype=dtype: numpy_of(model(inputs_of(name, dtype))))
        tensors = {key: tf.constant(value) for key, value in inputs_of(name, dtype).items()}
        attempt(f"tensors {dtype}", lambda tensors=tensors: numpy_of(model(tensors)))
    attempt("return_dict", lambda: [it for it in model(batch, return_dict=False) if hasattr(it, "shape")])
    # With a cache, attentions are as wide as the cache here.
    plain = {"use_cache": False} if name.endswith("ForCausalLM") else {}
    outputs = model(batch, output_hidden_states=True, output_attentions=True, **plain)
    # The class that chooses returns neither there, but for XLM.
    if outputs.hidden_states is not None and (FAMILY == "XLM" or not name.endswith("ForMultipleChoice")):
        values["fields"] = [key for key in outputs if outputs[key] is not None]
        keep("hidden states", list(outputs.hidden_states))
        # What padding attends to is read by nobody.
        real = mask.reshape(-1, mask.shape[-1]).astype(bool)
        keep("attentions", [np.moveaxis(np.asarray(weights), 1, 2)[real] for weights in outputs.attentions])
    keep("by index", outputs[0])
    attempt("training=False", lambda: numpy_of(model(batch, training=False)))
    attempt("head mask", lambda: numpy_of(model(**batch, head_mask=tf.constant([[1.0, 0.0], [0.0, 1.0]]))))
    if FAMILY == "XLM" and mask.ndim == 2:
        attempt("lengths", lambda: numpy_of(model(input_ids=ids, lengths=mask.sum(-1), langs=kinds)))
    embedded = {"inputs_embeds": BATCH["embeddings"].reshape(*ids.shape, -1), "attention_mask": mask, THIRD: kinds}
    attempt("embeddings", lambda: numpy_of(model(None, **embedded)))
    attempt("graph", lambda: numpy_of(tf.function(lambda x: model(x))(batch)))
    labels = labels_of(name)
    if isinstance(labels, dict):
        keep("loss", model(**batch, **labels).loss)
    elif labels is not None and name != NO_LOSS:
        outputs = model(**batch, labels=labels)
        keep("loss", outputs.loss)
        keep("loss by index", outputs[0])
        attempt("loss in a tuple", lambda: model(**batch, labels=labels, return_dict=False)[0])


def training(name, make):
    """`fit`, `evaluate` and `predict`, with the model's own loss and with one that is given."""
    batch, labels = inputs_of(name), labels_of(name)
    if labels is None:
        return
    if FAMILY == "XLMRoberta":
        # The row of the padding token learns there where padding reaches a loss, and in PyTorch and here it does not.
        if isinstance(labels, dict):
            whole = np.flatnonzero(MASK.all(axis=1))
            batch, labels = ({key: value[whole] for key, value in arrays.items()} for arrays in (batch, labels))
        elif labels.shape == MASK.shape:
            labels = np.where(MASK, labels, -100)
    given = {"loss": tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)}
    own = given if name == NO_LOSS else {}
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
        answers = numpy_of(model(batch))
        if name.endswith("ForMultipleChoice"):
            # A bias moves all choices alike: its gradient is zero but for rounding, by which Adam moves it.
            answers = answers - answers.mean(axis=-1, keepdims=True)
        keep("dataset: call", answers)
    if name != NO_LOSS:
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
        if key in ("architectures", "model_type", "vocab_size", "id2label", "label2id", *SIZES)
    }
    model.save_pretrained(str(target), max_shard_size="5MB")
    config = getattr(LIBRARY, f"{FAMILY}Config").from_pretrained(folder)
    again = cls.from_pretrained(folder, config=config, from_pt=True, local_files_only=True)
    keep("config=", numpy_of(again(batch)))
    again, info = cls.from_pretrained(
        folder, from_pt=True, output_hidden_states=True, output_loading_info=True, cache_dir=None, force_download=False
    )
    keep("overrides", len(again(batch).hidden_states))
    keep("loading info", {key: list(info[key]) for key in ("missing_keys", "mismatched_keys")})
    attempt("subfolder", lambda: numpy_of(cls.from_pretrained(SOURCE, subfolder=folder.name, from_pt=True)(batch)))
    if name.endswith("ForSequenceClassification"):
        attempt("another number of labels", lambda: with_labels(cls, folder, 5))
        names = {0: "a", 1: "b", 2: "c"}
        numbers = {label: index for index, label in names.items()}
        again = cls.from_pretrained(folder, from_pt=True, id2label=names, label2id=numbers)
        keep("id2label", [again.config.num_labels, again.config.id2label, again.config.label2id])
    fresh = cls(getattr(LIBRARY, f"{FAMILY}Config")(vocab_size=40, num_labels=2, **SIZES))
    values["fresh"] = fresh.config.hidden_size
    fresh.save_weights(str(RESULTS.with_suffix("")) + f"{name}.weights.h5")


def auto(name, cls, folder):
    """The class that chooses by the configuration, for the same task."""
    task = name.removeprefix(f"TF{FAMILY}").removesuffix("Simple")
    chooser = getattr(LIBRARY, {"Model": "TFAutoModel", "WithLMHeadModel": "TFAutoModelForMaskedLM"}.get(
        task, f"TFAutoModel{task}"
    ))  # fmt: skip
    model = chooser.from_pretrained(folder, from_pt=True)
    keep("class", type(model).__name__)
    keep("call", numpy_of(model(inputs_of(name))))


def description(name, model):
    """What a model says of itself, and its embeddings."""
    values["parameters"] = [model.num_parameters(), model.num_parameters(only_trainable=True)]
    values["about"] = [model.main_input_name, model.base_model_prefix, model.framework]
    if FAMILY == "XLM":  # those of the others have another shape, and are ones
        keep("dummy inputs", {key: np.asarray(value) for key, value in model.dummy_inputs.items()})
    fields = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_labels", "id2label",
              "label2id", "pad_token_id", "use_return_dict", "model_type", "max_position_embeddings",
              "output_attentions", "problem_type", *OF_FAMILY)  # fmt: skip
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
for class_name in CLASSES:
    loaded_class, source = getattr(LIBRARY, class_name), SOURCE / class_name

    def load(cls=loaded_class, source=source):
        return cls.from_pretrained(source, from_pt=True)

    section(f"{class_name}/calls", calls, class_name, load())
    section(f"{class_name}/description", description, class_name, load())
    section(f"{class_name}/storing", storing, class_name, loaded_class, source, load())
    section(f"{class_name}/auto", auto, class_name, loaded_class, source)
    if class_name in TRAINED:
        section(f"{class_name}/training", training, class_name, load)
    section(f"{class_name}/resizing", resizing, class_name, load())
if FAMILY == "XLM":
    section("tokenizer", tokenizer)
np.savez(RESULTS.with_suffix(".npz"), **arrays)
RESULTS.with_suffix(".json").write_text(json.dumps({"values": values, "errors": errors}))
