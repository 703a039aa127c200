//! The parameters of a conversion: `RewriterConfig.CustomGraphOptimizer.parameter_map`, and the attributes by which a
//! function overrides them.

use super::OptimizeError;
use crate::proto::tensorflow as tf;
use std::collections::BTreeMap;
use tf::attr_value::Value;

/// What the front end asks of a conversion (tftrt_contract.md, section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// The fewest nodes that are worth an engine; -1: the main graph is left alone.
    pub minimum_segment_size: i64,
    /// -1: not limited.
    pub max_batch_size: i64,
    pub is_dynamic_op: bool,
    pub maximum_cached_engines: i64,
    pub max_workspace_size_bytes: i64,
    /// "FP32", "FP16" or "INT8".
    pub precision_mode: String,
    pub use_calibration: bool,
    pub trt_logger: String,
    pub allow_build_at_runtime: bool,
    pub use_implicit_batch: bool,
    /// "Range", "Optimal", "Range+Optimal" or "ImplicitBatchModeCompatible", as TF-TRT wrote them into nodes.
    pub profile_strategy: String,
}

/// `minimum_segment_size` where nothing else is said.
pub const DEFAULT_MINIMUM_SEGMENT_SIZE: i64 = 3;

const PRECISIONS: &[&str] = &["FP32", "FP16", "INT8"];
const STRATEGIES: &[&str] = &["Range", "Optimal", "Range+Optimal", "ImplicitBatchModeCompatible"];

impl Default for Params {
    fn default() -> Self {
        Params {
            minimum_segment_size: DEFAULT_MINIMUM_SEGMENT_SIZE,
            max_batch_size: -1,
            is_dynamic_op: false,
            maximum_cached_engines: 1,
            max_workspace_size_bytes: 1 << 30,
            precision_mode: "FP32".into(),
            use_calibration: true,
            trt_logger: String::new(),
            allow_build_at_runtime: true,
            use_implicit_batch: true,
            profile_strategy: "Range".into(),
        }
    }
}

impl Params {
    /// From the optimizer's `parameter_map`; what is absent has the contract's default, and unknown names are passed over
    /// with a word in the log (later TF-TRT releases had more).
    ///
    /// # Errors
    /// A parameter of another type or with an impossible value, by name, with what it takes.
    pub fn from_parameter_map(map: &BTreeMap<String, tf::AttrValue>) -> Result<Params, OptimizeError> {
        const KNOWN: &[&str; 11] = &[
            "minimum_segment_size",
            "max_batch_size",
            "is_dynamic_op",
            "maximum_cached_engines",
            "max_workspace_size_bytes",
            "precision_mode",
            "use_calibration",
            "trt_logger",
            "allow_build_at_runtime",
            "use_implicit_batch",
            "profile_strategy",
        ];
        for name in map.keys().filter(|name| !KNOWN.contains(&name.as_str())) {
            tracing::debug!("TensorRTOptimizer knows no parameter '{name}'; it is passed over.");
        }
        let mut params = Params::default();
        params.read(map, KNOWN)?;
        Ok(params)
    }

    /// These parameters with what the attributes `_tftrt_*` of a function say instead.
    ///
    /// # Errors
    /// As [`Params::from_parameter_map`]; the attribute is named.
    pub fn from_function_attrs(&self, attrs: &BTreeMap<String, tf::AttrValue>) -> Result<Params, OptimizeError> {
        let mut params = self.clone();
        // -1 only speaks of the main graph.
        if params.minimum_segment_size < 0 {
            params.minimum_segment_size = DEFAULT_MINIMUM_SEGMENT_SIZE;
        }
        params.read(
            attrs,
            &[
                "_tftrt_minimum_segment_size",
                "_tftrt_max_batch_size",
                "_tftrt_is_dyn_op",
                "_tftrt_max_cached_engines",
                "_tftrt_max_workspace_size_bytes",
                "_tftrt_precision_mode",
                "_tftrt_use_calibration",
                "_tftrt_trt_logger_name",
                "_tftrt_allow_build_at_runtime",
                "_tftrt_use_implicit_batch",
                "_tftrt_profile_strategy",
            ],
        )?;
        Ok(params)
    }

