//! Implicit batch mode: the one batch size that all nodes of an engine share.

use crate::convert::Reason;
use crate::graph::{DType, Graph, NodeId, PartialShape, TensorInfo};

/// The batch size of a node or of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Nothing binds it: explicit batch mode, or a node without inputs.
    Any,
    /// Known only at run time.
    Open,
    Size(i64),
}

impl Batch {
    /// The batch of both together; `None` where they differ.
    pub fn merge(self, other: Batch) -> Option<Batch> {
        match (self, other) {
            (Batch::Any, batch) | (batch, Batch::Any) => Some(batch),
            (a, b) => (a == b).then_some(a),
        }
    }
}

/// Ops that broadcast: any operand may be the one with the batch.
const BROADCASTING: &[&str] = &[
    "Add",
    "AddV2",
    "BatchMatMul",
    "BatchMatMulV2",
    "Div",
    "FloorDiv",
    "Maximum",
    "Minimum",
    "Mul",
    "Pow",
    "RealDiv",
    "SelectV2",
    "SquaredDifference",
    "Sub",
];

/// Whether `node` computes with sizes: small integers in, small integers out. Such nodes have no batch of their own, and
/// go into the engine of the tensor whose shape they work on. TF-TRT left them out and gave up what hung on them (every
/// Keras Flatten); here an implicit-batch request is built as explicit batch, so there is no need to.
fn is_size_arithmetic(graph: &Graph, node: NodeId) -> bool {
    let small = |info: Option<&TensorInfo>| {
        info.is_some_and(|i| matches!(i.dtype, DType::INT32 | DType::INT64) && i.shape.rank().is_some_and(|rank| rank <= 1))
    };
    let node = &graph.nodes[node];
    !node.inputs.is_empty() && node.inputs.iter().all(|&port| small(graph.info(port))) && node.outputs.iter().all(|o| small(Some(o)))
}

/// Whether `node` rounds a constant to steps. Of all that is computed from constants, the stock front end keeps this alone from constant
/// folding, so that an engine finds its weights' steps; it has no batch.
fn is_quantised_weight(graph: &Graph, node: NodeId) -> bool {
    let node = &graph.nodes[node];
    let quantises = node.op().starts_with("FakeQuantWithMinMax") || node.op().starts_with("QuantizeAndDequantize");
    quantises && node.inputs.iter().all(|port| graph.nodes[port.node].op() == "Const")
}

/// The batch of `node`: the leading dimension of the operand that carries it. The reason where no operand of known
/// rank >= 2 does.
pub fn implicit_batch(graph: &Graph, node: NodeId) -> Result<Batch, Reason> {
    let inputs = &graph.nodes[node].inputs;
    if is_quantised_weight(graph, node) || is_size_arithmetic(graph, node) {
        return Ok(Batch::Any);
    }
    let carriers = match graph.nodes[node].op() {
        // The first inputs are sizes and filter; the third is the gradient, which has the batch.
        "Conv2DBackpropInput" | "Conv3DBackpropInputV2" => inputs.get(2..3).unwrap_or_default(),
        op if BROADCASTING.contains(&op) => inputs,
        // Numbers, conditions and weights stand among what goes in.
        "StatelessIf" | "StatelessWhile" => inputs,
        _ => inputs.get(..1).unwrap_or_default(),
    };
    let mut leading: Option<&[Option<i64>]> = None;
    for &port in carriers {
        let Some(dims) = graph.info(port).and_then(|info| info.shape.dims()) else {
            return Err(format!(
                "Implicit batch mode needs the rank of input '{}', which is unknown.",
                graph.nodes[port.node].name()
            ));
        };
        // The operand of highest rank leads; among equals one with an open batch, then the largest.
        let weight = |dims: &[Option<i64>]| {
            (
                dims.len(),
                dims.first().is_some_and(Option::is_none),
                dims.first().copied().flatten(),
            )
        };
        if leading.is_none_or(|best| weight(dims) > weight(best)) {
            leading = Some(dims);
        }
    }
    match leading {
        None => Ok(Batch::Any),
        Some(dims) if dims.len() < 2 => Err("Implicit batch mode requires input shape with at least two dimensions.".into()),
        Some(dims) => Ok(dims[0].map_or(Batch::Open, Batch::Size)),
    }
}

/// Whether a dimension other than the batch is open.
pub fn has_open_inner_dimension(shape: &PartialShape) -> bool {
    shape.dims().is_none_or(|dims| dims.iter().skip(1).any(Option::is_none))
}
