//! Cells of recurrent networks: one step, or as many as the time dimension has. All gates are outputs of TensorFlow's ops, which ONNX's
//! LSTM and GRU do not give, so the steps are written out as arithmetic; what nobody takes is left out at the end.

use super::{Converter, FLOATS, all_inputs};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::Constant;

/// More steps than this are not written out: each is some twenty nodes, and the time to build an engine grows with them.
const MOST_STEPS: i64 = 64;

/// x, h_prev, w_ru, w_c, b_ru and b_c in; r, u, c and h out.
fn gru_cell(cx: &mut Context) -> Result<(), Reason> {
    let (x, before) = (cx.plain(0)?, cx.plain(1)?);
    let gates = product(cx, &x, &before, 2, 4)?;
    let gates = cx.emit("Sigmoid", &[&gates], &[]);
    let gates = split(cx, &gates, 2);
    let (reset, update) = (&gates[0], &gates[1]);
    let kept = cx.emit("Mul", &[&before, reset], &[]);
    let candidate = product(cx, &x, &kept, 3, 5)?;
    let candidate = cx.emit("Tanh", &[&candidate], &[]);
    let one = cx.scalar(cx.dtype(0), 1.0)?;
    let rest = cx.emit("Sub", &[&one, update], &[]);
    let new = cx.emit("Mul", &[&rest, &candidate], &[]);
    let old = cx.emit("Mul", &[update, &before], &[]);
    let state = cx.emit("Add", &[&new, &old], &[]);
    for (i, name) in [reset, update, &candidate, &state].into_iter().enumerate() {
        cx.give(i, Form::Plain, name.clone())?;
    }
    Ok(())
}

/// `[x, h]` times input `weights`, plus input `bias`.
fn product(cx: &mut Context, x: &str, h: &str, weights: usize, bias: usize) -> Result<String, Reason> {
    let both = cx.emit("Concat", &[x, h], &[("axis", Attr::I(1))]);
    let (weights, bias) = (cx.plain(weights)?, cx.plain(bias)?);
    let product = cx.emit("MatMul", &[&both, &weights], &[]);
    Ok(cx.emit("Add", &[&product, &bias], &[]))
}

/// `gates` cut along its last axis, the second, into `parts` equal ones.
fn split(cx: &mut Context, gates: &str, parts: usize) -> Vec<String> {
    cx.state.builder.emit_many("Split", &[gates], parts, &[("axis", Attr::I(1))])
}

/// Of the inputs of an LSTM, where those behind x stand: BlockLSTM has the number of steps in front.
struct Lstm {
    x: usize,
    forget_bias: f32,
    /// Cells are kept within this distance of 0; 0 and less is no bound.
    clip: f32,
    peephole: bool,
    /// The places of input, candidate, forget and output gate among the columns of the weights.
    order: [usize; 4],
}

/// Of what one step of an LSTM gives (i, cs, f, o, ci, co, h), the cell and the state.
const CELL: usize = 1;
const STATE: usize = 6;

impl Lstm {
    fn of(view: View) -> Lstm {
        let second = view.op() == "BlockLSTMV2";
        let number = |name: &str, default: f32| view.node().attr_f(name).unwrap_or(default);
        Lstm {
            x: usize::from(view.op() != "LSTMBlockCell"),
            // The second version leaves it to the bias.
            forget_bias: if second { 0.0 } else { number("forget_bias", 1.0) },
            clip: number("cell_clip", if second { 0.0 } else { 3.0 }),
            peephole: view.flag("use_peephole"),
            order: if second { [0, 2, 1, 3] } else { [0, 1, 2, 3] },
        }
    }

    fn cell_before(&self) -> usize {
        self.x + 1
    }

    fn state_before(&self) -> usize {
        self.x + 2
    }

    fn weights(&self) -> usize {
        self.x + 3
    }

    /// The peepholes of input, forget and output gate.
    fn peepholes(&self) -> [usize; 3] {
        [self.x + 4, self.x + 5, self.x + 6]
    }

    fn bias(&self) -> usize {
        self.x + 7
    }

