"""Which operators an .onnx model may be made of: those that only compute, by domain and name."""

from __future__ import annotations

# Of ONNX itself, every version, and what onnxruntime knows under no domain's name.
_STANDARD = """
    Abs Acos Acosh Add Affine AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention
    AveragePool BatchNormalization Bernoulli BitCast BitShift BitwiseAnd BitwiseNot
    BitwiseOr BitwiseXor BlackmanWindow Cast CastLike CausalConvWithState Ceil Celu
    CenterCropPad Clip Col2Im Compress Concat ConcatFromSequence Constant ConstantOfShape
    Conv ConvInteger ConvTranspose Cos Cosh Crop CumProd CumSum DFT DeformConv DepthToSpace
    DequantizeLinear Det Div Dropout DynamicQuantizeLinear DynamicSlice Einsum Elu Equal Erf
    Exp Expand EyeLike Flatten Floor GRU GRUUnit Gather GatherElements GatherND Gelu Gemm
    GivenTensorFill GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
    GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax
    Identity If ImageScaler InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization
    LeakyRelu Less LessOrEqual LinearAttention Log LogSoftmax Loop LpNormalization LpPool
    MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization
    MelWeightMatrix Min Mish Mod Mul Multinomial Neg NegativeLogLikelihoodLoss
    NonMaxSuppression NonZero Not OneHot Optional OptionalGetElement OptionalHasElement Or
    PRelu Pad ParametricSoftplus Pow QLinearConv QLinearMatMul QuantizeLinear
    RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range
    Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign
    RotaryEmbedding Round STFT Scale ScaledTanh Scan Scatter ScatterElements ScatterND Selu
    SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength
    SequenceMap Shape Shrink Sigmoid Sign SimplifiedLayerNormalization Sin Sinh Size Slice
    Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split SplitToSequence
    Sqrt Squeeze Sub Sum SwiGLU Swish Tan Tanh TensorScatter ThresholdedRelu Tile TopK
    Transpose Trilu Unique Unsqueeze Upsample Where Xor
"""

# Of texts and encoded images, which no embedding is made of; what onnxruntime and TensorRT put
# into graphs while they run them.
_STANDARD_REFUSED = """
    DisentangledAttention_TRT EfficientNMS_TRT ImageDecoder MemcpyFromHost MemcpyToHost
    MultilevelCropAndResize_TRT PyramidROIAlign_TRT RegexFullMatch StringConcat
    StringNormalizer StringSplit TfIdfVectorizer
"""

_CLASSICAL = """
    ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LinearClassifier
    LinearRegressor Normalizer SVMClassifier SVMRegressor Scaler TreeEnsemble
    TreeEnsembleClassifier TreeEnsembleRegressor
"""

_CLASSICAL_REFUSED = """
    CastMap CategoryMapper DictVectorizer LabelEncoder OneHotEncoder ZipMap
"""

# What onnxruntime's optimiser and quantiser write, and exporters for its fused kernels.
_MICROSOFT = """
    Attention AttnLSTM BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu
    BitmaskBiasDropout BitmaskDropout BranchwiseRMSNorm CDist ComplexMul ComplexMulConj
    ConvTransposeWithDynamicPads CropAndResize DequantizeBFP DequantizeLinear
    DequantizeWithOrder DynamicQuantizeLSTM DynamicQuantizeMatMul EmbedLayerNormalization
    ExpandDims FastGelu FusedConv FusedGemm FusedMatMul FusedMatMulActivation GatedAdd
    GatedRMSNorm GatedRelativePositionBias GatherND Gelu GemmFastGelu GemmFloat8 GridSample
    GroupNorm Inverse Irfft IsAllFinite LongformerAttention MatMulBnb4 MatMulFpQ4
    MatMulInteger16 MatMulIntegerToFloat MatMulNBits MaxpoolWithMask MulInteger
    MultiHeadAttention NhwcConv NhwcFusedConv NhwcMaxPool PackedAttention
    PackedMultiHeadAttention Pad QAttention QEmbedLayerNormalization QGemm QLinearAdd
    QLinearAveragePool QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu
    QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere
    QOrderedAttention QOrderedGelu QOrderedLayerNormalization QOrderedLongformerAttention
    QOrderedMatMul QuantizeBFP QuantizeLinear QuantizeWithOrder QuickGelu Range
    ReduceSumInteger RelativePositionBias RemovePadding RestorePadding Rfft RotaryEmbedding
    ScaledSiLU SkipGroupNorm SkipLayerNormalization SkipSimplifiedLayerNormalization
    SparseToDenseMatMul TransposeMatMul Trilu Unique
"""

