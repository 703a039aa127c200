//! What training with simulated quantisation leaves in a graph: numbers rounded to steps, and still float32.
//!
//! # Two ways into an engine
//!
//! *Arithmetic* ([`Quantization::Arithmetic`]): clamp, scale, round, scale back, one ONNX node for each operation of TensorFlow's kernel,
//! in its order and with the constants that it computes, so that the numbers are TensorFlow's to the last bit: rounding of halves, nudged
//! zero points, narrow ranges, any width and any axis. Every engine takes it, in every precision.
//!
//! *QuantizeLinear and DequantizeLinear* ([`Quantization::Int8`], for engines that compute in INT8): from these pairs TensorRT learns that
//! it may multiply in int8. It wants a zero point of 0, int8, and steps that are constants, of a whole tensor or, for weights, of each
//! output channel. Whatever is not of that kind (a range of 0 to 6, 4 bits, a range found at run time, channels of activations) goes the
//! arithmetic way there, too: exact, and without INT8's speed. What of the numbers changes: ONNX divides by the step where TensorFlow
//! multiplies by its reciprocal, and rounds halves to even; a value between two steps may so go to the other one, and what would be 128 steps
//! is 127. Weights are rounded
//! here as TensorFlow does it, and are whole steps when ONNX's operators see them; those find the same integers.
//!
//! # The two kernels
//!
//! - FakeQuant*: `floor((clamp(x, low, high) - low) / step - zero + 0.5) * step`, with `low` and `high` moved ("nudged") so that 0 is
//!   a whole number of steps away from them. Two of its three ops multiply by 1/step, FakeQuantWithMinMaxVars does divide.
//! - QuantizeAndDequantize*: `round(clamp(x, low, high) * scale) * (1/scale)`, 0 being the integer 0; without a given range nothing is
//!   clamped, and the scale is that of the smallest and the largest element.

use super::{Converter, axis_in};
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::value::{Form, Steps};
use crate::convert::view::{View, normal_axis};
use crate::convert::{Quantization, Reason};
use crate::graph::{Constant, DType, elements};
use crate::memory;

/// How numbers are rounded. Each list has one element, or one for each place along `axis`.
struct Grid {
    axis: Option<usize>,
    clamp: Option<(Vec<f32>, Vec<f32>)>,
    /// Subtracted before the scaling.
    shift: Option<Vec<f32>>,
    up: Vec<f32>,
    /// Whether `up` divides.
    divides: bool,
    /// Subtracted after it.
    zero: Option<Vec<f32>>,
    half_up: bool,
    down: Vec<f32>,
    /// The smallest and the largest number of steps, where it is the same for all places.
    levels: Option<(i64, i64)>,
}

/// What a QuantizeAndDequantize node says beside its range.
struct Symmetric {
    lowest: i64,
    highest: i64,
    half_up: bool,
    axis: Option<usize>,
    given: bool,
}

fn same<T: PartialEq + Copy>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.all(|item| item == first).then_some(first)
}

impl Grid {
    /// That of a FakeQuant node.
    fn fake_quant(view: View) -> Result<Grid, Reason> {
        let bits = view.node().attr_i("num_bits").unwrap_or(8);
        if !(2..=16).contains(&bits) {
            return Err(format!("num_bits {bits} is not supported: TensorFlow takes 2 to 16."));
        }
        let (least, most) = (i64::from(view.flag("narrow_range")), (1i64 << bits) - 1);
        let (low, high) = match view.op() {
            "FakeQuantWithMinMaxArgs" => (
                vec![view.node().attr_f("min").unwrap_or(-6.0)],
                vec![view.node().attr_f("max").unwrap_or(6.0)],
            ),
            _ => (floats(view, 1, "min")?, floats(view, 2, "max")?),
        };
        let rank = view.rank(0)?;
        let axis = (view.op() == "FakeQuantWithMinMaxVarsPerChannel").then(|| rank.saturating_sub(1));
        ranges(view, axis, &low, &high)?;
        let nudged: Vec<Nudged> = low
            .iter()
            .zip(&high)
            .map(|(&low, &high)| Nudged::new(low, high, least, most))
            .collect();
        let divides = view.op() == "FakeQuantWithMinMaxVars";
        let list = |of: fn(&Nudged) -> f32| nudged.iter().map(of).collect::<Vec<f32>>();
        Ok(Grid {
            axis,
            clamp: Some((list(|n| n.low), list(|n| n.high))),
            shift: Some(list(|n| n.low)),
            up: if divides { list(|n| n.step) } else { list(|n| n.up) },
            divides,
            zero: Some(list(|n| n.zero)),
            half_up: true,
            down: list(|n| n.step),
            levels: same(nudged.iter().map(|n| n.zero_point)).map(|zero| (least - zero, most - zero)),
        })
    }

