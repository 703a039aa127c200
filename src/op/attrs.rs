//! The attributes of a TRTEngineOp node (contract, section 1; op_defs/TRTEngineOp.pbtxt).

use crate::engine::{Precision, plan};
use crate::graph::native_segment::SEGMENT_HASH;
use crate::graph::{DType, PartialShape};
use crate::profile::Strategy;
use crate::proto::tensorflow as tf;
use crate::tf::{Code, Status};
use bytes::Bytes;
use prost::Message;
use std::collections::BTreeMap;
use tf::attr_value::Value;

#[derive(Debug)]
pub struct Attrs {
    pub node: String,
    /// The node name's last path component: what the engine's resource is called.
    pub engine: String,
    /// A serialized `NameAttrList`; `None` where the model was saved without native segments.
    pub segment: Option<Bytes>,
    pub segment_name: String,
    /// What the conversion says of the segment, whether or not it is there.
    pub segment_hash: Option<[u8; 32]>,
    /// The plan of a static engine; empty for a dynamic one.
    pub plan: Bytes,
    pub static_engine: bool,
    pub input_types: Vec<DType>,
    pub input_shapes: Vec<PartialShape>,
    /// With implicit batch the first size is open, whatever the node says.
    pub output_shapes: Vec<PartialShape>,
    pub capacity: i64,
    pub max_batch_size: i64,
    pub workspace_bytes: u64,
    pub precision: Precision,
    pub use_calibration: bool,
    pub calibration_data: Bytes,
    pub implicit_batch: bool,
    pub allow_build_at_runtime: bool,
    pub allow_soft_placement: bool,
    pub profile_generation: bool,
    /// Explicit batch only.
    pub strategy: Option<Strategy>,
}

impl Attrs {
    /// The same for the node of a model that is loaded again; most likely another one for another model. Names of functions are left out:
    /// a load may change them.
    pub fn key(&self) -> u64 {
        let text = format!(
            "{:?}",
            (
                (
                    &self.node,
                    &self.input_types,
                    &self.input_shapes,
                    self.capacity,
                    self.max_batch_size
                ),
                (
                    self.workspace_bytes,
                    self.precision,
                    self.strategy,
                    self.static_engine,
                    self.allow_build_at_runtime
                ),
                (
                    self.implicit_batch,
                    self.segment.is_some(),
                    crc32c::crc32c(&self.plan),
                    crc32c::crc32c(&self.calibration_data)
                ),
            )
        );
        super::said::hash(&text)
    }

