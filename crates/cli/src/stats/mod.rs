//! `logits stats`: what every row says, as numbers.

use std::path::PathBuf;

use anyhow::Result;
use indicatif::ProgressBar;
use logits::{Candidate, RowStatistics, Rows, Statistics};

use crate::array::{Array, ensure_one_stream};
use crate::classes::Classes;
use crate::found::Found;
use crate::output::printed;
use crate::report::{Format, Report};
use crate::targets::{ClassFile, IGNORED, refused};
use crate::workers::{Computing, Workers, parse_positive_temperature};
use crate::{progress, warn};

mod values;

use values::{Columns, Record};

const EXAMPLES: &str = "\
Examples:
  logits stats logits.npy
  logits stats logits.npy --targets tokens.npy --format csv > statistics.csv
  logits stats logits.npy --top 3 --classes names.txt

All but max is of softmax(x / T). Entropy is in nats, varentropy in nats squared: the
variance of -log p. Perplexity is exp(entropy). The rank of a target is the number of
classes that are no less probable, itself among them. Rows with the target -100 have no
target. Without a distribution (NaN, +inf, nothing but -inf) there are no numbers: NaN
in the table and in CSV, null in JSON.";

/// Prints maximum, logsumexp, entropy and more for every row, and how probable targets are.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The logits: an .npy or .safetensors file, or - for standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// A class for each row, for its log-probability and rank: an .npy file of integers
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,

    /// How many of the most probable classes to name
    #[arg(long, value_name = "N", default_value_t = 0)]
    top: usize,

    /// Statistics of softmax(x / T)
    #[arg(short, long, value_name = "T", default_value = "1", value_parser = parse_positive_temperature, allow_negative_numbers = true)]
    temperature: f64,

    /// The names of the classes, one a line
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// The tensor to read, of a .safetensors file with several
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,

    #[command(flatten)]
    computing: Computing,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut inputs = vec![&*arguments.input];
    inputs.extend(arguments.targets.as_deref());
    ensure_one_stream(&inputs)?;
    let workers = arguments.computing.workers()?;
    let mut array = Array::open(&arguments.input, arguments.tensor.as_deref(), "logits")?;
    array.warn_of_conversion();
    let mut targets = match &arguments.targets {
        None => None,
        Some(path) => Some(ClassFile::open(path, "targets", &array)?),
    };
    let classes = match &arguments.classes {
        None => Classes::unnamed(),
        Some(path) => Classes::read(path, array.cols(), &array.name)?,
    };
    let top = arguments.top.min(array.cols());
    let columns = Columns { classes, has_targets: targets.is_some(), top };
    let mut report = arguments.format.report(array.title(), columns.names())?;
    let elements = if arguments.format.is_silent() { array.rows() * array.cols() } else { 0 };
    let without_distribution = progress::over(elements, |bar| {
        report_rows(
            &workers,
            arguments.temperature,
            &mut array,
            targets.as_mut(),
            &columns,
            &mut *report,
            bar,
        )
    })?;
    printed(report.finish())?;
    if let Some(text) = without_distribution.describe(array.rows(), "no distribution") {
        warn(&format!("{}: warning: {text}", array.name));
    }
    Ok(())
}

/// Reports all rows, and tells those that have no distribution.
fn report_rows(
    workers: &Workers,
    temperature: f64,
    array: &mut Array,
    mut targets: Option<&mut ClassFile>,
    columns: &Columns,
    report: &mut dyn Report,
    bar: &ProgressBar,
) -> Result<Found> {
    let mut without_distribution = Found::default();
    let (rows_per_block, cols) = (array.rows_per_block(), array.cols());
    if cols == 0 {
        return Ok(without_distribution);
    }
    let (mut logits, mut statistics, mut top) = (Vec::new(), Vec::new(), Vec::new());
    for first_row in (0..array.rows()).step_by(rows_per_block) {
        array.read_rows(rows_per_block, &mut logits)?;
        let rows = logits.len() / cols;
        statistics.resize(rows, RowStatistics::default());
        top.resize(rows * columns.top, Candidate::default());
        let mut options = Statistics::default();
        options.temperature = temperature;
        options.ignore_index = Some(IGNORED);
        if let Some(targets) = &mut targets {
            targets.read_rows(rows_per_block)?;
            options.chosen = Some(targets.block());
        }
        let result = workers.run(|engine| {
            engine.statistics_with(Rows::new(&logits, cols)?, &options, &mut statistics, &mut top)
        });
        result.map_err(|error| refused(error, array, targets.as_deref()))?;
        for (index, statistics) in statistics.iter().enumerate() {
            let row = first_row + index;
            if statistics.entropy.is_nan() {
                without_distribution.add(row, None);
            }
            let target = targets.as_ref().map(|targets| targets.class(index));
            let top = &top[index * columns.top..][..columns.top];
            printed(report.add(&columns.values(&Record { row, statistics, target, top })))?;
        }
        progress::advance(bar, &logits);
    }
    Ok(without_distribution)
}