    /// Of symmetric steps in these ranges.
    fn symmetric(node: &Symmetric, low: &[f32], high: &[f32]) -> Grid {
        let scaled: Vec<[f32; 4]> = low.iter().zip(high).map(|(&low, &high)| node.scale(low, high)).collect();
        let list = |place: usize| scaled.iter().map(|s| s[place]).collect::<Vec<f32>>();
        Grid {
            axis: node.axis,
            clamp: node.given.then(|| (list(0), list(1))),
            shift: None,
            up: list(2),
            divides: false,
            zero: None,
            half_up: node.half_up,
            down: list(3),
            levels: Some((node.lowest, node.highest)),
        }
    }

    /// `x`, at `place` of the axis, as TensorFlow rounds it.
    fn round(&self, place: usize, mut x: f32) -> f32 {
        let at = |list: &[f32]| list[if list.len() == 1 { 0 } else { place }];
        if let Some((low, high)) = &self.clamp {
            x = x.min(at(high)).max(at(low));
        }
        x -= self.shift.as_ref().map_or(0.0, |shift| at(shift));
        x = if self.divides { x / at(&self.up) } else { x * at(&self.up) };
        x -= self.zero.as_ref().map_or(0.0, |zero| at(zero));
        let whole = if self.half_up { (x + 0.5).floor() } else { x.round_ties_even() };
        whole * at(&self.down)
    }

    /// A float32 constant, rounded.
    fn round_all(&self, constant: &Constant) -> Result<Constant, Reason> {
        let values = constant.f32s().ok_or("float32 weights were expected")?;
        let (inner, count) = match self.axis {
            None => (1, 1),
            Some(axis) => (
                elements(&constant.dims[axis + 1..]).max(1) as usize,
                constant.dims[axis].max(1) as usize,
            ),
        };
        let rounded = values.enumerate().map(|(i, x)| self.round(i / inner % count, x).to_le_bytes());
        Ok(Constant {
            data: memory::elements("rounded weights", constant.len(), rounded)?,
            ..constant.clone()
        })
    }

    /// The steps that TensorRT's int8 has, too. A range of FakeQuant's from -a to a has 127.5 of them below zero, so that rounding decides
    /// between -128 to 127 and -127 to 128: both count, and 128 becomes 127.
    fn int8(&self) -> Option<Steps> {
        let levels = matches!(self.levels, Some((-128 | -127, 127 | 128)));
        let sound = self.down.iter().all(|step| step.is_normal() && *step > 0.0);
        (levels && sound).then(|| Steps {
            sizes: self.down.clone(),
            axis: self.axis,
        })
    }

