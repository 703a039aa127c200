use super::*;
use crate::profile::Bounds;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Stands for an engine: the shapes that it was built for.
type Made = Key;

fn shapes(batch: i64, width: i64) -> Key {
    vec![vec![batch, width]]
}

fn implicit(capacity: i64) -> EngineCache<Made> {
    EngineCache::new(Mode::ImplicitBatch, capacity)
}

fn make(key: &[Vec<i64>]) -> Result<Built<Made>, String> {
    Ok(Built {
        engine: Arc::new(key.to_vec()),
        profiles: vec![Profile::exactly(key, &[])],
    })
}

fn build(cache: &EngineCache<Made>, key: &Key) -> Hit<Made> {
    cache
        .get_or_build(&Lookup::shapes(key), || make(key))
        .unwrap_or_else(|why| panic!("{why}"))
}

fn ready(cache: &EngineCache<Made>, key: &Key) -> Option<Made> {
    match cache.lookup(&Lookup::shapes(key)) {
        Found::Ready { engine, .. } => Some(engine.to_vec()),
        _ => None,
    }
}

#[test]
fn implicit_batch_takes_the_smallest_batch_that_is_large_enough() {
    let cache = implicit(5);
    for batch in [64, 8, 16] {
        cache.insert_loaded(shapes(batch, 3), vec![], Arc::new(shapes(batch, 3)));
    }
    assert_eq!(ready(&cache, &shapes(7, 3)), Some(shapes(8, 3)));
    assert_eq!(ready(&cache, &shapes(9, 3)), Some(shapes(16, 3)));
    assert_eq!(ready(&cache, &shapes(64, 3)), Some(shapes(64, 3)));
    assert_eq!(ready(&cache, &shapes(65, 3)), None);
    assert_eq!(ready(&cache, &shapes(7, 4)), None, "another width");
    assert_eq!(ready(&cache, &vec![vec![7, 3], vec![7, 3]]), None, "another number of inputs");
    assert_eq!(ready(&cache, &vec![vec![7]]), None, "another rank");
}

#[test]
fn a_failed_larger_batch_captures_no_smaller_one() {
    let cache = implicit(5);
    let large = shapes(64, 3);
    let failed = cache.get_or_build(&Lookup::shapes(&large), || Err("no memory".into()));
    assert_eq!(failed.err().as_deref(), Some("no memory"));
    assert!(build(&cache, &shapes(8, 3)).built);
    assert!(matches!(cache.lookup(&Lookup::shapes(&large)), Found::Failed(reason) if &*reason == "no memory"));
    // And an engine that is large enough serves the batch that failed.
    build(&cache, &shapes(128, 3));
    assert_eq!(ready(&cache, &large), Some(shapes(128, 3)));
}

#[test]
fn a_failure_is_not_tried_again_and_takes_no_room() {
    let cache = implicit(1);
    build(&cache, &shapes(1, 1));
    for width in 2..40 {
        let key = shapes(1, width);
        for _ in 0..2 {
            let tried = cache.get_or_build(&Lookup::shapes(&key), || Err(format!("width {width}")));
            assert_eq!(tried.err().as_deref(), Some(format!("width {width}").as_str()));
        }
        let again = cache.get_or_build(&Lookup::shapes(&key), || panic!("a second build"));
        assert_eq!(again.err().as_deref(), Some(format!("width {width}").as_str()));
    }
    assert!(ready(&cache, &shapes(1, 1)).is_some(), "failures evict no engine");
    assert_eq!((cache.stats().failures, cache.stats().evictions), (38, 0));
}

#[test]
fn remembered_failures_are_bounded() {
    let cache = implicit(1);
    for width in 0..2000 {
        let key = shapes(1, width);
        assert!(
            cache
                .get_or_build(&Lookup::shapes(&key), || Err("not possible".to_string()))
                .is_err()
        );
    }
    assert_eq!(cache.stats().remembered_failures, REMEMBERED_FAILURES.get() as u64);
    assert!(cache.is_empty());
}

#[test]
fn a_ticket_that_is_dropped_leaves_nobody_waiting() {
    let cache = implicit(1);
    let key = shapes(1, 1);
    let call = Lookup::shapes(&key);
    let Begin::Start(ticket) = cache.begin(&key, &call) else {
        panic!("nobody builds")
    };
    assert!(matches!(cache.begin(&key, &call), Begin::Building));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| cache.get_or_build(&call, || panic!("somebody else builds")).map(|_| ()));
        while cache.stats().waits == 0 {
            thread::yield_now();
        }
        drop(ticket);
        assert!(waiting.join().unwrap().is_err_and(|why| why.contains("given up")));
    });
    assert!(matches!(cache.lookup(&call), Found::Missing), "it is no failure of the engine's");
    let Begin::Start(ticket) = cache.begin(&key, &call) else {
        panic!("the next one builds")
    };
    cache.finish(ticket, || make(&key));
    assert_eq!(ready(&cache, &key), Some(key.clone()));
    assert_eq!(cache.hit(&call).map(|hit| hit.built), Some(false));
}

