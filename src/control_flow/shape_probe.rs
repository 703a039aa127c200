//! Shapes inside a loop or branch, tried out with numbers.
//!
//! Shape inference forgets which open sizes are equal where tensors go through lists and around a loop. So each open size of what goes
//! in is given a number of its own, a prime beyond ordinary sizes, and TensorFlow infers the shapes of the graph inside once more. A size
//! that comes out as such a number is that size, whatever it will be. Done twice, with other primes, nothing is taken for one that
//! only happens to be equal.

use crate::graph::native_segment::attr;
use crate::graph::{Input, PartialShape, TensorInfo, annotated_outputs, parse_input};
use crate::proto::tensorflow as tf;
use std::collections::HashMap;
use tf::attr_value::{ListValue, Value};

/// TensorFlow's shape inference over a graph; `None` where it finds no shapes that fit.
pub type Infer<'a> = &'a dyn Fn(&tf::GraphDef) -> Option<HashMap<String, Vec<TensorInfo>>>;

/// One size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    Known(i64),
    /// The open size of that number.
    Open(usize),
}

/// Where both series of numbers begin.
const STARTS: [i64; 2] = [1009, 7001];

pub struct Trial {
    args: HashMap<String, Vec<Dim>>,
    numbers: [Vec<i64>; 2],
    found: [HashMap<String, Vec<TensorInfo>>; 2],
    /// For each open size, the argument and axis that it is the size of.
    places: Vec<(usize, usize)>,
}

/// Whether a rank that was known before is not among what was found.
fn loses(before: &[TensorInfo], found: Option<&Vec<TensorInfo>>) -> bool {
    let rank = |info: &TensorInfo| info.shape.rank();
    found.is_some_and(|found| {
        before
            .iter()
            .zip(found)
            .any(|(before, now)| rank(before).is_some() && rank(now).is_none())
    })
}

fn primes(from: i64, count: usize) -> Vec<i64> {
    let is_prime = |n: &i64| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0);
    (from..).filter(is_prime).take(count).collect()
}

impl Trial {
    /// Tries `graph` with arguments that are `infos`, of which inference says `sizes` (equal numbers below -1 are equal sizes). `None`
    /// where no shapes fit.
    pub fn new(infer: Infer<'_>, graph: &tf::GraphDef, infos: &[TensorInfo], sizes: &[Option<Vec<i64>>]) -> Option<Trial> {
        let mut symbols: HashMap<i64, usize> = HashMap::new();
        let mut places = Vec::new();
        let mut args = Vec::with_capacity(infos.len());
        for (arg, info) in infos.iter().enumerate() {
            let sizes = sizes
                .get(arg)
                .and_then(Option::as_ref)
                .filter(|sizes| Some(sizes.len()) == info.shape.rank());
            let dims = info.shape.dims()?.iter().enumerate().map(|(axis, &dim)| {
                let mut open = || {
                    places.push((arg, axis));
                    places.len() - 1
                };
                match (dim, sizes.map(|sizes| sizes[axis])) {
                    (Some(dim), _) => Dim::Known(dim),
                    (None, Some(symbol)) if symbol < -1 => Dim::Open(*symbols.entry(symbol).or_insert_with(open)),
                    (None, _) => Dim::Open(open()),
                }
            });
            args.push(dims.collect::<Vec<Dim>>());
        }
        let mut known = annotated_outputs(graph);
        // What is written to a list has its own size here.
        for node in graph.node.iter().filter(|node| node.op == "TensorScatterUpdate") {
            known.remove(&node.name);
        }
        let numbers = STARTS.map(|start| primes(start, places.len()));
        let run = |numbers: &[i64]| {
            let mut graph = graph.clone();
            for node in &mut graph.node {
                let Some(&Value::I(at)) = node.attr.get("index").filter(|_| node.op == "_Arg").and_then(|a| a.value.as_ref()) else {
                    continue;
                };
                let dims = args.get(usize::try_from(at).ok()?)?.iter().map(|dim| match *dim {
                    Dim::Known(dim) => dim,
                    Dim::Open(at) => numbers[at],
                });
                let list = ListValue {
                    shape: vec![PartialShape::from_dims(&dims.collect::<Vec<_>>()).to_proto()],
                    ..Default::default()
                };
                node.attr.insert("_output_shapes".into(), attr(Value::List(list)));
            }
            // Where sizes do not fit, inference goes on without a shape.
            infer(&graph).filter(|found| known.iter().all(|(name, infos)| !loses(infos, found.get(name))))
        };
        Some(Trial {
            found: [run(&numbers[0])?, run(&numbers[1])?],
            args: args
                .into_iter()
                .enumerate()
                .map(|(at, dims)| (crate::graph::inner::arg_name(at), dims))
                .collect(),
            numbers,
            places,
        })
    }

    /// The shape of the tensor that an entry of `NodeDef.input` names.
    pub fn shape(&self, input: &str) -> Option<Vec<Dim>> {
        let Some(Input::Data(name, index)) = parse_input(input) else {
            return None;
        };
        if let Some(dims) = self.args.get(name) {
            return Some(dims.clone());
        }
        let dims = |run: usize| self.found[run].get(name)?.get(index)?.shape.dims();
        let (a, b) = (dims(0)?, dims(1)?);
        let both = a.iter().zip(b).map(|(&a, &b)| self.dim(a?, b?));
        both.collect::<Option<Vec<Dim>>>().filter(|_| a.len() == b.len())
    }

    fn dim(&self, a: i64, b: i64) -> Option<Dim> {
        let open = (0..self.places.len()).find(|&at| self.numbers[0][at] == a && self.numbers[1][at] == b);
        open.map(Dim::Open).or((a == b).then_some(Dim::Known(a)))
    }

    /// The shapes of what `graph`, which was tried, gives.
    pub fn results(&self, graph: &tf::GraphDef) -> Vec<Option<Vec<Dim>>> {
        let ends = graph.node.iter().filter(|node| node.op == "_Retval");
        ends.map(|node| self.shape(node.input.first()?)).collect()
    }

    /// The shape of argument `at`.
    pub fn arg(&self, at: usize) -> Option<&Vec<Dim>> {
        self.args.get(&crate::graph::inner::arg_name(at))
    }

    /// The argument and the axis that an open size is the size of.
    pub fn place(&self, open: usize) -> (usize, usize) {
        self.places[open]
    }
}
