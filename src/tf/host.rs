//! TensorFlow's own graph facilities.

use super::ffi::{self, NodeOutputs};
use super::status::{Code, Status};
use crate::fault::{self, Point};
use crate::graph::{DType, Graph, PartialShape, TensorInfo, contents};
use crate::memory::{self, NoMemory};
use crate::proto::tensorflow as tf;
use prost::Message;
use std::collections::HashMap;

/// By node name, what inference found of its outputs.
pub fn shapes(nodes: Vec<NodeOutputs>) -> HashMap<String, Vec<TensorInfo>> {
    let info = |o: ffi::OutputInfo| TensorInfo {
        dtype: DType::from_proto(o.dtype),
        shape: if o.unknown_rank {
            PartialShape::unknown()
        } else {
            PartialShape::from_dims(&o.dims)
        },
    };
    nodes
        .into_iter()
        .map(|n| (n.name, n.outputs.into_iter().map(info).collect()))
        .collect()
}

/// The dimensions of what inference found, by node name, with its numbers for open ones.
pub fn sizes(nodes: &[NodeOutputs]) -> HashMap<String, Vec<Vec<i64>>> {
    let dims = |node: &NodeOutputs| node.outputs.iter().map(|output| output.dims.clone()).collect();
    nodes.iter().map(|node| (node.name.clone(), dims(node))).collect()
}

/// Whether TensorFlow says of an op that it does more than compute its outputs.
pub fn is_stateful(op: &str) -> bool {
    ffi::op_is_stateful(op)
}

/// Whether TensorFlow has an op of that type.
pub fn knows(op: &str) -> bool {
    ffi::op_is_known(op)
}

/// TensorFlow's shape inference over a serialized graph.
pub fn infer_shapes(graph: &[u8]) -> Result<HashMap<String, Vec<TensorInfo>>, Status> {
    fault::at(Point::Shapes).map_err(|why| Status::new(Code::Internal, why.to_string()))?;
    let inferred = ffi::infer_shapes(graph);
    inferred.outcome.check()?;
    Ok(shapes(inferred.nodes))
}

/// As [`infer_shapes`], of what follows from the inputs of each node alone. That also infers backwards: a node that takes six elements only makes it
/// six that another gives, and whether they are is seen when TensorFlow runs.
pub fn infer_forward(graph: &[u8]) -> Result<HashMap<String, Vec<TensorInfo>>, Status> {
    let inferred = ffi::infer_forward(graph);
    inferred.outcome.check()?;
    Ok(shapes(inferred.nodes))
}

/// A graph after Grappler's passes. What computes the tensors `fetches` and the nodes `keep` stays.
///
/// # Errors
/// A graph that is none (an input that nobody gives) or is over protobuf's limit of 2 GB, or what TensorFlow says.
pub fn optimize_graph(
    graph: &tf::GraphDef,
    passes: &tf::RewriterConfig,
    fetches: &Vec<String>,
    keep: &Vec<String>,
) -> Result<tf::GraphDef, Status> {
    let size = graph.encoded_len();
    if size > i32::MAX as usize {
        let why = format!("the graph has {size} bytes with its variables, over protobuf's limit of 2 GB");
        return Err(Status::new(Code::InvalidArgument, why));
    }
    // Grappler passes over what a pass cannot read.
    Graph::new(graph.clone(), HashMap::new()).map_err(|e| Status::new(Code::InvalidArgument, e.to_string()))?;
    let optimized = ffi::optimize_graph(&memory::encode(GRAPH, graph)?, &passes.encode_to_vec(), fetches, keep);
    optimized.outcome.check()?;
    memory::decode(GRAPH, optimized.bytes.into()).map_err(|e| Status::new(Code::Internal, format!("the optimized graph: {e}")))
}

/// What messages are called if there is no memory for them.
const GRAPH: &str = "the graph";
const FUNCTION: &str = "a function";

/// What the optimizer asks of TensorFlow.
pub struct TensorflowHost {
    /// The functions that a segment may call.
    library: Vec<u8>,
}

impl TensorflowHost {
    pub fn new(mut library: tf::FunctionDefLibrary) -> Result<Self, NoMemory> {
        // A function that is called is known by its signature; what its constants hold is of no interest.
        for function in &mut library.function {
            contents::take_out(&mut function.node_def);
        }
        Ok(TensorflowHost {
            library: memory::encode("the graph's functions", &library)?,
        })
    }
}

impl TensorflowHost {
    /// The function of a graph with `_Arg` and `_Retval` nodes (TensorFlow's GraphToFunctionDef).
    ///
    /// # Errors
    /// Why it is none.
    pub fn function_from_graph(&self, mut graph: tf::GraphDef, name: &str) -> Result<tf::FunctionDef, String> {
        fault::at(Point::Function).map_err(|why| why.to_string())?;
        let weights = contents::take_out(&mut graph.node);
        let made = ffi::graph_to_function(&memory::encode(GRAPH, &graph)?, &self.library, name);
        made.outcome.check().map_err(|e| e.message)?;
        let mut function: tf::FunctionDef = memory::decode(FUNCTION, made.bytes.into()).map_err(|e| e.to_string())?;
        contents::put_back(&mut function.node_def, &weights)?;
        Ok(function)
    }

    /// The body of a function, with `_Arg` and `_Retval` nodes (TensorFlow's FunctionDefToBodyHelper).
    ///
    /// # Errors
    /// Why it has none.
    pub fn graph_from_function(&self, mut function: tf::FunctionDef) -> Result<tf::GraphDef, String> {
        fault::at(Point::Function).map_err(|why| why.to_string())?;
        let weights = contents::take_out(&mut function.node_def);
        let made = ffi::function_to_graph(&memory::encode(FUNCTION, &function)?, &self.library);
        made.outcome.check().map_err(|e| e.message)?;
        let mut graph: tf::GraphDef = memory::decode(GRAPH, made.bytes.into()).map_err(|e| e.to_string())?;
        contents::put_back(&mut graph.node, &weights)?;
        Ok(graph)
    }

    /// A function's body as a serialized `GraphDef` without the large contents of its constants, and the CRC-32C's of those: what
    /// [`super::Call::function_outline`] gives of a function in a call.
    pub fn function_outline(&self, mut function: tf::FunctionDef) -> Result<(Vec<u8>, Vec<u32>), String> {
        let checksums = contents::take_out(&mut function.node_def)
            .iter()
            .map(|content| crc32c::crc32c(content))
            .collect();
        let made = ffi::function_to_graph(&memory::encode(FUNCTION, &function)?, &self.library);
        made.outcome.check().map_err(|e| e.message)?;
        Ok((made.bytes, checksums))
    }
}