#[test]
fn a_panic_in_a_build_is_a_failure_with_its_message() {
    let cache = implicit(1);
    let key = shapes(1, 1);
    let reason = cache.get_or_build(&Lookup::shapes(&key), || panic!("slot {} is null", 7)).err();
    assert_eq!(reason.as_deref(), Some("the build panicked: slot 7 is null"));
    assert!(matches!(cache.lookup(&Lookup::shapes(&key)), Found::Failed(_)));
}

#[test]
fn the_least_recently_used_engine_goes_and_lives_until_its_last_run_ends() {
    let cache = implicit(2);
    let first = build(&cache, &shapes(1, 1)).engine;
    build(&cache, &shapes(1, 2));
    assert!(ready(&cache, &shapes(1, 1)).is_some(), "used: 2 is the older one now");
    build(&cache, &shapes(1, 3));
    assert_eq!(ready(&cache, &shapes(1, 2)), None);
    build(&cache, &shapes(1, 4));
    assert_eq!(ready(&cache, &shapes(1, 1)), None);
    assert_eq!(*first, shapes(1, 1));
    assert_eq!(Arc::strong_count(&first), 1, "only the run still holds it");
    assert_eq!(cache.stats().evictions, 2);
}

#[test]
fn a_capacity_below_one_is_one() {
    for capacity in [i64::MIN, -1, 0, 1] {
        assert_eq!(implicit(capacity).capacity(), 1);
    }
    assert_eq!(implicit(i64::MAX).len(), 0, "reserves nothing");
}

#[test]
fn explicit_batch_serves_what_a_profile_holds_and_says_which() {
    let cache: EngineCache<Made> = EngineCache::new(Mode::ExplicitBatch, 2);
    let range = Profile {
        shapes: vec![Bounds {
            min: vec![1, 16],
            opt: vec![8, 128],
            max: vec![8, 128],
        }],
        values: vec![None],
    };
    let profiles = vec![Profile::exactly(&shapes(8, 16), &[]), range];
    let key = shapes(8, 128);
    let ask = |batch, width| {
        let asked = shapes(batch, width);
        cache
            .get_or_build_as(&key, &Lookup::shapes(&asked), || {
                Ok(Built {
                    engine: Arc::new(key.clone()),
                    profiles: profiles.clone(),
                })
            })
            .map(|hit| (hit.profile, hit.built))
    };
    assert_eq!(ask(4, 64).ok(), Some((1, true)));
    assert_eq!(ask(8, 16).ok(), Some((0, false)));
    let outside = ask(9, 16).unwrap_err();
    assert!(outside.contains("profile"), "{outside}");
    assert_eq!(
        cache.stats().builds,
        1,
        "what no profile holds starts no second build of the same profiles"
    );
    assert_eq!(cache.stats().failures, 0);
}

#[test]
fn entries_in_saving_order_restore_the_cache() {
    let cache = implicit(3);
    for width in [1, 2, 3] {
        build(&cache, &shapes(1, width));
    }
    ready(&cache, &shapes(1, 1));
    let saved = cache.entries();
    let widths: Vec<i64> = saved.iter().map(|e| e.key[0][1]).collect();
    assert_eq!(widths, [2, 3, 1]);
    let restored = implicit(3);
    for entry in &saved {
        restored.insert_loaded(entry.key.clone(), entry.profiles.clone(), entry.engine.clone());
    }
    build(&restored, &shapes(1, 4));
    assert_eq!(ready(&restored, &shapes(1, 2)), None, "the least recently used one went first");
    assert_eq!(restored.stats().loads, 3);
}

#[test]
fn an_engine_without_inputs_dimensions_is_served() {
    let cache = implicit(1);
    build(&cache, &vec![vec![]]);
    assert_eq!(ready(&cache, &vec![vec![]]), Some(vec![vec![]]));
}

#[test]
fn counters_count() {
    let cache = implicit(1);
    build(&cache, &shapes(4, 1));
    build(&cache, &shapes(2, 1));
    build(&cache, &shapes(4, 2));
    cache.lookup(&Lookup::shapes(&shapes(4, 1)));
    let stats = cache.stats();
    assert_eq!(
        (stats.hits, stats.misses, stats.builds, stats.evictions, stats.engines),
        (1, 3, 2, 1, 1)
    );
    assert_eq!(serde_json::to_value(stats).unwrap()["misses"], 3);
}

