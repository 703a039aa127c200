//! One step of the work: a child process, and one line that says how long it took.

use std::fmt;
use std::process::Command;
use std::time::Instant;

/// Why a step did not succeed, in words for the user.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Failure(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub struct Step {
    name: String,
    begun: Instant,
    on_stderr: bool,
}

impl Step {
    pub fn new(name: &str) -> Self {
        Step {
            name: name.to_string(),
            begun: Instant::now(),
            on_stderr: false,
        }
    }

    /// Leaves stdout to the child alone.
    pub fn announce_on_stderr(&mut self) {
        self.on_stderr = true;
    }

    /// Runs the command to its end, with our own terminal, and prints the step's line. A command that cannot be started
    /// or exits with another code than 0 is a failure that names the step.
    pub fn run(self, command: &mut Command) -> Result<(), Failure> {
        let outcome = match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::new(format!("{} failed ({status}): {}", self.name, shown(command)))),
            Err(error) => Err(Failure::new(format!(
                "{}: {} cannot be started: {error}",
                self.name,
                command.get_program().to_string_lossy()
            ))),
        };
        self.say(if outcome.is_ok() { "done" } else { "FAILED" });
        outcome
    }

    /// The line for work that was done here, without a child process.
    pub fn say(&self, result: &str) {
        let line = format!("xtask: {} {result}, {:.1} s", self.name, self.begun.elapsed().as_secs_f64());
        if self.on_stderr { eprintln!("{line}") } else { println!("{line}") }
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
