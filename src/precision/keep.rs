//! The table: what each ONNX op does when its model goes to half.
//!
//! One line an op: which inputs and outputs share its type, which halves ONNX admits for it in opset 17 (the Python tests hold
//! this against the schemas of the `onnx` package), and its role. An op that is not here stays in float32, and so does what comes of it.

use super::Half;
use super::tensors::Operands;

/// Inputs that have the op's type; the others (shapes, axes, indices, statistics) have types of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    All,
    At(&'static [usize]),
}

impl Takes {
    pub fn has(self, position: usize) -> bool {
        match self {
            Takes::All => true,
            Takes::At(positions) => positions.contains(&position),
        }
    }
}

/// The types of the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// All have the op's type.
    Same,
    /// The first has the op's type, the others are int64.
    SameThenInt64,
    /// The first has the op's type, the others, statistics, are float32.
    SameThenFloat,
    Int64,
    Int8,
    Bool,
    /// What the attribute `to` says.
    To,
    /// What the graphs inside declare.
    Declared,
}

/// The half types that ONNX admits for the op's type in opset 17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    Both,
    /// Not BF16.
    Float16,
    /// float32 alone (and types beside the point).
    Neither,
}

impl Admits {
    pub fn has(self, half: Half) -> bool {
        match self {
            Admits::Both => true,
            Admits::Float16 => half == Half::Float16,
            Admits::Neither => false,
        }
    }
}

/// Why a node stays in float32.
pub type Reason = &'static str;

#[derive(Clone, Copy, Debug)]
pub enum Role {
    /// Half, wherever it stands.
    Seed,
    /// Follows its operands.
    Follow,
    /// Follows its operands; as it only moves elements, rounding before it is rounding after it.
    Move,
    /// Gives truth or places and not numbers: half only if nothing has to be rounded for it.
    Compare,
    /// Takes its operand in whichever type that is.
    Any,
    /// Float32.
    Keep(Reason),
    /// Float32 where there is a reason, else it follows.
    KeepIf(fn(&Operands) -> Option<Reason>),
    /// Half wherever it stands, if the condition holds; else it follows.
    SeedIf(fn(&Operands) -> bool),
}

#[derive(Debug)]
pub struct Rule {
    pub op: &'static str,
    pub takes: Takes,
    pub gives: Gives,
    pub admits: Admits,
    pub role: Role,
}

/// A sum of more terms than this is a long one. FP16 adds 64 terms of one size with an error of some 2^-8 at worst if the engine
/// adds in FP16, and leaves the range where they are over 1000. A 7x7 window is within it.
const LONG: i64 = 64;

/// From this many elements on a table is read in half, for the sake of its bytes.
const LARGE_TABLE: i64 = 1 << 16;

const EXPONENTIAL: Reason = "an exponential: FP16 overflows from e^11.1 on and the exponent's rounding is multiplied by the result";
const EXPONENTIAL_SUM: Reason = "a sum of exponentials over an axis of any length";
const LOGARITHM: Reason = "a logarithm: near 1 its result is the rounding error of its argument";
const LONG_SUM: Reason = "a sum over a long axis, or one of unknown length";
const ROOT: Reason = "a root: what is under it is a sum of squares as a rule, and below 6.1e-5 FP16 loses it";
const RECIPROCAL: Reason = "a reciprocal: below 1.5e-5 it leaves FP16's range";
const QUOTIENT: Reason = "a quotient by a computed divisor: near zero it leaves FP16's range";
const SQUARE: Reason = "a square: FP16 overflows from 256 on and loses bits below 0.008";
const STATISTICS: Reason = "normalisation statistics";
const REMAINDER: Reason = "a remainder: it jumps where its operands are rounded";
const ANGLE: Reason = "a function of an angle: of many turns half keeps too few bits";
const STEEP: Reason = "steep at the edge of its domain: rounding its argument shows, or leaves the domain";
const GROWS: Reason = "grows exponentially: it leaves FP16's range for arguments over 11";
const INSIDE: Reason = "a loop or conditional: what is inside it computes in float32, and so does what it hands on from round to round";
const RECURRENT: Reason = "a recurrent layer: what it hands on from step to step is rounded each time";
const FLOAT_ONLY: Reason = "ONNX has no half for it";
/// TensorRT finds what it may compute in INT8 by the DequantizeLinear right before it.
pub const IN_STEPS: Reason = "its operands come of int8: a Cast between would keep the engine from computing in INT8";