#[test]
fn calls_of_other_keys_go_on_while_one_builds() {
    let cache = Arc::new(implicit(4));
    let started = Arc::new(Barrier::new(2));
    let finish = Arc::new(Barrier::new(2));
    let slow = {
        let (cache, started, finish) = (cache.clone(), started.clone(), finish.clone());
        thread::spawn(move || {
            let key = shapes(1, 1);
            let hit = cache.get_or_build(&Lookup::shapes(&key), || {
                started.wait();
                finish.wait();
                make(&key)
            });
            assert!(hit.is_ok_and(|h| h.built));
        })
    };
    started.wait();
    assert!(build(&cache, &shapes(1, 2)).built);
    assert!(matches!(cache.lookup(&Lookup::shapes(&shapes(1, 1))), Found::Missing));
    assert_eq!(cache.entries().len(), 1);
    finish.wait();
    slow.join().unwrap();
    assert_eq!(cache.len(), 2);
}

#[test]
fn those_who_wait_for_a_build_that_fails_or_panics_are_released_with_its_reason() {
    for panics in [false, true] {
        let cache = implicit(1);
        let key = shapes(1, 1);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let got = cache.get_or_build(&Lookup::shapes(&key), || {
                        // Until the others wait for it.
                        while cache.stats().waits < 7 {
                            thread::sleep(Duration::from_millis(1));
                        }
                        assert!(!panics, "on purpose");
                        Err("on purpose".to_string())
                    });
                    assert!(got.err().is_some_and(|why| why.contains("on purpose")));
                });
            }
        });
        let stats = cache.stats();
        assert_eq!((stats.failures, stats.builds, stats.waits, stats.misses), (1, 0, 7, 8));
    }
}

/// 16 threads ask for 40 keys over and over, with room for all: each key is built once.
#[test]
fn many_threads_build_each_key_once() {
    const KEYS: usize = 40;
    let cache: EngineCache<Made> = EngineCache::new(Mode::ExplicitBatch, KEYS as i64);
    let built: Vec<AtomicUsize> = (0..KEYS).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        for thread in 0..16 {
            let (cache, built) = (&cache, &built);
            scope.spawn(move || {
                for step in 0..400 {
                    let at = (step * (2 * thread + 1) + thread) % KEYS;
                    let key = shapes(1, at as i64);
                    let hit = cache.get_or_build(&Lookup::shapes(&key), || {
                        built[at].fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(2));
                        make(&key)
                    });
                    assert_eq!(*hit.unwrap_or_else(|why| panic!("{why}")).engine, key);
                }
            });
        }
    });
    let stats = cache.stats();
    assert!(built.iter().all(|b| b.load(Ordering::Relaxed) <= 1));
    assert_eq!(stats.builds, built.iter().map(|b| b.load(Ordering::Relaxed) as u64).sum::<u64>());
    assert_eq!(stats.builds, KEYS as u64);
    assert_eq!(stats.hits + stats.misses, 16 * 400);
    assert_eq!(stats.misses, stats.builds + stats.waits);
}

/// The same with room for few: every answer is right, no build of a key overlaps another of it, and the engines that were
/// built are those that are there or were evicted.
#[test]
fn many_threads_under_eviction_get_right_answers() {
    const KEYS: usize = 24;
    let cache: EngineCache<Made> = EngineCache::new(Mode::ExplicitBatch, 5);
    let under_way: Vec<AtomicUsize> = (0..KEYS).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        for thread in 0..16 {
            let (cache, under_way) = (&cache, &under_way);
            scope.spawn(move || {
                for step in 0..300 {
                    let at = (step * (2 * thread + 1) + thread) % KEYS;
                    let key = shapes(1, at as i64);
                    let hit = cache.get_or_build(&Lookup::shapes(&key), || {
                        assert_eq!(under_way[at].fetch_add(1, Ordering::SeqCst), 0, "two builds of one key at once");
                        thread::yield_now();
                        under_way[at].fetch_sub(1, Ordering::SeqCst);
                        make(&key)
                    });
                    assert_eq!(*hit.unwrap_or_else(|why| panic!("{why}")).engine, key);
                    assert!(cache.len() <= 5);
                }
            });
        }
    });
    let stats = cache.stats();
    assert_eq!(stats.builds, stats.evictions + stats.engines);
}

fn asked() -> impl proptest::strategy::Strategy<Value = Vec<(i64, i64)>> {
    proptest::collection::vec((0i64..20, 0i64..3), 1..60)
}

