//! Divergences against a table of 40 digits, against the definition in f64, and in all forms.

mod common;
mod tables;

use common::*;
use logits::{Distribution, Divergence, Engine, Error, Rows, reference};
use proptest::prelude::*;
use tables::{divergences, number, numbers};

/// Whether a divergence is as exact as promised.
fn agrees(got: f64, want: f64) -> bool {
    got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= (1e-6 * want.abs()).max(1e-12)
}

fn kl(engine: Engine, x: &[f32], y: &[f32], temperature: f64) -> f64 {
    let (mut out, cols) = ([-7.0], x.len());
    let rows = |x| Rows::new(x, cols).unwrap();
    engine.kl_divergence_with(rows(x), rows(y), &at(temperature), &mut out).unwrap();
    out[0]
}

fn js(engine: Engine, x: &[f32], y: &[f32], beta: f64, temperature: f64) -> f64 {
    let (mut out, cols) = ([-7.0], x.len());
    let rows = |x| Rows::new(x, cols).unwrap();
    engine.js_divergence_with(rows(x), rows(y), beta, &at(temperature), &mut out).unwrap();
    out[0]
}

/// However little of P there is in M: it is next to nothing, and not infinite where Q has nothing.
#[test]
fn next_to_nothing_of_p() {
    let (p, q) = ([-40.0, 3.0, 1.0], [f32::NEG_INFINITY, 2.0, 5.0]);
    for engine in engines() {
        for beta in [f64::MIN_POSITIVE, 1e-295, 1e-40, 1e-14] {
            let got = js(engine, &p, &q, beta, 1.0);
            assert!((0.0..1e-12).contains(&got), "{}, {beta:e}: {got:e}", engine.isa());
        }
    }
}

#[test]
fn the_table_says_the_same() {
    let mut refused = 0;
    for pair in divergences() {
        for engine in engines() {
            let (p, q) = (pair.side("kind_p", &pair.p), pair.side("kind_q", &pair.q));
            let (mut out, options) = (vec![-7.0; pair.p.len() / pair.cols], at(pair.temperature()));
            let context = format!("{}, {}", engine.isa(), pair.name);
            let given = [p, q].iter().any(|side| matches!(side, Distribution::Probabilities(_)));
            if given && pair.temperature() != 1.0 {
                refused += 1;
                let error = engine.kl_divergence_with(p, q, &options, &mut out).unwrap_err();
                assert!(matches!(error, Error::OutOfRange { .. }), "{context}");
                continue;
            }
            engine.kl_divergence_with(p, q, &options, &mut out).unwrap();
            for (&got, want) in out.iter().zip(numbers(&pair.value["kl"])) {
                assert!(agrees(got, want), "{context}: KL {got:e} {want:e}");
            }
            for (beta, want) in
                pair.value["beta"].as_array().unwrap().iter().zip(pair.value["js"].as_array().unwrap())
            {
                let beta = number(beta);
                let sum = engine.js_divergence_with(p, q, beta, &options, &mut out).unwrap();
                for (&got, want) in out.iter().zip(numbers(want)) {
                    assert!(agrees(got, want), "{context}: JS {beta} {got:e} {want:e}");
                }
                assert_eq!(sum.rows, out.len());
            }
        }
    }
    println!("{refused} refused");
}

/// What counts is which part of their sum probabilities are.
#[test]
fn probabilities_are_normalised() {
    let divergences = |engine: Engine, [by_p, by_q]: [f32; 2]| {
        let (p, q) = ([0.1, 0.2, 0.7].map(|p| p * by_p), [0.3, 0.6, 0.1].map(|q| q * by_q));
        let of = |row| Distribution::Probabilities(Rows::new(row, 3).unwrap());
        let (mut kl, mut js) = ([-7.0], [-7.0]);
        engine.kl_divergence(of(&p), of(&q), &mut kl).unwrap();
        engine.js_divergence(of(&p), of(&q), 0.3, &mut js).unwrap();
        [kl[0], js[0]]
    };
    for engine in engines() {
        let want = divergences(engine, [1.0, 1.0]);
        for by in [[4.0, 1.0], [1.0, 0.1], [0.7, 3.0]] {
            for (got, want) in divergences(engine, by).into_iter().zip(want) {
                assert!((got / want - 1.0).abs() < 2e-6, "{}, {by:?}: {got} {want}", engine.isa());
            }
        }
    }
}

