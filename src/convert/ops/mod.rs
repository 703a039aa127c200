//! The converters: one record per TensorFlow op, in a file per family. Each file ends in its list; searching for an op's
//! name in quotes lands there.

mod activation;
mod assembly;
mod bicubic;
mod binary;
mod bincount;
mod cast;
mod compare;
mod control;
mod convolution;
mod crop;
mod cudnn;
mod cumulative;
mod data_format;
mod einsum;
mod exact;
mod fused;
mod gather_scatter;
mod identity;
mod images;
mod inputs;
mod lrn;
mod matmul;
mod matrix_part;
mod nms;
mod normalization;
mod pad;
mod pooling;
mod quantize;
mod recurrent;
mod reduction;
mod refused;
mod resize;
mod reverse;
mod scatter_sum;
mod shape;
pub(in crate::convert) mod slicing;
mod space;
mod strided_slice;
mod transposed;
mod unary;
mod window;

pub use compare::choose;

use super::builder::Attr;
use super::context::Context;
use super::value::Form;
use super::view::View;
use super::{Reason, carried};
use crate::graph::{DType, elements};
use std::collections::HashMap;
use std::sync::LazyLock;

/// How one TensorFlow op becomes ONNX.
pub struct Converter {
    pub op: &'static str,
    /// Whether this node can be converted; what it promises, `convert` keeps. Types and ranks of all inputs and outputs
    /// are known, and the types are ones that an engine holds, when it is asked.
    pub supports: fn(View) -> Result<(), Reason>,
    pub convert: fn(&mut Context) -> Result<(), Reason>,
}

const FAMILIES: &[&[Converter]] = &[
    activation::CONVERTERS,
    assembly::CONVERTERS,
    bicubic::CONVERTERS,
    binary::CONVERTERS,
    bincount::CONVERTERS,
    cast::CONVERTERS,
    compare::CONVERTERS,
    control::CONVERTERS,
    convolution::CONVERTERS,
    crop::CONVERTERS,
    cudnn::CONVERTERS,
    cumulative::CONVERTERS,
    fused::CONVERTERS,
    data_format::CONVERTERS,
    einsum::CONVERTERS,
    gather_scatter::CONVERTERS,
    identity::CONVERTERS,
    lrn::CONVERTERS,
    matmul::CONVERTERS,
    matrix_part::CONVERTERS,
    nms::CONVERTERS,
    normalization::CONVERTERS,
    pad::CONVERTERS,
    pooling::CONVERTERS,
    quantize::CONVERTERS,
    recurrent::CONVERTERS,
    reduction::CONVERTERS,
    resize::CONVERTERS,
    reverse::CONVERTERS,
    shape::CONVERTERS,
    slicing::CONVERTERS,
    space::CONVERTERS,
    strided_slice::CONVERTERS,
    transposed::CONVERTERS,
    unary::CONVERTERS,
];

pub fn all() -> impl Iterator<Item = &'static Converter> {
    FAMILIES.iter().copied().flatten()
}

pub fn find(op: &str) -> Option<&'static Converter> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static Converter>> = LazyLock::new(|| all().map(|c| (c.op, c)).collect());
    BY_NAME.get(op).copied()
}

/// Why an op without a converter has none.
pub fn why_not(op: &str) -> Reason {
    refused::reason(op).map_or_else(|| format!("Op type {op} is not supported."), str::to_string)
}

/// Types with a fractional part that an engine computes in.
pub const FLOATS: &[DType] = &[DType::FLOAT, DType::HALF];
/// Types that an engine counts in.
pub const INTEGERS: &[DType] = &[DType::INT32, DType::INT64];
pub const NUMBERS: &[DType] = &[DType::FLOAT, DType::HALF, DType::INT32, DType::INT64];
pub const BOOLS: &[DType] = &[DType::BOOL];
/// Everything that may flow inside an engine as it is; `carried` has the rest.
pub const TENSORS: &[DType] = &[DType::FLOAT, DType::HALF, DType::INT32, DType::INT64, DType::BOOL];

/// TensorRT's limit.
const MAX_RANK: usize = 8;
/// TensorRT 8.6 counts in int32; and sizes up to this can be added up and multiplied in pairs.
const MAX_SIZE: i64 = i32::MAX as i64;