    /// Reads a serialized `NodeDef`. An error names the node, the attribute and what it takes.
    pub fn parse(node_def: Bytes) -> Result<Attrs, Status> {
        let def = tf::NodeDef::decode(node_def)
            .map_err(|e| Status::new(Code::InvalidArgument, format!("TRTEngineOp: unreadable NodeDef: {e}")))?;
        let read = Reader {
            node: &def.name,
            attrs: &def.attr,
        };
        let segment = match read.value("segment_func") {
            Some(Value::Func(func)) if !func.name.is_empty() => Some(func),
            _ => None,
        };
        let implicit_batch = read.bool("_use_implicit_batch", true)?;
        let static_engine = read.bool("static_engine", true)?;
        // A static engine has its shapes already: nothing is recorded for it.
        let profile_generation = read.bool("_profile_generation_mode", false)? && !static_engine;
        if implicit_batch && profile_generation {
            return Err(read.invalid(
                "_profile_generation_mode",
                "is for explicit batch only, and _use_implicit_batch is true",
            ));
        }
        let input_shapes = match read.value("input_shapes") {
            Some(Value::List(list)) => list.shape.iter().map(PartialShape::from_proto).collect(),
            _ => Vec::new(),
        };
        let mut output_shapes: Vec<PartialShape> = match read.value("output_shapes") {
            Some(Value::List(list)) => list.shape.iter().map(PartialShape::from_proto).collect(),
            _ => Vec::new(),
        };
        if implicit_batch {
            let dims = output_shapes.iter_mut().filter_map(|shape| shape.0.as_mut());
            dims.filter_map(|dims| dims.first_mut()).for_each(|batch| *batch = None);
        }
        let strategy = match implicit_batch {
            true => None,
            false if input_shapes.is_empty() => {
                return Err(read.invalid(
                    "input_shapes",
                    "has to list the shape of every input with explicit batch, and is empty",
                ));
            }
            false => Some(
                Strategy::parse(&read.text("profile_strategy")?)
                    .map_err(|e| read.invalid("profile_strategy", &format!("cannot be used: {e}")))?,
            ),
        };
        let input_types: Vec<DType> = match read.value("InT") {
            Some(Value::List(list)) => list.r#type.iter().map(|&t| DType::from_proto(t)).collect(),
            _ => Vec::new(),
        };
        if !input_shapes.is_empty() && input_shapes.len() != input_types.len() {
            return Err(read.invalid(
                "input_shapes",
                &format!("lists {} shapes for {} inputs", input_shapes.len(), input_types.len()),
            ));
        }
        let precision = match read.text("precision_mode")?.to_ascii_uppercase().as_str() {
            "FP32" => Precision::Fp32,
            "FP16" => Precision::Fp16,
            "INT8" => Precision::Int8,
            other => return Err(read.invalid("precision_mode", &format!("is '{other}'; it takes FP32, FP16 and INT8"))),
        };
        let plan = read.bytes("serialized_segment")?;
        if segment.is_none() && !static_engine && profile_generation {
            return Err(read.invalid("segment_func", "is empty: profiles cannot be generated without the native segment"));
        }
        Ok(Attrs {
            engine: def.name.rsplit('/').next().unwrap_or(&def.name).to_string(),
            segment: segment.map(|s| Bytes::from(s.encode_to_vec())),
            segment_name: segment.map(|s| s.name.clone()).unwrap_or_default(),
            segment_hash: read.hash(SEGMENT_HASH)?,
            plan,
            static_engine,
            input_types,
            input_shapes,
            output_shapes,
            capacity: read.int("max_cached_engines_count", 1)?,
            max_batch_size: read.int("max_batch_size", 1)?,
            workspace_bytes: read.int("workspace_size_bytes", 1 << 30)?.max(0) as u64,
            precision,
            use_calibration: read.bool("use_calibration", true)?,
            calibration_data: read.bytes("calibration_data")?,
            implicit_batch,
            allow_build_at_runtime: read.bool("_allow_build_at_runtime", true)?,
            allow_soft_placement: read.bool("_allow_soft_placement", true)?,
            profile_generation,
            strategy,
            node: def.name,
        })
    }

    /// Whether calls feed the calibrator and run natively: INT8 that has no calibration table yet.
    pub fn calibrating(&self) -> bool {
        self.use_calibration && self.precision == Precision::Int8 && self.calibration_data.is_empty()
    }
}

struct Reader<'a> {
    node: &'a str,
    attrs: &'a BTreeMap<String, tf::AttrValue>,
}

