//! `tftrt-convert IN OUT`: what `python -m tftrt convert --no-build` does, without Python. The plugin is part of this program;
//! TensorFlow is opened at run time.

use std::path::PathBuf;
use std::process::ExitCode;
use tftrt::saved_model::{Options, convert};

const HELP: &str = "\
usage: tftrt-convert [OPTIONS] IN OUT

Freeze the SavedModel in IN, put engines into it, and write it to OUT. The engines are built by the first calls of
the model, or found in the cache on disk.

  --precision FP32|FP16        default: FP32
  --dynamic                    let any dimension vary; without it only the batch may vary
  --profile-strategy STRATEGY  with --dynamic: Range, Optimal, Range+Optimal or ImplicitBatchModeCompatible (default: Range)
  --minimum-segment-size N     smallest number of ops worth an engine (default: 3)
  --max-workspace-size BYTES   scratch memory of one engine (default: 1 GiB)
  --max-cached-engines N       engines kept per TRTEngineOp (default: 1)
  --signature KEY              signature of the model (default: serving_default)
  --tag TAG                    tag of the model, may be repeated (default: serve)
  --overwrite                  write into OUT even if it holds files
  --tensorflow FILE            libtensorflow_cc.so.2, where the loader does not find it
  --help                       show this text

exit codes: 0 done, 1 failed, 2 wrong usage
";

/// What the command line asks for; None: the help.
fn parse(given: impl IntoIterator<Item = String>) -> Result<Option<(Options, Option<PathBuf>)>, String> {
    let mut options = Options::new("", "");
    let (mut folders, mut tags, mut tensorflow) = (Vec::new(), Vec::new(), None);
    let mut given = given.into_iter();
    while let Some(argument) = given.next() {
        // Both "--name value" and "--name=value".
        let (name, attached) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_string(), Some(value.to_string())),
            _ => (argument.clone(), None),
        };
        let mut value = || attached.clone().or_else(|| given.next()).ok_or(format!("{name} needs a value"));
        let number = |text: String| text.parse::<i64>().map_err(|_| format!("{name} takes a number, not '{text}'"));
        match name.as_str() {
            "--help" | "-h" => return Ok(None),
            "--precision" => options.precision = value()?.to_uppercase(),
            "--dynamic" => options.dynamic = true,
            "--profile-strategy" => options.profile_strategy = Some(value()?),
            "--minimum-segment-size" => options.minimum_segment_size = number(value()?)?,
            "--max-workspace-size" => options.max_workspace_size = number(value()?)?,
            "--max-cached-engines" => options.max_cached_engines = number(value()?)?,
            "--signature" => options.signature = value()?,
            "--tag" => tags.push(value()?),
            "--overwrite" => options.overwrite = true,
            "--tensorflow" => tensorflow = Some(value()?.into()),
            other if other.starts_with("--") => return Err(format!("there is no option {other}")),
            _ => folders.push(argument),
        }
    }
    let [input, output] = &folders[..] else {
        return Err(format!("two folders are wanted, IN and OUT; {} were given", folders.len()));
    };
    (options.input, options.output) = (input.clone(), output.clone());
    if !tags.is_empty() {
        options.tags = tags;
    }
    options.check()?;
    Ok(Some((options, tensorflow)))
}

fn main() -> ExitCode {
    let (options, tensorflow) = match parse(std::env::args().skip(1)) {
        Ok(Some(asked)) => asked,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("tftrt-convert: {why}\nsee tftrt-convert --help");
            return ExitCode::from(2);
        }
    };
    if let Some(why) = tftrt::plugin::load_error() {
        eprintln!("tftrt-convert: {why}");
        return ExitCode::FAILURE;
    }
    match convert(&options, tensorflow.as_deref()) {
        Ok(converted) => {
            println!(
                "{}: {} engines, {} other nodes, {} variables frozen",
                options.output,
                converted.engines.len(),
                converted.native_nodes,
                converted.variables
            );
            for name in &converted.engines {
                println!("  {name}");
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("tftrt-convert: {why}");
            ExitCode::FAILURE
        }
    }
}
