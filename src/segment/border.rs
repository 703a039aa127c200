//! What may cross an engine's border: `TRTEngineOp` takes and gives few element types.

use super::batch::Batch;
use super::candidates::Traits;
use super::{Constants, Rules};
use crate::convert::Reason;
use crate::graph::{DType, Graph, NodeId, Port};

/// The types of `TRTEngineOp`'s attribute OutT; InT has `resource` besides.
pub const OUTPUT_TYPES: &[DType] = &[DType::BOOL, DType::INT8, DType::HALF, DType::FLOAT, DType::INT32];

/// Judges the edges of a graph whose candidates for engines are known.
pub struct Borders<'a> {
    pub graph: &'a Graph,
    pub rules: &'a Rules,
    pub constants: &'a Constants,
}

impl Borders<'_> {
    /// Why the edge from `port` to `to` cannot be one between two engines, or between an engine and the graph around it;
    /// `None` where it can. `traits` are those of `to`, if it is a candidate.
    fn barrier(&self, port: Port, from_candidate: bool, traits: Option<&Traits>) -> Option<Reason> {
        if traits.is_some() && self.constants.chain(port).is_some() {
            return None;
        }
        let name = self.graph.nodes[port.node].name();
        let Some(info) = self.graph.info(port) else {
            return Some(format!(
                "The element type of '{name}:{}' at the engine's border is unknown.",
                port.index
            ));
        };
        let dtype = info.dtype;
        let resource_in = dtype == DType::RESOURCE && !from_candidate;
        if dtype == DType::INT8 {
            return Some(format!(
                "The int8 tensor '{name}:{}' would cross the engine's border, where TensorRT takes int8 only for quantised numbers with a scale.",
                port.index
            ));
        }
        if !OUTPUT_TYPES.contains(&dtype) && !resource_in {
            return Some(format!(
                "The {dtype} tensor '{name}:{}' would cross the engine's border, which only takes bool, int8, half, float and int32.",
                port.index
            ));
        }
        let traits = traits.filter(|_| self.rules.implicit_batch && dtype != DType::RESOURCE)?;
        let dims = info.shape.dims()?;
        match (dims.first(), traits.batch) {
            (None, _) => Some(format!("Implicit batch mode cannot take the scalar '{name}' as an engine's input.")),
            (Some(&Some(size)), Batch::Size(batch)) if size != batch => Some(format!(
                "Implicit batch mode cannot take '{name}' of batch {size} as an input of an engine of batch {batch}."
            )),
            // A size, say: whatever it is, it does not grow with the batch.
            (Some(&Some(size)), Batch::Open | Batch::Any) => Some(format!(
                "Implicit batch mode cannot take '{name}' as an engine's input: its leading dimension is {size}, not the batch."
            )),
            _ => None,
        }
    }

    /// Takes out of the candidates all that would need an impossible border, with all that hangs on it by such edges.
    /// `separate(a, b)` says whether candidates a and b are known to end in different engines. The number taken out.
    pub fn close(&self, traits: &mut [Result<Traits, Reason>], mut separate: impl FnMut(NodeId, NodeId) -> bool) -> usize {
        // Edges that must stay inside, with the reason; by node, for both ends.
        let mut bound: Vec<Vec<(NodeId, Reason)>> = vec![Vec::new(); self.graph.nodes.len()];
        let mut leaving: Vec<(NodeId, Reason)> = Vec::new();
        for (to, node) in self.graph.nodes.iter().enumerate() {
            for &port in &node.inputs {
                let from = port.node;
                let (from_in, to_in) = (traits[from].is_ok(), traits[to].is_ok());
                if !from_in && !to_in {
                    continue;
                }
                let Some(reason) = self.barrier(port, from_in, traits[to].as_ref().ok()) else {
                    continue;
                };
                match (from_in, to_in) {
                    (true, true) => {
                        if separate(from, to) {
                            leaving.push((from, reason.clone()));
                            leaving.push((to, reason.clone()));
                        }
                        bound[from].push((to, reason.clone()));
                        bound[to].push((from, reason));
                    }
                    (true, false) => leaving.push((from, reason)),
                    _ => leaving.push((to, reason)),
                }
            }
        }
        let mut count = 0;
        while let Some((node, reason)) = leaving.pop() {
            if traits[node].is_ok() {
                traits[node] = Err(reason);
                leaving.append(&mut bound[node]);
                count += 1;
            }
        }
        count
    }
}
