//! The functions that a segment's loops, conditionals and calls run, read from the library as it is now.
//!
//! TensorFlow's own passes may rewrite such a node and its functions together, whenever a graph is optimized: in the conversion, and
//! in each process that loads the model. So the functions in the library are the one source of what runs. A copy made earlier would fit
//! the node's inputs by luck only.

use crate::graph::{DType, contents, function_body, inner};
use crate::memory;
use crate::proto::tensorflow as tf;
use prost::Message;
use std::cell::Cell;
use tf::attr_value::Value;

/// Functions inside each other, at most.
const DEEPEST: usize = 16;
/// Functions of one segment, and bytes of their bodies, at most: a function that calls another one twice doubles it.
const MOST_FUNCTIONS: usize = 4096;
const MOST_BYTES: usize = i32::MAX as usize;

/// Reads the body of the function that a serialized `NameAttrList` names.
pub type Library<'a> = &'a dyn Fn(&[u8]) -> Result<tf::GraphDef, String>;

/// Reads functions.
pub struct Functions<'a> {
    library: Library<'a>,
    /// Whether an op, by type, does more than compute its outputs.
    has_effect: &'a dyn Fn(&str) -> bool,
    functions: Cell<usize>,
    bytes: Cell<usize>,
}

impl<'a> Functions<'a> {
    pub fn new(library: Library<'a>, has_effect: &'a dyn Fn(&str) -> bool) -> Self {
        Functions {
            library,
            has_effect,
            functions: Cell::new(MOST_FUNCTIONS),
            bytes: Cell::new(MOST_BYTES),
        }
    }

    /// Puts into each loop, conditional and call of `segment` that the conversion made ([`inner::GRAPHS`]) the graphs of its functions.
    ///
    /// # Errors
    /// The node and the function that does not fit it, or that cannot be read.
    pub fn open(&self, segment: &mut tf::GraphDef) -> Result<(), String> {
        let opened = |node: &&mut tf::NodeDef| node.attr.contains_key(inner::GRAPHS) && inner::functions_of(&node.op).is_some();
        segment
            .node
            .iter_mut()
            .filter(opened)
            .try_for_each(|node| self.open_node(node, DEEPEST))
    }

    fn open_node(&self, node: &mut tf::NodeDef, depth: usize) -> Result<(), String> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| misfit(node, "holds too many functions inside each other"))?;
        let names = inner::functions_of(&node.op).unwrap_or_default();
        let graphs: Vec<tf::GraphDef> = names.iter().map(|name| self.graph(node, name, depth)).collect::<Result<_, _>>()?;
        if node.op == "StatelessWhile" {
            let variables = Value::I(changing(&graphs[1]) as i64);
            node.attr.insert(inner::VARIABLES.into(), tf::AttrValue { value: Some(variables) });
        }
        node.attr.insert(inner::GRAPHS.into(), inner::to_attr(&graphs)?);
        Ok(())
    }

    /// The graph of the function that `node` names by its attribute `which`.
    fn graph(&self, node: &tf::NodeDef, which: &str, depth: usize) -> Result<tf::GraphDef, String> {
        let Some(Value::Func(function)) = node.attr.get(which).and_then(|attr| attr.value.as_ref()) else {
            return Err(misfit(node, &format!("names no function as '{which}'")));
        };
        let left = self.functions.get().checked_sub(1);
        self.functions.set(left.ok_or_else(|| misfit(node, "holds too many functions"))?);
        let named = |why: String| misfit(node, &format!("runs the function '{}': {why}", function.name));
        let mut graph = (self.library)(&function.encode_to_vec()).map_err(named)?;
        let left = self.bytes.get().checked_sub(graph.encoded_len());
        self.bytes
            .set(left.ok_or_else(|| misfit(node, "holds functions that are too large"))?);
        graph.library = None;
        function_body::name_borders(&mut graph).map_err(named)?;
        let removed = function_body::prune(&mut graph);
        if let Some(op) = removed.iter().find(|op| (self.has_effect)(op)) {
            return Err(named(format!("a node ({op}) inside does more than compute")));
        }
        fits(node, which, &graph).map_err(named)?;
        for inside in &mut graph.node {
            inside.attr.remove("_class");
            inside.device.clear();
            // A call inside a call is what the conversion makes of both.
            if inside.op == "StatefulPartitionedCall" {
                inside.op = "PartitionedCall".into();
            }
            if inner::functions_of(&inside.op).is_some() {
                self.open_node(inside, depth)?;
            }
        }
        Ok(graph)
    }
}

