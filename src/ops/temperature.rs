//! `z = x / T`, without the rounding of `x / T` in f32 (66 ULP of a softmax at T = 0.7).
//!
//! `1/T = hi + lo` in two floats; `z = d hi` and its rest `(d hi - z) + d lo`, where `d = x - c`.
//! The rest goes into the reduced argument of the exponential.

use crate::math::double::power_of_two;
use crate::simd::{F32, Mask, Simd};

/// How logits become the `z` of `exp(z)`.
pub trait Scale: Copy + Send + Sync {
    /// `x / T`, rounded.
    fn approximate(self, x: f32) -> f32;

    /// `x / T` in f64.
    fn exact(self, x: f64) -> f64;

    /// `x / T` in f64.
    fn exact_lanes<S: Simd>(self, s: S, x: S::F64) -> S::F64;

    /// Some `d` whose `z` is near this one.
    fn unscaled(self, z: f32) -> f32;

    /// Whether all `|z| < 32` where no `|x|` is larger than this, and `x` is in no danger of leaving the range of floats.
    fn is_plain(self, magnitude: f32) -> bool;

    /// Some `x` whose `z` is near this one, where there are plain segments at all.
    fn logit(self, z: f32) -> f32;

    /// The addend that makes `x` a `d`.
    fn minus(self, center: f32) -> f32;

    /// `d = x - c`, times a power of two that keeps it in range.
    fn shift<S: Simd>(self, s: S, x: S::F32, minus_center: S::F32) -> S::F32;

    /// [`Scale::shift`] where `c = 0`.
    fn unshifted<S: Simd>(self, s: S, x: S::F32) -> S::F32;

    /// `z`, and its rest where `d / T` is not a float.
    fn divide<S: Simd>(self, s: S, d: S::F32) -> (S::F32, Option<S::F32>);
}

/// `T = 1`.
#[derive(Debug, Clone, Copy)]
pub struct Unit;

impl Scale for Unit {
    #[inline(always)]
    fn approximate(self, x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn exact(self, x: f64) -> f64 {
        x
    }

    #[inline(always)]
    fn exact_lanes<S: Simd>(self, _: S, x: S::F64) -> S::F64 {
        x
    }

    #[inline(always)]
    fn unscaled(self, z: f32) -> f32 {
        z
    }

    #[inline(always)]
    fn is_plain(self, magnitude: f32) -> bool {
        magnitude < 32.0
    }

    #[inline(always)]
    fn logit(self, z: f32) -> f32 {
        z
    }

    #[inline(always)]
    fn minus(self, center: f32) -> f32 {
        -center
    }

    #[inline(always)]
    fn shift<S: Simd>(self, _: S, x: S::F32, minus_center: S::F32) -> S::F32 {
        x + minus_center
    }

    #[inline(always)]
    fn unshifted<S: Simd>(self, _: S, x: S::F32) -> S::F32 {
        x
    }

    #[inline(always)]
    fn divide<S: Simd>(self, _: S, d: S::F32) -> (S::F32, Option<S::F32>) {
        (d, None)
    }
}

/// Any other `T > 0`.
#[derive(Debug, Clone, Copy)]
pub struct Temperature {
    temperature: f64,
    /// Powers of two for `x` before the subtraction, lest it overflow, and for the difference.
    before: f32,
    after: f32,
    /// `1 / (T before after)`.
    hi: f32,
    lo: f32,
}

impl Temperature {
    /// At `2^-160` no two different logits share the mass, and at `2^160` all have the same share: there the temperature
    /// stops, so that everything below is in range.
    pub fn new(temperature: f64) -> Self {
        const LEAST: f64 = power_of_two(-160);
        const MOST: f64 = power_of_two(160);
        let temperature = temperature.clamp(LEAST, MOST);
        let (before, after) = if temperature > power_of_two(64) {
            (power_of_two(-64), 1.0)
        } else if temperature > 1.0 {
            (power_of_two(-2), 1.0)
        } else if temperature > power_of_two(-64) {
            (1.0, 1.0)
        } else {
            (1.0, power_of_two(64))
        };
        let inverse = 1.0 / (temperature * before * after);
        let hi = inverse as f32;
        let lo = (inverse - f64::from(hi)) as f32;
        Self { temperature, before: before as f32, after: after as f32, hi, lo }
    }

