//! Loops and conditionals as one node each, of which an engine makes ONNX's Loop and If.
//!
//! What cannot be unrolled or chosen is put back into the form that it had before TensorFlow lowered it: a `StatelessWhile` of a
//! condition and a body, a `StatelessIf` of two branches. Each is a graph of its own ([`crate::graph::inner`]), with `_Arg` nodes for
//! all that comes from around: what a loop's `Enter` or a conditional's `Switch` lets in, and large constants, which stay outside so
//! that they are there once.
//!
//! TensorRT wants of a loop that its variables keep their shapes from round to round, and of a conditional that both sides give
//! one shape. An open size is one size only where shape inference says so ([`Sizes`]).

use super::Change;
use super::branch::Branches;
use super::frame::Frame;
use super::lists::{self, Lists};
use super::sizes::Sizes;
use super::trial::{Dim, Infer, Trial};
use crate::convert::Reason;
use crate::graph::{DType, Graph, NodeId, Port, TensorInfo, inner};
use crate::optimizer::body::{attr, input_text};
use crate::proto::tensorflow as tf;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tf::attr_value::{ListValue, Value};

/// Constants of more bytes than this stay outside.
const SMALL: usize = 1024;

/// What becomes of a loop or a conditional.
pub struct Made {
    pub change: Change,
    /// The node that stands for it.
    pub node: String,
    /// Nodes that give its results, and what their sizes are those of.
    pub results: Vec<(String, Port)>,
}

/// The tensors that come from around, in the order of the arguments.
#[derive(Default)]
struct Args {
    ports: Vec<Port>,
    infos: Vec<TensorInfo>,
    at: HashMap<Port, usize>,
    /// Constants that were inside.
    taken_out: BTreeSet<NodeId>,
}

impl Args {
    fn of(&mut self, port: Port, info: TensorInfo) -> usize {
        let next = self.ports.len();
        let at = *self.at.entry(port).or_insert(next);
        if at == next {
            self.ports.push(port);
            self.infos.push(info);
        }
        at
    }
}

/// A part of the graph that is to be a graph of its own.
struct Part<'a> {
    graph: &'a Graph,
    lists: &'a Lists,
    /// Nodes and edges of it, in order.
    nodes: Vec<NodeId>,
    results: Vec<Port>,
    /// Where it reads variables of the loop, which are the first arguments.
    reads: &'a HashMap<Port, usize>,
    /// What its inputs from around are outside.
    outside: &'a dyn Fn(Port) -> Option<Port>,
}

fn because(graph: &Graph, id: NodeId, what: &str) -> Reason {
    let node = &graph.nodes[id];
    format!("node '{}' ({}) {what}", node.name(), node.op())
}

fn list(value: ListValue) -> tf::AttrValue {
    attr(Value::List(value))
}

fn types<'a>(infos: impl Iterator<Item = &'a TensorInfo>) -> tf::AttrValue {
    list(ListValue {
        r#type: infos.map(|info| info.dtype.0).collect(),
        ..Default::default()
    })
}

fn shapes<'a>(infos: impl Iterator<Item = &'a TensorInfo>) -> tf::AttrValue {
    list(ListValue {
        shape: infos.map(|info| info.shape.to_proto()).collect(),
        ..Default::default()
    })
}

/// `def` saying of its outputs what they are.
fn annotated(mut def: tf::NodeDef, outputs: &[TensorInfo]) -> tf::NodeDef {
    def.attr.insert("_output_types".into(), types(outputs.iter()));
    def.attr.insert("_output_shapes".into(), shapes(outputs.iter()));
    def
}

fn border(name: String, op: &str, at: usize, dtype: DType, input: Option<String>) -> tf::NodeDef {
    tf::NodeDef {
        name,
        op: op.into(),
        input: input.into_iter().collect(),
        attr: [
            ("T".to_string(), attr(Value::Type(dtype.0))),
            ("index".to_string(), attr(Value::I(at as i64))),
        ]
        .into(),
        ..Default::default()
    }
}

