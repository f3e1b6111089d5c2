//! Divergences of two distributions: Kullback-Leibler and Jensen-Shannon.

use crate::engine::Engine;
use crate::error::Error;
use crate::math::double::power_of_two;
use crate::math::phi::phi_f64;
use crate::rows::{Rows, same_shape};

use super::jensen_shannon::JensenShannon;
use super::kl::Kl;
use super::options::{Softmax, above_zero};
use super::side::{Any, Logits};
use super::temperature::{Temperature, Unit};

/// A distribution for each row, in one of the forms that models and losses give them.
///
/// [`Rows`] are taken for logits.
///
/// # Examples
///
/// ```
/// use logits::{Distribution, Engine, Rows};
///
/// let (logits, probabilities) = ([1.0, 1.0], [0.25, 0.75]);
/// let q = Distribution::Probabilities(Rows::new(&probabilities, 2)?);
/// let mut out = [0.0];
/// let kl = Engine::new().kl_divergence(Rows::new(&logits, 2)?, q, &mut out)?;
/// assert!((kl.sum - 0.5 * (4_f64 / 3.0).ln()).abs() < 1e-6);
/// # Ok::<(), logits::Error>(())
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Distribution<'a> {
    /// `softmax(x / T)`.
    Logits(Rows<'a>),
    /// The same as logits: they are normalised once more, so that what their rounding has added does not count.
    LogProbabilities(Rows<'a>),
    /// `p_i`, normalised, so that what their rounding has added does not count: about 1 they should add up to. None may be negative.
    Probabilities(Rows<'a>),
}

impl<'a> From<Rows<'a>> for Distribution<'a> {
    fn from(logits: Rows<'a>) -> Self {
        Self::Logits(logits)
    }
}

impl<'a> Distribution<'a> {
    fn is_logits(&self) -> bool {
        !matches!(self, Self::Probabilities(_))
    }

    fn rows(self) -> Rows<'a> {
        match self {
            Self::Logits(rows) | Self::LogProbabilities(rows) | Self::Probabilities(rows) => rows,
        }
    }
}

/// What is known of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Divergence {
    /// The sum over the rows, in nats.
    pub sum: f64,
    /// How many they are.
    pub rows: usize,
}

impl Divergence {
    /// The mean over the rows, as PyTorch's `reduction="batchmean"`; NaN if there are none.
    #[must_use]
    pub fn batch_mean(&self) -> f64 {
        self.sum / self.rows as f64
    }

    fn of(rows: &[f64]) -> Self {
        Self { sum: rows.iter().sum(), rows: rows.len() }
    }
}

impl Engine {
    /// `KL(P || Q) = sum_i p_i log(p_i / q_i)` of each pair of rows, in nats, and their sum.
    ///
    /// The error is below `1e-6` relative (`1.2e-6` without fused multiply-add), or `1e-12` absolute where that is more: also where P and
    /// Q are nearly the same, and where their logits lie apart by thousands. From some thousands on there comes to that what the
    /// differences of logits round by, `2^-50` of the largest `|x| / T`; and where `|x| / T` is `1e18` or more nothing is promised, not even the
    /// same bits. Of a row with itself it is 0.
    ///
    /// | rows with | divergence |
    /// |---|---|
    /// | an element without probability in P | as if it were absent in P |
    /// | one without probability in Q, with some in P | +inf |
    /// | logits of NaN or +inf, or nothing but -inf; probabilities of NaN, +inf or below 0, or nothing but 0 | NaN |
    ///
    /// # Errors
    ///
    /// [`Error::ShapesDiffer`] unless both have as many rows and columns; [`Error::LengthMismatch`] if `out` does not hold one
    /// number for each row. Nothing has been written then.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// let (p, q) = ([0.0, 1e-3], [0.0, 2e-3]);
    /// let mut out = [0.0];
    /// Engine::new().kl_divergence(Rows::new(&p, 2)?, Rows::new(&q, 2)?, &mut out)?;
    /// assert!((out[0] / 1.25e-7 - 1.0).abs() < 1e-3);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn kl_divergence<'a>(
        &self,
        p: impl Into<Distribution<'a>>,
        q: impl Into<Distribution<'a>>,
        out: &mut [f64],
    ) -> Result<Divergence, Error> {
        self.kl_divergence_with(p, q, &Softmax::default(), out)
    }

    /// [`Engine::kl_divergence`] at a temperature, which is that of both sides. It must be 1 for probabilities.
    ///
    /// # Errors
    ///
    /// As [`Engine::kl_divergence`]; [`Error::Temperature`] if the temperature is negative or NaN, [`Error::OutOfRange`] if it
    /// is 0, or not 1 with probabilities.
    pub fn kl_divergence_with<'a>(
        &self,
        p: impl Into<Distribution<'a>>,
        q: impl Into<Distribution<'a>>,
        options: &Softmax,
        out: &mut [f64],
    ) -> Result<Divergence, Error> {
        pairs(self, p.into(), q.into(), options, None, out)?;
        Ok(Divergence::of(out))
    }

    /// The Jensen-Shannon divergence of each pair of rows, in nats, and the sum: `b KL(P || M) + (1 - b) KL(Q || M)` with `M = b P
    /// + (1 - b) Q`. For `b = 1/2` that is the usual one, which is log 2 at most; for 0 and for 1 it is `KL(P || Q)` and
    /// `KL(Q || P)`, as Liger and TRL define it.
    ///
    /// The error is as that of [`Engine::kl_divergence`], special values as well; but for `0 < b < 1` no divergence is infinite. A smaller `b`
    /// than `2^-100` but 0 is taken for that.
    /// Rows are read twice, and a long one by one thread.
    ///
    /// # Errors
    ///
    /// As [`Engine::kl_divergence`], and [`Error::OutOfRange`] unless `0 <= b <= 1`.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// let nothing = f32::NEG_INFINITY;
    /// let (p, q) = ([0.0, nothing], [nothing, 0.0]);
    /// let mut out = [0.0];
    /// Engine::new().js_divergence(Rows::new(&p, 2)?, Rows::new(&q, 2)?, 0.5, &mut out)?;
    /// assert!((out[0] - 2_f64.ln()).abs() < 1e-6);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn js_divergence<'a>(
        &self,
        p: impl Into<Distribution<'a>>,
        q: impl Into<Distribution<'a>>,
        beta: f64,
        out: &mut [f64],
    ) -> Result<Divergence, Error> {
        self.js_divergence_with(p, q, beta, &Softmax::default(), out)
    }

    /// [`Engine::js_divergence`] at a temperature, which is that of both sides. It must be 1 for probabilities.
    ///
    /// # Errors
    ///
    /// As [`Engine::js_divergence`] and [`Engine::kl_divergence_with`].
    pub fn js_divergence_with<'a>(
        &self,
        p: impl Into<Distribution<'a>>,
        q: impl Into<Distribution<'a>>,
        beta: f64,
        options: &Softmax,
        out: &mut [f64],
    ) -> Result<Divergence, Error> {
        if !(0.0..=1.0).contains(&beta) {
            return Err(Error::OutOfRange { what: "beta", value: beta, range: "from 0 to 1" });
        }
        let (p, q) = if beta == 1.0 { (q.into(), p.into()) } else { (p.into(), q.into()) };
        pairs(self, p, q, options, (beta != 0.0 && beta != 1.0).then_some(beta), out)?;
        Ok(Divergence::of(out))
    }
}