    /// The rounding as arithmetic on `x`, which lies in `form`.
    fn emit(&self, cx: &mut Context, form: Form, x: &str) -> Result<String, Reason> {
        let mut x = x.to_string();
        match &self.clamp {
            Some((low, high)) if self.axis.is_none() => {
                let (low, high) = (self.constant(cx, form, low)?, self.constant(cx, form, high)?);
                x = cx.emit("Clip", &[&x, &low, &high], &[]);
            }
            Some((low, high)) => {
                let (low, high) = (self.constant(cx, form, low)?, self.constant(cx, form, high)?);
                x = cx.emit("Min", &[&x, &high], &[]);
                x = cx.emit("Max", &[&x, &low], &[]);
            }
            None => {}
        }
        if let Some(shift) = &self.shift {
            let shift = self.constant(cx, form, shift)?;
            x = cx.emit("Sub", &[&x, &shift], &[]);
        }
        let (up, down) = (self.constant(cx, form, &self.up)?, self.constant(cx, form, &self.down)?);
        x = cx.emit(if self.divides { "Div" } else { "Mul" }, &[&x, &up], &[]);
        if let Some(zero) = &self.zero {
            let zero = self.constant(cx, form, zero)?;
            x = cx.emit("Sub", &[&x, &zero], &[]);
        }
        x = whole(cx, self.half_up, &x)?;
        Ok(cx.emit("Mul", &[&x, &down], &[]))
    }

    /// `values` as they have to stand beside a tensor in `form`.
    fn constant(&self, cx: &mut Context, form: Form, values: &[f32]) -> Result<String, Reason> {
        let mut dims = Vec::new();
        if let Some(axis) = self.axis {
            dims = vec![1; cx.rank(0)];
            dims[axis_in(form, axis)] = values.len() as i64;
        }
        cx.state.builder.initializer(&Constant {
            dtype: DType::FLOAT,
            dims,
            data: values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into(),
        })
    }
}

/// A range of FakeQuant's, moved so that 0 is one of its steps.
struct Nudged {
    low: f32,
    high: f32,
    step: f32,
    up: f32,
    zero: f32,
    zero_point: i64,
}

impl Nudged {
    /// `least` to `most` are the integers that the range is to be given by.
    fn new(low: f32, high: f32, least: i64, most: i64) -> Nudged {
        if low == 0.0 && high == 0.0 {
            // TensorFlow answers a range that is not trained yet with zeros.
            return Nudged {
                low: 0.0,
                high: 0.0,
                step: 1.0,
                up: 1.0,
                zero: 0.0,
                zero_point: least,
            };
        }
        let (first, last) = (least as f32, most as f32);
        let (step, up) = ((high - low) / (last - first), (last - first) / (high - low));
        let exact = first - low / step;
        let zero_point = if exact < first {
            least
        } else if exact > last {
            most
        } else {
            exact.round() as i64
        };
        let (low, high) = ((first - zero_point as f32) * step, (last - zero_point as f32) * step);
        Nudged {
            low,
            high,
            step,
            up,
            zero: (-low * up + 0.5).floor(),
            zero_point,
        }
    }
}

impl Symmetric {
    fn of(view: View) -> Result<Symmetric, Reason> {
        let bits = match view.op() {
            "QuantizeAndDequantizeV3" => view.need_int(3, "num_bits")?,
            _ => view.node().attr_i("num_bits").unwrap_or(8),
        };
        let signed = view.node().attr_b("signed_input").unwrap_or(true);
        if !(1 + i64::from(signed)..=62).contains(&bits) {
            return Err(format!("num_bits {bits} is not supported."));
        }
        let axis = match view.node().attr_i("axis").unwrap_or(-1) {
            -1 => None,
            axis => Some(normal_axis(axis, view.rank(0)?)?),
        };
        let half = 1i64 << (bits - 1);
        let narrow = i64::from(view.flag("narrow_range"));
        Ok(Symmetric {
            lowest: if signed { narrow - half } else { 0 },
            highest: if signed { half - 1 } else { (1i64 << bits) - 1 },
            half_up: match view.attr_or("round_mode", "HALF_TO_EVEN") {
                "HALF_TO_EVEN" => false,
                "HALF_UP" => true,
                other => return Err(format!("round_mode {other} is not supported.")),
            },
            axis,
            given: view.node().attr_b("range_given").unwrap_or(view.op() == "QuantizeAndDequantizeV3"),
        })
    }

