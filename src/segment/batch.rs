//! Implicit batch mode: the one batch size that all nodes of an engine share.

use crate::convert::Reason;
use crate::graph::{Graph, NodeId, PartialShape};

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

/// The batch of `node`: the leading dimension of the operand that carries it. The reason where no operand of known
/// rank >= 2 does.
pub fn implicit_batch(graph: &Graph, node: NodeId) -> Result<Batch, Reason> {
    let inputs = &graph.nodes[node].inputs;
    let carriers = match graph.nodes[node].op() {
        // The first inputs are sizes and filter; the third is the gradient, which has the batch.
        "Conv2DBackpropInput" | "Conv3DBackpropInputV2" => inputs.get(2..3).unwrap_or_default(),
        op if BROADCASTING.contains(&op) => inputs,
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
