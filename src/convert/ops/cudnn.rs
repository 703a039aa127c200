//! cuDNN's recurrent layers, which Keras makes of its LSTM and GRU on a machine with a GPU: ONNX's LSTM, GRU and RNN.
//!
//! One layer in one direction. Its parameters are one vector, in the order in which cuDNN 7 and later keep them and Keras packs them: for each
//! gate the matrix of the input, transposed, then those of the state, then a bias a gate for each of both. The gates are input, forget,
//! new cell, output of an LSTM, and reset, update, new state of a GRU, where ONNX wants input, output, forget, cell, and update, reset,
//! state. cuDNN's GRU resets behind the product with the state, as ONNX's with `linear_before_reset`.

use super::Converter;
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::{Constant, DType, Port};
use crate::memory::{self, NoMemory};
use bytes::Bytes;

const X: usize = 0;
const STATE: usize = 1;
const CELL: usize = 2;
const PARAMS: usize = 3;
const LENGTHS: usize = 4;
/// The outputs: the series, the last state, the last cell. Behind them comes what only training needs.
pub const OUTPUTS: usize = 3;

/// A kind of layer.
struct Mode {
    op: &'static str,
    /// cuDNN's gate at each place of ONNX's.
    gates: &'static [usize],
    /// Where it is not ONNX's own.
    activation: Option<&'static str>,
}

impl Mode {
    fn of(view: View) -> Result<Mode, Reason> {
        let mode = |op, gates, activation| Ok(Mode { op, gates, activation });
        match view.attr_or("rnn_mode", "lstm") {
            "lstm" => mode("LSTM", &[0, 3, 1, 2], None),
            "gru" => mode("GRU", &[1, 0, 2], None),
            "rnn_tanh" => mode("RNN", &[0], None),
            "rnn_relu" => mode("RNN", &[0], Some("Relu")),
            other => Err(format!("{} has the unknown rnn_mode \"{other}\".", view.op())),
        }
    }

    fn has_cell(&self) -> bool {
        self.op == "LSTM"
    }
}

/// The sizes of a layer.
struct Sizes {
    gates: usize,
    inputs: usize,
    units: usize,
}

impl Sizes {
    fn of(view: View, mode: &Mode) -> Result<Sizes, Reason> {
        let last = |i: usize, what: &str| {
            let size = view.dims(i)?.last().copied().flatten().and_then(|size| usize::try_from(size).ok());
            size.ok_or_else(|| format!("{} needs the number of {what} to be known.", view.op()))
        };
        Ok(Sizes {
            gates: mode.gates.len(),
            inputs: last(X, "inputs")?,
            units: last(STATE, "units")?,
        })
    }

    /// The number of parameters. `None`: more than there can be.
    fn parameters(&self) -> Option<usize> {
        let row = self.inputs.checked_add(self.units)?.checked_add(2)?;
        self.gates.checked_mul(self.units)?.checked_mul(row)
    }
}

/// Whether the batch stands in front, as the third version may have it.
fn batch_first(view: View) -> bool {
    view.node().attr_b("time_major") == Some(false)
}