    /// The range that the steps cover, the factor to steps, and the step: the side of the range that needs the larger step rules.
    fn scale(&self, low: f32, high: f32) -> [f32; 4] {
        let (lowest, highest) = (self.lowest as f32, self.highest as f32);
        let side = |most: f32, value: f32| if most * value > 0.0 { most / value } else { f32::MAX };
        let (of_low, of_high) = (side(lowest, low), side(highest, high));
        if of_low < of_high {
            let step = low / lowest;
            [low, highest * step, of_low, step]
        } else {
            let step = high / highest;
            [lowest * step, high, of_high, step]
        }
    }

    /// The same on tensors: `low` and `high` hold one range, or one for each place along the axis.
    fn emit(&self, cx: &mut Context, x: &str, low: &str, high: &str) -> Result<String, Reason> {
        let (lowest, highest) = (self.scalar(cx, self.lowest)?, self.scalar(cx, self.highest)?);
        let (zero, most) = (cx.scalar(DType::FLOAT, 0.0)?, cx.scalar(DType::FLOAT, f32::MAX.into())?);
        let mut of_low = most.clone();
        if self.lowest < 0 {
            let counts = cx.emit("Less", &[low, &zero], &[]);
            let scale = cx.emit("Div", &[&lowest, low], &[]);
            of_low = cx.emit("Where", &[&counts, &scale, &most], &[]);
        }
        let counts = cx.emit("Less", &[&zero, high], &[]);
        let scale = cx.emit("Div", &[&highest, high], &[]);
        let of_high = cx.emit("Where", &[&counts, &scale, &most], &[]);
        let step_high = cx.emit("Div", &[high, &highest], &[]);
        let (mut up, mut down) = (of_high.clone(), step_high.clone());
        let mut range = (cx.emit("Mul", &[&lowest, &step_high], &[]), high.to_string());
        if self.lowest < 0 {
            let low_rules = cx.emit("Less", &[&of_low, &of_high], &[]);
            let step_low = cx.emit("Div", &[low, &lowest], &[]);
            let high_of_low = cx.emit("Mul", &[&highest, &step_low], &[]);
            up = cx.emit("Where", &[&low_rules, &of_low, &of_high], &[]);
            down = cx.emit("Where", &[&low_rules, &step_low, &step_high], &[]);
            range = (
                cx.emit("Where", &[&low_rules, low, &range.0], &[]),
                cx.emit("Where", &[&low_rules, &high_of_low, high], &[]),
            );
        }
        let mut x = x.to_string();
        if self.given {
            x = cx.emit("Min", &[&x, &range.1], &[]);
            x = cx.emit("Max", &[&x, &range.0], &[]);
        }
        x = cx.emit("Mul", &[&x, &up], &[]);
        x = whole(cx, self.half_up, &x)?;
        Ok(cx.emit("Mul", &[&x, &down], &[]))
    }

    fn scalar(&self, cx: &mut Context, value: i64) -> Result<String, Reason> {
        cx.scalar(DType::FLOAT, value as f64)
    }

    /// Smallest and largest element of `values`, of the whole or of each place along the axis.
    fn extent(&self, values: &Constant) -> Result<(Vec<f32>, Vec<f32>), Reason> {
        let numbers = values.f32s().ok_or("float32 weights were expected")?;
        let (count, inner) = match self.axis {
            None => (1, 1),
            Some(axis) => (values.dims[axis] as usize, elements(&values.dims[axis + 1..]) as usize),
        };
        let (mut low, mut high) = (vec![f32::INFINITY; count], vec![f32::NEG_INFINITY; count]);
        for (i, x) in numbers.enumerate() {
            let place = i / inner % count;
            low[place] = low[place].min(x);
            high[place] = high[place].max(x);
        }
        Ok((low, high))
    }
}

/// `x` rounded to integers; halves go up, or to the even one.
fn whole(cx: &mut Context, half_up: bool, x: &str) -> Result<String, Reason> {
    if !half_up {
        return Ok(cx.emit("Round", &[x], &[]));
    }
    let half = cx.scalar(DType::FLOAT, 0.5)?;
    let raised = cx.emit("Add", &[x, &half], &[]);
    Ok(cx.emit("Floor", &[&raised], &[]))
}

