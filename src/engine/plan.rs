//! The container that an engine is kept in: the backend's own bytes behind a header that says what they are good for.
//!
//! | bytes  | what |
//! | ------ | ---- |
//! | 0..8   | [`MAGIC`] |
//! | 8..12  | format version, little-endian like all numbers here |
//! | 12..16 | length of the header |
//! | 16..24 | length of the payload |
//! | 24..56 | SHA-256 of bytes 0..24, the header and the payload |
//! | 56..   | the header (JSON), then the payload, then nothing |
//!
//! A plan is checked whole before any part of it is believed: what is truncated, damaged, or of a newer format is refused
//! before a backend sees it.

use crate::memory::{self, NoMemory};
use crate::profile::Profile;
use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The first bytes of every plan.
pub const MAGIC: [u8; 8] = *b"TFTRTpln";

/// The format that is written, and the newest that is read.
pub const FORMAT: u32 = 2;

/// No header is longer: room for some hundred thousand profiles.
pub const HEADER_LIMIT: usize = 64 << 20;

const HASH_AT: usize = 24;
const HEADER_AT: usize = HASH_AT + 32;

/// So many of the magic's 64 bits may be wrong for the plan to count as a damaged one of ours. Other data comes that close
/// about once in a billion times; a damaged plan must not pass for a bare one and reach TensorRT.
const MAGIC_DAMAGE_BITS: u32 = 8;

/// An engine as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The name of the backend that the payload is for.
    pub backend: String,
    /// The version of its library.
    pub backend_version: String,
    /// Of the GPU that it was built on; `None` where it is bound to none.
    pub compute_capability: Option<(u32, u32)>,
    /// SHA-256 of the segment that it was built from.
    pub segment_hash: [u8; 32],
    /// SHA-256 of the settings that it was built with.
    pub settings_hash: [u8; 32],
    /// The hash that the node carries of its segment as it was converted; `None` where it carries none. (Format 1 had none.)
    pub node_hash: Option<[u8; 32]>,
    pub profiles: Vec<Profile>,
    /// The backend's own bytes.
    pub payload: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No plan of this library's. TF-TRT 2.x kept TensorRT's plans without a container: this may be one.
    #[error("the plan has no header of this library's: it may be a bare TensorRT plan, as TF-TRT 2.x wrote them")]
    Bare,
    #[error("the plan is truncated: {expected} bytes expected, {found} found")]
    Truncated { expected: u64, found: u64 },
    #[error("the plan has format {found}, and this library reads formats up to {FORMAT}: it was written by a newer one")]
    NewerFormat { found: u32 },
    #[error("the plan is damaged: {0}")]
    Damaged(String),
    /// Sound, and not for here.
    #[error("the plan does not fit: {0}")]
    Mismatch(String),
}

/// The header as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    backend: String,
    backend_version: String,
    compute_capability: Option<(u32, u32)>,
    segment_sha256: String,
    settings_sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_sha256: Option<String>,
    profiles: Vec<Profile>,
}

impl Plan {
    /// The plan as bytes. (The payload is copied: hash and header come before it.)
    ///
    /// # Errors
    /// There is no memory for the copy.
    pub fn encode(&self) -> Result<Bytes, NoMemory> {
        let header = Header {
            backend: self.backend.clone(),
            backend_version: self.backend_version.clone(),
            compute_capability: self.compute_capability,
            segment_sha256: to_hex(&self.segment_hash),
            settings_sha256: to_hex(&self.settings_hash),
            node_sha256: self.node_hash.as_ref().map(to_hex),
            profiles: self.profiles.clone(),
        };
        let header = serde_json::to_vec(&header).expect("strings, numbers and lists have a JSON form");
        let mut bytes = memory::room("the plan", HEADER_AT + header.len() + self.payload.len())?;
        bytes.put_slice(&MAGIC);
        bytes.put_u32_le(FORMAT);
        bytes.put_u32_le(u32::try_from(header.len()).unwrap_or(u32::MAX));
        bytes.put_u64_le(self.payload.len() as u64);
        let hash = digest(&bytes, &[&header, &self.payload]);
        bytes.put_slice(&hash);
        bytes.put_slice(&header);
        bytes.put_slice(&self.payload);
        Ok(bytes.into())
    }

