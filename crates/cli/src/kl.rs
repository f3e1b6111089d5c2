//! `logits kl`: how far the distributions of one file are from those of another, in the words of llama-perplexity.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use indicatif::ProgressBar;
use logits::{Distribution, Engine, RowStatistics, Rows, Softmax, Statistics};

use crate::array::{Array, Shape, ensure_one_stream};
use crate::estimate::{Estimate, with_error};
use crate::found::Found;
use crate::output::{PerRow, printed};
use crate::targets::{ClassFile, IGNORED, refused};
use crate::workers::{Computing, Workers, parse_positive_temperature};
use crate::{Usage, progress, style, text, warn};

const EXAMPLES: &str = "\
Examples:
  logits kl f16.npy q4.npy
  logits kl f16.npy q4.npy --targets tokens.npy --per-row divergences.npy
  logits kl teacher.npy student.npy --temperature 2 --js 0.1

P is the base, Q what is to be like it: KLD is KL(P||Q) in nats. JSD with BETA is
BETA KL(P||M) + (1 - BETA) KL(Q||M) with M = BETA P + (1 - BETA) Q; 0 is KL(P||Q), and 1
is KL(Q||P). Same top p is how often both have the same most probable class. What follows
± is the standard error. Rows with the target -100 are left out.";

/// Prints the Kullback-Leibler divergence of two files of distributions, or the Jensen-Shannon one.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The base: an .npy or .safetensors file, or - for standard input
    #[arg(value_name = "P")]
    p: PathBuf,

    /// What is compared with it: a file of the same shape
    #[arg(value_name = "Q")]
    q: PathBuf,

    /// Of softmax(x / T), both of them
    #[arg(short, long, value_name = "T", default_value = "1", value_parser = parse_positive_temperature, allow_negative_numbers = true)]
    temperature: f64,

    /// What the files hold
    #[arg(long, value_enum, default_value_t = Of::Logits)]
    of: Of,

    /// The Jensen-Shannon divergence instead
    #[arg(long, value_name = "BETA", num_args = 0..=1, default_missing_value = "0.5", value_parser = parse_beta, allow_negative_numbers = true)]
    js: Option<f64>,

    /// Where the divergence of each row goes, as f64: an .npy file
    #[arg(long, value_name = "OUT")]
    per_row: Option<PathBuf>,

    /// A class for each row, for the perplexities: an .npy file of integers
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,

    /// The tensor to read, of .safetensors files with several
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,

    #[command(flatten)]
    computing: Computing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    Logits,
    LogProbabilities,
    Probabilities,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::LogProbabilities => "log-probabilities",
            Self::Probabilities => "probabilities",
        }
    }

    fn distribution(self, rows: Rows<'_>) -> Distribution<'_> {
        match self {
            Self::Logits => Distribution::Logits(rows),
            Self::LogProbabilities => Distribution::LogProbabilities(rows),
            Self::Probabilities => Distribution::Probabilities(rows),
        }
    }
}

fn parse_beta(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "BETA is a number from 0 to 1; a file stands before --js, or behind --".into())
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { of, temperature, js, .. } = *arguments;
    ensure!(
        of != Of::Probabilities || temperature == 1.0,
        Usage("--temperature is for logits and log-probabilities, not for probabilities".into())
    );
    let mut inputs = vec![&*arguments.p, &*arguments.q];
    inputs.extend(arguments.targets.as_deref());
    ensure_one_stream(&inputs)?;
    let workers = arguments.computing.workers()?;
    let open = |path: &Path| Side::open(path, arguments.tensor.as_deref(), of);
    let (mut p, mut q) = (open(&arguments.p)?, open(&arguments.q)?);
    p.array.ensure_filled()?;
    ensure!(
        p.array.shape == q.array.shape,
        "{}: has shape {}, but {} has shape {}",
        q.array.name,
        Shape(&q.array.shape),
        p.array.name,
        Shape(&p.array.shape)
    );
    let mut targets = match &arguments.targets {
        None => None,
        Some(path) => Some(ClassFile::open(path, "targets", &p.array)?),
    };
    let mut per_row = PerRow::create(arguments.per_row.as_deref(), &p.array, &inputs)?;
    let measure = Measure { of, temperature, js };
    let elements = 2 * p.array.rows() * p.array.cols();
    let comparison = progress::over(elements, |bar| {
        compare(&workers, measure, [&mut p, &mut q], targets.as_mut(), &mut per_row, bar)
    })?;
    per_row.finish()?;

    comparison.warn(&q.array);
    let mut out = anstream::stdout().lock();
    let base = p.array.title_without(comparison.left_out);
    let title = format!("{} against {base}", text::printable(&q.array.name));
    printed(comparison.write(&mut out, &title))?;
    printed(out.flush())
}