/// The floats of input `i`, which has to be a constant.
fn floats(view: View, i: usize, what: &str) -> Result<Vec<f32>, Reason> {
    let constant = view.need_constant(i, what)?;
    constant
        .to_f32s()
        .ok_or_else(|| format!("The input \"{what}\" must be float32, not {}.", constant.dtype))
}

/// Fails unless the ranges are ones that TensorFlow takes, as many as the axis has places.
fn ranges(view: View, axis: Option<usize>, low: &[f32], high: &[f32]) -> Result<(), Reason> {
    let places = match axis {
        None => Some(1),
        Some(axis) => view.dims(0)?.get(axis).copied().flatten(),
    };
    if let Some(places) = places
        && (low.len() as i64 != places || high.len() as i64 != places)
    {
        return Err(format!("{} and {} bounds do not fit {places} ranges.", low.len(), high.len()));
    }
    match low
        .iter()
        .zip(high)
        .find(|(low, high)| !(low <= high && low.is_finite() && high.is_finite()))
    {
        Some((low, high)) => Err(format!("A range from {low} to {high} is not supported.")),
        None => Ok(()),
    }
}

fn symmetric_supports(view: View) -> Result<(), Reason> {
    (0..3).try_for_each(|i| view.accepts(i, &[DType::FLOAT]))?;
    let node = Symmetric::of(view)?;
    if !node.given {
        return Ok(());
    }
    let constant = |i| need_constant(view, i).is_ok();
    match constant(1) && constant(2) {
        true => ranges(view, node.axis, &floats(view, 1, "input_min")?, &floats(view, 2, "input_max")?),
        false => Ok(()),
    }
}

fn need_constant(view: View, i: usize) -> Result<Constant, Reason> {
    view.need_constant(i, "range")
}

fn symmetric(cx: &mut Context) -> Result<(), Reason> {
    let node = Symmetric::of(cx.view)?;
    let bounds = |cx: &Context, i: usize| cx.value(i).constant.as_ref().and_then(Constant::to_f32s);
    let known = match (node.given, cx.value(0).constant.clone()) {
        (true, _) => bounds(cx, 1).zip(bounds(cx, 2)),
        (false, Some(values)) => Some(node.extent(&values)?),
        (false, None) => None,
    };
    if let Some((low, high)) = known {
        return apply(cx, &Grid::symmetric(&node, &low, &high));
    }
    let form = cx.form(0);
    let x = cx.input(0, form)?;
    let (low, high) = match node.given {
        true => {
            require_ranges(cx)?;
            (bound(cx, 1, &node, form)?, bound(cx, 2, &node, form)?)
        }
        false => {
            let axes: Vec<i64> = match node.axis {
                None => Vec::new(),
                Some(axis) => (0..cx.rank(0)).filter(|&a| a != axis_in(form, axis)).map(|a| a as i64).collect(),
            };
            let reduced = |cx: &mut Context, op| match node.axis {
                Some(_) => cx.emit(op, &[&x], &[("axes", Attr::Ints(&axes)), ("keepdims", Attr::I(1))]),
                None => cx.emit(op, &[&x], &[("keepdims", Attr::I(0))]),
            };
            (reduced(cx, "ReduceMin"), reduced(cx, "ReduceMax"))
        }
    };
    let out = node.emit(cx, &x, &low, &high)?;
    cx.give(0, form, out)
}

/// States that no range ends before it begins, or at no number.
fn require_ranges(cx: &mut Context) -> Result<(), Reason> {
    if !guard::told(cx) {
        return Ok(());
    }
    let (low, high) = (cx.plain(1)?, cx.plain(2)?);
    let holds = cx.emit("LessOrEqual", &[&low, &high], &[]);
    guard::require_all(cx, &holds)
}

