//! Every operation in f64: the definition that tests, benchmarks and `logits bench` judge by.
//!
//! Rows are one slice each. Sums are compensated and logarithms taken of `1 + x`, so that the error of what is defined here
//! is below a thousandth of an ULP of `f32`. No other module imports this one.

use libm::{exp, log1p};

mod filters;

pub use filters::Left;

/// A row's maximum, the place where it stands first, and `sum_j exp((x_j - max) / T)` without that element's term, which
/// is 1. Some of them NaN or infinite where the row has no distribution.
struct Parts {
    max: f64,
    rest: f64,
}

/// A sum with the rounding errors of its additions (Neumaier).
#[derive(Default)]
struct Sum {
    total: f64,
    error: f64,
}

impl Sum {
    fn add(&mut self, term: f64) {
        let total = self.total + term;
        let (large, small) =
            if self.total.abs() >= term.abs() { (self.total, term) } else { (term, self.total) };
        self.error += (large - total) + small;
        self.total = total;
    }

    fn value(&self) -> f64 {
        self.total + self.error
    }
}

fn parts(x: &[impl Copy + Into<f64>], temperature: f64) -> Option<Parts> {
    let (mut at, mut max) = (0, f64::NEG_INFINITY);
    for (i, &x) in x.iter().enumerate() {
        let x = x.into();
        if x.is_nan() {
            return None;
        }
        if x > max {
            (at, max) = (i, x);
        }
    }
    if max.is_infinite() {
        return Some(Parts { max, rest: f64::NAN });
    }
    let mut rest = Sum::default();
    for (i, &x) in x.iter().enumerate() {
        if i != at {
            rest.add(exp((x.into() - max) / temperature));
        }
    }
    Some(Parts { max, rest: rest.value() })
}

/// `exp(x_i / T) / sum_j exp(x_j / T)` for `T > 0`, and NaN for rows with a NaN, a +inf, or nothing but -inf.
///
/// # Panics
///
/// If `x` and `out` differ in length.
pub fn softmax(x: &[f32], temperature: f64, out: &mut [f64]) {
    assert_eq!(x.len(), out.len());
    let parts = parts(x, temperature).unwrap_or(Parts { max: f64::NAN, rest: f64::NAN });
    for (&x, out) in x.iter().zip(out) {
        *out = exp((f64::from(x) - parts.max) / temperature) / (1.0 + parts.rest);
    }
}

/// The logarithm of [`softmax`].
///
/// # Panics
///
/// If `x` and `out` differ in length.
pub fn log_softmax(x: &[f32], temperature: f64, out: &mut [f64]) {
    assert_eq!(x.len(), out.len());
    let parts = parts(x, temperature).unwrap_or(Parts { max: f64::NAN, rest: f64::NAN });
    for (&x, out) in x.iter().zip(out) {
        *out = (f64::from(x) - parts.max) / temperature - log1p(parts.rest);
    }
}

/// `log sum_j exp(x_j)`: NaN if there is a NaN, else +inf if there is a +inf, and -inf if there is nothing else.
#[must_use]
pub fn logsumexp(x: &[impl Copy + Into<f64>]) -> f64 {
    match parts(x, 1.0) {
        None => f64::NAN,
        Some(parts) if parts.max.is_infinite() => parts.max,
        Some(parts) => parts.max + log1p(parts.rest),
    }
}

/// `-sum_i p_i log p_i` in nats, with `p = softmax(x / T)` and 0 for what is masked.
#[must_use]
pub fn entropy(x: &[f32], temperature: f64) -> f64 {
    let Some(parts) = parts(x, temperature) else { return f64::NAN };
    let (mut weighted, mut sum) = (Sum::default(), Sum::default());
    for &x in x {
        let d = (f64::from(x) - parts.max) / temperature;
        let term = exp(d);
        sum.add(term);
        if term > 0.0 {
            weighted.add(-d * term);
        }
    }
    log1p(parts.rest) + weighted.value() / sum.value()
}

