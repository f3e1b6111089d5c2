//! `exp(z)` over lanes, as f64: where two sums of exponentials have to be told apart that floats take for equal.
//!
//! Identity: `z = k ln2 + r` with an integer `k` and `|r| <= ln2 / 2`, so `exp(z) = 2^k exp(r)`.
//!
//! 1. `k = (z log2(e) + magic) - magic` with `magic = 1.5 * 2^52`: the addition rounds to an integer.
//! 2. `r = (z - k HI) - k LO` with `HI + LO = ln2`, where `k HI` is exact, also without fused multiply-add, and the first
//!    difference too.
//! 3. `exp(r)` is its Taylor polynomial of degree 13, by Horner's rule: what is left out is below `2^-57`.
//! 4. `2^k` is a float, made of its bits.
//!
//! Range: from [`LEAST`] to 88. Of 0 it is exactly 1.
//!
//! Error: below `MAX_RELATIVE` for every float of the range, worst with `2^-52` where multiply-add is fused and at 3.83441 with
//! `2^-51.41` where it is not: the proof at the end tries them one by one.

use core::f64::consts::LOG2_E;

use crate::simd::{F32, F64, Simd};

/// The least `z`: its exponential is just a normal float.
pub const LEAST: f64 = -87.0;

/// Bound of the relative error over all inputs.
#[cfg(test)]
const MAX_RELATIVE: f64 = 4.5e-16;

/// `1.5 * 2^52`: adding it rounds to an integer.
const ROUND: f64 = 6_755_399_441_055_744.0;

const HI: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LO: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);

/// `1 / n!`, from 0 on.
const TAYLOR: [f64; 14] = {
    let (mut coefficients, mut factorial, mut n) = ([1.0; 14], 1.0, 1);
    while n < 14 {
        factorial *= n as f64;
        coefficients[n] = 1.0 / factorial;
        n += 1;
    }
    coefficients
};

/// The exponential of each lane.
#[inline(always)]
pub fn exp<S: Simd>(s: S, z: S::F64) -> S::F64 {
    if S::OUTLINES { outlined(s, z) } else { inlined(s, z) }
}

#[inline(never)]
fn outlined<S: Simd>(s: S, z: S::F64) -> S::F64 {
    inlined(s, z)
}

#[inline(always)]
fn inlined<S: Simd>(s: S, z: S::F64) -> S::F64 {
    // In floats, where an integer in the low bits becomes an exponent.
    const BIASED: f32 = 12_582_912.0 + 127.0;
    let round = s.splat_f64(ROUND);
    let k = z.mul_add(s.splat_f64(LOG2_E), round) - round;
    let r = k.mul_add(s.splat_f64(-LO), k.mul_add(s.splat_f64(-HI), z));
    let mut exp = s.splat_f64(TAYLOR[13]);
    for n in (0..13).rev() {
        exp = exp.mul_add(r, s.splat_f64(TAYLOR[n]));
    }
    exp * (k.narrow() + s.splat(BIASED)).low_bits_to_exponent().widen()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::trial::{Errors, Tried, prove};
    use crate::simd::LANES;

    #[derive(Clone, Copy)]
    struct Exp;

    impl Tried for Exp {
        type Lane = f64;
        const BOUNDS: Errors = Errors { ulp: f64::INFINITY, relative: MAX_RELATIVE };
        const BOUNDS_UNFUSED: Option<Errors> = Some(Self::BOUNDS);

        #[inline(always)]
        fn results<S: Simd>(self, s: S, z: [f32; LANES]) -> Option<[f64; LANES]> {
            let in_range = z.iter().all(|z| (LEAST..88.0).contains(&f64::from(*z)));
            if in_range { Some(exp(s, s.load(&z).widen()).to_array()) } else { None }
        }

        fn exact(self, z: [f32; LANES]) -> [f64; LANES] {
            z.map(|z| libm::exp(f64::from(z)))
        }
    }

    #[test]
    fn a_sample_of_all_floats() {
        prove(Exp, 251, 0xc8b0_4017_e926_4618);
    }

    /// The proof: `cargo test --lib all_floats -- --ignored --nocapture`.
    #[test]
    #[ignore = "all 2^32 floats on every instruction set: minutes"]
    fn all_floats() {
        prove(Exp, 1, 0x081f_77e1_5e8f_821c);
    }
}
