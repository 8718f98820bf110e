"""The TensorFlow functions that a Keras 2 model may call by name (``TFOpLambda``).

tf_keras looks a name up among TensorFlow's exported symbols and calls what it finds, with arguments
from the file. What is listed as harmless computes tensors from tensors and numbers: it takes no
Python function, touches no file and no variable, prints nothing.
"""

from __future__ import annotations

# Namespace -> functions that only compute. "" holds what lies in `tf` itself.
_COMPUTES: dict[str, str] = {
    "": """
        abs acos acosh add add_n approx_top_k argmax argmin argsort asin asinh atan atan2 atanh
        batch_to_space bitcast boolean_mask broadcast_dynamic_shape broadcast_static_shape
        broadcast_to cast clip_by_global_norm clip_by_norm clip_by_value complex concat constant
        convert_to_tensor cos cosh cumsum divide dynamic_partition dynamic_stitch eig eigvals einsum
        ensure_shape equal exp expand_dims extract_volume_patches eye fftnd fill floor gather
        gather_nd greater greater_equal guarantee_const histogram_fixed_width
        histogram_fixed_width_bins identity identity_n ifftnd irfftnd less less_equal linspace
        logical_and logical_not logical_or matmul matrix_square_root maximum meshgrid minimum
        multiply negative no_op norm not_equal one_hot ones ones_like pad parallel_stack pow range
        rank realdiv reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min
        reduce_prod reduce_sum repeat required_space_to_batch_paddings reshape reverse
        reverse_sequence rfftnd roll round saturate_cast scalar_mul scatter_nd searchsorted
        sequence_mask shape shape_n sigmoid sign sin sinh size slice sort space_to_batch
        space_to_batch_nd split sqrt square squeeze stack stop_gradient strided_slice subtract tan
        tanh tensor_scatter_nd_add tensor_scatter_nd_max tensor_scatter_nd_min tensor_scatter_nd_sub
        tensor_scatter_nd_update tensordot tile transpose truediv truncatediv truncatemod tuple
        unique unique_with_counts unravel_index unstack where zeros zeros_like
        """,
    "__operators__": "add eq getitem ne ragged_getitem",
    "bitwise": "bitwise_and bitwise_or bitwise_xor invert left_shift right_shift",
    "dtypes": "cast complex saturate_cast",
    "math": """
        abs accumulate_n acos acosh add add_n angle approx_max_k approx_min_k argmax argmin asin
        asinh atan atan2 atanh bessel_i0 bessel_i0e bessel_i1 bessel_i1e betainc bincount ceil
        confusion_matrix conj cos cosh count_nonzero cumprod cumsum cumulative_logsumexp digamma
        divide divide_no_nan equal erf erfc erfcinv erfinv exp expm1 floor floordiv floormod greater
        greater_equal igamma igammac imag in_top_k invert_permutation is_finite is_inf is_nan
        is_non_decreasing is_strictly_increasing l2_normalize lbeta less less_equal lgamma log log1p
        log_sigmoid log_softmax logical_and logical_not logical_or logical_xor maximum minimum mod
        multiply multiply_no_nan ndtri negative nextafter not_equal polygamma polyval pow real
        reciprocal reciprocal_no_nan reduce_all reduce_any reduce_euclidean_norm reduce_logsumexp
        reduce_max reduce_mean reduce_min reduce_prod reduce_std reduce_sum reduce_variance rint
        round rsqrt scalar_mul segment_max segment_mean segment_min segment_prod segment_sum sigmoid
        sign sin sinh sobol_sample softmax softplus softsign sqrt square squared_difference subtract
        tan tanh top_k truediv unsorted_segment_max unsorted_segment_mean unsorted_segment_min
        unsorted_segment_prod unsorted_segment_sqrt_n unsorted_segment_sum xdivy xlog1py xlogy
        zero_fraction zeta
        """,
    "math.special": """
        bessel_i0 bessel_i0e bessel_i1 bessel_i1e bessel_j0 bessel_j1 bessel_k0 bessel_k0e bessel_k1
        bessel_k1e bessel_y0 bessel_y1 dawsn expint fresnel_cos fresnel_sin spence
        """,
    "nn": """
        approx_max_k approx_min_k atrous_conv2d atrous_conv2d_transpose avg_pool avg_pool1d
        avg_pool2d avg_pool3d batch_norm_with_global_normalization batch_normalization bias_add
        conv1d conv1d_transpose conv2d conv2d_transpose conv3d conv3d_transpose conv_transpose
        convolution crelu depth_to_space depthwise_conv2d depthwise_conv2d_backprop_filter
        depthwise_conv2d_backprop_input dilation2d dropout elu embedding_lookup erosion2d
        fractional_avg_pool fractional_max_pool gelu in_top_k isotonic_regression l2_loss
        l2_normalize leaky_relu local_response_normalization log_poisson_loss log_softmax lrn
        max_pool max_pool1d max_pool2d max_pool3d max_pool_with_argmax moments normalize_moments
        pool relu relu6 selu separable_conv2d sigmoid sigmoid_cross_entropy_with_logits silu softmax
        softmax_cross_entropy_with_logits softplus softsign space_to_batch space_to_depth
        sparse_softmax_cross_entropy_with_logits sufficient_statistics swish tanh top_k
        weighted_cross_entropy_with_logits weighted_moments zero_fraction
        """,
    "nn.experimental": "stateless_dropout",
    "linalg": """
        adjoint band_part banded_triangular_solve cholesky cholesky_solve cross det diag diag_part
        eig eigh eigh_tridiagonal eigvals eigvalsh einsum expm eye global_norm inv l2_normalize
        logdet logm lstsq lu lu_matrix_inverse lu_reconstruct lu_solve matmul matrix_rank
        matrix_transpose matvec norm normalize pinv qr set_diag slogdet solve sqrtm svd tensor_diag
        tensor_diag_part tensordot trace triangular_solve tridiagonal_matmul tridiagonal_solve
        """,
    "image": """
        adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_jpeg_quality
        adjust_saturation central_crop combined_non_max_suppression convert_image_dtype
        crop_and_resize crop_to_bounding_box draw_bounding_boxes extract_glimpse extract_patches
        flip_left_right flip_up_down generate_bounding_box_proposals grayscale_to_rgb hsv_to_rgb
        image_gradients non_max_suppression non_max_suppression_overlaps non_max_suppression_padded
        non_max_suppression_with_scores pad_to_bounding_box per_image_standardization psnr
        random_brightness random_contrast random_crop random_flip_left_right random_flip_up_down
        random_hue random_jpeg_quality random_saturation resize resize_with_crop_or_pad
        resize_with_pad rgb_to_grayscale rgb_to_hsv rgb_to_yiq rgb_to_yuv rot90
        sample_distorted_bounding_box sobel_edges ssim ssim_multiscale stateless_random_brightness
        stateless_random_contrast stateless_random_crop stateless_random_flip_left_right
        stateless_random_flip_up_down stateless_random_hue stateless_random_jpeg_quality
        stateless_random_saturation stateless_sample_distorted_bounding_box total_variation
        transpose yiq_to_rgb yuv_to_rgb
        """,
    "signal": """
        dct fft fft2d fft3d fftnd fftshift hamming_window hann_window idct ifft ifft2d ifft3d ifftnd
        ifftshift irfft irfft2d irfft3d irfftnd kaiser_bessel_derived_window kaiser_window
        linear_to_mel_weight_matrix mfccs_from_log_mel_spectrograms overlap_and_add rfft rfft2d
        rfft3d rfftnd vorbis_window
        """,
    "random": """
        categorical gamma normal poisson shuffle stateless_binomial stateless_categorical
        stateless_gamma stateless_normal stateless_parameterized_truncated_normal stateless_poisson
        stateless_truncated_normal stateless_uniform truncated_normal uniform
        """,
    "keras.activations": """
        elu exponential gelu hard_sigmoid linear mish relu selu sigmoid softmax softplus softsign
        swish tanh
        """,
    "keras.backend": """
        abs all any argmax argmin batch_dot batch_flatten batch_normalization bias_add cast clip
        concatenate conv1d conv2d conv2d_transpose conv3d cos cumprod cumsum depthwise_conv2d dot
        dropout elu equal exp expand_dims flatten gather greater greater_equal hard_sigmoid
        l2_normalize less less_equal log max maximum mean min minimum not_equal one_hot ones_like
        permute_dimensions pool2d pool3d pow prod relu repeat repeat_elements reshape resize_images
        resize_volumes reverse round separable_conv2d shape sigmoid sign sin softmax softplus
        softsign spatial_2d_padding spatial_3d_padding sqrt square squeeze stack std stop_gradient
        sum tanh temporal_padding tile transpose var zeros_like
        """,
    "quantization": """
        dequantize fake_quant_with_min_max_args fake_quant_with_min_max_vars
        fake_quant_with_min_max_vars_per_channel quantize quantize_and_dequantize
        quantize_and_dequantize_v2 quantized_concat
        """,
}

