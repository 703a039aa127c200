//! The `TRTEngineOp` node that stands for a segment.

use super::Params;
use super::body::Cut;
use crate::graph::TensorInfo;
use crate::graph::native_segment::attr;
use crate::proto::tensorflow as tf;
use crate::segment::{Batch, Device, Segment};
use tf::attr_value::{ListValue, Value};

pub const OP: &str = "TRTEngineOp";

/// The device of the segment's nodes; what they leave open is the default's.
fn device(segment: &Segment, default: &Device) -> String {
    let own = &segment.device;
    match own.kind() {
        Some(_) => own.to_string(),
        None => own.merge(default).unwrap_or_else(|| own.clone()).to_string(),
    }
}

/// The node, without inputs. Every attribute of the OpDef is set, so that no default has to be filled in later.
pub fn engine_node(
    name: &str,
    function: &str,
    params: &Params,
    explicit_precision: bool,
    segment: &Segment,
    cut: &Cut,
    default_device: &Device,
) -> tf::NodeDef {
    let types = |tensors: &[(_, TensorInfo)]| {
        Value::List(ListValue {
            r#type: tensors.iter().map(|(_, info)| info.dtype.0).collect(),
            ..Default::default()
        })
    };
    let shapes = |tensors: &[(_, TensorInfo)]| {
        Value::List(ListValue {
            shape: tensors.iter().map(|(_, info)| info.shape.to_proto()).collect(),
            ..Default::default()
        })
    };
    let text = |text: &str| Value::S(bytes::Bytes::copy_from_slice(text.as_bytes()));
    let calibrate = params.use_calibration && params.precision_mode == "INT8" && !explicit_precision;
    let max_batch_size = match (params.max_batch_size, segment.batch) {
        (given, _) if given > 0 => given,
        (_, Batch::Size(size)) => size,
        _ => -1,
    };
    let function = tf::NameAttrList {
        name: function.into(),
        ..Default::default()
    };
    let attrs = [
        ("serialized_segment", text("")),
        ("segment_func", Value::Func(function)),
        ("InT", types(&cut.inputs)),
        ("OutT", types(&cut.outputs)),
        ("input_shapes", shapes(&cut.inputs)),
        ("output_shapes", shapes(&cut.outputs)),
        ("max_cached_engines_count", Value::I(params.maximum_cached_engines)),
        ("max_batch_size", Value::I(max_batch_size)),
        ("workspace_size_bytes", Value::I(params.max_workspace_size_bytes)),
        ("precision_mode", text(&params.precision_mode)),
        ("calibration_data", text("")),
        ("use_calibration", Value::B(calibrate)),
        ("segment_funcdef_name", text("")),
        ("cached_engine_batches", Value::List(ListValue::default())),
        ("fixed_input_size", Value::B(true)),
        ("static_engine", Value::B(!params.is_dynamic_op)),
        ("profile_strategy", text(&params.profile_strategy)),
        ("use_explicit_precision", Value::B(explicit_precision)),
        ("_use_implicit_batch", Value::B(params.use_implicit_batch)),
        ("_allow_build_at_runtime", Value::B(params.allow_build_at_runtime)),
        ("_profile_generation_mode", Value::B(false)),
    ];
    tf::NodeDef {
        name: name.into(),
        op: OP.into(),
        device: device(segment, default_device),
        attr: attrs.into_iter().map(|(name, value)| (name.to_string(), attr(value))).collect(),
        ..Default::default()
    }
}
