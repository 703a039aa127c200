//! What an ONNX model out of a file may ask ONNX Runtime for: nothing but its own bytes and the standard's operators.

use crate::proto::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto};
use bytes::Bytes;
use prost::Message;

/// Looks at a model before ONNX Runtime does. A model may say that its weights are in another file, anywhere, and ONNX Runtime would
/// open that; and operators of other domains may do more than compute. This library writes neither.
///
/// # Errors
/// What the model asks for, or why it is no ONNX model (ONNX Runtime's own format is none: it is not looked into here).
pub(super) fn check(model: &Bytes) -> Result<(), String> {
    let model = ModelProto::decode(model.clone()).map_err(|why| format!("it is no ONNX model: {why}"))?;
    if !model.training_info.is_empty() {
        return Err("it holds a training graph, which this library never writes".to_string());
    }
    let functions = model.functions.iter().flat_map(|function| &function.node);
    functions.into_iter().try_for_each(node)?;
    let top = model.graph.as_ref().ok_or("it is an ONNX model without a graph")?;
    graph(top)
}

fn graph(graph: &GraphProto) -> Result<(), String> {
    graph.initializer.iter().try_for_each(tensor)?;
    graph.sparse_initializer.iter().try_for_each(sparse)?;
    graph.node.iter().try_for_each(node)
}

fn node(node: &NodeProto) -> Result<(), String> {
    if !matches!(node.domain(), "" | "ai.onnx") {
        return Err(format!(
            "its node '{}' is an operator of '{}', and this library writes those of ONNX's own domain only",
            node.name(),
            node.domain()
        ));
    }
    node.attribute.iter().try_for_each(attribute)
}

fn attribute(attribute: &AttributeProto) -> Result<(), String> {
    attribute.t.iter().chain(&attribute.tensors).try_for_each(tensor)?;
    let sparses = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors);
    sparses.into_iter().try_for_each(sparse)?;
    attribute.g.iter().chain(&attribute.graphs).try_for_each(graph)
}

fn sparse(one: &SparseTensorProto) -> Result<(), String> {
    one.values.iter().chain(&one.indices).try_for_each(tensor)
}

fn tensor(tensor: &TensorProto) -> Result<(), String> {
    match tensor.external_data.is_empty() && tensor.data_location.unwrap_or(0) == 0 {
        true => Ok(()),
        false => Err(format!(
            "its tensor '{}' is in another file, which is not opened: an engine's model holds its own weights",
            tensor.name()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::onnx::StringStringEntryProto;

    fn elsewhere() -> TensorProto {
        TensorProto {
            name: Some("w".into()),
            data_location: Some(1),
            external_data: vec![StringStringEntryProto {
                key: Some("location".into()),
                value: Some("../../etc/passwd".into()),
            }],
            ..Default::default()
        }
    }

    fn said(graph: GraphProto) -> Result<(), String> {
        let model = ModelProto {
            graph: Some(graph),
            ..Default::default()
        };
        check(&Bytes::from(model.encode_to_vec()))
    }

    fn with(attribute: AttributeProto) -> GraphProto {
        GraphProto {
            node: vec![NodeProto {
                attribute: vec![attribute],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn a_model_of_its_own_weights_passes() {
        let own = GraphProto {
            initializer: vec![TensorProto::default()],
            ..Default::default()
        };
        assert_eq!(said(own), Ok(()));
    }

    #[test]
    fn weights_in_other_files_are_refused_wherever_they_are_named() {
        let initializer = GraphProto {
            initializer: vec![elsewhere()],
            ..Default::default()
        };
        let attribute = with(AttributeProto {
            t: Some(elsewhere()),
            ..Default::default()
        });
        let branch = with(AttributeProto {
            g: Some(initializer.clone()),
            ..Default::default()
        });
        let sparse = GraphProto {
            sparse_initializer: vec![SparseTensorProto {
                values: Some(elsewhere()),
                ..Default::default()
            }],
            ..Default::default()
        };
        for graph in [initializer, attribute, branch, sparse] {
            assert!(said(graph).unwrap_err().contains("tensor 'w' is in another file"));
        }
    }

    #[test]
    fn other_domains_and_other_formats_are_refused() {
        let foreign = GraphProto {
            node: vec![NodeProto {
                name: Some("n".into()),
                domain: Some("com.microsoft".into()),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert!(said(foreign).unwrap_err().contains("com.microsoft"));
        assert!(
            check(&Bytes::from_static(b"\x18\x00\x00\x00ORTM garbage"))
                .unwrap_err()
                .contains("no ONNX model")
        );
        assert!(check(&Bytes::new()).unwrap_err().contains("without a graph"));
    }
}
