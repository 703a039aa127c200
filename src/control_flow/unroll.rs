//! A loop whose number of rounds is known, as that many copies of its body.
//!
//! A tensor list, which is what `tf.map_fn`, `tf.scan` and recurrent layers read from and write to, is followed element by
//! element: reading one is the tensor that was put there. So no list is left.

use super::const_eval;
use super::frames::Frame;
use super::node_error;
use super::subgraph::backward_slice;
use crate::convert::Reason;
use crate::graph::native_segment::{attr, input_text};
use crate::graph::{DType, Graph, NewNode, NodeId, PartialShape, Patch, Port, TensorInfo};
use crate::proto::tensorflow as tf;
use std::collections::{BTreeSet, HashMap, HashSet};
use tf::attr_value::Value as Attr;

/// More rounds than this are a loop, whatever is in it.
const MAX_ROUNDS: usize = 512;
/// Nodes of all rounds together. An engine's time to build grows with them.
const MAX_NODES: usize = 6000;

#[derive(Clone)]
struct Tensor {
    /// As an entry of `NodeDef.input`; `None` for a known value that no node holds yet.
    text: Option<String>,
    info: TensorInfo,
    known: Option<i64>,
}

#[derive(Clone)]
enum Value {
    Tensor(Tensor),
    /// `None`: an element that was never written.
    List(Vec<Option<Tensor>>),
}

struct Unroller<'a> {
    graph: &'a Graph,
    frame: &'a Frame,
    made: Vec<NewNode>,
    names: HashSet<String>,
    /// Elements of the lists that tensors outside were made into.
    unpacked: HashMap<NodeId, Vec<Option<Tensor>>>,
    /// Constants that were made, by type and value.
    constants: HashMap<(DType, i64), String>,
    /// A node of the loop around this one. What takes nothing has to wait for it, or it would be outside of that loop.
    around: Option<NodeId>,
}

/// Unrolls `frame`; gives the number of its rounds, too. `takers` are those of [`Graph::takers`], `order` is a topological order of the graph, `around`
/// a node of the loop that this one is in. Whatever takes its
/// results is made to wait for `waits`.
///
/// # Errors
/// Why it stays a loop.
pub fn unroll(
    graph: &Graph,
    frame: &Frame,
    takers: &[Vec<NodeId>],
    order: &[NodeId],
    around: Option<NodeId>,
    waits: &BTreeSet<NodeId>,
) -> Result<(Patch, usize), Reason> {
    let mut unroller = Unroller {
        graph,
        frame,
        made: Vec::new(),
        names: HashSet::new(),
        unpacked: HashMap::new(),
        constants: HashMap::new(),
        around,
    };
    let firsts = frame.variables.iter().map(|variable| unroller.outside(variable.first));
    let mut now: Vec<Value> = firsts.collect::<Result<_, _>>()?;
    let mut same: HashMap<Port, Value> = HashMap::new();
    for (&inside, &outside) in &frame.invariants {
        // One that only the condition's end waits for may be of any kind.
        if let Ok(value) = unroller.outside(outside) {
            same.insert(inside, value);
        }
    }
    let condition = unroller.backward_slice(&[frame.condition], order);
    let nexts: Vec<Port> = frame.variables.iter().map(|variable| variable.next).collect();
    let body = unroller.backward_slice(&nexts, order);
    // What depends on no variable is the same in every round.
    let mut varies: HashSet<NodeId> = frame.reads.keys().map(|port| port.node).collect();
    for &id in body.iter().chain(&condition) {
        if graph.nodes[id].inputs.iter().any(|port| varies.contains(&port.node)) {
            varies.insert(id);
        }
    }
    for &id in body.iter().filter(|id| !varies.contains(id)) {
        unroller.run(id, None, &mut same, &[])?;
    }
    let mut rounds = 0;
    while unroller.goes_on(&condition, &same, &now)? {
        let mut values = HashMap::new();
        for &id in body.iter().filter(|id| varies.contains(id)) {
            unroller.run_in(id, rounds, &same, &mut values, &now)?;
        }
        let next = |&port: &Port| unroller.find(port, &same, &values, &now);
        now = nexts.iter().map(next).collect::<Result<_, _>>()?;
        rounds += 1;
        let (nodes, limit) = (unroller.made.len(), MAX_NODES);
        if rounds > MAX_ROUNDS {
            return Err(format!("it runs more than {MAX_ROUNDS} rounds"));
        }
        if nodes > limit {
            return Err(format!("its first {rounds} rounds are {nodes} nodes, over the limit of {limit}"));
        }
    }
    let mut gone = frame.nodes.clone();
    for (variable, last) in frame.variables.iter().zip(now) {
        for &exit in &variable.exits {
            unroller.leave(exit, &last, takers, waits, &mut gone)?;
        }
    }
    let patch = Patch {
        remove: gone,
        add: unroller.made,
        feeds: frame.sources.clone(),
    };
    Ok((patch, rounds))
}

