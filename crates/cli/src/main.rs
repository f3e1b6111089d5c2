//! The command `logits`: softmax, losses, divergences and calibration over files, a look at single rows, and throughput
//! on this machine.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod array;
mod bench;
mod calibrate;
mod classes;
mod ctc;
mod estimate;
mod explain;
mod found;
mod interrupt;
mod kl;
mod loss;
mod output;
mod progress;
mod report;
mod sample;
mod softmax;
mod stats;
mod style;
mod table;
mod targets;
mod text;
mod workers;

const EXIT_CODES: &str = "\
Exit codes:
  0  done (also when whoever read the output stopped reading)
  1  failed: a bad file, a full disk, a kernel that broke its promise
  2  the command line makes no sense

Environment:
  LOGITS_ISA      the instruction set to use where --isa is not given
  NO_COLOR        no colours; there are none either where the output is not a terminal
  CLICOLOR_FORCE  colours in any case";

/// Turns the raw scores of models into probabilities, shows what is in them, and how fast.
#[derive(Debug, Parser)]
#[command(name = "logits", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Softmax(softmax::Arguments),
    Explain(explain::Arguments),
    Stats(stats::Arguments),
    Sample(Box<sample::Arguments>),
    Loss(loss::Arguments),
    Kl(kl::Arguments),
    Calibrate(calibrate::Arguments),
    Bench(bench::Arguments),
}

/// A mistake on the command line that only shows once it is seen whole.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// One line on standard error, if anyone listens.
fn warn(message: &str) {
    let _ = writeln!(anstream::stderr(), "logits: {message}");
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Softmax(arguments) => softmax::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Stats(arguments) => stats::run(&arguments),
        Command::Sample(arguments) => sample::run(&arguments),
        Command::Loss(arguments) => loss::run(&arguments),
        Command::Kl(arguments) => kl::run(&arguments),
        Command::Calibrate(arguments) => calibrate::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    let closed_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if error.chain().any(|cause| cause.downcast_ref().is_some_and(closed_pipe)) {
        return ExitCode::SUCCESS; // whoever reads has seen enough
    }
    warn(&format!("{error:#}"));
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}
