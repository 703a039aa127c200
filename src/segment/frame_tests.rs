//! Segments around and inside of loops, one by one and in random graphs.

use super::test_graphs::{Builder, supports};
use super::*;
use proptest::prelude::*;

fn found(graph: &Graph, minimum_size: i64) -> Result<(Segmentation, Constants), Vec<String>> {
    let rules = Rules {
        minimum_size,
        implicit_batch: false,
        static_engine: false,
        default_device: Device::default(),
    };
    let options = SegmentOptions {
        max_engines: None,
        ..SegmentOptions::default()
    };
    let request = Request {
        rules: &rules,
        options: &options,
        preserve: &HashSet::new(),
        supports: &supports,
        is_stateful: &|_| false,
    };
    segment(graph, &request)
}

fn names(b: &Builder) -> Vec<Vec<String>> {
    let graph = b.graph();
    let (found, _) = found(&graph, 1).unwrap();
    let name = |&id: &NodeId| graph.nodes[id].name().to_string();
    found.segments.iter().map(|s| s.nodes.iter().map(name).collect()).collect()
}

/// One variable of the loop `frame`, which goes on while `goes_on` says so: from `first` by way of `body` nodes. The next value
/// is to be made by "{name}_next", which is not there yet.
fn variable(b: &mut Builder, frame: &str, name: &str, first: &str, goes_on: &str) {
    let of = |part: &str| format!("{name}_{part}");
    b.enter(&of("enter"), first, frame);
    b.add(&of("merge"), "Merge", &[&of("enter"), &of("back")]);
    let info = (crate::graph::DType::FLOAT, &[8i64, 4][..]);
    b.outputs(&of("switch"), "Switch", &[&of("merge"), goes_on], &[info, info]);
    b.add(&of("back"), "NextIteration", &[&of("next")]);
    b.add(&of("exit"), "Exit", &[&of("switch")]);
}

/// in -> p -> loop -> q, and p -> q besides. The loop hands its first variable to its second, so that the last value of the second is
/// that of the first by way of the next round only.
fn through_a_loop() -> Builder {
    let mut b = Builder::default();
    b.add("in", "Placeholder", &[]);
    b.add("p", "Relu", &["in"]);
    variable(&mut b, "loop", "h", "p", "cond");
    variable(&mut b, "loop", "acc", "in", "cond");
    b.add("count", "NoSuch", &["acc_merge"]);
    b.add("cond", "LoopCond", &["count"]);
    b.add("h_next", "Relu", &["h_switch:1"]);
    b.add("acc_next", "Add", &["acc_switch:1", "h_switch:1"]);
    b.add("q", "Add", &["p", "acc_exit"]);
    b.add("out", "NoSuch", &["q"]);
    b
}

#[test]
fn a_way_through_the_next_round_of_a_loop_parts_a_segment() {
    assert_eq!(names(&through_a_loop()), [["p"], ["h_next"], ["acc_next"], ["q"]]);
}

#[test]
fn a_loop_inside_parts_the_body_around_it_and_the_body_goes_round() {
    let mut b = Builder::default();
    b.add("in", "Placeholder", &[]);
    variable(&mut b, "outer", "o", "in", "o_cond");
    b.add("o_test", "NoSuch", &["o_merge"]);
    b.add("o_cond", "LoopCond", &["o_test"]);
    b.add("a", "Relu", &["o_switch:1"]);
    // Of the inner loop, y follows x by a round.
    variable(&mut b, "inner", "x", "a", "i_cond");
    variable(&mut b, "inner", "y", "o_switch:1", "i_cond");
    b.add("i_test", "NoSuch", &["y_merge"]);
    b.add("i_cond", "LoopCond", &["i_test"]);
    b.add("x_next", "Relu", &["x_switch:1"]);
    b.add("y_next", "Add", &["y_switch:1", "x_switch:1"]);
    b.add("c", "Add", &["a", "y_exit"]);
    b.add("d", "Relu", &["c"]);
    b.add("o_next", "Relu", &["d"]);
    b.add("out", "NoSuch", &["o_exit"]);
    let outer: &[&str] = &["c", "d", "o_next"];
    assert_eq!(names(&b), [&["a"], &["x_next"], &["y_next"], outer]);
    let frames = Frames::read(&b.graph()).unwrap();
    let path = |name: &str| frames.path(b.graph().find(name).unwrap()).unwrap().to_string();
    assert_eq!(
        [path("a"), path("x_next"), path("c"), path("o_exit")],
        ["/outer", "/outer/inner", "/outer", ""]
    );
}