/// The variance of `-log p_i` under `p = softmax(x / T)`, in nats squared.
#[must_use]
pub fn varentropy(x: &[f32], temperature: f64) -> f64 {
    let Some(parts) = parts(x, temperature) else { return f64::NAN };
    let (mut weighted, mut sum, mut spread) = (Sum::default(), Sum::default(), Sum::default());
    let d = |x: f32| (parts.max - f64::from(x)) / temperature;
    for &x in x {
        let term = exp(-d(x));
        sum.add(term);
        if term > 0.0 {
            weighted.add(d(x) * term);
        }
    }
    let mean = weighted.value() / sum.value();
    for &x in x {
        let term = exp(-d(x));
        if term > 0.0 {
            spread.add(term * (d(x) - mean) * (d(x) - mean));
        }
    }
    spread.value() / sum.value()
}

/// `c tanh(x_i / c)`, but -inf where that is the logit.
///
/// # Panics
///
/// If `x` and `out` differ in length.
pub fn softcap(x: &[f32], cap: f64, out: &mut [f64]) {
    assert_eq!(x.len(), out.len());
    for (&x, out) in x.iter().zip(out) {
        let x = f64::from(x);
        *out = if x == f64::NEG_INFINITY { x } else { cap * libm::tanh(x / cap) };
    }
}

/// `-sum_c b_c log p_c` in nats, with `p = softmax(x)` and any `b_c` that are not negative: 0 for those that are 0.
///
/// # Panics
///
/// If `x` and `b` differ in length.
#[must_use]
pub fn cross_entropy(x: &[impl Copy + Into<f64>], b: &[f64]) -> f64 {
    assert_eq!(x.len(), b.len());
    let Some(parts) = parts(x, 1.0) else { return f64::NAN };
    let mut sum = Sum::default();
    for (&x, &b) in x.iter().zip(b) {
        if b != 0.0 {
            sum.add(b * ((parts.max - x.into()) + log1p(parts.rest)));
        }
    }
    // Of an infinite sum there is no error.
    if parts.rest.is_nan() || sum.total.is_infinite() { sum.total + parts.rest } else { sum.value() }
}

/// `sum_i p_i v_i` with `p = softmax(x / T)`; what has no probability does not count.
///
/// # Panics
///
/// If `x` and `values` differ in length.
#[must_use]
pub fn expected_value(x: &[f32], values: &[f32], temperature: f64) -> f64 {
    assert_eq!(x.len(), values.len());
    let Some(parts) = parts(x, temperature) else { return f64::NAN };
    let (mut weighted, mut sum) = (Sum::default(), Sum::default());
    for (&x, &value) in x.iter().zip(values) {
        let term = exp((f64::from(x) - parts.max) / temperature);
        sum.add(term);
        if term > 0.0 {
            weighted.add(term * f64::from(value));
        }
    }
    weighted.value() / sum.value()
}

/// The gradient of softmax, `p_i (g_i - sum_j p_j g_j)`.
///
/// # Panics
///
/// If lengths differ.
pub fn softmax_backward(p: &[f32], g: &[f32], out: &mut [f64]) {
    assert!(p.len() == g.len() && p.len() == out.len());
    let mut sum = Sum::default();
    for (&p, &g) in p.iter().zip(g) {
        sum.add(f64::from(p) * f64::from(g));
    }
    for ((&p, &g), out) in p.iter().zip(g).zip(out) {
        *out = f64::from(p) * (f64::from(g) - sum.value());
    }
}

/// The gradient of log-softmax, `g_i - exp(y_i) sum_j g_j`.
///
/// # Panics
///
/// If lengths differ.
pub fn log_softmax_backward(y: &[f32], g: &[f32], out: &mut [f64]) {
    assert!(y.len() == g.len() && y.len() == out.len());
    let mut sum = Sum::default();
    for &g in g {
        sum.add(f64::from(g));
    }
    for ((&y, &g), out) in y.iter().zip(g).zip(out) {
        *out = f64::from(g) - exp(f64::from(y)) * sum.value();
    }
}

