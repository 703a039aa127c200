//! ONNX to plan.

use super::options::{self, BuildOptions};
use super::plan::Plan;
use super::profiles;
use super::timing::{Caches, Timings, Written};
use crate::engine::tensorrt::Error;
use crate::engine::tensorrt::result::Scope;
use crate::engine::tensorrt::sys::{Allocator, Builder, Library, Network, Owned, Parser};
use crate::profile::Profile;
use crate::sync::idle_slot::IdleSlot;
use bytes::Bytes;
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The idle builder of one TensorRT on one device, if there is one, used and dropped where the device's CUDA context is current.
///
/// A builder loads TensorRT's kernels for building (8.6 on an H200: 3 GB of host memory and 0.7 GB of the GPU's), which takes longer than
/// to build a small engine, and lets go of them when it goes. So it stays for a while after a build: the engines of a model are built
/// one after the other, and so are those for its shapes.
pub type Builders = IdleSlot<Owned<'static, Builder>>;

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
    /// What earlier builds have measured, and this one's to be added. With `None` the build keeps what it measures to itself.
    pub timings: Option<&'a Timings>,
    /// Where a builder may be found, one with the same allocator, and is left for so long. With `None` the build makes its own, which
    /// goes with it.
    pub builders: Option<(&'a Builders, Duration)>,
    /// Where device memory comes from; `None` leaves it to CUDA.
    pub allocator: Option<&'static Allocator>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct BuiltPlan {
    pub plan: Bytes,
    /// The timing cache of earlier builds and this one, for other processes. `None` where it is kept to itself, where TensorRT takes
    /// none, and where it cannot write it or would not read it again.
    pub timing_cache: Option<Written>,
}

/// Builds the plan of a model. Everything but TensorRT-RTX needs a GPU for this, and builds for the device that is current.
///
/// The network is strongly typed where the version has that, unless `fp16_flag` is set: precisions are what the model says.
/// A timing cache that TensorRT cannot use (of another device or version, or damaged) is a warning, and the build goes on with
/// an empty one. Builds that share [`Timings`] may run at once.
///
/// # Errors
/// [`Error::Parse`] with code, node and text of each of the parser's errors; [`Error::Profile`] and [`Error::Inputs`] for what
/// does not fit the network; [`Error::Unsupported`] for an option that the version does not have; [`Error::Refused`] with
/// TensorRT's own words for the rest.
pub fn build_plan(library: &Arc<Library>, request: &PlanRequest<'_>) -> Result<BuiltPlan, Error> {
    let mut scope = Scope::enter(library, request.node);
    // Before the builder and after it: TensorRT wants caches to outlive the builders that use them.
    let caches = request.timings.map(|timings| timings.begin(&mut scope));
    let built = build(&mut scope, library, request, caches.as_ref());
    let (result, bytes) = match built {
        Ok((plan, bytes)) => (Ok(plan), bytes),
        Err(why) => (Err(why), None),
    };
    let timing_cache = caches.and_then(|caches| caches.end(bytes));
    result.map(|plan| BuiltPlan { plan, timing_cache })
}

/// The plan, and the timing cache as bytes, by a builder that is there, or is made here; after a build that went well it is left for others.
fn build(
    scope: &mut Scope,
    library: &Arc<Library>,
    request: &PlanRequest<'_>,
    caches: Option<&Caches<'_>>,
) -> Result<(Bytes, Option<Bytes>), Error> {
    let builder = match request.builders.and_then(|(idle, _)| idle.take()) {
        Some(builder) => {
            tracing::debug!(node = scope.node(), "the build goes on with the builder of an earlier one");
            builder
        }
        None => create_builder(scope, library, request.allocator)?,
    };
    let built = build_with(scope, &builder, request, caches)?;
    // After a failure the builder goes: what state it is in, TensorRT does not say. So it does where it was given a timing cache
    // that it did not take, for that will go.
    if let Some((idle, stay)) = request.builders
        && stay > Duration::ZERO
        && caches.is_none_or(|caches| !caches.refused())
    {
        idle.leave(builder, Instant::now() + stay);
    }
    Ok(built)
}

/// The plan, and the timing cache as bytes, by this builder. Nothing of them is left with it.
fn build_with(
    scope: &mut Scope,
    builder: &Owned<'static, Builder>,
    request: &PlanRequest<'_>,
    caches: Option<&Caches<'_>>,
) -> Result<(Bytes, Option<Bytes>), Error> {
    let network = create_network(scope, builder, request.options.fp16_flag)?;
    // Kept until the plan is built: the network's weights are the parser's.
    let _parser = parse(scope, &network, request.model)?;
    let config = builder.create_config()?;
    let config = scope.some("create a builder config", config)?;
    options::apply(scope, &config, &request.options)?;
    if let Some(caches) = caches {
        caches.attach(scope, &config)?;
    }
    profiles::add(scope, builder, &config, &network, request.inputs, request.profiles)?;
    let plan = builder.build(&network, &config)?;
    let plan = Plan::new(scope.some("build the engine", plan)?).into_bytes();
    let timings = match caches {
        Some(caches) => caches.serialize(scope, builder)?,
        None => None,
    };
    Ok((plan, timings))
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
