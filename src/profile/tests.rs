use super::*;
use crate::graph::PartialShape;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, prop_assume, proptest};
use proptest::strategy::Strategy as Generator;

fn record(calls: &[&[&[i64]]]) -> Recorder {
    let mut recorder = Recorder::new();
    for call in calls {
        let shapes: Vec<Vec<i64>> = call.iter().map(|s| s.to_vec()).collect();
        recorder.record(&shapes, &[]).unwrap();
    }
    recorder
}

fn bounds(min: &[i64], opt: &[i64], max: &[i64]) -> Bounds {
    Bounds {
        min: min.to_vec(),
        opt: opt.to_vec(),
        max: max.to_vec(),
    }
}

/// The profiles for the guide's recorded shapes, [8, 128] and [4, 384], as the guide's table writes them.
fn guide_table(strategy: Strategy) -> Vec<String> {
    let recorder = record(&[&[&[8, 128]], &[&[4, 384]]]);
    profiles(strategy, recorder.recorded(), &[PartialShape::from_dims(&[-1, -1])])
        .iter()
        .map(Profile::to_string)
        .collect()
}

#[test]
fn guide_table_range() {
    assert_eq!(guide_table(Strategy::Range), ["[4-8, 128-384]"]);
}

#[test]
fn guide_table_optimal() {
    assert_eq!(guide_table(Strategy::Optimal), ["[8, 128]", "[4, 384]"]);
}

#[test]
fn guide_table_range_and_optimal() {
    assert_eq!(guide_table(Strategy::RangeOptimal), ["[8, 128]", "[4, 384]", "[4-8, 128-384]"]);
}

#[test]
fn guide_table_implicit_batch_mode_compatible() {
    assert_eq!(guide_table(Strategy::ImplicitBatchModeCompatible), ["[1-8, 128]", "[1-4, 384]"]);
}

#[test]
fn every_strategy_tunes_for_the_largest() {
    let recorder = record(&[&[&[8, 128]], &[&[4, 384]]]);
    for strategy in Strategy::ALL {
        for profile in profiles(strategy, recorder.recorded(), &[]) {
            assert_eq!(profile.shapes[0].opt, profile.shapes[0].max, "{strategy}");
            profile.check().unwrap();
        }
    }
}

#[test]
fn strategies_are_read_in_any_case_and_nothing_else_is() {
    assert_eq!(Strategy::parse("Range"), Ok(Strategy::Range));
    assert_eq!(Strategy::parse("OPTIMAL"), Ok(Strategy::Optimal));
    assert_eq!(Strategy::parse("Range+Optimal"), Ok(Strategy::RangeOptimal));
    assert_eq!(
        Strategy::parse("ImplicitBatchModeCompatible"),
        Ok(Strategy::ImplicitBatchModeCompatible)
    );
    for wrong in ["", "range ", "rangeoptimal", "best"] {
        let message = Strategy::parse(wrong).unwrap_err().to_string();
        assert!(message.contains(&format!("\"{wrong}\"")), "{message}");
        for strategy in Strategy::ALL {
            assert!(message.contains(strategy.name()), "{message}");
        }
    }
}

#[test]
fn known_dimensions_are_forced() {
    let recorder = record(&[&[&[8, 128], &[8, 3]]]);
    let known = [PartialShape::from_dims(&[8, -1]), PartialShape::unknown()];
    let made = profiles(Strategy::ImplicitBatchModeCompatible, recorder.recorded(), &known);
    assert_eq!(made[0].shapes[0], bounds(&[8, 128], &[8, 128], &[8, 128]));
    assert_eq!(made[0].shapes[1], bounds(&[1, 3], &[8, 3], &[8, 3]));
}

#[test]
fn nothing_recorded_gives_no_profile() {
    for strategy in Strategy::ALL {
        assert!(profiles(strategy, &[], &[]).is_empty());
    }
}

#[test]
fn one_recorded_shape_gives_one_profile() {
    let recorder = record(&[&[&[2, 5]]]);
    assert_eq!(profiles(Strategy::RangeOptimal, recorder.recorded(), &[]).len(), 1);
}

#[test]
fn scalars_and_empty_tensors_are_served() {
    for strategy in Strategy::ALL {
        let recorder = record(&[&[&[], &[0, 4]], &[&[], &[3, 4]]]);
        let made = profiles(strategy, recorder.recorded(), &[]);
        assert!(select(&made, &[vec![], vec![0, 4]], &[]).is_some(), "{strategy}");
        assert!(select(&made, &[vec![], vec![3, 4]], &[]).is_some(), "{strategy}");
    }
}

