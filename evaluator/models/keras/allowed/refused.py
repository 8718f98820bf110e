"""Why a class or function that a Keras config names is not harmless.

Nothing is let through or stopped by these tables: what is not in `names` is refused. They say
why in the message, and a test fails where a new Keras has a class in neither.
"""

from __future__ import annotations

_RUNS = "runs code"
_FUNCTION = "takes a Python function"
# These carry the code themselves, or load it: what a message calls code.
CODE = frozenset({_RUNS, _FUNCTION, "unpickles", "loads another model", "calls by name"})

_REFUSED: dict[str, str] = {
    _RUNS: "Lambda __lambda__",
    _FUNCTION: """
        AssociativeScan Cond DropoutWrapper FlaxLayer ForiLoop JVP JaxLayer LossFunctionWrapper Map
        MeanMetricWrapper MultiOptimizer OptimizerMap ResidualWrapper Scan SegmentReduction
        SumOverBatchSizeMetricWrapper Switch VectorizedMap WhileLoop
        """,
    "unpickles": "TorchModuleWrapper",
    "loads another model": "TFSMLayer",
    "calls by name": "ClassMethod InstanceMethod InstanceProperty TensorFlowOpLayer",
    "opens files": """
        DenseFeatures FeatureSpace IndexLookup IntegerLookup LinearModel
        SequenceFeatures StringLookup TFDConcat TFDIdentity TextVectorization VocabLookup
        WideDeepModel DynamicEmbedding DynamicLookup
        """,
    "looks a type up by its name": "CompositeTensor TypeSpec __typespec__",
    "needs a data set": "AWQConfig GPTQConfig awq_config gptq_config",
    "picks a device": "DeviceWrapper",
    "does not belong into a saved network": """
        LearningRateSchedule Loss Metric Optimizer Reduction
        BaseAdaptiveAveragePooling BaseAdaptiveMaxPooling BaseAdaptivePooling BaseConv
        BaseConvTranspose BaseDepthwiseConv BaseGlobalPooling BaseImagePreprocessingLayer
        BasePooling BaseSeparableConv BaseSpatialDropout ConvLSTM ConvLSTMCell DataLayer Distiller
        Function Input InputSpec Merge Operation PreprocessingLayer
        SharpnessAwareMinimization _RNNCellWrapper add average
        concatenate deserialize dot get keras_export maximum minimum multiply serialize subtract
        """,
}
_REASONS = {name: reason for reason, names in _REFUSED.items() for name in names.split()}


def why_refused(name: str) -> str | None:
    """Why a class or function is known not to be harmless; None for one that is not known.

    Goes by the last part of a dotted or registered name: `layers.Lambda`, `Custom>Lambda`.
    """
    return _REASONS.get(name.replace(">", ".").rpartition(".")[2])