    /// Reads what [`Plan::encode`] gave. The payload is a slice of `bytes`, not a copy.
    pub fn decode(bytes: Bytes) -> Result<Plan, PlanError> {
        check_magic(&bytes)?;
        let truncated = |expected: u64| PlanError::Truncated {
            expected,
            found: bytes.len() as u64,
        };
        let fixed: &[u8; HEADER_AT] = bytes.first_chunk().ok_or_else(|| truncated(HEADER_AT as u64))?;
        let format = u32::from_le_bytes(array(fixed, 8));
        match format {
            1..=FORMAT => {}
            0 => return Err(PlanError::Damaged("it has format 0, which there is not".to_string())),
            found => return Err(PlanError::NewerFormat { found }),
        }
        let header_length = u32::from_le_bytes(array(fixed, 12)) as usize;
        let payload_length = u64::from_le_bytes(array(fixed, 16));
        if header_length > HEADER_LIMIT {
            return Err(PlanError::Damaged(format!(
                "its header is said to have {header_length} bytes, and at most {HEADER_LIMIT} are allowed"
            )));
        }
        let expected = payload_length.saturating_add((HEADER_AT + header_length) as u64);
        let found = bytes.len() as u64;
        if found < expected {
            return Err(truncated(expected));
        }
        if found > expected {
            return Err(PlanError::Damaged(format!("{} bytes follow after its end", found - expected)));
        }
        let hash: [u8; 32] = array(fixed, HASH_AT);
        if digest(&fixed[..HASH_AT], &[&bytes[HEADER_AT..]]) != hash {
            return Err(PlanError::Damaged("its bytes do not have the SHA-256 that it names".to_string()));
        }
        let payload_at = HEADER_AT + header_length;
        let header: Header = serde_json::from_slice(&bytes[HEADER_AT..payload_at])
            .map_err(|why| PlanError::Damaged(format!("its header cannot be read: {why}")))?;
        for (i, profile) in header.profiles.iter().enumerate() {
            profile
                .check()
                .map_err(|why| PlanError::Damaged(format!("its profile {i} is unsound: {why}")))?;
        }
        Ok(Plan {
            backend: header.backend,
            backend_version: header.backend_version,
            compute_capability: header.compute_capability,
            segment_hash: from_hex("segment", &header.segment_sha256)?,
            settings_hash: from_hex("settings", &header.settings_sha256)?,
            node_hash: header.node_sha256.map(|hash| from_hex("node", &hash)).transpose()?,
            profiles: header.profiles,
            payload: bytes.slice(payload_at..),
        })
    }

    /// Whether the plan can be used here: the same backend and version, the GPU that it was built on (if any), the same
    /// segment and settings, and the same hash on the node. The error says everything that differs.
    pub fn check(
        &self,
        backend: &str,
        version: &str,
        compute_capability: Option<(u32, u32)>,
        segment_hash: &[u8; 32],
        settings_hash: &[u8; 32],
        node_hash: &Option<[u8; 32]>,
    ) -> Result<(), PlanError> {
        if self.backend != backend {
            // The rest follows from that.
            return Err(PlanError::Mismatch(format!(
                "it was built by the backend {} {}, and the backend here is {backend} {version}",
                self.backend, self.backend_version
            )));
        }
        let mut differences = Vec::new();
        if self.backend_version != version {
            differences.push(format!(
                "it was built by {backend} {}, and {version} is loaded here",
                self.backend_version
            ));
        }
        if let Some(built_for) = self.compute_capability
            && compute_capability != Some(built_for)
        {
            differences.push(format!(
                "it was built for compute capability {}.{}, and {}",
                built_for.0,
                built_for.1,
                match compute_capability {
                    Some((major, minor)) => format!("the GPU here has {major}.{minor}"),
                    None => "there is no GPU here".to_string(),
                }
            ));
        }
        if self.segment_hash != *segment_hash {
            differences.push("it was built from another segment of the graph".to_string());
        }
        if self.settings_hash != *settings_hash {
            differences.push("it was built with other settings".to_string());
        }
        if self.node_hash != *node_hash {
            differences.push("it was built for a node of another conversion".to_string());
        }
        if differences.is_empty() {
            Ok(())
        } else {
            Err(PlanError::Mismatch(differences.join("; ")))
        }
    }
}

impl Plan {
    /// As [`Plan::check`], without a segment to hold it against.
    pub fn check_backend(&self, backend: &dyn super::Backend) -> Result<(), PlanError> {
        let version = backend.version().map_err(|e| PlanError::Mismatch(e.to_string()))?;
        self.check(
            backend.name(),
            &version,
            backend.compute_capability(),
            &self.segment_hash,
            &self.settings_hash,
            &self.node_hash,
        )
    }
}