/// `KL(P || Q)` in nats, with `P = softmax(x / T)` and `Q = softmax(y / T)`: infinite where Q has nothing and P something.
///
/// Where the two are close it is the sum of `p phi(d)` with `phi(d) = exp(d) - 1 - d`, of which nothing cancels.
///
/// # Panics
///
/// If lengths differ.
#[must_use]
pub fn kl_divergence(x: &[f32], y: &[f32], temperature: f64) -> f64 {
    pairs(x, y, temperature, |p, q, d| match d {
        _ if p == 0.0 => q,
        // exp(d) may be infinite.
        700.0.. => q - p - p * d,
        _ => p * phi(d),
    })
}

/// The weighted Jensen-Shannon divergence `b KL(P || M) + (1 - b) KL(Q || M)`, with `M = b P + (1 - b) Q` and `0 < b < 1`.
///
/// # Panics
///
/// If lengths differ.
#[must_use]
pub fn js_divergence(x: &[f32], y: &[f32], beta: f64, temperature: f64) -> f64 {
    // s - log(1 + s), where that does not cancel.
    let excess = |s: f64| {
        if s.abs() < 1e-3 { s * s * (0.5 - s * (1.0 / 3.0 - s * (0.25 - s * 0.2))) } else { s - log1p(s) }
    };
    pairs(x, y, temperature, |p, q, d| {
        let from = |part: f64, log_quotient: f64, other: f64, weight: f64| {
            if part == 0.0 { weight * other } else { part * excess(weight * libm::expm1(log_quotient)) }
        };
        // As much as a large quotient adds is known from the other.
        let far = d.abs() > 700.0;
        let (a, b) = if far {
            let m = beta * p + (1.0 - beta) * q;
            // The quotient of the two may be too large for an f64.
            let log = libm::log;
            let side = |part: f64| if part == 0.0 { m } else { m - part - part * (log(m) - log(part)) };
            (side(p), side(q))
        } else {
            (from(p, d, q, 1.0 - beta), from(q, -d, p, beta))
        };
        beta * a + (1.0 - beta) * b
    })
}

fn phi(d: f64) -> f64 {
    if d.abs() < 1e-2 {
        let series = |d: f64| {
            0.5 + d * (1.0 / 6.0 + d * (1.0 / 24.0 + d * (1.0 / 120.0 + d * (1.0 / 720.0 + d / 5040.0))))
        };
        d * d * series(d)
    } else {
        libm::expm1(d) - d
    }
}

/// The sum over both rows' elements, given probabilities and the logarithm of their quotient.
fn pairs(x: &[f32], y: &[f32], temperature: f64, element: impl Fn(f64, f64, f64) -> f64) -> f64 {
    assert_eq!(x.len(), y.len());
    let (Some(a), Some(b)) = (parts(x, temperature), parts(y, temperature)) else { return f64::NAN };
    if a.rest.is_nan() || b.rest.is_nan() {
        return f64::NAN;
    }
    let z = |x: f32, parts: &Parts| (f64::from(x) - parts.max) / temperature;
    let (log_a, log_b) = (log1p(a.rest), log1p(b.rest));
    let mut sum = Sum::default();
    for (&x, &y) in x.iter().zip(y) {
        let (p, q) = (z(x, &a) - log_a, z(y, &b) - log_b);
        if p > f64::NEG_INFINITY || q > f64::NEG_INFINITY {
            sum.add(element(exp(p), exp(q), q - p));
        }
    }
    if sum.total.is_infinite() { sum.total } else { sum.value() }
}

