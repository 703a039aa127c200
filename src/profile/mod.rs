//! Shape profiles: which input shapes an engine serves, and for which it is tuned.

/// The sizes that one input may take in one profile. The three lists have the input's rank.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub min: Vec<i64>,
    pub opt: Vec<i64>,
    pub max: Vec<i64>,
}

/// One optimization profile: bounds for every input, in the order of the engine's inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Profile {
    pub shapes: Vec<Bounds>,
    /// For inputs whose values are shapes themselves ("shape tensors"): bounds of the values, else `None`.
    pub values: Vec<Option<Bounds>>,
}
