//! `logits softmax`: an array file in, its probabilities out, block by block.

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use indicatif::ProgressBar;
use logits::{Engine, MaskedRows, Rows, RowsMut, Softmax};

use crate::array::{Array, display_name, npy, safetensors};
use crate::found::Found;
use crate::output::{Output, is_same_file};
use crate::workers::{Computing, Workers, parse_temperature};
use crate::{Usage, interrupt, progress, warn};

const EXAMPLES: &str = "\
Examples:
  logits softmax logits.npy -o probabilities.npy
  logits softmax --log --temperature 0.7 logits.npy -o log_probabilities.npy
  logits softmax model.safetensors --tensor lm_head.out -o probabilities.safetensors
  cat logits.npy | logits softmax - > probabilities.npy

Arrays of any number of axes are read, in C order, little-endian: f32 as it is; f64, f16
and bf16 are converted. The output is f32 of the same shape. A row with NaN or +inf
becomes NaN, as does a row that is -inf throughout (see --masked-rows); the other rows
are not touched by it, a warning on standard error says where it is, and the exit code
stays 0.";

/// Turns rows of logits into probabilities, along the last axis.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The logits: an .npy or .safetensors file, or - for standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Where the result goes: .safetensors if so named, else .npy; - for standard output.
    /// Without it, standard output if that is not a terminal
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Natural logarithms of the probabilities
    #[arg(long)]
    log: bool,

    /// Softmax of x / T: 0 is one-hot, inf is uniform
    #[arg(short, long, value_name = "T", default_value = "1", value_parser = parse_temperature, allow_negative_numbers = true)]
    temperature: f64,

    /// What a row becomes that is -inf throughout
    #[arg(long, value_enum, default_value_t = Masked::Nan)]
    masked_rows: Masked,

    /// The tensor to read, of a .safetensors file with several
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,

    /// Let OUT replace the input file
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    computing: Computing,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Masked {
    /// NaN
    Nan,
    /// Probabilities of 0, log-probabilities of -inf
    Zeros,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let output = arguments.output.as_deref();
    if output.is_none() && std::io::stdout().is_terminal() {
        bail!(Usage(
            "the result is not text: name a file with -o OUT.npy, or redirect standard output".into()
        ));
    }
    if let Some(output) = output
        && !arguments.overwrite
        && is_same_file(&arguments.input, output)
    {
        bail!(
            "{}: is the input file too ({}); --overwrite lets the output replace it",
            output.display(),
            display_name(&arguments.input)
        );
    }
    let workers = arguments.computing.workers()?;
    let mut array = Array::open(&arguments.input, arguments.tensor.as_deref(), "logits")?;
    array.warn_of_conversion();

    interrupt::watch()?;
    let mut output = Output::create(output)?;
    output.write(|out| write_header(arguments, &array, &mut { out }))?;
    let oddities = progress::over(array.rows() * array.cols(), |bar| {
        convert(arguments, &workers, &mut array, &mut output, bar)
    })?;
    output.finish()?;
    oddities.warn(&array.name, array.rows(), arguments.masked_rows);
    Ok(())
}

fn write_header(arguments: &Arguments, array: &Array, out: &mut impl Write) -> std::io::Result<()> {
    let named = |path: &Path| path.extension() == Some(OsStr::new("safetensors"));
    if arguments.output.as_deref().is_some_and(named) {
        let operation = if arguments.log { "log_softmax" } else { "softmax" };
        safetensors::write_header(out, array.tensor.as_deref().unwrap_or(operation), &array.shape)
    } else {
        npy::write_header(out, "<f4", &array.shape)
    }
}

fn convert(
    arguments: &Arguments,
    workers: &Workers,
    array: &mut Array,
    output: &mut Output,
    bar: &ProgressBar,
) -> Result<Oddities> {
    let mut oddities = Oddities::default();
    let cols = array.cols();
    if cols == 0 {
        return Ok(oddities);
    }
    let masked_rows = match arguments.masked_rows {
        Masked::Nan => MaskedRows::Nan,
        Masked::Zeros => MaskedRows::Zeros,
    };
    let options = Softmax { temperature: arguments.temperature, masked_rows };
    let (mut logits, mut result, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for first_row in (0..array.rows()).step_by(array.rows_per_block()) {
        array.read_rows(array.rows_per_block(), &mut logits)?;
        result.resize(logits.len(), 0.0);
        workers
            .run(|engine| apply(engine, arguments.log, &options, &logits, &mut result, cols))
            .with_context(|| array.name.clone())?;
        oddities.look(&logits, &result, cols, first_row);
        bytes.resize(result.len() * size_of::<f32>(), 0);
        for (bytes, element) in bytes.chunks_exact_mut(size_of::<f32>()).zip(&result) {
            bytes.copy_from_slice(&element.to_le_bytes());
        }
        output.write(|out| out.write_all(&bytes))?;
        progress::advance(bar, &logits);
    }
    Ok(oddities)
}

fn apply(
    engine: &Engine,
    log: bool,
    options: &Softmax,
    logits: &[f32],
    result: &mut [f32],
    cols: usize,
) -> Result<(), logits::Error> {
    let (logits, result) = (Rows::new(logits, cols)?, RowsMut::new(result, cols)?);
    if log {
        engine.log_softmax_with(logits, result, options)
    } else {
        engine.softmax_with(logits, result, options)
    }
}

/// The rows whose result may surprise.
#[derive(Debug, Default, PartialEq)]
struct Oddities {
    nan: Found,
    infinite: Found,
    masked: Found,
}

impl Oddities {
    fn look(&mut self, logits: &[f32], result: &[f32], cols: usize, first_row: usize) {
        for (index, (logits, result)) in logits.chunks_exact(cols).zip(result.chunks_exact(cols)).enumerate()
        {
            let row = first_row + index;
            // All three kinds show in the first column; a row without costs nothing more.
            if !result[0].is_nan() && logits[0] != f32::NEG_INFINITY {
                continue;
            }
            if let Some(col) = logits.iter().position(|x| x.is_nan()) {
                self.nan.add(row, Some(col));
            } else if let Some(col) = logits.iter().position(|&x| x == f32::INFINITY) {
                self.infinite.add(row, Some(col));
            } else if logits.iter().all(|&x| x == f32::NEG_INFINITY) {
                self.masked.add(row, Some(0));
            }
        }
    }

    fn warn(&self, name: &str, rows: usize, masked_rows: Masked) {
        let masked = match masked_rows {
            Masked::Nan => "NaN (see --masked-rows)",
            Masked::Zeros => "no probability at all",
        };
        let lines = [
            self.nan.describe(rows, "NaN").map(|text| format!("{text}: the result there is NaN")),
            self.infinite.describe(rows, "+inf").map(|text| format!("{text}: the result there is NaN")),
            self.masked
                .describe(rows, "nothing but -inf")
                .map(|text| format!("{text}: the result there is {masked}")),
        ];
        for line in lines.into_iter().flatten() {
            warn(&format!("{name}: warning: {line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_rows_are_told_apart() {
        const MASKED: f32 = f32::NEG_INFINITY;
        let logits = [0.0, 1.0, MASKED, 1.0, MASKED, MASKED, 0.0, f32::NAN, MASKED, f32::INFINITY];
        let mut result = [f32::NAN; 10];
        result[..4].fill(0.5);
        let mut oddities = Oddities::default();
        oddities.look(&logits, &result, 2, 10);
        let found = |row, col| {
            let mut found = Found::default();
            found.add(row, Some(col));
            found
        };
        assert_eq!(oddities, Oddities { masked: found(12, 0), nan: found(13, 1), infinite: found(14, 1) });
    }
}