    /// Reads each field, in the order of the struct, from the entry of its name.
    fn read(&mut self, map: &BTreeMap<String, tf::AttrValue>, names: &[&str; 11]) -> Result<(), OptimizeError> {
        integer(map, names[0], -1, &mut self.minimum_segment_size)?;
        integer(map, names[1], -1, &mut self.max_batch_size)?;
        boolean(map, names[2], &mut self.is_dynamic_op)?;
        integer(map, names[3], 0, &mut self.maximum_cached_engines)?;
        integer(map, names[4], 0, &mut self.max_workspace_size_bytes)?;
        choice(map, names[5], PRECISIONS, &mut self.precision_mode)?;
        boolean(map, names[6], &mut self.use_calibration)?;
        if let Some(text) = string(map, names[7])? {
            self.trt_logger = text;
        }
        boolean(map, names[8], &mut self.allow_build_at_runtime)?;
        boolean(map, names[9], &mut self.use_implicit_batch)?;
        choice(map, names[10], STRATEGIES, &mut self.profile_strategy)
    }
}

/// Whether a function asks to be converted by itself: `_tftrt_convert_function`.
pub fn asks_for_conversion(attrs: &BTreeMap<String, tf::AttrValue>) -> Result<bool, OptimizeError> {
    let mut asks = false;
    boolean(attrs, "_tftrt_convert_function", &mut asks)?;
    Ok(asks)
}

fn refuse(name: &str, value: Option<&Value>, takes: &str) -> OptimizeError {
    let found = match value {
        None => "no value".to_string(),
        Some(Value::S(text)) => format!("the string '{}'", String::from_utf8_lossy(text)),
        Some(Value::I(number)) => format!("the integer {number}"),
        Some(Value::F(number)) => format!("the float {number}"),
        Some(Value::B(flag)) => format!("the bool {flag}"),
        Some(_) => "a value of another type".to_string(),
    };
    OptimizeError::Parameter {
        name: name.into(),
        takes: takes.into(),
        found,
    }
}

fn integer(map: &BTreeMap<String, tf::AttrValue>, name: &str, least: i64, field: &mut i64) -> Result<(), OptimizeError> {
    match map.get(name).map(|attr| attr.value.as_ref()) {
        None => Ok(()),
        Some(Some(&Value::I(value))) if value >= least => {
            *field = value;
            Ok(())
        }
        Some(other) => Err(refuse(name, other, &format!("an integer from {least} up"))),
    }
}

fn boolean(map: &BTreeMap<String, tf::AttrValue>, name: &str, field: &mut bool) -> Result<(), OptimizeError> {
    match map.get(name).map(|attr| attr.value.as_ref()) {
        None => Ok(()),
        Some(Some(&Value::B(value))) => {
            *field = value;
            Ok(())
        }
        Some(other) => Err(refuse(name, other, "a bool")),
    }
}

fn string(map: &BTreeMap<String, tf::AttrValue>, name: &str) -> Result<Option<String>, OptimizeError> {
    match map.get(name).map(|attr| attr.value.as_ref()) {
        None => Ok(None),
        Some(Some(value @ Value::S(text))) => match std::str::from_utf8(text) {
            Ok(text) => Ok(Some(text.to_string())),
            Err(_) => Err(refuse(name, Some(value), "a string in UTF-8")),
        },
        Some(other) => Err(refuse(name, other, "a string")),
    }
}

