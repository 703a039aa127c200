//! Tensor lists of a loop, as tensors.
//!
//! `tf.map_fn`, `tf.scan` and recurrent layers read their steps from a list and write their results to one. Where the number of
//! steps is open, the list that a tensor was made into is that tensor, and reading an element is a `GatherV2`. A list that is
//! written is a tensor of zeros of the list's size, made before the loop, as TensorFlow stacks zeros for an element that was never
//! written; writing an element is a `TensorScatterUpdate`. The size of an element has to be known before the loop: by shape
//! inference, or as that of a tensor that goes into the loop.

mod new_node;
mod rewrite;
mod zeros;

use super::frames::Frame;
use super::node_error;
use crate::convert::Reason;
use crate::graph::{DType, Graph, NewNode, NodeId, PartialShape, Port, TensorInfo};
use crate::proto::tensorflow as tf;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A size that is known before the loop.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    Known(i64),
    /// That of a tensor outside along an axis.
    Of(Port, usize),
}

/// The lists of one loop.
#[derive(Default)]
pub struct Lists {
    /// What the tensors are that stand for lists, by the lists' ports inside and outside.
    infos: HashMap<Port, TensorInfo>,
    /// The lists that are written, by the variables that begin with them. TensorFlow makes one `TensorListReserve` of two that are
    /// alike: two variables, or two loops, may begin with one, and their elements are of different sizes all the same.
    written: BTreeMap<usize, Written>,
    made: Vec<NewNode>,
}

/// A list that the loop writes.
#[derive(Clone)]
struct Written {
    /// Where it is made.
    from: Port,
    /// An element that is written to it.
    item: Port,
    /// What the tensor is that stands for it.
    info: TensorInfo,
    /// The tensor of zeros that it begins as.
    empty: Option<String>,
}

fn is_variant(graph: &Graph, port: Port) -> bool {
    graph.info(port).is_some_and(|info| info.dtype == DType::VARIANT)
}

/// Where the list at `port`, outside of the loop, is made.
fn origin(graph: &Graph, mut port: Port) -> Port {
    while graph.nodes[port.node].op() == "Identity" {
        match graph.nodes[port.node].inputs.first() {
            Some(&from) => port = from,
            None => break,
        }
    }
    port
}

/// Reads the lists of `frame`; `heads` are the tensors by which its condition reads each variable.
///
/// # Errors
/// Why a list cannot be a tensor.
pub fn read(graph: &Graph, frame: &Frame, takers: &[Vec<NodeId>], heads: &BTreeMap<usize, Port>) -> Result<Lists, Reason> {
    let mut lists = Lists::default();
    for (&inside, &outside) in frame.invariants.iter().filter(|(_, outside)| is_variant(graph, **outside)) {
        // One that nothing in the loop reads may be of any kind.
        if let Ok(info) = lists.given(graph, outside) {
            lists.follow(graph, frame, takers, inside, &info)?;
        }
    }
    for (at, variable) in frame.variables.iter().enumerate().filter(|(_, v)| is_variant(graph, v.first)) {
        let reads = || frame.reads.iter().filter(move |(_, of)| **of == at).map(|(&port, _)| port);
        let from = origin(graph, variable.first);
        let info = match graph.nodes[from.node].op() {
            "TensorListReserve" => {
                let written = reads().find_map(|port| written(graph, takers, port));
                let written = written.ok_or_else(|| node_error(graph, from.node, "makes a list that the loop does not write"))?;
                lists.reserve(graph, at, from, written)?
            }
            _ => lists.given(graph, variable.first)?,
        };
        lists.infos.insert(variable.first, info.clone());
        for port in reads() {
            lists.follow(graph, frame, takers, port, &info)?;
        }
        if !lists.infos.contains_key(&variable.next) {
            let name = heads.get(&at).map_or("", |head| graph.nodes[head.node].name());
            return Err(format!("its list '{name}' is another one in each round"));
        }
    }
    Ok(lists)
}

/// The element that is written to the list that `port` reads.
fn written(graph: &Graph, takers: &[Vec<NodeId>], port: Port) -> Option<Port> {
    takers[port.node].iter().find_map(|&to| {
        let node = &graph.nodes[to];
        if node.inputs.first() != Some(&port) {
            return None;
        }
        match node.op() {
            "TensorListSetItem" => node.inputs.get(2).copied(),
            "Identity" => written(graph, takers, Port { node: to, index: 0 }),
            _ => None,
        }
    })
}

