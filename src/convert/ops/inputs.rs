//! How many inputs an op takes. TensorFlow holds its graphs against that, but a graph may come from elsewhere; predicates and
//! converters, which run after this check, then ask for inputs by their number.

use super::super::Reason;
use super::super::view::View;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Least and most, by op.
static LIMITS: LazyLock<HashMap<&'static str, (usize, usize)>> =
    LazyLock::new(|| include_str!("inputs.tsv").lines().filter_map(row).collect());

fn row(line: &'static str) -> Option<(&'static str, (usize, usize))> {
    let mut fields = line.split('\t');
    let (op, least, most) = (fields.next()?, fields.next()?, fields.next()?);
    let most = if most == "-" { usize::MAX } else { most.parse().ok()? };
    Some((op, (least.parse().ok()?, most)))
}

/// Fails unless the node has as many data inputs as its op takes. An op that this TensorFlow does not have has no row.
pub fn check(view: View) -> Result<(), Reason> {
    let (name, op, count) = (view.node().name(), view.op(), view.count());
    match LIMITS.get(op) {
        Some(&(least, most)) if count < least || count > most => {
            let wanted = if least == most {
                least.to_string()
            } else {
                format!("{least} or more")
            };
            Err(format!("Node '{name}' has {count} inputs, and the op {op} takes {wanted}."))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_and_is_of_a_converter() {
        let rows = include_str!("inputs.tsv").lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(LIMITS.len(), rows);
        assert_eq!(LIMITS["Sqrt"], (1, 1));
        assert_eq!(LIMITS["ConcatV2"], (3, usize::MAX));
        let without: Vec<_> = super::super::all().map(|c| c.op).filter(|op| !LIMITS.contains_key(op)).collect();
        assert_eq!(without, ["FusedConv2DBiasActivation"]);
    }
}
