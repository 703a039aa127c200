//! Shape profiles into TensorRT's.

use crate::engine::tensorrt::Error;
use crate::engine::tensorrt::result::Scope;
use crate::engine::tensorrt::sys::{Builder, Config, Network, Owned, Selector};
use crate::profile::{Bounds, Profile};
use std::ffi::CString;

/// What the network says of one input.
struct Input {
    name: String,
    c_name: CString,
    shape: Vec<i64>,
    is_shape: bool,
}

/// Adds each of `profiles` to `config`. `inputs` names the network's inputs in the order of the profiles' lists; the network may
/// order them otherwise.
///
/// # Errors
/// [`Error::Inputs`] where the names are not the network's, or an open shape has no profile; [`Error::Profile`], naming profile and
/// input, where bounds do not fit the input, contradict each other, or are refused by TensorRT.
pub(super) fn add<'b>(
    scope: &mut Scope,
    builder: &'b Owned<'static, Builder>,
    config: &Owned<'b, Config>,
    network: &Owned<'_, Network>,
    inputs: &[impl AsRef<str>],
    profiles: &[Profile],
) -> Result<(), Error> {
    let inputs = in_order(scope, network, inputs)?;
    if profiles.is_empty() {
        return match inputs.iter().find(|input| input.shape.contains(&-1)) {
            Some(open) => Err(scope.inputs(format!(
                "input {} has the open shape {:?}, and there is no profile",
                open.name, open.shape
            ))),
            None => Ok(()),
        };
    }
    for (index, profile) in profiles.iter().enumerate() {
        let theirs = builder.create_profile()?;
        let theirs = scope.some("create an optimization profile", theirs)?;
        if profile.shapes.len() != inputs.len() {
            let why = format!(
                "the profile has bounds for {} inputs, the network {} inputs",
                profile.shapes.len(),
                inputs.len()
            );
            return Err(scope.profile(index, "(all)", why));
        }
        for (i, input) in inputs.iter().enumerate() {
            let bounds = &profile.shapes[i];
            check(bounds, &input.shape).map_err(|why| scope.profile(index, &input.name, why))?;
            for (selector, shape) in ends(bounds) {
                if !theirs.set_dimensions(&input.c_name, selector, shape)? {
                    return Err(refused(scope, index, input, selector, shape));
                }
            }
            let Some(values) = profile.values.get(i).and_then(Option::as_ref).filter(|_| input.is_shape) else {
                continue;
            };
            check_values(values, bounds).map_err(|why| scope.profile(index, &input.name, why))?;
            for (selector, values) in ends(values) {
                if !theirs.set_values(&input.c_name, selector, values)? {
                    return Err(refused(scope, index, input, selector, values));
                }
            }
        }
        if !theirs.is_valid()? || config.add_profile(&theirs)?.is_none() {
            let why = format!("TensorRT finds the profile invalid; {:?}{}", profile, scope.take_said());
            return Err(scope.profile(index, "(all)", why));
        }
    }
    Ok(())
}

/// The network's inputs in the caller's order.
fn in_order(scope: &Scope, network: &Owned<'_, Network>, names: &[impl AsRef<str>]) -> Result<Vec<Input>, Error> {
    let mut theirs = Vec::new();
    for tensor in network.inputs()? {
        let name = tensor.name()?;
        let c_name = CString::new(name.as_str()).map_err(|_| scope.inputs(format!("input name {name:?} holds a NUL")))?;
        theirs.push(Input {
            c_name,
            shape: tensor.dimensions()?.0,
            is_shape: tensor.is_shape_tensor()?,
            name,
        });
    }
    let mut ordered = Vec::with_capacity(names.len());
    for name in names.iter().map(AsRef::as_ref) {
        match theirs.iter().position(|input| input.name == name) {
            Some(found) => ordered.push(theirs.swap_remove(found)),
            None => return Err(scope.inputs(format!("the network has no input named {name}, or it was named twice"))),
        }
    }
    match theirs.first() {
        Some(extra) => Err(scope.inputs(format!("the network's input {} is not among the names given", extra.name))),
        None => Ok(ordered),
    }
}