/// What is computed of each row.
#[derive(Clone, Copy)]
struct Measure {
    of: Of,
    temperature: f64,
    js: Option<f64>,
}

impl Measure {
    fn name(self) -> &'static str {
        if self.js.is_some() { "JSD" } else { "KLD" }
    }

    fn apply(self, engine: &Engine, p: Rows<'_>, q: Rows<'_>, out: &mut [f64]) -> Result<(), logits::Error> {
        let (p, q) = (self.of.distribution(p), self.of.distribution(q));
        let options = Softmax { temperature: self.temperature, ..Softmax::default() };
        match self.js {
            None => engine.kl_divergence_with(p, q, &options, out)?,
            Some(beta) => engine.js_divergence_with(p, q, beta, &options, out)?,
        };
        Ok(())
    }
}

/// One of the two files.
struct Side {
    array: Array,
    block: Vec<f32>,
    statistics: Vec<RowStatistics>,
}

impl Side {
    fn open(path: &Path, tensor: Option<&str>, of: Of) -> Result<Self> {
        let array = Array::open(path, tensor, of.name())?;
        array.warn_of_conversion();
        Ok(Self { array, block: Vec::new(), statistics: Vec::new() })
    }

    fn rows(&self) -> Result<Rows<'_>> {
        Rows::new(&self.block, self.array.cols()).with_context(|| self.array.name.clone())
    }

    /// Finds the most probable classes of the block, and how probable the targets are. Of probabilities taken for logits
    /// the former is the same.
    fn look(&mut self, workers: &Workers, temperature: f64, targets: Option<&ClassFile>) -> Result<()> {
        let mut options = Statistics::default();
        options.temperature = temperature;
        options.chosen = targets.map(ClassFile::block);
        options.ignore_index = Some(IGNORED);
        let rows = Rows::new(&self.block, self.array.cols()).with_context(|| self.array.name.clone())?;
        self.statistics.resize(self.block.len() / self.array.cols(), RowStatistics::default());
        workers
            .run(|engine| engine.statistics_with(rows, &options, &mut self.statistics, &mut []))
            .map_err(|error| refused(error, &self.array, targets))
    }

    /// Of the target of a row of the block.
    fn log_probability(&self, of: Of, index: usize, class: usize) -> f64 {
        if of == Of::Probabilities {
            let row = &self.block[index * self.array.cols()..][..self.array.cols()];
            // What their rounding has added does not count, as in the divergence.
            return (f64::from(row[class]) / row.iter().copied().map(f64::from).sum::<f64>()).ln();
        }
        self.statistics[index].chosen.map_or(f64::NAN, |chosen| chosen.log_probability)
    }
}

/// What is known of all rows that count.
struct Comparison {
    name: &'static str,
    divergences: Vec<f64>,
    mean: Estimate,
    same_top: usize,
    /// Of P and Q the negative logarithms of the targets' probabilities, if there are targets.
    losses: Option<[Estimate; 2]>,
    left_out: usize,
    nan: Found,
    infinite: Found,
}

fn compare(
    workers: &Workers,
    measure: Measure,
    [p, q]: [&mut Side; 2],
    mut targets: Option<&mut ClassFile>,
    per_row: &mut PerRow,
    bar: &ProgressBar,
) -> Result<Comparison> {
    let mut comparison = Comparison::new(measure.name(), targets.is_some());
    let (rows_per_block, cols) = (p.array.rows_per_block(), p.array.cols());
    let mut divergences = Vec::new();
    for first_row in (0..p.array.rows()).step_by(rows_per_block) {
        p.array.read_rows(rows_per_block, &mut p.block)?;
        q.array.read_rows(rows_per_block, &mut q.block)?;
        if let Some(targets) = &mut targets {
            targets.read_rows(rows_per_block)?;
        }
        let targets = targets.as_deref();
        for side in [&mut *p, &mut *q] {
            side.look(workers, measure.temperature, targets)?;
        }
        divergences.resize(p.block.len() / cols, 0.0);
        let (p_rows, q_rows) = (p.rows()?, q.rows()?);
        workers
            .run(|engine| measure.apply(engine, p_rows, q_rows, &mut divergences))
            .map_err(|error| refused(error, &q.array, targets))?;
        per_row.write(&divergences)?;
        for (index, &number) in divergences.iter().enumerate() {
            let class = targets.map(|targets| targets.class(index));
            if class == Some(IGNORED) {
                comparison.left_out += 1;
                continue;
            }
            comparison.add(
                first_row + index,
                number,
                p.statistics[index].argmax == q.statistics[index].argmax,
            );
            if let (Some(losses), Some(class)) = (&mut comparison.losses, class) {
                for (loss, side) in losses.iter_mut().zip([&*p, &*q]) {
                    loss.add(-side.log_probability(measure.of, index, class as usize), 1.0);
                }
            }
        }
        progress::advance(bar, &p.block);
        progress::advance(bar, &q.block);
    }
    if let Some(targets) = targets
        && comparison.divergences.is_empty()
    {
        bail!("{}: every target is {IGNORED}: nothing is left to compare", targets.name);
    }
    comparison.divergences.sort_unstable_by(f64::total_cmp);
    Ok(comparison)
}