impl Lists {
    /// The tensor that was made into the list at `port`.
    fn given(&mut self, graph: &Graph, port: Port) -> Result<TensorInfo, Reason> {
        let from = origin(graph, port);
        let node = &graph.nodes[from.node];
        let info = node.inputs.first().and_then(|&port| graph.info(port));
        match (node.op(), info) {
            ("TensorListFromTensor", Some(info)) => Ok(info.clone()),
            _ => Err(node_error(
                graph,
                from.node,
                "gives a variant that is no list of tensors known here",
            )),
        }
    }

    /// Marks what stands for a list in the loop, from `port` on.
    fn follow(&mut self, graph: &Graph, frame: &Frame, takers: &[Vec<NodeId>], port: Port, info: &TensorInfo) -> Result<(), Reason> {
        if self.infos.insert(port, info.clone()).is_some() {
            return Ok(());
        }
        for &to in takers[port.node].iter().filter(|to| frame.nodes.contains(to)) {
            let node = &graph.nodes[to];
            if !node.inputs.contains(&port) {
                continue;
            }
            match node.op() {
                "Identity" => self.follow(graph, frame, takers, Port { node: to, index: 0 }, info)?,
                "TensorListSetItem" if node.inputs.get(2) == Some(&port) => return Err(node_error(graph, to, "writes a list into a list")),
                "TensorListSetItem" if node.attr_b("resize_if_index_out_of_bounds") == Some(true) => {
                    return Err(node_error(graph, to, "may make its list larger"));
                }
                "TensorListSetItem" => self.follow(graph, frame, takers, Port { node: to, index: 0 }, info)?,
                "TensorListGetItem" | "Exit" | "NextIteration" | "Switch" | "Merge" => {}
                _ => return Err(node_error(graph, to, "takes a list of tensors")),
            }
        }
        Ok(())
    }

    /// The tensor that stands for the list that `from` makes for variable `at`, whose elements are like `item`.
    fn reserve(&mut self, graph: &Graph, at: usize, from: Port, item: Port) -> Result<TensorInfo, Reason> {
        let unknown = || node_error(graph, from.node, "makes a list of elements of unknown rank");
        let item_info = graph.info(item).ok_or_else(unknown)?;
        let dims = item_info.shape.dims().ok_or_else(unknown)?;
        let count = *graph.nodes[from.node].inputs.get(1).ok_or_else(unknown)?;
        let count = graph.constant(count).and_then(|c| c.to_i64s()).and_then(|c| c.first().copied());
        let info = TensorInfo {
            dtype: item_info.dtype,
            shape: PartialShape(Some(std::iter::once(count).chain(dims.iter().copied()).collect())),
        };
        let written = Written {
            from,
            item,
            info: info.clone(),
            empty: None,
        };
        self.written.insert(at, written);
        Ok(info)
    }

    /// The variables that begin with lists that the loop writes, each with an element that is written to it.
    pub fn written(&self) -> impl Iterator<Item = (usize, Port)> {
        self.written.iter().map(|(&at, list)| (at, list.item))
    }

    /// Whether a list that the loop writes is made at `port`.
    pub fn is_written(&self, port: Port) -> bool {
        self.written.values().any(|list| list.from == port)
    }

    /// What is known of the tensor that variable `at` begins with, which is `first` outside.
    pub fn first(&self, graph: &Graph, at: usize, first: Port) -> Option<TensorInfo> {
        let list = self.written.get(&at).map(|list| list.info.clone());
        list.or_else(|| self.info(graph, first))
    }

    /// Makes the tensor of zeros that variable `at` begins as. `dims` are the sizes of an element; `None` if they are not known.
    ///
    /// # Errors
    /// The sizes are not known before the loop.
    pub fn fill(&mut self, graph: &Graph, at: usize, dims: Option<&[Size]>) -> Result<(), Reason> {
        let Some(Written { from, info, .. }) = self.written.get(&at) else {
            return Ok(());
        };
        let unknown = || node_error(graph, from.node, "makes a list whose elements' size is not known before the loop");
        let prefix = self.prefix(graph, *from);
        let count = *graph.nodes[from.node].inputs.get(1).ok_or_else(unknown)?;
        let (zeros, mut made) = zeros::make(graph, &prefix, info.dtype, count, dims.ok_or_else(unknown)?).ok_or_else(unknown)?;
        self.made.append(&mut made);
        if let Some(list) = self.written.get_mut(&at) {
            list.empty = Some(zeros);
        }
        Ok(())
    }

