use super::test_graphs::{Builder, supports};
use super::*;
use crate::graph::DType;

struct Setting {
    rules: Rules,
    options: SegmentOptions,
    preserve: HashSet<String>,
    stateful: &'static str,
}

impl Default for Setting {
    fn default() -> Self {
        Setting {
            rules: Rules {
                minimum_size: 1,
                implicit_batch: false,
                static_engine: false,
                default_device: Device::default(),
            },
            options: SegmentOptions::default(),
            preserve: HashSet::new(),
            stateful: "",
        }
    }
}

/// The names in each segment, and the reason for each excluded node.
fn run(b: &Builder, setting: &Setting) -> (Vec<Vec<String>>, BTreeMap<String, String>) {
    let graph = b.graph();
    let request = Request {
        rules: &setting.rules,
        options: &setting.options,
        preserve: &setting.preserve,
        supports: &supports,
        is_stateful: &|op| op == setting.stateful,
    };
    let (found, _) = segment(&graph, &request).unwrap();
    let name = |id: NodeId| graph.nodes[id].name().to_string();
    let segments = found
        .segments
        .iter()
        .map(|s| s.nodes.iter().map(|&id| name(id)).collect())
        .collect();
    (segments, found.excluded.into_iter().map(|(id, why)| (name(id), why)).collect())
}

fn names(segments: &[&[&str]]) -> Vec<Vec<String>> {
    segments.iter().map(|s| s.iter().map(|n| n.to_string()).collect()).collect()
}

/// in -> a -> b -> c -> out, all float32.
fn chain() -> Builder {
    let mut b = Builder::default();
    b.add("in", "Placeholder", &[]);
    b.add("a", "Relu", &["in"]);
    b.add("b", "Relu", &["a"]);
    b.add("c", "Relu", &["b"]);
    b.add("out", "NoSuch", &["c"]);
    b
}

#[test]
fn a_chain_is_one_segment() {
    let (segments, excluded) = run(&chain(), &Setting::default());
    assert_eq!(segments, names(&[&["a", "b", "c"]]));
    assert_eq!(excluded["out"], "Op type NoSuch is not supported.");
    assert_eq!(excluded["in"], "Op type Placeholder is not supported.");
    assert_eq!(excluded.len(), 2);
}

#[test]
fn preserved_nodes_stay_out() {
    let setting = Setting {
        preserve: ["b".to_string()].into(),
        ..Setting::default()
    };
    let (segments, excluded) = run(&chain(), &setting);
    assert_eq!(segments, names(&[&["a"], &["c"]]));
    assert_eq!(excluded["b"], "excluded by segmenter option. Most likely an input or output node.");
}

#[test]
fn a_way_out_and_back_in_parts_a_segment() {
    let mut b = chain();
    b.add("x", "NoSuch", &["a"]);
    b.def.node[3].input.push("x".into()); // c takes x as well
    assert_eq!(run(&b, &Setting::default()).0, names(&[&["a"], &["b", "c"]]));
}

#[test]
fn a_control_edge_is_a_way_too() {
    let mut b = chain();
    b.add("x", "NoSuch", &["^a"]);
    b.def.node[3].input.push("^x".into());
    assert_eq!(run(&b, &Setting::default()).0, names(&[&["a"], &["b", "c"]]));
}

#[test]
fn a_diamond_is_taken_whole() {
    let mut b = chain();
    b.add("d", "Add", &["a", "c"]);
    b.add("end", "NoSuch", &["d"]);
    assert_eq!(run(&b, &Setting::default()).0, names(&[&["a", "b", "c", "d"]]));
}

#[test]
fn devices_do_not_mix_and_unassigned_goes_with_either() {
    let mut b = chain();
    b.def.node[1].device = "/cpu:0".into();
    b.def.node[3].device = "/gpu:0".into();
    let (segments, _) = run(&b, &Setting::default());
    assert_eq!(segments, names(&[&["a"], &["b", "c"]]));
}

