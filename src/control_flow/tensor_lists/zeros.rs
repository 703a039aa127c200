//! The tensor of zeros that a written list begins as, made before the loop.

use super::Size;
use super::new_node::{constant, dtype, gather, info, ints, node};
use crate::graph::native_segment::input_text;
use crate::graph::{Constant, DType, Graph, NewNode, Port};
use crate::proto::tensorflow::attr_value::Value;

/// The name of a tensor of `count` elements of the sizes `dims`, and the nodes that make it, whose names begin with `prefix`. `None` if a
/// size is not known.
pub fn make(graph: &Graph, prefix: &str, element: DType, count: Port, dims: &[Size]) -> Option<(String, Vec<NewNode>)> {
    let mut made = Vec::new();
    let mut parts = vec![input_text(graph.nodes[count.node].name(), count.index)];
    let mut shape = vec![None];
    for (axis, &dim) in dims.iter().enumerate() {
        let part = format!("{prefix}_dim_{axis}");
        match dim {
            Size::Known(dim) => {
                made.push(ints(&part, &[i32::try_from(dim).ok()?], &[]));
                shape.push(Some(dim));
            }
            Size::Of(port, place) => {
                size_of(graph, &part, port, place, &mut made)?;
                shape.push(None);
            }
        }
        parts.push(part);
    }
    let (packed, zero, zeros) = (format!("{prefix}_dims"), format!("{prefix}_zero"), format!("{prefix}_zeros"));
    let size = parts.len() as i64;
    let attrs = vec![("T", dtype(DType::INT32)), ("N", Value::I(size)), ("axis", Value::I(0))];
    made.push(node(&packed, "Pack", parts, attrs, info(DType::INT32, vec![Some(size)])));
    let nothing = Constant {
        dtype: element,
        dims: Vec::new(),
        data: vec![0; element.size()].into(),
    };
    made.push(constant(&zero, &nothing));
    let attrs = vec![("T", dtype(element)), ("index_type", dtype(DType::INT32))];
    made.push(node(&zeros, "Fill", vec![packed, zero], attrs, info(element, shape)));
    Some((zeros, made))
}

/// Makes `part`, the size of the tensor at `port` along `axis`. `None` if its rank is not known.
fn size_of(graph: &Graph, part: &str, port: Port, axis: usize, made: &mut Vec<NewNode>) -> Option<()> {
    let of = graph.info(port)?;
    let rank = of.shape.rank()? as i64;
    let (whole, at, zero) = (format!("{part}/shape"), format!("{part}/at"), format!("{part}/axis"));
    let input = input_text(graph.nodes[port.node].name(), port.index);
    let attrs = vec![("T", dtype(of.dtype)), ("out_type", dtype(DType::INT32))];
    made.push(node(&whole, "Shape", vec![input], attrs, info(DType::INT32, vec![Some(rank)])));
    made.push(ints(&at, &[axis as i32], &[]));
    made.push(ints(&zero, &[0], &[]));
    made.push(gather(part, DType::INT32, &whole, &at, &zero, info(DType::INT32, Vec::new())));
    Some(())
}