proptest! {
    #[test]
    fn the_cache_never_holds_more_than_its_capacity(capacity in -2i64..8, asked in asked(), fails in proptest::collection::vec(any::<bool>(), 60)) {
        let cache = implicit(capacity);
        for ((batch, width), fails) in asked.into_iter().zip(fails) {
            let key = shapes(batch, width);
            let _ = cache.get_or_build(&Lookup::shapes(&key), || if fails { Err("no".into()) } else { make(&key) });
            prop_assert!(cache.len() as i64 <= capacity.max(1));
            prop_assert_eq!(cache.entries().len(), cache.len());
        }
        let stats = cache.stats();
        prop_assert_eq!(stats.builds, stats.evictions + stats.engines);
    }

    #[test]
    fn what_an_engine_serves_is_served_while_it_is_there(capacity in 1i64..5, asked in asked(), probes in asked()) {
        let cache = implicit(capacity);
        for (batch, width) in asked {
            build(&cache, &shapes(batch, width));
            let there: Vec<Key> = cache.entries().iter().map(|e| e.key.clone()).collect();
            for &(batch, width) in &probes {
                let best = there.iter().filter(|k| k[0][1] == width && k[0][0] >= batch).min_by_key(|k| k[0][0]);
                prop_assert_eq!(ready(&cache, &shapes(batch, width)), best.cloned());
            }
        }
    }

    #[test]
    fn what_a_profile_holds_is_served_and_no_lookup_order_changes_an_answer(
        engines in proptest::collection::vec((0i64..6, 0i64..6, 0i64..6, 0i64..6), 1..6), probes in asked(), order in any::<prop::sample::Index>(),
    ) {
        let filled = || {
            let cache: EngineCache<usize> = EngineCache::new(Mode::ExplicitBatch, 8);
            for (number, &(batch, more, width, wider)) in engines.iter().enumerate() {
                let max = vec![batch + more, width + wider];
                let bounds = Bounds { min: vec![batch, width], opt: max.clone(), max: max.clone() };
                let profile = Profile { shapes: vec![bounds], values: vec![] };
                cache.insert_loaded(vec![max], vec![profile], Arc::new(number));
            }
            cache
        };
        let answer = |cache: &EngineCache<usize>, (batch, width): (i64, i64)| match cache.lookup(&Lookup::shapes(&shapes(batch, width))) {
            Found::Ready { engine, profile } => Some((*engine, profile)),
            _ => None,
        };
        let (straight, turned) = (filled(), filled());
        for &(batch, width) in &probes {
            let held = straight.entries().iter().any(|e| e.profiles[0].contains(&shapes(batch, width), &[]));
            prop_assert_eq!(answer(&straight, (batch, width)).is_some(), held);
        }
        let straight: Vec<_> = probes.iter().map(|&p| answer(&straight, p)).collect();
        let from = order.index(probes.len());
        let mut turned: Vec<_> = (0..probes.len()).map(|i| answer(&turned, probes[(from + i) % probes.len()])).collect();
        turned.rotate_right(from);
        prop_assert_eq!(straight, turned);
    }

    #[test]
    fn an_answer_under_eviction_still_serves_the_call(capacity in 1i64..4, asked in asked()) {
        let cache = implicit(capacity);
        for (batch, width) in asked {
            let engine = build(&cache, &shapes(batch, width)).engine;
            prop_assert!(holds_batch(&engine, &shapes(batch, width)));
            prop_assert_eq!(engine.to_vec()[0][1], width);
        }
    }
}

#[test]
fn a_build_with_a_ticket_keeps_nobody_waiting_but_those_who_ask_to() {
    let cache = Arc::new(implicit(4));
    let key = shapes(1, 1);
    let begin = || cache.begin(&key, &Lookup::shapes(&key));
    cache.wait_for_builds();
    let Begin::Start(ticket) = begin() else {
        panic!("there is nothing yet")
    };
    assert!(matches!(begin(), Begin::Building));
    let about_to_wait = Arc::new(Barrier::new(2));
    let builder = {
        let (cache, key, about_to_wait) = (cache.clone(), key.clone(), about_to_wait.clone());
        thread::spawn(move || {
            about_to_wait.wait();
            cache.finish(ticket, || make(&key));
        })
    };
    about_to_wait.wait();
    cache.wait_for_builds();
    assert_eq!(cache.len(), 1);
    assert!(matches!(begin(), Begin::Ready { profile: 0, .. }));
    builder.join().unwrap();

    let other = shapes(1, 2);
    let begin = || cache.begin(&other, &Lookup::shapes(&other));
    let Begin::Start(ticket) = begin() else {
        panic!("there is nothing yet")
    };
    cache.finish(ticket, || panic!("no builder"));
    cache.wait_for_builds();
    assert!(matches!(begin(), Begin::Failed(why) if &*why == "the build panicked: no builder"));
}