impl<'a> Reader<'a> {
    fn value(&self, name: &str) -> Option<&'a Value> {
        self.attrs.get(name)?.value.as_ref()
    }

    fn invalid(&self, name: &str, what: &str) -> Status {
        Status::new(
            Code::InvalidArgument,
            format!("TRTEngineOp '{}': attribute {name} {what}", self.node),
        )
    }

    fn bool(&self, name: &str, default: bool) -> Result<bool, Status> {
        match self.value(name) {
            None => Ok(default),
            Some(Value::B(b)) => Ok(*b),
            Some(_) => Err(self.invalid(name, "has to be a bool")),
        }
    }

    fn int(&self, name: &str, default: i64) -> Result<i64, Status> {
        match self.value(name) {
            None => Ok(default),
            Some(Value::I(i)) => Ok(*i),
            Some(_) => Err(self.invalid(name, "has to be an int")),
        }
    }

    fn bytes(&self, name: &str) -> Result<Bytes, Status> {
        match self.value(name) {
            None => Ok(Bytes::new()),
            Some(Value::S(s)) => Ok(s.clone()),
            Some(_) => Err(self.invalid(name, "has to be a string")),
        }
    }

    /// A SHA-256 in hexadecimal digits; `None` where the node has no such attribute.
    fn hash(&self, name: &str) -> Result<Option<[u8; 32]>, Status> {
        let text = self.text(name)?;
        if text.is_empty() {
            return Ok(None);
        }
        let hash = plan::from_hex(name, &text);
        hash.map(Some).map_err(|_| self.invalid(name, "has to be 64 hexadecimal digits"))
    }

    fn text(&self, name: &str) -> Result<String, Status> {
        String::from_utf8(self.bytes(name)?.to_vec()).map_err(|_| self.invalid(name, "is no UTF-8 text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(attrs: Vec<(&str, Value)>) -> Bytes {
        let attr = attrs
            .into_iter()
            .map(|(k, v)| (k.to_string(), tf::AttrValue { value: Some(v) }))
            .collect();
        Bytes::from(
            tf::NodeDef {
                name: "scope/TRTEngineOp_000_000".into(),
                op: "TRTEngineOp".into(),
                attr,
                ..Default::default()
            }
            .encode_to_vec(),
        )
    }

    fn text(s: &str) -> Value {
        Value::S(Bytes::copy_from_slice(s.as_bytes()))
    }

    fn refused(attrs: Vec<(&str, Value)>) -> String {
        let status = Attrs::parse(node(attrs)).unwrap_err();
        assert_eq!(status.code, Code::InvalidArgument as i32);
        status.message
    }

    #[test]
    fn defaults_are_those_of_tf_trt() {
        let attrs = Attrs::parse(node(vec![("precision_mode", text("FP32"))])).unwrap();
        assert_eq!(attrs.engine, "TRTEngineOp_000_000");
        assert!(attrs.implicit_batch && attrs.allow_build_at_runtime && attrs.allow_soft_placement && attrs.static_engine);
        assert!(!attrs.profile_generation && attrs.segment.is_none());
    }

    #[test]
    fn bad_attributes_name_node_and_attribute() {
        let fp32 = ("precision_mode", text("FP32"));
        assert!(refused(vec![("precision_mode", text("FP8"))]).contains("'scope/TRTEngineOp_000_000': attribute precision_mode is 'FP8'"));
        assert!(refused(vec![fp32.clone(), (SEGMENT_HASH, text("12"))]).contains("_tftrt_segment_hash has to be 64"));
        let explicit = ("_use_implicit_batch", Value::B(false));
        assert!(refused(vec![fp32.clone(), explicit.clone()]).contains("input_shapes"));
        let shapes = Value::List(tf::attr_value::ListValue {
            shape: vec![PartialShape::from_dims(&[-1, 3]).to_proto()],
            ..Default::default()
        });
        let types = (
            "InT",
            Value::List(tf::attr_value::ListValue {
                r#type: vec![1],
                ..Default::default()
            }),
        );
        assert!(
            refused(vec![
                fp32.clone(),
                explicit.clone(),
                types.clone(),
                ("input_shapes", shapes.clone())
            ])
            .contains("profile_strategy")
        );
        let mode = ("_profile_generation_mode", Value::B(true));
        assert!(refused(vec![fp32.clone(), mode.clone(), ("static_engine", Value::B(false))]).contains("_profile_generation_mode"));
        let named = ("profile_strategy", text("range"));
        let dynamic = ("static_engine", Value::B(false));
        assert!(refused(vec![fp32, explicit, types, ("input_shapes", shapes), named, mode, dynamic]).contains("segment_func"));
    }
}