    /// What the names of the nodes begin with that are made for a list from `from`: those of no other list.
    fn prefix(&self, graph: &Graph, from: Port) -> String {
        let base = format!("{}/tftrt", graph.nodes[from.node].name());
        let mut prefixes = std::iter::once(base.clone()).chain((1..).map(|n| format!("{base}_{n}")));
        let is_free = |prefix: &String| {
            let last = format!("{prefix}_zeros");
            graph.find(&last).is_none() && !self.made.iter().any(|(def, _)| def.name == last)
        };
        prefixes.find(is_free).unwrap_or(base)
    }

    /// What was made before the loop; `around` is a node that says which part of the graph that is.
    pub fn made(&self, around: Option<&str>) -> Vec<NewNode> {
        let mut made = self.made.clone();
        for (def, _) in made.iter_mut().filter(|(def, _)| def.input.is_empty()) {
            def.input.extend(around.map(|name| format!("^{name}")));
        }
        made
    }

    /// The tensor that the tensor or list at `port`, outside of the loop, is.
    pub fn tensor_of(&self, graph: &Graph, port: Port) -> Port {
        if !is_variant(graph, port) {
            return port;
        }
        let from = origin(graph, port);
        match graph.nodes[from.node].op() {
            "TensorListFromTensor" => graph.nodes[from.node].inputs.first().copied().unwrap_or(from),
            _ => from,
        }
    }

    pub fn is_list(&self, port: Port) -> bool {
        self.infos.contains_key(&port)
    }

    /// The tensor of zeros that variable `at` begins as.
    pub fn empty(&self, at: usize) -> Option<String> {
        self.written.get(&at)?.empty.clone()
    }

    /// What is known of a tensor, or of the one that stands for a list.
    pub fn info(&self, graph: &Graph, port: Port) -> Option<TensorInfo> {
        let known = graph.info(port).filter(|info| info.dtype != DType::VARIANT);
        known.or_else(|| self.infos.get(&port)).cloned()
    }

    /// The nodes that stand for `def`, which is node `id` of the loop with its inputs renamed; `None` if it stays as it is.
    ///
    /// # Errors
    /// The node takes a list and is none that is known here.
    pub fn rewrite(&self, graph: &Graph, id: NodeId, def: &tf::NodeDef) -> Result<Option<Vec<NewNode>>, Reason> {
        let node = &graph.nodes[id];
        let Some(list) = node.inputs.first().and_then(|port| self.infos.get(port)) else {
            return match node.inputs.iter().any(|&port| is_variant(graph, port)) {
                true => Err(node_error(graph, id, "takes a list of tensors that is not known here")),
                false => Ok(None),
            };
        };
        let made = rewrite::nodes(node, def, list);
        made.map(Some).ok_or_else(|| node_error(graph, id, "takes a list of tensors"))
    }

    /// What is known of the tensor that the node `stack` makes of a list.
    pub fn stacked(&self, graph: &Graph, stack: NodeId, list: &TensorInfo) -> TensorInfo {
        let known = graph.nodes[stack].outputs.first().filter(|info| info.shape.rank().is_some());
        known.unwrap_or(list).clone()
    }
}

/// The nodes that make a tensor of the list that `exit` gives; what hands the list on is added to `gone`.
///
/// # Errors
/// Where something else takes the list.
pub fn stacks(graph: &Graph, takers: &[Vec<NodeId>], exit: NodeId, gone: &mut HashSet<NodeId>) -> Result<Vec<NodeId>, Reason> {
    let mut found = Vec::new();
    let mut exits = vec![exit];
    while let Some(from) = exits.pop() {
        for &to in &takers[from] {
            let node = &graph.nodes[to];
            if !node.inputs.iter().any(|port| port.node == from) {
                continue;
            }
            match node.op() {
                "Identity" if gone.insert(to) => exits.push(to),
                "TensorListStack" => found.push(to),
                _ => return Err(node_error(graph, to, "takes a list of tensors that the loop gives")),
            }
        }
    }
    Ok(found)
}
