"""Heads of other training code, for Keras 3 and tf_keras: read, so that what is before them can be.

Weights have the shapes and the order in which that code wrote them. The logits are the cosines of
embedding and class: neither a margin nor a scale, which only a loss needs.
"""

from __future__ import annotations

from typing import Any

# What the number of classes has been called.
_WIDTHS = "classes n_classes num_classes class_num num_class units output_dim out_features".split()
# What else is between the head's class and Keras's own arguments; none of it changes a weight.
_LAYER_ARGUMENTS = frozenset("name trainable dtype dynamic autocast".split())


def insightface_head(package: Any) -> Any:
    """Keras_insightface's ``NormDense`` and ``NormDenseVPL``, which has ``batch_size`` besides.

    Both are called NormDense, by which a head is known. A .keras looks weights up by the class's
    name, so that one with NormDenseVPL is not read; Keras_insightface writes .h5.
    """

    class NormDense(package.layers.Layer):  # type: ignore[misc]
        def __init__(
            self,
            units: int = 1000,
            kernel_regularizer: Any = None,
            loss_top_k: int = 1,
            append_norm: bool = False,
            partial_fc_split: int = 0,
            **kwargs: Any,
        ) -> None:
            # Of the virtual prototypes, only the queue has a shape: a row for each class.
            self.vpl = {
                name: kwargs.pop(name)
                for name in ("batch_size", "vpl_lambda", "start_iters", "allowed_delta")
                if name in kwargs
            }
            super().__init__(**kwargs)
            self.units, self.loss_top_k, self.append_norm = units, loss_top_k, append_norm
            self.partial_fc_split = partial_fc_split
            self.kernel_regularizer = kernel_regularizer

        def build(self, input_shape: Any) -> None:
            size, columns = _embedding_shape(input_shape)[-1], self.units * self.loss_top_k
            if "batch_size" in self.vpl:
                self._add_state("norm_features", (self.vpl["batch_size"], size))
                self._add_state("queue_features", (self.units, size))
                self._add_state("queue_iters", (self.units,), dtype="int64")
                self._add_state("iters", (), dtype="int64")
            if self.partial_fc_split > 1:
                self._add_state("cur_id", (), dtype="int64")
            split = (self.partial_fc_split,) if self.partial_fc_split > 1 else ()
            name = "norm_dense_w_subs" if split else "norm_dense_w"
            self.w = self.add_weight(name=name, shape=(*split, size, columns), trainable=True)
            super().build(input_shape)

        def _add_state(self, name: str, shape: Any, **kwargs: Any) -> None:
            self.add_weight(name=name, shape=shape, initializer="zeros", trainable=False, **kwargs)

        def call(self, inputs: Any) -> Any:
            ops = arithmetic(package)
            inputs = inputs[0] if isinstance(inputs, list | tuple) else inputs
            weight = self.w[0] if self.partial_fc_split > 1 else self.w
            logits = _cosines(package, inputs, weight)
            if self.loss_top_k > 1:
                logits = ops.reshape(logits, (-1, self.units, self.loss_top_k))
                logits = ops.max(logits, axis=2)
            if self.append_norm:
                norm = ops.sqrt(ops.sum(ops.square(inputs), axis=1, keepdims=True))
                logits = ops.concatenate([logits, -norm], axis=-1)
            return logits

        def compute_output_shape(self, input_shape: Any) -> Any:
            rows = _embedding_shape(input_shape)[0]
            return (rows, self.units + int(self.append_norm))

        def get_config(self) -> dict[str, Any]:
            names = "units loss_top_k append_norm partial_fc_split kernel_regularizer".split()
            settings = {name: getattr(self, name) for name in names}
            return {**super().get_config(), **settings, **self.vpl}

    return NormDense


def margin_head(package: Any) -> Any:
    """A head with one vector a class, on the embedding or on a list of embedding and label.

    Named as our own head: what goes into either is the embedding.
    """

    class NormDense(package.layers.Layer):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            own = {name: kwargs.pop(name) for name in list(kwargs) if name in _LAYER_ARGUMENTS}
            super().__init__(**own)
            self.settings = kwargs
            widths = [kwargs[name] for name in _WIDTHS if isinstance(kwargs.get(name), int)]
            if not widths:
                raise ValueError(f"a margin head that states no number of classes: {kwargs}")
            self.classes = widths[0]

        def build(self, input_shape: Any) -> None:
            shape = (_embedding_shape(input_shape)[-1], self.classes)
            self.w = self.add_weight(name="W", shape=shape, trainable=True)
            super().build(input_shape)

        def call(self, inputs: Any) -> Any:
            embedding = inputs[0] if isinstance(inputs, list | tuple) else inputs
            return _cosines(package, embedding, self.w)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (_embedding_shape(input_shape)[0], self.classes)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), **self.settings}

    return NormDense


def _embedding_shape(input_shape: Any) -> Any:
    """Of a head's input, or of the first where the label is the second."""
    first = input_shape[0]
    return input_shape if first is None or isinstance(first, int) else first


def arithmetic(package: Any) -> Any:
    """Functions on tensors, under names that both generations have."""
    return package.ops if package.__name__ == "keras" else package.backend


def _cosines(package: Any, embedding: Any, weight: Any) -> Any:
    """Of each embedding (rows) with each class (columns of the weight)."""
    if package.__name__ == "keras":
        ops = package.ops
        return ops.matmul(ops.normalize(embedding, axis=-1), ops.normalize(weight, axis=0))
    backend = package.backend
    return backend.dot(
        backend.l2_normalize(embedding, axis=-1), backend.l2_normalize(weight, axis=0)
    )
