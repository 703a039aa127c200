//! A look-up in the engine cache that finds its engine: what every call of TRTEngineOp pays.

use criterion::{BenchmarkId, Criterion};
use std::hint::black_box;
use std::sync::Arc;
use tftrt::cache::{EngineCache, Hit, Lookup, Mode};
use tftrt::profile::Profile;

const COUNTS: [i64; 3] = [1, 8, 64];

/// Two inputs, as of a model that takes tokens and a mask.
fn shapes(batch: i64) -> Vec<Vec<i64>> {
    vec![vec![batch, 128], vec![batch, 128]]
}

/// The way of the op: what is missing would be built, and here nothing is.
fn find(cache: &EngineCache<str>, key: &[Vec<i64>], shapes: &[Vec<i64>]) -> usize {
    let found = cache.get_or_build_as(
        key,
        &Lookup::shapes(black_box(shapes)),
        || Err("nothing is to be built".to_string()),
    );
    match found {
        Ok(Hit { profile, .. }) => profile,
        Err(why) => panic!("{why}"),
    }
}

fn bench(criterion: &mut Criterion) {
    // Explicit batch mode: one engine, and the call fits the last of its profiles.
    let mut group = criterion.benchmark_group("engine_cache/explicit batch, last of n profiles");
    for count in COUNTS {
        let cache = EngineCache::<str>::new(Mode::ExplicitBatch, 1);
        let profiles = (1..=count).map(|batch| Profile::exactly(&shapes(batch), &[])).collect();
        cache.insert_loaded(Vec::new(), profiles, Arc::from("engine"));
        let call = shapes(count);
        assert_eq!(find(&cache, &[], &call), count as usize - 1);
        group.bench_function(BenchmarkId::from_parameter(count), |b| b.iter(|| find(&cache, &[], &call)));
    }
    group.finish();

    // Implicit batch mode: an engine for each batch size.
    for (name, asked) in [("equal shapes", 0), ("smaller batch", 1)] {
        let mut group = criterion.benchmark_group(format!("engine_cache/implicit batch, n engines, {name}"));
        for count in COUNTS {
            let cache = EngineCache::<str>::new(Mode::ImplicitBatch, count);
            for batch in 1..=count {
                cache.insert_loaded(
                    shapes(2 * batch),
                    vec![Profile::exactly(&shapes(2 * batch), &[])],
                    Arc::from("engine"),
                );
            }
            let call = shapes(2 * count - asked);
            group.bench_function(BenchmarkId::from_parameter(count), |b| b.iter(|| find(&cache, &call, &call)));
        }
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().sample_size(50).without_plots().configure_from_args();
    bench(&mut criterion);
    criterion.final_summary();
}
