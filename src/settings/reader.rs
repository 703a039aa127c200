//! Reading values: what is understood, and the warnings on what is not.

use super::values::{Choice, Experimental, Report};
use super::variables::{Kind, VARIABLES, WITHOUT_EFFECT};
use crate::process::Mutex;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::LazyLock;

/// A variable whose value was not understood; the message says what it takes and what is used instead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Warning {
    pub variable: String,
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.message)
    }
}

pub(super) struct Reader<'a> {
    pub(super) get: &'a dyn Fn(&str) -> Option<String>,
    pub(super) warnings: Vec<Warning>,
}

impl Reader<'_> {
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|value| !value.is_empty())
    }

    fn warn(&mut self, name: &str, message: String) {
        self.warnings.push(Warning {
            variable: name.to_string(),
            message,
        });
    }

    /// As TensorFlow's ReadBoolFromEnvVar.
    pub(super) fn bool(&mut self, name: &str, default: bool) -> bool {
        let Some(value) = self.text(name) else {
            return default;
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => {
                self.warn(
                    name,
                    format!("\"{value}\" is none of true, false, 1, 0; the default, {default}, is used"),
                );
                default
            }
        }
    }

    /// As TensorFlow's ReadInt64FromEnvVar; spaces around the number do not matter. `default` is for the warning.
    pub(super) fn integer(&mut self, name: &str, default: &str) -> Option<i64> {
        let value = self.text(name)?;
        let number = value.trim().parse().ok();
        if number.is_none() {
            self.warn(
                name,
                format!("\"{value}\" is no whole number of 64 bits; the default, {default}, is used"),
            );
        }
        number
    }

    /// As [`Reader::integer`], for numbers that have bounds.
    pub(super) fn integer_in(&mut self, name: &str, bounds: RangeInclusive<i32>, default: &str) -> Option<i32> {
        let number = self.integer(name, default)?;
        let within = i32::try_from(number).ok().filter(|number| bounds.contains(number));
        if within.is_none() {
            let (least, most) = bounds.into_inner();
            self.warn(
                name,
                format!("{number} is not within {least} to {most}; the default, {default}, is used"),
            );
        }
        within
    }

    pub(super) fn choice<T: Choice + fmt::Display>(&mut self, name: &str, default: T) -> T {
        let Some(value) = self.text(name) else {
            return default;
        };
        let chosen = T::VALUES.iter().find(|(text, _)| text.eq_ignore_ascii_case(&value));
        if let Some((_, chosen)) = chosen {
            return *chosen;
        }
        let names: Vec<&str> = T::VALUES.iter().map(|(text, _)| *text).collect();
        self.warn(
            name,
            format!("\"{value}\" is none of {}; the default, {default}, is used", names.join(", ")),
        );
        default
    }

    pub(super) fn list(&self, name: &str) -> BTreeSet<String> {
        let value = self.text(name).unwrap_or_default();
        value
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_string)
            .collect()
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    pub(super) fn report(&mut self, name: &str) -> Report {
        let Some(value) = self.text(name) else {
            return Report::Summary;
        };
        // What TF-TRT would have taken for the name of a file, and nobody means so; "./true" is one.
        let words = ["true", "false", "yes", "no", "on", "off", "none"];
        if words.iter().any(|word| value.eq_ignore_ascii_case(word)) {
            self.warn(
                name,
                format!("\"{value}\" is neither a number (1: print the reasons) nor a path for the CSV; the default, the summary, is used"),
            );
            return Report::Summary;
        }
        if value.contains(|c: char| !(c == '-' || c.is_ascii_digit())) {
            return Report::DetailedAndCsv(value.into());
        }
        match self.integer(name, "the summary") {
            Some(number) if number >= 1 => Report::Detailed,
            _ => Report::Summary,
        }
    }

    pub(super) fn experimental(&mut self, name: &str) -> Experimental {
        let mut features = Experimental::default();
        for feature in self.list(name) {
            match feature.as_str() {
                "disable_graph_freezing" => features.disable_graph_freezing = true,
                "reject_all_fp_cast_ops" => features.reject_all_fp_cast_ops = true,
                "remove_native_segments" => features.remove_native_segments = true,
                _ => self.warn(
                    name,
                    format!(
                        "\"{feature}\" is none of disable_graph_freezing, reject_all_fp_cast_ops, remove_native_segments; it is left out"
                    ),
                ),
            }
        }
        features
    }
}

/// A warning for every name that looks like one of TF-TRT's and is none: a misspelt variable does nothing, and would say
/// nothing.
pub(super) fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<Warning> {
    names
        .filter(|name| name.starts_with("TF_TRT_") && VARIABLES.iter().all(|v| v.name != name))
        .map(|name| Warning {
            message: "no variable of this name is read; docs/reference/settings.md lists those that are".to_string(),
            variable: name,
        })
        .collect()
}

/// A word for every variable that is set to ask for something, and does nothing.
pub(super) fn without_effect(get: impl Fn(&str) -> Option<String>) -> Vec<Warning> {
    let asks = |name: &str| {
        let value = get(name).filter(|value| !value.is_empty())?;
        let variable = VARIABLES.iter().find(|v| v.name == name)?;
        // What is not understood is warned of by itself.
        let asked = match (variable.kind, value.trim().to_ascii_lowercase().as_str()) {
            (Kind::Bool, "true" | "1") => variable.default != "true",
            (Kind::Bool, "false" | "0") => variable.default == "true",
            (Kind::Bool, _) => false,
            (_, text) => text.parse::<i64>().is_ok(),
        };
        asked.then_some(value)
    };
    let words = WITHOUT_EFFECT.iter().filter_map(|(name, why)| {
        Some(Warning {
            variable: name.to_string(),
            message: format!("\"{}\" has no effect: {why}", asks(name)?),
        })
    });
    words.collect()
}

pub(super) fn warn_once(warnings: Vec<Warning>) {
    static SAID: LazyLock<Mutex<HashSet<Warning>>> = LazyLock::new(Mutex::default);
    for warning in warnings {
        if SAID.lock().insert(warning.clone()) {
            tracing::warn!("{warning}");
        }
    }
}
