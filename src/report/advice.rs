//! What a user can do about an op that stayed native. The reason says what is so; this says what helps.

/// Advice by what the reason says: the first line whose words are in it. `{op}` stands for the op type.
const BY_REASON: &[(&str, &str)] = &[
    (
        "excluded by segmenter option",
        "Nothing to do: the inputs and outputs of a model stay in TensorFlow.",
    ),
    (
        "minimum_segment_size of",
        "To have it converted, lower minimum_segment_size; an engine of so few ops may cost more than it saves.",
    ),
    (
        "TF_TRT_MAX_ALLOWED_ENGINES",
        "Raise TF_TRT_MAX_ALLOWED_ENGINES (0: no limit), or convert what parts the segments.",
    ),
    ("TF_TRT_OP_DENYLIST", "Take {op} out of TF_TRT_OP_DENYLIST."),
    ("TFTRT_CONTROL_FLOW", "Unset TFTRT_CONTROL_FLOW."),
    (
        "reject_all_fp_cast_ops",
        "Take reject_all_fp_cast_ops out of TF_TRT_EXPERIMENTAL_FEATURES.",
    ),
    (
        "constant folding should do it",
        "Nothing to do: it depends on no input of the model.",
    ),
    (
        "whose results nothing takes",
        "Nothing to do: no output of the model depends on it.",
    ),
    (
        "must be a constant",
        "Give it a constant (a number in the model's code, a weight), and nothing that is computed from the model's inputs.",
    ),
    (
        "mplicit batch",
        "Convert with use_dynamic_shape=True (`convert --dynamic`): engines then take any dimension as open.",
    ),
    (
        "rank is unknown",
        "Give the model's inputs a shape (tf.TensorSpec, with None for open sizes), or use tf.ensure_shape before this op.",
    ),
    (
        "are unknown",
        "Give the model's inputs a shape (tf.TensorSpec, with None for open sizes), or use tf.ensure_shape before this op.",
    ),
    (
        "unsupported data type",
        "Cast to float32 or int32 before this op if the values allow it; strings, complex numbers and resources stay in TensorFlow.",
    ),
    ("Allowed input dtypes", "Cast its inputs to one of these types."),
    (
        "would cross the engine's border",
        "Cast that tensor to int32 or float32 where it is made, if its values fit, or keep its other end convertible, too.",
    ),
    (
        "element type",
        "Save the model anew with this TensorFlow: its types cannot be told.",
    ),
    (
        "has a state",
        "Nothing to do if it is meant to keep a state; else save the model for inference (training=False).",
    ),
    (
        "assigned to the CPU",
        "Take the tf.device around it away when the model is saved; what is assigned to a device stays there.",
    ),
    (
        "No engine runs on devices",
        "Take the tf.device around it away when the model is saved.",
    ),
    ("is no device name", "Take the tf.device around it away when the model is saved."),
    ("protobuf's limit", "Convert the model in parts, each under 2 GB."),
    (
        "In a segment that stays native",
        "The rest of its segment is as it was; please report this with the model.",
    ),
    ("is_training=True", "Save the model for inference (training=False)."),
    ("more than two inputs", "Write it as several tf.einsum of two inputs each."),
    (" is over ", "Reshape so that no tensor here has more dimensions than that."),
    (
        "known",
        "Fix that size where the model is saved (tf.TensorSpec, tf.ensure_shape): here an engine has to know it beforehand.",
    ),
    (
        " rank ",
        "Bring the tensor to that rank before this op (tf.reshape, tf.expand_dims, tf.squeeze).",
    ),
];

