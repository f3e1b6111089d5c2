//! `logits` beside other libraries and beside copying: in one process, on the same buffers, in turns.
//!
//! Before a cell is timed every candidate computes it once, and the results are compared.

use std::fs::File;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rayon::ThreadPoolBuilder;
use timing::{Buffers, Cell, GRID, Layout, Logits, Operation, Shape, in_turns};

mod chart;
mod peers;
mod report;

use peers::{Candidate, candidates};
use report::{Line, Report};

/// Times logits against rten-vecmath, tract-linalg, candle, ndarray, a scalar loop and copies.
#[derive(Debug, Parser)]
struct Arguments {
    /// Shapes as ROWSxCOLS; without it the whole grid
    #[arg(long, value_name = "RxC,..", value_delimiter = ',')]
    shapes: Vec<Shape>,

    #[arg(long, value_delimiter = ',', default_value = "softmax,log-softmax,logsumexp")]
    operations: Vec<Operation>,

    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,

    #[arg(long, value_delimiter = ',', default_value = "out-of-place,in-place")]
    layouts: Vec<Layout>,

    #[arg(long, default_value = "uniform")]
    logits: Logits,

    /// Seconds for the rounds of a cell
    #[arg(long, default_value_t = 0.7)]
    seconds: f64,

    /// The whole grid this many times; each cell gets the medians
    #[arg(long, default_value_t = 1)]
    runs: usize,

    /// Where to write all measurements
    #[arg(long)]
    csv: Option<PathBuf>,

    /// Where to draw the ratios to the fastest peer
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let shapes = if arguments.shapes.is_empty() { GRID.to_vec() } else { arguments.shapes.clone() };
    let mut report = Report::default();
    for run in 1..=arguments.runs {
        for &operation in &arguments.operations {
            for &threads in &arguments.threads {
                for &layout in arguments.layouts.iter().filter(|&&layout| operation.has_layout(layout)) {
                    for &shape in &shapes {
                        let cell = Cell { shape, threads, layout };
                        eprint!("\r\x1b[Krun {run}: {}, {cell}", operation.name());
                        report.add(measure(operation, &cell, &arguments)?);
                    }
                }
            }
        }
    }
    eprintln!("\r\x1b[K");
    print!("{report}");
    if let Some(path) = &arguments.csv {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        report.write_csv(file)?;
    }
    if let Some(path) = &arguments.svg {
        std::fs::write(path, chart::draw(&report)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn measure(operation: Operation, cell: &Cell, arguments: &Arguments) -> Result<Vec<Line>> {
    let time = Duration::from_secs_f64(arguments.seconds);
    // Also for one thread: candle runs on whatever pool it finds.
    let pool = ThreadPoolBuilder::new().num_threads(cell.threads).build()?;
    pool.install(|| {
        let mut buffers = Buffers::new(cell, arguments.logits);
        let candidates = candidates(operation, cell, &mut buffers)?;
        compare(&candidates, operation, cell, &mut buffers)?;
        let sample = |candidate: &Candidate, iterations: usize| -> Result<Duration> {
            buffers.reset();
            let start = Instant::now();
            for _ in 0..iterations {
                candidate.run(black_box(&mut buffers))?;
            }
            Ok(start.elapsed())
        };
        let samples = in_turns(&candidates, time, sample, |_| {})?;
        let elements = (cell.shape.rows * cell.shape.cols) as f64;
        let line = |(candidate, samples): (&Candidate, &timing::Samples)| {
            Line::new(operation, cell, candidate, samples.median() * 1e9 / elements)
        };
        Ok(candidates.iter().zip(&samples).map(line).collect())
    })
}

/// All results are those of the first candidate, as far as single precision goes: some of the peers sum in f32.
fn compare(candidates: &[Candidate], operation: Operation, cell: &Cell, buffers: &mut Buffers) -> Result<()> {
    let tolerance = |want: f32| match operation {
        Operation::Softmax => want.abs() * 2e-4,
        Operation::LogSoftmax | Operation::Logsumexp => 2e-4 * want.abs().max(1.0),
    };
    let mut expected: Option<Vec<f32>> = None;
    for candidate in candidates.iter().filter(|candidate| candidate.computes()) {
        buffers.reset();
        candidate.run(buffers)?;
        let found = candidate.result(operation, buffers)?;
        let expected = expected.get_or_insert_with(|| found.clone());
        let wrong = found.iter().zip(&*expected).position(|(&got, &want)| {
            let error = (got - want).abs();
            got != want && (error.is_nan() || error > tolerance(want))
        });
        if let Some(at) = wrong {
            ensure!(
                false,
                "{}, {cell}: {} has {} where {} is expected, at {at}",
                operation.name(),
                candidate.name(),
                found[at],
                expected[at]
            );
        }
        ensure!(found.len() == expected.len(), "{}: {} results", candidate.name(), found.len());
    }
    Ok(())
}