#[test]
fn a_segment_that_is_dropped_parts_no_others() {
    // On another device, x and y are too few for an engine; as one they would stand between a and b, as single nodes they do not.
    let mut b = Builder::default();
    b.add("in", "Placeholder", &[]);
    b.add("a", "Relu", &["in"]);
    b.add("x", "Relu", &["in"]);
    b.add("b", "Add", &["a", "x"]);
    b.add("c", "Relu", &["b"]);
    b.add("y", "Add", &["x", "a"]);
    b.add("out", "NoSuch", &["c", "y"]);
    for (node, device) in [(1, "/gpu:0"), (2, "/gpu:1"), (3, "/gpu:0"), (4, "/gpu:0"), (5, "/gpu:1")] {
        b.def.node[node].device = device.into();
    }
    let mut setting = Setting::default();
    assert_eq!(run(&b, &setting).0, names(&[&["a"], &["x", "y"], &["b", "c"]]));
    setting.rules.minimum_size = 3;
    let (segments, excluded) = run(&b, &setting);
    assert_eq!(segments, names(&[&["a", "b", "c"]]));
    assert!(excluded["x"].contains("a segment of 2 ops"), "{}", excluded["x"]);
}

#[test]
fn nodes_on_the_cpu_stay_there_where_engines_run_on_the_gpu() {
    let mut b = chain();
    b.def.node[1].device = "/cpu:0".into();
    b.def.node[2].device = "/device:TPU:0".into();
    let mut setting = Setting::default();
    setting.rules.default_device = Device::parse("/job:localhost/replica:0/task:0/device:GPU:0").unwrap();
    let (segments, excluded) = run(&b, &setting);
    assert_eq!(segments, names(&[&["c"]]));
    assert_eq!(excluded["a"], "The node is assigned to the CPU and can't be placed on GPU.");
    assert_eq!(excluded["b"], "No engine runs on devices of type TPU.");
}

#[test]
fn exclusions_are_judged_in_order() {
    // Everything is wrong with b; the reasons come up one after the other as the earlier ones go away.
    let mut b = chain();
    b.def.node[2].device = "/device:TPU:0".into();
    b.def.node[2].op = "NoSuch".into();
    b.shapes.get_mut("a").unwrap()[0].shape = crate::graph::PartialShape::from_dims(&[8]);
    b.shapes.get_mut("b").unwrap()[0].shape = crate::graph::PartialShape::from_dims(&[8, -1]);
    let mut setting = Setting {
        preserve: ["b".to_string()].into(),
        ..Setting::default()
    };
    setting.rules.implicit_batch = true;
    setting.rules.static_engine = true;
    setting.options.denied_ops.extend(["NoSuch".to_string(), "Relu".to_string()]);
    let why = |b: &Builder, setting: &Setting| run(b, setting).1["b"].clone();
    assert!(why(&b, &setting).contains("TPU"));
    b.def.node[2].device.clear();
    assert!(why(&b, &setting).contains("segmenter option"));
    setting.preserve.clear();
    assert!(why(&b, &setting).contains("at least two dimensions"));
    b.shapes.get_mut("a").unwrap()[0].shape = crate::graph::PartialShape::from_dims(&[8, 4]);
    assert!(why(&b, &setting).contains("static engine"));
    setting.rules.static_engine = false;
    assert!(why(&b, &setting).contains("is not supported"));
    b.def.node[2].op = "Relu".into();
    assert_eq!(why(&b, &setting), "Denylisted with the env var TF_TRT_OP_DENYLIST");
}

#[test]
fn implicit_batch_keeps_batches_apart_and_explicit_does_not() {
    let mut b = Builder::default();
    b.outputs("in", "Placeholder", &[], &[(DType::FLOAT, &[8, 4])]);
    b.outputs("a", "Relu", &["in"], &[(DType::FLOAT, &[8, 4])]);
    b.outputs("r", "Reshape", &["a"], &[(DType::FLOAT, &[2, 16])]);
    b.outputs("c", "Relu", &["r"], &[(DType::FLOAT, &[2, 16])]);
    b.add("out", "NoSuch", &["c"]);
    assert_eq!(run(&b, &Setting::default()).0, names(&[&["a", "r", "c"]]));
    let mut setting = Setting::default();
    setting.rules.implicit_batch = true;
    assert_eq!(run(&b, &setting).0, names(&[&["a", "r"], &["c"]]));
}

