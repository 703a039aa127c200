//! The fuzz targets in CI: every seed, and some thousand changes of them, the same each time. What finds new ways is
//! cargo-fuzz (docs/deploy/security.md).
//!
//! `TFTRT_FUZZ_CHANGES` is the number of changed inputs for each target.

#[path = "../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../fuzz/src/targets.rs"]
mod targets;

use mutate::Random;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[test]
fn no_target_panics() {
    let asked: Option<usize> = std::env::var("TFTRT_FUZZ_CHANGES")
        .ok()
        .map(|n| n.parse().expect("TFTRT_FUZZ_CHANGES is a number"));
    for (name, target) in targets::ALL {
        let seeds = seeds(name);
        // Of segments what was found before is tried; its changes are for cargo-fuzz (docs/deploy/security.md).
        let changes = asked.unwrap_or(if *name == "segment" { 0 } else { 4000 });
        assert!(
            !seeds.is_empty(),
            "fuzz/seeds/{name} has no seeds; python fuzz/make_seeds.py writes them"
        );
        let try_one = |what: String, input: &[u8]| {
            if catch_unwind(|| target(input)).is_err() {
                let file = std::env::temp_dir().join(format!("tftrt-fuzz-{name}"));
                fs::write(&file, input).expect("the input is kept");
                panic!("{name}: {what} panics; the input is {}", file.display());
            }
        };
        for (seed, input) in &seeds {
            try_one(format!("the seed {seed}"), input);
        }
        let mut random = Random(7);
        for change in 0..changes {
            let (seed, input) = random.of(&seeds);
            let changed = match *name == "segment" && change % 4 != 0 {
                true => mutate::graph(input, &mut random),
                false => mutate::bytes(input, &mut random),
            };
            try_one(format!("change {change}, of the seed {seed},"), &changed);
        }
    }
}

/// The seeds of a target, by name, and what it once failed on.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut found: Vec<_> = ["seeds", "found"]
        .iter()
        .flat_map(|kind| fs::read_dir(fuzz.join(kind).join(target)).into_iter().flatten())
        .map(|entry| {
            let path = entry.expect("the folder can be read").path();
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a seed can be read"))
        })
        .collect();
    found.sort();
    found
}
