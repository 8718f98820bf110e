"""TensorFlow operations that a network is made of. All others are refused by name."""

from __future__ import annotations

# None of these opens a file, a connection or a process, or calls back into Python: they turn
# tensors into tensors. Their names are those of TensorFlow's registry (tests look them up there).
ARITHMETIC = frozenset(
    """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 AdjustContrastv2 AdjustHue AdjustSaturation All
    Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2 Atanh AvgPool AvgPool3D
    BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchNormWithGlobalNormalization BatchToSpace
    BatchToSpaceND BesselI0e BesselI1e BiasAdd BiasAddV1 Bitcast BitwiseAnd BitwiseOr BitwiseXor
    BroadcastArgs BroadcastGradientArgs BroadcastTo Bucketize Cast Ceil CheckNumerics
    CheckNumericsV2 Cholesky ClipByValue CombinedNonMaxSuppression Complex ComplexAbs Concat
    ConcatOffset ConcatV2 Conj Conv Conv2D Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D
    Conv3DBackpropInputV2 Cos Cosh CropAndResize Cross Cumprod Cumsum CumulativeLogsumexp
    DataFormatDimMap DataFormatVecPermute DepthToSpace DepthwiseConv2dNative
    DepthwiseConv2dNativeBackpropInput Dequantize Diag DiagPart Digamma Dilation2D Div DivNoNan
    DynamicPartition DynamicStitch Einsum Elu Empty EnsureShape Equal Erf Erfc Erfinv
    EuclideanNorm Exp ExpandDims Expm1 ExtractGlimpse ExtractGlimpseV2 ExtractImagePatches FFT
    FFT2D FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill
    Floor FloorDiv FloorMod FractionalAvgPool FractionalMaxPool FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D Gather GatherNd GatherV2 Greater
    GreaterEqual HSVToRGB HistogramFixedWidth IFFT IFFT2D IRFFT IRFFT2D Igamma Igammac Imag
    ImageProjectiveTransformV2 ImageProjectiveTransformV3 InTopK InTopKV2 InplaceAdd InplaceSub
    InplaceUpdate Inv Invert InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu LeftShift
    Less LessEqual Lgamma LinSpace Log Log1p LogMatrixDeterminant LogSoftmax LogicalAnd LogicalNot
    LogicalOr MatMul MatrixBandPart MatrixDeterminant MatrixDiag MatrixDiagPart MatrixDiagPartV2
    MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixInverse MatrixSetDiag MatrixSetDiagV2
    MatrixSetDiagV3 MatrixSolve MatrixSquareRoot MatrixTriangularSolve Max MaxPool MaxPool3D
    MaxPoolV2 MaxPoolWithArgmax Maximum Mean Min Minimum MirrorPad Mod Mul MulNoNan Ndtri Neg
    NextAfter NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4
    NonMaxSuppressionV5 NotEqual NthElement OneHot OnesLike Pack Pad PadV2 ParallelConcat
    ParallelDynamicStitch Polygamma PopulationCount Pow Prod Qr QuantizeAndDequantize
    QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4
    QuantizeDownAndShrinkRange QuantizeV2 QuantizedAdd QuantizedAvgPool QuantizedBiasAdd
    QuantizedConcat QuantizedConv2D QuantizedMatMul QuantizedMaxPool QuantizedMul QuantizedRelu
    QuantizedRelu6 QuantizedReshape QuantizedResizeBilinear RFFT RFFT2D RGBToHSV Range Rank Real
    RealDiv Reciprocal Relu Relu6 RequantizationRange Requantize Reshape ResizeArea ResizeBicubic
    ResizeBilinear ResizeNearestNeighbor Reverse ReverseSequence ReverseV2 RightShift Rint Roll
    Round Rsqrt ScaleAndTranslate ScatterNd ScatterNdNonAliasingAdd SegmentMax SegmentMean
    SegmentMin SegmentProd SegmentSum Select SelectV2 SelfAdjointEigV2 Selu Shape ShapeN Sigmoid
    Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToBatch SpaceToBatchND SpaceToDepth
    SparseSoftmaxCrossEntropyWithLogits SoftmaxCrossEntropyWithLogits SparseToDense Split SplitV
    Sqrt Square SquaredDifference Squeeze StridedSlice Sub Sum Svd Tan Tanh TensorScatterAdd
    TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate
    Tile TopK TopKV2 Transpose ConjugateTranspose TruncateDiv TruncateMod Unique UniqueV2
    UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UnsortedSegmentMax UnsortedSegmentMin
    UnsortedSegmentProd UnsortedSegmentSum Where Xdivy Xlog1py Xlogy ZerosLike _FusedConv2D
    _FusedMatMul
    """.split()
)
# What a training step saved along with the network adds.
_GRADIENTS = frozenset(
    """
    AvgPoolGrad BiasAddGrad Conv2DBackpropFilter Conv2DBackpropFilterV2
    DepthwiseConv2dNativeBackpropFilter EluGrad FakeQuantWithMinMaxArgsGradient
    FakeQuantWithMinMaxVarsGradient FakeQuantWithMinMaxVarsPerChannelGradient FusedBatchNormGrad
    FusedBatchNormGradV2 FusedBatchNormGradV3 InvGrad LRNGrad LeakyReluGrad MaxPoolGrad
    MaxPoolGradV2 MaxPoolGradWithArgmax MirrorPadGrad QuantizeAndDequantizeV4Grad ReciprocalGrad
    Relu6Grad ReluGrad ResizeBicubicGrad ResizeBilinearGrad ResizeNearestNeighborGrad RsqrtGrad
    SeluGrad SigmoidGrad SoftplusGrad SoftsignGrad SqrtGrad StridedSliceGrad TanhGrad
    ApplyAdam ApplyGradientDescent ApplyMomentum ApplyRMSProp ResourceApplyAdaMax
    ResourceApplyAdagrad ResourceApplyAdagradV2 ResourceApplyAdam ResourceApplyAdamWithAmsgrad
    ResourceApplyAdadelta ResourceApplyFtrlV2 ResourceApplyGradientDescent
    ResourceApplyKerasMomentum ResourceApplyMomentum ResourceApplyRMSProp
    """.split()
)
_STATE = frozenset(
    """
    Const GuaranteeConst NoOp ControlTrigger Identity IdentityN Snapshot StopGradient
    PreventGradient Placeholder PlaceholderV2 PlaceholderWithDefault FakeParam DeviceIndex
    VarHandleOp ReadVariableOp AssignVariableOp AssignAddVariableOp AssignSubVariableOp
    VarIsInitializedOp VariableShape DisableCopyOnRead DestroyResourceOp ResourceGather
    ResourceGatherNd ResourceScatterAdd ResourceScatterUpdate ResourceScatterNdUpdate
    ResourceStridedSliceAssign Variable VariableV2 TemporaryVariable DestroyTemporaryVariable
    IsVariableInitialized Assign AssignAdd AssignSub CountUpTo ScatterAdd ScatterUpdate
    PartitionedCall StatefulPartitionedCall If StatelessIf While StatelessWhile Case StatelessCase
    ToBool Switch RefSwitch Merge Enter RefEnter Exit NextIteration LoopCond Assert
    TensorListReserve TensorListFromTensor TensorListGetItem TensorListSetItem TensorListStack
    TensorListLength TensorListPushBack TensorListPopBack TensorListElementShape TensorListConcatV2
    TensorListGather TensorListResize TensorListScatterV2 TensorListSplit EmptyTensorList
    TensorArrayV3 TensorArrayReadV3 TensorArrayWriteV3 TensorArrayGatherV3 TensorArrayScatterV3
    TensorArrayConcatV3 TensorArraySplitV3 TensorArraySizeV3 TensorArrayCloseV3
    CudnnRNN CudnnRNNV2 CudnnRNNV3 CudnnRNNBackprop CudnnRNNBackpropV2 CudnnRNNBackpropV3
    CudnnRNNParamsSize CudnnRNNCanonicalToParams CudnnRNNCanonicalToParamsV2
    CudnnRNNParamsToCanonical CudnnRNNParamsToCanonicalV2
    RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal RandomShuffle
    RngReadAndSkip StatelessRandomUniform StatelessRandomUniformInt StatelessRandomUniformV2
    StatelessRandomUniformIntV2 StatelessRandomUniformFullIntV2 StatelessRandomNormal
    StatelessRandomNormalV2 StatelessTruncatedNormal StatelessTruncatedNormalV2
    StatelessRandomGetKeyCounter StatelessRandomGetAlg StatelessRandomGetKeyCounterAlg
    """.split()
)
# Names only: the checkpoint's own file names are put together with them, and examples parsed.
_TEXT = frozenset(
    "StringJoin ShardedFilename StaticRegexFullMatch ParseExample ParseExampleV2".split()
)
#: What may stand anywhere in a graph.
ALLOWED = ARITHMETIC | _GRADIENTS | _STATE | _TEXT

#: What only the part that saves or restores the checkpoint may hold: it is in every SavedModel,
#: and loading one runs none of it but the restoring of TensorFlow 1.
CHECKPOINT = frozenset("SaveV2 RestoreV2 MergeV2Checkpoints".split())