#[test]
fn implicit_batch_is_that_of_the_operand_of_highest_rank() {
    let mut b = Builder::default();
    b.outputs("small", "Const", &[], &[(DType::FLOAT, &[4])]);
    b.outputs("in", "Placeholder", &[], &[(DType::FLOAT, &[-1, 4])]);
    b.outputs("add", "AddV2", &["small", "in"], &[(DType::FLOAT, &[-1, 4])]);
    b.outputs("relu", "Relu", &["small"], &[(DType::FLOAT, &[4])]);
    b.outputs(
        "grad",
        "Conv2DBackpropInput",
        &["small", "small", "in"],
        &[(DType::FLOAT, &[-1, 8])],
    );
    b.outputs(
        "weight",
        "FakeQuantWithMinMaxVars",
        &["small", "small", "small"],
        &[(DType::FLOAT, &[4])],
    );
    b.outputs(
        "value",
        "FakeQuantWithMinMaxVars",
        &["in", "small", "small"],
        &[(DType::FLOAT, &[-1, 4])],
    );
    b.outputs("none", "Relu", &["nobody"], &[(DType::FLOAT, &[-1, 8])]);
    b.outputs("nobody", "Placeholder", &[], &[]);
    let graph = b.graph();
    let batch = |name: &str| batch::implicit_batch(&graph, graph.find(name).unwrap());
    assert_eq!(batch("add"), Ok(Batch::Open));
    assert_eq!(batch("grad"), Ok(Batch::Open));
    assert_eq!(batch("weight"), Ok(Batch::Any));
    assert_eq!(batch("value"), Ok(Batch::Open));
    assert!(batch("relu").unwrap_err().contains("two dimensions"));
    assert!(batch("none").unwrap_err().contains("'nobody'"));
}

#[test]
fn implicit_batch_takes_no_scalar_across_the_border() {
    let mut b = chain();
    b.outputs("scalar", "Placeholder", &[], &[(DType::FLOAT, &[])]);
    b.def.node[2].op = "Mul".into();
    b.def.node[2].input.push("scalar".into());
    let mut setting = Setting::default();
    assert_eq!(run(&b, &setting).0, names(&[&["a", "b", "c"]]));
    setting.rules.implicit_batch = true;
    let (segments, excluded) = run(&b, &setting);
    assert_eq!(segments, names(&[&["a"], &["c"]]));
    assert!(excluded["b"].contains("scalar"), "{}", excluded["b"]);
}

#[test]
fn ops_that_hand_on_do_not_count_and_constants_do() {
    let mut b = chain();
    b.def.node[2].op = "Identity".into();
    let mut setting = Setting::default();
    setting.rules.minimum_size = 3;
    let (segments, excluded) = run(&b, &setting);
    assert!(segments.is_empty());
    assert_eq!(excluded["a"], "In a segment of 2 ops, fewer than the minimum_segment_size of 3.");
    b.add("w", "Const", &[]);
    b.def.node[1].input.push("w".into());
    assert_eq!(run(&b, &setting).0, names(&[&["w", "a", "b", "c"]]));
}

#[test]
fn constants_that_others_take_stay_out() {
    let mut b = chain();
    b.add("w", "Const", &[]);
    b.def.node[1].input.push("w".into());
    b.add("other", "NoSuch", &["w"]);
    assert_eq!(run(&b, &Setting::default()).0, names(&[&["a", "b", "c"]]));
    let mut setting = Setting::default();
    b.def.node.pop();
    setting.preserve.insert("w".into());
    let (segments, excluded) = run(&b, &setting);
    assert_eq!(segments, names(&[&["a", "b", "c"]]));
    assert!(excluded["w"].contains("segmenter option"));
}

#[test]
fn segments_without_data_inputs_or_without_results_stay_native() {
    let mut b = Builder::default();
    b.add("w", "Const", &[]);
    b.add("a", "Relu", &["w"]);
    b.add("out", "NoSuch", &["a"]);
    b.add("in", "Placeholder", &[]);
    b.add("end", "Relu", &["in"]);
    let (segments, excluded) = run(&b, &Setting::default());
    assert!(segments.is_empty());
    assert!(excluded["a"].contains("without data inputs"));
    assert!(excluded["end"].contains("nothing takes"));
    assert!(!excluded.contains_key("w"));
}

