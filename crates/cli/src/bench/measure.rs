//! Timing the candidates of one cell against each other.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::ThreadPool;
use serde::Serialize;

use super::plan::{Cell, Layout};
use super::rows::uniform;
use super::subject::{Candidate, Operation, Subject};
use crate::workers::thread_pool;

/// A sample is as many iterations as take this long: much longer than reading the clock takes.
const SAMPLE: Duration = Duration::from_micros(200);

/// Fewer rounds make no median; more do not make a better one.
const ROUNDS: std::ops::RangeInclusive<usize> = 15..=301;

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

/// Floats that begin where we want them to.
struct Buffer {
    storage: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `offset` elements behind a multiple of 64 bytes, with every page touched.
    fn new(len: usize, offset: usize) -> Self {
        let storage = vec![1.0; len + 16 + offset]; // not zeros, whose pages would come when first written to
        let start = storage.as_ptr().align_offset(64) + offset;
        Self { storage, start, len }
    }

    fn elements(&mut self) -> &mut [f32] {
        &mut self.storage[self.start..][..self.len]
    }
}

/// What the candidates of a cell work on.
pub struct Buffers {
    pub rows: usize,
    pub cols: usize,
    input: Buffer,
    output: Buffer,
    sums: Vec<f64>,
}

impl Buffers {
    fn new(cell: &Cell) -> Self {
        let (rows, cols) = (cell.shape.rows, cell.shape.cols);
        let offset = usize::from(cell.layout == Layout::Misaligned);
        let mut input = Buffer::new(rows * cols, offset);
        input.elements().iter_mut().zip(uniform(1)).for_each(|(element, logit)| *element = logit);
        Self { rows, cols, input, output: Buffer::new(rows * cols, offset), sums: vec![1.0; rows] }
    }

    /// Input, output, and a sum for each row.
    pub fn split(&mut self) -> (&[f32], &mut [f32], &mut [f64]) {
        (self.input.elements(), self.output.elements(), &mut self.sums)
    }
}

/// Times `subjects` in turns for about `time`; `progress` hears how much of that is over.
pub fn run(
    cell: &Cell,
    subjects: &[Subject],
    time: Duration,
    mut progress: impl FnMut(f64),
) -> Result<Vec<Measurement>> {
    let pool = if cell.threads > 1 { Some(thread_pool(cell.threads)?) } else { None };
    let mut buffers = Buffers::new(cell);
    progress(0.0);
    let mut timed = Vec::new();
    for &subject in subjects {
        let candidate = Candidate::new(subject, cell.layout, cell.threads)?;
        timed.push(Timed::calibrated(candidate, &mut buffers, pool.as_ref())?);
    }
    let round: Duration = timed.iter().map(|timed| timed.first_sample).sum();
    let rounds = (time.as_secs_f64() / round.as_secs_f64()) as usize;
    let rounds = rounds.clamp(*ROUNDS.start(), *ROUNDS.end());
    for round in 0..rounds {
        progress(round as f64 / rounds as f64);
        let count = timed.len();
        for turn in 0..count {
            timed[(round + turn) % count].sample(&mut buffers, pool.as_ref())?;
        }
    }
    Ok(measurements(cell, &mut timed))
}

/// A candidate and its samples.
struct Timed {
    candidate: Candidate,
    iterations: usize,
    first_sample: Duration,
    /// Nanoseconds an element.
    samples: Vec<f64>,
}

impl Timed {
    /// Finds how many iterations fill a sample, and warms everything up by it.
    fn calibrated(candidate: Candidate, buffers: &mut Buffers, pool: Option<&ThreadPool>) -> Result<Self> {
        let mut iterations = 1;
        loop {
            let elapsed = time(&candidate, iterations, buffers, pool)?;
            if elapsed >= SAMPLE {
                return Ok(Self { candidate, iterations, first_sample: elapsed, samples: Vec::new() });
            }
            let missing = SAMPLE.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
            iterations = (iterations as f64 * missing.clamp(1.1, 10.0)).ceil() as usize;
        }
    }

    fn sample(&mut self, buffers: &mut Buffers, pool: Option<&ThreadPool>) -> Result<()> {
        let elapsed = time(&self.candidate, self.iterations, buffers, pool)?;
        let elements = self.iterations * buffers.rows * buffers.cols;
        self.samples.push(elapsed.as_secs_f64() * 1e9 / elements as f64);
        Ok(())
    }
}

fn time(
    candidate: &Candidate,
    iterations: usize,
    buffers: &mut Buffers,
    pool: Option<&ThreadPool>,
) -> Result<Duration> {
    // What is computed in place starts from the logits in every sample. Within one it goes on from its own result:
    // finite numbers, on which the kernels take the same path.
    let (input, output, _) = buffers.split();
    output.copy_from_slice(input);
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

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let middle = samples.len() / 2;
    if samples.len() % 2 == 1 { samples[middle] } else { (samples[middle - 1] + samples[middle]) / 2.0 }
}

fn measurements(cell: &Cell, timed: &mut [Timed]) -> Vec<Measurement> {
    let medians: Vec<(Subject, f64)> =
        timed.iter_mut().map(|timed| (timed.candidate.subject, median(&mut timed.samples))).collect();
    let of =
        |wanted: Subject| medians.iter().find(|(subject, _)| *subject == wanted).map(|&(_, median)| median);
    let memcpy = of(Subject::Memcpy).expect("memcpy is measured in every cell");
    medians
        .iter()
        .zip(&*timed)
        .map(|(&(subject, ns_per_element), timed)| {
            let operation = subject.operation();
            let bytes = operation.map_or(8, Operation::bytes_per_element);
            Measurement {
                rows: cell.shape.rows,
                cols: cell.shape.cols,
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
                rounds: timed.samples.len(),
                iterations: timed.iterations,
            }
        })
        .collect()
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
    use crate::bench::plan::Shape;

    #[test]
    fn medians_of_few() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn buffers_begin_where_they_should() {
        for offset in [0, 1] {
            let mut buffer = Buffer::new(100, offset);
            let elements = buffer.elements();
            assert_eq!(elements.len(), 100);
            assert_eq!(elements.as_ptr().align_offset(64), (16 - offset) % 16);
        }
    }

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
