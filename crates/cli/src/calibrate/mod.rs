//! `logits calibrate`: the temperature at which a classifier is as sure as it is right.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use logits::{Calibration, Engine, RowStatistics, Rows, Statistics};

use crate::array::{Array, ensure_one_stream};
use crate::output::{create_beside_text, printed};
use crate::table::table;
use crate::targets::{ClassFile, refused};
use crate::workers::{Computing, Workers};
use crate::{progress, style, text};

mod plot;

const EXAMPLES: &str = "\
Examples:
  logits calibrate logits.npy labels.npy
  logits calibrate logits.npy labels.npy --apply logits2.npy labels2.npy --plot out.svg

The temperature T is that of the least NLL, the mean negative log-likelihood of the labels
under softmax(x / T). ECE is the expected calibration error, over 15 bins of equal width:
how far confidence, the probability of the most likely class, is from accuracy on average;
MCE is the largest such distance of a bin. Brier is the sum of squared differences between
probabilities and truth, in the mean. Rows with the label -100 are left out. The diagram
is of the set of --apply if that has labels. A fit reads the logits many times: they are
kept in memory.";

/// Fits a temperature to labelled logits, and prints how well calibrated they are before and after.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The logits to fit on: an .npy or .safetensors file, or - for standard input
    #[arg(value_name = "LOGITS")]
    logits: PathBuf,

    /// The class of each row: an .npy file of integers
    #[arg(value_name = "LABELS")]
    labels: PathBuf,

    /// Other logits to apply the temperature to, with their labels if there are any
    #[arg(long, value_names = ["LOGITS2", "LABELS2"], num_args = 1..=2)]
    apply: Vec<PathBuf>,

    /// Where a reliability diagram goes, before and after: an .svg file
    #[arg(long, value_name = "OUT")]
    plot: Option<PathBuf>,

    /// The tensor to read, of .safetensors files with several
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,

    #[command(flatten)]
    computing: Computing,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut inputs = vec![&*arguments.logits, &*arguments.labels];
    inputs.extend(arguments.apply.iter().map(PathBuf::as_path));
    ensure_one_stream(&inputs)?;
    let workers = arguments.computing.workers()?;
    let tensor = arguments.tensor.as_deref();
    let mut fitted = Set::open(&arguments.logits, Some(&arguments.labels), tensor)?;
    let mut applied = match arguments.apply.as_slice() {
        [] => None,
        [logits, labels @ ..] => Some(Set::open(logits, labels.first(), tensor)?),
    };
    let plot = match &arguments.plot {
        None => None,
        Some(path) => Some(create_beside_text(path, &inputs)?),
    };
    fitted.read()?;
    if let Some(applied) = &mut applied {
        applied.read()?;
    }

    let temperature = fitted.fit(&workers)?;
    let mut measured = Vec::new();
    for set in std::iter::once(&fitted).chain(&applied) {
        measured.push((set, set.measure(&workers, temperature)?));
    }
    if let Some(mut output) = plot {
        let drawn =
            measured.iter().rev().find_map(|(set, measured)| measured.reliability().map(|it| (set, it)));
        let (set, reliability) = drawn.expect("the first set has labels");
        let svg = plot::draw(&set.short_title(), reliability)?;
        output.write(|out| out.write_all(svg.as_bytes()))?;
        output.finish()?;
    }
    let mut out = anstream::stdout().lock();
    printed(writeln!(out, "temperature  {}", style::bold(&text::number(temperature))))?;
    for (set, measured) in &measured {
        printed(measured.write(&mut out, &set.array, temperature))?;
    }
    printed(out.flush())
}

/// Logits, and their labels if there are any.
struct Set {
    path: PathBuf,
    array: Array,
    logits: Vec<f32>,
    labels: Option<ClassFile>,
}

impl Set {
    fn open(path: &Path, labels: Option<&PathBuf>, tensor: Option<&str>) -> Result<Self> {
        let array = Array::open(path, tensor, "logits")?;
        array.warn_of_conversion();
        array.ensure_filled()?;
        let labels = labels.map(|path| ClassFile::open(path, "labels", &array)).transpose()?;
        Ok(Self { path: path.to_owned(), array, logits: Vec::new(), labels })
    }

    /// Reads it all.
    fn read(&mut self) -> Result<()> {
        let Self { array, logits, labels, .. } = self;
        let (rows, rows_per_block, cols) = (array.rows(), array.rows_per_block(), array.cols());
        progress::over(rows * cols, |bar| {
            let mut block = Vec::new();
            for _ in (0..rows).step_by(rows_per_block) {
                array.read_rows(rows_per_block, &mut block)?;
                logits.extend_from_slice(&block);
                progress::advance(bar, &block);
            }
            labels.as_mut().map_or(Ok(()), |labels| labels.read_rows(rows))
        })
    }

