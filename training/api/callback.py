"""Verification bins in any `model.fit`: a callback, and what it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Any

import keras

from evaluator.api.evaluate import bins_read, repeated, requested
from evaluator.api.evaluated import Evaluation
from evaluator.bins.pairs_file import slot_people
from evaluator.bins.verification_set import VerificationSet
from evaluator.errors import InputError, check_choice
from evaluator.files import whole_path
from evaluator.metrics.standing import (
    COLUMNS,
    OnBin,
    Standing,
    column_values,
    rising_columns,
    standing,
    why_undefined,
)
from training.api.embedding import embedding_alone, embedding_part

#: What ``best`` calls that of the aggregate.
_ALL = "verification"

Bins = str | Path | VerificationSet | Sequence[str | Path | VerificationSet]


@dataclass(frozen=True, eq=False)
class VerificationRecord:
    """One evaluation during a fit: after so many epochs, the one it is in counted, and so many
    steps of the optimizer.
    """

    epoch: int
    step: int
    evaluation: Evaluation


class VerificationCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Evaluates the embedding on verification bins while any `model.fit` runs, on TensorFlow and
    JAX: prints the founding system's line of each bin, adds figures to the logs, saves the best.

    ``bins`` are paths or VerificationSets. ``embedding`` is a layer's name, a keras.Model that
    shares the fitted weights, or None, which is the layer (or model inside the model) called
    ``embedding``; it is never the fitted model's own output. ``input``, ``channels``, ``size``,
    ``flip``, ``nan`` and ``batch_size`` are those of `evaluator.evaluate`. ``every`` counts epochs,
    or with ``on="steps"`` batches, over epochs, as ModelCheckpoint's ``save_freq`` does.

    The logs get, for each bin and each of ``figures``, a float: ``lfw_accuracy`` at the best
    threshold, ``lfw_threshold``, ``lfw_kfold``, ``lfw_kfold_std``, ``lfw_auc``, ``lfw_eer``,
    ``lfw_tar_at_far_1e-3``, ...; and ``verification``, the ``aggregate`` (mean or min) over bins of
    the figure ``monitor``. All are NaN where embeddings are not finite and ``nan="fail"``, and not
    there after epochs without an evaluation; with ``on="steps"`` they are in the batch's logs, and
    the newest of an epoch in its logs. Callbacks that look at them stand after this one and need
    ``mode="max"``; EarlyStopping takes a NaN that it meets first for the best.

    ``save_improved`` writes a file at each rise of a bin's accuracy, ``save_best`` replaces one
    when ``verification`` rises: templates for `str.format`, of ``bin`` (``save_improved`` alone),
    ``epoch`` from 1, ``step`` of the optimizer and the logs, that end in ``.keras`` or ``.h5``.
    ``save``: the ``embedding`` alone, or the whole ``model``. Files are whole or not there.
    ``initial_best`` is what ``best`` begins with, to go on where another process ended: Keras
    restores no callback's state.

    ``best`` is bin -> highest accuracy, and that of ``verification``, over several fits;
    ``history`` has all figures of each evaluation, as VerificationRecords. ``verbose=0`` prints
    nothing. Raises InputError, BinError among them, for all that can be told here.
    """

    def __init__(
        self,
        bins: Bins,
        *,
        embedding: keras.Model | str | None = None,
        input: str = "unit",
        channels: str = "rgb",
        size: int | tuple[int, int] | None = None,
        flip: str = "none",
        batch_size: int = 64,
        every: int = 1,
        on: str = "epoch",
        figures: str | Sequence[str] = ("accuracy", "threshold", "kfold"),
        monitor: str = "accuracy",
        aggregate: str = "mean",
        save_best: str | Path | None = None,
        save_improved: str | Path | None = None,
        save: str = "embedding",
        initial_best: Mapping[str, float] | None = None,
        nan: str = "fail",
        verbose: int = 1,
    ) -> None:
        super().__init__()
        check_choice("on", on, ("epoch", "steps"))
        check_choice("aggregate", aggregate, ("mean", "min"))
        check_choice("save", save, ("embedding", "model"))
        check_choice("monitor", monitor, rising_columns())
        self.figures = (figures,) if isinstance(figures, str) else tuple(figures)
        for figure in self.figures:
            check_choice("figure", figure, COLUMNS)
        if not isinstance(every, int) or every < 1:
            raise InputError(f"every must be at least 1; got {every!r}")
        self.sets = _pair_sets(bins)
        for each in self.sets:
            genuine = each.genuine_pairs
            if why := why_undefined(monitor, genuine, each.pairs - genuine):
                raise InputError(f"monitor={monitor!r}: {each.name} has no {monitor}: {why}")
        self.every, self.on, self.monitor, self.aggregate = every, on, monitor, aggregate
        self.save_best = _template("save_best", save_best)
        self.save_improved = _template("save_improved", save_improved)
        self.save, self.verbose = save, verbose
        self.best = _checked_best(initial_best or {}, self.sets)
        self.history: list[VerificationRecord] = []
        self._request = requested(
            input=input,
            channels=channels,
            size=size,
            flip=flip,
            nan=nan,
            batch_size=batch_size,
        )
        self._layer = embedding if isinstance(embedding, str) else None
        self._given = None if isinstance(embedding, str) else embedding
        self._measured: _Measured | None = None
        if self._given is not None:
            self._measured = self._of_embedding(self._given)
        self._epoch, self._last, self._since = 0, -1, 0
        self._newest: dict[str, float] = {}
        self._said: set[str] = set()
        if on == "steps":
            # A method of the class would cost every fit Keras's asynchronous dispatch.
            self.on_train_batch_end = self._after_batch

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras's
        """Finds the embedding, or where the model is built by its first batch, has the first
        evaluation find it. Raises InputError where the model has none.
        """
        model = self.model
        _check_one_process()
        self._since = 0
        if self._given is None:
            self._measured = None
            if model.built:
                self._measured = self._of_model(model)
        elif self._measured is not None:
            own = {id(each) for each in model.weights}
            if not any(id(each) in own for each in self._measured.part.weights):
                raise InputError(
                    f"embedding={self._given.name!r} shares no weight with the model that is "
                    "fitted, and would be measured unchanged; build one from the other's layers"
                )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's
        """Which epoch it is."""
        self._epoch, self._last, self._newest = epoch, -1, {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates, or has the epoch's logs tell the newest evaluation of its steps."""
        logs = {} if logs is None else logs
        if self.on == "steps":
            logs.update(self._newest)
        elif (epoch + 1) % self.every == 0:
            self._look(logs)

    def _after_batch(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._since += batch - self._last
        self._last = batch
        if self._since >= self.every:
            self._since = 0
            self._look({} if logs is None else logs)

    def evaluate(self, model: Any = None) -> Evaluation:
        """The evaluation of what is, or was last, fitted, with its lines printed, as the founding
        callback's ``on_epoch_end()`` did without a fit; ``best`` rises, nothing is saved.

        ``model`` is another one: a keras.Model with an embedding, as in a fit, or whatever else
        `evaluator.evaluate` takes. Raises InputError where there is none.
        """
        measured = self._measured
        if isinstance(model, keras.Model) and model is not self._given:
            measured = self._of_model(model)
        elif model is not None and model is not self._given:
            measured = _Measured(None, None, repeated(model, self.sets, self._request), ())
        if measured is None:
            raise InputError("no model was fitted yet: give evaluate() one")
        _ = self.model  # on JAX, in the middle of an epoch, gives the layers their weights
        evaluation = measured.again()
        stands = self._stands(evaluation)
        self.best.update(stands.best)
        self._say(*stands.lines, *self._new_notes(measured, evaluation))
        return evaluation

    def _look(self, logs: dict[str, Any]) -> None:
        """Evaluates the embedding, and does all that follows from it."""
        model = self.model
        measured = self._measured = self._measured or self._of_model(model)
        optimizer = getattr(model, "optimizer", None)
        step = 0 if optimizer is None else int(keras.ops.convert_to_numpy(optimizer.iterations))
        evaluation = measured.again()
        self.history.append(VerificationRecord(self._epoch + 1, step, evaluation))
        stands = self._stands(evaluation)
        self._newest = {_ALL: _number(stands.aggregate)}
        for each in evaluation:
            values = column_values(each.result.figures)
            self._newest |= {f"{each.name}_{name}": _number(values[name]) for name in self.figures}
        logs.update(self._newest)
        rose = stands.aggregate is not None and stands.aggregate > self.best.get(_ALL, 0.0)
        self.best.update(stands.best)
        fields = {**logs, "epoch": self._epoch + 1, "step": step}
        said = []
        for name, line in zip((each.name for each in evaluation), stands.lines, strict=True):
            if self.save_improved and name in stands.improved:
                said.append(self._saved(self.save_improved, measured, {**fields, "bin": name}))
            said.append(line)
        if rose:
            self.best[_ALL] = self._newest[_ALL]
            if self.save_best:
                said.append(self._saved(self.save_best, measured, fields))
        # Behind the progress bar, whose line has no end yet.
        bar = (self.params or {}).get("verbose") in (1, "auto")
        self._say(*([""] if bar else []), *said, *self._new_notes(measured, evaluation))

    def _stands(self, evaluation: Evaluation) -> Standing:
        found = [
            OnBin(each.name, each.figures, int(each.result.non_finite["count"]))
            for each in evaluation
        ]
        return standing(found, self.best, monitor=self.monitor, aggregate=self.aggregate)

    def _saved(self, template: str, measured: _Measured, fields: Mapping[str, Any]) -> str:
        """Saves what is to be saved, whole or not at all, and says where."""
        try:
            path = Path(template.format(**fields))
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            there = ", ".join(sorted(fields))
            raise InputError(f"{template}: {error!r}; a name may hold: {there}") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_path(path) as temporary:
            (measured.part if self.save == "embedding" else self.model).save(temporary)
        return f"Saving model to: {path}"

    def _new_notes(self, measured: _Measured, evaluation: Evaluation) -> list[str]:
        """What was not said before."""
        notes = dict.fromkeys((*measured.notes, *evaluation.notes))
        new = [each for each in notes if each not in self._said]
        self._said.update(new)
        return [f"note: {each}" for each in new]

    def _say(self, *lines: str) -> None:
        if self.verbose:
            print("\n".join(lines), flush=True)

    def _of_model(self, model: keras.Model) -> _Measured:
        """What measures the embedding inside a model."""
        part = embedding_part(model, self._layer)
        request = self._request
        if self._layer is not None:
            # What was named is wanted, even if it looks like classes.
            options = replace(request.options, output=part.output_names[0])
            request = replace(request, options=options)
        return _Measured(model, part, repeated(part, self.sets, request, name=model.name), ())

    def _of_embedding(self, model: keras.Model) -> _Measured:
        part, notes = embedding_alone(model)
        again = repeated(part, self.sets, self._request, name=model.name)
        return _Measured(model, part, again, notes)


@dataclass(frozen=True)
class _Measured:
    """An embedding model ``part`` of a model, and what evaluates it with the weights it has."""

    of: Any
    part: Any
    again: Callable[[], Evaluation]
    notes: tuple[str, ...]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _pair_sets(bins: Bins) -> list[VerificationSet]:
    """The bins, read. Raises InputError for names that the logs cannot tell apart."""
    sets = []
    for each in bins_read(bins):
        if not isinstance(each, VerificationSet):
            raise InputError(f"{each.path}: a template set; in a fit, bins alone are evaluated")
        slot_people(each)  # refuses another bin's pairs file
        sets.append(each)
    names = [each.name for each in sets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two bins are called {name!r}; give VerificationSet another name")
        if name in ("val", _ALL) or name.startswith("val_"):
            raise InputError(
                f"a bin is called {name!r}, and Keras's own logs have val_accuracy; give "
                "VerificationSet another name"
            )
    return sets


def _checked_best(given: Mapping[str, float], sets: Sequence[VerificationSet]) -> dict[str, float]:
    known = (*(each.name for each in sets), _ALL)
    for name, value in given.items():
        check_choice("bin in initial_best", name, known)
        if not 0 <= value <= 1:
            raise InputError(f"initial_best[{name!r}]: expected a share in [0, 1]; got {value!r}")
    return {name: float(value) for name, value in given.items()}


def _template(option: str, given: str | Path | None) -> str | None:
    """A template of a file's name. Raises InputError for one that cannot be filled."""
    if given is None:
        return None
    text = str(given)
    try:
        names = [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise InputError(f"{option}={text!r}: {error}") from None
    if not text.endswith((".keras", ".h5")):
        raise InputError(f"{option}={text!r}: expected a name that ends in .keras or .h5")
    if "" in names or (option == "save_best" and "bin" in names):
        what = "'bin' is save_improved's" if "bin" in names else "name what is to stand in {}"
        raise InputError(f"{option}={text!r}: {what}")
    return text


def _check_one_process() -> None:
    """Raises InputError where several processes train together: each would wait for the others in
    an evaluation of which it has a part.
    """
    if keras.backend.backend() == "jax":
        import jax

        if jax.process_count() > 1:
            raise InputError(
                f"VerificationCallback works in one process; {jax.process_count()} train together. "
                "`zoo train --hosts` verifies in the first one"
            )
