//! The segmenter over random graphs.

use criterion::{BenchmarkId, Criterion, Throughput};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hint::black_box;
use std::time::Duration;
use tf::attr_value::Value;
use tftrt::convert::supports;
use tftrt::graph::{DType, Graph, PartialShape, TensorInfo};
use tftrt::proto::tensorflow as tf;
use tftrt::segment::{Device, Request, Rules, SegmentOptions, segment};

/// A graph of `count` nodes after a Placeholder: unary and binary ops, each taking outputs of the 32 nodes before it, and
/// one in ten of a type that no engine takes. The same graph each time.
fn random_graph(count: usize) -> Graph {
    // xorshift64: any even spread will do.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    let mut nodes = vec![node("n0".into(), "Placeholder", Vec::new())];
    for at in 1..=count {
        let mut from = || format!("n{}", at - 1 - below(at.min(32)));
        let inputs = [from(), from()];
        let (op, arity) = match below(10) {
            0 => ("NotConvertible", 1),
            1..=4 => ("Relu", 1),
            5..=7 => ("AddV2", 2),
            _ => ("Mul", 2),
        };
        nodes.push(node(format!("n{at}"), op, inputs[..arity].to_vec()));
    }
    let known: HashMap<_, _> = nodes.iter().map(|node| (node.name.clone(), vec![output()])).collect();
    let def = tf::GraphDef {
        node: nodes,
        ..Default::default()
    };
    Graph::new(def, known).expect("every input is a node before it")
}

fn node(name: String, op: &str, input: Vec<String>) -> tf::NodeDef {
    let float = tf::AttrValue {
        value: Some(Value::Type(tf::DataType::DtFloat as i32)),
    };
    tf::NodeDef {
        name,
        op: op.into(),
        input,
        attr: BTreeMap::from([("T".to_string(), float)]),
        ..Default::default()
    }
}

fn output() -> TensorInfo {
    TensorInfo {
        dtype: DType::FLOAT,
        shape: PartialShape::from_dims(&[-1, 64]),
    }
}

fn bench(criterion: &mut Criterion) {
    let rules = Rules {
        minimum_size: 3,
        implicit_batch: false,
        static_engine: false,
        default_device: Device::default(),
    };
    let options = SegmentOptions::default();
    let preserve = HashSet::new();
    let request = Request {
        rules: &rules,
        options: &options,
        preserve: &preserve,
        supports: &supports,
        is_stateful: &|_| false,
    };
    let mut group = criterion.benchmark_group("segmenter/random graph of n nodes");
    for count in [1_000, 10_000] {
        let graph = random_graph(count);
        let (found, _) = segment(&graph, &request).expect("no cycle");
        let inside: usize = found.segments.iter().map(|s| s.nodes.len()).sum();
        assert!(!found.segments.is_empty());
        println!(
            "{count} nodes: {} segments with {inside} nodes, {} nodes left out",
            found.segments.len(),
            found.excluded.len()
        );
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| segment(black_box(&graph), &request))
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .measurement_time(Duration::from_secs(4))
        .without_plots()
        .configure_from_args();
    bench(&mut criterion);
    criterion.final_summary();
}
