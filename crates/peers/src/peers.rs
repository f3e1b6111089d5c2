//! Who takes part: each candidate as its documentation would have it used.

use std::cell::RefCell;

use anyhow::{Result, anyhow};
use candle_core::{D, Device, Tensor};
use logits::{Engine, Rows, RowsMut};
use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;
use rten_simd::SimdOp;
use timing::{Buffers, Cell, Layout, Operation, scalar_loop};
use tract_linalg::routines::Func;

/// What a candidate is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Logits,
    Peer,
    /// Something to compare with that computes less.
    Yardstick,
}

type Run = Box<dyn Fn(&mut Buffers) -> Result<()>>;

pub struct Candidate {
    name: &'static str,
    role: Role,
    run: Run,
    /// The result, where it is not in the buffers.
    kept: Option<Box<dyn Fn() -> Result<Vec<f32>>>>,
}

impl Candidate {
    fn new(name: &'static str, role: Role, run: impl Fn(&mut Buffers) -> Result<()> + 'static) -> Self {
        Self { name, role, run: Box::new(run), kept: None }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn computes(&self) -> bool {
        self.role != Role::Yardstick
    }

    pub fn run(&self, buffers: &mut Buffers) -> Result<()> {
        (self.run)(buffers)
    }

    pub fn result(&self, operation: Operation, buffers: &mut Buffers) -> Result<Vec<f32>> {
        if let Some(kept) = &self.kept {
            return kept();
        }
        let (_, output, sums) = buffers.split();
        Ok(match operation {
            Operation::Logsumexp => sums.iter().map(|&sum| sum as f32).collect(),
            _ => output.to_vec(),
        })
    }
}

/// Everybody who has the operation; those without threads of their own only where there is one.
pub fn candidates(operation: Operation, cell: &Cell, buffers: &mut Buffers) -> Result<Vec<Candidate>> {
    let in_place = cell.layout == Layout::InPlace;
    let mut all = vec![logits(operation, cell.threads, in_place)];
    if operation == Operation::Logsumexp {
        all.push(Candidate::new("read", Role::Yardstick, |buffers| {
            read(buffers.split().0);
            Ok(())
        }));
    } else {
        all.push(Candidate::new("memcpy", Role::Yardstick, |buffers| {
            let (input, output, _) = buffers.split();
            in_shares(input, output, <[f32]>::copy_from_slice);
            Ok(())
        }));
        if stream::available() {
            all.push(Candidate::new("streaming copy", Role::Yardstick, |buffers| {
                let (input, output, _) = buffers.split();
                in_shares(input, output, |output, input| stream::copy(input, output));
                Ok(())
            }));
        }
    }
    if cell.threads == 1 {
        all.push(scalar(operation, in_place));
        all.push(obvious_ndarray(operation, in_place));
        all.extend(rten(operation, in_place));
        if operation == Operation::Softmax {
            all.push(tract(in_place)?);
        }
    }
    if !in_place {
        all.push(candle(operation, buffers)?);
    }
    Ok(all)
}

fn logits(operation: Operation, threads: usize, in_place: bool) -> Candidate {
    let engine = if threads == 1 { Engine::new().serial() } else { Engine::new() };
    Candidate::new("logits", Role::Logits, move |buffers| {
        let cols = buffers.cols;
        let (input, output, sums) = buffers.split();
        let input = Rows::new(input, cols)?;
        match (operation, in_place) {
            (Operation::Softmax, false) => engine.softmax(input, RowsMut::new(output, cols)?)?,
            (Operation::Softmax, true) => engine.softmax_in_place(RowsMut::new(output, cols)?)?,
            (Operation::LogSoftmax, false) => engine.log_softmax(input, RowsMut::new(output, cols)?)?,
            (Operation::LogSoftmax, true) => engine.log_softmax_in_place(RowsMut::new(output, cols)?)?,
            (Operation::Logsumexp, _) => engine.logsumexp(input, sums)?,
        }
        Ok(())
    })
}

/// A candidate that does one row after the other: from its input to its output, which hold the same in place, and its sum.
fn by_rows(name: &'static str, each: impl Fn(&[f32], &mut [f32], &mut f64) + Copy + 'static) -> Candidate {
    Candidate::new(name, Role::Peer, move |buffers| {
        let cols = buffers.cols;
        let (input, output, sums) = buffers.split();
        let rows = input.chunks_exact(cols).zip(output.chunks_exact_mut(cols)).zip(sums);
        rows.for_each(|((input, output), sum)| each(input, output, sum));
        Ok(())
    })
}

/// The loops one writes without a library.
fn scalar(operation: Operation, in_place: bool) -> Candidate {
    by_rows("scalar loop", move |input, output, sum| match (operation, in_place) {
        (Operation::Softmax, false) => scalar_loop::softmax(input, output),
        (Operation::Softmax, true) => scalar_loop::softmax_in_place(output),
        (Operation::LogSoftmax, false) => scalar_loop::log_softmax(input, output),
        (Operation::LogSoftmax, true) => scalar_loop::log_softmax_in_place(output),
        (Operation::Logsumexp, _) => *sum = scalar_loop::logsumexp(input).into(),
    })
}

/// As one writes it with ndarray: whole arrays at a time.
fn obvious_ndarray(operation: Operation, in_place: bool) -> Candidate {
    Candidate::new("ndarray", Role::Peer, move |buffers| {
        let shape = (buffers.rows, buffers.cols);
        let (input, output, sums) = buffers.split();
        let x = if in_place {
            ArrayView2::from_shape(shape, output)?
        } else {
            ArrayView2::from_shape(shape, input)?
        };
        let max = x.fold_axis(Axis(1), f32::NEG_INFINITY, |&max, &x| max.max(x)).insert_axis(Axis(1));
        let terms = (&x - &max).mapv_into(f32::exp);
        let sum = terms.sum_axis(Axis(1)).insert_axis(Axis(1));
        match operation {
            Operation::Softmax => {
                ArrayViewMut2::from_shape(shape, output)?.assign(&(terms / sum));
            }
            Operation::LogSoftmax => {
                let y = &x - &(max + sum.mapv_into(f32::ln));
                ArrayViewMut2::from_shape(shape, output)?.assign(&y);
            }
            Operation::Logsumexp => {
                let logsumexp = max + sum.mapv_into(f32::ln);
                sums.iter_mut().zip(&logsumexp).for_each(|(sum, &value)| *sum = value.into());
            }
        }
        Ok(())
    })
}

/// rten's kernels, row by row, as its operators call them.
fn rten(operation: Operation, in_place: bool) -> Option<Candidate> {
    use rten_vecmath::{LogSoftmax, Softmax};
    use std::mem::MaybeUninit;

    fn slots(output: &mut [f32]) -> &mut [MaybeUninit<f32>] {
        // SAFETY: the same layout, and the kernels write nothing but floats.
        unsafe { std::slice::from_raw_parts_mut(output.as_mut_ptr().cast(), output.len()) }
    }

    if operation == Operation::Logsumexp {
        return None;
    }
    Some(by_rows("rten-vecmath", move |input, output, _| {
        match (operation, in_place) {
            (Operation::Softmax, false) => Softmax::new(input, slots(output)).dispatch(),
            (Operation::Softmax, true) => Softmax::new_mut(output).dispatch(),
            (_, false) => LogSoftmax::new(input, slots(output)).dispatch(),
            (_, true) => LogSoftmax::new_mut(output).dispatch(),
        };
    }))
}

/// tract's kernels, row by row, as its softmax operator calls them: in place, after a copy where that is asked for.
fn tract(in_place: bool) -> Result<Candidate> {
    let wrong = |error| anyhow!("tract-linalg: {error}");
    let max = Func::ReduceMax.reduce_f32().map_err(wrong)?;
    let exp_sum = Func::Softmax2.map_reduce_f32().map_err(wrong)?;
    let scale = Func::MulByScalar.ew_f32_param().map_err(wrong)?;
    Ok(Candidate::new("tract-linalg", Role::Peer, move |buffers| {
        let cols = buffers.cols;
        let (input, output, _) = buffers.split();
        for (input, output) in input.chunks_exact(cols).zip(output.chunks_exact_mut(cols)) {
            if !in_place {
                output.copy_from_slice(input);
            }
            let max = max.run(output).map_err(wrong)?;
            let sum = exp_sum.run_with_params(output, max).map_err(wrong)?;
            scale.run_with_params(output, sum.recip()).map_err(wrong)?;
        }
        Ok(())
    }))
}

/// candle's operators, which give new tensors.
fn candle(operation: Operation, buffers: &mut Buffers) -> Result<Candidate> {
    thread_local! {
        static RESULT: RefCell<Option<Tensor>> = const { RefCell::new(None) };
    }
    let shape = (buffers.rows, buffers.cols);
    let input = Tensor::from_slice(buffers.split().0, shape, &Device::Cpu)?;
    let mut candidate = Candidate::new("candle", Role::Peer, move |_| {
        let result = match operation {
            Operation::Softmax => candle_nn::ops::softmax_last_dim(&input)?,
            Operation::LogSoftmax => candle_nn::ops::log_softmax(&input, D::Minus1)?,
            Operation::Logsumexp => input.log_sum_exp(1)?,
        };
        RESULT.set(Some(result));
        Ok(())
    });
    candidate.kept = Some(Box::new(|| {
        let result = RESULT.take().expect("it has run");
        Ok(result.flatten_all()?.to_vec1::<f32>()?)
    }));
    Ok(candidate)
}

/// Equal shares, one for each thread of the pool.
fn in_shares(input: &[f32], output: &mut [f32], each: impl Fn(&mut [f32], &[f32]) + Sync) {
    let threads = rayon::current_num_threads();
    if threads == 1 {
        return each(output, input);
    }
    let share = input.len().div_ceil(threads);
    output.par_chunks_mut(share).zip(input.par_chunks(share)).for_each(|(output, input)| each(output, input));
}

/// What it takes to read everything: a maximum, which is limited by the loads.
fn read(input: &[f32]) {
    fn largest(input: &[f32]) -> i32 {
        // Integers, whose maximum the compiler vectorises.
        input.iter().fold(0, |largest, x| largest | x.to_bits() as i32)
    }
    let threads = rayon::current_num_threads();
    if threads == 1 {
        std::hint::black_box(largest(input));
    } else {
        let share = input.len().div_ceil(threads);
        input.par_chunks(share).for_each(|input| {
            std::hint::black_box(largest(input));
        });
    }
}

/// A copy that goes past the caches.
mod stream {
    #[cfg(target_arch = "x86_64")]
    pub fn available() -> bool {
        is_x86_feature_detected!("avx")
    }

    #[cfg(target_arch = "x86_64")]
    pub fn copy(input: &[f32], output: &mut [f32]) {
        #[target_feature(enable = "avx")]
        fn entry(input: &[f32], output: &mut [f32]) {
            use std::arch::x86_64::*;
            assert_eq!(input.len(), output.len());
            let head = output.as_ptr().align_offset(32).min(input.len());
            output[..head].copy_from_slice(&input[..head]);
            let (input, output) = (&input[head..], &mut output[head..]);
            let (from, rest) = input.as_chunks::<8>();
            let (to, rest_to) = output.as_chunks_mut::<8>();
            for (from, to) in from.iter().zip(to) {
                // SAFETY: 8 floats each, and `to` is aligned.
                unsafe { _mm256_stream_ps(to.as_mut_ptr(), _mm256_loadu_ps(from.as_ptr())) }
            }
            rest_to.copy_from_slice(rest);
            _mm_sfence();
        }
        assert!(available());
        // SAFETY: AVX is there.
        unsafe { entry(input, output) }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn available() -> bool {
        false
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn copy(input: &[f32], output: &mut [f32]) {
        output.copy_from_slice(input);
    }
}
