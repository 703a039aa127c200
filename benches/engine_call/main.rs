//! TRTEngineOp's own time per call, around an engine of one Relu, on the CPU.
//!
//! A session runs a row of nodes that each compute one Relu in one of four ways ([`Way`]). The time of the whole row less
//! that of its first node alone, over the number of nodes between, is the time per call, without that of the session.
//! At the end stand the ratios: the ways take turns there, so that whatever else the machine does meets them alike.
//!
//! What is measured is checked: the outputs are equal, the native calls were not inlined, and the engines' own counters say
//! that each call of the row "engine" ran on an engine.

mod alone;
mod environment;
mod graph;
mod tensorflow;

use alone::Alone;
use criterion::{Criterion, Throughput};
use graph::{BATCHES, FEED, ROW, WIDTH, Way};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tensorflow::{Run, Session};
use tftrt::op::Resource;

/// For the ratios: so many rounds, in each of which every way has its turn of so many calls.
const ROUNDS: usize = 60;
const TURN: usize = 200;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("engine_call: {why}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<(), String> {
    environment::set()?;
    if let Some(why) = tftrt::plugin::load_error() {
        return Err(format!("tftrt is not registered: {why}"));
    }
    let session = Session::new(&graph::graph())?;
    let mut batches = Vec::new();
    for batch in BATCHES {
        batches.push(Batch::new(&session, batch)?);
    }

    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    for batch in &mut batches {
        let mut group = criterion.benchmark_group(format!("engine_call/batch {}", batch.size));
        group.throughput(Throughput::Elements(ROW as u64));
        for row in &batch.rows {
            group.bench_function(format!("{} x {ROW}", row.way.name()), |b| b.iter(|| row.whole.call()));
        }
        group.throughput(Throughput::Elements(1));
        group.bench_function("engine without TensorFlow", |b| {
            b.iter(|| batch.alone.run().map(<[u8]>::len).unwrap_or_else(|e| panic!("{e}")))
        });
        group.finish();
    }
    criterion.final_summary();

    // `cargo test --benches` and `--list` want no numbers.
    let quick = std::env::args().any(|argument| argument == "--test" || argument == "--list");
    if !quick {
        println!("TensorFlow {}, ONNX Runtime {}", tensorflow::version(), backend_version()?);
        for batch in &mut batches {
            batch.compare();
        }
    }
    check_counters(&batches)
}

fn backend_version() -> Result<String, String> {
    tftrt::engine::backend_for(None)
        .and_then(|b| b.version())
        .map_err(|e| e.to_string())
}

/// What is measured for one batch size.
struct Batch<'s> {
    size: i64,
    rows: Vec<Row<'s>>,
    alone: Alone,
}

/// The nodes of one way.
struct Row<'s> {
    way: Way,
    first: Run<'s>,
    whole: Run<'s>,
}

impl<'s> Batch<'s> {
    /// Runs everything once, which builds the engines, and checks that all ways give the Relu of the input.
    fn new(session: &'s Session, size: i64) -> Result<Batch<'s>, String> {
        let input: Vec<f32> = (0..size * WIDTH).map(|i| (i % 7) as f32 - 3.0).collect();
        let expected: Vec<f32> = input.iter().map(|value| value.max(0.0)).collect();
        let dims = [size, WIDTH];
        let mut rows = Vec::new();
        for way in Way::ALL {
            let run = |place| session.run_of(FEED, &input, &dims, &way.node(size, place));
            let row = Row {
                way,
                first: run(0)?,
                whole: run(ROW - 1)?,
            };
            for run in [&row.first, &row.whole] {
                if run.output()? != expected {
                    return Err(format!("batch {size}, {}: the output is not the Relu of the input", way.name()));
                }
            }
            let executed = row.whole.count_executed(way.op())?;
            if executed != ROW {
                return Err(format!(
                    "TensorFlow runs {executed} nodes of type {} where {ROW} were to be measured",
                    way.op()
                ));
            }
            rows.push(row);
        }
        let mut alone = Alone::build(&input, size)?;
        let expected: Vec<u8> = expected.iter().flat_map(|value| value.to_ne_bytes()).collect();
        // The first run of a shape is another way through the backend than all later ones.
        for _ in 0..2 {
            if alone.run().map_err(|e| e.to_string())? != expected {
                return Err(format!("batch {size}, the engine alone: the output is not the Relu of the input"));
            }
        }
        Ok(Batch { size, rows, alone })
    }

    /// Measures in turns and prints the time per call of each way, the ratios first.
    fn compare(&mut self) {
        let mut samples: Vec<Vec<f64>> = vec![Vec::with_capacity(ROUNDS); self.rows.len()];
        let mut alone = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            for (row, samples) in self.rows.iter().zip(&mut samples) {
                let whole = turn(|| row.whole.call());
                let first = turn(|| row.first.call());
                samples.push((whole - first) / (ROW - 1) as f64);
            }
            alone.push(turn(|| {
                self.alone.run().unwrap_or_else(|e| panic!("{e}"));
            }));
        }
        let of = |way: Way| &samples[Way::ALL.iter().position(|w| *w == way).unwrap_or_default()];
        let engine = of(Way::Engine);
        println!("\nbatch {}, per call, medians (and quartiles) of {ROUNDS} rounds:", self.size);
        for other in [Way::Native, Way::Fallback] {
            let ratios = engine.iter().zip(of(other)).map(|(a, b)| a / b).collect();
            let [low, middle, high] = quartiles(ratios);
            println!(
                "  {:<26}{middle:8.2}    ({low:.2} to {high:.2})",
                format!("engine / {}", other.name())
            );
        }
        let say = |what: &str, times: Vec<f64>| {
            let [low, middle, high] = quartiles(times);
            println!("  {what:<26}{middle:8.2} us ({low:.2} to {high:.2})");
        };
        for way in Way::ALL {
            say(way.name(), of(way).clone());
        }
        let own = engine.iter().zip(&alone).map(|(whole, engine)| whole - engine).collect();
        say("engine without TensorFlow", alone);
        // With the executor's time for a node, which "plain Relu" has as well.
        say("the op around the engine", own);
    }
}

/// Microseconds per call over one turn.
fn turn(mut call: impl FnMut()) -> f64 {
    let begun = Instant::now();
    for _ in 0..TURN {
        call();
    }
    begun.elapsed().as_secs_f64() * 1e6 / TURN as f64
}

/// The first quartile, the median and the third quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
}

/// Holds the engines' counters against the calls that were made: each ran where it was to run.
fn check_counters(batches: &[Batch<'_>]) -> Result<(), String> {
    let calls = |way: Way| -> u64 {
        let rows = batches.iter().flat_map(|b| &b.rows).filter(|row| row.way == way);
        rows.map(|row| row.first.calls() + row.whole.calls() * ROW as u64).sum()
    };
    let stats = Resource::stats();
    let totals = &stats["totals"];
    for (counter, way) in [("engine_calls", Way::Engine), ("native_no_engine", Way::Fallback)] {
        if totals[counter].as_u64() != Some(calls(way)) {
            return Err(format!(
                "{} calls of the row \"{}\", but {counter} is {}: what was measured is something else; the log (TF_CPP_MIN_LOG_LEVEL=0) tells what",
                calls(way),
                way.name(),
                totals[counter]
            ));
        }
    }
    println!("\n{} engine calls were counted, as many as were made", calls(Way::Engine));
    Ok(())
}
