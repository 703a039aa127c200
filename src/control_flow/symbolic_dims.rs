//! Which open dimensions are known to be equal.

use crate::graph::{Graph, Port};
use std::collections::HashMap;

/// For each node, by name, the dimensions of its outputs as shape inference gives them: two that have the same number below -1
/// are equal, whatever they will be. Empty where the rank is unknown.
#[derive(Clone, Debug, Default)]
pub struct Sizes(pub HashMap<String, Vec<Vec<i64>>>);

impl Sizes {
    /// The dimensions at `port`; `None` where the rank is unknown, or nothing is known of the tensor.
    pub fn dims<'a>(&'a self, graph: &Graph, port: Port) -> Option<&'a [i64]> {
        let node = &graph.nodes[port.node];
        let dims = self.0.get(node.name())?.get(port.index)?;
        let rank = node.outputs.get(port.index)?.shape.rank()?;
        (dims.len() == rank).then_some(dims)
    }

    /// [`Sizes::dims`], and where inference lost them, what a `Fill` is made by: the sizes of another tensor, taken from its `Shape` and
    /// packed. So recurrent layers make the states that they begin with.
    pub fn followed(&self, graph: &Graph, port: Port) -> Option<Vec<i64>> {
        let dims = self.dims(graph, port)?.to_vec();
        let node = &graph.nodes[port.node];
        match node.op() {
            "Identity" => self.followed(graph, *node.inputs.first()?),
            "Fill" => {
                let packed = &graph.nodes[node.inputs.first()?.node];
                let is_one_each = packed.op() == "Pack" && packed.inputs.len() == dims.len();
                let size = |(&dim, &from): (&i64, &Port)| if dim < 0 { self.size(graph, from).unwrap_or(dim) } else { dim };
                Some(match is_one_each {
                    true => dims.iter().zip(&packed.inputs).map(size).collect(),
                    false => dims,
                })
            }
            _ => Some(dims),
        }
    }

    /// The dimension that the scalar at `port` is, one that was taken from a `Shape`.
    fn size(&self, graph: &Graph, port: Port) -> Option<i64> {
        let node = &graph.nodes[port.node];
        let first = *node.inputs.first()?;
        match node.op() {
            "Identity" => self.size(graph, first),
            "StridedSlice" if graph.nodes[first.node].op() == "Shape" && node.attr_i("shrink_axis_mask") == Some(1) => {
                let begin = graph.constant(*node.inputs.get(1)?)?.to_i64s()?;
                let of = self.dims(graph, *graph.nodes[first.node].inputs.first()?)?;
                let &[at] = begin.as_slice() else { return None };
                let at = if at < 0 { at + of.len() as i64 } else { at };
                of.get(usize::try_from(at).ok()?).copied()
            }
            _ => None,
        }
    }

    /// The dimensions of the only output of a node that will be called `name`: those at `port`.
    pub fn take_over(&mut self, graph: &Graph, name: &str, port: Port) {
        let dims = self.dims(graph, port).map(<[i64]>::to_vec);
        self.0.insert(name.to_string(), dims.into_iter().collect());
    }

    /// Whether both tensors have the same shape for certain.
    pub fn equal(&self, graph: &Graph, a: Port, b: Port) -> bool {
        let dtype = |port| graph.info(port).map(|info| info.dtype);
        let dims = self.dims(graph, a).zip(self.dims(graph, b));
        dtype(a) == dtype(b) && dims.is_some_and(|(a, b)| a == b && !a.contains(&-1))
    }

    /// Whether the tensors can be broadcast together for certain.
    pub fn broadcast(&self, graph: &Graph, a: Port, b: Port) -> bool {
        let Some((a, b)) = self.dims(graph, a).zip(self.dims(graph, b)) else {
            return false;
        };
        let mut pairs = a.iter().rev().zip(b.iter().rev());
        pairs.all(|(&a, &b)| a == 1 || b == 1 || (a == b && a != -1))
    }
}