/// Sums over axes.
fn long_sum(node: &Operands) -> Option<Reason> {
    match node.reduced() {
        Some(terms) if terms <= LONG => None,
        _ => Some(LONG_SUM),
    }
}

/// Windows.
fn pool(node: &Operands) -> Option<Reason> {
    let terms = node.ints("kernel_shape").iter().try_fold(1i64, |n, &k| n.checked_mul(k));
    match terms {
        Some(terms) if terms <= LONG => None,
        _ => Some(LONG_SUM),
    }
}

fn quotient(node: &Operands) -> Option<Reason> {
    (!node.is_constant(1)).then_some(QUOTIENT)
}

fn square(node: &Operands) -> Option<Reason> {
    node.is_same(0, 1).then_some(SQUARE)
}

fn table(node: &Operands) -> bool {
    node.is_constant(0) && node.elements(0).is_some_and(|n| n >= LARGE_TABLE)
}

/// Ops whose results are small numbers whatever they are given: they end what an out-of-range constant has begun.
const BOUNDED: &[&str] = &["Atan", "Cos", "Erf", "Sigmoid", "Sign", "Sin", "Softmax", "Softsign", "Tanh"];

/// Whether the op's results are within FP16's range for every input.
pub fn is_bounded(op: &str) -> bool {
    BOUNDED.contains(&op)
}

/// Ops whose results may be out of FP16's range for ordinary arguments.
const WIDENING: &[&str] = &["Cosh", "Exp", "Pow", "Reciprocal", "Sinh", "Tan"];

pub fn is_widening(op: &str) -> bool {
    WIDENING.contains(&op)
}

/// How a constant operand is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// By its largest element: in a sum of products the small ones do not count.
    AsWhole,
    /// By each element: none of them may vanish.
    ByElement,
}

/// How the constant at input `position` of `op` is judged.
pub fn judged(op: &str, position: usize) -> Judged {
    match (op, position) {
        ("Div", 1) | ("Clip" | "Max" | "Min" | "Mod" | "Pow", _) => Judged::ByElement,
        _ => Judged::AsWhole,
    }
}

/// The line of an op of ONNX's own domain.
pub fn rule(op: &str) -> Option<&'static Rule> {
    RULES.binary_search_by(|rule| rule.op.cmp(op)).ok().map(|i| &RULES[i])
}

/// All lines, in the order of the ops' names.
pub fn rules() -> &'static [Rule] {
    RULES
}

const fn line(op: &'static str, takes: Takes, gives: Gives, admits: Admits, role: Role) -> Rule {
    Rule {
        op,
        takes,
        gives,
        admits,
        role,
    }
}

use Admits::{Both, Float16, Neither};
use Gives::{Bool, Declared, Int64, Same, SameThenFloat, SameThenInt64, To};
use Role::{Any, Compare, Follow, Keep, KeepIf, Move, Seed, SeedIf};
use Takes::{All, At};

const X: Takes = At(&[0]);
/// All but the lengths of the series, which are integers, and at place 4.
const RECURRENT_INPUTS: Takes = At(&[0, 1, 2, 3, 5]);
/// These, and the first cell and the peepholes.
const LSTM_INPUTS: Takes = At(&[0, 1, 2, 3, 5, 6, 7]);