/// In a segment of its own, of which P has less than floats can say, and also nothing at all.
#[test]
fn all_of_q_is_where_next_to_nothing_of_p_is() {
    let mut random = Random(5);
    let mut row = |lead: f32, behind: f32| -> Vec<f32> {
        (0..SEGMENT + 4).map(|i| random.uniform(0.0, 0.1) + if i < SEGMENT { lead } else { behind }).collect()
    };
    for (apart, temperature) in [(8.0, 1e-3), (3.0, 1e-2), (50.0, 1.0), (2.0, 0.5), (0.5, 1.0)] {
        let (mut x, y) = (row(38.0, 38.0 - apart), row(38.0 - apart, 38.0));
        for is_masked in [false, true] {
            if is_masked {
                x[SEGMENT..].fill(f32::NEG_INFINITY);
            }
            for engine in engines() {
                let (got, want) =
                    (kl(engine, &x, &y, temperature), reference::kl_divergence(&x, &y, temperature));
                assert!(agrees(got, want), "{}, {apart}, {temperature}: {got:e} {want:e}", engine.isa());
                let (got, want) =
                    (kl(engine, &y, &x, temperature), reference::kl_divergence(&y, &x, temperature));
                assert!(
                    agrees(got, want) && got.is_infinite() == is_masked,
                    "{}, {apart}: {got:e}",
                    engine.isa()
                );
            }
        }
    }
}

/// Every named row from a neighbour of it, from far to near, and from itself.
#[test]
fn divergences_of_named_rows_are_within_their_bounds() {
    let mut most = engines_with_worst::<[f64; 2]>();
    for len in lengths(&[100_001]) {
        for (name, x) in named_rows(len) {
            for engine in engines().filter(|&engine| suits(engine, len)) {
                assert_eq!(kl(engine, &x, &x, 1.0), 0.0, "{}: {name}, {len}", engine.isa());
                for beta in [0.5, 0.3, 0.01] {
                    assert_eq!(js(engine, &x, &x, beta, 0.7), 0.0, "{}: {name}, {len}", engine.isa());
                }
            }
            let mut random = Random(len as u64);
            for (i, noise) in [10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6].into_iter().enumerate() {
                if i % 4 > 1 && is_emulated() {
                    continue;
                }
                let offset = if i % 2 == 0 { 0.0 } else { 3000.0 };
                let y: Vec<f32> = x.iter().map(|&x| x + random.uniform(-noise, noise) + offset).collect();
                let temperature = [1.0, 0.7, 3.0][i % 3];
                let beta = [0.5, 0.1, 0.9][i % 3];
                let want = [
                    reference::kl_divergence(&x, &y, temperature),
                    reference::js_divergence(&x, &y, beta, temperature),
                ];
                for (engine, most) in most.iter_mut().filter(|(engine, _)| suits(*engine, len)) {
                    let got = [kl(*engine, &x, &y, temperature), js(*engine, &x, &y, beta, temperature)];
                    for ((got, want), most) in got.into_iter().zip(want).zip(most) {
                        let context = format!("{}: {name}, {len}, {noise}", engine.isa());
                        assert!(agrees(got, want), "{context}: {got:e} {want:e}");
                        if want > 1e-6 {
                            *most = most.max((got / want - 1.0).abs());
                        }
                    }
                }
            }
        }
    }
    for (engine, most) in most {
        println!("{:8} KL {:.2e} JS {:.2e}", engine.isa(), most[0], most[1]);
    }
}

/// Where the parts of the sum are so large that nothing is left of their difference but what rounding left.
#[test]
fn distributions_far_apart_have_a_large_divergence() {
    let x = [0.5, -0.25, 0.0, 1.0, -3.0];
    for engine in engines() {
        for size in [1.0, 300.0, 999.0, 1e4, 1e6, 1e9, 1e12, 1e15, 1e17] {
            let y = [0.3, -1.0, -0.1, 0.2, 0.7].map(|y| y * size as f32);
            let (got, want) = (kl(engine, &x, &y, 1.0), reference::kl_divergence(&x, &y, 1.0));
            let bound = 1.2e-6 * want + 2_f64.powi(-50) * size;
            assert!((got - want).abs() <= bound, "{}, {size:e}: {got:e} {want:e}", engine.isa());
        }
    }
}

