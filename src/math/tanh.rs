//! `tanh(x)` over lanes.
//!
//! Identities: `tanh(x) = x + x^3 P(x^2)` where `|x| <= 1`, and `tanh(|x|) = 1 - 2 / (exp(2 |x|) + 1)` elsewhere, with
//! the sign of `x`.
//!
//! 1. `P` is a polynomial of degree 6, by Horner's rule. What it adds to `x` is less than a quarter of `x`, so that the
//!    errors in it count little beside the last rounding.
//! 2. `2 |x|` is exact, and the quotient is less than a quarter again: likewise. Long before [`SATURATED`] it is too small
//!    to be seen in the difference.
//!
//! Both are computed for every lane, and one is taken: for NaN the first, which lets it pass. The cubes of zeros and of
//! subnormal numbers are 0, and `x` remains.
//!
//! Error: below `MAX_ULP` units in the last place for every float, worst at +-1.0085424 with 0.9592: the proof at the end
//! tries them one by one. Without fused multiply-add below `MAX_ULP_UNFUSED`, worst at +-0.90863055 with 1.1572.

use super::exp::{BIAS, Exp, magic};
use crate::simd::{F32, Mask, Simd};

/// Bound of the error over all inputs, with fused multiply-add.
#[cfg(test)]
const MAX_ULP: f64 = 0.96;

/// The same where multiply-add rounds twice.
#[cfg(test)]
const MAX_ULP_UNFUSED: f64 = 1.16;

/// Up to here it is the polynomial.
const SMALL: f32 = 1.0;

/// A `2 |x|` whose result is 1, as from 18.03 on: there the exponential ends.
const SATURATED: f32 = 20.0;

/// Coefficients of `P`, from the constant to the sixth power: they make the relative error of `x + x^3 P` least.
const P: [f32; 7] = [
    -0.333_332_96,
    0.133_323_45,
    -0.053_879_8,
    0.021_486_659,
    -0.007_946_108,
    0.002_301_365_1,
    -0.000_358_452_12,
];

/// The hyperbolic tangent of each lane of some vectors side by side.
#[inline(always)]
pub fn tanh<S: Simd, const N: usize>(s: S, x: [S::F32; N]) -> [S::F32; N] {
    let one = s.splat(1.0);
    let mut large = x;
    for i in 0..N {
        let magnitude = x[i].abs();
        large[i] = (magnitude + magnitude).min(s.splat(SATURATED));
    }
    large = Exp::new(s, s.splat(magic(BIAS as f32))).exp(S::F32::in_step(large), None);
    for large in &mut large {
        *large = one - s.splat(2.0) / (*large + one);
    }
    let (mut square, mut small) = (x, [s.splat(P[6]); N]);
    for i in 0..N {
        square[i] = x[i] * x[i];
    }
    square = S::F32::in_step(square);
    for coefficient in [P[5], P[4], P[3], P[2], P[1], P[0]] {
        for i in 0..N {
            small[i] = small[i].mul_add(square[i], s.splat(coefficient));
        }
        small = S::F32::in_step(small);
    }
    for i in 0..N {
        small[i] = (x[i] * square[i]).mul_add(small[i], x[i]);
    }
    for i in 0..N {
        small[i] = x[i].abs().exceeds(s.splat(SMALL)).select(large[i], small[i]).copy_sign(x[i]);
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::trial::{Errors, Tried, prove, tested};
    use crate::simd::isa::Machine;
    use crate::simd::{Kernel, LANES};

    #[derive(Clone, Copy)]
    struct Tanh;

    impl Tried for Tanh {
        type Lane = f32;

        const BOUNDS: Errors = Errors { ulp: MAX_ULP, relative: f64::INFINITY };
        const BOUNDS_UNFUSED: Option<Errors> = Some(Errors { ulp: MAX_ULP_UNFUSED, relative: f64::INFINITY });

        #[inline(always)]
        fn results<S: Simd>(self, s: S, x: [f32; LANES]) -> Option<[f32; LANES]> {
            let [got] = tanh(s, [s.load(&x)]);
            let got = got.to_array();
            // Neighbours are NaN together, but for an infinity.
            if x[LANES - 1].is_nan() {
                let sound = x.iter().zip(&got).all(|(x, got)| got.is_nan() == x.is_nan());
                assert!(sound, "tanh of {x:?} is {got:?}");
                return None;
            }
            Some(got)
        }

        fn exact(self, x: [f32; LANES]) -> [f64; LANES] {
            x.map(|x| libm::tanh(f64::from(x)))
        }
    }

    #[test]
    fn a_sample_of_all_floats() {
        prove(Tanh, 251, 0x8836_4d03_fa00_de82);
    }

    /// The proof: `cargo test --lib all_floats -- --ignored --nocapture`.
    #[test]
    #[ignore = "all 2^32 floats on every instruction set: minutes"]
    fn all_floats() {
        prove(Tanh, 1, 0xb9af_fe1d_2f79_d247);
    }

    /// Some vectors side by side.
    struct Four([[f32; LANES]; 4]);

    impl Kernel for Four {
        type Output = [[f32; LANES]; 4];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [[f32; LANES]; 4] {
            let [a, b, c, d] = &self.0;
            let [a, b, c, d] = tanh(s, [s.load(a), s.load(b), s.load(c), s.load(d)]);
            [a.to_array(), b.to_array(), c.to_array(), d.to_array()]
        }
    }

    #[test]
    fn odd_and_special() {
        let fixed = [0.0, f32::from_bits(1), f32::MIN_POSITIVE, 1e-4];
        for isa in tested() {
            let machine = Machine::new(isa).unwrap();
            let of = |x: f32| {
                let [a, b, c, d] =
                    machine.run(Four([[x; LANES], [-x; LANES], [1.0; LANES], [f32::NAN; LANES]]));
                assert_eq!(a[0].to_bits(), (-b[LANES - 1]).to_bits(), "{isa}: {x}");
                assert!(c[3] < 1.0 && d[3].is_nan(), "{isa}");
                a[0]
            };
            for x in fixed {
                assert_eq!(of(x).to_bits(), x.to_bits(), "{isa}");
            }
            for x in [f32::INFINITY, f32::MAX, SATURATED / 2.0] {
                assert_eq!(of(x), 1.0, "{isa}: {x}");
            }
            for x in (0..10_000).map(|x| x as f32 / 1e3) {
                assert!((f64::from(of(x)) - libm::tanh(f64::from(x))).abs() < 1e-7, "{isa}: {x}");
            }
        }
    }
}