fn misfit(node: &tf::NodeDef, what: &str) -> String {
    format!("node '{}' ({}) {what}", node.name, node.op)
}

fn types(node: &tf::NodeDef, name: &str) -> Vec<i32> {
    match node.attr.get(name).and_then(|attr| attr.value.as_ref()) {
        Some(Value::List(list)) => list.r#type.clone(),
        _ => Vec::new(),
    }
}

/// Whether `graph` takes what `node` gives the function `which`, and returns what the node returns: number and types.
fn fits(node: &tf::NodeDef, which: &str, graph: &tf::GraphDef) -> Result<(), String> {
    let (taken, returned) = match node.op.as_str() {
        "StatelessWhile" if which == "cond" => (types(node, "T"), vec![DType::BOOL.0]),
        "StatelessWhile" => (types(node, "T"), types(node, "T")),
        _ => (types(node, "Tin"), types(node, "Tout")),
    };
    let given = node.input.iter().filter(|input| !input.starts_with('^')).count();
    let given = given.saturating_sub(usize::from(node.op == "StatelessIf"));
    if given != taken.len() {
        return Err(format!("the node has {given} inputs for it, and {} types", taken.len()));
    }
    for (op, expected) in [("_Arg", taken), ("_Retval", returned)] {
        let what = if op == "_Arg" { "takes" } else { "returns" };
        let mut found: Vec<Option<i32>> = vec![None; expected.len()];
        for border in graph.node.iter().filter(|node| node.op == op) {
            let at = function_body::index(border).unwrap_or(usize::MAX);
            let dtype = match border.attr.get("T").and_then(|attr| attr.value.as_ref()) {
                Some(&Value::Type(dtype)) => dtype,
                _ => DType::INVALID.0,
            };
            let place = found.get_mut(at);
            let place = place.ok_or_else(|| format!("it {what} a tensor {at}, and the node has {}", expected.len()))?;
            *place = Some(dtype);
        }
        for (at, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            let name = |dtype| DType::from_proto(dtype).to_string();
            match found {
                Some(found) if found == expected => {}
                Some(found) => {
                    return Err(format!(
                        "it {what} {} as tensor {at}, and the node has {}",
                        name(found),
                        name(expected)
                    ));
                }
                None => return Err(format!("it {what} no tensor {at}, and the node has {}", name(expected))),
            }
        }
    }
    Ok(())
}

/// How many of a loop's inputs change, counted from the first one: those behind come out of each round as they go in.
fn changing(body: &tf::GraphDef) -> usize {
    let nodes: std::collections::HashMap<&str, &tf::NodeDef> = body.node.iter().map(|node| (node.name.as_str(), node)).collect();
    let same = |at: usize| {
        let mut name = inner::result_name(at);
        // No more steps than nodes: a graph from elsewhere may hold a circle of these.
        for _ in 0..=body.node.len() {
            let Some(node) = nodes.get(name.as_str()) else { return false };
            match node.op.as_str() {
                "_Arg" => return node.name == inner::arg_name(at),
                "_Retval" | "Identity" => {}
                _ => return false,
            }
            let Some(input) = node.input.first() else { return false };
            name = input.strip_suffix(":0").unwrap_or(input).to_string();
        }
        false
    };
    let count = body.node.iter().filter(|node| node.op == "_Retval").count();
    (0..count).rev().find(|&at| !same(at)).map_or(0, |at| at + 1)
}

/// The body of a function that has its large contents beside it.
///
/// # Errors
/// What is no graph.
pub fn whole((body, left): (Vec<u8>, Vec<bytes::Bytes>)) -> Result<tf::GraphDef, String> {
    let mut graph: tf::GraphDef = memory::decode("a function", body.into()).map_err(|e| format!("it cannot be read: {e}"))?;
    contents::put_back(&mut graph.node, &left)?;
    Ok(graph)
}

#[cfg(test)]
#[path = "functions_tests.rs"]
mod tests;
