//! What calls looked like while the op was in profile generation mode.

/// The input shapes of one call, with the values of those inputs that may be shape tensors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recorded {
    pub shapes: Vec<Vec<i64>>,
    /// As many as `shapes`; `None` for inputs whose values are no shapes.
    pub values: Vec<Option<Vec<i64>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecorderError {
    #[error("a call with {found} inputs cannot be recorded: the first recorded call had {expected}")]
    Inputs { expected: usize, found: usize },
    #[error("input {input} of shape {found:?} cannot be recorded: it has rank {}, in the first recorded call it had rank {expected}", .found.len())]
    Rank { input: usize, expected: usize, found: Vec<i64> },
    #[error("input {input} cannot be recorded: its shape {found:?} has a negative size")]
    Negative { input: usize, found: Vec<i64> },
    #[error("{found} shape values cannot be recorded for {expected} inputs")]
    Values { expected: usize, found: usize },
}

/// Distinct calls in the order in which they first came.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    calls: Vec<Recorded>,
}

impl Recorder {
    pub fn new() -> Self {
        Recorder::default()
    }

    /// Adds one call; `true` where it was not there yet.
    ///
    /// `values` may be shorter than `shapes`: the rest has no shape values. All calls must agree in the number of inputs
    /// and in their ranks; a call that does not is an error and leaves the recorder as it was.
    pub fn record(&mut self, shapes: &[Vec<i64>], values: &[Option<Vec<i64>>]) -> Result<bool, RecorderError> {
        if values.len() > shapes.len() {
            return Err(RecorderError::Values {
                expected: shapes.len(),
                found: values.len(),
            });
        }
        if let Some((input, found)) = shapes.iter().enumerate().find(|(_, s)| s.iter().any(|&d| d < 0)) {
            return Err(RecorderError::Negative {
                input,
                found: found.clone(),
            });
        }
        if let Some(first) = self.calls.first() {
            if first.shapes.len() != shapes.len() {
                return Err(RecorderError::Inputs {
                    expected: first.shapes.len(),
                    found: shapes.len(),
                });
            }
            for (input, (expected, found)) in first.shapes.iter().zip(shapes).enumerate() {
                if expected.len() != found.len() {
                    return Err(RecorderError::Rank {
                        input,
                        expected: expected.len(),
                        found: found.clone(),
                    });
                }
            }
        }
        let mut values = values.to_vec();
        values.resize(shapes.len(), None);
        let call = Recorded {
            shapes: shapes.to_vec(),
            values,
        };
        if self.calls.contains(&call) {
            return Ok(false);
        }
        self.calls.push(call);
        Ok(true)
    }

    pub fn recorded(&self) -> &[Recorded] {
        &self.calls
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}