fn any_pair() -> impl Strategy<Value = Vec<(f32, f32)>> {
    let logit = || {
        prop_oneof![
            5 => -20.0_f32..20.0,
            1 => -300.0_f32..300.0,
            1 => Just(f32::NEG_INFINITY),
        ]
    };
    proptest::collection::vec((logit(), logit()), 1..400)
}

proptest! {
    #![proptest_config(random_cases(500))]

    #[test]
    fn any_two_rows_are_within_the_bounds(pairs in any_pair(), masked in any::<bool>(), beta in 0.01..0.99_f64) {
        let (x, mut y): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        if !masked {
            // Or nearly all divergences are infinite.
            for (y, &x) in y.iter_mut().zip(&x) {
                *y = if x.is_finite() { y.max(-40.0) } else { *y };
            }
        }
        let want = (reference::kl_divergence(&x, &y, 1.0), reference::js_divergence(&x, &y, beta, 1.0));
        let mut bits = None;
        for engine in engines() {
            let got = (kl(engine, &x, &y, 1.0), js(engine, &x, &y, beta, 1.0));
            prop_assert!(agrees(got.0, want.0), "{}: KL {:e} {:e}", engine.isa(), got.0, want.0);
            prop_assert!(agrees(got.1, want.1), "{}: JS {:e} {:e}", engine.isa(), got.1, want.1);
            if engine.isa().is_fused() {
                let of_it = [got.0.to_bits(), got.1.to_bits()];
                prop_assert_eq!(*bits.get_or_insert(of_it), of_it, "{}", engine.isa());
            }
        }
    }
}

/// Logits of one kind, a segment of them: nearly all masked, as only few have to be there.
fn segment(kind: usize, offset: f32, random: &mut Random) -> Vec<f32> {
    let mut x = vec![f32::NEG_INFINITY; SEGMENT];
    let level = if kind == 1 { offset } else { 0.0 };
    if kind != 2 {
        (0..5).for_each(|i| x[i * 800] = level + random.uniform(-3.0, 3.0));
    }
    match kind {
        // More than there is of the others.
        3 => (0..5).for_each(|i| x[i * 800 + 1] = random.uniform(-3.0, 3.0)),
        4 => x[17] = f32::NAN,
        5 => x[18] = f32::INFINITY,
        _ => {}
    }
    x
}

/// Ordinary segments, far ones, masked ones, and such as have what is no number, in all pairs of rows of two, and an ordinary one
/// behind them; as logits and as probabilities, which need not sum to 1.
#[test]
fn segments_of_every_kind_meet() {
    const KINDS: usize = 6;
    let all = KINDS.pow(4);
    let options = Default::default();
    for i in (0..all).step_by(one_of().min(23)).map(|i| i * 601 % all) {
        // Beyond 256 a maximum is subtracted; the exponential of 40 is a float.
        let (offset, is_small) = if i % 2 == 0 { (600.0, false) } else { (40.0, true) };
        let mut random = Random(i as u64);
        let mut row = |i: usize| {
            let kinds = [i % KINDS, i / KINDS % KINDS, 0];
            kinds.map(|kind| segment(kind, offset, &mut random)).concat()
        };
        let (x, y) = (row(i), row(i / KINDS.pow(2)));
        let is_bad = |x: &[f32]| x.iter().any(|&x| x.is_nan() || x == f32::INFINITY);
        let nothing = |x: &[f32]| x.iter().all(|&x| x == f32::NEG_INFINITY);
        let has_none = is_bad(&x) || is_bad(&y) || nothing(&x) || nothing(&y);
        let want = |value: f64| if has_none { f64::NAN } else { value };
        let (want_kl, want_js) =
            (want(reference::kl_divergence(&x, &y, 1.0)), want(reference::js_divergence(&x, &y, 0.3, 1.0)));
        let probabilities = [&x, &y].map(|x| x.iter().map(|x| 8.0 * x.exp()).collect::<Vec<_>>());
        let forms = |i: usize| {
            let rows = |x| Rows::new(x, 3 * SEGMENT).unwrap();
            [Distribution::Logits(rows([&x, &y][i])), Distribution::Probabilities(rows(&probabilities[i]))]
        };
        for engine in engines() {
            let context = format!("{}, {i}", engine.isa());
            let (got_kl, got_js) = (kl(engine, &x, &y, 1.0), js(engine, &x, &y, 0.3, 1.0));
            assert!(agrees(got_kl, want_kl), "{context}: KL {got_kl:e} {want_kl:e}");
            assert!(agrees(got_js, want_js), "{context}: JS {got_js:e} {want_js:e}");
            // Rounded probabilities are those of other logits.
            let close = |got: f64, want: f64| {
                got.is_nan() && want.is_nan() || got == want || (got - want).abs() < 3e-6 * (1.0 + want)
            };
            let pairs = forms(0).into_iter().flat_map(|p| forms(1).map(|q| (p, q)));
            for (p, q) in pairs.filter(|_| is_small) {
                let mut out = [-7.0];
                engine.kl_divergence_with(p, q, &options, &mut out).unwrap();
                assert!(close(out[0], want_kl), "{context}: KL {:e} {want_kl:e}", out[0]);
                engine.js_divergence_with(p, q, 0.3, &options, &mut out).unwrap();
                assert!(close(out[0], want_js), "{context}: JS {:e} {want_js:e}", out[0]);
            }
        }
    }
}

