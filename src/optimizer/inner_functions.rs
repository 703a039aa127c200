//! The functions that the loops and conditionals of a native segment run.
//!
//! What such a node runs stands in the graphs inside it; TensorFlow runs it by functions of the library, which are made of these.

use super::Host;
use super::body::attr;
use crate::graph::inner;
use crate::proto::tensorflow as tf;
use tf::attr_value::Value;

/// Adds to `functions` all that the nodes of `body` run, at all depths, inner ones first, and writes their names into the nodes. The names begin
/// with `prefix`.
///
/// # Errors
/// What TensorFlow makes no function of.
pub fn make(host: &dyn Host, body: &mut tf::GraphDef, prefix: &str, functions: &mut Vec<tf::FunctionDef>) -> Result<(), String> {
    for node in &mut body.node {
        // A function that is called is in the library already.
        let has_own = node.op != "PartitionedCall" && node.attr.contains_key(inner::GRAPHS);
        let Some(names) = inner::functions_of(&node.op).filter(|_| has_own) else {
            continue;
        };
        for (&what, mut graph) in names.iter().zip(inner::graphs(node)?) {
            make(host, &mut graph, prefix, functions)?;
            graph.versions.clone_from(&body.versions);
            for node in &mut graph.node {
                // What the converter reads is not for TensorFlow.
                for name in ["_output_shapes", "_output_types", inner::GRAPHS, inner::VARIABLES] {
                    node.attr.remove(name);
                }
            }
            let name = format!("{prefix}_{}_{what}", functions.len());
            functions.push(host.function_from_graph(graph, &name)?);
            let named = tf::NameAttrList {
                name,
                ..Default::default()
            };
            node.attr.insert(what.into(), attr(Value::Func(named)));
        }
    }
    Ok(())
}
