//! Ops on lists inside a loop, as ops on the tensors that stand for the lists.

use super::new_node::{dtype, gather, info, ints, node as new};
use crate::graph::{DType, NewNode, Node, PartialShape, TensorInfo};
use crate::proto::tensorflow as tf;

/// The nodes that stand for `def`, which is `node` with its inputs renamed. `list` is the tensor that stands for the list that it takes.
/// `None` if it is no op that is known here.
pub fn nodes(node: &Node, def: &tf::NodeDef, list: &TensorInfo) -> Option<Vec<NewNode>> {
    match node.op() {
        "Identity" => {
            let attrs = vec![("T", dtype(list.dtype))];
            Some(vec![new(&def.name, "Identity", def.input.clone(), attrs, list.clone())])
        }
        "TensorListGetItem" => Some(get_item(node, def, list)),
        "TensorListSetItem" => Some(set_item(def, list)),
        _ => None,
    }
}

fn get_item(node: &Node, def: &tf::NodeDef, list: &TensorInfo) -> Vec<NewNode> {
    let rest = list.shape.dims().map(|dims| dims.iter().skip(1).copied().collect());
    let known = node.outputs.first().cloned().filter(|info| info.shape.rank().is_some());
    let item = known.unwrap_or(TensorInfo {
        dtype: list.dtype,
        shape: PartialShape(rest),
    });
    let axis = format!("{}/tftrt_axis", def.name);
    let taken = gather(&def.name, list.dtype, &def.input[0], &def.input[1], &axis, item);
    vec![ints(&axis, &[0], &[]), taken]
}

/// A scatter of one element: its place as a [1, 1] tensor, the element with an axis in front.
fn set_item(def: &tf::NodeDef, list: &TensorInfo) -> Vec<NewNode> {
    let (name, input) = (def.name.as_str(), &def.input);
    let own = |what: &str| format!("{name}/tftrt_{what}");
    let (axis, square, at, item) = (own("axis"), own("square"), own("at"), own("item"));
    let mut dims = list.shape.dims().unwrap_or_default().to_vec();
    if let Some(first) = dims.first_mut() {
        *first = Some(1);
    }
    let int = || dtype(DType::INT32);
    let place = info(DType::INT32, vec![Some(1), Some(1)]);
    let reshape = vec![("T", int()), ("Tshape", int())];
    let expand = vec![("T", dtype(list.dtype)), ("Tdim", int())];
    let scatter = vec![("T", dtype(list.dtype)), ("Tindices", int())];
    vec![
        ints(&square, &[1, 1], &[2]),
        ints(&axis, &[0], &[]),
        new(&at, "Reshape", vec![input[1].clone(), square], reshape, place),
        new(&item, "ExpandDims", vec![input[2].clone(), axis], expand, info(list.dtype, dims)),
        new(name, "TensorScatterUpdate", vec![input[0].clone(), at, item], scatter, list.clone()),
    ]
}