/// A bound that is computed, as it has to stand beside the input in `form`.
fn bound(cx: &mut Context, i: usize, node: &Symmetric, form: Form) -> Result<String, Reason> {
    let name = cx.plain(i)?;
    let Some(axis) = node.axis else {
        return Ok(name);
    };
    let at = axis_in(form, axis);
    let axes: Vec<i64> = (0..cx.rank(0)).filter(|&a| a != at).map(|a| a as i64).collect();
    let axes = cx.vector(&axes);
    Ok(cx.emit("Unsqueeze", &[&name, &axes], &[]))
}

/// Rounds input 0 to `grid`.
fn apply(cx: &mut Context, grid: &Grid) -> Result<(), Reason> {
    let int8 = match cx.state.options.quantization {
        Quantization::Int8 => grid.int8(),
        Quantization::Arithmetic => None,
    };
    if let Some(constant) = cx.value(0).constant.clone() {
        let rounded = grid.round_all(&constant)?;
        cx.give_constant_in_steps(0, rounded, int8);
        return Ok(());
    }
    let form = cx.form(0);
    let mut x = cx.input(0, form)?;
    // Engines know steps of single channels for weights only.
    let Some(steps) = int8.filter(|steps| steps.axis.is_none()) else {
        let out = grid.emit(cx, form, &x)?;
        return cx.give(0, form, out);
    };
    if grid.levels.is_some_and(|(lowest, _)| lowest == -127) && !is_positive(cx.view) {
        // QuantizeLinear goes down to -128 steps.
        let (low, high) = (
            cx.scalar(DType::FLOAT, f64::from(-127.0 * steps.sizes[0]))?,
            cx.scalar(DType::FLOAT, f64::from(127.0 * steps.sizes[0]))?,
        );
        x = cx.emit("Clip", &[&x, &low, &high], &[]);
    }
    let out = cx.state.in_steps(&x, &steps)?;
    cx.give(0, form, out)
}

/// Whether input 0 has no elements below zero, by the op that gives it.
fn is_positive(view: View) -> bool {
    let port = view.node().inputs.first();
    port.is_some_and(|port| {
        matches!(
            view.graph.nodes[port.node].op(),
            "Abs" | "Exp" | "Relu" | "Relu6" | "Sigmoid" | "Softmax" | "Softplus" | "Square"
        )
    })
}

/// Fails unless input `i` is known when the segment is converted: a constant, or one that is rounded on its way.
pub fn need_known(view: View, i: usize, what: &str) -> Result<(), Reason> {
    // No more steps than nodes: a graph from elsewhere may hold a circle.
    need_known_in(view, i, what, view.graph.nodes.len())
}

fn need_known_in(view: View, i: usize, what: &str, steps: usize) -> Result<(), Reason> {
    let unknown = || format!("The input \"{what}\" must be a constant.");
    if view.is_constant(i) {
        return Ok(());
    }
    let mut port = *view.node().inputs.get(i).ok_or_else(unknown)?;
    for steps in (0..steps).rev() {
        let giver = View {
            graph: view.graph,
            id: port.node,
        };
        match (giver.op(), giver.node().inputs.first()) {
            ("Identity" | "Snapshot" | "StopGradient", Some(&from)) => port = from,
            (op, Some(_)) if CONVERTERS.iter().any(|converter| converter.op == op) => {
                // One that is not converted is no part of the segment, and what it gives is not known there.
                crate::convert::supports(view.graph, port.node)?;
                let ranges = (1..giver.count()).all(|i| giver.is_constant(i));
                return if ranges {
                    need_known_in(giver, 0, what, steps)
                } else {
                    Err(unknown())
                };
            }
            _ => return Err(unknown()),
        }
    }
    Err(unknown())
}

/// Input `i`, for which [`need_known`] holds.
pub fn known(cx: &Context, i: usize, what: &str) -> Result<Constant, Reason> {
    cx.value(i)
        .constant
        .clone()
        .ok_or_else(|| format!("The input \"{what}\" must be a constant."))
}

fn fake_quant_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, &[DType::FLOAT])?;
    if view.op() == "FakeQuantWithMinMaxVarsPerChannel" && view.rank(0)? == 0 {
        return Err("FakeQuantWithMinMaxVarsPerChannel needs an input of rank 1 or more.".to_string());
    }
    Grid::fake_quant(view).map(|_| ())
}

