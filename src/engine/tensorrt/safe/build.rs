//! ONNX to plan.

use super::options::{self, BuildOptions};
use super::plan::Plan;
use super::profiles;
use super::timing::Caches;
use crate::engine::tensorrt::Error;
use crate::engine::tensorrt::result::Scope;
use crate::engine::tensorrt::sys::{Allocator, Builder, Library, Network, Owned, Parser};
use crate::profile::Profile;
use bytes::Bytes;
use std::ffi::CString;
use std::sync::Arc;

/// What a plan is built from.
pub struct PlanRequest<'a> {
    /// The node that it is for, for messages.
    pub node: &'a str,
    /// A serialized `onnx.ModelProto` with its weights inside.
    pub model: &'a [u8],
    /// The model's inputs by name, in the order of the lists in `profiles`.
    pub inputs: &'a [&'a str],
    pub profiles: &'a [Profile],
    pub options: BuildOptions,
    /// What an earlier build gave back as its timing cache, or nothing to begin one. With `None` none comes back either.
    pub timing_cache: Option<&'a [u8]>,
    /// Where device memory comes from; `None` leaves it to CUDA.
    pub allocator: Option<&'static Allocator>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct BuiltPlan {
    pub plan: Bytes,
    /// The timing cache given, and what this build added to it (nothing, in TensorRT-RTX). `None` where none was given, or
    /// where TensorRT cannot write it.
    pub timing_cache: Option<Bytes>,
}

/// Builds the plan of a model. Everything but TensorRT-RTX needs a GPU for this, and builds for the device that is current.
///
/// The network is strongly typed where the version has that, unless `fp16_flag` is set: precisions are what the model says.
/// A timing cache that TensorRT cannot use (of another device or version, or damaged) is a warning, and the build goes on with
/// an empty one.
///
/// # Errors
/// [`Error::Parse`] with code, node and text of each of the parser's errors; [`Error::Profile`] and [`Error::Inputs`] for what
/// does not fit the network; [`Error::Unsupported`] for an option that the version does not have; [`Error::Refused`] with
/// TensorRT's own words for the rest.
pub fn build_plan(library: &Arc<Library>, request: &PlanRequest<'_>) -> Result<BuiltPlan, Error> {
    let mut scope = Scope::enter(library, request.node);
    // Before the builder: TensorRT wants caches to outlive the builders that use them.
    let caches = Caches::default();
    let builder = create_builder(&mut scope, library, request.allocator)?;
    let network = create_network(&mut scope, &builder, request.options.fp16_flag)?;
    // Kept until the plan is built: the network's weights are the parser's.
    let _parser = parse(&mut scope, &network, request.model)?;
    let config = builder.create_config()?;
    let config = scope.some("create a builder config", config)?;
    options::apply(&mut scope, &config, &request.options)?;
    if let Some(blob) = request.timing_cache {
        caches.attach(&mut scope, &config, blob)?;
    }
    profiles::add(&mut scope, &builder, &config, &network, request.inputs, request.profiles)?;
    let plan = builder.build(&network, &config)?;
    let plan = Plan::new(scope.some("build the engine", plan)?).into_bytes();
    let timing_cache = match request.timing_cache {
        Some(_) => caches.serialized(&mut scope, &builder, &config)?,
        None => None,
    };
    Ok(BuiltPlan { plan, timing_cache })
}

/// A builder with all that it has to be given before it makes anything.
fn create_builder(
    scope: &mut Scope,
    library: &Arc<Library>,
    allocator: Option<&'static Allocator>,
) -> Result<Owned<'static, Builder>, Error> {
    let builder = library.create_builder()?;
    let builder = scope.some("create a builder", builder)?;
    if let Some(allocator) = allocator {
        builder.set_gpu_allocator(allocator)?;
    }
    Ok(builder)
}

/// An empty network under the node's name: explicit batch, and strongly typed where the version has it and TensorRT is not to
/// choose precisions itself.
fn create_network<'b>(scope: &mut Scope, builder: &'b Owned<'static, Builder>, weakly_typed: bool) -> Result<Owned<'b, Network>, Error> {
    let table = builder.library().table();
    // From 11 on, and in TensorRT-RTX, explicit batch is all there is.
    let names: &[&str] = if weakly_typed {
        &["kEXPLICIT_BATCH"]
    } else {
        &["kEXPLICIT_BATCH", "kSTRONGLY_TYPED"]
    };
    let flags = names
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
