"""The classes and functions of Keras 3 and tf_keras that a model's config may name.

What is listed neither runs a text of the file, nor imports by its words, nor opens what it names:
read in the sources of both libraries. What is not listed is refused; `refused` says why.
"""

from __future__ import annotations

import re

# What a functional model may hold, calls of `keras.ops` on its tensors, by module below
# `keras.src.ops`: each computes tensors from tensors and numbers. Those that take a Python function
# (`map`, `cond`, `scan`, ...) are refused.
_OPERATIONS = {
    "core": """
        Cast ConvertToTensor SaturateCast Scatter ScatterUpdate Slice SliceUpdate StopGradient
        Unstack
        """,
    "einops": "Rearrange",
    "image": """
        AffineTransform CropImages ElasticTransform ExtractPatches GaussianBlur HSVToRGB
        MapCoordinates PadImages PerspectiveTransform RGBToGrayscale RGBToHSV Resize SSIM
        ScaleAndTranslate SobelEdges
        """,
    "linalg": """
        Cholesky CholeskyInverse Det Eig Eigh Inv Lstsq LuFactor MatrixRank Norm Pinv Qr SVD Solve
        SolveTriangular
        """,
    "math": """
        CDist Erf Erfc Erfinv ExtractSequences FFT FFT2 IFFT2 IRFFT ISTFT InTopK Logdet Logsumexp
        RFFT Rsqrt STFT SegmentMax SegmentMin SegmentProd SegmentSum TopK ViewAsComplex ViewAsReal
        """,
    "nn": """
        AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm BinaryCrossentropy CTCDecode
        CTCLoss CategoricalCrossentropy Celu Conv ConvTranspose DepthToSpace DepthwiseConv
        DotProductAttention Elu Fold Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LayerNorm
        LeakyRelu LogSigmoid LogSoftmax MaxPool Moments MultiHot Normalize OneHot PSNR Polar RMSNorm
        Relu Relu6 Selu SeparableConv Sigmoid Silu SoftShrink Softmax Softplus Softsign SpaceToDepth
        SparseCategoricalCrossentropy SparsePlus SparseSigmoid Sparsemax Squareplus TanhShrink
        Threshold Unfold
        """,
    "numpy": """
        Abs Absolute Add All AllClose Amax Amin Angle Any Append Arange Arccos Arccosh Arcsin
        Arcsinh Arctan Arctan2 Arctanh Argmax Argmin Argpartition Argsort Array ArraySplit Average
        Bincount BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift
        BitwiseXor BroadcastTo Cbrt Ceil Clip Concatenate Conj Conjugate Copy Corrcoef Correlate Cos
        Cosh CountNonzero Cross Cumprod Cumsum Deg2rad Diag Diagflat Diagonal Diff Digitize Divide
        DivideNoNan Dot Dsplit Dstack Einsum EmptyLike Equal Exp Exp2 ExpandDims Expm1 Fabs Flip
        Fliplr Flipud Floor FloorDivide Fmax Fmin Fmod Full FullLike Gcd Geomspace GetItem Greater
        GreaterEqual Heaviside Histogram Hsplit Hstack Hypot I0 Imag Inner IsIn Isclose Isfinite
        Isinf Isnan Isneginf Isposinf Isreal Kron Lcm Ldexp LeftShift Less LessEqual Linspace Log
        Log10 Log1p Log2 Logaddexp Logaddexp2 LogicalAnd LogicalNot LogicalOr LogicalXor Logspace
        Matmul Max Maximum Mean Median Meshgrid Min Minimum Mod Moveaxis Multiply NanToNum Nanargmax
        Nanargmin Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin Nanpercentile Nanprod
        Nanquantile Nanstd Nansum Nanvar Ndim Negative Nextafter Nonzero NotEqual OnesLike Outer Pad
        Percentile Power Prod Ptp Quantile Rad2deg Ravel Real Reciprocal Repeat Reshape RightShift
        Roll Rot90 Round SearchSorted Select Sign Signbit Sin Sinc Sinh Size Slogdet Sort Split Sqrt
        Square Squeeze Stack Std Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh Tensordot Tile
        Trace Transpose Trapezoid Tril Triu TrueDivide Trunc Unique UnravelIndex Vander Var Vdot
        View Vsplit Vstack Where ZerosLike
        """,
}
OPERATIONS = {module: frozenset(names.split()) for module, names in _OPERATIONS.items()}