    /// One step: the outputs, from the four gates' sums side by side and the cell before.
    fn step(&self, cx: &mut Context, sums: &str, cell: &str) -> Result<[String; 7], Reason> {
        let dtype = cx.dtype(self.x);
        let sums = split(cx, sums, 4);
        let [i, candidate, f, o] = self.order.map(|place| sums[place].clone());
        let [peep_i, peep_f, peep_o] = self.peepholes();
        let f = match self.forget_bias {
            0.0 => f,
            bias => {
                let bias = cx.scalar(dtype, bias.into())?;
                cx.emit("Add", &[&f, &bias], &[])
            }
        };
        let i = self.gate(cx, i, cell, peep_i)?;
        let f = self.gate(cx, f, cell, peep_f)?;
        let candidate = cx.emit("Tanh", &[&candidate], &[]);
        let new = cx.emit("Mul", &[&candidate, &i], &[]);
        let old = cx.emit("Mul", &[cell, &f], &[]);
        let mut cell = cx.emit("Add", &[&new, &old], &[]);
        if self.clip > 0.0 {
            let (low, high) = (cx.scalar(dtype, (-self.clip).into())?, cx.scalar(dtype, self.clip.into())?);
            cell = cx.emit("Clip", &[&cell, &low, &high], &[]);
        }
        let o = self.gate(cx, o, &cell, peep_o)?;
        let shown = cx.emit("Tanh", &[&cell], &[]);
        let state = cx.emit("Mul", &[&shown, &o], &[]);
        Ok([i, cell, f, o, candidate, shown, state])
    }

    /// The sigmoid of a gate's sum, with a look at the cell where there are peepholes.
    fn gate(&self, cx: &mut Context, mut sum: String, cell: &str, peephole: usize) -> Result<String, Reason> {
        if self.peephole {
            let weights = cx.plain(peephole)?;
            let seen = cx.emit("Mul", &[cell, &weights], &[]);
            sum = cx.emit("Add", &[&sum, &seen], &[]);
        }
        Ok(cx.emit("Sigmoid", &[&sum], &[]))
    }
}

fn lstm_cell(cx: &mut Context) -> Result<(), Reason> {
    let lstm = Lstm::of(cx.view);
    let (x, cell, state) = (cx.plain(lstm.x)?, cx.plain(lstm.cell_before())?, cx.plain(lstm.state_before())?);
    let sums = product(cx, &x, &state, lstm.weights(), lstm.bias())?;
    for (i, name) in lstm.step(cx, &sums, &cell)?.into_iter().enumerate() {
        cx.give(i, Form::Plain, name)?;
    }
    Ok(())
}

/// The steps that are computed, and those of the result: what is behind the first is zero.
fn lengths(view: View) -> Result<(i64, i64), Reason> {
    let steps = match view.dims(1)? {
        [Some(steps), _, _] => *steps,
        [None, _, _] => {
            return Err(format!(
                "{} with an open number of steps is not supported: its steps are written out.",
                view.op()
            ));
        }
        _ => return Err(format!("{} needs an input of rank 3.", view.op())),
    };
    let taken = view.need_int(0, "seq_len_max")?;
    match taken {
        _ if steps > MOST_STEPS => Err(format!(
            "{} with {steps} steps is not supported: up to {MOST_STEPS} are written out.",
            view.op()
        )),
        taken if (1..=steps).contains(&taken) => Ok((taken, steps)),
        taken => Err(format!("{} is not supported for {taken} of {steps} steps.", view.op())),
    }
}

/// The whole sequence. The products with the input are one, those with the state one a step.
fn lstm_sequence(cx: &mut Context) -> Result<(), Reason> {
    let lstm = Lstm::of(cx.view);
    let (taken, steps) = lengths(cx.view)?;
    let inputs = depth(cx.view, lstm.x, 2)?;
    let (of_input, of_state) = rows(cx, lstm.weights(), inputs)?;
    let (x, bias) = (cx.plain(lstm.x)?, cx.plain(lstm.bias())?);
    let sums = cx.emit("MatMul", &[&x, &of_input], &[]);
    let sums = cx.emit("Add", &[&sums, &bias], &[]);
    let (mut cell, mut state) = (cx.plain(lstm.cell_before())?, cx.plain(lstm.state_before())?);
    let mut series: [Vec<String>; 7] = Default::default();
    for step in 0..taken {
        let place = cx.state.builder.index(step);
        let sum = cx.emit("Gather", &[&sums, &place], &[("axis", Attr::I(0))]);
        let from_state = cx.emit("MatMul", &[&state, &of_state], &[]);
        let sum = cx.emit("Add", &[&sum, &from_state], &[]);
        let given = lstm.step(cx, &sum, &cell)?;
        (cell, state) = (given[CELL].clone(), given[STATE].clone());
        for (all, one) in series.iter_mut().zip(given) {
            let axis = cx.vector(&[0]);
            all.push(cx.emit("Unsqueeze", &[&one, &axis], &[]));
        }
    }
    for (i, mut all) in series.into_iter().enumerate() {
        if taken < steps {
            let zero = cx.scalar(cx.dtype(lstm.x), 0.0)?;
            let size = cx.emit("Shape", &[&all[0]], &[]);
            let nothing = cx.emit("Expand", &[&zero, &size], &[]);
            all.extend((taken..steps).map(|_| nothing.clone()));
        }
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let out = cx.emit("Concat", &all, &[("axis", Attr::I(0))]);
        cx.give(i, Form::Plain, out)?;
    }
    Ok(())
}

