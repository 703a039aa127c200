//! The body of a function as a graph inside a node: its arguments and results by their fixed names, and what they need.

use super::inner;
use crate::proto::tensorflow as tf;
use std::collections::{HashMap, HashSet};
use tf::attr_value::Value;

/// Whether an op is an argument or a result of a body.
pub fn is_border(op: &str) -> bool {
    matches!(op, "_Arg" | "_Retval")
}

/// The index of an argument or result.
pub fn index(def: &tf::NodeDef) -> Option<usize> {
    match def.attr.get("index")?.value {
        Some(Value::I(at)) => usize::try_from(at).ok(),
        _ => None,
    }
}

/// Gives the arguments and results of a body the names that a graph inside a node has for them.
///
/// # Errors
/// One that has no index, or the index of another one.
pub fn name_borders(body: &mut tf::GraphDef) -> Result<(), String> {
    let mut names: HashMap<String, String> = HashMap::new();
    let mut given: HashSet<String> = HashSet::new();
    for node in &mut body.node {
        let (op, name): (&str, fn(usize) -> String) = match node.op.as_str() {
            "_Arg" | "_DeviceArg" => ("_Arg", inner::arg_name),
            "_Retval" | "_DeviceRetval" => ("_Retval", inner::result_name),
            _ => continue,
        };
        let at = index(node).ok_or_else(|| format!("node '{}' ({}) inside has no index", node.name, node.op))?;
        node.op = op.into();
        let name = name(at);
        if !given.insert(name.clone()) {
            return Err(format!(
                "node '{}' ({}) inside has index {at}, as another one has",
                node.name, node.op
            ));
        }
        names.insert(std::mem::replace(&mut node.name, name.clone()), name);
    }
    move_aside(body, &given, &mut names);
    for input in body.node.iter_mut().flat_map(|node| &mut node.input) {
        let (mark, rest) = input.strip_prefix('^').map_or(("", input.as_str()), |rest| ("^", rest));
        let (name, port) = rest.split_once(':').map_or((rest, None), |(name, port)| (name, Some(port)));
        if let Some(name) = names.get(name) {
            *input = match port {
                Some(port) => format!("{mark}{name}:{port}"),
                None => format!("{mark}{name}"),
            };
        }
    }
    Ok(())
}

/// Gives another name to each node that has one of `taken` and is no border. TensorFlow makes a constant of an argument, under its name, and
/// counts the arguments behind it anew.
fn move_aside(body: &mut tf::GraphDef, taken: &HashSet<String>, names: &mut HashMap<String, String>) {
    let mut all: HashSet<String> = body.node.iter().map(|node| node.name.clone()).collect();
    for node in body
        .node
        .iter_mut()
        .filter(|node| !is_border(&node.op) && taken.contains(&node.name))
    {
        let mut name = format!("{}_inside", node.name);
        while !all.insert(name.clone()) {
            name.push('_');
        }
        names.insert(std::mem::replace(&mut node.name, name.clone()), name);
    }
}

/// Keeps what the results follow from, and all arguments; no node waits for another any more. Returns the ops of what was removed.
pub fn prune(body: &mut tf::GraphDef) -> Vec<String> {
    for node in &mut body.node {
        node.input.retain(|input| !input.starts_with('^'));
    }
    let inputs: HashMap<&str, &Vec<String>> = body.node.iter().map(|node| (node.name.as_str(), &node.input)).collect();
    let borders = body.node.iter().filter(|node| is_border(&node.op));
    let mut waiting: Vec<&str> = borders.map(|node| node.name.as_str()).collect();
    let mut needed: HashSet<String> = HashSet::new();
    while let Some(name) = waiting.pop() {
        if needed.insert(name.to_string()) {
            let from = inputs.get(name).into_iter().flat_map(|inputs| inputs.iter());
            waiting.extend(from.map(|input| input.split_once(':').map_or(input.as_str(), |(name, _)| name)));
        }
    }
    let unused = |node: &&tf::NodeDef| !needed.contains(&node.name);
    let removed = body.node.iter().filter(unused).map(|node| node.op.clone()).collect();
    body.node.retain(|node| needed.contains(&node.name));
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, op: &str, inputs: &[&str], at: Option<i64>) -> tf::NodeDef {
        let attr = at.map(|at| ("index".to_string(), tf::AttrValue { value: Some(Value::I(at)) }));
        tf::NodeDef {
            name: name.into(),
            op: op.into(),
            input: inputs.iter().map(|input| input.to_string()).collect(),
            attr: attr.into_iter().collect(),
            ..Default::default()
        }
    }

    #[test]
    fn borders_get_their_names_by_index_and_the_rest_goes() {
        let mut body = tf::GraphDef {
            node: vec![
                // The names say another order than the indices, which alone count.
                node("tftrt_arg_0", "_Arg", &[], Some(1)),
                node("tftrt_arg_1", "_DeviceArg", &[], Some(0)),
                node("sub", "Sub", &["tftrt_arg_0", "tftrt_arg_1:0", "^print"], None),
                node("print", "Print", &["sub"], None),
                node("out", "_Retval", &["sub"], Some(0)),
            ],
            ..Default::default()
        };
        name_borders(&mut body).unwrap();
        assert_eq!(prune(&mut body), ["Print"]);
        let said: Vec<String> = body.node.iter().map(|n| format!("{} {}", n.name, n.input.join(","))).collect();
        assert_eq!(
            said,
            [
                "tftrt_arg_1 ",
                "tftrt_arg_0 ",
                "sub tftrt_arg_1,tftrt_arg_0:0",
                "tftrt_result_0 sub"
            ]
        );
    }

    #[test]
    fn a_constant_that_was_an_argument_makes_room() {
        let mut body = tf::GraphDef {
            node: vec![
                node("tftrt_arg_0", "Const", &[], None),
                node("tftrt_arg_1", "_Arg", &[], Some(0)),
                node("sub", "Sub", &["tftrt_arg_0", "tftrt_arg_1", "^tftrt_arg_0"], None),
                node("out", "_Retval", &["sub"], Some(0)),
            ],
            ..Default::default()
        };
        name_borders(&mut body).unwrap();
        let said: Vec<String> = body.node.iter().map(|n| format!("{} {}", n.name, n.input.join(","))).collect();
        let inside = "tftrt_arg_0_inside";
        assert_eq!(
            said,
            [
                format!("{inside} "),
                "tftrt_arg_0 ".to_string(),
                format!("sub {inside},tftrt_arg_0,^{inside}"),
                "tftrt_result_0 sub".to_string()
            ]
        );
        body.node[0].op = "_Arg".into();
        body.node[0].attr = body.node[1].attr.clone();
        assert!(name_borders(&mut body).unwrap_err().contains("as another one has"));
    }

    #[test]
    fn a_border_without_an_index_is_refused() {
        let mut body = tf::GraphDef {
            node: vec![node("x", "_Arg", &[], None)],
            ..Default::default()
        };
        assert!(name_borders(&mut body).unwrap_err().contains("'x' (_Arg)"));
    }
}
