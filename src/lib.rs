//! Softmax, log-softmax and logsumexp.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code, unsafe_op_in_unsafe_fn, missing_docs, clippy::undocumented_unsafe_blocks)]

mod batch;
mod element;
mod error;
mod lanes;
mod math;
mod ops;
mod row;
mod rows;
mod simd;
mod span;
mod threads;

#[doc(hidden)]
pub mod reference;

/// What the whole program is compiled for, as `build.rs` was told: the portable backend uses nothing else.
#[doc(hidden)]
pub const COMPILED_TARGET_FEATURES: &str = env!("LOGITS_TARGET_FEATURES");

pub use batch::Engine;
pub use element::Element;
pub use error::Error;
pub use ops::*;
pub use rows::{Rows, RowsMut};
pub use simd::isa::{Isa, ParseIsaError};