impl Comparison {
    fn new(name: &'static str, has_targets: bool) -> Self {
        Self {
            name,
            divergences: Vec::new(),
            mean: Estimate::default(),
            same_top: 0,
            losses: has_targets.then(Default::default),
            left_out: 0,
            nan: Found::default(),
            infinite: Found::default(),
        }
    }

    fn add(&mut self, row: usize, divergence: f64, is_same_top: bool) {
        self.divergences.push(divergence);
        self.mean.add(divergence, 1.0);
        self.same_top += usize::from(is_same_top);
        if divergence.is_nan() {
            self.nan.add(row, None);
        } else if divergence.is_infinite() {
            self.infinite.add(row, None);
        }
    }

    fn warn(&self, q: &Array) {
        let name = self.name;
        let lines = [
            self.nan.describe(q.rows(), &format!("a {name} of NaN")),
            self.infinite
                .describe(q.rows(), &format!("a {name} of inf: a class of the one is none of the other")),
        ];
        for line in lines.into_iter().flatten() {
            warn(&format!("{}: warning: {line}", q.name));
        }
    }

    /// The labels and the order are those of llama-perplexity, so that what reads its output reads this.
    fn write(&self, out: &mut impl Write, title: &str) -> io::Result<()> {
        writeln!(out, "{}", style::bold(title))?;
        if let Some([p, q]) = &self.losses {
            for (label, loss) in [("Mean PPL(Q)", q), ("Mean PPL(base)", p)] {
                let perplexity = loss.mean().exp();
                let error = perplexity * loss.standard_error();
                writeln!(out, "{label:<30}: {}", with_error(perplexity, error, WIDTH))?;
            }
            writeln!(out)?;
        }

        let name = self.name;
        let mean = with_error(self.mean.mean(), self.mean.standard_error(), WIDTH);
        writeln!(out, "Mean    {name}: {mean}")?;
        for (label, fraction) in QUANTILES {
            let number = text::decimals(quantile(&self.divergences, fraction), 6);
            writeln!(out, "{label} {name}: {number:>WIDTH$}")?;
        }
        let count = self.divergences.len() as f64;
        let same = self.same_top as f64 / count;
        let error = (same * (1.0 - same) / (count - 1.0)).sqrt();
        let error = if error.is_finite() { format!(" ± {:5.3}", 100.0 * error) } else { String::new() };
        writeln!(out, "\nSame top p: {:6.3}{error} %", 100.0 * same)
    }
}

/// Of numbers.
const WIDTH: usize = 10;

const QUANTILES: [(&str, f64); 11] = [
    ("Maximum", 1.0),
    ("99.9%  ", 0.999),
    ("99.0%  ", 0.99),
    ("95.0%  ", 0.95),
    ("90.0%  ", 0.9),
    ("Median ", 0.5),
    ("10.0%  ", 0.1),
    (" 5.0%  ", 0.05),
    (" 1.0%  ", 0.01),
    (" 0.1%  ", 0.001),
    ("Minimum", 0.0),
];

/// Between two of the sorted numbers on the line from one to the other.
fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let at = fraction * (sorted.len() - 1) as f64;
    let below = sorted[at.floor() as usize];
    let above = sorted[at.ceil() as usize];
    // Not of infinity: a part of it may be 0.
    if below == above { below } else { below + at.fract() * (above - below) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between() {
        let sorted = [0.0, 1.0, 2.0, 10.0, f64::INFINITY];
        let at = |fraction| quantile(&sorted, fraction);
        assert_eq!((at(0.0), at(0.5), at(0.25), at(0.625)), (0.0, 2.0, 1.0, 6.0));
        assert_eq!((at(0.75), at(0.9), at(1.0)), (10.0, f64::INFINITY, f64::INFINITY));
        assert_eq!(quantile(&[3.0], 0.999), 3.0);
    }
}