    /// `T`, as far as it goes.
    pub fn get(self) -> f64 {
        self.temperature
    }
}

impl Scale for Temperature {
    #[inline(always)]
    fn approximate(self, x: f32) -> f32 {
        x * self.before * self.after * self.hi
    }

    #[inline(always)]
    fn exact(self, x: f64) -> f64 {
        x / self.temperature
    }

    #[inline(always)]
    fn exact_lanes<S: Simd>(self, s: S, x: S::F64) -> S::F64 {
        x * s.splat_f64(1.0 / self.temperature)
    }

    #[inline(always)]
    fn unscaled(self, z: f32) -> f32 {
        z / self.hi
    }

    #[inline(always)]
    fn is_plain(self, magnitude: f32) -> bool {
        let ordinary = power_of_two(-64) < self.temperature && self.temperature < power_of_two(64);
        ordinary && self.approximate(magnitude) < 32.0
    }

    #[inline(always)]
    fn logit(self, z: f32) -> f32 {
        z * self.temperature as f32
    }

    #[inline(always)]
    fn minus(self, center: f32) -> f32 {
        -center * self.before
    }

    #[inline(always)]
    fn shift<S: Simd>(self, s: S, x: S::F32, minus_center: S::F32) -> S::F32 {
        x.mul_add(s.splat(self.before), minus_center) * s.splat(self.after)
    }

    #[inline(always)]
    fn unshifted<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        x * s.splat(self.before) * s.splat(self.after)
    }

    #[inline(always)]
    fn divide<S: Simd>(self, s: S, d: S::F32) -> (S::F32, Option<S::F32>) {
        let (hi, lo) = (s.splat(self.hi), s.splat(self.lo));
        let z = d * hi;
        let rest = if S::FUSED { d.mul_add(hi, s.splat(0.0) - z) } else { product_error(s, d, hi, z) };
        (z, Some(d.mul_add(lo, rest)))
    }
}

/// `a b - product` where there is no fused multiply-add: Dekker's product of halves of 12 bits.
#[inline(always)]
fn product_error<S: Simd>(s: S, a: S::F32, b: S::F32, product: S::F32) -> S::F32 {
    let ((a_hi, a_lo), (b_hi, b_lo)) = (halves(s, a), halves(s, b));
    let error = ((a_hi * b_hi - product) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo;
    // Halves of numbers near the largest are not finite, or their products are not.
    let zero = s.splat(0.0);
    (error * zero).equals(zero).select(error, zero)
}

/// A float as two of 12 bits.
#[inline(always)]
fn halves<S: Simd>(s: S, x: S::F32) -> (S::F32, S::F32) {
    let shifted = x * s.splat(4097.0);
    let high = shifted - (shifted - x);
    (high, x - high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::trial::tested;
    use crate::simd::isa::Machine;
    use crate::simd::{Kernel, LANES};

    #[derive(Clone, Copy)]
    struct Error([f32; LANES], [f32; LANES]);

    impl Kernel for Error {
        type Output = ([f32; LANES], [f32; LANES]);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let (a, b) = (s.load(&self.0), s.load(&self.1));
            let product = a * b;
            (product.to_array(), product_error(s, a, b, product).to_array())
        }
    }

    #[test]
    fn a_product_and_its_error_are_exact() {
        for isa in tested() {
            let machine = Machine::new(isa).unwrap();
            for i in 0..1000 {
                // Mantissas of every length, of both signs.
                let some = |i: usize, by: u32| (i as u32).wrapping_mul(by) as i32 >> (i % 24);
                let a = core::array::from_fn(|lane| some(16 * i + lane, 0x9e37_79b9) as f32 * 1e-3);
                let b = core::array::from_fn(|lane| some(16 * i + lane, 0x85eb_ca6b) as f32 * 1e-7);
                let (products, errors) = machine.run(Error(a, b));
                for lane in 0..LANES {
                    let exact = f64::from(a[lane]) * f64::from(b[lane]);
                    let got = f64::from(products[lane]) + f64::from(errors[lane]);
                    assert_eq!(got, exact, "{isa}: {} * {}", a[lane], b[lane]);
                }
            }
            // Halves that are no floats: no error then.
            let (_, errors) = machine.run(Error([3e38; LANES], [0.7; LANES]));
            assert_eq!(errors, [0.0; LANES], "{isa}");
        }
    }
}