impl Part<'_> {
    fn info(&self, port: Port) -> Result<TensorInfo, Reason> {
        let unknown = || because(self.graph, port.node, &format!("has an output {} of unknown type", port.index));
        self.lists.info(self.graph, port).ok_or_else(unknown)
    }

    /// The argument that `port` is, if it is none of the part's own tensors.
    fn argument(&self, port: Port, args: &mut Args) -> Result<Option<usize>, Reason> {
        if let Some(&at) = self.reads.get(&port) {
            return Ok(Some(at));
        }
        if let Some(from) = (self.outside)(port) {
            let from = self.lists.tensor_of(self.graph, from);
            let info = self.info(from)?;
            return Ok(Some(args.of(from, info)));
        }
        let node = &self.graph.nodes[port.node];
        let large = |tensor: &tf::TensorProto| tensor.tensor_content.len() > SMALL || tensor.float_val.len() * 4 > SMALL;
        if node.op() == "Const" && node.attr_tensor("value").is_some_and(large) {
            args.taken_out.insert(port.node);
            return Ok(Some(args.of(port, self.info(port)?)));
        }
        Ok(None)
    }

    /// Finds all arguments.
    fn look(&self, args: &mut Args) -> Result<(), Reason> {
        let inputs = self.nodes.iter().flat_map(|&id| &self.graph.nodes[id].inputs);
        inputs
            .chain(&self.results)
            .try_for_each(|&port| self.argument(port, args).map(|_| ()))
    }

    /// The graph, which takes `args`; all of them have been looked for.
    fn cut(&self, args: &mut Args) -> Result<tf::GraphDef, Reason> {
        let mut nodes: Vec<tf::NodeDef> = Vec::new();
        for (at, info) in args.infos.iter().enumerate() {
            nodes.push(annotated(
                border(inner::arg_name(at), "_Arg", at, info.dtype, None),
                std::slice::from_ref(info),
            ));
        }
        let mut text = |port: Port| -> Result<String, Reason> {
            Ok(match self.argument(port, args)? {
                Some(at) => inner::arg_name(at),
                None => input_text(self.graph.nodes[port.node].name(), port.index),
            })
        };
        let mut results = Vec::new();
        for (at, &port) in self.results.iter().enumerate() {
            let dtype = self.info(port)?.dtype;
            results.push(border(inner::result_name(at), "_Retval", at, dtype, Some(text(port)?)));
        }
        let mut taken_out = Vec::new();
        for &id in &self.nodes {
            let node = &self.graph.nodes[id];
            let inputs = node.inputs.iter().map(|&port| text(port)).collect::<Result<Vec<_>, _>>()?;
            if node.outputs.is_empty() {
                return Err(because(self.graph, id, "has outputs of unknown type"));
            }
            let mut def = node.def.clone();
            def.input = inputs;
            def.attr.remove("_class");
            def.device.clear();
            taken_out.push(id);
            match self.lists.rewrite(self.graph, id, &def)? {
                Some(made) => nodes.extend(made.into_iter().map(|(def, outputs)| annotated(def, &outputs))),
                None => nodes.push(annotated(def, &node.outputs)),
            }
        }
        nodes.retain(|def| !args.taken_out.iter().any(|&id| self.graph.nodes[id].name() == def.name));
        nodes.append(&mut results);
        Ok(tf::GraphDef {
            node: nodes,
            ..Default::default()
        })
    }
}

/// The nodes that `results` are computed by, in order, up to the tensors at which `ends`.
fn behind(graph: &Graph, results: &[Port], order: &[NodeId], ends: impl Fn(Port) -> bool) -> Vec<NodeId> {
    let mut needed: HashSet<NodeId> = HashSet::new();
    let mut waiting: Vec<Port> = results.iter().copied().filter(|&port| !ends(port)).collect();
    while let Some(port) = waiting.pop() {
        if needed.insert(port.node) {
            waiting.extend(graph.nodes[port.node].inputs.iter().copied().filter(|&port| !ends(port)));
        }
    }
    order.iter().copied().filter(|id| needed.contains(id)).collect()
}