#[test]
fn a_version_1_loop_is_no_cycle_and_others_are() {
    let mut b = Builder::default();
    b.add("in", "Placeholder", &[]);
    b.enter("enter", "in", "loop");
    b.add("merge", "Merge", &["enter", "next"]);
    b.add("a", "Relu", &["merge"]);
    b.add("b", "Relu", &["a"]);
    b.add("next", "NextIteration", &["b"]);
    assert_eq!(names(&b), [["a", "b"]]);
    b.def.node[3].input.push("b".into());
    assert_eq!(topological_order(&b.graph()).unwrap_err(), ["a", "b", "next"]);
    assert_eq!(found(&b.graph(), 1).err().unwrap(), ["a", "b"]);
}

#[test]
fn a_next_iteration_of_no_loop_or_of_another_is_a_cycle() {
    let mut b = through_a_loop();
    b.def.node[0].op = "Merge".into();
    b.def.node[0].input.push("q_back".into());
    b.add("q_back", "NextIteration", &["q"]);
    assert_eq!(found(&b.graph(), 1).err().unwrap(), ["in", "q_back"]);
    // A loop cannot begin with what it gives, though no edge closes that circle but the next round's.
    let mut b = through_a_loop();
    b.def.node[2].input = vec!["q".into()];
    b.def.node.iter_mut().find(|node| node.name == "q").unwrap().input.remove(0);
    let cycle = found(&b.graph(), 1).err().unwrap();
    assert!(
        ["h_enter", "acc_exit", "q"].iter().all(|name| cycle.contains(&name.to_string())),
        "{cycle:?}"
    );
}

#[test]
fn what_takes_from_inside_and_outside_of_a_loop_goes_into_no_engine() {
    let mut b = through_a_loop();
    b.add("both", "Add", &["in", "h_next"]);
    b.add("behind", "Relu", &["both"]);
    b.add("end", "NoSuch", &["behind"]);
    let (found, _) = found(&b.graph(), 1).unwrap();
    let why = |name: &str| found.excluded[&b.graph().find(name).unwrap()].clone();
    assert!(why("both").contains("from inside and outside"), "{}", why("both"));
    assert!(why("behind").contains("from inside and outside"));
}

/// A step of a random graph: what is made, by what of what is there.
#[derive(Clone, Debug)]
pub enum Step {
    Node {
        native: bool,
        data: Vec<usize>,
        control: Option<usize>,
    },
    /// Opens a loop inside of the current one (or around nothing), of so many variables.
    Open { variables: Vec<usize>, native: bool },
    /// Closes the loop that was opened last; each variable's next value is one of the tensors inside.
    Close { next: Vec<usize> },
}

fn step() -> impl Strategy<Value = Step> {
    let data = || prop::collection::vec(any::<usize>(), 1..3);
    prop_oneof![
        6 => (prop::bool::weighted(0.2), data(), prop::option::weighted(0.1, any::<usize>()))
            .prop_map(|(native, data, control)| Step::Node { native, data, control }),
        1 => (prop::collection::vec(any::<usize>(), 1..4), any::<bool>()).prop_map(|(variables, native)| Step::Open { variables, native }),
        1 => prop::collection::vec(any::<usize>(), 4).prop_map(|next| Step::Close { next }),
    ]
}