/// Fails unless the node has the inputs that its op takes, and every tensor that goes into or comes out of it is one that an engine can hold.
pub fn check_tensors(view: View) -> Result<(), Reason> {
    inputs::check(view)?;
    let check = |what: &str, i: usize, info: &crate::graph::TensorInfo| match info.shape.rank() {
        _ if !TENSORS.contains(&carried::held(info.dtype)) => {
            Err(format!("An engine cannot hold {what} {i}: unsupported data type {}", info.dtype))
        }
        None => Err(format!("An engine cannot hold {what} {i}: its rank is unknown")),
        Some(rank) if rank > MAX_RANK => Err(format!("An engine cannot hold {what} {i}: its rank {rank} is over {MAX_RANK}")),
        Some(_) => match info.shape.dims().into_iter().flatten().flatten().find(|&&size| size > MAX_SIZE) {
            Some(size) => Err(format!("An engine cannot hold {what} {i}: its size {size} is beyond int32")),
            None => Ok(()),
        },
    };
    for i in 0..view.count() {
        check("input", i, view.info(i)?)?;
    }
    check_wide_constants(view)?;
    if view.node().outputs.is_empty() {
        return Err("The types and shapes of the outputs are unknown".to_string());
    }
    // Outputs that only training uses may have no shape: the converter leaves them out.
    let outputs = match view.op() {
        op if op.contains("FusedBatchNorm") => 1,
        op if op.starts_with("CudnnRNN") => cudnn::OUTPUTS.min(view.node().outputs.len()),
        _ => view.node().outputs.len(),
    };
    (0..outputs).try_for_each(|i| check("output", i, view.out(i)?))?;
    carried::check(view, outputs)
}

/// Larger int64 constants are not read to judge a node.
const MAX_READ: i64 = 1 << 16;

/// Fails where an int64 constant holds more than int32 does: TensorRT 8.6 makes int32 of int64, and clamps. Slices bear that: a
/// number over every size is "to the end" before and after.
fn check_wide_constants(view: View) -> Result<(), Reason> {
    if matches!(view.op(), "Slice" | "StridedSlice") {
        return Ok(());
    }
    for i in 0..view.count() {
        let info = view.info(i)?;
        let elements = info.shape.full().map(|dims| elements(&dims));
        if info.dtype != DType::INT64 || elements.is_none_or(|n| n > MAX_READ) {
            continue;
        }
        let constant = view.constant(i);
        let mut values = constant.iter().filter_map(|c| c.i64s()).flatten();
        if let Some(wide) = values.find(|&v| i32::try_from(v).is_err()) {
            return Err(format!(
                "An engine cannot hold input {i}: {wide} is beyond int32, which TensorRT 8.6 makes of int64."
            ));
        }
    }
    Ok(())
}

/// Predicate: every input has one of the types `allowed`.
pub fn all_inputs(view: View, allowed: &[DType]) -> Result<(), Reason> {
    (0..view.count()).try_for_each(|i| view.accepts(i, allowed))
}

/// The record of an op that asks nothing but that its inputs are floating-point numbers.
pub const fn floats(op: &'static str, convert: fn(&mut Context) -> Result<(), Reason>) -> Converter {
    Converter {
        op,
        supports: |v| all_inputs(v, FLOATS),
        convert,
    }
}

/// Converts to the single ONNX node `op`, over all inputs, broadcast together.
pub fn elementwise(cx: &mut Context, op: &str, attrs: &[(&str, Attr)]) -> Result<(), Reason> {
    let (form, inputs) = broadcast(cx)?;
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let out = cx.emit(op, &inputs, attrs);
    cx.give_broadcast(form, out)
}

/// All inputs in the form that costs least for an op that broadcasts them together, and that form.
pub fn broadcast(cx: &mut Context) -> Result<(Form, Vec<String>), Reason> {
    let all: Vec<usize> = (0..cx.view.count()).collect();
    let form = cx.shared_form(&all);
    let names = all.iter().map(|&i| cx.input(i, form)).collect::<Result<_, _>>()?;
    Ok((form, names))
}

/// The ONNX axis of a tensor in `form` for TensorFlow's `axis`.
pub fn axis_in(form: Form, axis: usize) -> usize {
    match form {
        Form::ChannelsFirst => super::layout::axis_first(axis),
        Form::Plain | Form::Wide | Form::Pixels => axis,
    }
}