/// `log p - log r`: of a token that P has chosen, given its logarithms of probability in P and in R, which P started from, an
/// estimate of `KL(P || R)` that may be negative. Schulman's k1.
///
/// # Examples
///
/// ```
/// assert_eq!(logits::kl_k1(-1.0, -1.5), 0.5);
/// ```
#[must_use]
pub fn kl_k1(log_probability: f64, other: f64) -> f64 {
    log_probability - other
}

/// `r / p - 1 - log(r / p)`: the same, but never negative, and without cancellation where the two are nearly the same.
/// Schulman's k3, which GRPO adds to its loss.
///
/// # Examples
///
/// ```
/// assert!((logits::kl_k3(-1.0, -1.5) - (0.5 - 1.0 + (-0.5_f64).exp())).abs() < 1e-12);
/// assert_eq!(logits::kl_k3(-2.0, -2.0), 0.0);
/// ```
#[must_use]
pub fn kl_k3(log_probability: f64, other: f64) -> f64 {
    phi_f64(log_probability - other)
}

/// With a smaller part of P in M what an element has there may be no normal float any more, and its logarithm anything. Up to here
/// the divergence is below `1e-28`.
const LEAST_PART: f64 = power_of_two(-100);

/// The divergences of pairs of rows: from M, of which P has this part, or from each other.
fn pairs(
    engine: &Engine,
    p: Distribution<'_>,
    q: Distribution<'_>,
    options: &Softmax,
    beta: Option<f64>,
    out: &mut [f64],
) -> Result<(), Error> {
    let rows = [p.rows(), q.rows()];
    same_shape(["the first distributions", "the second"], rows.map(|rows| (rows.rows(), rows.cols())))?;
    let what = "the temperature of a divergence";
    let (scale, both_logits) = (above_zero(what, options.temperature)?, p.is_logits() && q.is_logits());
    if scale.is_some() && !both_logits {
        let (value, range) = (options.temperature, "1 where probabilities are given");
        return Err(Error::OutOfRange { what, value, range });
    }
    if beta.is_none() && scale.is_none() && both_logits {
        return engine.reduce(rows[0], out, &Kl { p: Logits(Unit), q: Logits(Unit), rows });
    }
    let scale = scale.unwrap_or(Temperature::new(1.0));
    let [p, q] =
        [p, q].map(|side| if side.is_logits() { Any::Logits(Logits(scale)) } else { Any::Probabilities });
    let Some(beta) = beta else { return engine.reduce(rows[0], out, &Kl { p, q, rows }) };
    let beta = beta.max(LEAST_PART);
    engine.check_results(rows[0], out)?;
    engine.visit(rows[0], 1, out, &JensenShannon { p, q, rows, beta });
    Ok(())
}
