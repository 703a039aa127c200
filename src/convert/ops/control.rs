//! Loops and conditionals: ONNX's Loop and If, whose graphs are made by the converters of the ops inside. Calls become what is inside.
//!
//! `optimizer/flow` makes these nodes, with their graphs inside ([`inner`]). What a graph takes that is the same in every round, it
//! takes by name from the graph around, as ONNX lets it; so do weights, which are there once. Only plain forms go in and out of a
//! graph as variables and results.

use super::Converter;
use crate::convert::builder::{Attr, Declared};
use crate::convert::context::{Context, State};
use crate::convert::value::{Form, Value, ValueId};
use crate::convert::view::View;
use crate::convert::{BadValues, Reason, guard, nesting};
use crate::graph::inner::{self, Inner};
use crate::graph::{DType, NodeId, PartialShape, Port};
use crate::proto::onnx;

fn supports(view: View) -> Result<(), Reason> {
    if inner::functions(view.node()).is_none() {
        return Err(
            "Its functions are not read; a model is converted with its control flow lowered, as TrtGraphConverterV2 freezes it.".into(),
        );
    }
    if inner::is_too_deep(&view.node().def) {
        return Err("Too many loops and conditionals are inside each other.".into());
    }
    for inner in &inner::open(view.graph, view.id)? {
        nesting::may_nest(view.op(), &inner.graph)?;
        for id in 0..inner.graph.nodes.len() {
            let node = &inner.graph.nodes[id];
            if !matches!(node.op(), "_Arg" | "_Retval") {
                let inside = |reason| format!("node '{}' ({}) inside: {reason}", node.name(), node.op());
                crate::convert::supports(&inner.graph, id).map_err(inside)?;
            }
        }
    }
    Ok(())
}

/// Converts a graph that is given `args`; its results.
fn convert_inner(state: &mut State, inner: &Inner, args: &[ValueId]) -> Result<Vec<ValueId>, Reason> {
    let order = inner
        .graph
        .topological_order()
        .map_err(|nodes| format!("the graph inside has a cycle through {nodes:?}"))?;
    let told = state.options.bad_values == BadValues::Told;
    let forward = inner::forward(&inner.graph).filter(|_| told);
    let claims = forward.map(|forward| guard::claims(&inner.graph, &forward)).unwrap_or_default();
    state.on_graph(claims, |state| {
        for (&node, &value) in inner.args.iter().zip(args) {
            state.set(Port { node, index: 0 }, value);
        }
        let is_own = |id: &NodeId| !inner.args.contains(id) && inner.graph.nodes[*id].op() != "_Retval";
        for id in order.into_iter().filter(is_own) {
            let done = crate::convert::convert_node(&inner.graph, id, state).and_then(|()| state.require_claims(&inner.graph, id));
            done.map_err(|reason| {
                let node = &inner.graph.nodes[id];
                format!("node '{}' ({}) inside: {reason}", node.name(), node.op())
            })?;
        }
        let value = |port: &Port| state.find(*port).ok_or_else(|| "a result inside has no value".to_string());
        inner.results.iter().map(value).collect()
    })
}

/// What tells, in a graph inside, whether the call is good.
fn word(name: String) -> Declared {
    Declared {
        name,
        dtype: DType::BOOL,
        shape: guard::shape(),
    }
}

fn shape(value: &Value) -> PartialShape {
    PartialShape(Some(value.dims.clone()))
}

/// The plain form of each value, as outputs of a graph.
fn declared(state: &mut State, values: &[ValueId]) -> Result<Vec<Declared>, Reason> {
    let declare = |&id: &ValueId| {
        let name = state.name(id, Form::Plain)?;
        let value = state.value(id);
        Ok(Declared {
            name,
            dtype: value.dtype,
            shape: shape(value),
        })
    };
    values.iter().map(declare).collect()
}

/// The graphs inside the node.
fn graphs<const N: usize>(cx: &Context) -> Result<[Inner; N], Reason> {
    let found = inner::open(cx.view.graph, cx.view.id)?;
    let count = found.len();
    found
        .try_into()
        .map_err(|_| format!("it holds {count} graphs where {N} were expected"))
}

fn called(cx: &mut Context) -> Result<(), Reason> {
    let [body] = graphs(cx)?;
    let args = cx.inputs().to_vec();
    let results = convert_inner(cx.state, &body, &args)?;
    for (index, id) in results.into_iter().enumerate() {
        let port = Port { node: cx.view.id, index };
        cx.state.set(port, id);
    }
    Ok(())
}

