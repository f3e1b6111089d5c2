//! Expected value: `sum_i p_i v_i` with `p = softmax(x / T)` and a value `v_i` for each column.
//!
//! With terms `e_i` as in [`normalizer`](super::normalizer): `sum e_i v_i / sum e_i`. Values may be of both signs and cancel,
//! so both sums are in f64, where the product of two floats is exact.
//!
//! # Error
//!
//! With `u = 2^-24`: each term has a relative error below 1.6 u (at any temperature; 2 u without fused multiply-add), the
//! same one in both sums. So the quotient is within `2 * 1.6 u sum_i p_i |v_i|`: below `4 u` of that.

use crate::error::Error;
use crate::lanes::Map;
use crate::operation::{Origin, Reduce, Sides, Summarize};
use crate::rows::Rows;
use crate::simd::{F32, Simd};
use crate::span::{Read, Span};
use crate::sums::{self, Products, WideTerms};
use crate::{Engine, lanes};

use super::Softmax;
use super::first::First;
use super::normalizer::{Look, Normalizer, Shift, Term};
use super::options::Kind;
use super::temperature::{Scale, Temperature};

impl Engine {
    /// `sum_i p_i v_i` of each row, with `p = softmax(x)`: the expected value of what column `i` is worth.
    ///
    /// The error is below `4 * 2^-24 sum_i p_i |v_i|`. Where `p_i` is 0 the value does not count, also if it is infinite or
    /// NaN. NaN for a row without a distribution: with a NaN or +inf in it, or of nothing but -inf.
    ///
    /// # Errors
    ///
    /// [`Error::ColumnsMismatch`] if there is not a value for each column, [`Error::LengthMismatch`] if `out` does not hold one
    /// number for each row.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// // How many stars, from a score for each.
    /// let stars = [1.0, 2.0, 3.0, 4.0, 5.0];
    /// let mut out = [0.0];
    /// Engine::new().expected_value(Rows::new(&[0.0, 0.0, 0.0, 9.0, 9.0], 5)?, &stars, &mut out)?;
    /// assert!((out[0] - 4.5).abs() < 1e-3);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn expected_value(&self, x: Rows<'_>, values: &[f32], out: &mut [f64]) -> Result<(), Error> {
        self.expected_value_with(x, values, out, &Softmax::default())
    }

    /// [`Engine::expected_value`] under `softmax(x / T)`. At temperature 0 it is the value of the first maximum.
    ///
    /// # Errors
    ///
    /// As [`Engine::expected_value`], and [`Error::Temperature`] if the temperature is negative or NaN.
    pub fn expected_value_with(
        &self,
        x: Rows<'_>,
        values: &[f32],
        out: &mut [f64],
        options: &Softmax,
    ) -> Result<(), Error> {
        check(x, values)?;
        match options.temperature()? {
            // The same bits as without one, and half as much code.
            Kind::One => self.reduce(x, out, &Expected { scale: Temperature::new(1.0), values }),
            Kind::Other(scale) => self.reduce(x, out, &Expected { scale, values }),
            Kind::Zero => self.reduce(x, out, &OfFirst { values }),
        }
    }

    /// `sum_i p_i v_i` of each row of probabilities, which are used as they are: they need not sum to 1.
    ///
    /// Correctly rounded but for the order of additions in f64. Where `p_i` is 0 the value does not count.
    ///
    /// # Errors
    ///
    /// As [`Engine::expected_value`].
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// let mut out = [0.0];
    /// let coin = Rows::new(&[0.5, 0.5, 0.0], 3)?;
    /// Engine::new().expected_value_of_probabilities(coin, &[-1.0, 2.0, f32::NAN], &mut out)?;
    /// assert_eq!(out, [0.5]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn expected_value_of_probabilities(
        &self,
        probabilities: Rows<'_>,
        values: &[f32],
        out: &mut [f64],
    ) -> Result<(), Error> {
        check(probabilities, values)?;
        self.reduce(probabilities, out, &Given { values })
    }
}

fn check(x: Rows<'_>, values: &[f32]) -> Result<(), Error> {
    if x.rows() > 0 && values.len() != x.cols() {
        return Err(Error::ColumnsMismatch { what: "values", cols: x.cols(), len: values.len() });
    }
    Ok(())
}

/// From logits.
struct Expected<'a> {
    scale: Temperature,
    values: &'a [f32],
}

/// What is known of some segments.
#[derive(Clone, Copy, Default)]
struct Known {
    normalizer: Normalizer,
    /// `sum e_i v_i`.
    weighted: f64,
}

