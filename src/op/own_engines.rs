//! Whose an engine is: the identity of a node's segment, and a static engine's own plan.
//!
//! An engine is only ever used under the segment and settings that it was built for, however it came. A node with a native segment is
//! told by the fingerprint of that. One without is told by the hash that its conversion left on it, which its plans carry too. One of an
//! older converter has neither: its engines are its own only where nobody else's can be meant.

use super::attrs::Attrs;
use super::bare;
use super::engines::{Identity, Loaded};
use super::resource::Resource;
use super::said::Topic;
use crate::engine::Backend;
use crate::engine::plan::{Plan, PlanError};
use sha2::{Digest, Sha256};

/// Everything beside the segment that changes an engine.
pub fn settings(attrs: &Attrs) -> [u8; 32] {
    settings_of(&format!("{:?}", attrs.precision), attrs.implicit_batch)
}

fn settings_of(precision: &str, implicit_batch: bool) -> [u8; 32] {
    Sha256::digest(format!("precision={precision} implicit_batch={implicit_batch}").as_bytes()).into()
}

/// The identity of a node that has no native segment.
///
/// # Errors
/// There is no engine that is the node's own, or several may be meant.
pub fn without_segment(attrs: &Attrs, resource: &Resource) -> Result<Identity, String> {
    let settings = settings(attrs);
    if attrs.static_engine && !attrs.plan.is_empty() {
        // The plan is part of the node: it is what the node computes.
        let segment = match Plan::decode(attrs.plan.clone()) {
            Ok(plan) => plan.segment_hash,
            Err(_) => Sha256::digest(&attrs.plan).into(),
        };
        return Ok(Identity {
            segment,
            settings,
            node: attrs.segment_hash,
        });
    }
    resource.saved_for(settings, attrs.segment_hash)
}

/// The engine of `serialized_segment`, for a node of that identity; a plan that cannot be used is rejected with a word.
pub fn static_engine(attrs: &Attrs, identity: Identity, resource: &Resource, backend: &'static dyn Backend) -> Option<Loaded> {
    if !attrs.static_engine || attrs.plan.is_empty() {
        return None;
    }
    match open(attrs, identity, resource, backend) {
        Ok(loaded) => Some(loaded),
        Err(why) => {
            resource.reject(Topic::Plan, &format!(
                "{}: serialized_segment ({} bytes): {why}; the engine is built anew where that is allowed, else the native segment runs",
                attrs.node,
                attrs.plan.len()
            ));
            None
        }
    }
}

fn open(attrs: &Attrs, identity: Identity, resource: &Resource, backend: &'static dyn Backend) -> Result<Loaded, String> {
    let plan = match Plan::decode(attrs.plan.clone()) {
        Ok(plan) => plan,
        Err(PlanError::Bare) => return bare::open_static(attrs, backend),
        Err(e) => return Err(e.to_string()),
    };
    let engine = resource.open(backend, &plan, identity)?;
    let key = plan
        .profiles
        .first()
        .map(|p| p.shapes.iter().map(|b| b.max.clone()).collect())
        .unwrap_or_default();
    Ok(Loaded {
        key,
        profiles: plan.profiles,
        engine,
    })
}

/// Of the identities that engines in a resource have, the one of a node without native segment. `brought` says of an identity whether
/// every model that was loaded brought its engines; for a node without a hash that is the only evidence.
pub fn choose(
    found: &[Identity],
    settings: [u8; 32],
    node: Option<[u8; 32]>,
    brought: impl Fn(Identity) -> Brought,
) -> Result<Identity, String> {
    let fits = |id: &&Identity| id.settings == settings && id.node == node && (node.is_some() || brought(**id) != Brought::None);
    let mut fitting = found.iter().filter(fits);
    let Some(first) = fitting.next() else {
        return Err("the node has no native segment, and none of the saved engines is its own".to_string());
    };
    let several = fitting.next().is_some();
    match (several, node) {
        (false, Some(_)) => Ok(*first),
        (false, None) if brought(*first) == Brought::All => Ok(*first),
        _ => Err(
            "the node has no native segment, and engines of several models have its name and settings: nothing says which is its own; \
             load one of the models in a process, or save them with their native segments"
                .to_string(),
        ),
    }
}

/// Which of the models that were loaded brought an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought {
    None,
    Some,
    All,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(segment: u8, settings: u8, node: Option<u8>) -> Identity {
        Identity {
            segment: [segment; 32],
            settings: [settings; 32],
            node: node.map(|n| [n; 32]),
        }
    }

    fn chosen(found: &[Identity], node: Option<u8>, brought: Brought) -> Result<u8, String> {
        choose(found, [0; 32], node.map(|n| [n; 32]), |_| brought).map(|id| id.segment[0])
    }

    #[test]
    fn a_hash_tells_whose_an_engine_is() {
        let found = [id(1, 0, Some(11)), id(2, 0, Some(12)), id(3, 0, None), id(4, 9, Some(11))];
        assert_eq!(chosen(&found, Some(11), Brought::Some), Ok(1));
        assert_eq!(chosen(&found, Some(12), Brought::None), Ok(2));
        assert!(
            chosen(&found, Some(13), Brought::All)
                .unwrap_err()
                .contains("none of the saved engines")
        );
    }

    #[test]
    fn one_hash_and_two_segments_is_an_error() {
        let found = [id(1, 0, Some(11)), id(2, 0, Some(11))];
        assert!(chosen(&found, Some(11), Brought::All).unwrap_err().contains("several models"));
    }

    #[test]
    fn without_a_hash_nobody_else_may_be_meant() {
        let one = [id(1, 0, None), id(2, 0, Some(12)), id(3, 7, None)];
        assert_eq!(chosen(&one, None, Brought::All), Ok(1));
        assert!(chosen(&one, None, Brought::Some).unwrap_err().contains("several models"));
        assert!(chosen(&one, None, Brought::None).unwrap_err().contains("none of the saved engines"));
        let two = [id(1, 0, None), id(2, 0, None)];
        assert!(chosen(&two, None, Brought::All).unwrap_err().contains("several models"));
    }

    /// Saved plans are found by these.
    #[test]
    fn settings_are_those_that_saved_plans_were_written_with() {
        let hex: String = settings_of("Fp32", false).iter().map(|byte| format!("{byte:02x}")).collect();
        let expected: [u8; 32] = Sha256::digest(b"precision=Fp32 implicit_batch=false").into();
        assert_eq!(hex, expected.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        assert_ne!(settings_of("Fp32", true), settings_of("Fp32", false));
    }
}