#[test]
fn only_the_largest_are_kept() {
    let mut b = Builder::default();
    b.add("in", "Placeholder", &[]);
    for (at, length) in [2, 3, 1, 3].into_iter().enumerate() {
        let mut from = "in".to_string();
        for step in 0..length {
            let name = format!("s{at}_{step}");
            b.add(&name, "Relu", &[&from]);
            from = name;
        }
        b.add(&format!("out{at}"), "NoSuch", &[&from]);
    }
    let mut setting = Setting::default();
    setting.options.max_engines = Some(2);
    let (segments, excluded) = run(&b, &setting);
    assert_eq!(segments, names(&[&["s1_0", "s1_1", "s1_2"], &["s3_0", "s3_1", "s3_2"]]));
    assert!(excluded["s0_1"].contains("not among the 2 largest (TF_TRT_MAX_ALLOWED_ENGINES)"));
    setting.options.max_engines = None;
    assert_eq!(run(&b, &setting).0.len(), 4);
}

#[test]
fn fake_ops_are_taken_and_control_flow_never_is() {
    let mut setting = Setting::default();
    setting.options.fake_ops.extend(["NoSuch".to_string(), "Switch".to_string()]);
    let mut b = chain();
    b.add("end", "Placeholder", &["out"]);
    assert_eq!(run(&b, &setting).0, names(&[&["a", "b", "c", "out"]]));
    b.def.node[2].op = "Switch".into();
    assert_eq!(run(&b, &setting).1["b"], "Op type Switch is not supported.");
}

#[test]
fn ops_with_a_state_stay_out_but_variables_are_read() {
    let mut b = chain();
    b.def.node[2].op = "RandomUniform".into();
    let setting = Setting {
        stateful: "RandomUniform",
        ..Setting::default()
    };
    assert!(run(&b, &setting).1["b"].contains("has a state"));
    let mut b = Builder::default();
    b.outputs("var", "Placeholder", &[], &[(DType::RESOURCE, &[])]);
    b.add("read", "ReadVariableOp", &["var"]);
    b.add("a", "Relu", &["read"]);
    b.add("out", "NoSuch", &["a"]);
    let setting = Setting {
        stateful: "ReadVariableOp",
        ..Setting::default()
    };
    assert_eq!(run(&b, &setting).0, names(&[&["read", "a"]]));
}

#[test]
fn the_border_moves_to_where_its_types_are_legal() {
    // int64 comes in, is worked on and cast; float is cast to int64 and goes out; int64 inside stays inside.
    let mut b = Builder::default();
    b.typed(DType::INT64, "ids", "Placeholder", &[]);
    b.typed(DType::INT64, "more", "Add", &["ids", "ids"]);
    b.typed(DType::FLOAT, "cast", "Cast", &["more"]);
    b.add("a", "Relu", &["cast"]);
    b.typed(DType::INT64, "inner", "Cast", &["a"]);
    b.add("back", "Cast", &["inner"]);
    b.add("c", "Relu", &["back"]);
    b.typed(DType::DOUBLE, "wide", "Cast", &["c"]);
    b.add("out", "NoSuch", &["wide"]);
    let (segments, excluded) = run(&b, &Setting::default());
    assert_eq!(segments, names(&[&["a", "inner", "back", "c"]]));
    assert!(excluded["more"].contains("int64 tensor 'ids:0'"), "{}", excluded["more"]);
    assert!(excluded["cast"].contains("int64 tensor 'more:0'"));
    assert!(excluded["wide"].contains("float64 tensor 'wide:0'"));
}

#[test]
fn int8_is_no_border() {
    let mut b = chain();
    b.typed(DType::INT8, "narrow", "Cast", &["a"]);
    b.typed(DType::INT8, "moved", "Reshape", &["narrow"]);
    b.typed(DType::FLOAT, "back", "Cast", &["moved"]);
    b.typed(DType::INT8, "lost", "NoSuch", &["moved"]);
    let (_, why) = run(&b, &Setting::default());
    assert!(why["moved"].contains("int8 only for quantised numbers"), "{why:?}");
}

