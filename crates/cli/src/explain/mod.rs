//! `logits explain`: what a person wants to see of a row.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use logits::{Engine, Isa};

use crate::array::{Array, Shape};
use crate::classes::Classes;
use crate::ctc::Ctc;
use crate::output::printed;
use crate::warn;
use crate::workers::{chosen_isa, engine, isa_parser, parse_temperature};

mod numbers;
mod overview;
mod panel;

use numbers::{Condition, RowNumbers, argmax};

const EXAMPLES: &str = "\
Examples:
  logits explain logits.npy
  logits explain logits.npy --row 12 --top 10 --classes names.txt --temperature 0.7,1
  logits explain logits.npy --all
  logits explain examples/data/ocr_logits.npy --classes examples/data/ocr_classes.txt --all --ctc

confidence is the probability of the most likely class; entropy is in nats; perplexity is
exp(entropy): the number of classes among which the row might as well be choosing evenly.
Bars, entropy and perplexity of --all are those of T = 1, or of the first temperature if 1
is not among them.";

/// Shows the most likely classes of a row, how sure it is, and how temperature changes that.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The logits: an .npy or .safetensors file, or - for standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// The row to show, counted from 0
    #[arg(long, value_name = "R", default_value_t = 0, conflicts_with = "all")]
    row: usize,

    /// Every row, in one line; with --top, every row in full
    #[arg(long)]
    all: bool,

    /// How many classes to show [default: 5]
    #[arg(long, value_name = "N")]
    top: Option<usize>,

    /// The names of the classes, one a line
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Temperatures to show side by side
    #[arg(short, long, value_name = "T,..", value_delimiter = ',', default_value = "0.5,1,2",
          value_parser = parse_temperature, allow_negative_numbers = true)]
    temperature: Vec<f64>,

    /// Also the most likely classes of all rows read in order, repeats collapsed and class 0
    /// (the blank) dropped, as the output of a CTC model is read
    #[arg(long)]
    ctc: bool,

    /// The tensor to read, of a .safetensors file with several
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,

    /// The instruction set to use; else the one in LOGITS_ISA, else the best
    #[arg(long, value_name = "NAME", value_parser = isa_parser())]
    isa: Option<Isa>,
}

/// What every row is shown with.
struct View<'a> {
    engine: Engine,
    /// How the title calls the file.
    name: &'a str,
    rows: usize,
    classes: Classes,
    temperatures: &'a [f64],
    /// Which of the temperatures the bars show.
    base: usize,
    top: usize,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut array = Array::open(&arguments.input, arguments.tensor.as_deref(), "logits")?;
    array.warn_of_conversion();
    let (rows, cols, name) = (array.rows(), array.cols(), array.name.clone());
    let classes = match &arguments.classes {
        None => Classes::unnamed(),
        Some(path) => Classes::read(path, cols, &name)?,
    };
    let mut out = anstream::stdout().lock();
    if rows == 0 || cols == 0 {
        let shape = Shape(&array.shape);
        writeln!(out, "{name}: shape {shape}: there is nothing in it").and_then(|()| out.flush())?;
        return Ok(());
    }
    if !arguments.all {
        array.ensure_row(arguments.row)?;
    }
    let temperatures = arguments.temperature.as_slice();
    let view = View {
        engine: engine(chosen_isa(arguments.isa)?)?.serial(),
        name: &name,
        rows,
        classes,
        temperatures,
        base: temperatures.iter().position(|&temperature| temperature == 1.0).unwrap_or(0),
        top: arguments.top.unwrap_or(5),
    };

    let mut ctc = arguments.ctc.then(Ctc::default);
    // Row and column of the first NaN.
    let mut unreadable = None;
    let mut block = Vec::new();
    let mut row = 0;
    if !arguments.all && !arguments.ctc {
        array.skip_rows(arguments.row)?;
        row = arguments.row;
    }
    let last = if arguments.all || arguments.ctc { rows - 1 } else { row };
    let in_lines = arguments.all && arguments.top.is_none();
    if in_lines {
        printed(overview::write_head(&mut out, &view))?;
    }
    while row <= last {
        array.read_rows(array.rows_per_block().min(last + 1 - row), &mut block)?;
        for logits in block.chunks_exact(cols) {
            if arguments.all || row == arguments.row {
                show(&mut out, &view, row, logits, in_lines)?;
            }
            if let Some(ctc) = &mut ctc {
                match Condition::of(logits) {
                    Condition::Nan(col) => unreadable = unreadable.or(Some((row, col))),
                    _ => ctc.push(argmax(logits)),
                }
            }
            row += 1;
        }
    }
    if let Some(ctc) = ctc {
        if in_lines {
            printed(writeln!(out))?; // a panel ends with a gap of its own
        }
        printed(ctc.write(&mut out, &view.classes))?;
        if let Some((row, col)) = unreadable {
            warn(&format!(
                "{name}: warning: --ctc passed over rows with NaN (first: row {row}, column {col})"
            ));
        }
    }
    printed(out.flush())
}

fn show(out: &mut impl Write, view: &View<'_>, row: usize, logits: &[f32], in_lines: bool) -> Result<()> {
    let numbers = RowNumbers::new(&view.engine, logits, view.temperatures)
        .with_context(|| format!("{}: row {row}", view.name))?;
    printed(if in_lines {
        overview::write_row(out, view, row, logits, &numbers)
    } else {
        panel::write(out, view, row, logits, &numbers)
    })
}
