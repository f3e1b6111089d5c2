//! Logit softcapping: `y = c tanh(x / c)`, and its slope `dy / dx = 1 - tanh^2(x / c)`.
//!
//! A logit of -inf stays what it is, so that what is masked stays masked; the formula by itself would give `-c`.
//!
//! The slope is `q (2 - q)` with `q = 2 / (exp(2 a) + 1) = 1 - tanh(a)` for `a = |x| / c`: nothing cancels where the
//! tangent is nearly 1.
//!
//! # Error
//!
//! With `u = 2^-24` and `t = tanh(a)`: `1 / c` and its product with `x` are rounded, which makes `2 a (1 - t^2) u` of the
//! tangent. That is within an ULP below 1, which is u, 1.16 of them without fused multiply-add; `c` and the last product
//! add `2 t u`. As `2 a (1 - t^2) + 2 t < 2.4`, `y` is within `3.6 u c`.
//!
//! Of the slope that is `4 a t u` relative, and 5.4 u from the exponential, within 1.3 u, and four operations. (0.4 u more
//! without fused multiply-add.)

use crate::lanes::{self, Map, Zip};
use crate::math::exp::{BIAS, Exp, magic};
use crate::math::tanh::tanh;
use crate::simd::{F32, Kernel, Mask, Simd};
use crate::span::{Read, Span, Write};

/// A cap, and its inverse.
#[derive(Clone, Copy)]
pub struct Softcap {
    cap: f32,
    inverse: f32,
}

impl Softcap {
    /// What is no normal float is taken for the nearest one.
    pub fn new(cap: f64) -> Self {
        let cap = cap.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX));
        Self { cap: cap as f32, inverse: (1.0 / cap) as f32 }
    }

    /// The elements of a segment, capped, in as many places.
    #[inline(always)]
    pub fn capped<'r, S: Simd>(self, s: S, segment: Read<'_, f32>, room: &'r mut [f32]) -> &'r mut [f32] {
        s.vectorize(Capped { softcap: self, segment, room })
    }

    /// Replaces a segment by its gradient, given the gradient with respect to its capped elements.
    #[inline(always)]
    pub fn go_back<S: Simd>(self, s: S, segment: &mut impl Span<f32>, gradient: Read<'_, f32>) {
        lanes::zip(s, segment, [gradient], 0.0, BySlope { twice: s.splat(2.0 * self.inverse) });
    }
}

/// One copy for losses and gradients.
struct Capped<'p, 'r> {
    softcap: Softcap,
    segment: Read<'p, f32>,
    room: &'r mut [f32],
}

impl<'r> Kernel for Capped<'_, 'r> {
    type Output = &'r mut [f32];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> &'r mut [f32] {
        let Self { softcap: Softcap { cap, inverse }, segment, room } = self;
        segment.copy_to(room);
        let mut capped = Write::in_place(room);
        lanes::map(s, &mut capped, 0.0, Cap { cap: s.splat(cap), inverse: s.splat(inverse) });
        capped.into_written()
    }
}

struct Cap<V> {
    cap: V,
    inverse: V,
}

impl<S: Simd> Map<S> for Cap<S::F32> {
    #[inline(always)]
    fn apply<const N: usize>(&self, s: S, x: [S::F32; N]) -> [S::F32; N] {
        let (masked, mut y) = (s.splat(f32::NEG_INFINITY), x);
        for y in &mut y {
            *y = *y * self.inverse;
        }
        y = tanh(s, y);
        for i in 0..N {
            y[i] = x[i].equals(masked).select(masked, self.cap * y[i]);
        }
        y
    }
}

/// From this `2 a` on the slope is below `2^-113`, and taken for 0.
const FLAT: f32 = 80.0;

struct BySlope<V> {
    /// `2 / c`.
    twice: V,
}

impl<S: Simd> Zip<S, 1> for BySlope<S::F32> {
    #[inline(always)]
    fn apply<const N: usize>(
        &self,
        s: S,
        _: usize,
        x: [S::F32; N],
        [mut gradient]: [[S::F32; N]; 1],
    ) -> [S::F32; N] {
        let (zero, one, two, flat) = (s.splat(0.0), s.splat(1.0), s.splat(2.0), s.splat(FLAT));
        let mut exponentials = x;
        for x in &mut exponentials {
            *x = (*x * self.twice).abs().min(flat);
        }
        exponentials = Exp::new(s, s.splat(magic(BIAS as f32))).exp(exponentials, None);
        for i in 0..N {
            let q = two / (exponentials[i] + one);
            let slope = (x[i] * self.twice).abs().exceeds(flat).select(zero, q * (two - q));
            gradient[i] = gradient[i] * slope;
        }
        gradient
    }
}
