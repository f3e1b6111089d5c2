//! Logarithms of one `f64`, for what is computed once a row.
//!
//! They are made of additions, multiplications, divisions and bits alone: no fused multiply-add, no table, no branch. So
//! they give the same bits everywhere, and a loop over some rows is vectorised.
//!
//! Relative errors are below `2^-39` (`tests` below): nothing beside those of the sums of `f32` that go in.

use core::f64::consts::{LN_2, SQRT_2};

/// `2^exponent`, for a normal one.
#[inline]
pub const fn power_of_two(exponent: i32) -> f64 {
    debug_assert!(-1022 <= exponent && exponent < 1024);
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// The same of an integer that is a float, in a loop over rows, where a conversion would not be vectorised.
#[inline(always)]
pub fn power_of_two_float(exponent: f32) -> f64 {
    // An integer in the low bits of the sum, as the exponent of exp is found.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    f64::from_bits((f64::from(exponent) + (ROUND + 1023.0)).to_bits() << 52)
}

/// A number as the sum of two floats.
#[inline(always)]
pub fn in_two(x: f64) -> (f32, f32) {
    let hi = x as f32;
    (hi, (x - f64::from(hi)) as f32)
}

/// From the constant term on.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: [f64; N], x: f64) -> f64 {
    let mut sum = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        sum = sum * x + coefficients[i];
    }
    sum
}

/// `ln(x)` for a positive normal `x`. Anything for any other.
#[inline(always)]
pub fn ln(x: f64) -> f64 {
    let (k, m) = split(x);
    k * LN_2 + ln_1p_reduced(m - 1.0)
}

/// `ln(y)` as [`ln`], or `ln(1 + y)` for `y >= 0`, also where that is near 0. Anything for NaN and infinity.
#[inline(always)]
pub fn ln_or_ln_1p(y: f64, plus_one: bool) -> f64 {
    let (k, m) = split(if plus_one { 1.0 + y } else { y });
    // Where nothing is reduced, `y` itself knows what `1 + y` has rounded off.
    let f = if plus_one && k == 0.0 { y } else { m - 1.0 };
    k * LN_2 + ln_1p_reduced(f)
}

/// `x = 2^k m` with `sqrt(1/2) <= m < sqrt(2)`.
#[inline(always)]
fn split(x: f64) -> (f64, f64) {
    const LEAST: u64 = (SQRT_2 / 2.0).to_bits();
    const TWO_52: f64 = 4_503_599_627_370_496.0;
    // k + 1023, which is not negative; as the low bits of 2^52 it becomes a float by itself.
    let biased = x.to_bits().wrapping_sub(LEAST).wrapping_add(1023 << 52) >> 52;
    let k = f64::from_bits(TWO_52.to_bits() | biased) - (TWO_52 + 1023.0);
    let m = f64::from_bits(x.to_bits().wrapping_sub(biased << 52).wrapping_add(1023 << 52));
    (k, m)
}

/// `ln(1 + f) = 2 artanh(s)` with `s = f / (2 + f)` for `sqrt(1/2) <= 1 + f < sqrt(2)`: the series up to `s^15`, every
/// other term side by side.
#[inline(always)]
fn ln_1p_reduced(f: f64) -> f64 {
    let s = f / (2.0 + f);
    let square = s * s;
    let fourth = square * square;
    let even = polynomial([2.0, 2.0 / 5.0, 2.0 / 9.0, 2.0 / 13.0], fourth);
    let odd = polynomial([2.0 / 3.0, 2.0 / 7.0, 2.0 / 11.0, 2.0 / 15.0], fourth);
    s * (even + square * odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_RELATIVE: f64 = power_of_two(-39);

    /// The relative error of `got`, against a function that is right within a unit of the last place.
    fn relative(got: f64, want: f64) -> f64 {
        if got == want { 0.0 } else { (got / want - 1.0).abs() }
    }

    /// Numbers from `low` to `high`, evenly on a logarithmic scale.
    fn between(low: f64, high: f64) -> impl Iterator<Item = f64> {
        (0..100_000).map(move |i| (low.ln() + (high.ln() - low.ln()) * f64::from(i) / 1e5).exp())
    }

    #[test]
    fn powers_of_two() {
        for exponent in -1022..1024 {
            assert_eq!(power_of_two_float(exponent as f32), power_of_two(exponent));
        }
    }

    #[test]
    fn logarithms() {
        for x in between(1e-300, 1e300) {
            assert!(relative(ln(x), libm::log(x)) < MAX_RELATIVE, "{x}");
            assert_eq!(ln_or_ln_1p(x, false), ln(x), "{x}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn logarithms_near_one() {
        for y in between(1e-300, 1e300) {
            assert!(relative(ln_or_ln_1p(y, true), libm::log1p(y)) < MAX_RELATIVE, "{y}");
        }
        assert_eq!(ln_or_ln_1p(0.0, true), 0.0);
    }
}
