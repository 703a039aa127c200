//! What a build asks of TensorRT, and what it finds on disk instead.

use super::backend::TensorRt;
use super::safe;
use crate::engine::{BuildRequest, EngineError};
use bytes::Bytes;

/// The plan for a request, in the backend's context.
pub(super) fn plan(backend: &TensorRt, request: &BuildRequest<'_>) -> Result<Bytes, EngineError> {
    let inputs: Vec<&str> = request.model.inputs.iter().map(|binding| binding.name.as_str()).collect();
    Ok(safe::build_plan(
        &backend.library,
        request.node,
        &request.model.onnx,
        &inputs,
        request.profiles,
        request.workspace_bytes,
    )?)
}
