//! `phi(d) = exp(-d) - 1 + d`, which is what an element adds to a divergence: `d^2 / 2` and more where `d` is small.
//!
//! For `|d| <= 2`: `d (d R(d))` with a polynomial `R` of degree 9, fitted to the least largest relative error. Computed in
//! floats it is within 3.5 u of `phi`, with `u = 2^-24` (`tests` below; 5 u without fused multiply-add). Beyond,
//! exponentials do not cancel with what is taken off them.

use crate::simd::{F32, Simd};

/// How far the polynomial reaches.
pub const REACH: f32 = 2.0;

/// From the lowest power on.
const R: [f32; 10] = [
    0.5,
    -0.166_666_66,
    0.041_666_62,
    -0.008_333_362,
    0.001_388_989_3,
    -0.000_198_391_38,
    2.472_887_7e-5,
    -2.759_979_7e-6,
    2.967_220_8e-7,
    -2.556_960_9e-8,
];

/// `phi(d) / d` for `|d| <= REACH`, some vectors [in step](F32::in_step). Anything for any other.
#[inline(always)]
pub fn phi_over<S: Simd, const N: usize>(s: S, d: [S::F32; N]) -> [S::F32; N] {
    if S::OUTLINES { outlined(s, d) } else { inlined(s, d) }
}

#[inline(never)]
fn outlined<S: Simd, const N: usize>(s: S, d: [S::F32; N]) -> [S::F32; N] {
    inlined(s, d)
}

#[inline(always)]
fn inlined<S: Simd, const N: usize>(s: S, d: [S::F32; N]) -> [S::F32; N] {
    let mut r = [s.splat(R[9]); N];
    for coefficient in [R[8], R[7], R[6], R[5], R[4], R[3], R[2], R[1], R[0]] {
        for i in 0..N {
            r[i] = r[i].mul_add(d[i], s.splat(coefficient));
        }
        r = S::F32::in_step(r);
    }
    for i in 0..N {
        r[i] = r[i] * d[i];
    }
    r
}

/// The same of one `f64`, for what is computed once for some segments: relative `2^-40` from `1e-150` to 2.
#[inline]
pub fn phi_f64(d: f64) -> f64 {
    // The series, where a difference of exponentials would cancel.
    if d.abs() < 0.01 {
        d * d * (0.5 - d * (1.0 / 6.0 - d * (1.0 / 24.0 - d * (1.0 / 120.0 - d * (1.0 / 720.0)))))
    } else {
        libm::expm1(-d) + d
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::isa::Machine;
    use crate::simd::{Kernel, LANES};

    struct Phi([f32; LANES]);

    impl Kernel for Phi {
        type Output = [f32; LANES];

        fn run<S: Simd>(self, s: S) -> [f32; LANES] {
            let d = s.load(&self.0);
            let [y] = phi_over(s, [d]);
            (d * y).to_array()
        }
    }

    /// `phi` by its series, to the last place.
    fn series(d: f64) -> f64 {
        let (mut sum, mut term) = (0.0, 1.0);
        let terms: Vec<f64> = (1..40)
            .map(|n| {
                term *= -d / f64::from(n);
                term
            })
            .skip(1)
            .collect();
        for term in terms.iter().rev() {
            sum += term;
        }
        sum
    }

    #[test]
    fn errors_within_reach() {
        for isa in Isa::available() {
            let machine = Machine::new(isa).unwrap();
            let bound = if isa.is_fused() { 3.5 } else { 5.0 };
            let mut worst = 0.0_f64;
            for i in 0..400_000 / LANES {
                let mut d = [0.0; LANES];
                for (lane, d) in d.iter_mut().enumerate() {
                    // From both ends, and as close to 0 as squares are normal.
                    let step = (i * LANES + lane) as f32;
                    let size =
                        if i % 2 == 0 { REACH * step / 400_000.0 } else { REACH * (-step / 1e4).exp() };
                    *d = if lane % 2 == 0 { size } else { -size };
                }
                for (d, got) in d.into_iter().zip(machine.run(Phi(d))) {
                    let want = series(f64::from(d));
                    if want > 0.0 {
                        worst = worst.max((f64::from(got) / want - 1.0).abs() * f64::from(1 << 24));
                    }
                }
            }
            println!("{isa:8} {worst:.3} u");
            assert!(worst < bound, "{isa}: {worst} u");
        }
    }

    #[test]
    fn of_one_double() {
        let bound = 2_f64.powi(-40);
        for i in 0..2000 {
            // Close together around the change of forms, and far below it.
            for d in [2.0 * (-f64::from(i) / 250.0).exp(), 2.0 * (-f64::from(i) / 6.0).exp()] {
                for d in [d, -d].into_iter().filter(|d| d.abs() > 1e-150) {
                    assert!((phi_f64(d) / series(d) - 1.0).abs() < bound, "{d}");
                }
            }
        }
    }
}
