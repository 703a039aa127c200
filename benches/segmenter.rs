//! The segmenter over graphs of 1,000, 10,000 and 50,000 nodes, in the shapes that models and bad luck bring.
//!
//! The throughput is counted in edges: it stays about the same from size to size where the segmenter is linear in them. Before
//! each shape the outcome is printed, so that a bench which measures nothing shows.

use criterion::{BenchmarkId, Criterion, Throughput};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hint::black_box;
use std::time::Duration;
use tf::attr_value::Value;
use tftrt::convert::supports;
use tftrt::graph::{DType, Graph, PartialShape, TensorInfo};
use tftrt::proto::tensorflow as tf;
use tftrt::segment::{Device, Request, Rules, SegmentOptions, segment};

/// A graph on its way: node 0 is a Placeholder, every node takes earlier ones by number.
struct Nodes {
    nodes: Vec<tf::NodeDef>,
    edges: u64,
    state: u64,
}

/// An op that no engine takes.
const NATIVE: &str = "NotConvertible";

impl Nodes {
    fn new() -> Nodes {
        Nodes {
            nodes: vec![node(0, "Placeholder", &[])],
            edges: 0,
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a node; its number. One input makes it a Relu, two an AddV2, more an AddN.
    fn add(&mut self, inputs: &[usize]) -> usize {
        self.op(["Relu", "AddV2", "AddN"][inputs.len().clamp(1, 3) - 1], inputs)
    }

    fn op(&mut self, op: &str, inputs: &[usize]) -> usize {
        self.edges += inputs.len() as u64;
        self.nodes.push(node(self.len(), op, inputs));
        self.len() - 1
    }

    /// A number below `limit`, by xorshift64: the same ones each time.
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % limit as u64) as usize
    }

    fn graph(self) -> (Graph, u64) {
        let known: HashMap<_, _> = self.nodes.iter().map(|node| (node.name.clone(), vec![output()])).collect();
        let def = tf::GraphDef {
            node: self.nodes,
            ..Default::default()
        };
        (Graph::new(def, known).expect("every input is a node before it"), self.edges)
    }
}

fn node(at: usize, op: &str, inputs: &[usize]) -> tf::NodeDef {
    let float = tf::AttrValue {
        value: Some(Value::Type(tf::DataType::DtFloat as i32)),
    };
    let mut attr = BTreeMap::from([("T".to_string(), float)]);
    if op == "AddN" {
        let count = Some(Value::I(inputs.len() as i64));
        attr.insert("N".to_string(), tf::AttrValue { value: count });
    }
    tf::NodeDef {
        name: format!("n{at}"),
        op: op.into(),
        input: inputs.iter().map(|from| format!("n{from}")).collect(),
        attr,
        ..Default::default()
    }
}

fn output() -> TensorInfo {
    TensorInfo {
        dtype: DType::FLOAT,
        shape: PartialShape::from_dims(&[-1, 64]),
    }
}

/// One long chain, a native op at its end.
fn chain(g: &mut Nodes, count: usize) {
    while g.len() < count {
        g.add(&[g.len() - 1]);
    }
    g.op(NATIVE, &[g.len() - 1]);
}

/// Layers of 500 nodes that all take one node and are all taken by the next: many edges at few nodes.
fn wide_fans(g: &mut Nodes, count: usize) {
    let mut hub = 0;
    while g.len() < count {
        let leaves: Vec<usize> = (0..500).map(|_| g.add(&[hub])).collect();
        hub = g.add(&leaves);
    }
    g.op(NATIVE, &[hub]);
}

/// One node that is taken by every other, as a mask or a step counter is, along a chain with native ops.
fn one_hub(g: &mut Nodes, count: usize) {
    let hub = g.add(&[0]);
    let mut last = hub;
    while g.len() < count {
        last = match g.len() % 100 {
            0 => g.op(NATIVE, &[last]),
            _ => g.add(&[last, hub]),
        };
    }
    g.op(NATIVE, &[last]);
}

/// Two chains with rungs between them, and a native op on every twentieth rung: each is a way out and back in.
fn ladder_with_islands(g: &mut Nodes, count: usize) {
    let (mut left, mut right) = (g.add(&[0]), g.add(&[0]));
    while g.len() < count {
        let island = g.len() % 60 < 3;
        let rung = g.op(if island { NATIVE } else { "Relu" }, &[left]);
        left = g.add(&[left, right]);
        right = g.add(&[right, rung]);
    }
    g.op(NATIVE, &[left]);
}

/// Blocks of 20 convertible nodes, each with a shortcut, and a native op after each: thousands of engines.
fn many_clusters(g: &mut Nodes, count: usize) {
    while g.len() < count {
        let first = g.add(&[g.len() - 1]);
        for _ in 0..18 {
            g.add(&[g.len() - 1]);
        }
        let joined = g.add(&[g.len() - 1, first]);
        g.op(NATIVE, &[joined]);
    }
}