/// The same distributions in all forms, and the threads.
#[test]
fn a_batch_is_its_rows_in_any_form() {
    for (rows, cols) in [(1, 200_000), (37, 11), (37, 1000), (5, 50_000)] {
        let mut random = Random(cols as u64);
        let mut x: Vec<f32> = (0..rows * cols).map(|_| random.uniform(-8.0, 8.0)).collect();
        let mut y: Vec<f32> = x.iter().map(|&x| x + random.uniform(-1.0, 1.0)).collect();
        if rows > 3 {
            x[cols + 1] = f32::NAN;
            y[2 * cols] = f32::NEG_INFINITY;
            y[3 * cols..4 * cols].fill(f32::NEG_INFINITY);
        }
        let run = |engine: Engine| {
            let (mut kl, mut js) = (vec![-7.0; rows], vec![-7.0; rows]);
            let (p, q) = (Rows::new(&x, cols).unwrap(), Rows::new(&y, cols).unwrap());
            engine.kl_divergence(p, q, &mut kl).unwrap();
            engine.js_divergence(p, q, 0.3, &mut js).unwrap();
            kl.iter().chain(&js).map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        let want = run(Engine::new().serial());
        for pool in pools(1..=4) {
            let threads = pool.current_num_threads();
            assert!(pool.install(|| run(Engine::new())) == want, "{rows} x {cols}, {threads} threads");
        }
        let value = |i: usize| f64::from_bits(want[i]);
        if rows > 3 {
            assert!(value(1).is_nan() && value(3).is_nan() && value(2) == f64::INFINITY);
            assert!(value(rows + 2).is_finite() && value(rows + 3).is_nan());
        }
        let engine = Engine::new();
        for row in [0, rows - 1] {
            let (a, b) = (&x[row * cols..][..cols], &y[row * cols..][..cols]);
            assert_eq!(kl(engine, a, b, 1.0).to_bits(), want[row]);
            let softmax = [softmax(engine, a, 1.0), softmax(engine, b, 1.0)];
            let logs = [log_softmax(engine, a, 1.0), log_softmax(engine, b, 1.0)];
            let forms = |i: usize| {
                [
                    Distribution::Logits(Rows::new([a, b][i], cols).unwrap()),
                    Distribution::LogProbabilities(Rows::new(&logs[i], cols).unwrap()),
                    Distribution::Probabilities(Rows::new(&softmax[i], cols).unwrap()),
                ]
            };
            for p in forms(0) {
                for q in forms(1) {
                    let mut out = [-7.0];
                    engine.kl_divergence(p, q, &mut out).unwrap();
                    assert!(
                        (out[0] / value(row) - 1.0).abs() < 3e-6,
                        "{rows} x {cols}: {} {}",
                        out[0],
                        value(row)
                    );
                    engine.js_divergence(p, q, 0.3, &mut out).unwrap();
                    assert!((out[0] / value(rows + row) - 1.0).abs() < 3e-6, "{rows} x {cols}");
                }
            }
        }
    }
}

/// Rows that are done several at a time: ordinary ones, near and far, and such as are masked or broken on one side.
#[test]
fn short_rows_of_every_kind_meet() {
    const ROWS: usize = 37;
    let nothing = f32::NEG_INFINITY;
    for cols in [1, 2, 7, 16, 17, 31, 48, 63, 64] {
        let mut random = Random(cols as u64);
        let mut x: Vec<f32> = (0..ROWS * cols).map(|_| random.uniform(-9.0, 9.0)).collect();
        let mut y: Vec<f32> = x.iter().map(|&x| x + random.uniform(-1.0, 1.0)).collect();
        for (i, (x, y)) in x.chunks_mut(cols).zip(y.chunks_mut(cols)).enumerate() {
            match i % 9 {
                0 => y.fill_with(|| random.uniform(-9.0, 9.0)),
                1 => (x[0], y[cols - 1]) = (nothing, nothing),
                2 => x[..cols / 2].fill(nothing),
                3 => x.iter_mut().for_each(|x| *x += 3000.0),
                4 => x.fill(nothing),
                5 => y.fill(nothing),
                6 => x[cols / 2] = f32::NAN,
                7 => y[cols / 3] = f32::INFINITY,
                _ => {}
            }
        }
        let is_bad = |x: &[f32]| x.iter().any(|x| x.is_nan() || *x == f32::INFINITY);
        let has_none = |x: &[f32]| is_bad(x) || x.iter().all(|&x| x == nothing);
        for engine in engines() {
            let (mut kl, mut js) = ([-7.0; ROWS], [-7.0; ROWS]);
            let (p, q) = (Rows::new(&x, cols).unwrap(), Rows::new(&y, cols).unwrap());
            engine.kl_divergence(p, q, &mut kl).unwrap();
            engine.js_divergence(p, q, 0.3, &mut js).unwrap();
            for (i, (x, y)) in x.chunks(cols).zip(y.chunks(cols)).enumerate() {
                let want = if has_none(x) || has_none(y) {
                    [f64::NAN; 2]
                } else {
                    [reference::kl_divergence(x, y, 1.0), reference::js_divergence(x, y, 0.3, 1.0)]
                };
                for (got, want) in [kl[i], js[i]].into_iter().zip(want) {
                    assert!(agrees(got, want), "{}: {cols}, {i}: {got:e} {want:e}", engine.isa());
                }
            }
        }
    }
}

/// Estimates from one token, and the mean of a batch.
#[test]
fn a_token_and_a_batch_say_something() {
    for (ours, other) in [(-1.0, -1.5), (-2.0, -0.25), (-3.0, -3.0)] {
        assert_eq!(logits::kl_k1(ours, other), ours - other);
        let k3 = (other - ours).exp() - 1.0 - (other - ours);
        assert!((logits::kl_k3(ours, other) - k3).abs() < 1e-12 * k3.max(1e-3));
    }
    assert_eq!(Divergence { sum: 6.0, rows: 4 }.batch_mean(), 1.5);
}

#[test]
fn what_is_wrong_is_named() {
    let (x, y) = ([0.0; 6], [0.25; 8]);
    let (p, q) = (Rows::new(&x, 3).unwrap(), Rows::new(&y, 4).unwrap());
    let mut out = [-7.0; 2];
    let engine = Engine::new();
    let said = |error: Error| error.to_string();
    assert_eq!(
        said(engine.kl_divergence(p, q, &mut out).unwrap_err()),
        "the first distributions are 2 x 3 (rows x columns) but the second are 2 x 4"
    );
    assert_eq!(
        said(engine.js_divergence(p, p, 1.5, &mut out).unwrap_err()),
        "beta is 1.5: it must be from 0 to 1"
    );
    assert_eq!(
        said(engine.kl_divergence(p, p, &mut out[..1]).unwrap_err()),
        "the output takes one number for each of 2 rows but holds 1"
    );
    assert_eq!(
        said(engine.js_divergence(p, p, 0.5, &mut out[..1]).unwrap_err()),
        "the output takes one number for each of 2 rows but holds 1"
    );
    let given = Distribution::Probabilities(q);
    assert_eq!(
        said(engine.kl_divergence_with(given, q, &at(0.5), &mut out).unwrap_err()),
        "the temperature of a divergence is 0.5: it must be 1 where probabilities are given"
    );
    assert_eq!(out, [-7.0; 2]);
    // A probability cannot be negative.
    let bad = [0.5, -0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25];
    engine.kl_divergence(Distribution::Probabilities(Rows::new(&bad, 4).unwrap()), given, &mut out).unwrap();
    assert!(out[0].is_nan() && out[1] == 0.0);
}