#[test]
fn shape_values_bound_the_profile() {
    let mut recorder = Recorder::new();
    recorder.record(&[vec![8, 6], vec![2]], &[None, Some(vec![8, 6])]).unwrap();
    recorder.record(&[vec![4, 6], vec![2]], &[None, Some(vec![12, 2])]).unwrap();
    let made = profiles(Strategy::Range, recorder.recorded(), &[]);
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].values, [None, Some(bounds(&[8, 2], &[12, 6], &[12, 6]))]);
    let shapes = [vec![5, 6], vec![2]];
    assert!(made[0].contains(&shapes, &[None, Some(vec![10, 3])]));
    assert!(!made[0].contains(&shapes, &[None, Some(vec![13, 3])]));
    assert!(!made[0].contains(&shapes, &[None, None]), "an unknown value lies within no bounds");
    assert!(!made[0].contains(&shapes, &[]));
}

#[test]
fn a_shape_value_that_leads_with_the_batch_shrinks_with_it() {
    let mut recorder = Recorder::new();
    recorder.record(&[vec![8, 6], vec![2]], &[None, Some(vec![8, 6])]).unwrap();
    let made = profiles(Strategy::ImplicitBatchModeCompatible, recorder.recorded(), &[]);
    assert_eq!(made[0].values[1], Some(bounds(&[1, 6], &[8, 6], &[8, 6])));
}

#[test]
fn values_that_change_in_number_are_no_shapes() {
    let mut recorder = Recorder::new();
    recorder.record(&[vec![2]], &[Some(vec![8, 6])]).unwrap();
    recorder.record(&[vec![3]], &[Some(vec![1, 2, 3])]).unwrap();
    let made = profiles(Strategy::Range, recorder.recorded(), &[]);
    assert_eq!(made[0].values, [None]);
    assert!(made[0].contains(&[vec![3]], &[Some(vec![700, 700, 700])]));
}

#[test]
fn the_recorder_keeps_order_and_no_doubles() {
    let mut recorder = Recorder::new();
    assert!(recorder.record(&[vec![8, 128]], &[]).unwrap());
    assert!(recorder.record(&[vec![4, 384]], &[None]).unwrap());
    assert!(!recorder.record(&[vec![8, 128]], &[]).unwrap());
    let shapes: Vec<_> = recorder.recorded().iter().map(|c| c.shapes[0].clone()).collect();
    assert_eq!(shapes, [vec![8, 128], vec![4, 384]]);
}

#[test]
fn the_recorder_refuses_calls_that_do_not_fit() {
    let mut recorder = record(&[&[&[8, 128]]]);
    let inputs = recorder.record(&[vec![8, 128], vec![1]], &[]).unwrap_err();
    assert_eq!(inputs, RecorderError::Inputs { expected: 1, found: 2 });
    let rank = recorder.record(&[vec![8]], &[]).unwrap_err();
    assert!(
        rank.to_string().contains("input 0") && rank.to_string().contains("rank 2"),
        "{rank}"
    );
    recorder.record(&[vec![-1, 128]], &[]).unwrap_err();
    recorder.record(&[vec![8, 128]], &[None, Some(vec![1])]).unwrap_err();
    assert_eq!(recorder.recorded().len(), 1, "what was refused is not kept");
}

#[test]
fn check_names_the_input_at_fault() {
    let mut profile = Profile::exactly(&[vec![1], vec![2, 3]], &[]);
    profile.shapes[1].min = vec![2, 4];
    assert!(profile.check().unwrap_err().contains("input 1"));
    profile.shapes[1].min = vec![2];
    assert!(profile.check().unwrap_err().contains("rank"));
    profile.shapes[1].min = vec![2, -3];
    assert!(profile.check().unwrap_err().contains("negative"));
}

fn strategies() -> impl Generator<Value = Strategy> {
    proptest::sample::select(&Strategy::ALL[..])
}

type Call = (Vec<Vec<i64>>, Vec<Option<Vec<i64>>>);

