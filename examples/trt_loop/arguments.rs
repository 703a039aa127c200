//! The command line.

use std::path::PathBuf;

pub const USAGE: &str = "usage: trt_loop --lib DIR_OR_FILE [--device N] [--profile K] [--calls N] [--input FILE]... --shapes JSON PLAN
       trt_loop --loads N [--until engine|context|run] [--runtime-each] --lib DIR_OR_FILE ... --shapes JSON PLAN";

pub struct Arguments {
    pub library: Option<PathBuf>,
    pub device: i32,
    pub profile: usize,
    pub calls: usize,
    pub shapes: Vec<Vec<i64>>,
    /// One for each shape, or none at all.
    pub inputs: Vec<PathBuf>,
    pub plan: PathBuf,
    /// How often the plan is loaded, where that is what is looked at.
    pub loads: Option<usize>,
    pub until: Until,
    pub runtime_each: bool,
}

impl Arguments {
    pub fn read_plan(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.plan).map_err(|e| format!("{}: {e}", self.plan.display()))
    }
}

/// How far each of the loads goes before all of it is let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    Engine,
    Context,
    Run,
}

pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (mut library, mut device, mut profile, mut calls) = (None, 0, 0, 50);
    let (mut shapes, mut inputs, mut plan) = (Vec::<Vec<i64>>::new(), Vec::new(), None);
    let (mut loads, mut until, mut runtime_each) = (None, Until::Run, false);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value\n{USAGE}"));
        let bad = |e: std::num::ParseIntError| format!("{word}: {e}\n{USAGE}");
        match word.as_str() {
            "--lib" => library = Some(PathBuf::from(value()?)),
            "--device" => device = value()?.parse().map_err(bad)?,
            "--profile" => profile = value()?.parse().map_err(bad)?,
            "--calls" => calls = value()?.parse::<usize>().map_err(bad)?.max(1),
            "--shapes" => shapes = serde_json::from_str(&value()?).map_err(|e| format!("--shapes: {e}\n{USAGE}"))?,
            "--input" => inputs.push(PathBuf::from(value()?)),
            "--loads" => loads = Some(value()?.parse::<usize>().map_err(bad)?.max(1)),
            "--until" => {
                until = match value()?.as_str() {
                    "engine" => Until::Engine,
                    "context" => Until::Context,
                    "run" => Until::Run,
                    other => return Err(format!("--until takes engine, context or run, not {other}\n{USAGE}")),
                }
            }
            "--runtime-each" => runtime_each = true,
            _ if word.starts_with("--") => return Err(format!("there is no {word}\n{USAGE}")),
            _ => plan = Some(PathBuf::from(word)),
        }
    }
    if !inputs.is_empty() && inputs.len() != shapes.len() {
        let (given, wanted) = (inputs.len(), shapes.len());
        return Err(format!(
            "--input was given {given} times, and --shapes has {wanted} shapes: none, or one for each\n{USAGE}"
        ));
    }
    Ok(Arguments {
        library,
        device,
        profile,
        calls,
        shapes,
        inputs,
        plan: plan.ok_or(USAGE)?,
        loads,
        until,
        runtime_each,
    })
}