impl Reduce<f32> for Expected<'_> {
    type Partial = Known;
    type Together = ();

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        origin: Origin,
        segments: &mut [impl Span<f32>],
        known: &mut [Known],
        _: &mut impl Sides<S>,
    ) {
        let all_plain = self.scale.is_plain(lanes::magnitude(s, segments));
        for (i, known) in known.iter_mut().enumerate() {
            let segment = segments[i].rest();
            let shift = match Look::at(s, segments, i, all_plain, self.scale) {
                Look::Plain => Shift::PLAIN,
                Look::Shifted(_, shift) => shift,
                Look::Degenerate(normalizer) => {
                    *known = Known { normalizer, weighted: 0.0 };
                    continue;
                }
            };
            let mut weigh = Weigh { term: Term::<S, Temperature, false>::new(s, shift, self.scale) };
            let values = Read::new(&self.values[origin.at..][..segment.len()]);
            let [sum, weighted] =
                sums::wide_sums_of(s, [segment, values], [f32::NEG_INFINITY, 0.0], &mut weigh);
            *known = Known { normalizer: Normalizer { shift, sum }, weighted };
        }
    }

    #[inline(always)]
    fn merge(&self, left: Known, right: Known) -> Known {
        let normalizer = left.normalizer.merge(right.normalizer, self.scale);
        let part = |known: Known| {
            // Of nothing there is no weight.
            if known.weighted == 0.0 {
                return 0.0;
            }
            known.weighted * known.normalizer.shift.weight(normalizer.shift, self.scale)
        };
        Known { normalizer, weighted: part(left) + part(right) }
    }
}

impl Summarize<f32> for Expected<'_> {
    type Output = f64;

    #[inline(always)]
    fn result(&self, _: usize, known: Known) -> f64 {
        let sum = known.normalizer.sum;
        if sum > 0.0 && sum < f64::INFINITY { one_nan(known.weighted / sum) } else { f64::NAN }
    }
}

#[inline(always)]
fn one_nan(x: f64) -> f64 {
    if x.is_nan() { f64::NAN } else { x }
}

/// `e_i`, and `e_i v_i`; 0 where `e_i` is.
struct Weigh<S: Simd> {
    term: Term<S, Temperature, false>,
}

impl<S: Simd> WideTerms<S, 2, 2> for Weigh<S> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [x, v]: [[S::F32; N]; 2]) -> [[S::F64; N]; 2] {
        let (terms, mut sums) = (self.term.apply(s, x), [[s.zero_f64(); N]; 2]);
        for i in 0..N {
            sums[0][i] = terms[i].widen();
            sums[1][i] = sums[0][i] * lanes::unless_zero(s, terms[i], v[i]).widen();
        }
        sums
    }
}

/// At temperature 0.
struct OfFirst<'a> {
    values: &'a [f32],
}

impl Reduce<f32> for OfFirst<'_> {
    type Partial = First;
    type Together = ();

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        origin: Origin,
        segments: &mut [impl Span<f32>],
        known: &mut [First],
        _: &mut impl Sides<S>,
    ) {
        for (segment, known) in segments.iter().zip(known) {
            *known = First::of(s, origin, segment.rest());
        }
    }

    #[inline(always)]
    fn merge(&self, left: First, right: First) -> First {
        left.merge(right)
    }
}

impl Summarize<f32> for OfFirst<'_> {
    type Output = f64;

    #[inline(always)]
    fn result(&self, _: usize, known: First) -> f64 {
        known.place().map_or(f64::NAN, |place| one_nan(f64::from(self.values[place])))
    }
}

/// From probabilities.
struct Given<'a> {
    values: &'a [f32],
}

impl Reduce<f32> for Given<'_> {
    type Partial = f64;
    type Together = ();

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        origin: Origin,
        segments: &mut [impl Span<f32>],
        known: &mut [f64],
        _: &mut impl Sides<S>,
    ) {
        for (segment, known) in segments.iter().zip(known) {
            let segment = segment.rest();
            let values = Read::new(&self.values[origin.at..][..segment.len()]);
            [*known] = sums::wide_sums_of(s, [segment, values], [0.0; 2], &mut Products);
        }
    }

    #[inline(always)]
    fn merge(&self, left: f64, right: f64) -> f64 {
        left + right
    }
}

impl Summarize<f32> for Given<'_> {
    type Output = f64;

    #[inline(always)]
    fn result(&self, _: usize, known: f64) -> f64 {
        one_nan(known)
    }
}
