//! ONNX to plan.

use super::plan::Plan;
use super::{profiles, required};
use crate::engine::tensorrt::Error;
use crate::engine::tensorrt::result::Scope;
use crate::engine::tensorrt::sys::{Builder, Library, Network, Owned, Parser};
use crate::profile::Profile;
use bytes::Bytes;
use std::ffi::CString;
use std::sync::Arc;

/// Builds the plan of `model`, a serialized `onnx.ModelProto` with its weights inside, for `node`.
///
/// `inputs` names the model's inputs in the order of the lists in `profiles`. `workspace` is the most scratch memory in bytes that
/// an engine may need; 0 leaves it to TensorRT. The network is strongly typed where the version has that: precisions are what the
/// model says. Everything but TensorRT-RTX needs a GPU for this.
///
/// # Errors
/// [`Error::Parse`] with code, node and text of each of the parser's errors; [`Error::Profile`] and [`Error::Inputs`] for what
/// does not fit the network; [`Error::Refused`] with TensorRT's own words for the rest.
pub fn build_plan(
    library: &Arc<Library>,
    node: &str,
    model: &[u8],
    inputs: &[impl AsRef<str>],
    profiles: &[Profile],
    workspace: u64,
) -> Result<Bytes, Error> {
    let mut scope = Scope::enter(library, node);
    let builder = library.create_builder()?;
    let builder = scope.some("create a builder", builder)?;
    let network = create_network(&mut scope, &builder)?;
    // Kept until the plan is built: the network's weights are the parser's.
    let _parser = parse(&mut scope, &network, model)?;
    let config = builder.create_config()?;
    let config = scope.some("create a builder config", config)?;
    if workspace > 0 {
        let pool = required(library, "MemoryPoolType", "kWORKSPACE")?;
        config.set_memory_pool_limit(pool, usize::try_from(workspace).unwrap_or(usize::MAX))?;
    }
    profiles::add(&mut scope, &builder, &config, &network, inputs, profiles)?;
    let plan = builder.build(&network, &config)?;
    Ok(Plan::new(scope.some("build the engine", plan)?).into_bytes())
}

/// An empty network under the node's name: explicit batch, and strongly typed where the version has it.
fn create_network<'b>(scope: &mut Scope, builder: &'b Owned<'static, Builder>) -> Result<Owned<'b, Network>, Error> {
    let table = builder.library().table();
    // From 11 on, and in TensorRT-RTX, explicit batch is all there is.
    let flags = ["kEXPLICIT_BATCH", "kSTRONGLY_TYPED"]
        .iter()
        .filter_map(|flag| table.value("NetworkDefinitionCreationFlag", flag))
        .fold(0, |flags, bit| flags | 1 << bit);
    let network = builder.create_network(flags)?;
    let network = scope.some("create a network", network)?;
    if let Ok(name) = CString::new(scope.node()) {
        network.set_name(&name)?;
    }
    Ok(network)
}

/// Fills `network` from `model`. The parser holds what the network refers to.
fn parse<'n>(scope: &mut Scope, network: &'n Owned<'_, Network>, model: &[u8]) -> Result<Owned<'n, Parser>, Error> {
    let parser = network.library().create_parser(network)?;
    let parser = scope.some("create an ONNX parser", parser)?;
    if parser.parse(model)? {
        return Ok(parser);
    }
    let errors = parser.errors()?;
    Err(scope.unparsed(errors))
}
