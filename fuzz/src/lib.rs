//! What the fuzz targets do with raw bytes: they make rows, shapes and options of them, call the library on every
//! instruction set, and hold what comes of it against the definitions in f64, to the bounds that the documentation states.
//!
//! Each of [`TARGETS`] is a module, and its `check` panics where something does not hold. [`bytes`] makes inputs of bytes,
//! and [`judge`] has what is common to all: instruction sets, threads, and comparisons.

pub mod bytes;
pub mod divergences;
pub mod judge;
pub mod losses;
pub mod moments;
pub mod readers;
pub mod sampling;
pub mod softmax;

// Those of the command, which is no library, with what they need of it. Some of it is for what else the command does.
#[allow(dead_code, reason = "the command uses more of it")]
#[path = "../../crates/cli/src/array/mod.rs"]
mod array;
#[allow(dead_code, reason = "the command uses more of it")]
#[path = "../../crates/cli/src/text.rs"]
mod text;

/// What the command answers to a command line that makes no sense.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// What the command says on standard error.
fn warn(_: &str) {}

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 6] = [
    ("softmax", softmax::check),
    ("moments", moments::check),
    ("losses", losses::check),
    ("divergences", divergences::check),
    ("sampling", sampling::check),
    ("readers", readers::check),
];
