//! From logits to tokens: filters, draws, and the acceptance of drafts.
//!
//! A [`Sampler`] says what is kept of a distribution, a [`Draw`] with which random numbers and after which tokens; the
//! [`Engine`](crate::Engine) does that for batches.

mod batch;
mod chain;
mod draw;
mod gumbel;
mod interval;
mod inverse_cdf;
mod order;
mod parts;
mod per_row;
mod philox;
mod places;
mod sample;
mod sampler;
mod scores;
mod scratch;
mod search;
mod set;
mod sift;
mod speculative;
mod survivors;
mod sweep;
mod weigh;

pub use batch::Samplers;
pub use draw::{Draw, History, RowError, Token};
pub use sampler::{Filter, LogProbability, Method, Preset, Sampler, SamplerBuilder, TopKTies};
pub use speculative::Verified;