/// Each node takes two of the 40 before it, or any one of all; 30% of the nodes, at random, go into no engine.
fn random_30_percent_native(g: &mut Nodes, count: usize) {
    while g.len() < count {
        let near = g.len() - 1 - g.below(g.len().min(40));
        let far = if g.below(3) == 0 {
            g.below(g.len())
        } else {
            g.len() - 1 - g.below(g.len().min(40))
        };
        match g.below(10) {
            0..3 => g.op(NATIVE, &[near]),
            3..6 => g.add(&[near]),
            _ => g.add(&[near, far]),
        };
    }
}

/// Opens a loop around `first`: its number. Nodes: Enter, Merge, the condition, LoopCond, Switch; the loop is closed at node `back`.
fn open_loop(g: &mut Nodes, frame: &str, first: usize, back: usize, cond: Option<usize>) -> usize {
    let enter = g.op("Enter", &[first]);
    let name = Some(Value::S(frame.as_bytes().to_vec().into()));
    g.nodes[enter].attr.insert("frame_name".to_string(), tf::AttrValue { value: name });
    let merge = g.op("Merge", &[enter, back]);
    let cond = cond.unwrap_or_else(|| {
        let test = g.op(NATIVE, &[merge]);
        g.op("LoopCond", &[test])
    });
    g.op("Switch", &[merge, cond])
}

/// A chain with a loop in it every 20 nodes, and a way past each: engines before, in and behind thousands of loops.
fn many_loops(g: &mut Nodes, count: usize) {
    while g.len() < count {
        let begin = g.add(&[g.len() - 1]);
        let back = g.len() + 15;
        let switch = open_loop(g, &format!("loop{back}"), begin, back, None);
        g.add(&[switch]);
        while g.len() < back {
            g.add(&[g.len() - 1]);
        }
        g.op("NextIteration", &[g.len() - 1]);
        let exit = g.op("Exit", &[switch]);
        g.add(&[exit, begin]);
    }
    g.op(NATIVE, &[g.len() - 1]);
}

/// One loop of a thousand variables and more, each handed on to the next, with chains around it that go past it.
fn one_loop_of_many_variables(g: &mut Nodes, count: usize) {
    let variables = count / 10;
    let begins: Vec<usize> = (0..variables).map(|_| g.add(&[g.len() - 1])).collect();
    let first = g.len();
    let back = |at: usize| first + 5 + 3 * (variables - 1) + 2 + 2 * at;
    let mut switches = Vec::new();
    let mut cond = None;
    for (at, &begin) in begins.iter().enumerate() {
        switches.push(open_loop(g, "loop", begin, back(at), cond));
        cond = cond.or(Some(g.len() - 2));
    }
    while g.len() < back(0) - 1 {
        g.add(&[g.len() - 1]);
    }
    for at in 0..variables {
        g.add(&[switches[(at + 1) % variables]]);
        g.op("NextIteration", &[g.len() - 1]);
    }
    for (at, &switch) in switches.iter().enumerate() {
        let exit = g.op("Exit", &[switch]);
        g.add(&[exit, begins[at]]);
    }
    while g.len() < count {
        g.add(&[g.len() - 1]);
    }
    g.op(NATIVE, &[g.len() - 1]);
}

/// A graph's maker: it adds nodes up to about so many.
type Shape = fn(&mut Nodes, usize);

const SHAPES: &[(&str, Shape)] = &[
    ("chain", chain),
    ("wide fans", wide_fans),
    ("one hub", one_hub),
    ("ladder with islands", ladder_with_islands),
    ("many clusters", many_clusters),
    ("random, 30% native", random_30_percent_native),
    ("many loops", many_loops),
    ("one loop of many variables", one_loop_of_many_variables),
];

fn bench(criterion: &mut Criterion) {
    let rules = Rules {
        minimum_size: 3,
        implicit_batch: false,
        static_engine: false,
        default_device: Device::default(),
    };
    let options = SegmentOptions {
        max_engines: None,
        ..SegmentOptions::default()
    };
    let preserve = HashSet::new();
    let request = Request {
        rules: &rules,
        options: &options,
        preserve: &preserve,
        supports: &supports,
        is_stateful: &|_| false,
    };
    for (name, shape) in SHAPES {
        let mut group = criterion.benchmark_group(format!("segmenter/{name}"));
        for count in [1_000, 10_000, 50_000] {
            let mut nodes = Nodes::new();
            shape(&mut nodes, count);
            let (graph, edges) = nodes.graph();
            let (found, _) = segment(&graph, &request).expect("no cycle");
            let inside: usize = found.segments.iter().map(|s| s.nodes.len()).sum();
            assert!(!found.segments.is_empty(), "{name} of {count} nodes has no segment");
            let (segments, outside) = (found.segments.len(), found.excluded.len());
            println!("{name}, {count} nodes, {edges} edges: {segments} segments with {inside} nodes, {outside} nodes left out");
            group.throughput(Throughput::Elements(edges));
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter(|| segment(black_box(&graph), &request))
            });
        }
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    bench(&mut criterion);
    criterion.final_summary();
}
