//! Plans without a container, as TF-TRT 2.x stored them: what an engine says of itself is all that is known.

use super::safe::{self, Selector};
use crate::engine::EngineError;
use crate::profile::{Bounds, Profile};

/// What TF-TRT called an engine's tensors; the node's number follows.
const INPUT: &str = "TensorRTInputPH_";
const OUTPUT: &str = "TensorRTOutputPH_";

/// The profiles of a bare plan's engine.
///
/// # Errors
/// Its tensors are not named as TF-TRT named them, or it wants values of shapes, whose bounds TensorRT 8.6 does not tell by name.
pub(super) fn profiles(engine: &safe::Engine) -> Result<Vec<Profile>, EngineError> {
    let refuse = |why: String| Err(EngineError::Load(why));
    let failed = |e: super::Error| EngineError::Load(e.to_string());
    let mut inputs = Vec::new();
    for (i, input) in engine.inputs().iter().enumerate() {
        match input {
            Some(input) if input.on_host => {
                return refuse(format!(
                    "its input {i} is a shape, and the plan does not tell for which values it was built"
                ));
            }
            Some(input) if input.name.to_bytes().starts_with(INPUT.as_bytes()) => inputs.push(input),
            Some(input) => return refuse(format!("its input {} has no name of TF-TRT's", input.name.to_string_lossy())),
            None => return refuse(format!("it has no input {i}")),
        }
    }
    if let Some(output) = engine
        .outputs()
        .iter()
        .find(|output| !output.name.to_bytes().starts_with(OUTPUT.as_bytes()))
    {
        return refuse(format!("its output {} has no name of TF-TRT's", output.name.to_string_lossy()));
    }
    let bounds = |input: &safe::Tensor, profile: usize| -> Result<Bounds, EngineError> {
        let dims = input.shape.0.iter().flatten();
        if let Some(fixed) = dims.copied().collect::<Option<Vec<i64>>>() {
            return Ok(Bounds::exactly(&fixed));
        }
        let end = |selector| engine.profile_shape(&input.name, profile, selector).map_err(failed);
        Ok(Bounds {
            min: end(Selector::Min)?,
            opt: end(Selector::Opt)?,
            max: end(Selector::Max)?,
        })
    };
    let mut profiles = Vec::new();
    for number in 0..engine.profiles().max(1) {
        let shapes: Vec<Bounds> = inputs.iter().map(|input| bounds(input, number)).collect::<Result<_, _>>()?;
        let ranks_fit = inputs
            .iter()
            .zip(&shapes)
            .all(|(input, bounds)| input.shape.0.as_ref().is_some_and(|dims| dims.len() == bounds.max.len()));
        let profile = Profile {
            values: vec![None; shapes.len()],
            shapes,
        };
        match profile.check() {
            Ok(()) if ranks_fit => profiles.push(profile),
            Ok(()) => return refuse(format!("its profile {number} has other ranks than its inputs")),
            Err(why) => return refuse(format!("its profile {number} is unsound: {why}")),
        }
    }
    Ok(profiles)
}
