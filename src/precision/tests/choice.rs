//! Which nodes are half and which are float32, and where that puts Casts.

use super::{FLOAT, FLOAT16, Graph, Types, in_half, weight};
use crate::precision::{Half, keep};
use half::f16;

#[test]
fn the_table_is_sorted_and_each_op_is_in_it_once() {
    assert!(keep::rules().windows(2).all(|pair| pair[0].op < pair[1].op));
    assert!(
        keep::rules()
            .iter()
            .all(|rule| keep::rule(rule.op).is_some_and(|found| found.op == rule.op))
    );
}

#[test]
fn a_dense_layer_is_half_between_two_casts() {
    let mut g = Graph::default();
    let product = g.product("x");
    let bias = g.constant(&[4], &[0.1; 4]);
    let sum = g.op("Add", &[&product, &bias]);
    let y = g.op("Relu", &[&sum]);
    let (model, summary) = g.rewritten(&y, Half::Float16);
    assert_eq!((summary.half, summary.float, summary.casts), (3, 0, 2));
    let bias = weight(&model, "c1/float16").unwrap();
    assert_eq!(bias.raw_data(), f16::from_f32(0.1).to_le_bytes().repeat(4));
    assert!(weight(&model, "c1").is_none(), "the float32 bias is left over");
}

#[test]
fn a_layer_norm_is_one_region_in_float32() {
    let mut g = Graph::default();
    let before = g.product("x");
    let norm = g.layer_norm(&before);
    let y = g.product(&norm);
    let (_, summary) = g.rewritten(&y, Half::Float16);
    // In at x, out behind the first product, in before the second, out at the end.
    assert_eq!((summary.half, summary.float, summary.casts), (2, 10, 4));
}

#[test]
fn a_residual_around_a_layer_norm_stays_in_half() {
    let mut g = Graph::default();
    let first = g.product("x");
    let norm = g.layer_norm(&first);
    let rows = g.op("Reshape", &[&norm]);
    let second = g.product(&rows);
    let residual = g.op("Add", &[&norm, &second]);
    let norm = g.layer_norm(&residual);
    let y = g.product(&norm);
    let (model, summary) = g.rewritten(&y, Half::Float16);
    assert!(in_half(&model, &residual));
    assert_eq!(summary.casts, 6);
}

#[test]
fn an_epsilon_that_vanishes_keeps_its_consumer_in_float32() {
    for (epsilon, float) in [(1e-12, true), (1e-5, true), (1e-3, false)] {
        let mut g = Graph::default();
        let x = g.product("x");
        let epsilon = g.scalar(epsilon);
        let sum = g.op("Add", &[&x, &epsilon]);
        let y = g.product(&sum);
        assert_eq!(g.clone().rewritten(&y, Half::Float16).1.float == 1, float);
        assert_eq!(g.rewritten(&y, Half::BFloat16).1.float, 0, "BF16 holds it");
    }
}

#[test]
fn small_weights_beside_larger_ones_do_not_keep_a_product_in_float32() {
    let mut g = Graph::default();
    let mut values = [0.5; 16];
    values[3] = 1e-9;
    let weight = g.constant(&[4, 4], &values);
    let y = g.op("MatMul", &["x", &weight]);
    assert_eq!(g.rewritten(&y, Half::Float16).1.half, 1);
    let mut g = Graph::default();
    let weight = g.constant(&[4, 4], &[1e-9; 16]);
    let y = g.op("MatMul", &["x", &weight]);
    assert_eq!(g.rewritten(&y, Half::Float16).1.half, 0);
}

