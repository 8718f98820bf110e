"""Operations that an OpenVINO model may be made of: those of its own opsets that only compute."""

from __future__ import annotations

#: By the names that an .xml has, of opset1 to the newest; four differ from the opset's own (Const,
#: PReLU, ReLU, SoftMax). None opens a file or runs what is not
#: OpenVINO's own; one that is read from an extension has another version than "opsetN".
ALLOWED = frozenset(
    """
    Abs Acos Acosh AdaptiveAvgPool AdaptiveMaxPool Add Asin Asinh Atan Atanh AvgPool
    BatchNormInference BatchToSpace BinaryConvolution BitwiseAnd BitwiseLeftShift BitwiseNot
    BitwiseOr BitwiseRightShift BitwiseXor Broadcast Bucketize CTCGreedyDecoder
    CTCGreedyDecoderSeqLen CTCLoss Ceiling Clamp Col2Im Concat Const Convert ConvertLike
    ConvertPromoteTypes Convolution ConvolutionBackpropData Cos Cosh CumSum DFT
    DeformableConvolution DeformablePSROIPooling DepthToSpace DetectionOutput Divide Einsum Elu
    EmbeddingBagOffsets EmbeddingBagOffsetsSum EmbeddingBagPacked EmbeddingBagPackedSum
    EmbeddingSegmentsSum Equal Erf ErfInv Exp ExtractImagePatches Eye FakeConvert FakeQuantize Floor
    FloorMod GRN GRUCell GRUSequence Gather GatherElements GatherND GatherTree Gelu
    GenerateProposals Greater GreaterEqual GridSample GroupConvolution
    GroupConvolutionBackpropData GroupNormalization GroupedMatMul HSigmoid HSwish HardSigmoid
    I420toBGR I420toRGB IDFT IRDFT ISTFT Identity Interpolate Inverse IsFinite IsInf IsNaN LRN
    LSTMCell LSTMSequence Less LessEqual Log LogSoftmax LogicalAnd LogicalNot LogicalOr LogicalXor
    MVN MatMul MatrixNms MaxPool Maximum Minimum Mish Mod MulticlassNms Multinomial Multiply
    NMSRotated NV12toBGR NV12toRGB Negative NonMaxSuppression NonZero NormalizeL2 NotEqual OneHot
    PReLU PSROIPooling Pad Parameter Power PriorBox PriorBoxClustered Proposal RDFT RNNCell
    RNNSequence ROIAlign ROIAlignRotated ROIPooling RandomUniform Range ReduceL1 ReduceL2
    ReduceLogicalAnd ReduceLogicalOr ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum RegionYolo
    ReLU ReorgYolo Reshape Result ReverseSequence Roll Round STFT ScaledDotProductAttention
    ScatterElementsUpdate ScatterNDUpdate ScatterUpdate SearchSorted SegmentMax Select Selu ShapeOf
    ShuffleChannels Sigmoid Sign Sin Sinh Slice SliceScatter SoftMax SoftPlus SoftSign SpaceToBatch
    SpaceToDepth SparseFillEmptyRows Split Sqrt SquaredDifference Squeeze StridedSlice Subtract
    Swish Tan Tanh Tile TopK Transpose Unique Unsqueeze VariadicSplit
    """.split()
)

#: Looked at and not run: what keeps values from one batch to the next, texts, and what runs a
#: network inside, which no face network is made of. A test tells of names in neither table.
REFUSED = frozenset(
    "Assign ReadValue StringTensorPack StringTensorUnpack If Loop TensorIterator".split()
)
