//! What is timed: the kernels, and what they are compared with.

use std::fmt;

use logits::{Engine, Error, Isa, Rows, RowsMut};
use rayon::prelude::*;
use timing::{Buffers, Layout, Operation, scalar_loop};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Memcpy,
    ScalarLoop(Operation),
    Kernel(Operation, Isa),
}

impl Subject {
    pub fn operation(self) -> Option<Operation> {
        match self {
            Self::Memcpy => None,
            Self::ScalarLoop(operation) | Self::Kernel(operation, _) => Some(operation),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memcpy => "memcpy",
            Self::ScalarLoop(_) => "scalar loop",
            Self::Kernel(_, isa) => isa.name(),
        })
    }
}

/// A subject made ready for a layout and a number of threads.
pub struct Candidate {
    pub subject: Subject,
    engine: Engine,
    layout: Layout,
    threads: usize,
}

/// Less than this is not worth a second thread to the loops that the kernels are compared with.
const WORTH_THREADS: usize = 1 << 15;

impl Candidate {
    pub fn new(subject: Subject, layout: Layout, threads: usize) -> Result<Self, Error> {
        let mut engine = Engine::new();
        if let Subject::Kernel(_, isa) = subject {
            engine = engine.with_isa(isa)?;
        }
        if threads == 1 {
            engine = engine.serial();
        }
        Ok(Self { subject, engine, layout, threads })
    }

    pub fn run(&self, buffers: &mut Buffers) -> Result<(), Error> {
        let Buffers { rows, cols, .. } = *buffers;
        // Rows, and elements, for each thread.
        let threads = if rows * cols < WORTH_THREADS { 1 } else { self.threads };
        let (share, length) = (rows.div_ceil(threads), (rows * cols).div_ceil(threads));
        let in_place = self.layout == Layout::InPlace;
        let (input, output, sums) = buffers.split();
        match self.subject {
            Subject::Memcpy if threads == 1 => output.copy_from_slice(input),
            Subject::Memcpy => output
                .par_chunks_mut(length)
                .zip(input.par_chunks(length))
                .for_each(|(output, input)| output.copy_from_slice(input)),
            Subject::ScalarLoop(Operation::Logsumexp) => {
                in_shares(threads, sums, 1, input, cols, share, |sum, row| {
                    sum[0] = scalar_loop::logsumexp(row).into();
                });
            }
            Subject::ScalarLoop(operation) => {
                let log = operation == Operation::LogSoftmax;
                in_shares(threads, output, cols, input, cols, share, |output, input| match (log, in_place) {
                    (false, false) => scalar_loop::softmax(input, output),
                    (false, true) => scalar_loop::softmax_in_place(output),
                    (true, false) => scalar_loop::log_softmax(input, output),
                    (true, true) => scalar_loop::log_softmax_in_place(output),
                });
            }
            Subject::Kernel(operation, _) => {
                let (engine, input) = (&self.engine, Rows::new(input, cols)?);
                match (operation, in_place) {
                    (Operation::Softmax, false) => engine.softmax(input, RowsMut::new(output, cols)?)?,
                    (Operation::Softmax, true) => engine.softmax_in_place(RowsMut::new(output, cols)?)?,
                    (Operation::LogSoftmax, false) => {
                        engine.log_softmax(input, RowsMut::new(output, cols)?)?
                    }
                    (Operation::LogSoftmax, true) => {
                        engine.log_softmax_in_place(RowsMut::new(output, cols)?)?
                    }
                    (Operation::Logsumexp, _) => engine.logsumexp(input, sums)?,
                }
            }
        }
        Ok(())
    }
}

/// Runs `each` over pairs of rows, `share` rows a thread.
fn in_shares<T: Send>(
    threads: usize,
    output: &mut [T],
    width: usize,
    input: &[f32],
    cols: usize,
    share: usize,
    each: impl Fn(&mut [T], &[f32]) + Sync,
) {
    let serial = |output: &mut [T], input: &[f32]| {
        output
            .chunks_exact_mut(width)
            .zip(input.chunks_exact(cols))
            .for_each(|(output, input)| each(output, input));
    };
    if threads == 1 {
        serial(output, input);
    } else {
        output
            .par_chunks_mut(share * width)
            .zip(input.par_chunks(share * cols))
            .for_each(|(output, input)| serial(output, input));
    }
}
