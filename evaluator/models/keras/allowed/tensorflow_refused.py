"""Why a TensorFlow function that a Keras 2 model calls by name is not harmless.

Nothing is let through or stopped by these tables: what is not in `tensorflow` is refused.
They say why in the message, and a test fails where a new TensorFlow has a function in neither.
"""

from __future__ import annotations

from evaluator.models.keras.allowed.tensorflow import only_computes

# Reason -> namespace -> functions there and below `compat.v1`. "" holds what lies in `tf` itself.
_REFUSED: dict[str, dict[str, str]] = {
    "takes a Python function": {
        "": """
            case cond custom_gradient foldl foldr function grad_pass_through map_fn
            nondifferentiable_batch_function numpy_function py_function recompute_grad scan
            switch_case variable_creator_scope vectorized_map while_loop py_func wrap_function
            make_template register_tensor_conversion_function variable_op_scope op_scope
            fixed_size_partitioner min_max_variable_partitioner variable_axis_size_partitioner
            no_regularizer
            """,
        "nn": """
            with_space_to_batch bidirectional_dynamic_rnn dynamic_rnn raw_rnn static_rnn
            static_bidirectional_rnn static_state_saving_rnn
            """,
        "nn.experimental": "general_dropout",
        "signal": "frame inverse_mdct inverse_stft inverse_stft_window_fn mdct stft",
        "linalg.experimental": "conjugate_gradient",
    },
    "runs a program of the accelerator's compiler": {
        "": """
            conv conv2d_backprop_filter_v2 conv2d_backprop_input_v2 xla_all_reduce
            xla_broadcast_helper xla_call_module xla_cluster_output xla_conv xla_conv_v2
            xla_custom_call xla_custom_call_v2 xla_dequantize xla_dot xla_dot_v2 xla_dynamic_slice
            xla_dynamic_update_slice xla_einsum xla_gather xla_if xla_key_value_sort xla_launch
            xla_launch_v2 xla_optimization_barrier xla_pad xla_recv xla_reduce xla_reduce_precision
            xla_reduce_scatter xla_reduce_window xla_remove_dynamic_dimension_size xla_replica_id
            xla_rng_bit_generator xla_scatter xla_select_and_scatter xla_self_adjoint_eig xla_send
            xla_set_bound xla_set_dynamic_dimension_size xla_sharding xla_sort
            xla_spmd_full_to_shard_shape xla_spmd_shard_to_full_shape xla_svd xla_variadic_reduce
            xla_variadic_reduce_v2 xla_variadic_sort xla_while
            """,
    },
    "loads a program": {
        "": "import_graph_def load_library load_op_library load_file_system_library",
    },
    "reads or writes files": {
        "": """
            audio_microfrontend d_tensor_restore_v2 matching_files print Print read_file write_file
            """,
        "nn": "fixed_unigram_candidate_sampler",
        "random": "fixed_unigram_candidate_sampler",
        "quantization.experimental": "quantize_saved_model",
    },
    "reads the bytes of other formats": {
        "": """
            decode_base64 decode_compressed decode_csv decode_json_example decode_raw
            deserialize_many_sparse encode_base64 make_ndarray make_tensor_proto parse_example
            parse_single_example parse_single_sequence_example parse_tensor serialize_many_sparse
            serialize_sparse serialize_tensor
            """,
        "image": """
            decode_and_crop_jpeg decode_bmp decode_gif decode_image decode_jpeg decode_jxl
            decode_png decode_webp encode_jpeg encode_png extract_jpeg_shape is_jpeg
            """,
    },
    "talks to other machines": {
        "": """
            check_pinned check_preemption configure_and_initialize_global_tpu copy_to_mesh
            copy_to_mesh_grad d_tensor_set_global_tpu_array delete_rpc_future_resource relayout
            relayout_like rpc_call rpc_check_status rpc_client rpc_get_value rpc_server
            rpc_server_register rpc_server_start shutdown_tpu_system
            """,
    },
    "changes variables or TensorFlow itself": {
        "": """
            NoGradient NotDifferentiable add_check_numerics_ops add_to_collection
            add_to_collections all_variables assert_variables_initialized assign assign_add
            assign_sub batch_scatter_update colocate_with container control_dependencies
            control_flow_v2_enabled count_up_to create_partitioned_variables delete_session_tensor
            device disable_control_flow_v2 disable_eager_execution disable_resource_variables
            disable_tensor_equality disable_v2_behavior disable_v2_tensorshape
            enable_control_flow_v2 enable_eager_execution enable_resource_variables
            enable_tensor_equality enable_v2_behavior enable_v2_tensorshape executing_eagerly
            executing_eagerly_outside_functions get_collection get_collection_ref
            get_current_name_scope get_default_graph get_default_session get_local_variable
            get_logger get_seed get_session_handle get_session_tensor get_variable
            get_variable_scope global_variables global_variables_initializer gradients group
            hessians init_scope initialize_all_tables initialize_all_variables
            initialize_local_variables initialize_variables inside_function is_variable_initialized
            local_variables local_variables_initializer model_variables moving_average_variables
            no_gradient placeholder placeholder_with_default report_uninitialized_variables
            reset_default_graph resource_variables_enabled scatter_add scatter_div scatter_max
            scatter_min scatter_mul scatter_nd_add scatter_nd_sub scatter_nd_update scatter_sub
            scatter_update set_random_seed tables_initializer trainable_variables
            variables_initializer
            """,
        "nn": "compute_average_loss scale_regularization_loss",
        "random": """
            create_rng_state get_global_generator get_seed set_global_generator set_random_seed
            set_seed
            """,
    },
    "computes no embedding": {
        "": """
            Assert as_dtype as_string assert_equal assert_greater assert_greater_equal
            assert_integer assert_less assert_less_equal assert_near assert_negative
            assert_non_negative assert_non_positive assert_none_equal assert_positive
            assert_proper_iterable assert_rank assert_rank_at_least assert_rank_in
            assert_same_float_dtype assert_scalar assert_type check_numerics
            convert_to_tensor_or_indexed_slices convert_to_tensor_or_sparse_tensor
            dimension_at_index dimension_value edit_distance
            fake_quant_with_min_max_args_gradient fake_quant_with_min_max_vars_gradient
            fake_quant_with_min_max_vars_per_channel_gradient fingerprint get_static_value
            is_numeric_tensor is_symbolic_tensor is_tensor ragged_fill_empty_rows
            ragged_fill_empty_rows_grad random_index_shuffle reduce_join regex_replace sparse_add
            sparse_concat sparse_fill_empty_rows sparse_mask sparse_matmul sparse_maximum
            sparse_merge sparse_minimum sparse_placeholder sparse_reduce_max
            sparse_reduce_max_sparse sparse_reduce_sum sparse_reduce_sum_sparse sparse_reorder
            sparse_reset_shape sparse_reshape sparse_retain sparse_segment_mean
            sparse_segment_sqrt_n sparse_segment_sum sparse_slice sparse_softmax sparse_split
            sparse_tensor_dense_matmul sparse_tensor_to_dense sparse_to_dense sparse_to_indicator
            sparse_transpose string_join string_split string_strip string_to_hash_bucket
            string_to_hash_bucket_fast string_to_hash_bucket_strong string_to_number substr
            timestamp type_spec_from_value verify_tensor_all_finite
            """,
        "dtypes": "as_dtype as_string",
        "nn": """
            all_candidate_sampler collapse_repeated compute_accidental_hits
            ctc_beam_search_decoder ctc_beam_search_decoder_v2 ctc_greedy_decoder ctc_loss
            ctc_loss_v2 ctc_unique_labels embedding_lookup_sparse
            learned_unigram_candidate_sampler log_uniform_candidate_sampler nce_loss
            safe_embedding_lookup_sparse sampled_softmax_loss uniform_candidate_sampler
            """,
        "quantization": """
            fake_quant_with_min_max_args_gradient fake_quant_with_min_max_vars_gradient
            fake_quant_with_min_max_vars_per_channel_gradient
            """,
        "random": """
            all_candidate_sampler fold_in learned_unigram_candidate_sampler
            log_uniform_candidate_sampler split uniform_candidate_sampler
            """,
        "random.experimental": """
            create_rng_state get_global_generator index_shuffle set_global_generator
            stateless_fold_in stateless_shuffle stateless_split
            """,
    },
}

# Namespaces of which nothing is harmless, or nothing belongs into a network that is evaluated.
_REFUSED_NAMESPACES: dict[str, str] = {
    "takes a Python function": "autodiff autograph data experimental nest ragged types",
    "runs a program of the accelerator's compiler": "lite mlir xla tpu",
    "reads or writes files": """
        app feature_column gfile io lookup profiler python_io queue raw_ops resource_loader
        saved_model summary train user_ops
        """,
    "reads the bytes of other formats": "audio strings",
    "talks to other machines": "distribute",
    "changes variables or TensorFlow itself": """
        __internal__ compat config debugging errors graph_util initializers logging
        mixed_precision sysconfig test
        """,
    "computes no embedding": "distributions layers losses metrics sets sparse version keras",
}


def why_refused(function: str) -> str | None:
    """Why a function is not harmless; None for one that is, or that no table knows."""
    if only_computes(function):
        return None
    name = function.removeprefix("compat.v1.")
    namespace, _, last = name.rpartition(".")
    for reason, names in _REFUSED.items():
        if last in names.get(namespace, "").split():
            return reason
    top = namespace.split(".")[0]
    for reason, namespaces in _REFUSED_NAMESPACES.items():
        if top in namespaces.split():
            return reason
    return None