fn fresh(graph: &Graph, base: String) -> String {
    let numbered = (1..).map(|n| format!("{base}_{n}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    names.find(|name| graph.find(name).is_none()).unwrap_or(base)
}

/// A function attribute. The functions have no names before the node is in an engine.
fn function() -> tf::AttrValue {
    attr(Value::Func(tf::NameAttrList {
        name: "tftrt_inner".into(),
        ..Default::default()
    }))
}

/// What does the work of the node that stands for `nodes`: the device that the first of them with one is placed on.
fn device(graph: &Graph, nodes: &[NodeId]) -> String {
    let mut placed = nodes.iter().map(|&id| &graph.nodes[id]).filter(|node| node.op() != "Const");
    placed
        .find(|node| !node.def.device.is_empty())
        .map_or_else(String::new, |node| node.def.device.clone())
}

/// Constants that come out of a part, where `around` says what their part of the graph is.
fn taken_out(graph: &Graph, ids: &BTreeSet<NodeId>, around: Option<NodeId>) -> Vec<(tf::NodeDef, Vec<TensorInfo>)> {
    let made = ids.iter().map(|&id| {
        let mut def = graph.nodes[id].def.clone();
        def.attr.remove("_class");
        def.input = around.iter().map(|&id| format!("^{}", graph.nodes[id].name())).collect();
        (def, graph.nodes[id].outputs.clone())
    });
    made.collect()
}

/// A node that gives `from` under the name of `id`.
fn hands_on(graph: &Graph, id: NodeId, from: &str, info: &TensorInfo) -> (tf::NodeDef, Vec<TensorInfo>) {
    let def = tf::NodeDef {
        name: graph.nodes[id].name().into(),
        op: "Identity".into(),
        input: vec![from.to_string()],
        device: graph.nodes[id].def.device.clone(),
        attr: [("T".to_string(), attr(Value::Type(info.dtype.0)))].into(),
        ..Default::default()
    };
    (def, vec![info.clone()])
}

/// A `StatelessIf` of the conditionals on `predicate`. Its results wait for `waits`.
///
/// # Errors
/// Why they stay.
pub fn of_branches(
    graph: &Graph,
    predicate: Port,
    branches: &Branches,
    order: &[NodeId],
    sizes: &Sizes,
    infer: Infer<'_>,
    waits: &BTreeSet<NodeId>,
) -> Result<Made, Reason> {
    let (lists, reads) = (Lists::default(), HashMap::new());
    let outside = |port: Port| (!branches.inside.contains(&port.node)).then(|| branches.source(graph, port));
    let part = |results: Vec<Port>| Part {
        graph,
        lists: &lists,
        nodes: behind(graph, &results, order, |port| outside(port).is_some()),
        results,
        reads: &reads,
        outside: &outside,
    };
    let parts = [
        part(branches.merges.iter().map(|merge| merge.yes).collect()),
        part(branches.merges.iter().map(|merge| merge.no).collect()),
    ];
    let mut args = Args::default();
    parts.iter().try_for_each(|part| part.look(&mut args))?;
    // TensorFlow's own optimizer takes constant inputs off a StatelessIf, and what is inside would not fit it any more.
    if let Some(&port) = args.ports.iter().find(|&&port| graph.constant_node(port).is_some()) {
        return Err(because(
            graph,
            port.node,
            &format!("is a constant of more than {SMALL} bytes, or one from outside, in a branch"),
        ));
    }
    let graphs = [parts[0].cut(&mut args)?, parts[1].cut(&mut args)?];
    let known: Vec<Option<Vec<i64>>> = args.ports.iter().map(|&port| sizes.followed(graph, port)).collect();
    let shapes_of = |of: &tf::GraphDef| Trial::new(infer, of, &args.infos, &known).map(|trial| trial.results(of));
    // TensorRT looks at the shapes of both sides, whichever runs.
    let unfit = "shape inference finds no sizes that fit inside it for certain";
    let (yes, no) = shapes_of(&graphs[0]).zip(shapes_of(&graphs[1])).ok_or(unfit)?;
    for (at, merge) in branches.merges.iter().enumerate() {
        let tried = yes[at].is_some() && yes[at] == no[at];
        if !tried && !sizes.equal(graph, branches.source(graph, merge.no), branches.source(graph, merge.yes)) {
            return Err(because(graph, merge.node, "joins tensors whose shapes may differ"));
        }
    }
    let infos = branches.merges.iter().map(|merge| parts[0].info(branches.source(graph, merge.yes)));
    let infos: Vec<TensorInfo> = infos.collect::<Result<_, _>>()?;
    let source = branches.source(graph, predicate);
    let text = |port: Port| input_text(graph.nodes[port.node].name(), port.index);
    let mut input: Vec<String> = std::iter::once(source).chain(args.ports.iter().copied()).map(text).collect();
    input.extend(waits.iter().map(|&id| format!("^{}", graph.nodes[id].name())));
    let name = fresh(graph, format!("{}/tftrt_if", graph.nodes[branches.merges[0].node].name()));
    let def = tf::NodeDef {
        name: name.clone(),
        op: "StatelessIf".into(),
        input,
        device: device(graph, &[&parts[0].nodes[..], &parts[1].nodes[..]].concat()),
        attr: [
            ("Tcond".to_string(), attr(Value::Type(DType::BOOL.0))),
            ("Tin".to_string(), types(args.infos.iter())),
            ("Tout".to_string(), types(infos.iter())),
            ("then_branch".to_string(), function()),
            ("else_branch".to_string(), function()),
            ("output_shapes".to_string(), shapes(infos.iter())),
            (inner::GRAPHS.to_string(), inner::to_attr(&graphs)),
        ]
        .into(),
        ..Default::default()
    };
    let mut made = taken_out(graph, &args.taken_out, Some(source.node));
    made.push((def, infos.clone()));
    let mut gone: HashSet<NodeId> = branches.switches.iter().chain(&branches.inside).copied().collect();
    let mut results = Vec::new();
    for (at, (merge, info)) in branches.merges.iter().zip(&infos).enumerate() {
        gone.insert(merge.node);
        made.push(hands_on(graph, merge.node, &input_text(&name, at), info));
        results.push((graph.nodes[merge.node].name().to_string(), branches.source(graph, merge.yes)));
    }
    Ok(Made {
        change: Change {
            gone,
            made,
            sources: Vec::new(),
        },
        node: name,
        results,
    })
}

/// A `StatelessWhile` of the loop `frame`. Its results wait for `waits`; `around` is a node of the loop that it is in itself.
///
/// # Errors
/// Why it stays.
pub fn of_loop(
    graph: &Graph,
    frame: &Frame,
    takers: &[Vec<NodeId>],
    order: &[NodeId],
    sizes: &Sizes,
    infer: Infer<'_>,
    around: Option<NodeId>,
    waits: &BTreeSet<NodeId>,
) -> Result<Made, Reason> {
    let heads: BTreeMap<usize, Port> = frame
        .reads
        .iter()
        .filter(|(port, _)| graph.nodes[port.node].op() == "Merge")
        .map(|(&port, &at)| (at, port))
        .collect();
    let mut lists = lists::read(graph, frame, takers, &heads)?;
    let mut args = Args::default();
    let mut firsts = Vec::new();
    for variable in &frame.variables {
        let first = lists.tensor_of(graph, variable.first);
        let info = lists
            .info(graph, first)
            .ok_or_else(|| because(graph, first.node, "has an output of unknown type"))?;
        firsts.push(first);
        // One tensor may be what two variables begin with.
        args.ports.push(first);
        args.infos.push(info);
    }
    let outside = |port: Port| {
        let invariant = frame.invariants.get(&port).copied();
        invariant.or_else(|| (!frame.nodes.contains(&port.node)).then_some(port))
    };
    let ends = |port: Port| frame.reads.contains_key(&port) || outside(port).is_some();
    let part = |results: Vec<Port>| Part {
        graph,
        lists: &lists,
        nodes: behind(graph, &results, order, ends),
        results,
        reads: &frame.reads,
        outside: &outside,
    };
    let condition = part(vec![frame.condition]);
    let decides = condition.info(frame.condition)?;
    if decides.dtype != DType::BOOL || decides.shape.rank() != Some(0) {
        return Err("its condition is no single bool".into());
    }
    let body = part(frame.variables.iter().map(|variable| variable.next).collect());
    condition.look(&mut args)?;
    body.look(&mut args)?;
    let mut graphs = [condition.cut(&mut args)?, body.cut(&mut args)?];
    let placed = device(graph, &body.nodes);
    let known: Vec<Option<Vec<i64>>> = args.ports.iter().map(|&port| sizes.followed(graph, port)).collect();
    let trial = Trial::new(infer, &graphs[1], &args.infos, &known);
    let trial = trial.ok_or("shape inference finds no sizes that fit inside it for certain")?;
    let tried = trial.results(&graphs[1]);
    for (at, variable) in frame.variables.iter().enumerate().filter(|(_, v)| !lists.is_list(v.first)) {
        let head = heads.get(&at).copied().unwrap_or(variable.first);
        let same = tried[at].is_some() && tried[at].as_ref() == trial.arg(at);
        if !same && !(sizes.equal(graph, head, firsts[at]) && sizes.equal(graph, variable.next, firsts[at])) {
            let name = graph.nodes[head.node].name();
            return Err(format!("its variable '{name}' may have another shape in each round"));
        }
    }
    let written: Vec<(Port, Port)> = lists.written().collect();
    for (list, item) in written {
        let item = match item {
            port if frame.reads.contains_key(&port) => inner::arg_name(frame.reads[&port]),
            port => input_text(graph.nodes[port.node].name(), port.index),
        };
        let size = |dim| match dim {
            Dim::Known(size) => lists::Size::Known(size),
            Dim::Open(open) => {
                let (arg, axis) = trial.place(open);
                lists::Size::Of(args.ports[arg], axis)
            }
        };
        let dims = trial.shape(&item).map(|dims| dims.into_iter().map(size).collect::<Vec<_>>());
        // (A size that no tensor but the list itself has is not known, either.)
        let dims = dims.filter(|dims| !dims.iter().any(|dim| matches!(dim, lists::Size::Of(port, _) if *port == list)));
        let unknown = || because(graph, list.node, "makes a list whose elements' size is not known before the loop");
        lists.fill(graph, list, &dims.ok_or_else(unknown)?)?;
    }
    // What does not change is handed on.
    for at in frame.variables.len()..args.ports.len() {
        let result = border(
            inner::result_name(at),
            "_Retval",
            at,
            args.infos[at].dtype,
            Some(inner::arg_name(at)),
        );
        graphs[1].node.push(result);
    }
    let text = |port: Port| input_text(graph.nodes[port.node].name(), port.index);
    let mut made = lists.made(around.map(|id| graph.nodes[id].name()));
    let mut input: Vec<String> = Vec::new();
    for (at, &port) in args.ports.iter().enumerate() {
        let list = frame.variables.get(at).and_then(|variable| lists.empty(graph, variable.first));
        input.push(list.unwrap_or_else(|| text(port)));
    }
    input.extend(waits.iter().map(|&id| format!("^{}", graph.nodes[id].name())));
    let first = frame.variables.iter().flat_map(|variable| &variable.exits).next();
    let &first = first.ok_or("nothing takes what it gives")?;
    let name = fresh(graph, format!("{}/tftrt_while", graph.nodes[first].name()));
    let def = tf::NodeDef {
        name: name.clone(),
        op: "StatelessWhile".into(),
        input,
        device: placed,
        attr: [
            ("T".to_string(), types(args.infos.iter())),
            ("cond".to_string(), function()),
            ("body".to_string(), function()),
            ("output_shapes".to_string(), shapes(args.infos.iter())),
            ("parallel_iterations".to_string(), attr(Value::I(10))),
            (inner::GRAPHS.to_string(), inner::to_attr(&graphs)),
            (inner::VARIABLES.to_string(), attr(Value::I(frame.variables.len() as i64))),
        ]
        .into(),
        ..Default::default()
    };
    made.append(&mut taken_out(graph, &args.taken_out, around));
    made.push((def, args.infos.clone()));
    let mut gone = frame.nodes.clone();
    let mut results = Vec::new();
    for (at, variable) in frame.variables.iter().enumerate() {
        for &exit in &variable.exits {
            let from = input_text(&name, at);
            if !lists.is_list(variable.first) {
                made.push(hands_on(graph, exit, &from, &args.infos[at]));
                results.push((graph.nodes[exit].name().to_string(), firsts[at]));
                continue;
            }
            for stack in lists::stacks(graph, takers, exit, &mut gone)? {
                gone.insert(stack);
                let info = lists.stacked(graph, stack, &args.infos[at]);
                made.push(hands_on(graph, stack, &from, &info));
            }
        }
    }
    Ok(Made {
        change: Change {
            gone,
            made,
            sources: frame.sources.clone(),
        },
        node: name,
        results,
    })
}
