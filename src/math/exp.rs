//! `exp(z) * 2^(BIAS - n)` over lanes, for the terms of a softmax.
//!
//! Identity: `z = k ln2 + r` with an integer `k` and `|r| <= ln2 / 2`, so `exp(z) = 2^k (1 + r w(r))`.
//!
//! 1. `t = z log2(e) + magic`, where `magic = 1.5 * 2^23 + (127 + BIAS - n)`: the addition rounds to an integer, the low
//!    bits of `t` are then the biased exponent of `s = 2^(k + BIAS - n)`, and `k = t - magic` is exact.
//! 2. `r = (z - k HI) - k LO` with `HI + LO = ln2`. `k HI` and `z` are multiples of `2^-25` wherever `k` is not 0, and the
//!    difference is below 0.5, so that the first step is exact with fused multiply-add; the second one rounds.
//! 3. `w(r)` is a polynomial of degree 5, by Horner's rule.
//! 4. The result is `s + (s r) w`: products with a power of two cost no rounding, and let NaN pass.
//!
//! Range: `-400 < z < 400` and `-160 <= k - n <= 60`, where the result is neither subnormal nor infinite; [`BIAS`] is there
//! to make that so. In that range the result depends on `n` by its exponent alone. Below it results are as small as they
//! should be, and nobody needs more of them; at `k - n =` [`FLOOR`] the exponent of `s` is zero, and so is the result.
//!
//! Several vectors go side by side, [in step](F32::in_step): a vector alone would wait for each of the thirteen operations
//! that follow from each other.
//!
//! Error: below `MAX_ULP` in units in the last place, and below `MAX_RELATIVE` times `2^-24`, on every float of the range:
//! the proof at the end tries them one by one.
//!
//! Without fused multiply-add `k HI` would be rounded, an error of up to 64 ULP: there `HI` is split once more, in parts
//! short enough for exact products, and the bounds are those with `UNFUSED`.

use crate::simd::{F32, Simd};

/// Results are `2^BIAS` too large, so that none that matters is subnormal.
pub const BIAS: i32 = 64;

/// The `k - n` whose result is 0. Below it there is no result.
pub const FLOOR: i32 = -(BIAS + 127);

/// Bounds of the error over all inputs, with fused multiply-add.
#[cfg(test)]
const MAX_ULP: f64 = 0.8914;
#[cfg(test)]
const MAX_RELATIVE: f64 = 1.29;

/// The same where multiply-add rounds twice.
#[cfg(test)]
const MAX_ULP_UNFUSED: f64 = 1.2;
#[cfg(test)]
const MAX_RELATIVE_UNFUSED: f64 = 1.65;

/// `mantissa * 2^exponent`, exactly: how the published constants are written.
const fn scaled(mantissa: i32, exponent: i32) -> f32 {
    mantissa as f32 * f32::from_bits(((127 + exponent) as u32) << 23)
}

const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// `1.5 * 2^23`: adding it rounds to an integer.
const ROUND: f32 = scaled(3, 22);
const HI: f32 = scaled(0x162_e43, -21);
const LO: f32 = scaled(-0x105_c61, -49);
/// HI in parts of 13 and 7 bits, whose products with every `k` of 10 bits are exact.
const HI_PARTS: [f32; 2] = [scaled(0x162e, -13), scaled(0x43, -21)];
/// Coefficients of `w`, from the constant to the fifth power: those of 1 + r w fit exp on the reduced range.
const W: [f32; 6] = [
    1.0,
    scaled(0x1ff_fffa, -26),
    scaled(0x155_5492, -27),
    scaled(0x155_5a26, -29),
    scaled(0x112_3980, -31),
    scaled(0x169_4c9c, -34),
];

/// Which multiple of ln2 is nearest to `z`: an integer.
#[inline(always)]
pub fn nearest_multiple(z: f32) -> f32 {
    (z * LOG2_E + ROUND) - ROUND
}

