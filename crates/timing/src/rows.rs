//! Rows of logits that are the same in every run.

use std::iter;

use clap::ValueEnum;
use serde::Serialize;

/// What is measured on: kernels take other ways for other logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Logits {
    /// Uniform in [-10, 10)
    Uniform,
    /// The same, and all but a beginning of each row, of random length, is -inf: attention behind a causal mask
    Masked,
    /// The same, and one logit of each row is 30: it has all but nothing of the probability
    Peaked,
    /// Uniform in [-40, 40): as far as all peers go
    Wide,
}

impl Logits {
    /// Puts logits into rows.
    pub fn fill(self, elements: &mut [f32], cols: usize) {
        let scale = if self == Self::Wide { 4.0 } else { 1.0 };
        elements.iter_mut().zip(uniform(1)).for_each(|(element, logit)| *element = scale * logit);
        let mut random = fastrand::Rng::with_seed(2);
        for row in elements.chunks_mut(cols) {
            match self {
                Self::Uniform | Self::Wide => {}
                Self::Masked => row[random.usize(1..=cols)..].fill(f32::NEG_INFINITY),
                Self::Peaked => row[random.usize(..cols)] = 30.0,
            }
        }
    }
}

/// Uniform logits in [-10, 10): what most of the measurements and checks take.
pub fn uniform(seed: u64) -> impl Iterator<Item = f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    iter::repeat_with(move || 20.0 * random.f32() - 10.0)
}
