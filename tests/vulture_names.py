"""Names that only others use: frameworks, templates and callers of the package. For vulture."""

# Attributes that TensorFlow, Keras, NumPy, ONNX, ONNX Runtime and tf.lite read.
_.writeable
_.trainable
_.stop_training
_.optimizations
_.supported_types
_.supported_ops
_.representative_dataset
_.inference_input_type
_.inference_output_type
_.auto_mixed_precision_onednn_bfloat16
_.min_graph_nodes
_.log_severity_level
_.intra_op_num_threads
_.raw_data
_.nprobe

# Methods, and an argument, that Keras, Pillow, requests, zipfile, Python's imports and `with` call.
__getattr__
__dir__
_.seekable
_.readinto
_.compute_output_shape
_.from_config
_.on_train_batch_end
_.on_train_begin
_.on_epoch_begin
_.on_epoch_end
_._read_dpi_from_exif
_.get_redirect_target
trace
sample_weight

# What Click reads of a command.
_.help
help
_.shell_complete

# Where a checkpoint's rows end; read from JSON by key.
_.log_bytes
log_bytes
_.verification_bytes
verification_bytes

# Fields that Jinja's templates read, and that go into JSON by asdict.
cmc
_.explanation
_.svg
_.whisker
_.roc
_.det
_.histograms
_.cost

# Fields of figures that go into JSON by their names.
_.accuracy_ci95
_.auc_ci95
_.eer_ci95
_.d_prime_ci95
_.far_bound95
_.standard_error
_.eer_threshold
_.tar_ci95
_.tar_at_far_1e_3

# What a caller of the package reads; the commands need only part of it.
_._repr_html_
_.impostor_pairs
_.bin_p_values
_.id2

# Commands, which zoo/cli.py imports by their names.
list_models
show
rm
_.corrupt
_.demo
_.doctor
_.list_entries
_.project
_.pull
_.show_entry
_.train_entry
corrupt

# The first key of a result's JSON.
schema

# Fields of protocol buffers and of TFLite's schema that the fuzzer writes, and its formats, which
# are found by name.
_.doc_string
_.producer_name
_.tensorflow_version
_.meta_graph_version
_.node_id
_.local_name
_.asset_file_def_index
_.deprecatedBuiltinCode
_.customCode
_.shapeSignature
_.opcodeIndex
_.builtinOptionsType
_.builtinOptions
_.padding
_.strideH
_.strideW
_.dilationHFactor
_.dilationWFactor
_.elseSubgraphIndex
_.thenSubgraphIndex
KerasFormat
ResultFormat

# Fields of a template set's figures, which a result's JSON takes by their names, and what only
# Python asks.
non_mated
rank_ci95
tpir_at_fpir
rates_by_size

# Keys of `non_finite` in a result on a template set.
dropped_probes
missed_probes

# What Typer reads of a command.
_.__annotations__

# What `import training` offers.
presets

# Methods of `training.FaceBatches` for its users.
to_tf
with_mixup
with_teacher
_.load_whole
_.load_centers

# Keras's own names, which it calls or sets.
_.draw_state
_.compute_output_spec
_.finalize_variable_values
_.save_own_variables
_.load_own_variables
_.reset_state

# Of expat's parser, which calls them.
_.buffer_text
_.StartDoctypeDeclHandler
_.StartElementHandler
_.EndElementHandler
_.CharacterDataHandler
