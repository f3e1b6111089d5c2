//! The gradients of softmax and log-softmax, given the output and the gradient with respect to it.
//!
//! - Softmax: `dx_i = p_i (g_i - sum_j p_j g_j)`.
//! - Log-softmax: `dx_i = g_i - exp(y_i) sum_j g_j`.
//!
//! Sums are of products and of floats in f64, where both are exact: they may cancel, and lose nothing.
//!
//! # Error
//!
//! With `u = 2^-24`. Softmax: the sum comes as two floats, so `g_i` less the sum has two roundings and the product one:
//! below 3 u of the result. Log-softmax: `exp(y_i)` has an error below 1.6 u, its product with the sum half an ULP, the
//! difference another: below `3 u |p_i sum_j g_j| + u |dx_i|`.

use crate::engine::{Engine, Place};
use crate::error::Error;
use crate::grid::Grid;
use crate::lanes::{self, Map, Same, Zip};
use crate::math::double::in_two;
use crate::operation::{Origin, Reduce, Sides, Transform};
use crate::rows::{Rows, RowsMut, same_shape};
use crate::simd::{F32, Simd};
use crate::span::{Read, Span};
use crate::sums::{self, Products, WideTerms};

use super::factor::AnyFactor;
use super::normalizer::{Shift, Term};
use super::temperature::Unit;

impl Engine {
    /// The gradient of softmax: `p_i (g_i - sum_j p_j g_j)` of each row, with its output `p` and the gradient `g` of something
    /// with respect to `p`.
    ///
    /// The gradient of `softmax(x / T)` is this one divided by `T`. Where `p` is 0 the result is 0, whatever `g` is there. The
    /// relative error is below `3 * 2^-24` of `|p_i| (|g_i - s| + 2^-24 |s|)`, with the sum `s`.
    ///
    /// # Errors
    ///
    /// [`Error::ShapesDiffer`] or [`Error::ShapeMismatch`] unless all three have the same shape. Nothing has been written then.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows, RowsMut};
    ///
    /// let (p, g, mut dx) = ([0.25, 0.75], [1.0, 0.0], [0.0; 2]);
    /// Engine::new().softmax_backward(Rows::new(&p, 2)?, Rows::new(&g, 2)?, RowsMut::new(&mut dx, 2)?)?;
    /// assert_eq!(dx, [0.1875, -0.1875]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn softmax_backward(
        &self,
        probabilities: Rows<'_>,
        gradient: Rows<'_>,
        out: RowsMut<'_>,
    ) -> Result<(), Error> {
        apply(self, "probabilities", probabilities, Grid::apart(gradient, out)?, |p| OfSoftmax { p })
    }

    /// [`Engine::softmax_backward`] in place of the gradient.
    ///
    /// # Errors
    ///
    /// [`Error::ShapesDiffer`].
    pub fn softmax_backward_in_place(
        &self,
        probabilities: Rows<'_>,
        gradient: RowsMut<'_>,
    ) -> Result<(), Error> {
        apply(self, "probabilities", probabilities, Grid::InPlace(gradient), |p| OfSoftmax { p })
    }

    /// The gradient of log-softmax: `g_i - exp(y_i) sum_j g_j` of each row, with its output `y` and the gradient `g` of
    /// something with respect to `y`.
    ///
    /// The gradient of `log_softmax(x / T)` is this one divided by `T`. The error is below `3 * 2^-24` of `exp(y_i) |sum_j
    /// g_j|` plus `2^-24` of the result; what is below `2^-150` counts as no probability.
    ///
    /// # Errors
    ///
    /// [`Error::ShapesDiffer`] or [`Error::ShapeMismatch`] unless all three have the same shape. Nothing has been written then.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows, RowsMut};
    ///
    /// let (y, g, mut dx) = ([-std::f32::consts::LN_2; 2], [-1.0, 0.0], [0.0; 2]);
    /// Engine::new().log_softmax_backward(Rows::new(&y, 2)?, Rows::new(&g, 2)?, RowsMut::new(&mut dx, 2)?)?;
    /// assert_eq!(dx, [-0.5, 0.5]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn log_softmax_backward(
        &self,
        log_probabilities: Rows<'_>,
        gradient: Rows<'_>,
        out: RowsMut<'_>,
    ) -> Result<(), Error> {
        apply(self, "log-probabilities", log_probabilities, Grid::apart(gradient, out)?, |y| OfLogSoftmax {
            y,
        })
    }

    /// [`Engine::log_softmax_backward`] in place of the gradient.
    ///
    /// # Errors
    ///
    /// [`Error::ShapesDiffer`].
    pub fn log_softmax_backward_in_place(
        &self,
        log_probabilities: Rows<'_>,
        gradient: RowsMut<'_>,
    ) -> Result<(), Error> {
        apply(self, "log-probabilities", log_probabilities, Grid::InPlace(gradient), |y| OfLogSoftmax { y })
    }
}

