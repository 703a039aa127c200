//! Batches of images and of volumes as ONNX takes them: channels right behind the batch.

use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::layout::as_ints;
use crate::convert::value::Form;
use crate::convert::view::View;

/// NCDHW out of NDHWC, and back.
const VOLUME_FIRST: [usize; 5] = [0, 4, 1, 2, 3];
const VOLUME_LAST: [usize; 5] = [0, 2, 3, 4, 1];

/// Whether the node's data_format is NCHW, or NCDHW. Formats with another rank or order are refused.
pub fn is_nchw(view: View) -> Result<bool, Reason> {
    match view.attr_or("data_format", "NHWC") {
        "NHWC" | "NDHWC" => Ok(false),
        "NCHW" | "NCDHW" => Ok(true),
        other => Err(format!("data_format {other} is not supported.")),
    }
}

/// Input `i`, of rank 4 or 5 in the node's data_format, channels first.
pub fn take(cx: &mut Context, i: usize) -> Result<String, Reason> {
    match (is_nchw(cx.view)?, cx.rank(i)) {
        (true, _) => cx.plain(i),
        (false, 5) => {
            // Only images are kept in two orders: the transposes of volumes stay, and TensorRT joins what it can.
            let x = cx.plain(i)?;
            Ok(cx.emit("Transpose", &[&x], &[("perm", Attr::Ints(&as_ints(&VOLUME_FIRST)))]))
        }
        (false, _) => cx.input(i, Form::ChannelsFirst),
    }
}

/// Makes `name`, channels first, output 0.
pub fn give(cx: &mut Context, name: String) -> Result<(), Reason> {
    match (is_nchw(cx.view)?, cx.view.out_dims(0)?.len()) {
        (true, _) => cx.give(0, Form::Plain, name),
        (false, 5) => {
            let out = cx.emit("Transpose", &[&name], &[("perm", Attr::Ints(&as_ints(&VOLUME_LAST)))]);
            cx.give(0, Form::Plain, out)
        }
        (false, _) => cx.give(0, Form::ChannelsFirst, name),
    }
}