/// Sorted by name, for [`rule`].
#[rustfmt::skip]
const RULES: &[Rule] = &[
    line("Abs", All, Same, Both, Follow),
    line("Acos", All, Same, Float16, Keep(STEEP)),
    line("Acosh", All, Same, Float16, Keep(STEEP)),
    line("Add", All, Same, Both, Follow),
    line("ArgMax", All, Int64, Both, Compare),
    line("ArgMin", All, Int64, Both, Compare),
    line("Asin", All, Same, Float16, Keep(STEEP)),
    line("Asinh", All, Same, Float16, Follow),
    line("Atan", All, Same, Float16, Follow),
    line("Atanh", All, Same, Float16, Keep(STEEP)),
    line("AveragePool", All, Same, Float16, KeepIf(pool)),
    // Scale, offset and statistics have types of their own and stay in float32: the engine folds them before it rounds.
    line("BatchNormalization", X, SameThenFloat, Both, Follow),
    line("Cast", All, To, Both, Any),
    line("Ceil", All, Same, Both, Follow),
    line("Clip", All, Same, Both, Follow),
    line("Concat", All, Same, Both, Move),
    line("Conv", All, Same, Float16, Seed),
    line("ConvTranspose", All, Same, Float16, Seed),
    line("Cos", All, Same, Float16, Keep(ANGLE)),
    line("Cosh", All, Same, Float16, Keep(GROWS)),
    line("CumSum", X, Same, Both, Keep(LONG_SUM)),
    line("DepthToSpace", All, Same, Both, Move),
    // The scale has the type that comes out.
    line("DequantizeLinear", At(&[1]), Same, Neither, Keep(FLOAT_ONLY)),
    line("Div", All, Same, Both, KeepIf(quotient)),
    line("Einsum", All, Same, Float16, Seed),
    line("Elu", All, Same, Float16, Follow),
    line("Equal", All, Bool, Both, Compare),
    line("Erf", All, Same, Both, Follow),
    line("Exp", All, Same, Both, Keep(EXPONENTIAL)),
    line("Expand", X, Same, Both, Move),
    line("Flatten", All, Same, Both, Move),
    line("Floor", All, Same, Both, Follow),
    line("GRU", RECURRENT_INPUTS, Same, Float16, Keep(RECURRENT)),
    line("Gather", X, Same, Both, SeedIf(table)),
    line("GatherElements", X, Same, Both, Follow),
    line("GatherND", X, Same, Both, SeedIf(table)),
    line("Gemm", All, Same, Both, Seed),
    line("GlobalAveragePool", All, Same, Float16, Keep(LONG_SUM)),
    line("GlobalMaxPool", All, Same, Float16, Follow),
    line("Greater", All, Bool, Both, Compare),
    line("GreaterOrEqual", All, Bool, Both, Compare),
    line("HardSigmoid", All, Same, Float16, Follow),
    line("HardSwish", All, Same, Float16, Follow),
    line("Identity", All, Same, Both, Move),
    line("If", At(&[]), Declared, Neither, Keep(INSIDE)),
    line("InstanceNormalization", All, Same, Float16, Keep(STATISTICS)),
    line("IsInf", All, Bool, Neither, Keep(FLOAT_ONLY)),
    line("IsNaN", All, Bool, Both, Compare),
    line("LRN", All, Same, Both, Keep(STATISTICS)),
    line("LSTM", LSTM_INPUTS, Same, Float16, Keep(RECURRENT)),
    line("LayerNormalization", All, SameThenFloat, Both, Keep(STATISTICS)),
    line("LeakyRelu", All, Same, Both, Follow),
    line("Less", All, Bool, Both, Compare),
    line("LessOrEqual", All, Bool, Both, Compare),
    line("Log", All, Same, Both, Keep(LOGARITHM)),
    line("LogSoftmax", All, Same, Both, Keep(EXPONENTIAL_SUM)),
    line("Loop", At(&[]), Declared, Neither, Keep(INSIDE)),
    line("MatMul", All, Same, Both, Seed),
    line("Max", All, Same, Both, Follow),
    line("MaxPool", All, SameThenInt64, Float16, Follow),
    line("Min", All, Same, Both, Follow),
    line("Mod", All, Same, Both, Keep(REMAINDER)),
    line("Mul", All, Same, Both, KeepIf(square)),
    line("Neg", All, Same, Both, Follow),
    line("NonMaxSuppression", At(&[0, 1, 3, 4]), Int64, Neither, Keep(FLOAT_ONLY)),
    // Depth and indices are integers here; the type is that of the values, input 2.
    line("OneHot", At(&[2]), Same, Float16, Move),
    line("PRelu", All, Same, Both, Follow),
    // Input 1 are the pads, input 2 the value.
    line("Pad", At(&[0, 2]), Same, Both, Move),
    line("Pow", X, Same, Both, Keep(EXPONENTIAL)),
    line("QuantizeLinear", X, Gives::Int8, Neither, Keep(FLOAT_ONLY)),
    line("RNN", RECURRENT_INPUTS, Same, Float16, Keep(RECURRENT)),
    line("Range", All, Same, Neither, Keep(FLOAT_ONLY)),
    line("Reciprocal", All, Same, Both, Keep(RECIPROCAL)),
    line("ReduceL1", X, Same, Both, KeepIf(long_sum)),
    line("ReduceL2", X, Same, Both, Keep(SQUARE)),
    line("ReduceLogSum", X, Same, Both, Keep(LOGARITHM)),
    line("ReduceLogSumExp", X, Same, Both, Keep(EXPONENTIAL_SUM)),
    line("ReduceMax", X, Same, Both, Follow),
    line("ReduceMean", X, Same, Both, KeepIf(long_sum)),
    line("ReduceMin", X, Same, Both, Follow),
    line("ReduceProd", X, Same, Both, Keep(GROWS)),
    line("ReduceSum", X, Same, Both, KeepIf(long_sum)),
    line("ReduceSumSquare", X, Same, Both, Keep(SQUARE)),
    line("Relu", All, Same, Both, Move),
    line("Reshape", X, Same, Both, Move),
    // Input 1, the region, and input 2, the scales, have types of their own.
    line("Resize", X, Same, Both, Follow),
    line("ReverseSequence", X, Same, Float16, Move),
    line("Round", All, Same, Float16, Follow),
    // Input 1 are the indices.
    line("ScatterElements", At(&[0, 2]), Same, Both, Follow),
    line("ScatterND", At(&[0, 2]), Same, Both, Follow),
    line("Selu", All, Same, Float16, Follow),
    line("Shape", All, Int64, Both, Any),
    line("Sigmoid", All, Same, Both, Follow),
    line("Sign", All, Same, Both, Follow),
    line("Sin", All, Same, Float16, Keep(ANGLE)),
    line("Sinh", All, Same, Float16, Keep(GROWS)),
    line("Size", All, Int64, Both, Any),
    line("Slice", X, Same, Both, Follow),
    line("Softmax", All, Same, Both, Keep(EXPONENTIAL_SUM)),
    line("Softplus", All, Same, Float16, Keep(EXPONENTIAL)),
    line("Softsign", All, Same, Float16, Follow),
    line("SpaceToDepth", All, Same, Both, Move),
    line("Split", X, Same, Both, Move),
    line("Sqrt", All, Same, Both, Keep(ROOT)),
    line("Squeeze", X, Same, Both, Move),
    line("Sub", All, Same, Both, Follow),
    line("Sum", All, Same, Both, Follow),
    line("Tan", All, Same, Float16, Keep(ANGLE)),
    line("Tanh", All, Same, Both, Follow),
    line("Tile", X, Same, Both, Move),
    line("TopK", X, SameThenInt64, Float16, Follow),
    line("Transpose", All, Same, Both, Move),
    line("Trilu", X, Same, Both, Move),
    line("Unsqueeze", X, Same, Both, Move),
    line("Where", At(&[1, 2]), Same, Both, Follow),
];