fn ends(bounds: &Bounds) -> [(Selector, &[i64]); 3] {
    [
        (Selector::Min, &bounds.min),
        (Selector::Opt, &bounds.opt),
        (Selector::Max, &bounds.max),
    ]
}

/// Whether `bounds` are in order, and inside `shape` (-1: open).
fn check(bounds: &Bounds, shape: &[i64]) -> Result<(), String> {
    let text = format!("min {:?}, opt {:?}, max {:?}", bounds.min, bounds.opt, bounds.max);
    for (_, end) in ends(bounds) {
        if end.len() != shape.len() {
            return Err(format!("{text} do not all have the rank {} of its shape {shape:?}", shape.len()));
        }
    }
    for (axis, &size) in shape.iter().enumerate() {
        let (min, opt, max) = (bounds.min[axis], bounds.opt[axis], bounds.max[axis]);
        if !(0 <= min && min <= opt && opt <= max) {
            return Err(format!("{text}: on axis {axis}, 0 <= min <= opt <= max does not hold"));
        }
        if size >= 0 && (min != size || max != size) {
            return Err(format!("{text}: axis {axis} is {size} in its shape {shape:?}"));
        }
    }
    Ok(())
}

/// Whether a shape tensor's values are in order, and as many as its bounds (a static vector or scalar) say.
fn check_values(values: &Bounds, bounds: &Bounds) -> Result<(), String> {
    let text = format!("values min {:?}, opt {:?}, max {:?}", values.min, values.opt, values.max);
    let count = usize::try_from(bounds.max.iter().product::<i64>()).unwrap_or(0);
    if ends(values).iter().any(|(_, end)| end.len() != count) {
        return Err(format!("{text} are not {count} each"));
    }
    let ordered = (0..count).all(|i| values.min[i] <= values.opt[i] && values.opt[i] <= values.max[i]);
    if ordered {
        Ok(())
    } else {
        Err(format!("{text}: min <= opt <= max does not hold"))
    }
}

fn refused(scope: &mut Scope, profile: usize, input: &Input, selector: Selector, sizes: &[i64]) -> Error {
    let said = scope.take_said();
    scope.profile(
        profile,
        &input.name,
        format!("TensorRT does not take {sizes:?} as {selector:?}{said}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(min: &[i64], opt: &[i64], max: &[i64]) -> Bounds {
        Bounds {
            min: min.to_vec(),
            opt: opt.to_vec(),
            max: max.to_vec(),
        }
    }

    #[test]
    fn bounds_against_shapes() {
        assert_eq!(check(&bounds(&[1, 3], &[4, 3], &[8, 3]), &[-1, 3]), Ok(()));
        assert_eq!(check(&bounds(&[], &[], &[]), &[]), Ok(()));
        let why = |b, shape: &[i64]| check(&b, shape).expect_err("they do not fit");
        assert!(why(bounds(&[9, 3], &[4, 3], &[8, 3]), &[-1, 3]).contains("axis 0"));
        assert!(why(bounds(&[1, 3], &[9, 3], &[8, 3]), &[-1, 3]).contains("axis 0"));
        assert!(why(bounds(&[-1, 3], &[4, 3], &[8, 3]), &[-1, 3]).contains("axis 0"));
        assert!(why(bounds(&[1, 4], &[4, 4], &[8, 4]), &[-1, 3]).contains("axis 1 is 3"));
        assert!(why(bounds(&[1], &[4], &[8]), &[-1, 3]).contains("rank 2"));
        assert!(why(bounds(&[1, 3], &[4], &[8, 3]), &[-1, 3]).contains("rank 2"));
    }

    #[test]
    fn values_against_bounds() {
        let two = bounds(&[2], &[2], &[2]);
        assert_eq!(check_values(&bounds(&[1, 1], &[2, 2], &[3, 4]), &two), Ok(()));
        assert!(check_values(&bounds(&[1], &[2], &[3]), &two).is_err());
        assert!(check_values(&bounds(&[4, 1], &[2, 2], &[3, 4]), &two).is_err());
        // A scalar has one value.
        assert_eq!(check_values(&bounds(&[1], &[2], &[3]), &bounds(&[], &[], &[])), Ok(()));
    }
}