fn choice(cx: &mut Context) -> Result<(), Reason> {
    let graphs: [Inner; 2] = graphs(cx)?;
    let args = cx.inputs()[1..].to_vec();
    let predicate = cx.plain(0)?;
    let scope = cx.view.node().name().to_string();
    let guarded = cx.state.options.bad_values == BadValues::Told;
    let (mut branches, mut asks): (Vec<onnx::GraphProto>, bool) = (Vec::new(), false);
    for (inner, name) in graphs.iter().zip(["then", "else"]) {
        let before = cx.state.enter();
        let results = convert_inner(cx.state, inner, &args)?;
        let mut outputs = declared(cx.state, &results)?;
        if guarded {
            // Whether the call is good for this branch.
            let holds = cx.state.guard();
            asks |= holds.is_some();
            outputs.push(word(match holds {
                Some(holds) => holds,
                None => cx.state.holds()?,
            }));
        }
        let branch = cx.state.leave(before, &format!("{scope}/{name}"), &[], &outputs)?;
        nesting::may_hold("If", &branch)?;
        branches.push(branch);
    }
    if guarded && !asks {
        branches.iter_mut().for_each(|branch| drop(branch.output.pop()));
    }
    let count = branches[0].output.len();
    let mut branches = branches.into_iter().map(|graph| Attr::Graph(Box::new(graph)));
    let attrs: Vec<(&str, Attr)> = ["then_branch", "else_branch"].into_iter().zip(&mut branches).collect();
    let mut names = cx.state.builder.emit_many("If", &[&predicate], count, &attrs);
    if asks && let Some(holds) = names.pop() {
        cx.state.require(holds);
    }
    names
        .into_iter()
        .enumerate()
        .try_for_each(|(i, name)| cx.give(i, Form::Plain, name))
}

/// Whether a loop goes on: where `goes_on` says so, and the call is good so far.
fn goes_on_while(state: &mut State, goes_on: &str, holds: &str) -> String {
    let axis = state.builder.vector(&[0]);
    let holds = state.builder.emit("Squeeze", &[holds, &axis], &[]);
    state.builder.emit("And", &[goes_on, &holds], &[])
}

fn looped(cx: &mut Context) -> Result<(), Reason> {
    let [condition, body] = graphs(cx)?;
    let given = cx.inputs().to_vec();
    let variables = cx.view.node().attr_i(inner::VARIABLES).and_then(|n| usize::try_from(n).ok());
    let variables = variables
        .filter(|&n| n <= given.len())
        .ok_or("it does not say how many of its inputs change")?;
    let scope = cx.view.node().name().to_string();
    let state = &mut *cx.state;
    // Before the first round the condition is asked outside, after each round inside.
    let begins = convert_inner(state, &condition, &given)?;
    let mut begins = state.name(*begins.first().ok_or("its condition gives nothing")?, Form::Plain)?;
    if let Some(holds) = state.guard() {
        // With numbers that TensorFlow never sees a loop might not end.
        begins = goes_on_while(state, &begins, &holds);
    }
    let mut firsts = vec![String::new(), begins];
    for &id in &given[..variables] {
        firsts.push(state.name(id, Form::Plain)?);
    }
    let before = state.enter();
    let scalar = |name: String, dtype| Declared {
        name,
        dtype,
        shape: PartialShape::scalar(),
    };
    state.builder.scope.clone_from(&scope);
    let mut inputs = vec![
        scalar(state.builder.fresh("round"), DType::INT64),
        scalar(state.builder.fresh("goes_on"), DType::BOOL),
    ];
    let mut args = given.clone();
    for (at, arg) in args.iter_mut().enumerate().take(variables) {
        let name = state.builder.fresh("variable");
        let info = inner_info(&body, at)?;
        let mut value = Value::new(info.dtype, info.shape.dims().ok_or("the rank of a variable is unknown")?.to_vec());
        value.set_name(Form::Plain, name.clone());
        inputs.push(Declared {
            name,
            dtype: info.dtype,
            shape: info.shape.clone(),
        });
        *arg = state.variable(value);
    }
    let nexts = convert_inner(state, &body, &args)?;
    let nexts = nexts.get(..variables).ok_or("its body gives too few values")?;
    args[..variables].copy_from_slice(nexts);
    let goes_on = convert_inner(state, &condition, &args)?;
    let mut outputs = declared(state, &[&goes_on[..1], nexts].concat())?;
    let guarded = state.guard();
    if let Some(holds) = &guarded {
        // What held in all rounds before is one more variable.
        let before = state.builder.fresh("variable");
        let holds = state.builder.emit("And", &[&before, holds], &[]);
        inputs.push(word(before));
        outputs[0].name = goes_on_while(state, &outputs[0].name, &holds);
        outputs.push(word(holds));
    }
    let graph = state.leave(before, &format!("{scope}/body"), &inputs, &outputs)?;
    nesting::may_hold("Loop", &graph)?;
    if guarded.is_some() {
        firsts.push(state.holds()?);
    }
    let firsts: Vec<&str> = firsts.iter().map(String::as_str).collect();
    let count = outputs.len() - 1;
    let mut names = state
        .builder
        .emit_many("Loop", &firsts, count, &[("body", Attr::Graph(Box::new(graph)))]);
    if guarded.is_some()
        && let Some(holds) = names.pop()
    {
        state.require(holds);
    }
    for (i, name) in names.into_iter().enumerate() {
        cx.give(i, Form::Plain, name)?;
    }
    (variables..given.len()).for_each(|i| cx.alias(i, i));
    Ok(())
}

fn inner_info(inner: &Inner, at: usize) -> Result<&crate::graph::TensorInfo, Reason> {
    let port = Port {
        node: inner.args[at],
        index: 0,
    };
    inner
        .graph
        .info(port)
        .ok_or_else(|| format!("the type of argument {at} inside is unknown"))
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "PartitionedCall",
        supports,
        convert: called,
    },
    Converter {
        op: "StatelessIf",
        supports,
        convert: choice,
    },
    Converter {
        op: "StatelessWhile",
        supports,
        convert: looped,
    },
];
