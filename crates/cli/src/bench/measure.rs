//! Timing the candidates of one cell against each other.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::ThreadPool;
use serde::Serialize;
use timing::{Buffers, Cell, Layout, Logits, Operation, Samples, Shape, in_turns};

use super::subject::{Candidate, Subject};
use crate::workers::thread_pool;

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    pub rows: usize,
    pub cols: usize,
    pub threads: usize,
    pub layout: Layout,
    /// None for memcpy.
    pub operation: Option<Operation>,
    /// memcpy, scalar loop, or the name of an instruction set.
    pub subject: String,
    pub ns_per_element: f64,
    /// What is read and written.
    pub gigabytes_per_second: f64,
    /// How many times as fast as the scalar loop of the same operation.
    pub speedup_over_scalar_loop: Option<f64>,
    /// How many times as long as memcpy of the same buffers.
    pub time_over_memcpy: f64,
    pub rounds: usize,
    /// Iterations in each sample.
    pub iterations: usize,
}

/// Times `subjects` in turns for about `time`; `progress` hears how much of that is over.
pub fn run(
    cell: &Cell,
    subjects: &[Subject],
    time: Duration,
    progress: impl FnMut(f64),
) -> Result<Vec<Measurement>> {
    let pool = if cell.threads > 1 { Some(thread_pool(cell.threads)?) } else { None };
    let mut buffers = Buffers::new(cell, Logits::Uniform);
    let candidates: Vec<Candidate> = subjects
        .iter()
        .map(|&subject| Candidate::new(subject, cell.layout, cell.threads))
        .collect::<Result<_, _>>()?;
    let take = |candidate: &Candidate, iterations| sample(candidate, iterations, &mut buffers, pool.as_ref());
    let samples = in_turns(&candidates, time, take, progress)?;
    Ok(measurements(cell, subjects, &samples))
}

fn sample(
    candidate: &Candidate,
    iterations: usize,
    buffers: &mut Buffers,
    pool: Option<&ThreadPool>,
) -> Result<Duration> {
    // What is computed in place starts from the logits in every sample. Within one it goes on from its own result:
    // finite numbers, on which the kernels take the same path.
    buffers.reset();
    let mut work = || -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..iterations {
            candidate.run(black_box(&mut *buffers))?;
        }
        Ok(start.elapsed())
    };
    match pool {
        None => work(),
        Some(pool) => pool.install(work),
    }
}

fn measurements(cell: &Cell, subjects: &[Subject], samples: &[Samples]) -> Vec<Measurement> {
    let Shape { rows, cols } = cell.shape;
    let ns_per_element: Vec<f64> =
        samples.iter().map(|samples| samples.median() * 1e9 / (rows * cols) as f64).collect();
    let of = |wanted: Subject| {
        subjects.iter().position(|&subject| subject == wanted).map(|index| ns_per_element[index])
    };
    let memcpy = of(Subject::Memcpy).expect("memcpy is measured in every cell");
    let measurement = |(index, &subject): (usize, &Subject)| {
        let operation = subject.operation();
        let bytes = operation.map_or(8, Operation::bytes_per_element);
        let ns_per_element = ns_per_element[index];
        Measurement {
            rows,
            cols,
            threads: cell.threads,
            layout: cell.layout,
            operation,
            subject: subject.to_string(),
            ns_per_element,
            gigabytes_per_second: bytes as f64 / ns_per_element,
            speedup_over_scalar_loop: operation
                .and_then(|operation| of(Subject::ScalarLoop(operation)))
                .map(|scalar_loop| scalar_loop / ns_per_element),
            time_over_memcpy: ns_per_element / memcpy,
            rounds: samples[index].seconds.len(),
            iterations: samples[index].iterations,
        }
    };
    subjects.iter().enumerate().map(measurement).collect()
}

const TICKS: u64 = 1000;

/// Shown on a terminal only.
pub fn progress_bar(cells: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40.cyan/dim} {percent:>3}%  {eta:>4}  {msg}")
        .expect("the template is well-formed");
    ProgressBar::new(cells as u64 * TICKS).with_style(style)
}

/// Where the bar stands with `fraction` of a cell done.
pub fn position(cell: usize, fraction: f64) -> u64 {
    cell as u64 * TICKS + (fraction * TICKS as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_the_cell() {
        let cell = Cell { shape: Shape { rows: 3, cols: 50 }, threads: 2, layout: Layout::OutOfPlace };
        let softmax = Operation::Softmax;
        let subjects = [
            Subject::Memcpy,
            Subject::ScalarLoop(softmax),
            Subject::Kernel(softmax, logits::Isa::Scalar),
            Subject::ScalarLoop(Operation::Logsumexp),
        ];
        let measured = run(&cell, &subjects, Duration::ZERO, |_| {}).unwrap();
        assert_eq!(measured.len(), 4);
        assert_eq!(measured[0].time_over_memcpy, 1.0);
        assert_eq!(measured[0].speedup_over_scalar_loop, None);
        assert_eq!(measured[1].speedup_over_scalar_loop, Some(1.0));
        let speedup = measured[1].ns_per_element / measured[2].ns_per_element;
        assert_eq!(measured[2].speedup_over_scalar_loop, Some(speedup));
        assert_eq!(measured[3].gigabytes_per_second, 4.0 / measured[3].ns_per_element);
        assert!(measured.iter().all(|measurement| measurement.rounds == 15));
    }
}
