//! `logits sample`: tokens drawn from rows of logits.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::array::{Array, ensure_one_stream, title_of_row};
use crate::classes::Classes;
use crate::ctc::Ctc;
use crate::found::Found;
use crate::output::printed;
use crate::report::Format;
use crate::workers::Computing;
use crate::{Usage, progress, style, warn};

mod counts;
mod draws;
mod lines;
mod show;
mod steps;
mod tallies;

use counts::Counts;
use draws::{Drawing, Drawn};
use lines::Columns;
use steps::Steps;
use tallies::{Tallies, Tally};

const EXAMPLES: &str = "\
Examples:
  logits sample logits.npy --temperature 0.7 --top-p 0.9
  logits sample logits.npy --preset llama-cpp --seed 7 --format csv > tokens.csv
  logits sample logits.npy --row 12 --top-k 40 --top-p 0.9 --show
  logits sample logits.npy --row 12 --temperature 1.5 -n 1000
  logits sample examples/data/ocr_logits.npy --classes examples/data/ocr_classes.txt \\
    --temperature 2 -n 5 --ctc

Everything is off unless asked for. What is drawn depends on the seed, the row and the
position alone (0, 1 and so on with -n): not on threads, nor on the other rows. All draws
of a row are from the same logits: nothing drawn is added to --tokens. A rank is the
number of tokens that are no less probable, itself among them, before all steps. Several
draws of several rows, or more than 10 of one, are counted in the table, beside what was
to be expected of one; CSV and JSON list them. Of rows with NaN or +inf, or with nothing but -inf, there are no tokens: what is wrong
stands in their place, the other rows are not touched by it, and the exit code stays 0.";

/// How many draws of one row are listed in a table; more are counted.
const LISTED: usize = 10;

/// How many tokens are shown of a step, or counted.
const SHOWN: usize = 10;

/// How many tokens are named of each row.
const TALLIED: usize = 3;

/// Draws tokens from rows of logits, and shows what filters do to them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The logits: an .npy or .safetensors file, or - for standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// How many tokens to draw for each row
    #[arg(short = 'n', long, value_name = "N", default_value = "1", value_parser = parse_draws)]
    draws: NonZeroUsize,

    /// What random numbers follow from
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// The one row to draw from, counted from 0; all without it
    #[arg(long, value_name = "R")]
    row: Option<usize>,

    /// What each step leaves of one row, the first or --row
    #[arg(long, conflicts_with_all = ["draws", "format", "ctc"])]
    show: bool,

    /// How many of the most probable tokens to name beside those drawn [default: 0]; where
    /// steps are shown or draws are counted, how many tokens to name [default: 10, of many rows 3]
    #[arg(long, value_name = "N")]
    top: Option<usize>,

    /// The names of the tokens, one a line
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Also the tokens of all rows read in order, repeats collapsed and token 0 (the blank)
    /// dropped, as the output of a CTC model is read: once for each of the first 10 draws
    #[arg(long, conflicts_with = "row")]
    ctc: bool,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// The tensor to read, of a .safetensors file with several
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,

    #[command(flatten)]
    computing: Computing,

    #[command(flatten)]
    steps: Steps,
}

/// What `--draws` takes.
fn parse_draws(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "a number of draws is 1 or more".into())
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut inputs = vec![&*arguments.input];
    inputs.extend(arguments.steps.files());
    ensure_one_stream(&inputs)?;
    ensure!(
        !arguments.ctc || arguments.format == Format::Table,
        Usage("--ctc is for people to read: it goes with --format table alone".into())
    );
    let sampler = arguments.steps.sampler()?;
    let workers = arguments.computing.workers()?;
    let mut array = Array::open(&arguments.input, arguments.tensor.as_deref(), "logits")?;
    array.warn_of_conversion();
    if let Some(row) = arguments.row {
        array.ensure_row(row)?;
    }
    let classes = match &arguments.classes {
        None => Classes::unnamed(),
        Some(path) => Classes::read(path, array.cols(), &array.name)?,
    };
    let history = arguments.steps.history(&array)?;
    let drawing = Drawing {
        workers: &workers,
        sampler: &sampler,
        history: &history,
        seed: arguments.seed,
        draws: arguments.draws.get(),
        top: 0,
    };
    let is_one_row = arguments.row.is_some() || array.rows() == 1;
    let is_listed = arguments.format != Format::Table || drawing.draws == 1;
    if arguments.show {
        show(arguments, &mut array, &classes, &drawing)
    } else if is_listed || is_one_row && drawing.draws <= LISTED {
        list(arguments, &mut array, &classes, &drawing)
    } else if is_one_row {
        count(arguments, &mut array, &classes, &drawing)
    } else {
        tally(arguments, &mut array, &classes, &drawing)
    }
}

/// What stands above the numbers of a row.
fn title(array: &Array, row: usize) -> String {
    style::bold(&title_of_row(&array.name, row, array.rows(), array.cols()))
}

/// The logits of one row, in a file that has some.
fn read_row(array: &mut Array, row: usize) -> Result<Vec<f32>> {
    let mut logits = Vec::new();
    array.skip_rows(row)?;
    array.read_rows(1, &mut logits)?;
    Ok(logits)
}

