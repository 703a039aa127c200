//! A node and what is known around it, as support predicates and converters read it.

use super::{Reason, carried};
use crate::graph::{Constant, DType, Graph, Node, NodeId, TensorInfo};

#[derive(Clone, Copy)]
pub struct View<'a> {
    pub graph: &'a Graph,
    pub id: NodeId,
}

impl<'a> View<'a> {
    pub fn node(self) -> &'a Node {
        &self.graph.nodes[self.id]
    }

    pub fn op(self) -> &'a str {
        self.node().op()
    }

    /// The number of data inputs.
    pub fn count(self) -> usize {
        self.node().inputs.len()
    }

    /// Type and shape of data input `i`.
    pub fn info(self, i: usize) -> Result<&'a TensorInfo, Reason> {
        let port = *self.node().inputs.get(i).ok_or_else(|| format!("input {i} is missing"))?;
        self.graph.info(port).ok_or_else(|| {
            let from = self.graph.nodes[port.node].name();
            format!("the type and shape of input {i} ('{from}:{}') are unknown", port.index)
        })
    }

    /// Type and shape of output `i`.
    pub fn out(self, i: usize) -> Result<&'a TensorInfo, Reason> {
        let out = self.node().outputs.get(i);
        out.ok_or_else(|| format!("the type and shape of output {i} are unknown"))
    }

    pub fn dtype(self, i: usize) -> Result<DType, Reason> {
        Ok(self.info(i)?.dtype)
    }

    /// The dimensions of input `i`, `None` where open.
    pub fn dims(self, i: usize) -> Result<&'a [Option<i64>], Reason> {
        self.info(i)?
            .shape
            .dims()
            .ok_or_else(|| format!("the rank of input {i} is unknown"))
    }

    pub fn rank(self, i: usize) -> Result<usize, Reason> {
        Ok(self.dims(i)?.len())
    }

    pub fn out_dims(self, i: usize) -> Result<&'a [Option<i64>], Reason> {
        self.out(i)?
            .shape
            .dims()
            .ok_or_else(|| format!("the rank of output {i} is unknown"))
    }

    pub fn constant(self, i: usize) -> Option<Constant> {
        self.graph.constant(*self.node().inputs.get(i)?)
    }

    /// Whether input `i` is a constant, without reading it: a weight may be large.
    pub fn is_constant(self, i: usize) -> bool {
        let Some(&(mut port)) = self.node().inputs.get(i) else {
            return false;
        };
        // No more steps than nodes: a graph from elsewhere may hold a circle of these.
        for _ in 0..=self.graph.nodes.len() {
            let node = &self.graph.nodes[port.node];
            match (node.op(), node.inputs.first()) {
                ("Const", _) => return true,
                ("Identity" | "Snapshot" | "StopGradient", Some(&from)) => port = from,
                _ => return false,
            }
        }
        false
    }

    /// Input `i`, which has to be a constant; `what` names it in the reason.
    pub fn need_constant(self, i: usize, what: &str) -> Result<Constant, Reason> {
        self.constant(i).ok_or_else(|| format!("The input \"{what}\" must be a constant."))
    }

    /// The integers of input `i`, which has to be a constant.
    pub fn need_ints(self, i: usize, what: &str) -> Result<Vec<i64>, Reason> {
        let constant = self.need_constant(i, what)?;
        let dtype = constant.dtype;
        constant
            .to_i64s()
            .ok_or_else(|| format!("The input \"{what}\" must hold integers, not {dtype}."))
    }

    /// The one integer of input `i`, which has to be a constant.
    pub fn need_int(self, i: usize, what: &str) -> Result<i64, Reason> {
        match self.need_ints(i, what)?.as_slice() {
            [value] => Ok(*value),
            values => Err(format!("The input \"{what}\" must hold one value, not {}.", values.len())),
        }
    }

    /// Fails unless input `i` has one of the types `allowed`, or is carried in one: that the op may see it, `carried::check` has said.
    pub fn accepts(self, i: usize, allowed: &[DType]) -> Result<(), Reason> {
        let dtype = self.dtype(i)?;
        if allowed.contains(&carried::held(dtype)) {
            return Ok(());
        }
        let names: Vec<&str> = allowed.iter().map(|d| d.name()).collect();
        let (op, names) = (self.op(), names.join(", "));
        Err(format!(
            "{op} op is not supported for input {i} - Allowed input dtypes: [{names}]. Received: {dtype}"
        ))
    }

    /// Fails unless input `i` has rank `rank`.
    pub fn accepts_rank(self, i: usize, rank: usize) -> Result<(), Reason> {
        match self.rank(i)? {
            found if found == rank => Ok(()),
            found => Err(format!(
                "{} needs an input of rank {rank}, and input {i} has rank {found}.",
                self.op()
            )),
        }
    }

    /// A string attribute, or `default` where it is absent.
    pub fn attr_or(self, name: &str, default: &'a str) -> &'a str {
        self.node().attr_s(name).unwrap_or(default)
    }

    /// A bool attribute, false where it is absent.
    pub fn flag(self, name: &str) -> bool {
        self.node().attr_b(name).unwrap_or(false)
    }
}

/// `axis` counted from the front, for a tensor of rank `rank`.
pub fn normal_axis(axis: i64, rank: usize) -> Result<usize, Reason> {
    let rank_i = rank as i64;
    let at = if axis < 0 { axis + rank_i } else { axis };
    if (0..rank_i).contains(&at) {
        Ok(at as usize)
    } else {
        Err(format!("axis {axis} is out of range for rank {rank}"))
    }
}

/// [`normal_axis`] of each, sorted, each once.
pub fn normal_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, Reason> {
    let mut axes: Vec<usize> = axes.iter().map(|&a| normal_axis(a, rank)).collect::<Result<_, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(axes)
}