/// The first `count` rows of input `i`, a matrix, and the others. Of a constant, both share its bytes.
fn rows(cx: &mut Context, i: usize, count: i64) -> Result<(String, String), Reason> {
    if let Some(constant) = cx.value(i).constant.clone() {
        let &[height, width] = constant.dims.as_slice() else {
            return Err("the weights are no matrix".to_string());
        };
        let cut = (count * width) as usize * constant.dtype.size();
        let part = |data, rows| Constant {
            dtype: constant.dtype,
            dims: vec![rows, width],
            data,
        };
        let first = cx.state.builder.initializer(&part(constant.data.slice(..cut), count))?;
        return Ok((
            first,
            cx.state.builder.initializer(&part(constant.data.slice(cut..), height - count))?,
        ));
    }
    let weights = cx.plain(i)?;
    let (start, cut, end, axis) = (cx.vector(&[0]), cx.vector(&[count]), cx.vector(&[i64::MAX]), cx.vector(&[0]));
    let first = cx.emit("Slice", &[&weights, &start, &cut, &axis], &[]);
    Ok((first, cx.emit("Slice", &[&weights, &cut, &end, &axis], &[])))
}

/// The size of dimension `axis` of input `i`, which has to be known.
fn depth(view: View, i: usize, axis: usize) -> Result<i64, Reason> {
    let size = view.dims(i)?.get(axis).copied().flatten();
    size.ok_or_else(|| format!("{} needs the depth of input {i} to be known.", view.op()))
}

/// Fails unless the inputs from `first` on have these ranks, and one float type.
fn shapes(view: View, first: usize, ranks: &[usize]) -> Result<(), Reason> {
    let dtype = view.dtype(first)?;
    ranks.iter().zip(first..).try_for_each(|(&rank, i)| {
        view.accepts(i, &[dtype])?;
        view.accepts_rank(i, rank)
    })
}

fn sequence_supports(view: View) -> Result<(), Reason> {
    view.accepts(1, FLOATS)?;
    shapes(view, 1, &[3, 2, 2, 2, 1, 1, 1, 1])?;
    let inputs = depth(view, 1, 2)?;
    if !view.is_constant(4) {
        // TensorRT-RTX's builder comes to no end with them.
        return Err(format!(
            "{} with weights from the run is not supported: they have to be constants.",
            view.op()
        ));
    }
    match depth(view, 4, 0)? {
        rows if rows > inputs => lengths(view).map(|_| ()),
        rows => Err(format!("{} with {inputs} inputs cannot have weights of {rows} rows.", view.op())),
    }
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "BlockLSTM",
        supports: sequence_supports,
        convert: lstm_sequence,
    },
    Converter {
        op: "BlockLSTMV2",
        supports: sequence_supports,
        convert: lstm_sequence,
    },
    Converter {
        op: "GRUBlockCell",
        supports: |view| {
            all_inputs(view, FLOATS)?;
            shapes(view, 0, &[2, 2, 2, 2, 1, 1])
        },
        convert: gru_cell,
    },
    Converter {
        op: "LSTMBlockCell",
        supports: |view| {
            all_inputs(view, FLOATS)?;
            shapes(view, 0, &[2, 2, 2, 2, 1, 1, 1, 1])
        },
        convert: lstm_cell,
    },
];
