//! From recorded calls to profiles (guide section 4.3, "Dynamic Shapes").

use super::{Bounds, Profile, Recorded};
use crate::graph::PartialShape;
use std::fmt;

/// How profiles are made from the recorded shapes (the attribute `profile_strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// One profile from the smallest to the largest size of every dimension, tuned for the largest.
    Range,
    /// One profile for every recorded call, which serves that call alone.
    Optimal,
    /// The profiles of `Optimal`, then the one of `Range`.
    RangeOptimal,
    /// For every recorded call, batch sizes from 1 to the recorded one.
    ImplicitBatchModeCompatible,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile strategy \"{0}\": expected one of range, optimal, range+optimal, implicitbatchmodecompatible")]
pub struct UnknownStrategy(pub String);

impl Strategy {
    pub const ALL: [Strategy; 4] = [
        Strategy::Range,
        Strategy::Optimal,
        Strategy::RangeOptimal,
        Strategy::ImplicitBatchModeCompatible,
    ];

    /// Reads the attribute; upper and lower case are the same. The OpDef's default, "", is an error.
    pub fn parse(text: &str) -> Result<Self, UnknownStrategy> {
        Self::ALL
            .into_iter()
            .find(|s| s.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownStrategy(text.to_string()))
    }

    /// The name that [`Strategy::parse`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Range => "range",
            Strategy::Optimal => "optimal",
            Strategy::RangeOptimal => "range+optimal",
            Strategy::ImplicitBatchModeCompatible => "implicitbatchmodecompatible",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The profiles for an engine, in the order in which [`super::select`] tries them; none where nothing was recorded.
///
/// `recorded` comes from one [`super::Recorder`], so all calls agree in ranks. `known` holds the graph's shapes, one an
/// input: a size that the graph knows is forced on minimum, optimum and maximum. (Missing ones, and those whose rank is
/// unknown or another, force nothing.) No profile comes twice.
pub fn profiles(strategy: Strategy, recorded: &[Recorded], known: &[PartialShape]) -> Vec<Profile> {
    let recorded = with_steady_values(recorded);
    let mut made = match strategy {
        Strategy::Range => range(&recorded).into_iter().collect(),
        Strategy::Optimal => optimal(&recorded),
        Strategy::RangeOptimal => {
            let mut all = optimal(&recorded);
            all.extend(range(&recorded));
            all
        }
        Strategy::ImplicitBatchModeCompatible => recorded.iter().map(up_to_batch).collect(),
    };
    for profile in &mut made {
        force(profile, known);
    }
    let mut unique: Vec<Profile> = Vec::with_capacity(made.len());
    for profile in made {
        // An equal profile further back would never be chosen, and costs the builder its time.
        if !unique.contains(&profile) {
            unique.push(profile);
        }
    }
    for profile in &unique {
        tracing::debug!("{strategy:?} of {} recorded sets of shapes: {profile}", recorded.len());
    }
    unique
}

/// A shape tensor has as many values as some tensor has dimensions, so always the same number. Where the number changes from
/// call to call, or was not always recorded, the values were data, and bounds on them would only turn calls away.
fn with_steady_values(recorded: &[Recorded]) -> Vec<Recorded> {
    let mut recorded = recorded.to_vec();
    let inputs = recorded.first().map_or(0, |call| call.values.len());
    for input in 0..inputs {
        let count = |call: &Recorded| call.values.get(input).and_then(|v| v.as_ref().map(Vec::len));
        let first = count(&recorded[0]);
        if recorded.iter().any(|call| count(call) != first) {
            for call in &mut recorded {
                if let Some(value) = call.values.get_mut(input) {
                    *value = None;
                }
            }
        }
    }
    recorded
}

fn optimal(recorded: &[Recorded]) -> Vec<Profile> {
    recorded.iter().map(|call| Profile::exactly(&call.shapes, &call.values)).collect()
}

fn range(recorded: &[Recorded]) -> Option<Profile> {
    let (first, rest) = recorded.split_first()?;
    let mut all = Profile::exactly(&first.shapes, &first.values);
    for call in rest {
        for (bounds, shape) in all.shapes.iter_mut().zip(&call.shapes) {
            widen(bounds, shape);
        }
        for (bounds, value) in all.values.iter_mut().zip(&call.values) {
            if let (Some(bounds), Some(value)) = (bounds, value) {
                widen(bounds, value);
            }
        }
    }
    Some(all)
}

/// Stretches the bounds to hold `sizes`; the optimum stays at the maximum.
fn widen(bounds: &mut Bounds, sizes: &[i64]) {
    for (i, &size) in sizes.iter().enumerate() {
        bounds.min[i] = bounds.min[i].min(size);
        bounds.max[i] = bounds.max[i].max(size);
    }
    bounds.opt.clone_from(&bounds.max);
}

fn up_to_batch(call: &Recorded) -> Profile {
    let mut profile = Profile::exactly(&call.shapes, &call.values);
    for bounds in &mut profile.shapes {
        lower_to_one(bounds);
    }
    for bounds in profile.values.iter_mut().flatten() {
        // A shape value that starts with the batch size shrinks with it.
        let leads_with_batch = bounds
            .max
            .first()
            .is_some_and(|lead| call.shapes.iter().any(|s| s.first() == Some(lead)));
        if leads_with_batch {
            lower_to_one(bounds);
        }
    }
    profile
}

fn lower_to_one(bounds: &mut Bounds) {
    if let Some(batch) = bounds.min.first_mut() {
        // An empty batch that was recorded stays served.
        *batch = 1.min(*batch);
    }
}

fn force(profile: &mut Profile, known: &[PartialShape]) {
    for (bounds, shape) in profile.shapes.iter_mut().zip(known) {
        let Some(dims) = shape.dims().filter(|d| d.len() == bounds.max.len()) else {
            continue;
        };
        for (i, size) in dims.iter().enumerate() {
            if let Some(size) = *size {
                bounds.min[i] = size;
                bounds.opt[i] = size;
                bounds.max[i] = size;
            }
        }
    }
}