/// A loop that is open: its name, its variables' names, and the tensors that are inside.
struct Open {
    frame: String,
    variables: Vec<String>,
    inside: Vec<String>,
}

/// The graph of the steps.
pub fn build(steps: &[Step]) -> Builder {
    let mut b = Builder::default();
    b.add("in", "Placeholder", &[]);
    let mut open = vec![Open {
        frame: String::new(),
        variables: Vec::new(),
        inside: vec!["in".into()],
    }];
    let close = |b: &mut Builder, open: &mut Vec<Open>, next: &[usize]| {
        if open.len() == 1 {
            return;
        }
        let Open { variables, inside, .. } = open.pop().expect("a loop");
        let around = open.last_mut().expect("the graph around");
        for (at, name) in variables.iter().enumerate() {
            // From the far end of the loop, so that rounds hand values on from variable to variable.
            let from = &inside[next[at % next.len()] % inside.len()];
            b.add(&format!("{name}_back"), "NextIteration", &[from]);
            b.add(&format!("{name}_exit"), "Exit", &[&format!("{name}_switch")]);
            around.inside.push(format!("{name}_exit"));
        }
    };
    for (at, step) in steps.iter().enumerate() {
        let inside = &open.last().expect("a graph").inside;
        let inside = inside.clone();
        let pick = |d: usize| inside[inside.len() - 1 - d % inside.len().min(if d.is_multiple_of(3) { usize::MAX } else { 5 })].clone();
        match step {
            Step::Node { native, data, control } => {
                let mut inputs: Vec<String> = data.iter().map(|&d| pick(d)).collect();
                inputs.extend(control.map(|c| format!("^{}", pick(c).trim_end_matches(":1"))));
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                let name = format!("n{at}");
                b.add(&name, if *native { "NoSuch" } else { "Add" }, &inputs);
                open.last_mut().expect("a graph").inside.push(name);
            }
            Step::Open { variables, native } if open.len() < 4 => {
                let (frame, cond) = (format!("f{at}"), format!("f{at}_cond"));
                let mut made = Open {
                    frame,
                    variables: Vec::new(),
                    inside: Vec::new(),
                };
                for (v, &first) in variables.iter().enumerate() {
                    let name = format!("f{at}_v{v}");
                    b.enter(&format!("{name}_enter"), &pick(first), &made.frame);
                    b.add(
                        &format!("{name}_merge"),
                        "Merge",
                        &[&format!("{name}_enter"), &format!("{name}_back")],
                    );
                    b.add(&format!("{name}_switch"), "Switch", &[&format!("{name}_merge"), &cond]);
                    b.shapes.entry(format!("{name}_switch")).and_modify(|o| o.push(o[0].clone()));
                    made.inside.push(format!("{name}_switch:1"));
                    made.variables.push(name);
                }
                let test = if *native { "NoSuch" } else { "Add" };
                b.add(&format!("f{at}_test"), test, &[&format!("f{at}_v0_merge")]);
                b.add(&cond, "LoopCond", &[&format!("f{at}_test")]);
                open.push(made);
            }
            Step::Open { .. } => {}
            Step::Close { next } => close(&mut b, &mut open, next),
        }
    }
    while open.len() > 1 {
        close(&mut b, &mut open, &[0]);
    }
    let last = open[0].inside.last().expect("at least the input").clone();
    b.add("out", "NoSuch", &[&last]);
    b
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 2..60)
}

