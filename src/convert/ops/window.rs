//! The sliding window of convolutions and pools: strides, dilations and padding, out of TensorFlow's attributes.

use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::view::View;

/// Height and width of everything; `pads` in ONNX's order (top, left, bottom, right).
#[derive(Debug, PartialEq)]
pub struct Window {
    pub kernel: [i64; 2],
    pub strides: [i64; 2],
    pub dilations: [i64; 2],
    /// `None`: SAME, with the sizes not known now; ONNX's SAME_UPPER has TensorFlow's rule.
    pub pads: Option<[i64; 4]>,
}

/// Whether the node's data_format is NCHW. Formats with another rank or order are refused.
pub fn is_nchw(view: View) -> Result<bool, Reason> {
    match view.attr_or("data_format", "NHWC") {
        "NHWC" => Ok(false),
        "NCHW" => Ok(true),
        other => Err(format!("data_format {other} is not supported.")),
    }
}

/// Height and width out of four values in the node's data_format; the other two have to be 1.
pub fn spatial(view: View, attribute: &str) -> Result<[i64; 2], Reason> {
    let nchw = is_nchw(view)?;
    match (view.node().attr_ints(attribute), nchw) {
        (None | Some([]), _) => Ok([1, 1]),
        (Some([1, h, w, 1]), false) | (Some([1, 1, h, w]), true) if *h > 0 && *w > 0 => Ok([*h, *w]),
        (Some(values), _) => Err(format!("{attribute} {values:?} along batch or channels is not supported.")),
    }
}

/// The window of a node whose input 0 is the image batch.
pub fn window(view: View, kernel: [i64; 2]) -> Result<Window, Reason> {
    let (strides, dilations) = (spatial(view, "strides")?, spatial(view, "dilations")?);
    let dims = view.dims(0)?;
    let image = match (dims, is_nchw(view)?) {
        ([_, h, w, _], false) | ([_, _, h, w], true) => [*h, *w],
        _ => return Err(format!("{} needs an input of rank 4.", view.op())),
    };
    let pads = match view.attr_or("padding", "") {
        "VALID" => Some([0; 4]),
        "SAME" => same_pads(image, kernel, strides, dilations),
        "EXPLICIT" => Some(explicit_pads(view)?),
        other => return Err(format!("padding {other:?} is not supported.")),
    };
    Ok(Window {
        kernel,
        strides,
        dilations,
        pads,
    })
}

/// SAME padding in numbers, where it does not hang on an open dimension.
fn same_pads(image: [Option<i64>; 2], kernel: [i64; 2], strides: [i64; 2], dilations: [i64; 2]) -> Option<[i64; 4]> {
    let mut pads = [0; 4];
    for i in 0..2 {
        let reach = (kernel[i] - 1) * dilations[i] + 1;
        let total = match image[i] {
            // Each output element stands for one input element: the padding is what the window reaches beyond it.
            _ if strides[i] == 1 => reach - 1,
            _ if reach == 1 => 0,
            Some(size) => ((size + strides[i] - 1) / strides[i] - 1) * strides[i] + reach - size,
            None => return None,
        }
        .max(0);
        // The odd one goes behind.
        pads[i] = total / 2;
        pads[i + 2] = total - total / 2;
    }
    Some(pads)
}

fn explicit_pads(view: View) -> Result<[i64; 4], Reason> {
    let pads = view.node().attr_ints("explicit_paddings").unwrap_or_default();
    match (pads, is_nchw(view)?) {
        ([0, 0, top, bottom, left, right, 0, 0], false) | ([0, 0, 0, 0, top, bottom, left, right], true) => {
            Ok([*top, *left, *bottom, *right])
        }
        _ => Err(format!("explicit_paddings {pads:?} is not supported.")),
    }
}

impl Window {
    /// As attributes of an ONNX Conv or pool.
    pub fn attrs(&self) -> Vec<(&'static str, Attr<'_>)> {
        let mut attrs = vec![("kernel_shape", Attr::Ints(&self.kernel)), ("strides", Attr::Ints(&self.strides))];
        if self.dilations != [1, 1] {
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
        let same = |size, kernel, stride, dilation| same_pads([size; 2], [kernel; 2], [stride; 2], [dilation; 2]);
        // 224 with 7x7 by 2: 112 windows reach 229, so 5 are missing: 2 before, 3 behind.
        assert_eq!(same(Some(224), 7, 2, 1), Some([2, 2, 3, 3]));
        assert_eq!(same(None, 3, 1, 2), Some([2, 2, 2, 2]));
        assert_eq!(same(None, 1, 2, 1), Some([0; 4]));
        assert_eq!(same(Some(4), 1, 3, 1), Some([0; 4]));
        assert_eq!(same(None, 3, 2, 1), None);
    }
}