fn apply<'a, T: Transform<f32>>(
    engine: &Engine,
    what: &'static str,
    output: Rows<'a>,
    gradient: Grid<'_, f32>,
    operation: impl FnOnce(Rows<'a>) -> T,
) -> Result<(), Error> {
    same_shape([what, "their gradients"], [(output.rows(), output.cols()), gradient.shape()])?;
    gradient.transform(engine, &operation(output));
    Ok(())
}

/// As much of a row as a segment.
#[inline(always)]
fn beside<'a>(rows: &Rows<'a>, origin: Origin, segment: &impl Span<f32>) -> Read<'a, f32> {
    Read::new(&rows.row(origin.row)[origin.at..][..segment.rest().len()])
}

macro_rules! two_passes {
    ($operation:ident, $other:ident, $sum:expr, $last:ident) => {
        struct $operation<'a> {
            $other: Rows<'a>,
        }

        impl Reduce<f32> for $operation<'_> {
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
                for (i, known) in known.iter_mut().enumerate() {
                    let origin = Origin { row: origin.row + i, ..origin };
                    let spans = [beside(&self.$other, origin, &segments[i]), segments[i].rest()];
                    [*known] = sums::wide_sums_of(s, spans, [0.0; 2], &mut $sum);
                }
            }

            #[inline(always)]
            fn merge(&self, left: f64, right: f64) -> f64 {
                left + right
            }
        }

        impl Transform<f32> for $operation<'_> {
            const STORES: bool = false;
            const STREAMS: bool = true;
            const PIPELINE: usize = usize::MAX;
            const SHORT: bool = false;

            type Last = ();
            type LastMap<S: Simd> = Same;

            #[inline(always)]
            fn last<S: Simd>(&self, _: S, (): ()) -> Same {
                Same
            }

            #[inline(always)]
            fn finish<S: Simd>(
                &self,
                s: S,
                rows: &[f64],
                _: Option<&[f64]>,
                origin: Origin,
                segments: &mut [impl Span<f32>],
            ) {
                for (i, segment) in segments.iter_mut().enumerate() {
                    let origin = Origin { row: origin.row + i, ..origin };
                    let other = beside(&self.$other, origin, segment);
                    lanes::zip(s, segment, [other], 0.0, $last::new(s, rows[i]));
                }
            }
        }
    };
}

two_passes!(OfSoftmax, p, Products, Scale);
two_passes!(OfLogSoftmax, y, Second, Spread);

/// `g_j`.
struct Second;

impl<S: Simd> WideTerms<S, 2, 1> for Second {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [_, g]: [[S::F32; N]; 2]) -> [[S::F64; N]; 1] {
        let mut wide = [s.zero_f64(); N];
        for i in 0..N {
            wide[i] = g[i].widen();
        }
        [wide]
    }
}

/// `p (g - sum)`.
struct Scale<V> {
    hi: V,
    lo: V,
}

impl<V: F32> Scale<V> {
    #[inline(always)]
    fn new<S: Simd<F32 = V>>(s: S, sum: f64) -> Self {
        let (hi, lo) = in_two(sum);
        Self { hi: s.splat(hi), lo: s.splat(lo) }
    }
}

impl<S: Simd> Zip<S, 1> for Scale<S::F32> {
    #[inline(always)]
    fn apply<const N: usize>(
        &self,
        s: S,
        _: usize,
        mut g: [S::F32; N],
        [p]: [[S::F32; N]; 1],
    ) -> [S::F32; N] {
        for i in 0..N {
            g[i] = p[i] * ((lanes::unless_zero(s, p[i], g[i]) - self.hi) - self.lo);
        }
        g
    }
}

/// `g - exp(y) sum`.
struct Spread<S: Simd> {
    term: Term<S, Unit, false>,
    factor: AnyFactor<S::F32>,
}

impl<S: Simd> Spread<S> {
    #[inline(always)]
    fn new(s: S, sum: f64) -> Self {
        // Log-probabilities are 0 at most, and the least of those that are floats have terms that are none of the least.
        let shift = Shift { center: 0.0, exponent: 0.0 };
        Self { term: Term::new(s, shift, Unit), factor: AnyFactor::new(s, sum * shift.unit()) }
    }
}

impl<S: Simd> Zip<S, 1> for Spread<S> {
    #[inline(always)]
    fn apply<const N: usize>(
        &self,
        s: S,
        _: usize,
        mut g: [S::F32; N],
        [y]: [[S::F32; N]; 1],
    ) -> [S::F32; N] {
        let parts = self.factor.apply(s, self.term.apply(s, y));
        for i in 0..N {
            g[i] = g[i] - parts[i];
        }
        g
    }
}