# What a model inside a model may have been compiled with: Keras builds it, though nothing uses it.
# Optimizers, losses and metrics that take no Python function.
OPTIMIZERS = frozenset(
    """
    Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer Muon Nadam
    RMSprop SGD ScheduleFreeAdamW
    """.split()
)
SCHEDULES = frozenset(
    """
    CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay
    PolynomialDecay
    """.split()
)
LOSSES = frozenset(
    """
    BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy
    CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle
    CosineSimilarity Dice Hinge Huber KLDivergence LogCosh MeanAbsoluteError
    MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
    SparseCategoricalCrossentropy SquaredHinge Tversky
    """.split()
)
METRICS = frozenset(
    """
    AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy
    CategoricalCrossentropy CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score
    FBetaScore FalseNegatives FalsePositives Hinge IoU KLDivergence LogCoshError Mean
    MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanRelativeError MeanSquaredError
    MeanSquaredLogarithmicError MeanTensor OneHotIoU OneHotMeanIoU PearsonCorrelation Poisson
    Precision PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError
    SensitivityAtSpecificity SparseCategoricalAccuracy SparseCategoricalCrossentropy
    SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge Sum
    TopKCategoricalAccuracy TrueNegatives TruePositives
    """.split()
)
# Functions of labels and predictions, and the short names under which either library has them.
LOSS_FUNCTIONS = frozenset(
    """
    BCE KLD MAE MAPE MSE MSLE acc accuracy bce binary_accuracy binary_crossentropy
    binary_focal_crossentropy categorical_accuracy categorical_crossentropy
    categorical_focal_crossentropy categorical_hinge cosine_similarity hinge huber kl_divergence
    kld kullback_leibler_divergence log_cosh logcosh mae mape mean_absolute_error
    mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error mse msle
    poisson sparse_categorical_accuracy sparse_categorical_crossentropy
    sparse_top_k_categorical_accuracy squared_hinge top_k_categorical_accuracy
    """.split()
)
# Names that are looked up without their kind, as Keras 2 does.
OPTIMIZER_NAMES = OPTIMIZERS | frozenset(name.lower() for name in OPTIMIZERS)


_LAYERS_OF_BOTH = """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average
    AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Bidirectional
    CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D
    Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D Dense
    DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Flatten
    GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
    GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GroupNormalization HashedCrossing Hashing Identity InputLayer LSTM LSTMCell Layer
    LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum
    MultiHeadAttention Multiply Normalization PReLU Permute RNN RandomBrightness RandomContrast
    RandomCrop RandomFlip RandomRotation RandomTranslation RandomZoom ReLU RepeatVector
    Rescaling Reshape Resizing SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax
    SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells
    Subtract TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D Wrapper
    ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
_LAYERS_OF_KERAS_3 = """
    AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D AugMix AutoContrast
    ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization GroupQueryAttention
    GroupedQueryAttention MaxNumBoundingBoxes MelSpectrogram MixUp Pipeline RMSNormalization
    RandAugment RandomColorDegeneration RandomColorJitter RandomElasticTransform RandomErasing
    RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective
    RandomPosterization RandomSaturation RandomSharpness RandomShear ReversibleEmbedding
    STFTSpectrogram Solarization
