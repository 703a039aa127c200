//! Which inputs of a model are shapes themselves.

use crate::proto::graphs_of;
use crate::proto::onnx::{GraphProto, ModelProto, NodeProto};
use bytes::Bytes;
use prost::Message;
use std::collections::{HashMap, HashSet};

/// By op, the operands that say how large its output is.
fn shape_operands(op: &str) -> &'static [usize] {
    match op {
        "Reshape" | "Expand" | "Tile" | "Pad" | "TopK" | "OneHot" | "Split" | "Squeeze" | "Unsqueeze" => &[1],
        "ConstantOfShape" => &[0],
        "Range" => &[0, 1, 2],
        // The boxes it selects are counted when it runs: no bounds of their values would tell how many.
        "NonMaxSuppression" => &[2],
        "Slice" => &[1, 2, 3, 4],
        "Resize" => &[2, 3],
        _ => &[],
    }
}

/// For each input of a serialized model, whether the shapes of other tensors follow from its values, which TensorRT then wants
/// bounds for in every profile. It may say so of an input for which TensorRT finds a way without, but not the other way round.
///
/// # Errors
/// Where the bytes are no model.
pub fn shape_inputs(model: &Bytes) -> Result<Vec<bool>, String> {
    let model = ModelProto::decode(model.clone()).map_err(|e| format!("the model cannot be read: {e}"))?;
    Ok(model.graph.as_ref().map(of_graph).unwrap_or_default())
}

fn of_graph(graph: &GraphProto) -> Vec<bool> {
    let mut nodes = Vec::new();
    let mut producers: HashMap<&str, &NodeProto> = HashMap::new();
    within(graph, &mut nodes, &mut producers);
    let mut shapes = HashSet::new();
    let mut found: Vec<&str> = nodes
        .iter()
        .flat_map(|node| {
            let operands = shape_operands(node.op_type());
            // Range: of floats too.
            operands.iter().filter_map(|&i| node.input.get(i)).map(String::as_str)
        })
        .collect();
    while let Some(tensor) = found.pop() {
        if tensor.is_empty() || !shapes.insert(tensor) {
            continue;
        }
        if let Some(node) = producers.get(tensor) {
            // What only asks for the shape of its operand needs none of its values.
            if !matches!(node.op_type(), "Shape" | "Size") {
                found.extend(node.input.iter().map(String::as_str));
                // What a loop or conditional gives comes of what its graphs give.
                found.extend(graphs_of(node).flat_map(|graph| &graph.output).map(|output| output.name()));
            }
        }
    }
    graph.input.iter().map(|input| shapes.contains(input.name())).collect()
}

/// All nodes, with those of graphs inside nodes, and what gives each tensor. A variable of a loop is given by the loop.
fn within<'a>(graph: &'a GraphProto, nodes: &mut Vec<&'a NodeProto>, producers: &mut HashMap<&'a str, &'a NodeProto>) {
    for node in &graph.node {
        nodes.push(node);
        producers.extend(node.output.iter().map(|output| (output.as_str(), node)));
        for inside in graphs_of(node) {
            producers.extend(inside.input.iter().map(|input| (input.name(), node)));
            within(inside, nodes, producers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::onnx::ValueInfoProto;

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: Some(op.into()),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.into()],
            ..Default::default()
        }
    }

    fn found(inputs: &[&str], nodes: Vec<NodeProto>) -> Vec<bool> {
        let input = |name: &&str| ValueInfoProto {
            name: Some(name.to_string()),
            ..Default::default()
        };
        let graph = GraphProto {
            node: nodes,
            input: inputs.iter().map(input).collect(),
            ..Default::default()
        };
        let model = ModelProto {
            graph: Some(graph),
            ..Default::default()
        };
        shape_inputs(&Bytes::from(model.encode_to_vec())).unwrap()
    }

    #[test]
    fn what_reaches_a_shape_operand_by_its_values() {
        let nodes = vec![
            node("Cast", &["wanted"], "wide"),
            node("Concat", &["wide", "one"], "shape"),
            node("Reshape", &["x", "shape"], "y"),
        ];
        assert_eq!(found(&["x", "wanted"], nodes), [false, true]);
    }

    #[test]
    fn not_what_gives_only_its_shape_or_is_data() {
        let nodes = vec![
            node("Shape", &["like"], "shape"),
            node("Expand", &["x", "shape"], "wide"),
            node("Gather", &["table", "ids"], "rows"),
            node("Slice", &["rows", "zero", "end", "", ""], "part"),
        ];
        assert_eq!(found(&["like", "x", "ids", "end"], nodes), [false, false, false, true]);
    }
}
