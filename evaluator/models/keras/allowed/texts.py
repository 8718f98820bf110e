"""Which texts in a Keras config are harmless: by the key under which they stand.

Keras looks a text up as a function, a class or a dtype under some keys, and reads it as a word
under others. A text under any other key is refused: there it may be what is decoded, imported or
opened.
"""

from __future__ import annotations

import re

from evaluator.models.keras.allowed.names import (
    ACTIVATION_LAYERS,
    ACTIVATIONS,
    CONSTRAINTS,
    INITIALIZERS,
    LOSS_FUNCTIONS,
    LOSSES,
    METRICS,
    OPTIMIZER_NAMES,
    QUANTIZERS,
    REGULARIZERS,
)

# End of the key -> names that stand for a function or a class there.
_LOOKED_UP: dict[str, frozenset[str]] = {
    "activation": ACTIVATIONS | ACTIVATION_LAYERS,
    "initializer": INITIALIZERS,
    "regularizer": REGULARIZERS,
    "constraint": CONSTRAINTS,
    "quantizer": QUANTIZERS | {"default"},
    "quantization_config": QUANTIZERS,
    "optimizer": OPTIMIZER_NAMES,
    "loss": LOSS_FUNCTIONS | LOSSES,
    "metrics": LOSS_FUNCTIONS | METRICS,
}
_DTYPE_KEYS = frozenset(
    """
    compute_dtype default_policy dtype output_dtype reverse_dtype source_name variable_dtype
    """.split()
)
_DTYPE = re.compile(
    r"_infer|string|bool|bfloat16|float(?:8_e4m3fn|8_e5m2|16|32|64)|u?int(?:4|8|16|32|64)"
    r"|complex(?:64|128)|mixed_(?:b?float16)"
    r"|(?:int8|float8|int4(?:/-?\d{1,6})?|(?:gptq|awq)/\d{1,2}/-?\d{1,6})"
    r"_from_(?:mixed_)?(?:b?float16|float32|float64)"
)
# A path of layers in which at most three parts are left open. What repeats in a repetition, or many
# times, keeps a regular expression busy for longer than anybody waits.
_PATTERN = re.compile(r"[\w./ -]{0,500}(?:\*[\w./ -]{0,500}){0,3}")
# Words that are compared with those that a layer knows, and names that are only shown.
WORDS = frozenset(
    """
    aggregation backend bias_axes bounding_box_format data_format distribution equation
    fill_mode indexing interpolation keras_history keras_version kind merge_mode method metric_name
    mode name ord output_mode padding pattern pool_mode quantization_mode reduction rng_type scaling
    score_mode side strategy subscripts synchronization use_cudnn value window
    """.split()
)
# Below these, beside a layer's config, a model is wired: by names of layers, and by arguments of
# calls to what is vetted.
WIRING = frozenset({"build_config", "inbound_nodes"})


def is_harmless_text(key: str, text: str) -> bool:
    """Whether a text that stands in a config under a key names nothing but what is harmless."""
    if key in WORDS:
        return True
    if key in _DTYPE_KEYS:
        return _DTYPE.fullmatch(text) is not None
    return any(key.endswith(end) and text in names for end, names in _LOOKED_UP.items())


def is_harmless_pattern(key: str) -> bool:
    """Whether a layer's path, which Keras takes for a regular expression, is soon compared."""
    return _PATTERN.fullmatch(key) is not None


def is_known_key(key: str) -> bool:
    """Whether it is known what Keras does with a text under this key."""
    return key in WORDS or key in _DTYPE_KEYS or key.endswith(tuple(_LOOKED_UP))
