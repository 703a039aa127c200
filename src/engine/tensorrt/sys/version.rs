//! TensorRT's version numbers.

use std::fmt;

/// The two products that share TensorRT's interface and count their versions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    TensorRt,
    Rtx,
}

/// A version of one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    pub family: Family,
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl Version {
    /// From what `getInferLibVersion` answers: `1000 * major + 100 * minor + patch` up to major 9, and
    /// `10000 * major + 100 * minor + patch` since; TensorRT-RTX has counted from 1.0 in the later form. `None` for a number
    /// that no release can have.
    pub fn from_number(number: i32) -> Option<Version> {
        let number = u32::try_from(number).ok()?;
        let (family, unit) = match number {
            1_000..10_000 => (Family::TensorRt, 1_000),
            // TensorRT had reached major 8 before the form changed, so the low majors of the later form are RTX.
            10_000..80_000 => (Family::Rtx, 10_000),
            100_000.. => (Family::TensorRt, 10_000),
            _ => return None,
        };
        Some(Version {
            family,
            major: number / unit,
            minor: number % unit / 100,
            patch: number % 100,
        })
    }

    /// "8.6.1", without the product.
    pub fn numbers(&self) -> String {
        format!("{}.{}.{}", self.major, self.minor, self.patch)
    }

    /// From the head of a column in `abi.tsv`: "8.6.0", "10.16", "rtx-1.7".
    pub(super) fn from_column(head: &str) -> Option<Version> {
        let (family, numbers) = match head.strip_prefix("rtx-") {
            Some(rest) => (Family::Rtx, rest),
            None => (Family::TensorRt, head),
        };
        let mut parts = numbers.split('.').map(str::parse);
        Some(Version {
            family,
            major: parts.next()?.ok()?,
            minor: parts.next()?.ok()?,
            patch: parts.next().unwrap_or(Ok(0)).ok()?,
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::TensorRt => "TensorRT",
            Family::Rtx => "TensorRT-RTX",
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.numbers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_release_form() {
        let text = |n| Version::from_number(n).map(|v| v.to_string());
        assert_eq!(text(8600).as_deref(), Some("TensorRT 8.6.0"));
        assert_eq!(text(8601).as_deref(), Some("TensorRT 8.6.1"));
        assert_eq!(text(5105).as_deref(), Some("TensorRT 5.1.5"));
        assert_eq!(text(100001).as_deref(), Some("TensorRT 10.0.1"));
        assert_eq!(text(101600).as_deref(), Some("TensorRT 10.16.0"));
        assert_eq!(text(110400).as_deref(), Some("TensorRT 11.4.0"));
        assert_eq!(text(10701).as_deref(), Some("TensorRT-RTX 1.7.1"));
        assert_eq!(text(0), None);
        assert_eq!(text(-1), None);
        assert_eq!(text(90_000), None);
    }
}
