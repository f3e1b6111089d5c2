//! Elementary functions of one `f64`, for what is computed once a row.
//!
//! They are made of additions, multiplications, divisions and bits alone: no fused multiply-add, no table, no branch. So
//! they give the same bits everywhere, and a loop over some rows is vectorised.
//!
//! Errors are below 4 units in the last place of the result (`tests` below): nothing beside those of the sums that go in.

use core::f64::consts::{LN_2, SQRT_2};

/// `2^exponent`, for a normal one.
#[inline]
pub const fn power_of_two(exponent: i32) -> f64 {
    debug_assert!(-1022 <= exponent && exponent < 1024);
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// `exp(z)` for `|z| < 0.4`: the series, of which the next term would be below `2^-55`.
#[inline(always)]
pub fn exp_near_zero(z: f64) -> f64 {
    const TERMS: usize = 13;
    let mut sum = 1.0;
    let mut term = TERMS;
    while term > 0 {
        sum = 1.0 + sum * z * (1.0 / term as f64);
        term -= 1;
    }
    sum
}

/// `ln(x)` for a positive normal `x`. Anything for any other.
#[inline(always)]
pub fn ln(x: f64) -> f64 {
    let (k, m) = split(x);
    k * LN_2 + ln_1p_reduced(m - 1.0)
}

/// `ln(1 + y)` for `y >= 0`, also where that is near 0. Anything for NaN and infinity.
#[inline(always)]
pub fn ln_1p(y: f64) -> f64 {
    let (k, m) = split(1.0 + y);
    // Where nothing is reduced, `y` itself knows what `1 + y` has rounded off.
    let f = if k == 0.0 { y } else { m - 1.0 };
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

/// `ln(1 + f) = 2 artanh(s)` with `s = f / (2 + f)` for `sqrt(1/2) <= 1 + f < sqrt(2)`: the series in `s^2 < 0.0295`, of
/// which the next term would be below `2^-55`.
#[inline(always)]
fn ln_1p_reduced(f: f64) -> f64 {
    const TERMS: usize = 10;
    let s = f / (2.0 + f);
    let square = s * s;
    let mut sum = 0.0;
    let mut term = TERMS;
    while term > 0 {
        term -= 1;
        sum = sum * square + 2.0 / (2 * term + 1) as f64;
    }
    s * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of `got` in units of its last place, against a function that is right within one.
    fn ulps(got: f64, want: f64) -> f64 {
        (got - want).abs() / (want.abs() * f64::EPSILON / 2.0).max(f64::MIN_POSITIVE)
    }

    /// Numbers from `low` to `high`, evenly on a logarithmic scale.
    fn between(low: f64, high: f64) -> impl Iterator<Item = f64> {
        (0..100_000).map(move |i| (low.ln() + (high.ln() - low.ln()) * f64::from(i) / 1e5).exp())
    }

    #[test]
    fn exponentials_of_reduced_arguments() {
        for z in between(1e-20, 0.4) {
            for z in [z, -z] {
                assert!(ulps(exp_near_zero(z), libm::exp(z)) < 4.0, "{z}");
            }
        }
        assert_eq!(exp_near_zero(0.0), 1.0);
    }

    #[test]
    fn logarithms() {
        for x in between(1e-300, 1e300) {
            assert!((ln(x) - libm::log(x)).abs() < 1e-13 + 4.0 * f64::EPSILON * libm::log(x).abs(), "{x}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn logarithms_near_one() {
        for y in between(1e-300, 1e300) {
            assert!(ulps(ln_1p(y), libm::log1p(y)) < 8.0, "{y}: {} {}", ln_1p(y), libm::log1p(y));
        }
        assert_eq!(ln_1p(0.0), 0.0);
    }
}