"""
# With the aliases and version numbers under which Keras 2 wrote the same layers.
_LAYERS_OF_KERAS_2 = """
    AbstractRNNCell AddLoss AddMetric AvgPool1D AvgPool2D AvgPool3D BaseRandomLayer
    BatchNormalizationBase BatchNormalizationV1 BatchNormalizationV2 Convolution1D
    Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D
    Convolution3DTranspose CuDNNGRU CuDNNLSTM GRUCellV1 GRUCellV2 GRUV1 GRUV2 GlobalAvgPool1D
    GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D LSTMCellV1
    LSTMCellV2 LSTMV1 LSTMV2 LocallyConnected1D LocallyConnected2D MaxPool1D MaxPool2D
    MaxPool3D RandomFourierFeatures RandomHeight RandomWidth SeparableConvolution1D
    SeparableConvolution2D SyncBatchNormalization ThresholdedReLU
"""
LAYERS = frozenset((_LAYERS_OF_BOTH + _LAYERS_OF_KERAS_3 + _LAYERS_OF_KERAS_2).split())
MODELS = frozenset({"Functional", "Model", "Sequential"})
# The function they call is looked at by its own name.
OP_LAYERS = frozenset({"TFOpLambda", "SlicingOpLambda"})

INITIALIZERS = frozenset(
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer Initializer
    LecunNormal LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform STFT
    STFTInitializer TruncatedNormal VarianceScaling Zeros ConstantV2 GlorotNormalV2 GlorotUniformV2
    HeNormalV2 HeUniformV2 IdentityV2 LecunNormalV2 LecunUniformV2 OnesV2 OrthogonalV2
    RandomNormalV2 RandomUniformV2 TruncatedNormalV2 VarianceScalingV2 ZerosV2 constant
    glorot_normal glorot_normalV2 glorot_uniform glorot_uniformV2 he_normal he_normalV2 he_uniform
    he_uniformV2 identity initializer lecun_normal lecun_normalV2 lecun_uniform lecun_uniformV2
    normal one ones orthogonal random_normal random_uniform stft truncated_normal uniform
    variance_scaling zero zeros
    """.split()
)
REGULARIZERS = frozenset(
    """
    L1 L1L2 L2 OrthogonalRegularizer Regularizer l1 l1_l2 l1l2 l2 orthogonal_regularizer regularizer
    """.split()
)
CONSTRAINTS = frozenset(
    """
    Constraint MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm constraint max_norm maxnorm
    min_max_norm non_neg nonneg radial_constraint unit_norm unitnorm
    """.split()
)
QUANTIZERS = frozenset(
    """
    AbsMaxQuantizer Float8QuantizationConfig Int4QuantizationConfig Int8QuantizationConfig
    QuantizationConfig Quantizer abs_max_quantizer float8_quantization_config
    int4_quantization_config int8_quantization_config quantization_config quantizer
    """.split()
)
POLICIES = frozenset(
    """
    AWQDTypePolicy DTypePolicy DTypePolicyMap FloatDTypePolicy GPTQDTypePolicy Int4DTypePolicy
    Policy PolicyV1 QuantizedDTypePolicy QuantizedFloat8DTypePolicy
    """.split()
)
# Functions that Keras looks up by name, and the layers that Keras 2 takes in their place.
ACTIVATIONS = frozenset(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
    linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softmax_v2
    softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink
    threshold
    """.split()
)
ACTIVATION_LAYERS = frozenset("ELU LeakyReLU PReLU ReLU Softmax ThresholdedReLU".split())
# `keras.ops` functions of one tensor, given as an activation.
_OPS_FUNCTIONS = ACTIVATIONS | frozenset(
    """
    abs absolute arctan ceil clip cos erf exp expm1 floor identity log log1p negative normalize
    reciprocal round rsqrt sign sin sqrt square
    """.split()
)

# Keras's own marks for what JSON lacks. Each loader turns them into values: lists, slices, arrays.
MARKERS = frozenset(
    """
    __bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__ __tuple__ TensorShape
    """.split()
)

_PREPROCESSING = frozenset(
    """
    CategoryEncoding CenterCrop Discretization HashedCrossing Hashing Normalization RandomContrast
    RandomCrop RandomFlip RandomHeight RandomRotation RandomTranslation RandomWidth RandomZoom
    Rescaling Resizing
    """.split()
)
# Module as Keras exports it -> classes. tf_keras exports under the same names.
_PUBLIC: dict[str, frozenset[str]] = {
    "keras": frozenset(
        """
        DTypePolicy FloatDTypePolicy Initializer Layer Model Quantizer Regularizer Sequential
        """.split()
    ),
    "keras.__internal__.layers": frozenset({"BaseRandomLayer"}),
    "keras.layers": LAYERS,
    "keras.layers.experimental": frozenset(
        "EinsumDense RandomFourierFeatures SyncBatchNormalization".split()
    ),
    "keras.layers.experimental.preprocessing": _PREPROCESSING,
    "keras.models": MODELS,
    "keras.initializers": INITIALIZERS,
    "keras.regularizers": REGULARIZERS,
    "keras.constraints": CONSTRAINTS,
    "keras.quantizers": QUANTIZERS,
    "keras.dtype_policies": POLICIES,
    "keras.losses": LOSSES,
    "keras.metrics": METRICS,
    "keras.mixed_precision": frozenset(
        "DTypePolicy FloatDTypePolicy LossScaleOptimizer Policy".split()
    ),
    "keras.optimizers": OPTIMIZERS,
    "keras.optimizers.legacy": OPTIMIZERS,
    "keras.optimizers.schedules": SCHEDULES,
    "keras.random": frozenset({"SeedGenerator"}),
}
# Module below `keras.src`, of Keras 3 or tf_keras, that defines them -> classes, where the file is
# not called so.
_DEFINED = {
    "activations.activations": "Mish ReLU",
    "applications.convnext": "LayerScale StochasticDepth",
    "applications.inception_resnet_v2": "CustomScaleLayer",
    "dtype_policies.dtype_policy_map": "DTypePolicyMap",
    "engine.base_layer": "AddLoss AddMetric BaseRandomLayer Layer",
    "engine.functional": "Functional",
    "engine.input_layer": "InputLayer",
    "engine.sequential": "Sequential",
    "engine.training": "Model",
    "initializers.initializer": "Initializer",
    "layers.attention.grouped_query_attention": "GroupedQueryAttention",
    "layers.layer": "Layer",
    "layers.normalization.batch_normalization": "BatchNormalizationBase SyncBatchNormalization",
    "layers.normalization.batch_normalization_v1": "BatchNormalization",
    "layers.preprocessing.image_preprocessing.clahe": (
        "ContrastLimitedAdaptiveHistogramEqualization"
    ),
    "layers.preprocessing.image_preprocessing.max_num_bounding_box": "MaxNumBoundingBoxes",
    "layers.regularization.spatial_dropout": "SpatialDropout1D SpatialDropout2D SpatialDropout3D",
    "layers.rnn.base_rnn": "RNN",
    "layers.rnn.base_wrapper": "Wrapper",
    "layers.rnn.gru": "GRUCell",
    "layers.rnn.gru_v1": "GRU GRUCell",
    "layers.rnn.lstm": "LSTMCell",
    "layers.rnn.lstm_v1": "LSTM LSTMCell",
    "layers.rnn.simple_rnn": "SimpleRNNCell",
    "layers.kernelized": "RandomFourierFeatures",
    "legacy.layers": "AlphaDropout RandomHeight RandomWidth ThresholdedReLU",
    "models.functional": "Functional",
    "models.model": "Model",
    "models.sequential": "Sequential",
    "random.seed_generator": "SeedGenerator",
}
_SOURCES: dict[str, frozenset[str]] = {
    **{f"keras.src.{module}": frozenset(names.split()) for module, names in _DEFINED.items()},
    **{f"keras.src.ops.{module}": names for module, names in OPERATIONS.items()},
    "keras.src.constraints": CONSTRAINTS,
    "keras.src.constraints.constraints": CONSTRAINTS,
    "keras.src.dtype_policies.dtype_policy": POLICIES,
    "keras.src.initializers.constant_initializers": INITIALIZERS,
    "keras.src.initializers.initializers": INITIALIZERS,
    "keras.src.initializers.random_initializers": INITIALIZERS,
    "keras.src.layers.core.tf_op_layer": OP_LAYERS,
    "keras.src.layers.preprocessing.image_preprocessing": _PREPROCESSING | {"RandomBrightness"},
    "keras.src.mixed_precision.policy": POLICIES,
    "keras.src.quantizers.quantization_config": QUANTIZERS,
    "keras.src.quantizers.quantizers": QUANTIZERS | {"FakeQuantWithMinMaxVars"},
    "keras.src.regularizers": REGULARIZERS,
    "keras.src.regularizers.regularizers": REGULARIZERS,
}
_LAYER_FOLDERS = frozenset(
    """
    activation activations attention convolutional core locally_connected merging normalization
    pooling preprocessing preprocessing.image_preprocessing regularization reshaping rnn
    """.split()
)
_FUNCTIONS: dict[str, frozenset[str]] = {
    "builtins": ACTIVATIONS | LOSS_FUNCTIONS,
    "keras.losses": LOSS_FUNCTIONS,
    "keras.metrics": LOSS_FUNCTIONS,
    "keras.activations": ACTIVATIONS,
    "keras.src.activations": ACTIVATIONS,
    "keras.src.activations.activations": ACTIVATIONS,
    "keras.ops": _OPS_FUNCTIONS,
}
# What stands without a module is looked for in tables of one kind each: layers, initializers, ...
_BARE = (
    LAYERS
    | MODELS
    | OP_LAYERS
    | INITIALIZERS
    | REGULARIZERS
    | CONSTRAINTS
    | QUANTIZERS
    | POLICIES
    # Neither library finds an operation so; it says so better than we.
    | frozenset().union(*OPERATIONS.values())
    # The loss scales of Keras 2.3's policies; a policy is built without them.
    | frozenset("SeedGenerator DynamicLossScale FixedLossScale".split())
)

# Registered name in tf_keras -> module and class. Keras 3 registers none of its own.
REGISTERED = {
    "Custom>CustomScaleLayer": ("tf_keras.src.applications.inception_resnet_v2", "CustomScaleLayer")
}

# Other names of the same packages: of the whole, and of what they export.
_WHOLE = re.compile(r"\Atf_keras(?=\.|$)")
_EXPORTED = re.compile(r"\A(?:keras\.api|tf_keras\.api|tensorflow\.keras)(?=\.|$)")


def is_harmless_class(module: str | None, name: str) -> bool:
    """Whether both libraries take this for one of the listed classes, or know nothing of it."""
    if module is None:
        return name in _BARE
    if _EXPORTED.match(module):
        return name in _PUBLIC.get(_EXPORTED.sub("keras", module), ())
    module = _WHOLE.sub("keras", module)
    if name in _PUBLIC.get(module, ()) or name in _SOURCES.get(module, ()):
        return True
    return name in LAYERS and _is_file_of_layer(module, name)


def is_harmless_function(module: str, name: str) -> bool:
    """Whether a function computes, and nothing else."""
    return name in _FUNCTIONS.get(_WHOLE.sub("keras", _EXPORTED.sub("keras", module)), ())


def _is_file_of_layer(module: str, name: str) -> bool:
    """Whether the module is `keras.src.layers.FOLDER.FILE` with a file called like the layer."""
    if not module.startswith("keras.src.layers."):
        return False
    folder, _, file = module.removeprefix("keras.src.layers.").rpartition(".")
    return folder in _LAYER_FOLDERS and file.replace("_", "") == name.lower()
