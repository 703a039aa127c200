//! Changes to seeds: of bytes, and of graphs as graphs, since nearly every change of a graph's bytes makes none of it.

use bytes::Bytes;
use prost::Message;
use tf::attr_value::Value;
use tftrt::proto::tensorflow as tf;

/// Numbers that look random, and are the same each time (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is 1 or more.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Sizes, axes and indices at which code breaks.
const NUMBERS: &[i64] = &[
    0,
    1,
    -1,
    2,
    3,
    -2,
    -3,
    4,
    7,
    255,
    256,
    -128,
    65_536,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 32,
    1 << 40,
    i64::MAX,
    i64::MIN,
    i64::MAX / 2 + 1,
];

/// `seed` with one to four changes of its bytes.
pub fn bytes(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(out.len().max(1));
        match random.below(7) {
            _ if out.is_empty() => out.push(random.next() as u8),
            0 => out[at] ^= 1 << random.below(8),
            1 => out[at] = random.next() as u8,
            2 => out.truncate(at),
            3 => out.insert(at, random.next() as u8),
            4 => {
                let end = (at + 1 + random.below(16)).min(out.len());
                out.drain(at..end);
            }
            5 => {
                let end = (at + 1 + random.below(32)).min(out.len());
                let part = out[at..end].to_vec();
                let to = random.below(out.len());
                out.splice(to..to, part);
            }
            _ => {
                let number = random.of(NUMBERS).to_le_bytes();
                let width = *random.of(&[1, 2, 4, 8]);
                for (to, from) in out[at..].iter_mut().zip(&number[..width]) {
                    *to = *from;
                }
            }
        }
    }
    out
}

/// A serialized GraphDef with one to four changes: of ops, edges, attributes, shapes, constants. Bytes that are none are returned as
/// they are.
pub fn graph(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let Ok(mut graph) = tf::GraphDef::decode(Bytes::copy_from_slice(seed)) else {
        return seed.to_vec();
    };
    for _ in 0..1 + random.below(4) {
        if graph.node.is_empty() {
            break;
        }
        let at = random.below(graph.node.len());
        let (other_op, other_name) = {
            let other = random.below(graph.node.len());
            (graph.node[other].op.clone(), graph.node[other].name.clone())
        };
        let node = &mut graph.node[at];
        match random.below(10) {
            0 => node.op = other_op,
            1 if !node.input.is_empty() => {
                let input = random.below(node.input.len());
                node.input.remove(input);
            }
            2 => node.input.push(other_name),
            3 if !node.input.is_empty() => {
                let input = random.below(node.input.len());
                node.input[input] = other_name;
            }
            4 if node.input.len() > 1 => {
                let (a, b) = (random.below(node.input.len()), random.below(node.input.len()));
                node.input.swap(a, b);
            }
            5 if !node.attr.is_empty() => {
                let name = node.attr.keys().nth(random.below(node.attr.len())).cloned().expect("it is there");
                node.attr.remove(&name);
            }
            6 if !node.input.is_empty() => {
                let input = random.below(node.input.len());
                node.input[input] = format!("{}:{}", node.input[input], random.below(3));
            }
            _ => {
                let count = node.attr.len();
                if let Some(value) = node.attr.values_mut().nth(random.below(count)) {
                    change(value, random);
                }
            }
        }
    }
    graph.encode_to_vec()
}

fn change(attr: &mut tf::AttrValue, random: &mut Random) {
    let Some(value) = &mut attr.value else { return };
    match value {
        Value::I(i) => *i = *random.of(NUMBERS),
        Value::F(f) => *f = *random.of(&[0.0, -0.0, 1.0, -1.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE, 1e30]),
        Value::B(b) => *b = !*b,
        Value::S(s) => {
            const TEXTS: &[&[u8]] = &[b"SAME", b"VALID", b"EXPLICIT", b"NCHW", b"NHWC", b"\xff", b"", b"ab,bc->ac"];
            *s = Bytes::from_static(random.of::<&[u8]>(TEXTS));
        }
        Value::Type(t) => *t = random.below(24) as i32,
        Value::Shape(shape) => change_shape(shape, random),
        Value::Tensor(tensor) => change_tensor(tensor, random),
        Value::List(list) => {
            if let Some(i) = pick(&mut list.i, random) {
                *i = *random.of(NUMBERS);
            }
            if random.below(4) == 0 {
                list.i.push(*random.of(NUMBERS));
            }
            if let Some(shape) = pick(&mut list.shape, random) {
                change_shape(shape, random);
            }
            if let Some(t) = pick(&mut list.r#type, random)
                && random.below(2) == 0
            {
                *t = random.below(24) as i32;
            }
        }
        Value::Func(_) | Value::Placeholder(_) => attr.value = Some(Value::I(*random.of(NUMBERS))),
    }
}

fn change_shape(shape: &mut tf::TensorShapeProto, random: &mut Random) {
    match random.below(5) {
        0 => shape.unknown_rank = !shape.unknown_rank,
        1 => {
            shape.dim.pop();
        }
        2 => shape.dim.push(tf::tensor_shape_proto::Dim {
            size: *random.of(NUMBERS),
            ..Default::default()
        }),
        _ => {
            if let Some(dim) = pick(&mut shape.dim, random) {
                dim.size = *random.of(NUMBERS);
            }
        }
    }
}

fn change_tensor(tensor: &mut tf::TensorProto, random: &mut Random) {
    match random.below(5) {
        0 => tensor.dtype = random.below(24) as i32,
        1 => {
            if let Some(shape) = &mut tensor.tensor_shape {
                change_shape(shape, random);
            }
        }
        2 => tensor.tensor_content = tensor.tensor_content.slice(..random.below(tensor.tensor_content.len() + 1)),
        3 => {
            let number = *random.of(NUMBERS);
            match tensor.dtype {
                9 => tensor.int64_val = vec![number],
                1 => tensor.float_val = vec![number as f32],
                _ => tensor.int_val = vec![number as i32],
            }
            tensor.tensor_content = Bytes::new();
        }
        _ => {
            let mut content = tensor.tensor_content.to_vec();
            let number = random.of(NUMBERS).to_le_bytes();
            let at = random.below(content.len().max(1)) & !3;
            for (to, from) in content.iter_mut().skip(at).zip(number) {
                *to = from;
            }
            tensor.tensor_content = content.into();
        }
    }
}

fn pick<'a, T>(all: &'a mut [T], random: &mut Random) -> Option<&'a mut T> {
    let at = random.below(all.len());
    all.get_mut(at)
}
