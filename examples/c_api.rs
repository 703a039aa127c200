//! A converted SavedModel through TensorFlow's C API alone: `TF_LoadLibrary`, `TF_LoadSessionFromSavedModel`, `TF_SessionRun`.
//!
//!     c_api [--plugin FILE] [--tensorflow FILE] [--steps N] MODEL --input NAME:0=float:2x8:FILE... --output NAME:0=FILE...
//!
//! The names are of tensors in the graph, as the signature has them (`saved_model_cli show`). Inputs are files of the elements' bytes in
//! order, and outputs are written as such. It prints what each output is, and as its last line the plugin's counters in JSON.

// The one file with `unsafe` in it; the crate itself stays out of this program.
#[allow(dead_code)]
#[path = "../src/tf/c_api/mod.rs"]
mod c_api;

use c_api::{Tensor, Tensorflow};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str =
    "usage: c_api [--plugin FILE] [--tensorflow FILE] [--steps N] MODEL --input NAME:0=TYPE:DIMS:FILE... --output NAME:0=FILE...
  TYPE is float, int32 or int64; DIMS are as in 2x8, and empty for a scalar";

/// `ConfigProto { allow_soft_placement: true }`: the front end puts the engines' resources on "/device:GPU:*", and a machine without a
/// GPU loads the model, too.
const CONFIG: [u8; 2] = [7 << 3, 1];

struct Arguments {
    plugin: Option<PathBuf>,
    tensorflow: Option<PathBuf>,
    steps: usize,
    model: PathBuf,
    inputs: Vec<(String, String)>,
    outputs: Vec<(String, PathBuf)>,
}

fn arguments() -> Result<Arguments, String> {
    let (mut plugin, mut tensorflow, mut steps, mut model) = (None, None, 1, None);
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or(format!("{argument} needs a value\n{USAGE}"));
        let pair = |text: String| {
            let parted = text.split_once('=').map(|(name, rest)| (name.to_string(), rest.to_string()));
            parted.ok_or(format!("'{text}' has no '='\n{USAGE}"))
        };
        match argument.as_str() {
            "--plugin" => plugin = Some(value()?.into()),
            "--tensorflow" => tensorflow = Some(value()?.into()),
            "--steps" => steps = value()?.parse().map_err(|_| format!("--steps takes a number\n{USAGE}"))?,
            "--input" => inputs.push(pair(value()?)?),
            "--output" => outputs.push(pair(value()?).map(|(name, file)| (name, file.into()))?),
            other if other.starts_with("--") => return Err(format!("there is no option {other}\n{USAGE}")),
            folder => model = Some(folder.into()),
        }
    }
    Ok(Arguments {
        plugin,
        tensorflow,
        steps,
        model: model.ok_or(USAGE)?,
        inputs,
        outputs,
    })
}

/// A tensor as `--input` tells it: "float:2x8:file".
fn read_input(tensorflow: &Tensorflow, told: &str) -> Result<Tensor, String> {
    let parts: Vec<&str> = told.splitn(3, ':').collect();
    let [dtype, dims, file] = parts[..] else {
        return Err(format!("'{told}' is not TYPE:DIMS:FILE"));
    };
    let dtype = match dtype {
        "float" => 1,
        "int32" => 3,
        "int64" => 9,
        other => return Err(format!("no inputs of type '{other}'\n{USAGE}")),
    };
    let dims: Vec<i64> = dims
        .split('x')
        .filter(|d| !d.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("'{told}': {e}"))?;
    let bytes = std::fs::read(file).map_err(|e| format!("{file}: {e}"))?;
    tensorflow.tensor(dtype, &dims, &bytes)
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let tensorflow = Tensorflow::open(arguments.tensorflow.as_deref())?;
    println!("TensorFlow {}", tensorflow.version());
    if let Some(plugin) = &arguments.plugin {
        tensorflow.load_library(plugin)?;
    }
    let session = tensorflow.load_saved_model(&arguments.model, &["serve".to_string()], &CONFIG)?;
    let mut feeds = Vec::new();
    for (name, told) in &arguments.inputs {
        feeds.push((name.as_str(), read_input(&tensorflow, told)?));
    }
    let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let fetches: Vec<&str> = arguments.outputs.iter().map(|(name, _)| name.as_str()).collect();
    for _ in 1..arguments.steps {
        session.run(&feeds, &fetches)?;
    }
    for (tensor, (name, file)) in session.run(&feeds, &fetches)?.iter().zip(&arguments.outputs) {
        println!("{name}: type {}, shape {:?}", tensor.dtype(), tensor.dims());
        std::fs::write(file, tensor.bytes()).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    if let Some(plugin) = &arguments.plugin {
        println!("{}", c_api::plugin_request(Path::new(plugin), r#"{"command": "stats"}"#)?);
    }
    Ok(())
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("c_api: {why}");
            ExitCode::FAILURE
        }
    }
}
