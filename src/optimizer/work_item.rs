//! A graph while the pass works on it.

use super::{Item, OptimizeError};
use crate::graph::{Graph, Input, parse_input};
use crate::proto::tensorflow as tf;
use std::collections::{HashMap, HashSet};

/// An [`Item`], its graph resolved, and what belongs to the graph but not to its nodes.
pub struct WorkItem<'a> {
    pub id: &'a str,
    /// `None` after the only run of the pass has taken it.
    graph: Option<Graph>,
    /// Whether the pass may run again: control flow that was flattened may have to be put back.
    runs_again: bool,
    pub library: Option<tf::FunctionDefLibrary>,
    versions: Option<tf::VersionDef>,
    version: i32,
    debug_info: Option<tf::GraphDebugInfo>,
    pub sizes: HashMap<String, Vec<Vec<i64>>>,
    pub preserve: HashSet<String>,
    pub default_device: String,
}

impl<'a> WorkItem<'a> {
    /// # Errors
    /// The item's graph is none.
    pub fn new(item: Item<'a>) -> Result<Self, OptimizeError> {
        let Item { id, graph: mut def, .. } = item;
        let library = def.library.take();
        let versions = def.versions.take();
        #[allow(deprecated)] // Kept as it is: old graphs have it.
        let version = def.version;
        let debug_info = def.debug_info.take();
        let graph = Graph::new(def, item.shapes).map_err(|source| OptimizeError::Graph { id: id.into(), source })?;
        Ok(WorkItem {
            id,
            preserve: preserved_nodes(item.preserve, &graph),
            runs_again: graph.nodes.iter().any(|node| matches!(node.op(), "Switch" | "Enter")),
            graph: Some(graph),
            library,
            versions,
            version,
            debug_info,
            sizes: item.sizes,
            default_device: item.default_device,
        })
    }

    /// The graph as it was given.
    pub fn graph(&mut self) -> Graph {
        let graph = if self.runs_again { self.graph.clone() } else { self.graph.take() };
        graph.unwrap_or_default()
    }

    pub fn versions(&self) -> Option<&tf::VersionDef> {
        self.versions.as_ref()
    }

    /// A function of the item's library.
    ///
    /// # Errors
    /// The library has none of that name.
    pub fn function(&self, name: &str) -> Result<&tf::FunctionDef, String> {
        let functions = self.library.iter().flat_map(|library| &library.function);
        let mut named = functions.filter(|function| function.signature.as_ref().is_some_and(|signature| signature.name == name));
        named.next().ok_or_else(|| format!("the graph has no function '{name}'"))
    }

    /// A GraphDef of `nodes` with everything else of the item, and `functions` added to its library.
    pub fn assemble(&mut self, nodes: Vec<tf::NodeDef>, functions: Vec<tf::FunctionDef>) -> tf::GraphDef {
        let mut library = self.library.take().unwrap_or_default();
        library.function.extend(functions);
        for function in &mut library.function {
            function.attr.remove(SPECIALIZED);
        }
        #[allow(deprecated)]
        tf::GraphDef {
            node: nodes,
            versions: self.versions.take(),
            version: self.version,
            library: Some(library),
            debug_info: self.debug_info.take(),
        }
    }
}

/// Grappler marks a function with this attribute if it made it of another one. Python loads no SavedModel with such a function.
const SPECIALIZED: &str = "_GrapplerSpecializedFunc";

/// Names of nodes: "name:0" and "^name" stand for "name", unless a node has that very name.
fn preserved_nodes(names: HashSet<String>, graph: &Graph) -> HashSet<String> {
    names
        .into_iter()
        .map(|name| {
            if graph.find(&name).is_some() {
                return name;
            }
            match parse_input(&name) {
                Some(Input::Control(node) | Input::Data(node, _)) => node.to_string(),
                None => name,
            }
        })
        .collect()
}
