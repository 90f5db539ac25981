"""From settings to a trained model: what is put together for pre-training, and in which order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from tfxlm import files
from tfxlm.configs import AutoConfig, PreTrainedConfig
from tfxlm.data import PretrainingData, open_store
from tfxlm.errors import ConfigError, OutputExistsError
from tfxlm.models import TFAutoModelForPreTraining
from tfxlm.tokenizers import AutoTokenizer
from tfxlm.training.callbacks import DataClock, Evaluate, Save, Watch, held_out_entries
from tfxlm.training.checkpoints import CheckpointFolder
from tfxlm.training.distribution import Devices
from tfxlm.training.metrics import token_metrics
from tfxlm.training.optimizers import NOT_DECAYED, PretrainingAdamW, averaged_weights
from tfxlm.training.progress import ShowProgress, results_table
from tfxlm.training.run import FigureTable, Run, figures_of, store_identity
from tfxlm.training.schedules import WarmUp
from tfxlm.training.settings import PretrainingConfig
from tfxlm.training.summaries import WriteSummaries

MODEL, CHECKPOINTS, LOGS, RESULTS = "model", "checkpoints", "logs", "results.json"


@dataclass(frozen=True)
class PretrainingResult:
    """What came of pre-training.

    Args:
        folder: of the model and its tokenizer, as `save_pretrained` writes them.
        step: of the weights in it.
        trained: figures of all batches up to that step, by objective and language, such as "mlm:en".
        held_out: those of the last evaluation up to it.
        tokens_per_second: of this process, padding included.
        waiting: share of a step that it spent waiting for data.
    """

    folder: Path
    step: int
    trained: FigureTable
    held_out: FigureTable
    tokens_per_second: float
    waiting: float


def make_data(config: PretrainingConfig) -> tuple[PretrainingData, Any]:
    """Opens the store, and returns the batches and the tokenizer."""
    store = open_store(config.store)
    # That of a checkpoint, whose ids the store must have.
    source = config.tokenizer or config.checkpoint
    tokenizer = store.tokenizer() if source is None else AutoTokenizer.from_pretrained(source)
    data = PretrainingData(
        store,
        tokenizer,
        config.objectives,
        batch_size=config.batch_size,
        length=config.length,
        alpha=config.alpha,
        seed=config.seed,
        packed_pairs=config.packed_pairs,
        whole_sentences=config.whole_sentences,
        mask_share=config.mask_share,
        word_mask_keep_rand=config.word_mask_keep_rand,
        frequency_smoothing=config.frequency_smoothing,
    )
    return data, tokenizer


def make_config(config: PretrainingConfig, data: PretrainingData, tokenizer: Any) -> PreTrainedConfig:
    """Returns the configuration of the model: that of a checkpoint, or a new one for the tokenizer.

    Raises:
        ConfigError: model, tokenizer and objectives do not go together.
    """
    family = config.model.get("model_type", tokenizer.model_types[0])
    is_causal = {entry.objective for entry in data.entries} == {"clm"}
    if config.checkpoint is not None:
        made = AutoConfig.from_pretrained(config.checkpoint)
        family = made.model_type
    if family not in tokenizer.model_types:
        raise ConfigError(
            f"The tokenizer is a {type(tokenizer).__name__}, whose models are {' or '.join(tokenizer.model_types)}, "
            f"but model_type is {family!r}."
        )
    if family != "xlm" and any(entry.objective == "clm" for entry in data.entries):
        raise ConfigError("objectives has 'clm', which XLM models learn; those of XLM-RoBERTa learn 'mlm' and 'tlm'.")
    causal = {"causal": is_causal} if family == "xlm" else {}
    if config.checkpoint is None:
        given = {name: value for name, value in config.model.items() if name != "model_type"}
        if given.get("causal", is_causal) != is_causal:
            raise ConfigError(
                f"model.causal is {given['causal']}, but the objectives are {config.objectives!r}. Leave it out: a "
                "model is causal where it learns nothing but clm."
            )
        made = AutoConfig.for_model(family, **{**_of_tokenizer(family, tokenizer), **causal, **given})
    elif causal:
        made = made.replace(**causal)
    if made.vocab_size < len(tokenizer):
        raise ConfigError(
            f"The tokenizer has {len(tokenizer)} ids, and the model {made.vocab_size}. Use the tokenizer of the "
            "checkpoint, and a store that it made."
        )
    if config.length > made.max_sequence_length:
        raise ConfigError(
            f"length is {config.length}, but the model reads {made.max_sequence_length} tokens at most. Make length "
            "smaller, or model.max_position_embeddings larger."
        )
    return made


def make_model(config: PretrainingConfig, made: PreTrainedConfig) -> Any:
    """Makes the model, new or from the checkpoint."""
    if config.checkpoint is None:
        return TFAutoModelForPreTraining.from_config(made, dtype=config.precision)
    return TFAutoModelForPreTraining.from_pretrained(config.checkpoint, config=made, dtype=config.precision)


def make_optimizer(config: PretrainingConfig) -> keras.optimizers.Optimizer:
    """Makes AdamW with the schedule."""
    optimizer = PretrainingAdamW(
        WarmUp.of(config),
        weight_decay=config.weight_decay,
        beta_1=config.beta_1,
        beta_2=config.beta_2,
        epsilon=config.epsilon,
        global_clipnorm=config.clip_norm or None,
        gradient_accumulation_steps=config.accumulate if config.accumulate > 1 else None,
        use_ema=config.ema is not None,
        ema_momentum=config.ema or 0.99,
    )
    optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return optimizer


def pretrain(
    config: PretrainingConfig | Mapping[str, Any] | str | Path,
    *,
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    console: Console | None = None,
) -> PretrainingResult:
    """Trains a language model with `fit`, from its start or from its last checkpoint.

    Weights, dropout and numpy's global generator are seeded. A run that was killed and is resumed learns from the same
    batches, with the same weights and optimizer, as one that was not.

    Args:
        config: the settings; or a mapping of fields, or the path of a file.
        resume: whether to go on from the last checkpoint in the output folder, where there is one.
        callbacks: further ones for `fit`. All steps are one epoch.
        console: where progress is printed; None for nowhere.

    Returns:
        Figures, and where the model is.

    Raises:
        ConfigError: the settings are wrong, or not those that the run began with.
        OutputExistsError: the folder has a run already, and `resume` is False.
        TrainingError: the loss or the gradient is not finite.

    Example:
        >>> from tfxlm import pretrain
        >>> result = pretrain("pretraining.yaml", resume=True)  # doctest: +SKIP
        >>> result.held_out["mlm:en"].perplexity  # doctest: +SKIP
        12.3
    """
    if isinstance(config, str | Path):
        config = PretrainingConfig.from_file(config)
    elif isinstance(config, Mapping):
        config = PretrainingConfig.from_dict(config)
    output = Path(config.output)
    checkpoints = CheckpointFolder(output / CHECKPOINTS, config.keep_checkpoints)
    steps = checkpoints.steps()
    if not resume and (steps or (output / MODEL).exists()):
        raise OutputExistsError(f"'{output}' has a training already. Resume it (--resume), or give another output.")
    devices = Devices(config)
    devices.check_shared(output)
    if devices.writes:
        for folder in (output, output / MODEL, checkpoints.path):
            files.remove_leftovers(folder)
    data, tokenizer = make_data(config)
    run = Run(config, data, devices)
    _check_monitor(run)
    if steps:
        state = checkpoints.read_state(steps[-1])
        _check_same(config, data, state)
        run.restore(state, steps)
    keras.utils.set_random_seed(config.seed)
    with devices.scope():
        model = make_model(config, make_config(config, data, tokenizer))
        model.compile(make_optimizer(config), weighted_metrics=token_metrics(), jit_compile=config.xla)
        model.optimizer.build(model.trainable_variables)
    if steps:
        checkpoints.load(model, steps[-1])
    quiet = console is None or not devices.writes
    shown = ShowProgress(run, Console(quiet=True) if quiet else console)  # type: ignore[arg-type]
    stopped = run.config.patience and run.without_better >= run.config.patience
    if not run.is_over and not stopped:
        made = [Watch(run, checkpoints), DataClock(run), Evaluate(run), Save(run, checkpoints)]
        if config.tensorboard and devices.writes:
            made.append(WriteSummaries(run, output / LOGS))
        try:
            model.fit(
                devices.share(lambda shard: data.dataset(first_step=run.step, shard=shard)),
                steps_per_epoch=config.steps - run.step,
                verbose=0,
                shuffle=False,
                callbacks=[*made, *callbacks, shown],
            )
        finally:
            shown.stop()
    return _finish(run, model, tokenizer, checkpoints, None if quiet else console)


def _finish(
    run: Run, model: Any, tokenizer: Any, checkpoints: CheckpointFolder, console: Console | None
) -> PretrainingResult:
    """Writes the model and what it is worth."""
    output, step, trained, held_out = Path(run.config.output), run.step, dict(run.total), run.held_out
    if run.config.final == "best" and run.best_step not in (None, step):
        step = run.best_step
        state = checkpoints.read_state(step)
        trained, held_out = figures_of(state["total"]), figures_of(state["held_out"])
    result = PretrainingResult(output / MODEL, step, trained, held_out, run.tokens_per_second, run.seconds.share)
    if run.devices.writes:
        # What `fit` leaves may be averages, which a checkpoint has beside the weights.
        checkpoints.load(model, step)
        with averaged_weights(model):
            model.save_pretrained(output / MODEL)
        tokenizer.save_pretrained(output / MODEL)
        files.write_json(output / RESULTS, _as_json(run, result))
    if console is not None:
        console.print(
            results_table([f"{entry.objective}:{entry.name}" for entry in run.data.entries], trained, held_out)
        )
        what = f"step {step:,}" + (", the best" if step == run.best_step else "")
        console.print(
            f"{what}, is in '{result.folder}'; {result.waiting:.1%} of a step was spent waiting for data, at "
            f"{result.tokens_per_second:,.0f} tokens/s",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return result


def _as_json(run: Run, result: PretrainingResult) -> dict[str, Any]:
    tables = {"trained": result.trained, "held_out": result.held_out}
    names = ("loss", "perplexity", "accuracy", "tokens", "batches")
    figures = {
        kind: {name: {each: getattr(figures, each) for each in names} for name, figures in table.items()}
        for kind, table in tables.items()
    }
    whole = {
        "step": result.step,
        "config": run.config.to_dict(),
        **figures,
        "tokens_per_second": result.tokens_per_second,
        "waiting_for_data": result.waiting,
    }
    # JSON has no infinity and no NaN.
    return json.loads(json.dumps(whole), parse_constant=lambda _: None)


def _of_tokenizer(family: str, tokenizer: Any) -> dict[str, Any]:
    """Returns the fields of a new model that the tokenizer decides."""
    fields = {"vocab_size": len(tokenizer)}
    fields |= {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos")}
    if family != "xlm":
        return {**fields, "eos_token_id": tokenizer.eos_token_id}
    languages = dict(tokenizer.lang2id or {})
    special = {"bos": "bos", "eos": "sep", "pad": "pad", "unk": "unk", "mask": "mask"}
    return {
        **fields,
        **{f"{name}_index": getattr(tokenizer, f"{role}_token_id") for name, role in special.items()},
        "mask_token_id": tokenizer.mask_token_id,
        "n_langs": max(len(languages), 1),
        "lang2id": languages,
        "id2lang": {index: code for code, index in languages.items()},
    }


def _check_monitor(run: Run) -> None:
    config, entries = run.config, [f"{objective}:{name}" for objective, name in held_out_entries(run)]
    if config.evaluate_every and not entries:
        raise ConfigError(
            "evaluate_every asks for evaluations, but the store has no held-out text. Prepare it with --held-out, or "
            "set evaluate_every: 0."
        )
    if config.monitor != "mean" and config.monitor not in entries:
        raise ConfigError(f"monitor must be 'mean' or one of {', '.join(entries)}, got {config.monitor!r}.")


def _check_same(config: PretrainingConfig, data: PretrainingData, state: Mapping[str, Any]) -> None:
    """Refuses to resume a run with other settings than those it began with.

    Raises:
        ConfigError: weights or batches would be others.
    """
    given = config.fixed()
    before = {name: state["config"].get(name) for name in given}
    changed = [
        f"{name} was {before[name]!r:.200} and is {value!r}" for name, value in given.items() if value != before[name]
    ]
    if state["store"] != store_identity(data):
        changed.append("the store has other texts")
    if changed:
        raise ConfigError(
            f"The run in '{config.output}' cannot be resumed with other settings: {'; '.join(changed)}. Give it those, "
            "or start another with another output."
        )
