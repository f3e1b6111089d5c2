//! Divergences of two distributions, each as logits, log-probabilities or probabilities.

use logits::{Distribution, Divergence, Engine, Error, reference};

use crate::bytes::Bytes;
use crate::judge::{
    Kind, Table, assert_near, assert_refused, at, bits, effective, is_temperature, kind, log_probabilities,
    on_all,
};

pub fn check(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    if bytes.byte().is_multiple_of(32) { chosen(&mut bytes) } else { pairs(&mut bytes) }
}

/// The other distribution: one of its own, or one near the first.
fn near(bytes: &mut Bytes<'_>, x: &[f32]) -> Vec<f32> {
    match bytes.byte() {
        0..=63 => bytes.row(x.len()),
        64..=71 => x.to_vec(),
        byte => {
            let noise = [1e-6, 1e-4, 1e-2, 1.0, 10.0][usize::from(byte) % 5];
            let offset = [0.0, 0.0, 0.0, 10.0, -300.0, 3000.0][bytes.below(6)];
            x.iter().map(|x| x + noise * f32::from(bytes.byte() as i8) / 128.0 + offset).collect()
        }
    }
}

fn side(table: &Table, form: u8) -> Distribution<'_> {
    match form % 4 {
        0 => Distribution::Probabilities(table.view()),
        1 => Distribution::LogProbabilities(table.view()),
        _ => Distribution::Logits(table.view()),
    }
}

/// Logits that lie so far apart may have a divergence that is anything, and another one on each instruction set.
const FAR: f64 = 1e18;

/// The largest of some logits that are not -inf.
fn largest(logits: &[f64]) -> f64 {
    logits.iter().filter(|z| z.is_finite()).fold(0.0, |most, z| most.max(z.abs()))
}

/// Logits of what was given, so that the definition can be asked; nothing if it is no distribution.
fn logits_of(row: &[f32], form: u8) -> Option<Vec<f64>> {
    if !form.is_multiple_of(4) {
        return (kind(row) == Kind::Fine).then(|| row.iter().copied().map(f64::from).collect());
    }
    let is_one = row.iter().all(|p| (0.0..f32::INFINITY).contains(p)) && row.iter().any(|&p| p > 0.0);
    is_one.then(|| row.iter().map(|&p| f64::from(p).ln()).collect())
}

/// `sum_i p_i (exp(d_i) - 1 - d_i)`, and where both are far apart `p log(p / q)`, of logits in f64.
fn plainly(x: &[f64], y: &[f64], temperature: f64, beta: Option<f64>) -> f64 {
    let log_p = log_probabilities(x, temperature);
    let log_q = log_probabilities(y, temperature);
    let mut sum = 0.0;
    for (&p, &q) in log_p.iter().zip(&log_q) {
        if p == f64::NEG_INFINITY && q == f64::NEG_INFINITY {
            continue;
        }
        sum += match beta {
            None => apart(p, q),
            Some(beta) => {
                let m = mixed(p, q, beta);
                beta * apart(p, m) + (1.0 - beta) * apart(q, m)
            }
        };
    }
    sum
}

/// `p (exp(d) - 1 - d)` for `d = log(q / p)`, of two logarithms.
fn apart(p: f64, q: f64) -> f64 {
    let d = q - p;
    if p.exp() == 0.0 {
        q.exp()
    } else if d > 30.0 {
        q.exp() - p.exp() * (1.0 + d)
    } else {
        p.exp() * phi(d)
    }
}

/// `log(b exp(p) + (1 - b) exp(q))`, exact where the two are near.
fn mixed(p: f64, q: f64, beta: f64) -> f64 {
    if p >= q { p + ((1.0 - beta) * (q - p).exp_m1()).ln_1p() } else { q + (beta * (p - q).exp_m1()).ln_1p() }
}

fn phi(d: f64) -> f64 {
    if d.abs() < 1e-2 {
        let series =
            0.5 + d * (1.0 / 6.0 + d * (1.0 / 24.0 + d * (1.0 / 120.0 + d * (1.0 / 720.0 + d / 5040.0))));
        d * d * series
    } else {
        d.exp_m1() - d
    }
}

