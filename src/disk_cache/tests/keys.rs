use super::{engine_key, timing_key};
use crate::disk_cache::{EngineKey, TimingKey};
use crate::profile::{Bounds, Profile};
use proptest::prelude::{prop_assert_eq, proptest};
use std::collections::BTreeSet;

/// One key for each field, with that field changed. A new field of [`EngineKey`] does not compile here until it has its own.
fn changed() -> Vec<EngineKey> {
    let EngineKey {
        mut onnx_sha256,
        profiles,
        precision,
        settings,
        backend,
        backend_version,
        compute_capability: (major, minor),
        gpu_name,
        driver_version,
        tftrt_version,
        format,
    } = engine_key();
    let key = engine_key;
    onnx_sha256[31] ^= 1;
    vec![
        EngineKey { onnx_sha256, ..key() },
        EngineKey {
            profiles: [profiles.clone(), profiles].concat(),
            ..key()
        },
        EngineKey {
            precision: precision + " ",
            ..key()
        },
        EngineKey {
            settings: settings.into_iter().rev().collect(),
            ..key()
        },
        EngineKey {
            backend: backend + "_rtx",
            ..key()
        },
        EngineKey {
            backend_version: backend_version + "3",
            ..key()
        },
        EngineKey {
            compute_capability: (major, minor + 1),
            ..key()
        },
        EngineKey {
            gpu_name: gpu_name + " NVL",
            ..key()
        },
        EngineKey {
            driver_version: driver_version + ".1",
            ..key()
        },
        EngineKey {
            tftrt_version: tftrt_version + "-rc",
            ..key()
        },
        EngineKey {
            format: format + 1,
            ..key()
        },
    ]
}

#[test]
fn every_field_changes_an_engines_name() {
    let written = serde_json::to_value(engine_key()).unwrap();
    assert_eq!(changed().len(), written.as_object().unwrap().len());
    let mut names: BTreeSet<String> = changed().iter().map(EngineKey::name).collect();
    names.insert(engine_key().name());
    assert_eq!(names.len(), changed().len() + 1);
    for name in names {
        assert!(name.len() == 64 && name.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
    }
    assert_eq!(engine_key().name(), engine_key().name());
}

#[test]
fn every_number_of_a_profile_changes_an_engines_name() {
    let bounds = Bounds {
        min: vec![1, 2],
        opt: vec![3, 4],
        max: vec![5, 6],
    };
    let with = |bounds: Bounds, values: Option<Bounds>| EngineKey {
        profiles: vec![Profile {
            shapes: vec![bounds],
            values: vec![values],
        }],
        ..engine_key()
    };
    let mut names = BTreeSet::from([with(bounds.clone(), None).name(), with(bounds.clone(), Some(bounds.clone())).name()]);
    for at in 0..2 {
        for which in 0..3 {
            let mut other = bounds.clone();
            [&mut other.min, &mut other.opt, &mut other.max][which][at] += 100;
            names.insert(with(other.clone(), None).name());
            names.insert(with(bounds.clone(), Some(other)).name());
        }
    }
    assert_eq!(names.len(), 2 + 2 * 6);
}

#[test]
fn every_field_changes_a_timing_caches_name() {
    let TimingKey {
        gpu_name,
        compute_capability: (major, minor),
        tensorrt_version,
        driver_version,
    } = timing_key();
    let key = timing_key;
    let changed = [
        TimingKey {
            gpu_name: gpu_name + " NVL",
            ..key()
        },
        TimingKey {
            compute_capability: (major + 1, minor),
            ..key()
        },
        TimingKey {
            tensorrt_version: tensorrt_version + "3",
            ..key()
        },
        TimingKey {
            driver_version: driver_version + ".1",
            ..key()
        },
    ];
    let written = serde_json::to_value(timing_key()).unwrap();
    assert_eq!(changed.len(), written.as_object().unwrap().len());
    let names: BTreeSet<String> = changed.iter().chain([&timing_key()]).map(TimingKey::name).collect();
    assert_eq!(names.len(), changed.len() + 1);
}

proptest! {
    /// Texts that run into each other, quotes and commas included, are told apart.
    #[test]
    fn names_are_equal_where_keys_are(
        a in proptest::collection::vec("[ab\",]{0,2}", 0..4), b in proptest::collection::vec("[ab\",]{0,2}", 0..4),
        c in "[ab\",]{0,2}", d in "[ab\",]{0,2}",
    ) {
        let one = EngineKey { settings: a, precision: c, ..engine_key() };
        let other = EngineKey { settings: b, precision: d, ..engine_key() };
        prop_assert_eq!(one == other, one.name() == other.name());
    }
}
