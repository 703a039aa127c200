//! Shape profiles: which input shapes an engine serves, and for which it is tuned.
//!
//! A [`Recorder`] collects the shapes of calls while the op is in profile generation mode; [`profiles`] turns them into the
//! profiles that an engine is built with, after a [`Strategy`]; [`select`] finds the profile that serves a call.

mod recorder;
mod strategy;
#[cfg(test)]
mod tests;

pub use recorder::{Recorded, Recorder, RecorderError};
pub use strategy::{Strategy, UnknownStrategy, profiles};

use serde::{Deserialize, Serialize};
use std::fmt;

/// The sizes that one input may take in one profile. The three lists have the input's rank.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    pub min: Vec<i64>,
    pub opt: Vec<i64>,
    pub max: Vec<i64>,
}

impl Bounds {
    /// Bounds that hold `sizes` and nothing else.
    pub fn exactly(sizes: &[i64]) -> Self {
        Bounds {
            min: sizes.to_vec(),
            opt: sizes.to_vec(),
            max: sizes.to_vec(),
        }
    }

    /// Whether `sizes` has the same rank and every size lies within `min..=max`.
    pub fn contains(&self, sizes: &[i64]) -> bool {
        self.min.len() == sizes.len()
            && self.max.len() == sizes.len()
            && sizes
                .iter()
                .zip(self.min.iter().zip(&self.max))
                .all(|(size, (min, max))| min <= size && size <= max)
    }

    /// Whether the three lists agree in rank and `min <= opt <= max` everywhere; the error says where not.
    fn check(&self) -> Result<(), String> {
        if self.min.len() != self.opt.len() || self.opt.len() != self.max.len() {
            return Err(format!(
                "minimum, optimum and maximum differ in rank ({}, {}, {})",
                self.min.len(),
                self.opt.len(),
                self.max.len()
            ));
        }
        for (at, ((min, opt), max)) in self.min.iter().zip(&self.opt).zip(&self.max).enumerate() {
            if !(min <= opt && opt <= max) {
                return Err(format!("dimension {at} has minimum {min}, optimum {opt}, maximum {max}"));
            }
        }
        Ok(())
    }
}

/// As in the guide's table: `[4-8, 128]`.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, (min, max)) in self.min.iter().zip(&self.max).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            if min == max {
                write!(f, "{comma}{max}")?;
            } else {
                write!(f, "{comma}{min}-{max}")?;
            }
        }
        f.write_str("]")
    }
}

/// One optimization profile: bounds for every input, in the order of the engine's inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub shapes: Vec<Bounds>,
    /// For inputs whose values are shapes themselves ("shape tensors"): bounds of the values, else `None`.
    pub values: Vec<Option<Bounds>>,
}

impl Profile {
    /// The profile that serves exactly one call: `min = opt = max` for its shapes and its shape values.
    pub fn exactly(shapes: &[Vec<i64>], values: &[Option<Vec<i64>>]) -> Self {
        Profile {
            shapes: shapes.iter().map(|s| Bounds::exactly(s)).collect(),
            values: (0..shapes.len()).map(|i| value_at(values, i).map(Bounds::exactly)).collect(),
        }
    }

    /// Whether this profile serves a call with these input shapes and shape values.
    ///
    /// `values` may be shorter than `shapes`: what is not there counts as unknown, and an unknown value lies within no
    /// bounds. A value for which the profile has no bounds does not matter.
    pub fn contains(&self, shapes: &[Vec<i64>], values: &[Option<Vec<i64>>]) -> bool {
        self.shapes.len() == shapes.len()
            && self.shapes.iter().zip(shapes).all(|(bounds, shape)| bounds.contains(shape))
            && self.values.iter().enumerate().all(|(i, bounds)| match bounds {
                None => true,
                Some(bounds) => value_at(values, i).is_some_and(|v| bounds.contains(v)),
            })
    }

    /// Whether the profile makes sense in itself; the error says which input has bounds that no engine can be built for.
    pub fn check(&self) -> Result<(), String> {
        for (i, bounds) in self.shapes.iter().enumerate() {
            bounds.check().map_err(|why| format!("the shape of input {i}: {why}"))?;
            if bounds.min.iter().any(|&size| size < 0) {
                return Err(format!("the shape of input {i} has a negative size in {:?}", bounds.min));
            }
        }
        if self.values.len() > self.shapes.len() {
            return Err(format!("{} shape values for {} inputs", self.values.len(), self.shapes.len()));
        }
        for (i, bounds) in self.values.iter().enumerate() {
            if let Some(bounds) = bounds {
                bounds.check().map_err(|why| format!("the shape value of input {i}: {why}"))?;
            }
        }
        Ok(())
    }
}

/// All inputs, comma-separated; shape values follow their input after `=`.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, bounds) in self.shapes.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{bounds}")?;
            if let Some(Some(values)) = self.values.get(i) {
                write!(f, "={values}")?;
            }
        }
        Ok(())
    }
}

/// The first of `profiles` that serves the call, as an index; `None` where none does.
pub fn select(profiles: &[Profile], shapes: &[Vec<i64>], values: &[Option<Vec<i64>>]) -> Option<usize> {
    profiles.iter().position(|p| p.contains(shapes, values))
}

fn value_at(values: &[Option<Vec<i64>>], i: usize) -> Option<&[i64]> {
    values.get(i)?.as_deref()
}