fn pairs(bytes: &mut Bytes<'_>) {
    let (forms, temperature) = (bytes.byte(), bytes.temperature());
    let [form_p, form_q] = [forms, forms >> 2];
    let shape = bytes.shape();
    let p = Table::new(shape, bytes.below(3), |cols| {
        if form_p % 4 == 0 { bytes.probabilities(cols) } else { bytes.row(cols) }
    });
    let mut row = 0;
    let q = Table::new(shape, bytes.below(3), |cols| {
        row += 1;
        match (form_q % 4 == 0, form_p % 4 == 0) {
            (true, _) => bytes.probabilities(cols),
            (false, true) => bytes.row(cols),
            (false, false) => near(bytes, p.row(row - 1)),
        }
    });
    let beta = match bytes.byte() {
        0..=127 => None,
        128..=231 => Some(bytes.unit()),
        232..=247 => Some(bytes.of(&[0.0, 1.0, 0.5])),
        _ => Some(bytes.double()),
    };
    let run = |engine: Engine, out: &mut [f64]| {
        let (p, q) = (side(&p, form_p), side(&q, form_q));
        match beta {
            None => engine.kl_divergence_with(p, q, &at(temperature), out),
            Some(beta) => engine.js_divergence_with(p, q, beta, &at(temperature), out),
        }
    };
    let mut out = vec![7.0; shape.0];
    let given = form_p % 4 == 0 || form_q % 4 == 0;
    if beta.is_some_and(|beta| !(0.0..=1.0).contains(&beta)) {
        assert!(matches!(run(Engine::new(), &mut out), Err(Error::OutOfRange { what: "beta", .. })));
        return;
    }
    if !is_temperature(temperature) {
        return assert_refused(run(Engine::new(), &mut out), temperature);
    }
    if temperature == 0.0 || temperature != 1.0 && given {
        assert!(matches!(run(Engine::new(), &mut out), Err(Error::OutOfRange { .. })));
        assert!(out.iter().all(|&y| y == 7.0), "a refused call has written");
        return;
    }
    let is_far = |row: usize| {
        let logits = [logits_of(p.row(row), form_p), logits_of(q.row(row), form_q)];
        logits.iter().flatten().any(|logits| largest(logits) / effective(temperature) > FAR)
    };
    on_all(
        bytes.luck,
        shape.0 * shape.1,
        |engine| {
            let mut out = vec![7.0; shape.0];
            let Divergence { sum, rows } = run(engine, &mut out).expect("nothing to refuse");
            let total: f64 = out.iter().sum();
            assert!(rows == shape.0 && (sum.to_bits() == total.to_bits() || sum.is_nan() && total.is_nan()));
            for (row, out) in out.iter_mut().enumerate() {
                // Nothing is promised of them, not even the bits.
                if is_far(row) {
                    *out = 0.0;
                }
            }
            bits(&out)
        },
        |got, fused, isa| {
            for (row, got) in got.iter().enumerate().filter(|(row, _)| !is_far(*row)) {
                let (x, y, got) = (p.row(row), q.row(row), f64::from_bits(*got));
                let context = || {
                    format!(
                        "{isa:?}, forms {form_p} {form_q}, temperature {temperature:e}, beta {beta:?}, {x:?} {y:?}"
                    )
                };
                let (Some(p), Some(q)) = (logits_of(x, form_p), logits_of(y, form_q)) else {
                    assert!(got.is_nan(), "{got:e} without a distribution: {}", context());
                    continue;
                };
                let between = beta.filter(|beta| *beta > 0.0 && *beta < 1.0);
                let (a, b) = if beta == Some(1.0) { (&q, &p) } else { (&p, &q) };
                let temperature = effective(temperature);
                let want = plainly(a, b, temperature, between);
                if form_p % 4 != 0 && form_q % 4 != 0 {
                    // Both definitions say the same.
                    let (x, y) = if beta == Some(1.0) { (y, x) } else { (x, y) };
                    let other = match between {
                        None => reference::kl_divergence(x, y, temperature),
                        Some(beta) => reference::js_divergence(x, y, beta, temperature),
                    };
                    // That of the library is infinite where a probability is below `1e-308`, and the other is not.
                    if other.is_finite() {
                        assert_near(other, want, 1e-8 * want + 1e-12, || {
                            format!("the definitions differ: {}", context())
                        });
                    }
                }
                let relative = if fused { 1e-6 } else { 1.2e-6 };
                let most = largest(&p).max(largest(&q));
                let of_logits = 2_f64.powi(-50) * most / temperature;
                let are_probabilities = [(x, form_p), (y, form_q)].iter().all(|(row, form)| {
                    // Those that are far from adding up to 1 are none.
                    form % 4 != 0 || (1e-3..1e3).contains(&row.iter().map(|&p| f64::from(p)).sum::<f64>())
                });
                if !are_probabilities || most / temperature > FAR {
                    continue;
                }
                assert_near(got, want, (relative * want).max(1e-12) + of_logits, context);
                assert!(got >= 0.0, "a divergence below 0: {}", context());
                if between.is_some() {
                    assert!(got.is_finite(), "infinite: {}", context());
                }
            }
        },
    );
    // Of a row with itself there is none.
    if form_p % 4 != 0 && beta.is_none() {
        let mut out = vec![7.0; shape.0];
        let same = side(&p, form_p);
        Engine::new().kl_divergence_with(same, same, &at(temperature), &mut out).expect("nothing to refuse");
        for (x, got) in p.each().zip(out) {
            assert!(got == 0.0 || kind(x) != Kind::Fine, "{got:e} of {x:?} with itself at {temperature:e}");
        }
    }
}

/// Estimates from log-probabilities of one token.
fn chosen(bytes: &mut Bytes<'_>) {
    let number = |bytes: &mut Bytes<'_>| match bytes.byte() {
        0..=31 => bytes.double(),
        _ => f64::from(bytes.float()),
    };
    let (p, q) = (number(bytes), number(bytes));
    let (k1, k3) = (logits::kl_k1(p, q), logits::kl_k3(p, q));
    assert!(k1.to_bits() == (p - q).to_bits() || k1.is_nan());
    let d = q - p;
    if d.is_finite() && d.abs() < 700.0 {
        assert_near(k3, phi(d), 1e-12 * phi(d), || format!("{p:e} {q:e}"));
    }
    assert!(k3 >= 0.0 || k3.is_nan(), "{k3:e} of {p:e} {q:e}");
}