/// The distance of `got` from `want`, in units in the last place of an `f32` of `want`'s size; of subnormal ones in steps
/// of `2^-149`.
///
/// 0 where both are NaN, or the same infinity; infinite where only one of them is.
#[must_use]
pub fn ulp_error(got: f32, want: f64) -> f64 {
    let distance = (f64::from(got) - want).abs();
    // What is too large for a float rounds to an infinity.
    if got.is_nan() && want.is_nan() || f64::from(got) == want || got.is_infinite() && got == want as f32 {
        0.0
    } else if distance.is_nan() {
        f64::INFINITY
    } else {
        // Of normal f64s; smaller ones are far below the smallest step.
        let exponent = ((want.abs().to_bits() >> 52) as i64 - 1023).clamp(-126, 127);
        distance / f64::from_bits(((exponent - 23 + 1023) as u64) << 52)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulps_are_those_of_floats() {
        assert_eq!(ulp_error(0.0, 0.0), 0.0);
        assert_eq!(ulp_error(-0.0, 0.0), 0.0);
        assert_eq!(ulp_error(f32::from_bits(1), 0.0), 1.0);
        assert_eq!(ulp_error(0.0, f64::from(f32::from_bits(3))), 3.0);
        assert_eq!(ulp_error(f32::MIN_POSITIVE, f64::from(f32::from_bits(0x007f_ffff))), 1.0);
        assert_eq!(ulp_error(1.0 + f32::EPSILON, 1.0), 1.0);
        assert_eq!(ulp_error(1.0, 1.0 + f64::from(f32::EPSILON) / 2.0), 0.5);
        // Below a power of two the places are half as wide.
        assert_eq!(ulp_error(1.0, f64::from(1.0 - f32::EPSILON / 2.0)), 1.0);
        assert_eq!(ulp_error(-2.0, -2.0 - f64::from(f32::EPSILON)), 0.5);
        assert_eq!(ulp_error(f32::NAN, f64::NAN), 0.0);
        assert_eq!(ulp_error(f32::NAN, 1.0), f64::INFINITY);
        assert_eq!(ulp_error(1.0, f64::NAN), f64::INFINITY);
        assert_eq!(ulp_error(f32::INFINITY, f64::INFINITY), 0.0);
        assert_eq!(ulp_error(f32::NEG_INFINITY, f64::INFINITY), f64::INFINITY);
        assert_eq!(ulp_error(1.0, f64::INFINITY), f64::INFINITY);
        assert_eq!(ulp_error(f32::NEG_INFINITY, -1e40), 0.0);
        assert_eq!(ulp_error(f32::MAX, 1e40), (1e40 - f64::from(f32::MAX)) / 2_f64.powi(104));
    }

    #[test]
    fn the_least_probabilities_do_not_count() {
        let (x, y) = ([0.0, -709.0, -744.0], [0.0, -0.5, 0.0]);
        let js = js_divergence(&x, &y, 0.25, 1.0);
        assert!((js - 0.191).abs() < 1e-3, "{js}");
    }

    #[test]
    fn known_rows() {
        let mut p = [0.0; 2];
        softmax(&[0.0, 0.0], 1.0, &mut p);
        assert_eq!(p, [0.5; 2]);
        log_softmax(&[40.0, 0.0], 1.0, &mut p);
        assert!((p[0] / -exp(-40.0) - 1.0).abs() < 1e-15);
        assert!((logsumexp(&[1.0; 4]) - (1.0 + 4_f64.ln())).abs() < 1e-15);
        assert!((entropy(&[7.0; 8], 0.3) - 8_f64.ln()).abs() < 1e-15);
        assert_eq!(entropy(&[7.0, f32::NEG_INFINITY], 1.0), 0.0);
        assert!((cross_entropy(&[7.0; 8], &[0.25; 8]) - 2.0 * 8_f64.ln()).abs() < 1e-15);
        assert_eq!(cross_entropy(&[7.0, f32::NEG_INFINITY], &[0.5, 0.5]), f64::INFINITY);
    }
}