/// softmax(scores + (1 - mask) * far): with -1e9 the addition is float32, with -10000 half; the softmax is float32 in both, and
/// the product behind it is half.
#[test]
fn an_attention_mask_is_added_where_its_numbers_exist() {
    for (far, half) in [(-10000.0, true), (-1e9, false), (f32::MIN, false)] {
        let mut g = Graph::default();
        let scores = g.product("x");
        let mask = g.node("Cast", &["mask"], &[("to", i64::from(FLOAT))]);
        let (one, far) = (g.scalar(1.0), g.scalar(far));
        let hidden = g.op("Sub", &[&one, &mask]);
        let bias = g.op("Mul", &[&hidden, &far]);
        let sum = g.op("Add", &[&scores, &bias]);
        let softmax = g.op("Softmax", &[&sum]);
        let other = g.op("Relu", &[&sum]);
        let product = g.product(&softmax);
        let next = g.op("Add", &[&product, &other]);
        let y = g.product(&next);
        let (model, _) = g.rewritten(&y, Half::Float16);
        let types = Types::check(&model, Half::Float16);
        assert_eq!(in_half(&model, &sum), half);
        assert!(in_half(&model, &product), "Softmax ends what the mask began");
        assert!(
            !types.0.contains_key(format!("{bias}/float16").as_str()) || half,
            "the mask became infinite"
        );
    }
}

#[test]
fn the_lowest_float32_is_out_of_bf16s_range_as_well() {
    let mut g = Graph::default();
    let x = g.product("x");
    let far = g.scalar(f32::MIN);
    let y = g.op("Add", &[&x, &far]);
    let (model, _) = g.rewritten(&y, Half::BFloat16);
    assert!(weight(&model, "c1").is_some() && weight(&model, "c1/bfloat16").is_none());
}

#[test]
fn what_an_exponential_gives_meets_another_op_before_it_is_rounded() {
    let mut g = Graph::default();
    let x = g.product("x");
    let e = g.op("Exp", &[&x]);
    let y = g.op("MatMul", &[&e, &x]);
    assert_eq!(g.clone().rewritten(&y, Half::Float16).1.half, 1);
    assert_eq!(g.rewritten(&y, Half::BFloat16).1.half, 2, "BF16 has the range");
}

#[test]
fn movements_between_the_input_and_a_product_are_half() {
    let mut g = Graph::default();
    let turned = g.op("Transpose", &["x"]);
    let same = g.op("Identity", &[&turned]);
    let y = g.product(&same);
    let (_, summary) = g.rewritten(&y, Half::Float16);
    assert_eq!((summary.half, summary.casts), (3, 2));
}

#[test]
fn movements_behind_a_float32_op_stay_there_if_that_saves_a_cast() {
    let mut g = Graph::default();
    let softmax = g.op("Softmax", &["x"]);
    let y = g.op("Transpose", &[&softmax]);
    let (model, summary) = g.clone().rewritten(&y, Half::Float16);
    assert_eq!((summary.half, summary.casts), (0, 0));
    let graph = model.graph.unwrap();
    assert_eq!(graph.node, g.nodes);
}

#[test]
fn a_comparison_is_half_only_if_nothing_is_rounded_for_it() {
    for (limit, half) in [(0.5, true), (0.1, false)] {
        let mut g = Graph::default();
        let x = g.product("x");
        let limit = g.scalar(limit);
        let above = g.op("Greater", &[&x, &limit]);
        let y = g.op("Where", &[&above, &x, &x]);
        let (_, summary) = g.rewritten(&y, Half::Float16);
        assert_eq!(summary.half == 3, half, "{summary:?}");
    }
}

/// A model that was trained in mixed precision: its Casts serve as ours.
#[test]
fn casts_of_the_model_are_not_doubled() {
    let mut g = Graph::default();
    let product = g.product("x");
    let down = g.node("Cast", &[&product], &[("to", i64::from(FLOAT16))]);
    let cosine = g.op("Neg", &[&down]);
    let up = g.node("Cast", &[&cosine], &[("to", i64::from(FLOAT))]);
    let y = g.product(&up);
    let (model, summary) = g.rewritten(&y, Half::Float16);
    assert_eq!((summary.half, summary.casts), (2, 2));
    let casts = model.graph.unwrap().node.into_iter().filter(|n| n.op_type() == "Cast").count();
    assert_eq!(casts, 2);
}
