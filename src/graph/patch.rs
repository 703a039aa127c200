//! An edit of a graph: nodes that go, and nodes that come.

use super::{Graph, Input, NodeId, TensorInfo, parse_input};
use crate::proto::tensorflow as tf;
use std::collections::{HashMap, HashSet};

/// A node with the types and shapes of its outputs.
pub type NewNode = (tf::NodeDef, Vec<TensorInfo>);

/// What is to be done to a graph. A node in `add` may have the name of one in `remove`: it takes its place.
#[derive(Debug, Default)]
pub struct Patch {
    pub remove: HashSet<NodeId>,
    pub add: Vec<NewNode>,
    /// What fed the removed nodes. Those that feed nothing else and only hand tensors on are removed, too.
    pub feeds: Vec<NodeId>,
}

/// Ops of nodes that are of no use without consumers.
const IDLE: [&str; 5] = ["NoOp", "Const", "Identity", "TensorListReserve", "TensorListFromTensor"];

impl Patch {
    /// The names of the nodes that `graph` does not have yet.
    pub fn new_names(&self, graph: &Graph) -> Vec<String> {
        let names = self.add.iter().map(|(def, _)| &def.name);
        names.filter(|name| graph.find(name).is_none()).cloned().collect()
    }

    /// `graph` after the edit. Nodes named in `preserve` stay. Control edges from removed nodes go: a patch says itself what its nodes
    /// wait for.
    ///
    /// # Errors
    /// The result is no graph.
    pub fn apply(self, graph: &Graph, preserve: &HashSet<String>) -> Result<Graph, String> {
        let Patch { mut remove, add, feeds } = self;
        remove_idle(graph, feeds, &inputs(&add), preserve, &mut remove);
        let replaced: HashSet<&str> = add.iter().map(|(def, _)| def.name.as_str()).collect();
        let is_lost = |&from: &NodeId| remove.contains(&from) && !replaced.contains(graph.nodes[from].name());
        let mut outputs = HashMap::with_capacity(graph.nodes.len());
        let mut nodes: Vec<tf::NodeDef> = Vec::with_capacity(graph.nodes.len());
        for (_, node) in graph.nodes.iter().enumerate().filter(|(id, _)| !remove.contains(id)) {
            let mut def = node.def.clone();
            if node.control_inputs.iter().any(is_lost) {
                let stays = |from: &&NodeId| !is_lost(from);
                let controls = node.control_inputs.iter().filter(stays);
                let controls = controls.map(|&from| format!("^{}", graph.nodes[from].name()));
                def.input.truncate(node.inputs.len());
                def.input.extend(controls);
            }
            outputs.insert(def.name.clone(), node.outputs.clone());
            nodes.push(def);
        }
        for (def, infos) in add {
            outputs.insert(def.name.clone(), infos);
            nodes.push(def);
        }
        let def = tf::GraphDef {
            node: nodes,
            ..Default::default()
        };
        Graph::new(def, outputs).map_err(|error| format!("what would take its place is no graph ({error}); this is a bug in tftrt"))
    }
}

/// The names of all nodes that `nodes` take or wait for.
fn inputs(nodes: &[NewNode]) -> HashSet<String> {
    let name_of = |input: &String| match parse_input(input)? {
        Input::Control(name) | Input::Data(name, _) => Some(name.to_string()),
    };
    nodes.iter().flat_map(|(def, _)| &def.input).filter_map(name_of).collect()
}

/// Adds to `remove` those of `feeds`, and of what feeds them in turn, that have no consumer left.
fn remove_idle(graph: &Graph, feeds: Vec<NodeId>, used: &HashSet<String>, preserve: &HashSet<String>, remove: &mut HashSet<NodeId>) {
    let consumers = graph.takers();
    let mut waiting = feeds;
    while let Some(id) = waiting.pop() {
        let node = &graph.nodes[id];
        let needed = used.contains(node.name()) || preserve.contains(node.name());
        let is_idle = IDLE.contains(&node.op()) && !needed && consumers[id].iter().all(|to| remove.contains(to));
        if is_idle && remove.insert(id) {
            waiting.extend(node.inputs.iter().map(|port| port.node).chain(node.control_inputs.iter().copied()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, op: &str, input: &[&str]) -> tf::NodeDef {
        tf::NodeDef {
            name: name.into(),
            op: op.into(),
            input: input.iter().map(|input| input.to_string()).collect(),
            ..Default::default()
        }
    }

    fn graph(nodes: Vec<tf::NodeDef>) -> Graph {
        let def = tf::GraphDef {
            node: nodes,
            ..Default::default()
        };
        Graph::new(def, HashMap::new()).unwrap()
    }

    fn names(graph: &Graph) -> Vec<&str> {
        graph.nodes.iter().map(|node| node.name()).collect()
    }

    #[test]
    fn what_only_fed_a_removed_node_goes_with_it() {
        let before = graph(vec![
            node("kept", "Const", &[]),
            node("fed", "Const", &[]),
            node("passed", "Identity", &["fed"]),
            node("removed", "Enter", &["passed", "kept"]),
            node("other", "Relu", &["kept", "^removed"]),
        ]);
        let find = |name: &str| before.find(name).unwrap();
        let patch = Patch {
            remove: [find("removed")].into(),
            add: vec![(node("new", "Relu", &["kept"]), Vec::new())],
            feeds: vec![find("passed"), find("kept")],
        };
        assert_eq!(patch.new_names(&before), ["new"]);
        let after = patch.apply(&before, &HashSet::new()).unwrap();
        assert_eq!(names(&after), ["kept", "other", "new"]);
        assert!(after.nodes[1].control_inputs.is_empty());
    }

    #[test]
    fn a_node_that_takes_the_place_of_another_keeps_its_waits_and_consumers() {
        let before = graph(vec![
            node("a", "Const", &[]),
            node("exit", "Exit", &["a"]),
            node("last", "Relu", &["exit", "^exit"]),
        ]);
        let patch = Patch {
            remove: [1].into(),
            add: vec![(node("exit", "Identity", &["a"]), Vec::new())],
            feeds: vec![0],
        };
        assert!(patch.new_names(&before).is_empty());
        let after = patch.apply(&before, &HashSet::new()).unwrap();
        assert_eq!(names(&after), ["a", "last", "exit"]);
        assert_eq!(after.nodes[1].control_inputs, [2]);
    }

    #[test]
    fn preserved_nodes_stay() {
        let before = graph(vec![node("a", "Const", &[]), node("b", "Relu", &["a"])]);
        let patch = Patch {
            remove: [1].into(),
            feeds: vec![0],
            ..Default::default()
        };
        let after = patch.apply(&before, &HashSet::from(["a".to_string()])).unwrap();
        assert_eq!(names(&after), ["a"]);
    }
}
