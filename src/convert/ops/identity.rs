//! Ops that hand their inputs on, and constants.

use super::Converter;
use crate::convert::Reason;
use crate::convert::context::Context;
use crate::convert::view::View;
use crate::graph::{Constant, ConstantError, Port};

/// TensorFlow gives each of these an output for each input; a graph from elsewhere may tell of more.
fn an_input_each(view: View) -> Result<(), Reason> {
    match (view.node().outputs.len(), view.count()) {
        (outputs, inputs) if outputs > inputs => Err(format!("{} has {outputs} outputs of {inputs} inputs.", view.op())),
        _ => Ok(()),
    }
}

/// Every output is the input of its number.
fn hand_on(cx: &mut Context) -> Result<(), Reason> {
    for i in 0..cx.view.node().outputs.len() {
        cx.alias(i, i);
    }
    Ok(())
}

fn read(view: View) -> Result<Constant, Reason> {
    let proto = view.node().attr_tensor("value").ok_or("its attribute value is no tensor")?;
    Constant::from_proto(proto).map_err(|e: ConstantError| e.to_string())
}

fn constant(cx: &mut Context) -> Result<(), Reason> {
    let value = read(cx.view)?;
    cx.give_constant(0, value);
    Ok(())
}

/// Only that a value is there: reading every weight to judge a graph would cost too much.
fn constant_supports(view: View) -> Result<(), Reason> {
    let port = Port { node: view.id, index: 0 };
    view.graph.info(port).ok_or("its type is unknown")?;
    view.node()
        .attr_tensor("value")
        .map(|_| ())
        .ok_or("its attribute value is no tensor".to_string())
}

macro_rules! identity {
    ($op:literal) => {
        Converter {
            op: $op,
            supports: an_input_each,
            convert: hand_on,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "Const",
        supports: constant_supports,
        convert: constant,
    },
    identity!("Identity"),
    identity!("IdentityN"),
    identity!("PreventGradient"),
    identity!("Snapshot"),
    identity!("StopGradient"),
];