    fn rows(&self) -> Result<Rows<'_>> {
        Rows::new(&self.logits, self.array.cols()).with_context(|| self.array.name.clone())
    }

    /// The temperature of the least loss.
    fn fit(&self, workers: &Workers) -> Result<f64> {
        let (rows, labels) = (self.rows()?, self.labels.as_ref().map(ClassFile::block));
        let labels = labels.expect("the first set has labels");
        let fitted = workers.run(|engine| engine.fit_temperature(rows, labels));
        fitted.map_err(|error| refused(error, &self.array, self.labels.as_ref()))
    }

    /// What there is to say before and after.
    fn measure(&self, workers: &Workers, temperature: f64) -> Result<Measured> {
        let rows = self.rows()?;
        let both = [1.0, temperature];
        let measured = match &self.labels {
            Some(labels) => {
                let labels = labels.block();
                let at = |temperature| workers.run(|engine| engine.calibration(rows, labels, temperature));
                both_of(both.map(at)).map(|both| Measured::Calibration(Box::new(both)))
            }
            None => {
                let at = |temperature| workers.run(|engine| Confidence::of(engine, rows, temperature));
                both_of(both.map(at)).map(Measured::Confidence)
            }
        };
        measured.map_err(|error| refused(error, &self.array, self.labels.as_ref()))
    }

    /// As [`Array::title`], without the folders that the file is in.
    fn short_title(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{name} · {} rows · {} classes", self.array.rows(), self.array.cols())
    }
}

fn both_of<T, E>([before, after]: [Result<T, E>; 2]) -> Result<[T; 2], E> {
    Ok([before?, after?])
}

/// What is known of a set before and after.
enum Measured {
    Calibration(Box<[Calibration; 2]>),
    Confidence([Confidence; 2]),
}

/// What is known without labels: means over the rows that have a distribution.
struct Confidence {
    count: usize,
    confidence: f64,
    entropy: f64,
}

impl Confidence {
    fn of(engine: &Engine, rows: Rows<'_>, temperature: f64) -> Result<Self, logits::Error> {
        let mut statistics = vec![RowStatistics::default(); rows.rows()];
        let mut options = Statistics::default();
        options.temperature = temperature;
        engine.statistics_with(rows, &options, &mut statistics, &mut [])?;
        statistics.retain(|row| !row.entropy.is_nan());
        let count = statistics.len();
        let mean = |of: fn(&RowStatistics) -> f64| statistics.iter().map(of).sum::<f64>() / count as f64;
        let confidence = mean(|row| row.max_log_probability.exp());
        Ok(Self { count, confidence, entropy: mean(|row| row.entropy) })
    }
}

impl Measured {
    fn reliability(&self) -> Option<&[Calibration; 2]> {
        if let Self::Calibration(both) = self { Some(both) } else { None }
    }

    /// Names and numbers, before and after.
    fn numbers(&self) -> Vec<(&'static str, [f64; 2])> {
        match self {
            Self::Calibration(both) => {
                let each = |name, number: fn(&Calibration) -> f64| (name, both.each_ref().map(number));
                vec![
                    each("NLL", |it| it.nll),
                    each("ECE", |it| it.ece),
                    each("MCE", |it| it.mce),
                    each("Brier", |it| it.brier),
                    each("accuracy", |it| it.accuracy),
                    each("confidence", mean_confidence),
                ]
            }
            Self::Confidence(both) => {
                let each = |name, number: fn(&Confidence) -> f64| (name, both.each_ref().map(number));
                vec![each("confidence", |it| it.confidence), each("entropy", |it| it.entropy)]
            }
        }
    }

    /// How many rows count.
    fn count(&self) -> usize {
        match self {
            Self::Calibration(both) => both[0].count,
            Self::Confidence(both) => both[0].count,
        }
    }

    fn write(&self, out: &mut impl Write, array: &Array, temperature: f64) -> io::Result<()> {
        let title = array.title_without(array.rows() - self.count());
        let after = format!("T = {}", text::number(temperature));
        let mut table = table(&["", "T = 1", &after], str::is_empty);
        for (name, both) in self.numbers() {
            let [before, after] = both.map(text::number);
            table.add_row([name, &before, &after]);
        }
        writeln!(out, "\n{}\n{}", style::bold(&title), table.trim_fmt())
    }
}

fn mean_confidence(calibration: &Calibration) -> f64 {
    let bins = calibration.bins.iter().filter(|bin| bin.count > 0);
    bins.map(|bin| bin.confidence * bin.count as f64).sum::<f64>() / calibration.count as f64
}
