//! Rows of logits that are the same in every run.

use std::iter;

/// Uniform logits in [-10, 10): what the measurements and most of the checks take.
pub fn uniform(seed: u64) -> impl Iterator<Item = f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    iter::repeat_with(move || 20.0 * random.f32() - 10.0)
}