fn supports(view: View) -> Result<(), Reason> {
    let op = view.op();
    let mode = Mode::of(view)?;
    for i in [X, STATE, PARAMS] {
        view.accepts(i, &[DType::FLOAT])?;
    }
    view.accepts_rank(X, 3)?;
    view.accepts_rank(STATE, 3)?;
    if mode.has_cell() {
        view.accepts(CELL, &[DType::FLOAT])?;
        view.accepts_rank(CELL, 3)?;
    }
    for (attr, only) in [("direction", "unidirectional"), ("input_mode", "linear_input")] {
        let found = view.attr_or(attr, only);
        // With one layer, "auto_select" is what it says only where inputs and units are as many.
        if found != only {
            return Err(format!("{op} with {attr} \"{found}\" is not supported, only \"{only}\"."));
        }
    }
    if view.node().attr_f("dropout").unwrap_or(0.0) != 0.0 && view.node().attr_b("is_training") != Some(false) {
        return Err(format!("{op} drops out at random: an engine has no random numbers."));
    }
    if view.node().attr_i("num_proj").unwrap_or(0) != 0 {
        return Err(format!("{op} with a projection (num_proj) is not supported."));
    }
    let layers = view.dims(STATE)?[usize::from(batch_first(view))];
    if layers != Some(1) {
        let found = layers.map_or("an unknown number of".to_string(), |layers| layers.to_string());
        return Err(format!("{op} of {found} layers is not supported: it has to be one."));
    }
    if !view.is_constant(PARAMS) {
        return Err("The input \"params\" must be a constant.".into());
    }
    let sizes = Sizes::of(view, &mode)?;
    let (found, wanted) = (view.dims(PARAMS)?, sizes.parameters());
    let fits = matches!((found, wanted), (&[Some(found)], Some(wanted)) if usize::try_from(found) == Ok(wanted));
    if !fits {
        return Err(format!(
            "{op} of {} inputs and {} units needs {} parameters, not {found:?}.",
            sizes.inputs,
            sizes.units,
            wanted.map_or("too many".to_string(), |wanted| wanted.to_string()),
        ));
    }
    let results = if mode.has_cell() { OUTPUTS } else { OUTPUTS - 1 };
    let taken = |port: &Port| port.node == view.id && port.index >= results;
    match view.graph.nodes.iter().find(|node| node.inputs.iter().any(taken)) {
        Some(taker) => Err(format!("'{}' takes what {op} keeps for training.", taker.name())),
        None => Ok(()),
    }
}

/// Whether all steps of each series count, for certain: the lengths are one number, and that is how many steps there are.
fn is_full(cx: &Context, time: usize) -> bool {
    let graph = cx.view.graph;
    let Some(&port) = cx.view.node().inputs.get(LENGTHS) else {
        return true;
    };
    let steps = cx.value(X).dims[time];
    if let Some(lengths) = graph.constant(port).and_then(|lengths| lengths.to_i64s()) {
        return lengths.iter().all(|&length| Some(length) == steps);
    }
    let fill = &graph.nodes[port.node];
    let filled_with = fill.inputs.get(1).filter(|_| fill.op() == "Fill");
    let known = filled_with.and_then(|&port| graph.constant(port)?.to_i64s()?.first().copied());
    known.is_some() && known == steps
}

/// The parts of a vector of parameters, in ONNX's order.
struct Parts {
    weights: Constant,
    recurrent: Constant,
    bias: Constant,
}

fn parts(params: &Constant, mode: &Mode, sizes: &Sizes) -> Result<Parts, Reason> {
    let Sizes { gates, inputs, units } = *sizes;
    let bytes = params.dtype.size();
    let wanted = sizes.parameters().and_then(|count| count.checked_mul(bytes));
    if wanted != Some(params.data.len()) {
        return Err("its parameters do not fit its sizes".into());
    }
    // The slices of `size` elements from `start` on, a gate each, in ONNX's order.
    let gather = |start: usize, size: usize| {
        let slice = |&gate: &usize| &params.data[(start + gate * size) * bytes..(start + (gate + 1) * size) * bytes];
        let mut gathered = memory::room("the weights of a recurrent layer", mode.gates.len() * size * bytes)?;
        mode.gates.iter().for_each(|gate| gathered.extend_from_slice(slice(gate)));
        Ok::<_, NoMemory>(gathered)
    };
    let constant = |dims: [usize; 3], data: Vec<u8>, rank: usize| Constant {
        dtype: params.dtype,
        dims: dims[..rank].iter().map(|&size| size as i64).collect(),
        data: Bytes::from(data),
    };
    let of_state = gates * units * inputs;
    let of_bias = of_state + gates * units * units;
    let bias = [gather(of_bias, units)?, gather(of_bias + gates * units, units)?].concat();
    Ok(Parts {
        weights: constant([1, gates * units, inputs], gather(0, units * inputs)?, 3),
        recurrent: constant([1, gates * units, units], gather(of_state, units * units)?, 3),
        bias: constant([1, 2 * gates * units, 0], bias, 2),
    })
}