macro_rules! quantiser {
    ($op:literal, $supports:expr, $convert:expr) => {
        Converter {
            op: $op,
            supports: $supports,
            convert: $convert,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    quantiser!("FakeQuantWithMinMaxArgs", fake_quant_supports, |cx| apply(
        cx,
        &Grid::fake_quant(cx.view)?
    )),
    quantiser!("FakeQuantWithMinMaxVars", fake_quant_supports, |cx| apply(
        cx,
        &Grid::fake_quant(cx.view)?
    )),
    quantiser!("FakeQuantWithMinMaxVarsPerChannel", fake_quant_supports, |cx| apply(
        cx,
        &Grid::fake_quant(cx.view)?
    )),
    quantiser!("QuantizeAndDequantizeV2", symmetric_supports, symmetric),
    quantiser!("QuantizeAndDequantizeV3", symmetric_supports, symmetric),
    quantiser!("QuantizeAndDequantizeV4", symmetric_supports, symmetric),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_moved_until_zero_is_a_step() {
        let range = Nudged::new(-0.1, 6.0, 0, 255);
        assert_eq!(range.zero_point, 4);
        assert_eq!(range.low, -4.0 * range.step);
        assert_eq!(range.high, 251.0 * range.step);
        // All above zero: zero is the first step.
        assert_eq!(Nudged::new(1.0, 3.0, 0, 255).zero_point, 0);
        assert_eq!(Nudged::new(-3.0, -1.0, 1, 255).zero_point, 255);
        // Narrow and around zero: the middle.
        assert_eq!(Nudged::new(-2.0, 2.0, 1, 255).zero_point, 128);
    }

    #[test]
    fn the_side_that_needs_larger_steps_rules() {
        let signed = Symmetric {
            lowest: -128,
            highest: 127,
            half_up: false,
            axis: None,
            given: true,
        };
        assert_eq!(signed.scale(-1.0, 1.0), [-128.0 / 127.0, 1.0, 127.0, 1.0 / 127.0]);
        assert_eq!(signed.scale(-2.0, 1.0), [-2.0, 127.0 / 64.0, 64.0, 1.0 / 64.0]);
        // Nothing but zeros: no side rules, and zero stays zero.
        assert_eq!(signed.scale(0.0, 0.0), [0.0, 0.0, f32::MAX, 0.0]);
        let grid = Grid::symmetric(&signed, &[0.0], &[0.0]);
        assert_eq!(grid.round(0, 1.0), 0.0);
        assert!(grid.int8().is_none());
    }

    #[test]
    fn halves_go_to_the_even_step_or_up() {
        let mut node = Symmetric {
            lowest: -128,
            highest: 127,
            half_up: false,
            axis: None,
            given: true,
        };
        let rounded = |node: &Symmetric| [-1.5, -0.5, 0.5, 1.5, 2.5].map(|x| Grid::symmetric(node, &[-127.0], &[127.0]).round(0, x));
        assert_eq!(rounded(&node), [-2.0, 0.0, 0.0, 2.0, 2.0]);
        node.half_up = true;
        assert_eq!(rounded(&node), [-1.0, 0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn each_place_of_the_axis_has_its_steps() {
        let node = Symmetric {
            lowest: -127,
            highest: 127,
            half_up: false,
            axis: Some(1),
            given: true,
        };
        let grid = Grid::symmetric(&node, &[-127.0, -254.0], &[127.0, 254.0]);
        let constant = Constant {
            dtype: DType::FLOAT,
            dims: vec![2, 2, 2],
            data: [3.4f32; 8].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into(),
        };
        let rounded = grid.round_all(&constant).unwrap().to_f32s().unwrap();
        assert_eq!(rounded, [3.0, 3.0, 4.0, 4.0, 3.0, 3.0, 4.0, 4.0]);
        assert_eq!(grid.int8().unwrap().sizes, [1.0, 2.0]);
    }
}
