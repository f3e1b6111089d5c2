//! Entropy and varentropy of probabilities that are given, rather than logits.
//!
//! With `S = sum p_i`, `A = sum p_i log p_i` and `B = sum p_i log^2 p_i`, all of it in f64: `H = log S - A / S` and `V = B / S
//! - (A / S)^2`, of the distribution `p_i / S`. The logarithms are relative `3e-14`, and so is all else, but for what
//! cancels in `V`: `2^-40 (A / S)^2` at most.

use crate::math::ln;
use crate::operation::{Origin, Reduce, Sides, Summarize};
use crate::rows::Rows;
use crate::simd::{F32, Mask, Simd};
use crate::span::Span;
use crate::sums::{self, WideTerms};
use crate::{Engine, Error, lanes};

impl Engine {
    /// `-sum_i p_i log p_i` of each row of probabilities, in nats. They are normalised, so that what their rounding has added does
    /// not count.
    ///
    /// The relative error is below `1e-9` for given probabilities; where they were rounded to floats themselves, their entropy was too.
    /// What has no probability does not count. NaN for a row with a NaN, an infinity or a negative number in it, or of nothing
    /// but 0.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if `out` does not hold one number for each row.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// let mut out = [0.0];
    /// Engine::new().entropy_of_probabilities(Rows::new(&[0.5, 0.25, 0.25, 0.0], 4)?, &mut out)?;
    /// assert!((out[0] - 1.5 * 2_f64.ln()).abs() < 1e-12);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn entropy_of_probabilities(&self, probabilities: Rows<'_>, out: &mut [f64]) -> Result<(), Error> {
        self.reduce(probabilities, out, &Given { becomes: Known::entropy })
    }

    /// The variance of `-log p` under each row of probabilities, in nats squared; otherwise as
    /// [`Engine::entropy_of_probabilities`].
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if `out` does not hold one number for each row.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// let mut out = [0.0];
    /// Engine::new().varentropy_of_probabilities(Rows::new(&[0.5, 0.25, 0.25], 3)?, &mut out)?;
    /// assert!((out[0] - 0.25 * 2_f64.ln().powi(2)).abs() < 1e-12);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn varentropy_of_probabilities(&self, probabilities: Rows<'_>, out: &mut [f64]) -> Result<(), Error> {
        self.reduce(probabilities, out, &Given { becomes: Known::varentropy })
    }
}

struct Given {
    becomes: fn(Known) -> f64,
}

/// What is known of some segments.
#[derive(Clone, Copy, Default)]
struct Known {
    sum: f64,
    first: f64,
    second: f64,
}

impl Known {
    fn entropy(self) -> f64 {
        (libm::log(self.sum) - self.first / self.sum).max(0.0)
    }

    fn varentropy(self) -> f64 {
        let mean = self.first / self.sum;
        (self.second / self.sum - mean * mean).max(0.0)
    }
}

impl Reduce<f32> for Given {
    type Partial = Known;
    type Together = ();

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        _: Origin,
        segments: &mut [impl Span<f32>],
        known: &mut [Known],
        _: &mut impl Sides<S>,
    ) {
        for (segment, known) in segments.iter().zip(known) {
            let [sum, first, second] = sums::wide_sums_of(s, [segment.rest()], [0.0], &mut Logarithms);
            *known = Known { sum, first, second };
        }
    }

    #[inline(always)]
    fn merge(&self, left: Known, right: Known) -> Known {
        Known {
            sum: left.sum + right.sum,
            first: left.first + right.first,
            second: left.second + right.second,
        }
    }
}

impl Summarize<f32> for Given {
    type Output = f64;

    #[inline(always)]
    fn result(&self, _: usize, known: Known) -> f64 {
        if known.sum > 0.0 && known.sum < f64::INFINITY { (self.becomes)(known) } else { f64::NAN }
    }
}

/// `p`, `p log p` and `p log^2 p`; 0 where `p` is, and NaN where it is negative.
struct Logarithms;

impl<S: Simd> WideTerms<S, 1, 3> for Logarithms {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [p]: [[S::F32; N]; 1]) -> [[S::F64; N]; 3] {
        let mut sums = [[s.zero_f64(); N]; 3];
        for i in 0..N {
            let p = lanes::not_negative(s, p[i]);
            // Of nothing the logarithm is as good as that of 1.
            let logarithm = ln::ln(s, p.equals(s.splat(0.0)).select(s.splat(1.0), p));
            sums[0][i] = p.widen();
            sums[1][i] = sums[0][i] * logarithm;
            sums[2][i] = sums[1][i] * logarithm;
        }
        sums
    }
}
