//! What a row of logits says, on the CPU: softmax, log-softmax, logsumexp, entropy, cross-entropy and its gradient,
//! divergences, statistics, calibration, and the next token; fast, with proven error bounds, and with the same bits everywhere.
//!
//! ```
//! let mut probabilities = [0.0; 3];
//! logits::softmax(&[2.0, 1.0, 0.0], &mut probabilities);
//! assert_eq!(probabilities, [0.66524094, 0.24472846, 0.09003057]);
//! ```
//!
//! A row and a thread need no more than the free functions: [`softmax`], [`softmax_in_place`], [`log_softmax`],
//! [`log_softmax_in_place`], [`logsumexp`], [`entropy`]. Batches go through an [`Engine`], which spreads them over the caller's rayon
//! pool, takes rows with a stride, works in place or into uninitialised memory, and knows the temperature:
//!
//! ```
//! use logits::{Engine, Rows, RowsMut, Softmax};
//!
//! let logits = vec![0.0; 64 * 1000];
//! let mut probabilities = vec![0.0; 64 * 1000];
//! let warm = Softmax { temperature: 1.5, ..Default::default() };
//! Engine::new().softmax_with(Rows::new(&logits, 1000)?, RowsMut::new(&mut probabilities, 1000)?, &warm)?;
//! assert_eq!(probabilities[0], 0.001);
//! # Ok::<(), logits::Error>(())
//! ```
//!
//! Tokens are drawn by a [`Sampler`], with a [`Draw`] for each row:
//!
//! ```
//! use logits::{Draw, Engine, Rows, Sampler, Token};
//!
//! let logits = [1.0, 4.0, 2.0];
//! let sampler = Sampler::builder().temperature(0.8).min_p(0.2).build()?;
//! let mut token = [Ok(Token::default())];
//! Engine::new().sample(Rows::new(&logits, 3)?, &sampler, &[Draw::counted(7, 0, 0)], &mut token)?;
//! assert_eq!(token[0].map(|token| (token.id, token.rank)), Ok((1, 1)));
//! # Ok::<(), logits::Error>(())
//! ```
//!
//! # Numerics
//!
//! | result | any row | rows as they occur |
//! |---|---|---|
//! | [`softmax`] | 7 ULP | 3 ULP |
//! | … below `2^-126` | 5 steps of `2^-149` | 2 steps of `2^-149` |
//! | [`log_softmax`] | 7 ULP + `2^-126` | 3 ULP + `2^-126` |
//! | [`logsumexp`] | `3e-7` absolute + `2^-50` relative | `1e-7` + `2^-50` relative |
//! | [`entropy`] | `1e-6` relative, or `1e-12` absolute where that is more | `5e-7` relative |
//! | [varentropy](Engine::varentropy) `v`, with the entropy `h` | `3e-6 (v + h sqrt(v))`, or `1e-12` | `1e-6 (v + h sqrt(v))` |
//! | [cross-entropy](Engine::cross_entropy) without z-loss and softcap, log-probabilities of [statistics](Engine::statistics) | `4e-7` relative | the same |
//! | [KL and JS divergence](Engine::kl_divergence) | `1e-6` relative, or `1e-12` absolute where that is more | the same |
//! | [expected value](Engine::expected_value) | `4 * 2^-24 sum_i p_i abs(v_i)` | `3 * 2^-24` of it |
//! | gradients | see [there](Engine::cross_entropy_gradient) | |
//! | [tokens](Engine::sample) that filters keep | those that sorting and summing in f64 keep, ties included | |
//! | log-probabilities of tokens that were drawn | `4e-7` relative for the row, `1e-10` absolute for what is left | |
//! | bits | the same on any thread count, batch size, row position, alignment, in place or not, and on every fused instruction set | |
//!
//! Errors are against the exact result. The bounds for any row are derived in the source of each operation, and tests try
//! to break the first ones, to entropy, by hill climbing; those for rows as they occur are asserted on rows of 22 kinds (uniform,
//! normal, peaked, offset by thousands, masked, ...) of up to 262145 elements (70001 for cross-entropy, 100001 for divergences). With the [portable](Isa::Portable) instruction set in a
//! program compiled without fused multiply-add the bounds are 9 and 4 ULP, that of divergences `1.2e-6`, and the bits differ. The temperature is part of
//! all this: `softmax(x / T)` is as exact as `softmax(x)`, for every `T` from `2^-160` on.
//!
//! What makes it so:
//!
//! - The exponential has an error below 0.8914 ULP, tried on every float from -400 to 400.
//! - The maximum is not subtracted, as that would round: the shift is a multiple of ln2, taken off the exponent. (From
//!   256 on it is subtracted, which is then exact for every term that matters.)
//! - Terms are added in short trees of `f32`, and these in `f64`, in an order that depends on the length alone.
//! - Log-softmax leaves the largest term out of its sum where one logit dominates, and so stays exact there.
//!
//! # Special values
//!
//! | a row with | softmax | log-softmax | logsumexp | entropy, perplexity, varentropy, statistics, expected value |
//! |---|---|---|---|---|
//! | any NaN | NaN throughout | NaN throughout | NaN | NaN |
//! | +inf, no NaN | NaN throughout | NaN throughout | +inf | NaN |
//! | some -inf | exactly 0 there | -inf there | as if they were absent | as if they were absent |
//! | nothing but -inf | NaN, or 0 with [`MaskedRows::Zeros`] | NaN, or -inf | -inf | NaN |
//! | no elements | nothing to write | nothing to write | -inf | NaN |
//!
//! The NaN is always the same one. A bad row changes nothing about its neighbours.
//!
//! A program that flushes subnormal numbers to zero (FTZ and DAZ on x86, FZ on Arm) gets 0 for results below `2^-126`, and those
//! below `2^-101` may have another last place; everything else has the same bits. Each thread flushes on its own: where the caller does
//! and the threads of the pool do not, such results are those of whoever computed them.
//!
//! # Instruction sets
//!
//! The CPU is asked at run time: nobody has to set compiler flags. Kernels are written once, over vectors of 16 lanes that
//! are one AVX-512 register, two AVX2 ones, four NEON ones, two [`wide::f32x8`], or an array. [`Engine::with_isa`] chooses;
//! [`Isa::from_env`] reads `LOGITS_ISA` for programs that want to let their users choose. The library itself reads no
//! environment.
//!
//! # Panics
//!
//! The free functions panic if lengths differ, as `copy_from_slice` does. No data make anything panic: what an [`Engine`]
//! refuses it answers with an [`Error`], before anything is written.
//!
//! # Threads and signals
//!
//! Everything here is `Send` and `Sync`. Only batches of an [`Engine`] that is not [serial](Engine::serial) use other threads: those of
//! the caller's rayon pool, or of the global one, which rayon starts for the first of them. A child of `fork` has none of them, and
//! has to be serial.
//!
//! No signal is used, and none is caught. A serial operation allocates nothing, waits for nothing and leaves nothing behind, so
//! that a signal handler may call it; but not [sampling](Engine::sample) and its kin, which have memory that each thread keeps: they panic in a
//! handler that interrupts them.
//!
//! # Features
//!
//! - `std` (default): detection at run time. Without it the crate is `no_std` with `alloc`, and uses what it is compiled for;
//!   samplers take up to 192 KiB of the stack then.
//! - `rayon` (default): batches over threads. Without it the interface is the same, on one thread.
//! - `rand`: [draws](Draw) by the generators of that crate.
//!
//! [`wide::f32x8`]: https://docs.rs/wide
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    missing_docs,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason
)]