/// A string out of `choices`, in any case; the field gets the spelling of the list.
fn choice(map: &BTreeMap<String, tf::AttrValue>, name: &str, choices: &[&str], field: &mut String) -> Result<(), OptimizeError> {
    let takes = format!("one of {}", choices.join(", "));
    let text = match map.get(name) {
        None => return Ok(()),
        Some(attr) => string(map, name)
            .ok()
            .flatten()
            .ok_or_else(|| refuse(name, attr.value.as_ref(), &takes))?,
    };
    match choices.iter().find(|choice| choice.eq_ignore_ascii_case(&text)) {
        Some(choice) => {
            *field = choice.to_string();
            Ok(())
        }
        None => Err(refuse(name, map[name].value.as_ref(), &takes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: Vec<(&str, Value)>) -> BTreeMap<String, tf::AttrValue> {
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_string(), tf::AttrValue { value: Some(value) }))
            .collect()
    }

    fn text(value: &'static str) -> Value {
        Value::S(bytes::Bytes::from_static(value.as_bytes()))
    }

    #[test]
    fn an_empty_map_gives_the_defaults() {
        assert_eq!(Params::from_parameter_map(&BTreeMap::new()).unwrap(), Params::default());
    }

    #[test]
    fn what_the_stock_front_end_sends() {
        let params = Params::from_parameter_map(&map(vec![
            ("minimum_segment_size", Value::I(5)),
            ("max_workspace_size_bytes", Value::I(1 << 20)),
            ("precision_mode", text("fp16")),
            ("maximum_cached_engines", Value::I(7)),
            ("use_calibration", Value::B(false)),
            ("is_dynamic_op", Value::B(true)),
            ("allow_build_at_runtime", Value::B(false)),
            ("use_implicit_batch", Value::B(false)),
            ("profile_strategy", text("range+optimal")),
            ("something_newer", Value::I(1)),
        ]))
        .unwrap();
        let expected = Params {
            minimum_segment_size: 5,
            max_batch_size: -1,
            is_dynamic_op: true,
            maximum_cached_engines: 7,
            max_workspace_size_bytes: 1 << 20,
            precision_mode: "FP16".into(),
            use_calibration: false,
            trt_logger: String::new(),
            allow_build_at_runtime: false,
            use_implicit_batch: false,
            profile_strategy: "Range+Optimal".into(),
        };
        assert_eq!(params, expected);
    }

    #[test]
    fn bad_values_name_the_parameter_and_what_it_takes() {
        for (name, value, words) in [
            (
                "precision_mode",
                text("FP64"),
                "'precision_mode' is the string 'FP64' where one of FP32, FP16, INT8 was expected",
            ),
            ("precision_mode", Value::I(8), "the integer 8"),
            (
                "profile_strategy",
                text(""),
                "one of Range, Optimal, Range+Optimal, ImplicitBatchModeCompatible",
            ),
            (
                "minimum_segment_size",
                Value::I(-2),
                "'minimum_segment_size' is the integer -2 where an integer from -1 up was expected",
            ),
            (
                "is_dynamic_op",
                Value::I(1),
                "'is_dynamic_op' is the integer 1 where a bool was expected",
            ),
            ("max_workspace_size_bytes", Value::F(1.5), "the float 1.5"),
            ("trt_logger", Value::B(true), "where a string was expected"),
        ] {
            let message = Params::from_parameter_map(&map(vec![(name, value)])).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn a_functions_attributes_override() {
        let main = Params {
            minimum_segment_size: -1,
            ..Params::default()
        };
        let attrs = map(vec![
            ("_tftrt_convert_function", Value::B(true)),
            ("_tftrt_is_dyn_op", Value::B(true)),
            ("_tftrt_max_cached_engines", Value::I(4)),
            ("_tftrt_precision_mode", text("INT8")),
        ]);
        let params = main.from_function_attrs(&attrs).unwrap();
        assert_eq!(
            (params.minimum_segment_size, params.is_dynamic_op, params.maximum_cached_engines),
            (3, true, 4)
        );
        assert_eq!(params.precision_mode, "INT8");
        assert!(asks_for_conversion(&attrs).unwrap());
        assert!(!asks_for_conversion(&BTreeMap::new()).unwrap());
        let wrong = map(vec![("_tftrt_convert_function", Value::I(1))]);
        assert!(
            asks_for_conversion(&wrong)
                .unwrap_err()
                .to_string()
                .contains("_tftrt_convert_function")
        );
    }
}
