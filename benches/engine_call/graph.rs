//! The graph that is measured: for each batch size and each way to compute a Relu, a row of [`ROW`] nodes.

use bytes::Bytes;
use std::collections::BTreeMap;
use tf::attr_value::{ListValue, Value};
use tftrt::graph::PartialShape;
use tftrt::proto::tensorflow as tf;

/// The batch sizes. Each has its own rows: an engine built for one size serves that size alone.
pub const BATCHES: [i64; 2] = [1, 64];
pub const WIDTH: i64 = 256;
/// So many nodes follow each other, each taking the output of the one before.
pub const ROW: usize = 16;
pub const FEED: &str = "x";

const FLOAT: i32 = tf::DataType::DtFloat as i32;
const FUNCTION: &str = "one_relu";

/// The ways to compute a Relu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// TRTEngineOp around an engine.
    Engine,
    /// PartitionedCall of the segment function.
    Native,
    /// TRTEngineOp that may not build an engine, so that it calls the segment function itself.
    Fallback,
    /// The Relu in the graph, without a function.
    Plain,
}

impl Way {
    pub const ALL: [Way; 4] = [Way::Engine, Way::Native, Way::Fallback, Way::Plain];

    pub fn name(self) -> &'static str {
        match self {
            Way::Engine => "engine",
            Way::Native => "native function",
            Way::Fallback => "fallback",
            Way::Plain => "plain Relu",
        }
    }

    pub fn op(self) -> &'static str {
        match self {
            Way::Engine | Way::Fallback => "TRTEngineOp",
            Way::Native => "PartitionedCall",
            Way::Plain => "Relu",
        }
    }

    /// The name of the node at `place` in the row for `batch`. It is what the engine's resource is called.
    pub fn node(self, batch: i64, place: usize) -> String {
        format!("{self:?}_{batch}_{place:02}")
    }

    fn attrs(self) -> BTreeMap<String, tf::AttrValue> {
        let text = |s: &'static str| Value::S(Bytes::from_static(s.as_bytes()));
        let types = || {
            Value::List(ListValue {
                r#type: vec![FLOAT],
                ..Default::default()
            })
        };
        let shapes = || {
            Value::List(ListValue {
                shape: vec![PartialShape::from_dims(&[-1, WIDTH]).to_proto()],
                ..Default::default()
            })
        };
        let function = || {
            Value::Func(tf::NameAttrList {
                name: FUNCTION.into(),
                ..Default::default()
            })
        };
        match self {
            Way::Engine | Way::Fallback => attrs([
                ("InT", types()),
                ("OutT", types()),
                ("segment_func", function()),
                ("serialized_segment", text("")),
                ("input_shapes", shapes()),
                ("output_shapes", shapes()),
                ("workspace_size_bytes", Value::I(1 << 30)),
                ("precision_mode", text("FP32")),
                ("use_calibration", Value::B(false)),
                ("static_engine", Value::B(false)),
                ("profile_strategy", text("Range")),
                ("_use_implicit_batch", Value::B(false)),
                ("_allow_build_at_runtime", Value::B(self == Way::Engine)),
            ]),
            Way::Native => attrs([("Tin", types()), ("Tout", types()), ("f", function())]),
            Way::Plain => attrs([("T", Value::Type(FLOAT))]),
        }
    }
}

fn attrs<const N: usize>(values: [(&str, Value); N]) -> BTreeMap<String, tf::AttrValue> {
    let attr = |(name, value): (&str, Value)| (name.to_string(), tf::AttrValue { value: Some(value) });
    values.into_iter().map(attr).collect()
}

/// Placeholder `x` (float [?, WIDTH]) and, behind it, a row for each of [`BATCHES`] and [`Way::ALL`].
pub fn graph() -> tf::GraphDef {
    let mut nodes = vec![node(
        FEED,
        "Placeholder",
        &[],
        attrs([
            ("dtype", Value::Type(FLOAT)),
            ("shape", Value::Shape(PartialShape::from_dims(&[-1, WIDTH]).to_proto())),
        ]),
    )];
    for batch in BATCHES {
        for way in Way::ALL {
            let mut from = FEED.to_string();
            for place in 0..ROW {
                let name = way.node(batch, place);
                nodes.push(node(&name, way.op(), &[&from], way.attrs()));
                from = name;
            }
        }
    }
    tf::GraphDef {
        node: nodes,
        library: Some(tf::FunctionDefLibrary {
            function: vec![segment_function()],
            ..Default::default()
        }),
        versions: Some(tf::VersionDef {
            producer: env!("TFTRT_BUILT_FOR_GRAPH_DEF").parse().unwrap_or_default(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The body of the segment function as TensorFlow hands it to the converter.
pub fn segment_body() -> tf::GraphDef {
    let of_float = |index| attrs([("T", Value::Type(FLOAT)), ("index", Value::I(index))]);
    tf::GraphDef {
        node: vec![
            node("x", "_Arg", &[], of_float(0)),
            node("relu", "Relu", &["x"], Way::Plain.attrs()),
            node("y", "_Retval", &["relu"], of_float(0)),
        ],
        ..Default::default()
    }
}

fn segment_function() -> tf::FunctionDef {
    let argument = |name: &str| tf::op_def::ArgDef {
        name: name.into(),
        r#type: FLOAT,
        ..Default::default()
    };
    tf::FunctionDef {
        signature: Some(tf::OpDef {
            name: FUNCTION.into(),
            input_arg: vec![argument("x")],
            output_arg: vec![argument("y")],
            ..Default::default()
        }),
        node_def: vec![node("relu", "Relu", &["x"], Way::Plain.attrs())],
        ret: [("y".to_string(), "relu:activations:0".to_string())].into(),
        // Or TensorFlow puts the body in the place of the call, and no function is called.
        attr: attrs([("_noinline", Value::B(true))]),
        ..Default::default()
    }
}

fn node(name: &str, op: &str, inputs: &[&str], attr: BTreeMap<String, tf::AttrValue>) -> tf::NodeDef {
    tf::NodeDef {
        name: name.into(),
        op: op.into(),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        // Where there is a GPU as well, the engine of this benchmark stays on the CPU.
        device: "/device:CPU:0".into(),
        attr,
        ..Default::default()
    }
}
