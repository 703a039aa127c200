//! The native segment: names and text that its graph, the op and the optimizer share.

use crate::proto::tensorflow as tf;
use tf::attr_value::Value;

/// Name of the `_Arg` node of an engine's input, before the input's index. The op binds inputs by it.
pub const INPUT_PREFIX: &str = "TensorRTInputPH_";
/// Name of the `_Retval` node of an engine's output, before the output's index.
pub const OUTPUT_PREFIX: &str = "TensorRTOutputPH_";

/// The node's attribute: 64 hexadecimal digits.
pub const SEGMENT_HASH: &str = "_tftrt_segment_hash";

/// An attribute of that value.
pub fn attr(value: Value) -> tf::AttrValue {
    tf::AttrValue { value: Some(value) }
}

/// The entry of `NodeDef.input` for output `index` of the node `name`.
pub fn input_text(name: &str, index: usize) -> String {
    match index {
        0 => name.to_string(),
        _ => format!("{name}:{index}"),
    }
}
