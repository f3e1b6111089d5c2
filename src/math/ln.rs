//! `ln(x)` over lanes, as f64.
//!
//! Identity: `x = 2^k m` with `sqrt(1/2) <= m < sqrt(2)`, so `ln(x) = k ln2 + 2 artanh(s)` with `s = (m - 1) / (m + 1)`.
//!
//! 1. As an `f64` every positive float is normal, subnormal ones too.
//! 2. `y = 2^k` is `sqrt(2) x` without its mantissa. `s = (x - y) / (x + y)`, where difference and sum are exact: the
//!    division rounds once, and near 1, where `k` is 0, nothing else is lost.
//! 3. `2 artanh(s) = s (2 + z Q(z))` with `z = s^2 < 0.0295`: `Q` is a polynomial of degree 4, by Horner's rule.
//!
//! Additions, multiplications, divisions and bits alone, and no fused multiply-add: the bits are the same on every
//! backend, fused or not.
//!
//! Special values: of zeros -inf, of +inf itself, of negative numbers and NaN a NaN. Of 1 it is +0.
//!
//! Error: below `MAX_RELATIVE` for every positive float, worst at 1.3470058 with `2^-44.93`: the proof at the end tries
//! them one by one.

use core::f64::consts::{LN_2, SQRT_2};

use crate::simd::{F32, F64, Mask, Simd};

/// Bound of the relative error over all inputs.
#[cfg(test)]
const MAX_RELATIVE: f64 = 3e-14;

/// Coefficients of `2 + z Q(z)`, from the constant up: those of `Q` make the relative error of the whole least.
const ARTANH: [f64; 6] = [
    2.0,
    0.666_666_666_757_688,
    0.399_999_956_327_857_6,
    0.285_721_080_022_373_9,
    0.221_762_367_061_859_3,
    0.195_834_653_020_841_06,
];

/// The natural logarithm of each lane.
#[inline(always)]
pub fn ln<S: Simd>(s: S, x: S::F32) -> S::F64 {
    // Lanes without a finite logarithm become what they have instead; that is not finite, and the end returns it as it is.
    let zero = s.splat(0.0);
    let or_nan = zero.exceeds(x).select(s.splat(f32::NAN), x);
    ln_of(s, x.equals(zero).select(s.splat(f32::NEG_INFINITY), or_nan).widen())
}

/// The same of positive normal `f64`. Infinities and NaN stay what they are; anything for any other.
#[inline(always)]
pub fn ln_of<S: Simd>(s: S, x: S::F64) -> S::F64 {
    if S::OUTLINES { outlined(s, x) } else { inlined(s, x) }
}

#[inline(never)]
fn outlined<S: Simd>(s: S, x: S::F64) -> S::F64 {
    inlined(s, x)
}

#[inline(always)]
fn inlined<S: Simd>(s: S, x: S::F64) -> S::F64 {
    let y = (x * s.splat_f64(SQRT_2)).power_of_two();
    let quotient = (x - y) / (x + y);
    let square = quotient * quotient;
    let mut artanh = s.splat_f64(ARTANH[5]);
    for coefficient in [ARTANH[4], ARTANH[3], ARTANH[2], ARTANH[1], ARTANH[0]] {
        artanh = artanh * square + s.splat_f64(coefficient);
    }
    let ln = y.exponent() * s.splat_f64(LN_2) + quotient * artanh;
    y.select_equal(s.splat_f64(f64::INFINITY), x, ln)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::trial::{Errors, Tried, prove, tested};
    use crate::simd::isa::Machine;
    use crate::simd::{Kernel, LANES};

    #[derive(Clone, Copy)]
    struct Ln;

    impl Tried for Ln {
        type Lane = f64;

        const BOUNDS: Errors = Errors { ulp: f64::INFINITY, relative: MAX_RELATIVE };
        const BOUNDS_UNFUSED: Option<Errors> = None;

        #[inline(always)]
        fn results<S: Simd>(self, s: S, x: [f32; LANES]) -> Option<[f64; LANES]> {
            let got = ln(s, s.load(&x)).to_array();
            // Neighbours are negative or NaN together, but for an infinity and -0.
            if x[LANES - 1].is_sign_negative() || x[LANES - 1].is_nan() {
                let sound = x.iter().zip(&got).all(|(x, got)| got.is_nan() || *x == 0.0 || x.is_infinite());
                assert!(sound, "ln of {x:?} is {got:?}");
                return None;
            }
            Some(got)
        }

        fn exact(self, x: [f32; LANES]) -> [f64; LANES] {
            x.map(|x| libm::log(f64::from(x)))
        }
    }

    #[test]
    fn a_sample_of_all_floats() {
        prove(Ln, 251, 0xd3d1_9d30_5b6d_2d46);
    }

    /// The proof: `cargo test --lib all_floats -- --ignored --nocapture`.
    #[test]
    #[ignore = "all 2^32 floats on every instruction set: minutes"]
    fn all_floats() {
        prove(Ln, 1, 0x3d87_da46_fb7e_2aba);
    }

    impl Kernel for [f32; LANES] {
        type Output = [f64; LANES];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [f64; LANES] {
            ln(s, s.load(&self)).to_array()
        }
    }

    #[test]
    fn special_values() {
        let of = |machine: Machine, x: f32| machine.run([x; LANES])[LANES - 1];
        for isa in tested() {
            let machine = Machine::new(isa).unwrap();
            assert_eq!(of(machine, 1.0).to_bits(), 0, "{isa}");
            for zero in [0.0, -0.0] {
                assert_eq!(of(machine, zero), f64::NEG_INFINITY, "{isa}");
            }
            assert_eq!(of(machine, f32::INFINITY), f64::INFINITY, "{isa}");
            for none in [f32::NEG_INFINITY, f32::MIN, -1.0, -f32::from_bits(1), f32::NAN, -f32::NAN] {
                assert!(of(machine, none).is_nan(), "{isa}: {none}");
            }
        }
    }
}
