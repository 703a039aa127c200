//! TensorRTOptimizer, as TensorFlow calls it.

use crate::optimizer::{self, Params};
use crate::proto::tensorflow as tf;
use crate::tf::{Code, GraphPass, PassItem, Status, TensorflowHost};

struct Pass(Params);

/// The pass with the parameters of a `RewriterConfig`.
///
/// # Errors
/// A parameter is wrong.
pub fn new(config: tf::rewriter_config::CustomGraphOptimizer) -> Result<Box<dyn GraphPass>, Status> {
    let params = Params::from_parameter_map(&config.parameter_map)
        .map_err(|e| Status::new(Code::InvalidArgument, format!("TensorRTOptimizer: {e}")))?;
    Ok(Box::new(Pass(params)))
}

impl GraphPass for Pass {
    fn concerns(&self, id: &str, function_attrs: Option<&tf::NameAttrList>) -> bool {
        optimizer::concerns(&self.0, id, function_attrs.map(|list| &list.attr))
    }

    fn run(&self, item: PassItem) -> Result<Option<tf::GraphDef>, Status> {
        let tensorflow = TensorflowHost::new(item.graph.library.clone().unwrap_or_default())?;
        let request = optimizer::Item {
            id: &item.id,
            graph: item.graph,
            sizes: item.sizes,
            shapes: item.shapes,
            preserve: item.preserve,
            function_attrs: item.function_attrs.as_ref().map(|list| &list.attr),
            default_device: item.default_device,
        };
        optimizer::optimize(&self.0, request, &tensorflow)
            .map_err(|e| Status::new(Code::Internal, format!("TensorRTOptimizer: graph '{}': {e}", item.id)))
    }
}
