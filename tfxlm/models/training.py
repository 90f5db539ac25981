"""Keras training with a model's own loss, and with labels wherever they are given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
from keras import ops

from tfxlm.backend import (
    IS_TENSORFLOW,
    has_several_workers,
    num_replicas,
    outside_graphs,
    shared_evenly,
    sum_over_replicas,
    with_mask,
)
from tfxlm.errors import ArgumentError, InputError
from tfxlm.heads.labels import IGNORED_LABEL, is_integer
from tfxlm.layers import KeyValueCache
from tfxlm.models.arrangement import Arrangement
from tfxlm.models.batches import Labels
from tfxlm.models.fused_updates import fuse_updates

# What `compile` takes for each output.
PER_OUTPUT = ("loss", "loss_weights", "metrics", "weighted_metrics")

# Where objects of Keras are given to a model.
OBJECTS = ("optimizer", "loss", "metrics", "weighted_metrics", "callbacks")

# How `transformers` calls a model's own loss in `compile`, beside giving none.
OWN_LOSS = ("auto", "auto_with_warning", "passthrough")


class OwnLossModel(keras.Model):
    """A Keras model that `compile` needs to give no loss.

    Losses and metrics that are compiled see the output that belongs to each label, and leave out labels of -100. Of
    metrics those do so that are means over examples, as accuracies are, and with `weighted_metrics` all others. Beside
    the model's own loss, metrics compare what it compares.
    """

    labels: Labels = Labels({"labels": "logits"})
    positional_arguments: ClassVar[tuple[str, ...]] = ("input_ids",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Where there is a GPU, Keras would take XLA by itself. It computes padding, and compiles each length anew.
        if IS_TENSORFLOW:
            self.jit_compile = False

    def own_loss(self, labels: Mapping[str, Any], outputs: Mapping[str, Any], sample_weight: Any = None) -> Any:
        """Returns the loss of the class's task, a float32 scalar, as the reference computes it.

        Args:
            labels: by argument.
            outputs: of the call, by name; at least those that belong to the labels.
            sample_weight: (batch,), or None; by argument, for a class with several labels.
        """
        raise InputError(
            f"{type(self).__name__} has no loss of its own. Give one to compile(loss=...), or use a class with a head."
        )

    def hf_compute_loss(self, labels: Any, logits: Any) -> Any:
        """Returns the model's own loss, for training loops written for `transformers` 4.

        Args:
            labels: as y of `fit`: an array, or several in order or by name.
            logits: the output that belongs to it, or several in the order of the labels, or all of a call.

        Returns:
            float32 scalar, the mean; the classes of `transformers` give a loss for each row.
        """
        # Loops for answers to questions name each by its singular.
        names = {name.removesuffix("s"): name for name in self.labels.targets}
        if isinstance(labels, Mapping):
            labels = {names.get(name, name): value for name, value in labels.items()}
        named = self.labels.named(None, labels)
        self.labels.check_complete(named)
        several = logits if isinstance(logits, Mapping | list | tuple) else [logits]
        return self.own_loss(self.learnable(named, {}), self._named(None, several))

    def learnable(self, labels: Mapping[str, Any], inputs: Any) -> Mapping[str, Any]:
        """Returns labels as the model's own loss takes them.

        Args:
            labels: by argument, as they were given.
            inputs: of the call, by name where they were given so.
        """
        return labels

    def learnable_weights(self, weights: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns weights of labels, by argument, beside the labels that `learnable` returns."""
        return weights

    def countable(self, name: str, labels: Any, output: Any) -> tuple[Any, Any]:
        """Returns labels that a compiled loss or metric can take, and which count, or None where all do.

        Args:
            name: the label's argument.
            labels: as they were given.
            output: what they belong to.
        """
        if is_integer(labels) and len(labels.shape) == len(output.shape) and labels.shape[-1] == 1:
            labels = labels[..., 0]
        if len(labels.shape) != len(output.shape) - 1:
            return labels, None
        # With an axis less they are ids, whatever their type.
        counts = ops.not_equal(labels, IGNORED_LABEL)
        labels = ops.where(counts, labels, ops.zeros_like(labels))
        # Beside a last axis of 1, Keras would take the mean over the axis before it.
        return (labels[..., None] if output.shape[-1] == 1 else labels), counts

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Prepares training; see `keras.Model.compile`.

        Without a loss the model's own is used. Losses, metrics and their weights may be given in order, or by the name
        of an output or of its label. With TensorFlow, ``jit_compile="auto"`` is False on a GPU too.
        """
        arguments = _bound(keras.Model.compile, self, args, kwargs)
        loss = arguments.get("loss")
        # Scripts for `transformers` 4 also say so by a loss of the output "loss".
        is_own = loss in OWN_LOSS if isinstance(loss, str) else isinstance(loss, Mapping) and set(loss) == {"loss"}
        if is_own:
            del arguments["loss"]
        if arguments.get("loss") is None and arguments.get("loss_weights") is not None:
            raise ArgumentError(
                "loss_weights are those of compiled losses, and the model's own is one number. Give a loss to compile "
                "as well, or weigh rows by sample_weight."
            )
        for name in PER_OUTPUT:
            if name in arguments:
                arguments[name] = self.labels.by_output(arguments[name], is_spread="metrics" in name)
        # Keras keeps what an earlier call gave and this one leaves out.
        self.loss = self._compile_loss = self._compile_metrics = None
        if IS_TENSORFLOW and arguments.get("jit_compile", "auto") == "auto":
            arguments["jit_compile"] = False
        super().compile(**arguments)
        fuse_updates(self.optimizer)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as a saved model was; Keras leaves that to classes with a `compile` of their own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Returns the compiled loss of the main outputs, or the model's own when `compile` was given none."""
        if self._compile_loss is not None:
            if num_replicas() == 1:
                return super().compute_loss(x, *self._paired(x, y, y_pred, sample_weight), training)
            pairs = self._paired(x, y, y_pred, sample_weight, of_all=self._takes_means)
            # Of a replica without rows, Keras returns no scalar.
            return shared_evenly(ops.sum(super().compute_loss(x, *pairs, training)))
        labels, weights = self._given(x, y, sample_weight)
        self.labels.check_complete(labels)
        one = weights.get(next(iter(self.labels.targets)))
        loss = self.own_loss(labels, self._named(x, y_pred), one if len(self.labels.targets) == 1 else weights)
        return sum((self._aggregate_additional_loss(extra) for extra in self.losses), loss)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Updates and returns the compiled metrics of the main outputs."""
        true, predicted, weights = self._paired(x, y, y_pred, sample_weight)
        metrics = self._compile_metrics
        # Of several replicas Keras does it before the first step.
        if metrics is not None and not metrics.built and num_replicas() == 1:
            outside_graphs(lambda: metrics.build(true, predicted))
        results = super().compute_metrics(x, true, predicted, weights)
        # Of several workers Keras takes the mean over the first axis of what each of them returns.
        return {name: value[None] for name, value in results.items()} if has_several_workers() else results

    def predict_step(self, *args: Any) -> Any:
        """Predicts without labels: a loss in the outputs has no batch axis to put batches together on."""
        *state, data = args
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        x = self._arrangement.named(x)
        if isinstance(x, Mapping):
            x = {name: value for name, value in x.items() if name not in self.labels.targets}
        return _without_caches(super().predict_step(*state, (x,)))

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Trains; see `keras.Model.fit`. Labels may be y, or among the inputs."""
        self._build_optimizer()
        return super().fit(**self._arranged(keras.Model.fit, args, kwargs))

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates; see `keras.Model.evaluate`. Labels may be y, or among the inputs."""
        return super().evaluate(**self._arranged(keras.Model.evaluate, args, kwargs))

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Trains on a batch; see `keras.Model.train_on_batch`. Labels may be y, or among the inputs."""
        self._build_optimizer()
        return super().train_on_batch(**self._arranged(keras.Model.train_on_batch, args, kwargs))

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Tests on a batch; see `keras.Model.test_on_batch`. Labels may be y, or among the inputs."""
        return super().test_on_batch(**self._arranged(keras.Model.test_on_batch, args, kwargs))

    def save_own_variables(self, store: Any) -> None:
        """Writes what belongs to no layer: the states of dropout, without which training goes on differently."""
        super().save_own_variables(store)
        for index, state in enumerate(self._random_states):
            store[f"random_{index}"] = state

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote."""
        keys = list(store.keys())
        super().load_own_variables({key: store[key] for key in keys if not key.startswith("random_")})
        for index, state in enumerate(self._random_states):
            if f"random_{index}" in keys:
                state.assign(store[f"random_{index}"])

    def _build_optimizer(self) -> None:
        """Creates the optimizer's variables; Keras does within the first step, whose graph is then made twice."""
        optimizer = self.optimizer if self.compiled else None
        # Under a strategy Keras does it before the first step, too.
        if IS_TENSORFLOW and self._distribute_strategy is None and optimizer is not None and not optimizer.built:
            optimizer.build(self.trainable_variables)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # Keras would take the mean of the replicas' batches, which fails where they have different numbers of rows.
        if iterator is not None and self._distribute_strategy is not None:
            _, _, batches = next(iter(iterator))
            results = self.distribute_strategy.experimental_local_results
            iterator, data_batch = None, keras.tree.map_structure(lambda value: results(value)[0], next(batches))
        super()._maybe_symbolic_build(iterator, data_batch)

    @property
    def _random_states(self) -> list[keras.Variable]:
        # Keras leaves them out of its files.
        return [variable for variable in self.variables if variable.name == "seed_generator_state"]

    @property
    def _arrangement(self) -> Arrangement:
        return Arrangement(self.labels, self.positional_arguments)

    def _arranged(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return self._arrangement.arguments(_bound(method, self, args, kwargs))

    def _named(self, x: Any, y_pred: Any) -> Mapping[str, Any]:
        """Returns outputs by name; a tuple has a loss first where the call was given labels."""
        if isinstance(y_pred, Mapping):
            return y_pred
        given = self.labels.named(x, None) if self.labels.inside(x) else {}
        names = (["loss"] if given else []) + [self.labels.targets[name] for name in given or self.labels.targets]
        return dict(zip(names, y_pred, strict=False))

    def _given(self, x: Any, y: Any, sample_weight: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Returns labels and weights by argument: as they were given, or as the model's own loss takes them."""
        labels, weights = self.labels.named(x, y), self.labels.weights(sample_weight)
        if self._compile_loss is not None or any(name not in labels for name in self.labels.required):
            return labels, weights
        return self.learnable(labels, self._arrangement.named(x)), self.learnable_weights(weights)

    @property
    def _takes_means(self) -> bool:
        """Whether all compiled losses are means over what counts."""
        reductions = {getattr(loss, "reduction", "mean") for loss in keras.tree.flatten(self.loss)}
        return reductions <= {"mean", "sum_over_batch_size"}

    def _paired(self, x: Any, y: Any, y_pred: Any, sample_weight: Any, of_all: bool = False) -> tuple[Any, Any, Any]:
        """Returns labels, outputs and weights as compiled losses and metrics take them: by output.

        With `of_all`, weights make the sum of the replicas' means the mean over all of them.
        """
        (labels, given), outputs = self._given(x, y, sample_weight), self._named(x, y_pred)
        true, predicted, weights = {}, {}, {}
        for name, value in labels.items():
            output = self.labels.targets[name]
            if output not in outputs:
                self.labels.check_complete(labels)
            prediction = outputs[output]
            if len(prediction.shape) == 1:
                # Keras takes means over the last axis, which must not be that of the batch.
                value, prediction = ops.reshape(value, (-1, 1)), prediction[:, None]
            true[output], counts = self.countable(name, value, prediction)
            predicted[output] = prediction if counts is None else with_mask(prediction, counts)
            weight = _weights_of_losses(given.get(name), prediction, counts)
            if of_all:
                share = _share_of_replica(prediction, counts)
                weight = ops.broadcast_to(share, ops.shape(prediction)[:-1]) if weight is None else weight * share
            if weight is not None:
                weights[output] = weight
        return true, predicted, {output: weights.get(output) for output in true} if weights else None


def _without_caches(outputs: Any) -> Any:
    """Leaves out what has no batch axis: run eagerly, a decoder returns the cache that its configuration asks for."""
    if isinstance(outputs, dict):
        kept = {name: value for name, value in outputs.items() if not isinstance(value, KeyValueCache)}
        return outputs if len(kept) == len(outputs) else type(outputs)(kept)
    if isinstance(outputs, tuple):
        return tuple(value for value in outputs if not isinstance(value, KeyValueCache))
    return outputs


def _weights_of_losses(weight: Any, output: Any, counts: Any) -> Any:
    """Returns the weights of what compiled losses and metrics make of an output, as many axes less one; or None."""
    if weight is None:
        return None if counts is None else ops.cast(counts, "float32")
    weight = ops.cast(ops.convert_to_tensor(weight), "float32")
    # One weight for each row: Keras would take them for those of the last axis.
    weight = ops.reshape(weight, (*ops.shape(weight), *(1,) * (len(output.shape) - 1 - len(weight.shape))))
    if counts is None:
        return weight
    if len(weight.shape) > len(counts.shape):
        weight = weight[..., 0]
    return weight * ops.cast(counts, "float32")


def _share_of_replica(output: Any, counts: Any) -> Any:
    """Returns how many times as much as on average counts on this replica."""
    own = ops.cast(ops.shape(output)[0] if counts is None else ops.sum(ops.cast(counts, "float32")), "float32")
    return own * num_replicas() / ops.maximum(sum_over_replicas(own), 1.0)


def _bound(method: Any, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a Keras method by name, those that it takes by ``**kwargs`` among them."""
    arguments = inspect.signature(method).bind(model, *args, **kwargs).arguments
    arguments |= arguments.pop("kwargs", {})
    arguments.pop("self")
    _check_keras(arguments)
    return arguments


def _check_keras(arguments: Mapping[str, Any]) -> None:
    """Raises `InputError` for an object of Keras 2, which scripts for `transformers` have as ``tf.keras``."""
    for name in OBJECTS:
        for value in keras.tree.flatten(arguments.get(name)):
            if any(base.__module__.partition(".")[0] == "tf_keras" for base in type(value).__mro__):
                raise InputError(
                    f"{name}: {type(value).__name__} is of tf_keras, which is Keras 2, and this is a model of Keras 3. "
                    "tf.keras is tf_keras where TF_USE_LEGACY_KERAS is set, as it is by `transformers`: take the class "
                    f"from `keras` (import keras), or unset the variable before TensorFlow is imported."
                )
