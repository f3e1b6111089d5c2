//! `logits bench`: throughput on this machine, after a check of every kernel against the f64 definition.
//!
//! Everything that is compared is timed in the same run, one sample after the other, so that the ratios hold even
//! where the machine is busy or changes its clock.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;
use logits::Isa;
use timing::{Layout, Shape};

use crate::output::printed;
use crate::workers::{chosen_isa, engine, isa_parser};

mod check;
mod machine;
mod measure;
mod plan;
mod report;
mod subject;

use plan::Threads;
use report::Report;

const EXAMPLES: &str = "\
Examples:
  logits bench --quick
  logits bench --shapes 1x128256,64x128256 --threads 1,all --isa avx2,avx512
  logits bench --format csv > throughput.csv

The scalar loop is what one writes without a library: fold the maximum, f32::exp of each
difference, the sum, the division, in this same build. memcpy copies the same buffers.
Times are medians over rounds; in each round all candidates take turns. GB/s counts what
is read and written. More than one thread: memcpy and the scalar loop split the rows too.
Without --quick, --shapes, --threads and --layout the whole grid takes some minutes.";

/// Times softmax, log-softmax and logsumexp on this machine, after a check of every kernel.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Four shapes on one thread, in 20 seconds at most
    #[arg(long)]
    quick: bool,

    /// Shapes as ROWSxCOLS; without it, from one short row to 64x128256
    #[arg(long, value_name = "RxC,..", value_delimiter = ',')]
    shapes: Vec<Shape>,

    /// Instruction sets; without it the one in LOGITS_ISA, else all available here
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_parser = isa_parser())]
    isa: Vec<Isa>,

    /// Numbers of threads, or all; without it 1 and all
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    threads: Vec<Threads>,

    /// Where the result goes; without it out of place and in place
    #[arg(long, value_name = "LAYOUT,..", value_delimiter = ',', value_enum)]
    layout: Vec<Layout>,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One line a measurement, with all there is to say about it
    Csv,
    /// One document
    Json,
}

impl Arguments {
    /// How long the rounds of one cell may take together.
    fn time_per_cell(&self) -> Duration {
        Duration::from_millis(if self.quick { 4000 } else { 1500 })
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let isas = match arguments.isa.as_slice() {
        [] => chosen_isa(None)?.map_or_else(|| Isa::available().collect(), |isa| vec![isa]),
        given => given.to_vec(),
    };
    for &isa in &isas {
        engine(Some(isa))?;
    }
    let scalar_everywhere = arguments.isa.contains(&Isa::Scalar);
    let cells = plan::cells(arguments.quick, &arguments.shapes, &arguments.threads, &arguments.layout);

    let mut report = Report::new(check::run(&isas)?);
    // Whatever stands on standard output is to be read by one reader; what people want to see first goes beside it.
    let mut head: Box<dyn Write> = match arguments.format {
        Format::Table => Box::new(anstream::stdout()),
        Format::Csv | Format::Json => Box::new(anstream::stderr()),
    };
    printed(report.write_head(&mut head))?;
    drop(head);

    let progress = measure::progress_bar(cells.len());
    for (index, cell) in cells.iter().enumerate() {
        let subjects = plan::subjects(cell, &isas, scalar_everywhere);
        let measurements = measure::run(cell, &subjects, arguments.time_per_cell(), |fraction| {
            progress.set_message(cell.to_string());
            progress.set_position(measure::position(index, fraction));
        })?;
        if arguments.format == Format::Table {
            progress
                .suspend(|| report::write_cell(&mut anstream::stdout(), cell, &measurements))
                .or_else(written_error)?;
        }
        report.add(measurements);
    }
    progress.finish_and_clear();

    let mut out = io::stdout().lock();
    printed(match arguments.format {
        Format::Table => Ok(()),
        Format::Csv => report.write_csv(&mut out),
        Format::Json => report.write_json(&mut out),
    })?;
    printed(out.flush())?;
    match report.broken_promises() {
        0 => Ok(()),
        1 => bail!("a kernel is less exact than promised: see the check"),
        broken => bail!("{broken} kernels are less exact than promised: see the check"),
    }
}

fn written_error(error: io::Error) -> Result<()> {
    printed(Err(error))
}
