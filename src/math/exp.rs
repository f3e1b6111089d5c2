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
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::Isa;
    use crate::reference::ulp_error;
    use crate::simd::isa::Machine;
    use crate::simd::{Kernel, LANES};

    /// Vectors of neighbouring floats, from this bit pattern on.
    struct Block {
        first: u32,
        /// Whether results are compared with f64, or only hashed.
        judged: bool,
    }

    #[derive(Debug, Clone, Copy)]
    struct Found {
        ulp: f64,
        /// The input with that error.
        input: f32,
        got: f32,
        /// The worst relative error, in units of `2^-24`.
        relative: f64,
        hash: u64,
    }

    impl Found {
        const NOTHING: Self = Self { ulp: 0.0, input: 0.0, got: 0.0, relative: 0.0, hash: 0 };

        fn and(self, other: Self) -> Self {
            let worse = if other.ulp > self.ulp { other } else { self };
            let relative = self.relative.max(other.relative);
            Self { relative, hash: self.hash.wrapping_add(other.hash), ..worse }
        }
    }

    impl Block {
        const VECTORS: u32 = 1 << 12;
        const FLOATS: u32 = Self::VECTORS * LANES as u32;
    }

    /// Where the result is promised.
    fn in_range(z: f32) -> bool {
        z.abs() < 400.0
    }

    impl Kernel for Block {
        type Output = Found;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Found {
            let mut found = Found::NOTHING;
            let mut hash = [0_u64; LANES / 2];
            for vector in 0..Block::VECTORS {
                let first = self.first + vector * LANES as u32;
                let z: [f32; LANES] = core::array::from_fn(|lane| f32::from_bits(first + lane as u32));
                // The floats of a vector are neighbours: they are in range together, and one shift suits them all.
                if !in_range(z[0]) {
                    if z[LANES - 1].is_nan() {
                        let got = Exp::new(s, s.splat(magic(0.0))).exp([s.load(&z)], None)[0].to_array();
                        let sound = z.iter().zip(&got).all(|(z, got)| got.is_nan() || !z.is_nan());
                        assert!(sound, "exp of {z:?} is {got:?}");
                    }
                    continue;
                }
                let n = nearest_multiple(z[0]);
                let got = Exp::new(s, s.splat(magic(n))).exp([s.load(&z)], None)[0].to_array();
                let bits: [u64; LANES / 2] = bytemuck::cast(got);
                for (hash, bits) in hash.iter_mut().zip(bits) {
                    *hash = hash.rotate_left(5).wrapping_add(bits).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                }
                if self.judged {
                    found = found.and(judge(n, z, got));
                }
            }
            found.hash = hash.iter().fold(0, |sum, &hash| sum.rotate_left(5) ^ hash);
            found
        }
    }

    /// The errors of a vector of results.
    fn judge(n: f32, z: [f32; LANES], got: [f32; LANES]) -> Found {
        let mut found = Found::NOTHING;
        for (input, got) in z.into_iter().zip(got) {
            let shifted = f64::from(input) - f64::from(n) * core::f64::consts::LN_2;
            let want = libm::exp(shifted) * 2_f64.powi(BIAS);
            let relative = (f64::from(got) / want - 1.0).abs() * 2_f64.powi(24);
            found = found.and(Found { ulp: ulp_error(got, want), input, got, relative, hash: 0 });
        }
        found
    }

    /// Every `stride`-th block of all floats, over all processors.
    fn sweep(isa: Isa, stride: u32, judged: bool) -> Found {
        let machine = Machine::new(isa).expect("an instruction set that is available");
        let next = AtomicU32::new(0);
        let work = || {
            let mut found = Found::NOTHING;
            loop {
                let block = next.fetch_add(stride, Ordering::Relaxed);
                if block > u32::MAX / Block::FLOATS {
                    return found;
                }
                found = found.and(machine.run(Block { first: block * Block::FLOATS, judged }));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().fold(Found::NOTHING, |found, worker| found.and(worker.join().unwrap()))
        })
    }

    /// What is available, or the one that `LOGITS_ISA` names.
    fn tested() -> Vec<Isa> {
        match Isa::from_env().unwrap() {
            Some(isa) => vec![isa],
            None => Isa::available().collect(),
        }
    }

    /// Judges the best instruction set and every unfused one, and holds the bits of the others against the first.
    fn prove(stride: u32, fused_hash: u64) {
        // Where the CPU is emulated, f64 takes hours.
        let emulated = std::env::var_os("LOGITS_EMULATED").is_some();
        for isa in tested() {
            let judged = !emulated && (isa == Isa::detect() || !isa.is_fused());
            let Found { ulp, input, got, relative, hash } = sweep(isa, stride, judged);
            print!("{isa:8} hash {hash:016x}");
            if judged {
                print!(", worst {ulp:.4} ULP at exp({input:?}) 2^k = {got:e}, {relative:.4} 2^-24 relative");
            }
            println!();
            if isa.is_fused() {
                assert!(
                    ulp < MAX_ULP && relative < MAX_RELATIVE,
                    "{isa}: {ulp} ULP at {input:?}, {relative}"
                );
                assert_eq!(hash, fused_hash, "{isa}: other bits than the other fused instruction sets");
            } else {
                assert!(
                    ulp < MAX_ULP_UNFUSED && relative < MAX_RELATIVE_UNFUSED,
                    "{isa}: {ulp} ULP at {input:?}, {relative}"
                );
            }
        }
    }

    #[test]
    fn a_sample_of_all_floats() {
        prove(251, 0xfbf8_a33a_eac4_eb31);
    }

    /// The proof: `cargo test --lib all_floats -- --ignored --nocapture`.
    #[test]
    #[ignore = "all 2^32 floats on every instruction set: minutes"]
    fn all_floats() {
        prove(1, 0xe233_9885_2cd6_a35c);
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