/// Shows what each step leaves of a row.
fn show(arguments: &Arguments, array: &mut Array, classes: &Classes, drawing: &Drawing<'_>) -> Result<()> {
    array.ensure_filled()?;
    let row = arguments.row.unwrap_or(0);
    let logits = read_row(array, row)?;
    let mut out = anstream::stdout().lock();
    printed(writeln!(out, "{}\n", title(array, row)))?;
    let view = show::View {
        engine: drawing.workers.engine(),
        name: &array.name,
        classes,
        top: arguments.top.unwrap_or(SHOWN),
        changes_logits: arguments.steps.change_logits(),
    };
    show::write(&mut out, &view, drawing, row, &logits)?;
    printed(out.flush())
}

/// Counts the tokens of a row.
fn count(arguments: &Arguments, array: &mut Array, classes: &Classes, drawing: &Drawing<'_>) -> Result<()> {
    array.ensure_filled()?;
    let row = arguments.row.unwrap_or(0);
    let logits = read_row(array, row)?;
    let mut counts = Counts::default();
    progress::over(logits.len().saturating_mul(drawing.draws), |bar| {
        drawing.rows(row, &logits, logits.len(), bar, &mut |drawn| {
            counts.add(drawn.token);
            Ok(())
        })
    })
    .with_context(|| array.name.clone())?;
    // What comes of it depends on what was drawn before.
    if !arguments.steps.follow_draws() {
        let samplers = arguments.steps.without_luck()?;
        counts.expect(drawing, row, &logits, &samplers)?;
    }
    let mut out = anstream::stdout().lock();
    let mut text = vec![format!("{} draws", drawing.draws), format!("seed {}", drawing.seed)];
    text.extend(drawing.sampler.steps().map(|step| drawing.sampler.describe(step)));
    printed(writeln!(out, "{}\n{}", title(array, row), style::dim(&text.join(" · "))))?;
    printed(counts.write(&mut out, classes, arguments.top.unwrap_or(SHOWN)))?;
    printed(out.flush())
}

/// Lists the tokens of all rows, or of one.
fn list(arguments: &Arguments, array: &mut Array, classes: &Classes, drawing: &Drawing<'_>) -> Result<()> {
    let columns = Columns { classes, top: arguments.top.unwrap_or(0).min(array.cols()) };
    let drawing = Drawing { top: columns.top, ..*drawing };
    let mut report = arguments.format.report(array.title(), columns.names())?;
    let seen = draw(arguments, array, &drawing, &mut |drawn| printed(report.add(&columns.values(drawn))))?;
    printed(report.finish())?;
    seen.write(array, classes)
}

/// Says of each row which tokens are drawn most often.
fn tally(arguments: &Arguments, array: &mut Array, classes: &Classes, drawing: &Drawing<'_>) -> Result<()> {
    let tallies = Tallies { classes, most: arguments.top.unwrap_or(TALLIED) };
    let mut report = arguments.format.report(array.title(), tallies.names())?;
    let mut tally = Tally::default();
    let seen = draw(arguments, array, drawing, &mut |drawn| {
        tally.add(drawn);
        if !drawn.is_last {
            return Ok(());
        }
        printed(report.add(&tallies.values(drawn.row, &std::mem::take(&mut tally))))
    })?;
    printed(report.finish())?;
    seen.write(array, classes)
}

/// What is said of all rows in the end.
struct Seen {
    rows: usize,
    without_token: Found,
    readings: Vec<Ctc>,
}

/// Draws from all rows, or from one.
fn draw(
    arguments: &Arguments,
    array: &mut Array,
    drawing: &Drawing<'_>,
    report: &mut dyn FnMut(&Drawn<'_>) -> Result<()>,
) -> Result<Seen> {
    let rows = arguments.row.map_or(0..array.rows(), |row| row..row + 1);
    let mut seen = Seen { rows: rows.len(), without_token: Found::default(), readings: Vec::new() };
    if arguments.ctc {
        seen.readings.resize_with(drawing.draws.min(LISTED), Ctc::default);
    }
    let elements = (rows.len() * array.cols()).saturating_mul(drawing.draws);
    progress::over(if arguments.format.is_silent() { elements } else { 0 }, |bar| {
        drawing.all(array, rows, bar, &mut |drawn| {
            match drawn.token {
                Err(_) => seen.without_token.add(drawn.row, None),
                Ok(token) => {
                    if let Some(reading) = seen.readings.get_mut(drawn.position) {
                        reading.push(token.id as usize);
                    }
                }
            }
            report(drawn)
        })
    })?;
    Ok(seen)
}

impl Seen {
    fn write(&self, array: &Array, classes: &Classes) -> Result<()> {
        if let Some(text) = self.without_token.describe(self.rows, "no token") {
            warn(&format!("{}: warning: {text}", array.name));
        }
        if self.readings.is_empty() {
            return Ok(());
        }
        let mut out = anstream::stdout().lock();
        printed(writeln!(out))?;
        for reading in &self.readings {
            printed(reading.write(&mut out, classes))?;
        }
        printed(out.flush())
    }
}