fn convert(cx: &mut Context) -> Result<(), Reason> {
    let mode = Mode::of(cx.view)?;
    let sizes = Sizes::of(cx.view, &mode)?;
    let params = cx.value(PARAMS).constant.clone().ok_or("its parameters are no constant")?;
    let parts = parts(&params, &mode, &sizes)?;
    let batch_first = batch_first(cx.view);
    let lengths = match is_full(cx, usize::from(batch_first)) {
        true => String::new(),
        false => cx.plain(LENGTHS)?,
    };
    // ONNX has the steps in front, of states the layer.
    let swap = |cx: &mut Context, x: String| match batch_first {
        true => cx.emit("Transpose", &[&x], &[("perm", Attr::Ints(&[1, 0, 2]))]),
        false => x,
    };
    let x = cx.plain(X)?;
    let mut inputs = vec![swap(cx, x)];
    for constant in [&parts.weights, &parts.recurrent, &parts.bias] {
        inputs.push(cx.state.builder.initializer(constant)?);
    }
    inputs.push(lengths);
    let states = if mode.has_cell() { &[STATE, CELL][..] } else { &[STATE] };
    for &i in states {
        let state = cx.plain(i)?;
        inputs.push(swap(cx, state));
    }
    let mut attrs = vec![("hidden_size", Attr::I(sizes.units as i64))];
    if mode.op == "GRU" {
        attrs.push(("linear_before_reset", Attr::I(1)));
    }
    let activations: Vec<&str> = mode.activation.into_iter().collect();
    if !activations.is_empty() {
        attrs.push(("activations", Attr::Strings(&activations)));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let given = cx.state.builder.emit_many(mode.op, &inputs, 1 + states.len(), &attrs);
    for (i, name) in given.into_iter().enumerate() {
        let out = match i {
            0 => series(cx, &name, batch_first),
            _ => swap(cx, name),
        };
        cx.give(i, Form::Plain, out)?;
    }
    Ok(())
}

/// ONNX's series, [steps, 1, batch, units], as TensorFlow has it.
fn series(cx: &mut Context, y: &str, batch_first: bool) -> String {
    let axis = cx.vector(&[1]);
    let y = cx.emit("Squeeze", &[y, &axis], &[]);
    match batch_first {
        true => cx.emit("Transpose", &[&y], &[("perm", Attr::Ints(&[1, 0, 2]))]),
        false => y,
    }
}

const fn record(op: &'static str) -> Converter {
    Converter { op, supports, convert }
}

pub const CONVERTERS: &[Converter] = &[record("CudnnRNN"), record("CudnnRNNV2"), record("CudnnRNNV3")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_taken_apart_gate_by_gate() {
        let mode = Mode {
            op: "GRU",
            gates: &[1, 0, 2],
            activation: None,
        };
        let sizes = Sizes {
            gates: 3,
            inputs: 2,
            units: 1,
        };
        let values: Vec<f32> = (0..15u8).map(f32::from).collect();
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let params = Constant {
            dtype: DType::FLOAT,
            dims: vec![15],
            data: Bytes::from(data),
        };
        let parts = parts(&params, &mode, &sizes).unwrap();
        let floats = |constant: &Constant| -> Vec<f32> {
            let chunks = constant.data.chunks_exact(4);
            chunks.map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect()
        };
        assert_eq!(
            (floats(&parts.weights), parts.weights.dims.clone()),
            (vec![2., 3., 0., 1., 4., 5.], vec![1, 3, 2])
        );
        assert_eq!(
            (floats(&parts.recurrent), parts.recurrent.dims.clone()),
            (vec![7., 6., 8.], vec![1, 3, 1])
        );
        assert_eq!(
            (floats(&parts.bias), parts.bias.dims.clone()),
            (vec![10., 9., 11., 13., 12., 14.], vec![1, 6])
        );
    }

    #[test]
    fn parameters_that_do_not_fit_are_refused() {
        let mode = Mode {
            op: "RNN",
            gates: &[0],
            activation: None,
        };
        let params = Constant {
            dtype: DType::FLOAT,
            dims: vec![4],
            data: Bytes::from(vec![0; 16]),
        };
        for (inputs, units) in [(1, 2), (usize::MAX, 1), (usize::MAX / 2, usize::MAX / 2)] {
            let sizes = Sizes { gates: 1, inputs, units };
            assert!(parts(&params, &mode, &sizes).is_err());
        }
    }
}