#[test]
fn an_illegal_border_between_two_segments_is_taken_out() {
    // `make` and `use` are parted by the way through x, and their edge is int64.
    let mut b = chain();
    b.outputs("make", "TopKV2", &["a"], &[(DType::FLOAT, &[8, 4]), (DType::INT64, &[8, 4])]);
    b.add("x", "NoSuch", &["make"]);
    b.add("use", "GatherV2", &["x", "make:1"]);
    b.add("d", "Relu", &["use"]);
    b.add("end", "NoSuch", &["d"]);
    let (segments, excluded) = run(&b, &Setting::default());
    assert_eq!(segments, names(&[&["a", "b", "c"], &["d"]]));
    assert!(excluded["make"].contains("make:1") && excluded["use"].contains("make:1"));
}

#[test]
fn constants_of_any_type_are_copied_also_behind_identities() {
    let mut b = Builder::default();
    b.add("in", "Placeholder", &[]);
    b.typed(DType::INT64, "shape", "Const", &[]);
    b.typed(DType::INT64, "again", "Identity", &["shape"]);
    b.typed(DType::INT64, "other", "NoSuch", &["again"]);
    b.add("a", "Reshape", &["in", "again"]);
    b.add("out", "NoSuch", &["a"]);
    let (segments, excluded) = run(&b, &Setting::default());
    assert_eq!(segments, names(&[&["a"]]));
    assert!(!excluded.contains_key("again"));
    // Preserved it may be fed: it is no constant then, and int64 cannot be an input.
    let setting = Setting {
        preserve: ["again".to_string()].into(),
        ..Setting::default()
    };
    assert!(run(&b, &setting).0.is_empty());
}

#[test]
fn a_constant_and_what_reads_it_belong_to_the_one_segment_that_takes_them() {
    let mut b = chain();
    b.add("w", "Const", &[]);
    b.add("w/read", "Identity", &["w"]);
    b.def.node[1].input.push("w/read".into());
    let mut setting = Setting::default();
    setting.rules.minimum_size = 4;
    assert_eq!(run(&b, &setting).0, names(&[&["w", "w/read", "a", "b", "c"]]));
    b.add("other", "NoSuch", &["w"]);
    setting.rules.minimum_size = 3;
    assert_eq!(run(&b, &setting).0, names(&[&["w/read", "a", "b", "c"]]));
}

#[test]
fn unknown_types_do_not_cross_the_border() {
    let mut b = chain();
    b.shapes.remove("c");
    let (segments, excluded) = run(&b, &Setting::default());
    assert_eq!(segments, names(&[&["a", "b"]]));
    assert!(excluded["c"].contains("unknown"));
}

/// Near-linear growth: a long chain with side branches, a residual stack and unsupported islands.
#[test]
fn fifty_thousand_nodes_are_segmented_in_seconds() {
    let mut b = Builder::default();
    b.add("mask", "Placeholder", &[]);
    b.add("n0", "Relu", &["mask"]);
    for i in 1..50_000usize {
        let previous = format!("n{}", i - 1);
        let skip = format!("n{}", i.saturating_sub(7));
        match i % 10 {
            0 if i % 400 == 0 => b.add(&format!("n{i}"), "NoSuch", &[&previous]),
            3 => b.add(&format!("n{i}"), "Mul", &[&previous, "mask"]),
            5 => b.add(&format!("n{i}"), "Add", &[&previous, &skip]),
            _ => b.add(&format!("n{i}"), "Relu", &[&previous]),
        };
    }
    b.add("end", "NoSuch", &["n49999"]);
    let mut setting = Setting::default();
    setting.options.max_engines = None;
    let start = std::time::Instant::now();
    let (segments, _) = run(&b, &setting);
    assert_eq!(segments.len(), 125);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// The same for a random graph in which a fifth of the nodes stay out, so that thousands of small segments come about.
#[test]
fn fifty_thousand_scattered_nodes_are_segmented_in_seconds() {
    let mut b = Builder::default();
    b.add("n0", "Placeholder", &[]);
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for i in 1..50_000usize {
        let near = format!("n{}", i - 1 - random(i.min(40)));
        let far = format!("n{}", random(i));
        let op = if random(5) == 0 { "NoSuch" } else { "Add" };
        b.add(&format!("n{i}"), op, &[&near, if random(3) == 0 { &far } else { &near }]);
    }
    let start = std::time::Instant::now();
    let (segments, _) = run(&b, &Setting::default());
    assert_eq!(segments.len(), DEFAULT_MAX_ENGINES);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
