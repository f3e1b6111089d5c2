//! `logits loss`: the cross-entropy of rows with their targets.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use logits::{CrossEntropy, Loss, RowLoss, Rows};

use crate::array::{Array, ensure_one_stream};
use crate::estimate::{Estimate, with_error};
use crate::found::Found;
use crate::output::{PerRow, printed};
use crate::targets::{IGNORED, TargetFile, refused};
use crate::workers::{Computing, Workers};
use crate::{progress, style, text, warn};

const EXAMPLES: &str = "\
Examples:
  logits loss logits.npy labels.npy
  logits loss logits.npy labels.npy --label-smoothing 0.1 --weights weights.npy
  logits loss student.npy teacher_probabilities.npy --per-row losses.npy

Targets are integers, a class for each row, or numbers of the shape of the logits, a
probability for each class. The mean is the sum by the weight: by the weights of the
targets that count, and by the rows where targets are probabilities, as in PyTorch.
Perplexity is exp(mean). What follows ± is the standard error.";

/// Prints the mean cross-entropy of rows of logits with their targets, in nats.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The logits: an .npy or .safetensors file, or - for standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// The targets: an .npy file
    #[arg(value_name = "TARGETS")]
    targets: PathBuf,

    /// Rows with this target do not count
    #[arg(long, value_name = "I", default_value_t = IGNORED, allow_negative_numbers = true)]
    ignore_index: i64,

    /// How much of each target is spread over all classes
    #[arg(long, value_name = "A", default_value = "0", value_parser = parse_smoothing, allow_negative_numbers = true)]
    label_smoothing: f64,

    /// A weight for each class: an .npy file
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    /// How much of the square of each row's logsumexp is added
    #[arg(long, value_name = "S", default_value = "0", value_parser = parse_z_loss, allow_negative_numbers = true)]
    z_loss: f64,

    /// Where the loss of each row goes, as f64, 0 where it does not count: an .npy file
    #[arg(long, value_name = "OUT")]
    per_row: Option<PathBuf>,

    /// The tensor to read, of a .safetensors file with several
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,

    #[command(flatten)]
    computing: Computing,
}

fn parse_smoothing(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "a label smoothing is a number from 0 to 1".into())
}

fn parse_z_loss(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..f64::INFINITY).contains(number));
    number.ok_or_else(|| "a z-loss is a number from 0 on".into())
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut inputs = vec![&*arguments.input, &*arguments.targets];
    inputs.extend(arguments.weights.as_deref());
    ensure_one_stream(&inputs)?;
    let workers = arguments.computing.workers()?;
    let mut array = Array::open(&arguments.input, arguments.tensor.as_deref(), "logits")?;
    array.warn_of_conversion();
    array.ensure_filled()?;
    let mut targets = TargetFile::open(&arguments.targets, &array)?;
    let weights = match &arguments.weights {
        None => None,
        Some(path) => Some(read_weights(path, &array)?),
    };
    let mut options = CrossEntropy::default();
    options.ignore_index = Some(arguments.ignore_index);
    options.label_smoothing = arguments.label_smoothing;
    options.weights = weights.as_deref();
    options.z_loss = arguments.z_loss;

    let mut per_row = PerRow::create(arguments.per_row.as_deref(), &array, &inputs)?;
    let total = progress::over(array.rows() * array.cols(), |bar| {
        add_up(&workers, &mut array, &mut targets, &options, &mut per_row, bar)
    })?;
    per_row.finish()?;
    total.warn(&array);
    let mut out = anstream::stdout().lock();
    printed(total.write(&mut out, &array))?;
    printed(out.flush())
}

fn read_weights(path: &Path, logits: &Array) -> Result<Vec<f32>> {
    let mut array = Array::open_npy(path, "weights")?;
    let (name, mut weights) = (array.name.clone(), Vec::new());
    array.read_rows(array.rows(), &mut weights)?;
    ensure!(
        weights.len() == logits.cols(),
        "{name}: holds {} weights, but the rows of {} have {} columns",
        weights.len(),
        logits.name,
        logits.cols()
    );
    for (class, weight) in weights.iter().enumerate() {
        ensure!(
            *weight >= 0.0 && weight.is_finite(),
            "{name}: the weight of class {class} is {weight}: it must be 0 or more, and finite"
        );
    }
    Ok(weights)
}

/// What is known of all rows.
#[derive(Default)]
struct Total {
    loss: Loss,
    estimate: Estimate,
    nan: Found,
    infinite: Found,
}

fn add_up(
    workers: &Workers,
    array: &mut Array,
    targets: &mut TargetFile,
    options: &CrossEntropy<'_>,
    per_row: &mut PerRow,
    bar: &ProgressBar,
) -> Result<Total> {
    let mut total = Total::default();
    let (rows_per_block, cols) = (array.rows_per_block(), array.cols());
    let (mut logits, mut losses, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for first_row in (0..array.rows()).step_by(rows_per_block) {
        array.read_rows(rows_per_block, &mut logits)?;
        targets.read_rows(rows_per_block)?;
        losses.resize(logits.len() / cols, RowLoss::default());
        let block = targets.block()?;
        let loss = workers
            .run(|engine| engine.cross_entropy_with(Rows::new(&logits, cols)?, block, options, &mut losses))
            .map_err(|error| refused(error, array, targets.classes()))?;
        total.add(first_row, loss, &losses);
        numbers.clear();
        numbers.extend(losses.iter().map(|row| row.loss));
        per_row.write(&numbers)?;
        progress::advance(bar, &logits);
    }
    Ok(total)
}

impl Total {
    fn add(&mut self, first_row: usize, loss: Loss, losses: &[RowLoss]) {
        self.loss = self.loss.merge(loss);
        for (index, row) in losses.iter().enumerate() {
            // What has neither is ignored, or counts nothing.
            if row.loss != 0.0 || row.weight != 0.0 {
                self.estimate.add(row.loss, row.weight);
            }
            if row.loss.is_nan() {
                self.nan.add(first_row + index, None);
            } else if row.loss.is_infinite() {
                self.infinite.add(first_row + index, None);
            }
        }
    }

    fn warn(&self, array: &Array) {
        let lines = [
            self.nan.describe(array.rows(), "a loss of NaN"),
            self.infinite.describe(array.rows(), "a loss of inf: the target's logit is -inf"),
        ];
        for line in lines.into_iter().flatten() {
            warn(&format!("{}: warning: {line}", array.name));
        }
    }

    fn write(&self, out: &mut impl Write, array: &Array) -> io::Result<()> {
        let Loss { sum, weight, count } = self.loss;
        writeln!(out, "{}", style::bold(&array.title()))?;
        let mean = self.loss.mean();
        let error = self.estimate.standard_error();
        let perplexity = self.loss.perplexity();
        let lines = [
            ("mean loss", with_error(mean, error, 0)),
            ("perplexity", with_error(perplexity, perplexity * error, 0)),
            ("sum", text::decimals(sum, 6)),
            ("weight", text::whole(weight, 6)),
            ("count", count.to_string()),
        ];
        for (label, value) in lines {
            writeln!(out, "{}{value}", text::left(label, 12))?;
        }
        Ok(())
    }
}