fn check_magic(bytes: &[u8]) -> Result<(), PlanError> {
    let start = &bytes[..bytes.len().min(MAGIC.len())];
    if start.len() < MAGIC.len() {
        // Too short to be anyone's plan.
        return Err(PlanError::Truncated {
            expected: HEADER_AT as u64,
            found: bytes.len() as u64,
        });
    }
    let wrong: u32 = start.iter().zip(&MAGIC).map(|(a, b)| (a ^ b).count_ones()).sum();
    match wrong {
        0 => Ok(()),
        1..=MAGIC_DAMAGE_BITS => Err(PlanError::Damaged(format!("{wrong} bits of its first eight bytes are wrong"))),
        _ => Err(PlanError::Bare),
    }
}

/// SHA-256 of the first 24 bytes and what follows the hash.
fn digest(fixed: &[u8], rest: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(fixed);
    for part in rest {
        hash.update(part);
    }
    hash.finalize().into()
}

/// `N` bytes from `at` on, which lie within the fixed part.
fn array<const N: usize>(fixed: &[u8; HEADER_AT], at: usize) -> [u8; N] {
    std::array::from_fn(|i| fixed[at + i])
}

fn to_hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn from_hex(what: &str, text: &str) -> Result<[u8; 32], PlanError> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let bytes: Option<Vec<u8>> = digits
        .filter(|d| d.len() == 64)
        .map(|d| d.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect());
    bytes
        .and_then(|b| b.try_into().ok())
        .ok_or_else(|| PlanError::Damaged(format!("its {what} hash \"{text}\" is not 64 hexadecimal digits")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Bounds;
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use proptest::strategy::Strategy;

    fn small() -> Plan {
        Plan {
            backend: "onnxruntime".to_string(),
            backend_version: "1.31.1".to_string(),
            compute_capability: Some((9, 0)),
            segment_hash: [7; 32],
            settings_hash: [0xa5; 32],
            node_hash: Some([9; 32]),
            profiles: vec![Profile::exactly(&[vec![8, 128], vec![]], &[None, Some(vec![-1, 3])])],
            payload: Bytes::from_static(b"the payload"),
        }
    }

    /// `plan`'s bytes with another header, and the hash made right for it.
    fn with_header(header: &str) -> Bytes {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&0u64.to_le_bytes());
        let hash = digest(&bytes, &[header.as_bytes()]);
        bytes.extend_from_slice(&hash);
        bytes.extend_from_slice(header.as_bytes());
        bytes.into()
    }

    #[test]
    fn the_payload_is_shared_not_copied() {
        let bytes = small().encode().unwrap();
        let plan = Plan::decode(bytes.clone()).unwrap();
        assert_eq!(plan, small());
        assert_eq!(plan.payload.as_ptr(), bytes[bytes.len() - plan.payload.len()..].as_ptr());
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = small().encode().unwrap();
        assert_eq!(bytes[..12], *b"TFTRTpln\x02\0\0\0");
        let header_length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        assert_eq!(u64::from_le_bytes(bytes[16..24].try_into().unwrap()), 11);
        let header: serde_json::Value = serde_json::from_slice(&bytes[56..56 + header_length]).unwrap();
        assert_eq!(header["backend"], "onnxruntime");
        assert_eq!(header["segment_sha256"], "07".repeat(32));
        assert_eq!(&bytes[56 + header_length..], b"the payload");
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = small().encode().unwrap();
        for length in 0..bytes.len() {
            match Plan::decode(bytes.slice(..length)) {
                Err(PlanError::Truncated { expected, found }) => {
                    assert_eq!(found, length as u64);
                    assert!(expected > found);
                }
                other => panic!("cut to {length} bytes: {other:?}"),
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_refused_and_passes_for_no_bare_plan() {
        let bytes = small().encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match Plan::decode(flipped.into()) {
                Ok(_) => panic!("bit {bit} does not matter"),
                Err(PlanError::Bare | PlanError::Mismatch(_)) => panic!("bit {bit}: taken for something else"),
                Err(_) => {}
            }
        }
    }

    #[test]
    fn what_follows_the_end_is_refused() {
        let mut bytes = small().encode().unwrap().to_vec();
        bytes.push(0);
        assert!(matches!(Plan::decode(bytes.into()), Err(PlanError::Damaged(why)) if why.contains("1 bytes")));
    }

    #[test]
    fn other_data_is_bare() {
        for other in [&b"ftrt\0\0\0\0\x01\0\0\0 a TensorRT plan"[..], &[0; 100], &[0xff; 8]] {
            assert_eq!(Plan::decode(Bytes::copy_from_slice(other)), Err(PlanError::Bare));
        }
    }

    #[test]
    fn a_newer_format_says_so() {
        let mut bytes = small().encode().unwrap().to_vec();
        bytes[8] = 3;
        assert_eq!(Plan::decode(bytes.into()), Err(PlanError::NewerFormat { found: 3 }));
    }

    #[test]
    fn sizes_beyond_the_data_reserve_nothing() {
        let mut bytes = small().encode().unwrap().to_vec();
        bytes[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(
            Plan::decode(bytes.clone().into()),
            Err(PlanError::Truncated { expected: u64::MAX, .. })
        ));
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Plan::decode(bytes.into()), Err(PlanError::Damaged(why)) if why.contains("allowed")));
    }

    #[test]
    fn a_header_that_makes_no_sense_is_refused_even_with_the_right_hash() {
        let hash = "00".repeat(32);
        let header = |backend: &str, hash: &str, profiles: &str| {
            format!(
                r#"{{"backend":{backend},"backend_version":"1","compute_capability":null,"segment_sha256":"{hash}","settings_sha256":"{hash}","profiles":{profiles}}}"#
            )
        };
        assert!(Plan::decode(with_header(&header("\"a\"", &hash, "[]"))).is_ok());
        for (wrong, word) in [
            (String::new(), "header"),
            ("{}".to_string(), "missing field"),
            (header("3", &hash, "[]"), "string"),
            (header("\"a\"", "xy", "[]"), "hexadecimal"),
            (
                header("\"a\"", &hash, r#"[{"shapes":[{"min":[2],"opt":[1],"max":[3]}],"values":[]}]"#),
                "profile 0",
            ),
            (header("\"a\"", &hash, r#"[{"shapes":[],"values":[],"more":1}]"#), "unknown field"),
        ] {
            match Plan::decode(with_header(&wrong)) {
                Err(PlanError::Damaged(why)) => assert!(why.contains(word), "{why}"),
                other => panic!("{wrong}: {other:?}"),
            }
        }
    }

    #[test]
    fn check_says_everything_that_differs() {
        let plan = small();
        let check = |backend, version, cc, segment: u8, settings: u8| {
            plan.check(backend, version, cc, &[segment; 32], &[settings; 32], &Some([9; 32]))
                .map_err(|e| e.to_string())
        };
        let gpu = Some((9, 0));
        assert_eq!(check("onnxruntime", "1.31.1", gpu, 7, 0xa5), Ok(()));
        let all = check("onnxruntime", "1.32.0", Some((8, 6)), 1, 2).unwrap_err();
        for word in ["1.31.1", "1.32.0", "9.0", "8.6", "segment", "settings"] {
            assert!(all.contains(word), "{all}");
        }
        let backend = check("tensorrt", "8.6.0", gpu, 7, 0xa5).unwrap_err();
        assert!(
            backend.contains("onnxruntime 1.31.1") && backend.contains("tensorrt 8.6.0"),
            "{backend}"
        );
        assert!(check("onnxruntime", "1.31.1", None, 7, 0xa5).unwrap_err().contains("no GPU"));
        let unbound = Plan {
            compute_capability: None,
            ..small()
        };
        let with_node = |node| unbound.check("onnxruntime", "1.31.1", gpu, &[7; 32], &[0xa5; 32], &node);
        assert_eq!(with_node(Some([9; 32])), Ok(()));
        for other in [None, Some([8; 32])] {
            assert!(with_node(other).unwrap_err().to_string().contains("another conversion"));
        }
    }

    fn profiles() -> impl Strategy<Value = Vec<Profile>> {
        let dimension = (0i64..1000, 0i64..1000, 0i64..1000);
        let bounds = proptest::collection::vec(dimension, 0..4).prop_map(|dims| Bounds {
            min: dims.iter().map(|d| d.0).collect(),
            opt: dims.iter().map(|d| d.0 + d.1).collect(),
            max: dims.iter().map(|d| d.0 + d.1 + d.2).collect(),
        });
        let input = (bounds.clone(), proptest::option::of(bounds));
        let profile = proptest::collection::vec(input, 0..3).prop_map(|inputs| {
            let (shapes, values) = inputs.into_iter().unzip();
            Profile { shapes, values }
        });
        proptest::collection::vec(profile, 0..3)
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            backend in ".{0,12}",
            backend_version in ".{0,12}",
            compute_capability in any::<Option<(u32, u32)>>(),
            segment_hash in any::<[u8; 32]>(),
            settings_hash in any::<[u8; 32]>(),
            node_hash in any::<Option<[u8; 32]>>(),
            profiles in profiles(),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let payload = Bytes::from(payload);
            let plan = Plan { backend, backend_version, compute_capability, segment_hash, settings_hash, node_hash, profiles, payload };
            prop_assert_eq!(Plan::decode(plan.encode().unwrap()), Ok(plan));
        }

        #[test]
        fn garbage_is_refused(start in 0usize..=8, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = MAGIC[..start].to_vec();
            bytes.extend(rest);
            assert!(Plan::decode(bytes.into()).is_err());
        }
    }
}
