//! What an engine and a timing cache depend on.

use crate::profile::Profile;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The version of the caches' files and keys: raised when the meaning of a field, or of the bytes kept, changes.
pub const FORMAT: u32 = 1;

/// The version of this library.
pub const TFTRT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything that changes an engine: two keys that are equal in all fields stand for the same engine, and two that differ
/// in any have files of their own.
///
/// A field that is added here enters the file's name by itself (the name is the hash of all that serde writes), and the tests
/// do not compile until it is shown to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EngineKey {
    /// SHA-256 of the ONNX model that is built, weights included.
    pub onnx_sha256: [u8; 32],
    /// The optimization profiles, in the engine's order.
    pub profiles: Vec<Profile>,
    /// The precision that was asked for.
    pub precision: String,
    /// All builder settings that matter, as "name=value", always in the same order.
    pub settings: Vec<String>,
    /// Who builds: "tensorrt", "tensorrt_rtx".
    pub backend: String,
    /// The backend's full version.
    pub backend_version: String,
    /// Major and minor.
    pub compute_capability: (u32, u32),
    /// The GPU's name as the driver gives it.
    pub gpu_name: String,
    /// The driver's version.
    pub driver_version: String,
    /// [`TFTRT_VERSION`].
    pub tftrt_version: String,
    /// [`FORMAT`].
    pub format: u32,
}

/// Everything that decides whether timings can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimingKey {
    /// The GPU's name as the driver gives it.
    pub gpu_name: String,
    /// Major and minor.
    pub compute_capability: (u32, u32),
    /// Family (TensorRT, TensorRT-RTX) and full version.
    pub tensorrt_version: String,
    /// The driver's version.
    pub driver_version: String,
}

impl EngineKey {
    /// The key's hash: the file's name, and part of the file's checksum.
    pub fn digest(&self) -> [u8; 32] {
        digest(self)
    }

    /// The name of the engine's file without its ending: 64 hexadecimal digits.
    pub fn name(&self) -> String {
        hex(&self.digest())
    }
}

impl TimingKey {
    /// As [`EngineKey::digest`].
    pub fn digest(&self) -> [u8; 32] {
        digest(self)
    }

    /// As [`EngineKey::name`].
    pub fn name(&self) -> String {
        hex(&self.digest())
    }
}

/// SHA-256 of the key's JSON, in which each field has its name and each text its end.
fn digest(key: &impl Serialize) -> [u8; 32] {
    let json = serde_json::to_vec(key).expect("strings, numbers and lists have a JSON form");
    Sha256::digest(json).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