# What only `tf.compat.v1` has; the names above are there too, where TensorFlow 1 had them.
_COMPUTES_V1: dict[str, str] = {
    "": """
        accumulate_n angle arg_max arg_min batch_gather batch_to_space_nd betainc bincount ceil
        cholesky cholesky_solve clip_by_average_norm confusion_matrix conj count_nonzero cross
        cumprod depth_to_space dequantize diag diag_part digamma div div_no_nan erf erfc expm1
        extract_image_patches fake_quant_with_min_max_args fake_quant_with_min_max_vars
        fake_quant_with_min_max_vars_per_channel fft fft2d fft3d floor_div floordiv floormod
        global_norm ifft ifft2d ifft3d igamma igammac imag invert_permutation is_finite is_inf
        is_nan is_non_decreasing is_strictly_increasing lbeta lgamma lin_space log log1p log_sigmoid
        logical_xor matrix_band_part matrix_determinant matrix_diag matrix_diag_part matrix_inverse
        matrix_set_diag matrix_solve matrix_solve_ls matrix_transpose matrix_triangular_solve mod
        multinomial polygamma qr quantize quantize_v2 quantized_concat random_crop random_gamma
        random_normal random_poisson random_shuffle random_uniform real reciprocal reverse_v2 rint
        rsqrt segment_max segment_mean segment_min segment_prod segment_sum self_adjoint_eig
        self_adjoint_eigvals setdiff1d space_to_depth squared_difference svd tensor_scatter_add
        tensor_scatter_sub tensor_scatter_update to_bfloat16 to_complex128 to_complex64 to_double
        to_float to_int32 to_int64 trace truncated_normal unsorted_segment_max unsorted_segment_mean
        unsorted_segment_min unsorted_segment_prod unsorted_segment_sqrt_n unsorted_segment_sum
        where_v2 zeta
        """,
    "nn": """
        avg_pool_v2 conv2d_backprop_filter conv2d_backprop_input conv3d_backprop_filter
        conv3d_backprop_filter_v2 depthwise_conv2d_native depthwise_conv2d_native_backprop_filter
        depthwise_conv2d_native_backprop_input fused_batch_norm max_pool_v2 quantized_avg_pool
        quantized_conv2d quantized_max_pool quantized_relu_x relu_layer
        softmax_cross_entropy_with_logits_v2 xw_plus_b
        """,
    "linalg": "transpose",
    "image": """
        extract_image_patches resize_area resize_bicubic resize_bilinear
        resize_image_with_crop_or_pad resize_image_with_pad resize_images resize_nearest_neighbor
        transpose_image
        """,
    "manip": "batch_to_space_nd gather_nd reshape reverse roll scatter_nd space_to_batch_nd tile",
    "random": "multinomial stateless_multinomial",
    "spectral": """
        dct fft fft2d fft3d idct ifft ifft2d ifft3d irfft irfft2d irfft3d rfft rfft2d rfft3d
        """,
}


def _full(table: dict[str, str]) -> frozenset[str]:
    return frozenset(
        f"{namespace}.{name}" if namespace else name
        for namespace, names in table.items()
        for name in names.split()
    )


_FULL = _full(_COMPUTES)
_FULL_V1 = _FULL | _full(_COMPUTES_V1)


def only_computes(function: str) -> bool:
    """Whether a name is that of a TensorFlow function that computes, and does nothing else."""
    if function.startswith("compat.v1."):
        return function.removeprefix("compat.v1.") in _FULL_V1
    return function in _FULL
