//! TensorFlow, as the optimizer asks it.

use crate::graph::TensorInfo;
use crate::memory;
use crate::optimizer::Host;
use crate::proto::tensorflow as tf;
use crate::tf::{TensorflowHost, infer_shapes, is_stateful, knows};
use std::collections::HashMap;

impl Host for TensorflowHost {
    fn infer_shapes(&self, graph: &tf::GraphDef) -> Option<HashMap<String, Vec<TensorInfo>>> {
        infer_shapes(&memory::encode("the graph", graph).ok()?).ok()
    }

    fn function_from_graph(&self, graph: tf::GraphDef, name: &str) -> Result<tf::FunctionDef, String> {
        TensorflowHost::function_from_graph(self, graph, name)
    }

    fn graph_from_function(&self, function: tf::FunctionDef) -> Result<tf::GraphDef, String> {
        TensorflowHost::graph_from_function(self, function)
    }

    fn is_stateful(&self, op: &str) -> bool {
        is_stateful(op)
    }

    fn knows(&self, op: &str) -> bool {
        knows(op)
    }
}
