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
/// One that has no index.
pub fn name_borders(body: &mut tf::GraphDef) -> Result<(), String> {
    let mut names: HashMap<String, String> = HashMap::new();
    for node in &mut body.node {
        let (op, name): (&str, fn(usize) -> String) = match node.op.as_str() {
            "_Arg" | "_DeviceArg" => ("_Arg", inner::arg_name),
            "_Retval" | "_DeviceRetval" => ("_Retval", inner::result_name),
            _ => continue,
        };
        let at = index(node).ok_or_else(|| format!("node '{}' ({}) inside has no index", node.name, node.op))?;
        node.op = op.into();
        let name = name(at);
        names.insert(std::mem::replace(&mut node.name, name.clone()), name);
    }
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
    fn a_border_without_an_index_is_refused() {
        let mut body = tf::GraphDef {
            node: vec![node("x", "_Arg", &[], None)],
            ..Default::default()
        };
        assert!(name_borders(&mut body).unwrap_err().contains("'x' (_Arg)"));
    }
}
