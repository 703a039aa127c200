//! The sliding window of convolutions and pools: strides, dilations and padding, out of TensorFlow's attributes.

use super::MAX_SIZE;
use super::images::is_nchw;
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::view::View;

/// One value for each of the image's (or volume's) own dimensions; `pads` in ONNX's order, all in front, then all behind.
#[derive(Debug, PartialEq)]
pub struct Window {
    pub kernel: Vec<i64>,
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
    /// `None`: SAME, with the sizes not known now; ONNX's SAME_UPPER has TensorFlow's rule.
    pub pads: Option<Vec<i64>>,
}

/// What belongs to the image's own dimensions, out of one item for each dimension in the node's data_format.
pub fn inner<'a, T>(view: View, items: &'a [T]) -> Result<&'a [T], Reason> {
    let range = if is_nchw(view)? {
        2..items.len()
    } else {
        1..items.len().saturating_sub(1)
    };
    items
        .get(range)
        .ok_or_else(|| format!("{} needs at least 3 dimensions, not {}.", view.op(), items.len()))
}

/// The `count` values of the image's own dimensions in an attribute; those of batch and channels have to be 1.
pub fn spatial(view: View, attribute: &str, count: usize) -> Result<Vec<i64>, Reason> {
    let values = match view.node().attr_ints(attribute) {
        None | Some([]) => return Ok(vec![1; count]),
        Some(values) => values,
    };
    let ones = |outer: [usize; 2]| outer.iter().all(|&i| values[i] == 1);
    if values.len() == count + 2 && ones(if is_nchw(view)? { [0, 1] } else { [0, count + 1] }) {
        let inner = inner(view, values)?;
        if inner.iter().all(|v| (1..=MAX_SIZE).contains(v)) {
            return Ok(inner.to_vec());
        }
    }
    Err(format!("{attribute} {values:?} along batch or channels is not supported."))
}

/// The window of a node whose input 0 is the image batch.
pub fn window(view: View, kernel: &[i64]) -> Result<Window, Reason> {
    let (strides, dilations) = (spatial(view, "strides", kernel.len())?, spatial(view, "dilations", kernel.len())?);
    let dims = view.dims(0)?;
    if dims.len() != kernel.len() + 2 {
        return Err(format!("{} needs an input of rank {}.", view.op(), kernel.len() + 2));
    }
    let pads = match view.attr_or("padding", "") {
        "VALID" => Some(vec![0; 2 * kernel.len()]),
        "SAME" => same_pads(inner(view, dims)?, kernel, &strides, &dilations),
        "EXPLICIT" => Some(explicit_pads(view, kernel.len())?),
        other => return Err(format!("padding {other:?} is not supported.")),
    };
    Ok(Window {
        kernel: kernel.to_vec(),
        strides,
        dilations,
        pads,
    })
}

/// How many input elements the window spans.
pub fn reach(kernel: i64, dilation: i64) -> i64 {
    (kernel - 1) * dilation + 1
}

/// SAME padding of one dimension in front and behind, where it does not hang on an open one.
pub fn same_pad(size: Option<i64>, reach: i64, stride: i64) -> Option<(i64, i64)> {
    let total = match size {
        // Each output element stands for one input element: the padding is what the window reaches beyond it.
        _ if stride == 1 => reach - 1,
        _ if reach == 1 => 0,
        Some(size) => ((size + stride - 1) / stride - 1) * stride + reach - size,
        None => return None,
    }
    .max(0);
    // The odd one goes behind.
    Some((total / 2, total - total / 2))
}

fn same_pads(image: &[Option<i64>], kernel: &[i64], strides: &[i64], dilations: &[i64]) -> Option<Vec<i64>> {
    let pads = (0..kernel.len()).map(|i| same_pad(image[i], reach(kernel[i], dilations[i]), strides[i]));
    let (front, behind): (Vec<i64>, Vec<i64>) = pads.collect::<Option<Vec<_>>>()?.into_iter().unzip();
    Some([front, behind].concat())
}

/// `explicit_paddings` of `count` dimensions, in ONNX's order.
pub fn explicit_pads(view: View, count: usize) -> Result<Vec<i64>, Reason> {
    let pads = view.node().attr_ints("explicit_paddings").unwrap_or_default();
    let pairs: Vec<[i64; 2]> = pads.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
    if pads.len() == 2 * (count + 2) {
        let inner = inner(view, &pairs)?;
        let bounded = pads.iter().all(|pad| (0..=MAX_SIZE).contains(pad));
        if bounded && pads.iter().sum::<i64>() == inner.iter().flatten().sum::<i64>() {
            return Ok(inner.iter().map(|p| p[0]).chain(inner.iter().map(|p| p[1])).collect());
        }
    }
    Err(format!("explicit_paddings {pads:?} is not supported."))
}

impl Window {
    /// As attributes of an ONNX Conv or pool.
    pub fn attrs(&self) -> Vec<(&'static str, Attr<'_>)> {
        let mut attrs = vec![("kernel_shape", Attr::Ints(&self.kernel)), ("strides", Attr::Ints(&self.strides))];
        if self.dilations.iter().any(|&d| d != 1) {
            attrs.push(("dilations", Attr::Ints(&self.dilations)));
        }
        match &self.pads {
            Some(pads) => attrs.push(("pads", Attr::Ints(pads))),
            None => attrs.push(("auto_pad", Attr::S("SAME_UPPER"))),
        }
        attrs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_is_tensorflows() {
        let same = |size, kernel, stride, dilation| same_pads(&[size; 2], &[kernel; 2], &[stride; 2], &[dilation; 2]);
        // 224 with 7x7 by 2: 112 windows reach 229, so 5 are missing: 2 before, 3 behind.
        assert_eq!(same(Some(224), 7, 2, 1), Some(vec![2, 2, 3, 3]));
        assert_eq!(same(None, 3, 1, 2), Some(vec![2, 2, 2, 2]));
        assert_eq!(same(None, 1, 2, 1), Some(vec![0; 4]));
        assert_eq!(same(Some(4), 1, 3, 1), Some(vec![0; 4]));
        assert_eq!(same(None, 3, 2, 1), None);
    }
}