/// Whether the graph is wrong once the nodes of each group in `of` are one: whether there is a cycle without a back edge of the
/// outermost frame that it touches. Found the plain way, frame by frame, and without hubs: of a frame's nodes and all in frames
/// inside, with the back edges of those inside, none may lie on a cycle that holds a node of the frame itself.
pub fn wrong(graph: &Graph, of: &[usize], path: &dyn Fn(NodeId) -> String) -> bool {
    let count = graph.nodes.len();
    let paths: Vec<String> = (0..count).map(path).collect();
    let within = |node: NodeId| match graph.nodes[node].op() {
        "Enter" => paths[graph.nodes[node].inputs[0].node].clone(),
        _ => paths[node].clone(),
    };
    let mut all: Vec<String> = paths.clone();
    all.sort();
    all.dedup();
    all.iter().any(|frame| {
        let belongs = |node: NodeId| within(node) == *frame || paths[node].starts_with(&format!("{frame}/"));
        let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (to, node) in graph.nodes.iter().enumerate().filter(|(to, _)| belongs(*to)) {
            for from in node.inputs.iter().map(|p| p.node).chain(node.control_inputs.iter().copied()) {
                let back = node.op() == "Merge" && graph.nodes[from].op() == "NextIteration" && paths[to] == *frame;
                if belongs(from) && !back && of[from] != of[to] {
                    next[of[from]].push(of[to]);
                }
            }
        }
        (0..count).filter(|&id| within(id) == *frame && belongs(id)).any(|id| {
            let (start, mut seen) = (of[id], HashSet::new());
            let mut waiting = next[start].clone();
            while let Some(at) = waiting.pop() {
                if seen.insert(at) {
                    waiting.extend(&next[at]);
                }
            }
            seen.contains(&start)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn segments_around_and_in_loops_close_no_cycle_and_are_in_one_frame(steps in steps(), minimum_size in 1i64..3) {
        let graph = build(&steps).graph();
        let frames = Frames::read(&graph).unwrap();
        let path = |id: NodeId| frames.path(id).expect("one frame").to_string();
        let alone: Vec<usize> = (0..graph.nodes.len()).collect();
        prop_assert!(!wrong(&graph, &alone, &path), "the graph itself");
        let (found, _) = found(&graph, minimum_size).unwrap();
        let mut of = alone;
        for segment in &found.segments {
            for &id in &segment.nodes {
                of[id] = segment.nodes[0];
                prop_assert_eq!(path(id), path(segment.nodes[0]), "one frame");
            }
        }
        prop_assert!(!wrong(&graph, &of, &path), "a cycle through an engine");
        // Two segments with an edge between them are parted because together they would make a loop wait for itself.
        if minimum_size == 1 {
            for (from, to) in (0..graph.nodes.len()).flat_map(|to| graph.nodes[to].inputs.iter().map(move |p| (p.node, to))) {
                let (a, b) = (of[from], of[to]);
                let inside = |id: NodeId| found.segments.iter().any(|s| s.nodes[0] == of[id]);
                if a == b || !inside(from) || !inside(to) {
                    continue;
                }
                let edges = order_edges(&graph, &frames, &of, (a, b));
                prop_assert!(!sorts(&edges), "'{}' and '{}' could be one", graph.nodes[from].name(), graph.nodes[to].name());
            }
        }
    }
}

/// The edges of the order, with the groups in `of` as one each, and b's as one with a's.
fn order_edges(graph: &Graph, frames: &Frames, of: &[usize], (a, b): (usize, usize)) -> HashSet<(usize, usize)> {
    let group = |id: usize| match of.get(id).copied().unwrap_or(id) {
        own if own == b => a,
        own => own,
    };
    let plain = (0..graph.nodes.len()).flat_map(|to| order::predecessors(graph, to).map(move |from| (from, to)));
    let all = plain.chain(frames.hub_edges().iter().copied());
    all.map(|(from, to)| (group(from), group(to)))
        .filter(|(from, to)| from != to)
        .collect()
}

/// Whether there is no cycle.
fn sorts(edges: &HashSet<(usize, usize)>) -> bool {
    let mut left: HashSet<usize> = edges.iter().flat_map(|&(a, b)| [a, b]).collect();
    loop {
        let taken: HashSet<usize> = edges.iter().filter(|(a, _)| left.contains(a)).map(|&(_, b)| b).collect();
        let before = left.len();
        left.retain(|id| taken.contains(id));
        if left.len() == before {
            return left.is_empty();
        }
    }
}