/// Calls that agree in ranks, with a graph shape for every input that admits all of them. Input 1 may be a shape tensor.
fn calls() -> impl Generator<Value = (Vec<Call>, Vec<PartialShape>)> {
    (proptest::collection::vec(0usize..4, 1..4), 1usize..6, any::<bool>())
        .prop_flat_map(|(ranks, count, shape_tensor)| {
            let shapes: Vec<_> = ranks.iter().map(|&r| proptest::collection::vec(0i64..9, r)).collect();
            let values = proptest::collection::vec(0i64..9, 2);
            let call = (shapes, values).prop_map(move |(shapes, value)| {
                let values = (0..shapes.len()).map(|i| (shape_tensor && i == 1).then(|| value.clone())).collect();
                (shapes, values)
            });
            let ask = proptest::collection::vec(any::<bool>(), ranks.iter().sum::<usize>());
            (proptest::collection::vec(call, count), ask)
        })
        .prop_map(|(calls, ask): (Vec<Call>, Vec<bool>)| {
            let mut ask = ask.into_iter();
            let known = (0..calls[0].0.len())
                .map(|input| {
                    let dims: Vec<i64> = (0..calls[0].0[input].len())
                        .map(|d| {
                            let size = calls[0].0[input][d];
                            let same = calls.iter().all(|(shapes, _)| shapes[input][d] == size);
                            if ask.next() == Some(true) && same { size } else { -1 }
                        })
                        .collect();
                    PartialShape::from_dims(&dims)
                })
                .collect();
            (calls, known)
        })
}

fn record_all<'a>(calls: impl IntoIterator<Item = &'a Call>) -> Recorder {
    let mut recorder = Recorder::new();
    for (shapes, values) in calls {
        recorder.record(shapes, values).unwrap();
    }
    recorder
}

proptest! {
    #[test]
    fn every_recorded_call_is_served(strategy in strategies(), (calls, known) in calls()) {
        let made = profiles(strategy, record_all(&calls).recorded(), &known);
        for profile in &made {
            prop_assert_eq!(profile.check(), Ok(()));
        }
        for (shapes, values) in &calls {
            let at = select(&made, shapes, values);
            prop_assert!(at.is_some(), "{:?} is served by none of {:?}", shapes, made);
            prop_assert!(made[at.unwrap()].contains(shapes, values));
        }
    }

    #[test]
    fn what_lies_within_the_bounds_is_served(
        strategy in strategies(), (calls, known) in calls(), pick in any::<prop::sample::Index>(), part in proptest::collection::vec(0i64..=8, 16),
    ) {
        let made = profiles(strategy, record_all(&calls).recorded(), &known);
        let profile = &made[pick.index(made.len())];
        let mut part = part.into_iter().cycle();
        let mut within = |b: &Bounds| -> Vec<i64> {
            b.min.iter().zip(&b.max).map(|(min, max)| min + (max - min) * part.next().unwrap_or(0) / 8).collect()
        };
        let shapes: Vec<Vec<i64>> = profile.shapes.iter().map(&mut within).collect();
        let values: Vec<Option<Vec<i64>>> = profile.values.iter().map(|v| v.as_ref().map(&mut within)).collect();
        prop_assert!(profile.contains(&shapes, &values));
        let at = select(&made, &shapes, &values);
        prop_assert!(at.is_some_and(|at| made[at].contains(&shapes, &values)));
    }

    #[test]
    fn neither_order_nor_repetition_of_recording_decides_what_is_served(
        strategy in strategies(), (calls, known) in calls(), probe in proptest::collection::vec(0i64..10, 12),
    ) {
        let forward = profiles(strategy, record_all(&calls).recorded(), &known);
        let backward = profiles(strategy, record_all(calls.iter().rev().chain(&calls)).recorded(), &known);
        let mut probe = probe.into_iter().cycle();
        let shapes: Vec<Vec<i64>> =
            calls[0].0.iter().map(|s| s.iter().map(|_| probe.next().unwrap_or(0)).collect()).collect();
        let values = &calls[0].1;
        prop_assert_eq!(select(&forward, &shapes, values).is_some(), select(&backward, &shapes, values).is_some());
    }

    #[test]
    fn a_size_outside_every_bound_is_never_served(strategy in strategies(), (calls, _) in calls(), input in any::<prop::sample::Index>()) {
        let made = profiles(strategy, record_all(&calls).recorded(), &[]);
        let (mut shapes, values) = calls[0].clone();
        let input = input.index(shapes.len());
        prop_assume!(!shapes[input].is_empty());
        shapes[input][0] = 1 + calls.iter().map(|(s, _)| s[input][0]).max().unwrap_or(0);
        prop_assert_eq!(select(&made, &shapes, &values), None);
    }
}