extern crate alloc;

mod batch;
mod caches;
#[cfg(test)]
#[path = "../tests/common/effort.rs"]
#[expect(dead_code, reason = "the tests in `tests` use the rest")]
mod effort;
mod element;
mod engine;
mod error;
mod grid;
mod lanes;
mod math;
mod narrow;
mod operation;
mod ops;
mod pipeline;
mod row;
mod rows;
mod sampling;
mod simd;
mod span;
mod stream;
mod sums;
mod threads;
mod visit;

#[doc(hidden)]
pub mod reference;

pub use element::Element;
pub use engine::Engine;
pub use error::Error;
pub use ops::{
    Calibration, CalibrationBin, Candidate, Chosen, Classes, CrossEntropy, Distribution, Divergence, Loss,
    MaskedRows, Reduction, RowLoss, RowPart, RowStatistics, Smoothed, Softmax, Statistics, Targets, entropy,
    kl_k1, kl_k3, log_softmax, log_softmax_in_place, logsumexp, softmax, softmax_in_place,
};
pub use rows::{Rows, RowsMut};
pub use sampling::{
    Draw, Filter, History, LogProbability, Method, Preset, RowError, Sampler, SamplerBuilder, Samplers,
    Token, TopKTies, Verified,
};
pub use simd::isa::{Isa, ParseIsaError};

/// What the whole program is compiled for, as `build.rs` was told: the portable backend uses nothing else.
#[doc(hidden)]
pub const COMPILED_TARGET_FEATURES: &str = env!("LOGITS_TARGET_FEATURES");

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