impl Unroller<'_> {
    fn name(&self, id: NodeId) -> &str {
        self.graph.nodes[id].name()
    }

    /// The nodes of the frame that compute `ports`, in order, without those by which it reads its variables.
    fn backward_slice(&self, ports: &[Port], order: &[NodeId]) -> Vec<NodeId> {
        let ends = |port: Port| self.frame.reads.contains_key(&port) || self.frame.invariants.contains_key(&port);
        backward_slice(self.graph, ports, order, ends)
    }

    fn error(&self, id: NodeId, what: &str) -> Reason {
        node_error(self.graph, id, what)
    }

    fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_string();
        let mut more = 1;
        while self.graph.find(&name).is_some() || !self.names.insert(name.clone()) {
            name = format!("{base}_{more}");
            more += 1;
        }
        name
    }

    fn info(&self, port: Port) -> Result<TensorInfo, Reason> {
        let unknown = || self.error(port.node, &format!("has an output {} of unknown type", port.index));
        self.graph.info(port).cloned().ok_or_else(unknown)
    }

    /// A tensor or list of the graph around the loop.
    fn outside(&mut self, port: Port) -> Result<Value, Reason> {
        let node = &self.graph.nodes[port.node];
        let info = self.info(port)?;
        if info.dtype != DType::VARIANT {
            return Ok(Value::Tensor(Tensor {
                text: Some(input_text(node.name(), port.index)),
                known: self.known(port, &info),
                info,
            }));
        }
        match node.op() {
            "Identity" => self.outside(node.inputs[0]),
            "TensorListReserve" => {
                let size = node.inputs.get(1).and_then(|&port| self.known(port, &self.info(port).ok()?));
                let size = size.and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| self.error(port.node, "makes a list whose size is not known"))?;
                if size > MAX_ROUNDS {
                    return Err(self.error(
                        port.node,
                        &format!("makes a list of {size} elements, over the limit of {MAX_ROUNDS}"),
                    ));
                }
                Ok(Value::List(vec![None; size]))
            }
            "TensorListFromTensor" => {
                if !self.unpacked.contains_key(&port.node) {
                    let elements = self.unpack(port.node)?;
                    self.unpacked.insert(port.node, elements);
                }
                Ok(Value::List(self.unpacked[&port.node].clone()))
            }
            _ => Err(self.error(port.node, "gives a variant that is no list of tensors known here")),
        }
    }

    fn known(&self, port: Port, info: &TensorInfo) -> Option<i64> {
        if !const_eval::is_followed(info.dtype) || info.shape.rank() != Some(0) {
            return None;
        }
        const_eval::scalar(&self.graph.constant(port)?)
    }

    /// The slices of the tensor that the node `list` makes a list of.
    fn unpack(&mut self, list: NodeId) -> Result<Vec<Option<Tensor>>, Reason> {
        let from = self.graph.nodes[list].inputs[0];
        let info = self.info(from)?;
        let (Some(dims), Some(size)) = (info.shape.dims(), info.shape.dim(0)) else {
            return Err(self.error(list, "makes a list whose size is open"));
        };
        if !(1..=MAX_ROUNDS as i64).contains(&size) {
            return Err(self.error(
                list,
                &format!("makes a list of {size} elements, of 1 to {MAX_ROUNDS} that are followed"),
            ));
        }
        let element = TensorInfo {
            dtype: info.dtype,
            shape: PartialShape(Some(dims[1..].to_vec())),
        };
        let name = self.fresh(&format!("{}/unpacked", self.name(list)));
        let def = tf::NodeDef {
            name: name.clone(),
            op: "Unpack".into(),
            input: vec![input_text(self.name(from.node), from.index)],
            device: self.graph.nodes[list].def.device.clone(),
            attr: [
                ("T".to_string(), attr(Attr::Type(info.dtype.0))),
                ("num".to_string(), attr(Attr::I(size))),
                ("axis".to_string(), attr(Attr::I(0))),
            ]
            .into(),
            ..Default::default()
        };
        self.made.push((def, vec![element.clone(); size as usize]));
        let tensor = |at: usize| Tensor {
            text: Some(input_text(&name, at)),
            info: element.clone(),
            known: None,
        };
        Ok((0..size as usize).map(|at| Some(tensor(at))).collect())
    }

    fn find(&self, port: Port, same: &HashMap<Port, Value>, values: &HashMap<Port, Value>, now: &[Value]) -> Result<Value, Reason> {
        let read = self.frame.reads.get(&port).map(|&at| &now[at]);
        let value = read.or_else(|| values.get(&port)).or_else(|| same.get(&port));
        value
            .cloned()
            .ok_or_else(|| self.error(port.node, "gives what cannot be followed out of the loop"))
    }

    /// Whether the condition holds.
    fn goes_on(&self, condition: &[NodeId], same: &HashMap<Port, Value>, now: &[Value]) -> Result<bool, Reason> {
        let mut known: HashMap<Port, i64> = HashMap::new();
        let look = |port: Port, known: &HashMap<Port, i64>| match self.find(port, same, &HashMap::new(), now) {
            Ok(Value::Tensor(tensor)) => tensor.known,
            _ => known.get(&port).copied(),
        };
        for &id in condition {
            let (node, port) = (&self.graph.nodes[id], Port { node: id, index: 0 });
            let Some(info) = self.graph.info(port) else { continue };
            let inputs: Vec<Option<i64>> = node.inputs.iter().map(|&port| look(port, &known)).collect();
            let value = self.known(port, info).or_else(|| const_eval::fold(node.op(), &inputs, info.dtype));
            known.extend(value.map(|value| (port, value)));
        }
        match look(self.frame.condition, &known) {
            Some(value) => Ok(value != 0),
            None => Err("the number of its rounds is known only when it runs".into()),
        }
    }

    fn run_in(
        &mut self,
        id: NodeId,
        round: usize,
        same: &HashMap<Port, Value>,
        values: &mut HashMap<Port, Value>,
        now: &[Value],
    ) -> Result<(), Reason> {
        let inputs = &self.graph.nodes[id].inputs;
        let inputs: Vec<Value> = inputs
            .iter()
            .map(|&port| self.find(port, same, values, now))
            .collect::<Result<_, _>>()?;
        self.compute(id, Some(round), inputs, values)
    }

    fn run(&mut self, id: NodeId, round: Option<usize>, same: &mut HashMap<Port, Value>, now: &[Value]) -> Result<(), Reason> {
        let inputs = &self.graph.nodes[id].inputs;
        let none = HashMap::new();
        let inputs: Vec<Value> = inputs
            .iter()
            .map(|&port| self.find(port, same, &none, now))
            .collect::<Result<_, _>>()?;
        self.compute(id, round, inputs, same)
    }

    /// Puts the outputs of node `id`, in the round of that number or once for all, into `values`.
    fn compute(&mut self, id: NodeId, round: Option<usize>, inputs: Vec<Value>, values: &mut HashMap<Port, Value>) -> Result<(), Reason> {
        let node = &self.graph.nodes[id];
        let port = Port { node: id, index: 0 };
        match node.op() {
            "Identity" => {
                values.extend(inputs.into_iter().next().map(|value| (port, value)));
                return Ok(());
            }
            "TensorListGetItem" => {
                let (list, at) = self.element(id, &inputs)?;
                let found = list.get(at).cloned().flatten();
                let found = found.ok_or_else(|| self.error(id, &format!("reads element {at}, which was never written")))?;
                values.insert(port, Value::Tensor(found));
                return Ok(());
            }
            "TensorListSetItem" => {
                let (mut list, at) = self.element(id, &inputs)?;
                let Some(Value::Tensor(item)) = inputs.get(2) else {
                    return Err(self.error(id, "writes a list into a list"));
                };
                if node.attr_b("resize_if_index_out_of_bounds") == Some(true) && (list.len()..MAX_ROUNDS).contains(&at) {
                    list.resize(at + 1, None);
                }
                let size = list.len();
                let place = list.get_mut(at);
                let place = place.ok_or_else(|| self.error(id, &format!("writes element {at} of a list of {size}")))?;
                *place = Some(item.clone());
                values.insert(port, Value::List(list));
                return Ok(());
            }
            _ => {}
        }
        let mut tensors = Vec::new();
        for value in inputs {
            match value {
                Value::Tensor(tensor) => tensors.push(tensor),
                Value::List(_) => return Err(self.error(id, "takes a list of tensors")),
            }
        }
        if node.outputs.is_empty() {
            return Err(self.error(id, "has outputs of unknown type"));
        }
        let info = &node.outputs[0];
        let scalar = node.outputs.len() == 1 && info.shape.rank() == Some(0) && const_eval::is_followed(info.dtype);
        let known: Vec<Option<i64>> = tensors.iter().map(|tensor| tensor.known).collect();
        if let Some(value) = const_eval::fold(node.op(), &known, info.dtype).filter(|_| scalar) {
            let tensor = Tensor {
                text: None,
                info: info.clone(),
                known: Some(value),
            };
            values.insert(port, Value::Tensor(tensor));
            return Ok(());
        }
        let name = match round {
            Some(round) => self.fresh(&format!("{}/round_{round}", node.name())),
            None => self.fresh(&format!("{}/unrolled", node.name())),
        };
        let mut def = node.def.clone();
        def.name.clone_from(&name);
        def.input = tensors.iter().map(|tensor| self.text(tensor)).collect();
        if def.input.is_empty() {
            def.input.extend(self.anchor());
        }
        // Beside whom a node was placed does not matter to what an engine may hold.
        def.attr.remove("_class");
        self.made.push((def, node.outputs.clone()));
        for (index, info) in node.outputs.iter().enumerate() {
            let port = Port { node: id, index };
            let tensor = Tensor {
                text: Some(input_text(&name, index)),
                known: self.known(port, info),
                info: info.clone(),
            };
            values.insert(port, Value::Tensor(tensor));
        }
        Ok(())
    }

    fn anchor(&self) -> Option<String> {
        self.around.map(|id| format!("^{}", self.name(id)))
    }

    /// The list that input 0 is, and the place that input 1 names.
    fn element(&self, id: NodeId, inputs: &[Value]) -> Result<(Vec<Option<Tensor>>, usize), Reason> {
        let Some(Value::List(list)) = inputs.first() else {
            return Err(self.error(id, "takes a list that is not known here"));
        };
        match inputs.get(1) {
            Some(Value::Tensor(Tensor { known: Some(at), .. })) => match usize::try_from(*at) {
                Ok(at) => Ok((list.clone(), at)),
                Err(_) => Err(self.error(id, &format!("names element {at}"))),
            },
            _ => Err(self.error(id, "names an element that is known only when it runs")),
        }
    }

    /// The tensor as an input; a known value gets its constant.
    fn text(&mut self, tensor: &Tensor) -> String {
        if let Some(text) = &tensor.text {
            return text.clone();
        }
        let (dtype, value) = (tensor.info.dtype, tensor.known.unwrap_or_default());
        if let Some(name) = self.constants.get(&(dtype, value)) {
            return name.clone();
        }
        let name = self.fresh(&format!("{}/{}_{value}", self.frame.name, dtype.name()));
        let mut def = const_eval::node(&name, dtype, value);
        def.input.extend(self.anchor());
        let shape = PartialShape::scalar();
        self.made.push((def, vec![TensorInfo { dtype, shape }]));
        self.constants.insert((dtype, value), name.clone());
        name
    }

    /// Gives the last value of a variable to those that take it from `exit`. The exit keeps its name.
    fn leave(
        &mut self,
        exit: NodeId,
        last: &Value,
        takers: &[Vec<NodeId>],
        waits: &BTreeSet<NodeId>,
        gone: &mut HashSet<NodeId>,
    ) -> Result<(), Reason> {
        let controls: Vec<String> = waits.iter().map(|&id| format!("^{}", self.name(id))).collect();
        let exit_node = &self.graph.nodes[exit];
        let mut def = exit_node.def.clone();
        def.attr.remove("_class");
        let list = match last {
            Value::Tensor(tensor) => {
                def.op = "Identity".into();
                def.input = vec![self.text(tensor)];
                def.input.extend(controls);
                self.made.push((def, vec![tensor.info.clone()]));
                return Ok(());
            }
            Value::List(list) => list,
        };
        if !controls.is_empty() {
            def.op = "NoOp".into();
            def.attr.clear();
            def.input.clone_from(&controls);
            self.made.push((def, Vec::new()));
        }
        let mut exits = vec![exit];
        while let Some(from) = exits.pop() {
            for &to in &takers[from] {
                let node = &self.graph.nodes[to];
                if !node.inputs.iter().any(|port| port.node == from) || !gone.insert(to) {
                    continue;
                }
                match node.op() {
                    "Identity" => exits.push(to),
                    "TensorListStack" => {
                        let stacked = self.stack(to, list, &controls)?;
                        self.made.push(stacked);
                    }
                    _ => return Err(self.error(to, "takes a list of tensors that the loop gives")),
                }
            }
        }
        Ok(())
    }

    /// The node that makes a tensor of a list, as one that packs its elements.
    fn stack(&mut self, id: NodeId, list: &[Option<Tensor>], controls: &[String]) -> Result<NewNode, Reason> {
        let unwritten = || self.error(id, "stacks a list of which an element was never written");
        let items: Vec<Tensor> = list.iter().cloned().collect::<Option<_>>().ok_or_else(unwritten)?;
        let first = items.first().ok_or_else(|| self.error(id, "stacks an empty list"))?;
        let node = &self.graph.nodes[id];
        let (dtype, size) = (first.info.dtype, items.len() as i64);
        let mut shape = node.outputs.first().map(|info| info.shape.clone()).unwrap_or_default();
        if let (None, Some(dims)) = (shape.rank(), first.info.shape.dims()) {
            shape = PartialShape(Some(std::iter::once(Some(size)).chain(dims.iter().copied()).collect()));
        }
        if let Some(leading) = shape.0.as_mut().and_then(|dims| dims.first_mut()) {
            *leading = Some(size);
        }
        let mut input: Vec<String> = items.iter().map(|item| self.text(item)).collect();
        input.extend_from_slice(controls);
        let waits = node.control_inputs.iter().filter(|from| !self.frame.nodes.contains(from));
        input.extend(waits.map(|&from| format!("^{}", self.name(from))));
        let def = tf::NodeDef {
            name: node.name().into(),
            op: "Pack".into(),
            input,
            device: node.def.device.clone(),
            attr: [
                ("T".to_string(), attr(Attr::Type(dtype.0))),
                ("N".to_string(), attr(Attr::I(size))),
                ("axis".to_string(), attr(Attr::I(0))),
            ]
            .into(),
            ..Default::default()
        };
        Ok((def, vec![TensorInfo { dtype, shape }]))
    }
}
