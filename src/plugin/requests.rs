//! The C functions that the Python package (or any program) calls beside TensorFlow's own interfaces.

#![allow(unsafe_code, reason = "functions that C calls")]

use super::metrics;
use super::registration::load_error;
use crate::op::{BareModel, Resource};
use crate::tf::{self, BUILT_FOR};
use crate::{convert, engine, fault, report, saved_model, settings};
use serde_json::{Value, json};
use std::ffi::{CStr, CString, c_char};
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::LazyLock;

/// Null where the library registered itself, else the reason why not. The text lives as long as the process.
#[unsafe(no_mangle)]
pub extern "C" fn tftrt_load_error() -> *const c_char {
    static TEXT: LazyLock<Option<CString>> =
        LazyLock::new(|| load_error().map(|why| CString::new(why.replace('\0', " ")).unwrap_or_default()));
    TEXT.as_ref().map_or(std::ptr::null(), |text| text.as_ptr())
}

/// The TensorFlow release that the library was built for ("2.21.0").
#[unsafe(no_mangle)]
pub extern "C" fn tftrt_built_for_tensorflow() -> *const c_char {
    static TEXT: LazyLock<CString> = LazyLock::new(|| CString::new(BUILT_FOR).unwrap_or_default());
    TEXT.as_ptr()
}

const COMMANDS: &str = "version, ops, stats, metrics, reports, settings, inspect, convert_saved_model, faults";

/// Answers a JSON request with JSON: `{"command": "version" | "ops" | "stats" | "metrics" | "reports" | "settings"}`,
/// `{"command": "inspect", "file": path}`, `{"command": "faults", "ask": step}` ([`fault`], for tests), or `{"command": "convert_saved_model", ...}` with the fields of `saved_model::Options`. A failure
/// is `{"error": text}`.
/// The answer is freed with `tftrt_free`.
///
/// # Safety
/// `request` is null or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tftrt_request(request: *const c_char) -> *mut c_char {
    let answer = if request.is_null() {
        json!({"error": "the request is null"})
    } else {
        // SAFETY: the caller's promise.
        let text = unsafe { CStr::from_ptr(request) }.to_string_lossy().into_owned();
        catch_unwind(|| answer(&text)).unwrap_or_else(|_| json!({"error": "a defect in the library: the request panicked"}))
    };
    // JSON text holds no zero byte: they are escaped.
    CString::new(answer.to_string()).unwrap_or_default().into_raw()
}

/// Frees an answer of `tftrt_request`.
///
/// # Safety
/// `answer` is null or came from `tftrt_request`, and is freed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tftrt_free(answer: *mut c_char) {
    if !answer.is_null() {
        // SAFETY: the caller's promise: it is the pointer that into_raw gave.
        drop(unsafe { CString::from_raw(answer) });
    }
}

fn answer(text: &str) -> Value {
    let request: Value = match serde_json::from_str(text) {
        Ok(request) => request,
        Err(e) => return json!({"error": format!("the request is no JSON: {e}")}),
    };
    match request["command"].as_str() {
        Some("version") => json!({
            "version": env!("CARGO_PKG_VERSION"),
            "built_for_tensorflow": BUILT_FOR,
            "backends": {"onnxruntime": onnxruntime(), "tensorrt": tensorrt()},
        }),
        Some("ops") => json!({"ops": convert::supported_ops().collect::<Vec<_>>()}),
        Some("stats") => Resource::stats(),
        Some("metrics") => json!({"metrics": tf::collected_metrics(metrics::PREFIX)}),
        Some("reports") => json!({"reports": report::kept()}),
        Some("settings") => json!({"settings": settings::VARIABLES.iter().map(|v| v.name).collect::<Vec<_>>()}),
        Some("convert_saved_model") => saved_model::answer(&request),
        Some("faults") => {
            let asked = request["ask"].as_str().map_or(Ok(()), fault::ask);
            let (reached, failed) = fault::counts();
            asked.map_or_else(|why| json!({"error": why}), |()| json!({"reached": reached, "failed": failed}))
        }
        Some("inspect") => match request["file"].as_str() {
            Some(file) => inspect(Path::new(file)).unwrap_or_else(|e| json!({"error": e})),
            None => json!({"error": "inspect wants a file"}),
        },
        _ => json!({"error": format!("unknown request {text}; commands are {COMMANDS}")}),
    }
}

/// The engines of a file. Of bare plans it is told which segment they are for, by the model that the file is part of, or why not.
fn inspect(file: &Path) -> Result<Value, String> {
    let mut told = engine::inspect::inspect(file)?;
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let model = BareModel::of(file, name.strip_prefix("trt-serialized-engine.").unwrap_or(&name));
    let engines = told["engines"].as_array_mut().into_iter().flatten();
    for about in engines.filter(|about| about["bare"] == true) {
        match model.segment() {
            Ok(hash) => about["segment_sha256"] = hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
            Err(why) => about["segment_error"] = why.into(),
        }
    }
    Ok(told)
}

/// `family` tells TensorRT-RTX, which counts its versions apart, from TensorRT.
fn tensorrt() -> Value {
    match engine::tensorrt::library() {
        Ok(library) => json!({
            "available": true,
            "family": library.version().family.to_string(),
            "version": library.version().numbers(),
            "library": library.path().display().to_string(),
        }),
        Err(e) => json!({"available": false, "error": e.to_string()}),
    }
}

fn onnxruntime() -> Value {
    match engine::onnxruntime::library() {
        Ok(library) => json!({"available": true, "version": library.version, "library": library.path}),
        Err(e) => json!({"available": false, "error": e.to_string()}),
    }
}