# EPContext and Snpe hand a file's bytes, or a file, to a device's own compiler; the others are of
# texts and of language models.
_MICROSOFT_REFUSED = """
    BeamSearch BifurcationDetector CausalConvWithState DecoderAttention
    DecoderMaskedMultiHeadAttention DecoderMaskedSelfAttention DynamicSparseAttention
    DynamicTimeWarping EPContext EngramGate GatedDeltaNet GatherBlockQuantized
    GemmaRotaryEmbedding GreedySearch GroupQueryAttention HyperConnectionPostMix
    HyperConnectionPreMix LinearAttention LinearAttentionGate MRotaryEmbedding
    MatMulBlockQuantizedFp4Weight MatMulBlockQuantizedFp8Weight MatMulNBitsMlp
    MatMulNBitsQkv MoE MurmurHash3 NGramHashMapping NGramRepeatBlock
    PackedSparseAttentionIndexer PagedAttention QMoE SampleOp Sampling Snpe SparseAttention
    SparseAttentionIndexer SparsePagedAttention Tokenizer TorchEmbedding UnfoldTensor
    VarlenCausalConvWithState VarlenNGramHashMapping WhisperBeamSearch WordConvEmbedding
"""

# Layouts of onnxruntime's own, in models that it was told to save optimised.
_BLOCKED = """
    AveragePool Conv GlobalAveragePool GlobalMaxPool MaxPool ReorderInput ReorderOutput
    Upsample
"""
_CHANNELS_LAST = """
    AveragePool BatchNormalization Conv ConvTranspose DepthToSpace GlobalAveragePool
    GlobalLpPool GlobalMaxPool GridSample InstanceNormalization LRN LpPool MaxPool MaxUnpool
    QLinearAveragePool QLinearConv QLinearConvTranspose Resize SpaceToDepth
"""

_TRAINING_REFUSED = "Adagrad Adam Gradient Momentum"

#: Domain -> operators that are run. "" is ONNX's own, which "ai.onnx" names too.
ALLOWED: dict[str, frozenset[str]] = {
    "": frozenset(_STANDARD.split()),
    "ai.onnx.ml": frozenset(_CLASSICAL.split()),
    "ai.onnx.preview": frozenset({"FlexAttention"}),
    "com.microsoft": frozenset(_MICROSOFT.split()),
    "com.microsoft.nchwc": frozenset(_BLOCKED.split()),
    "com.ms.internal.nhwc": frozenset(_CHANNELS_LAST.split()),
}

#: Domain -> operators that were looked at and are not run. What is in neither table is not run
#: either; a test tells of new ones.
REFUSED: dict[str, frozenset[str]] = {
    "": frozenset(_STANDARD_REFUSED.split()),
    "ai.onnx.ml": frozenset(_CLASSICAL_REFUSED.split()),
    "ai.onnx.preview.training": frozenset(_TRAINING_REFUSED.split()),
    "com.microsoft": frozenset(_MICROSOFT_REFUSED.split()),
}


def domain_of(name: str) -> str:
    """A domain by the name that the tables have."""
    return "" if name == "ai.onnx" else name


def is_allowed(domain: str, operator: str) -> bool:
    """Whether an operator of a domain is one that only computes."""
    return operator in ALLOWED.get(domain_of(domain), frozenset())