/// The addend of step 1 for the shift `n`, an integer of at most 600 in magnitude.
#[inline(always)]
pub fn magic(n: f32) -> f32 {
    (ROUND + (127 + BIAS) as f32) - n
}

/// `exp(z + low) * 2^(BIAS - n)`, where `low` is the rest of a `z` that is not a float: less than its last place.
#[derive(Clone, Copy)]
pub struct Exp<S: Simd> {
    s: S,
    magic: S::F32,
}

impl<S: Simd> Exp<S> {
    /// With the [`magic`] of each lane's shift.
    #[inline(always)]
    pub fn new(s: S, magic: S::F32) -> Self {
        Self { s, magic }
    }

    /// Of some vectors side by side.
    #[inline(always)]
    pub fn exp<const N: usize>(self, z: [S::F32; N], low: Option<[S::F32; N]>) -> [S::F32; N] {
        if S::OUTLINES { self.outlined(z, low) } else { self.inlined(z, low) }
    }

    #[inline(never)]
    fn outlined<const N: usize>(self, z: [S::F32; N], low: Option<[S::F32; N]>) -> [S::F32; N] {
        self.inlined(z, low)
    }

    #[inline(always)]
    fn inlined<const N: usize>(self, z: [S::F32; N], low: Option<[S::F32; N]>) -> [S::F32; N] {
        let s = self.s;
        let (mut t, mut r, mut k) = (z, z, z);
        for i in 0..N {
            t[i] = z[i].mul_add(s.splat(LOG2_E), self.magic);
        }
        t = S::F32::in_step(t);
        for i in 0..N {
            k[i] = t[i] - self.magic;
        }
        k = S::F32::in_step(k);
        if S::FUSED {
            for i in 0..N {
                r[i] = k[i].mul_add(s.splat(-HI), z[i]);
            }
            r = S::F32::in_step(r);
            for i in 0..N {
                r[i] = k[i].mul_add(s.splat(-LO), r[i]);
            }
        } else {
            for i in 0..N {
                r[i] =
                    ((z[i] - k[i] * s.splat(HI_PARTS[0])) - k[i] * s.splat(HI_PARTS[1])) - k[i] * s.splat(LO);
            }
        }
        if let Some(low) = low {
            for i in 0..N {
                r[i] = r[i] + low[i];
            }
        }
        let mut w = [s.splat(W[5]); N];
        r = S::F32::in_step(r);
        for coefficient in [W[4], W[3], W[2], W[1], W[0]] {
            for i in 0..N {
                w[i] = w[i].mul_add(r[i], s.splat(coefficient));
            }
            w = S::F32::in_step(w);
        }
        for i in 0..N {
            let scale = t[i].low_bits_to_exponent();
            // A product that is exact in either form; some processors have to wait where the latencies of their
            // operations differ.
            r[i] = if S::FUSED { r[i].mul_add(scale, s.splat(0.0)) } else { r[i] * scale };
            w[i] = w[i].mul_add(r[i], scale);
        }
        w
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::double::power_of_two;
    use crate::math::trial::{Errors, Tried, prove, tested};
    use crate::simd::isa::Machine;
    use crate::simd::{Kernel, LANES};

    /// The exponential with the shift that is nearest. The floats of a vector are neighbours: one shift suits them all.
    #[derive(Clone, Copy)]
    struct Nearest;

    impl Tried for Nearest {
        type Lane = f32;

        const BOUNDS: Errors = Errors { ulp: MAX_ULP, relative: MAX_RELATIVE * power_of_two(-24) };
        const BOUNDS_UNFUSED: Option<Errors> =
            Some(Errors { ulp: MAX_ULP_UNFUSED, relative: MAX_RELATIVE_UNFUSED * power_of_two(-24) });

        #[inline(always)]
        fn results<S: Simd>(self, s: S, z: [f32; LANES]) -> Option<[f32; LANES]> {
            // Where the result is promised: neighbours are in range together.
            if z[0].abs() < 400.0 {
                let n = nearest_multiple(z[0]);
                return Some(Exp::new(s, s.splat(magic(n))).exp([s.load(&z)], None)[0].to_array());
            }
            if z[LANES - 1].is_nan() {
                let got = Exp::new(s, s.splat(magic(0.0))).exp([s.load(&z)], None)[0].to_array();
                let sound = z.iter().zip(&got).all(|(z, got)| got.is_nan() || !z.is_nan());
                assert!(sound, "exp of {z:?} is {got:?}");
            }
            None
        }

        fn exact(self, z: [f32; LANES]) -> [f64; LANES] {
            let shift = f64::from(nearest_multiple(z[0])) * core::f64::consts::LN_2;
            z.map(|z| libm::exp(f64::from(z) - shift) * power_of_two(BIAS))
        }
    }

    #[test]
    fn a_sample_of_all_floats() {
        prove(Nearest, 251, 0x4d8e_66c3_3fad_3a0c);
    }

    /// The proof: `cargo test --lib all_floats -- --ignored --nocapture`.
    #[test]
    #[ignore = "all 2^32 floats on every instruction set: minutes"]
    fn all_floats() {
        prove(Nearest, 1, 0xe233_9885_2cd6_a35c);
    }

    struct Shifted(f32, f32);

    impl Kernel for Shifted {
        type Output = f32;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> f32 {
            Exp::new(s, s.splat(magic(self.1))).exp([s.splat(self.0)], None)[0].to_array()[7]
        }
    }

    #[test]
    fn at_the_floor_there_is_nothing() {
        for isa in tested() {
            let machine = Machine::new(isa).unwrap();
            for n in -400..=400 {
                let z = (n + FLOOR) as f32 * core::f32::consts::LN_2;
                for z in [z, z - 0.1, z + 0.1] {
                    assert_eq!(machine.run(Shifted(z, n as f32)).to_bits(), 0, "{isa}: {z} from {n}");
                }
                let least = machine.run(Shifted(z + 0.7, n as f32));
                assert!((1e-38..3e-38).contains(&least), "{isa}: {least} from {n}");
            }
        }
    }

    struct Rest(f32, f32);

    impl Kernel for Rest {
        type Output = f32;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> f32 {
            let (z, low) = ([s.splat(self.0)], Some([s.splat(self.1)]));
            Exp::new(s, s.splat(magic(nearest_multiple(self.0)))).exp(z, low)[0].to_array()[7]
        }
    }

    #[test]
    fn the_rest_of_an_argument_counts() {
        for isa in tested() {
            let machine = Machine::new(isa).unwrap();
            for z in (-3999..=3999).map(|z| z as f32 / 10.0) {
                let low = z * 0.4 * f32::EPSILON;
                let shift = f64::from(nearest_multiple(z)) * core::f64::consts::LN_2;
                let want = libm::exp(f64::from(z) - shift + f64::from(low)) * power_of_two(BIAS);
                // The argument is rounded once more.
                let relative = f64::from(machine.run(Rest(z, low))) / want - 1.0;
                assert!(relative.abs() < (MAX_RELATIVE_UNFUSED + 0.3) * power_of_two(-24), "{isa}: {z}");
            }
        }
    }

    /// Bits do not depend on the shift, except for the exponent.
    #[test]
    fn shifts_are_exact() {
        for isa in tested() {
            let machine = Machine::new(isa).unwrap();
            for z in (-3999..=3999).map(|z| z as f32 / 10.0) {
                let n = nearest_multiple(z);
                let want = machine.run(Shifted(z, n));
                for shift in [-60, -1, 1, 17, 60, 159] {
                    let got = machine.run(Shifted(z, n + shift as f32));
                    assert_eq!(f64::from(got), f64::from(want) * 2_f64.powi(-shift), "{isa}: {z} by {shift}");
                }
            }
        }
    }
}