/// Advice by op type, for ops that have no converter: prefixes of types.
const BY_OP: &[(&[&str], &str)] = &[
    (
        &["Placeholder", "_Arg", "_Retval"],
        "Nothing to do: the inputs and outputs of a model stay in TensorFlow.",
    ),
    (
        &["NoOp", "Assert", "Print", "CheckNumerics"],
        "Nothing to do: it computes nothing that others take.",
    ),
    (
        &["TRTEngineOp", "CreateTRT", "InitializeTRT"],
        "Nothing to do: the model was converted before. Convert the native model to have other settings.",
    ),
    (
        &["VarHandleOp", "ReadVariableOp", "Variable", "Assign", "ResourceGather"],
        "Freeze the model: without disable_graph_freezing in TF_TRT_EXPERIMENTAL_FEATURES, variables become constants.",
    ),
    (
        &[
            "LookupTable",
            "HashTable",
            "MutableHashTable",
            "InitializeTable",
            "StaticHashTable",
            "AnonymousHashTable",
        ],
        "Tables stay in TensorFlow. If they stand before everything else, nothing is lost; else look up before the model.",
    ),
    (
        &[
            "String",
            "Regex",
            "StaticRegex",
            "AsString",
            "Decode",
            "Encode",
            "Parse",
            "Example",
            "Substr",
            "Unicode",
            "ReadFile",
            "ReduceJoin",
        ],
        "Strings and files stay in TensorFlow. If they stand before everything else, nothing is lost; else move this before the model.",
    ),
    (
        &["Random", "StatelessRandom", "Multinomial", "Truncated", "ParameterizedTruncated"],
        "An engine draws no random numbers: save the model for inference (training=False), or draw outside and feed the numbers.",
    ),
    (
        &["Switch", "Merge", "Enter", "Exit", "LoopCond", "NextIteration", "Ref"],
        "Loops and conditions of TensorFlow 1 stay in TensorFlow: write tf.where where both branches are cheap, or save the model with \
         TensorFlow 2's control flow.",
    ),
    (
        &["If", "While", "StatelessIf", "StatelessWhile", "Case"],
        "What decides what runs stays in TensorFlow: write tf.where where both branches are cheap, and unroll loops of a fixed length.",
    ),
    (
        &[
            "PartitionedCall",
            "StatefulPartitionedCall",
            "SymbolicGradient",
            "PyFunc",
            "EagerPyFunc",
        ],
        "A call is opaque to the converter: leave out what keeps the function from being inlined (tf.py_function, _noinline).",
    ),
    (
        &["Sparse", "Ragged", "DeserializeSparse"],
        "Sparse and ragged tensors stay in TensorFlow: make them dense (tf.sparse.to_dense, to_tensor) before the part to convert.",
    ),
    (
        &["TensorList", "TensorArray", "Stack", "Queue", "Iterator", "Dataset"],
        "Lists, queues and data sets stay in TensorFlow: for a recurrent layer, unroll=True makes it convertible.",
    ),
    (
        &["FFT", "IFFT", "RFFT", "IRFFT", "BatchFFT", "BatchIFFT"],
        "TensorRT has no such layer: if it stands at the model's start or end, compute it outside.",
    ),
];

/// What to do about nodes of type `op` that stayed native for `reason`.
pub fn advice(op: &str, reason: &str) -> String {
    let by_reason = BY_REASON
        .iter()
        .find(|(words, _)| reason.contains(words))
        .map(|(_, advice)| *advice);
    let by_op = || {
        let of_type = |prefix: &&str| op.starts_with(prefix);
        BY_OP.iter().find(|(types, _)| types.iter().any(of_type)).map(|(_, advice)| *advice)
    };
    let otherwise = match reason.starts_with("Op type") {
        true => "There is no converter for {op}: write this part of the model with other ops, or add one (docs/contribute/add-an-op.md).",
        false => "Change the model here so that this no longer holds; the rest of its ops are converted around it.",
    };
    let advice = match reason.starts_with("Op type") {
        true => by_op().or(by_reason),
        false => by_reason,
    };
    advice.unwrap_or(otherwise).replace("{op}", op)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_goes_by_the_reason_and_for_ops_without_a_converter_by_the_op() {
        for (op, reason, said) in [
            (
                "Relu",
                "In a segment of 2 ops, fewer than the minimum_segment_size of 3.",
                "lower minimum_segment_size",
            ),
            (
                "Sub",
                "Denylisted with the env var TF_TRT_OP_DENYLIST",
                "Take Sub out of TF_TRT_OP_DENYLIST.",
            ),
            ("Reshape", "The input \"shape\" must be a constant.", "Give it a constant"),
            (
                "Add",
                "Implicit batch mode requires input shape with at least two dimensions.",
                "use_dynamic_shape=True",
            ),
            (
                "Cast",
                "An engine cannot hold input 0: unsupported data type string",
                "Cast to float32",
            ),
            ("LookupTableFindV2", "Op type LookupTableFindV2 is not supported.", "Tables stay"),
            (
                "StatelessRandomUniformV2",
                "Op type StatelessRandomUniformV2 is not supported.",
                "no random numbers",
            ),
            ("While", "Op type While is not supported.", "unroll loops"),
            ("Betainc", "Op type Betainc is not supported.", "There is no converter for Betainc"),
            (
                "VarHandleOp",
                "Op type VarHandleOp has a state, which no engine keeps.",
                "Freeze the model",
            ),
            ("Pad", "Some other condition.", "Change the model here"),
            (
                "FusedBatchNormV3",
                "FusedBatchNormV3 is not supported for is_training=True.",
                "for inference",
            ),
            ("Cumprod", "Cumprod needs a known size of its axis.", "Fix that size"),
            (
                "Conv2D",
                "An engine cannot hold input 0: its rank is unknown",
                "tf.ensure_shape before",
            ),
            ("BiasAdd", "BiasAdd needs an input of rank 2 or more.", "tf.expand_dims"),
            (
                "Add",
                "The element type of 'x:0' at the engine's border is unknown.",
                "Save the model anew",
            ),
            (
                "Tile",
                "An engine cannot hold output 0: its rank 9 is over 8",
                "no tensor here has more dimensions",
            ),
        ] {
            let advice = advice(op, reason);
            assert!(advice.contains(said), "{op}: {advice}");
            assert!(!advice.contains('{'), "{advice}");
        }
    }
}
