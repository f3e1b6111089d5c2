//! Varentropy, expected values and everything else that a row tells, against plain f64 and plain sorting.

mod common;

use common::*;
use logits::{Candidate, Chosen, Classes, Engine, RowStatistics, Rows, Statistics, reference};
use proptest::prelude::*;

const U: f64 = 1.0 / (1 << 24) as f64;

fn varentropy(engine: Engine, x: &[f32], temperature: f64) -> f64 {
    let mut out = [0.0];
    engine.varentropy_with(Rows::new(x, x.len()).unwrap(), &mut out, &at(temperature)).unwrap();
    out[0]
}

/// Entropy and varentropy of probabilities, which are normalised first.
#[test]
fn probabilities_have_entropies_too() {
    for engine in engines() {
        for len in [1, 2, 17, 64, 1000, 5000] {
            for (name, x) in named_rows(len) {
                let p = softmax(engine, &x, 1.0);
                let sum: f64 = p.iter().map(|&p| f64::from(p)).sum();
                let logs = || {
                    p.iter().filter(|&&p| p > 0.0).map(|&p| (f64::from(p) / sum, (f64::from(p) / sum).ln()))
                };
                let entropy: f64 = logs().map(|(p, log)| -p * log).sum();
                let varentropy: f64 = logs().map(|(p, log)| p * (log + entropy) * (log + entropy)).sum();
                let (mut out, rows) = ([0.0; 2], Rows::new(&p, len).unwrap());
                engine.entropy_of_probabilities(rows, &mut out[..1]).unwrap();
                engine.varentropy_of_probabilities(rows, &mut out[1..]).unwrap();
                assert!(
                    (out[0] - entropy).abs() <= 1e-9 * entropy + 1e-15,
                    "{name}, {len}: {} {entropy}",
                    out[0]
                );
                assert!(
                    (out[1] - varentropy).abs() <= 1e-9 * (varentropy + entropy * entropy) + 1e-15,
                    "{name}, {len}"
                );
            }
        }
        for bad in [[f32::NAN, 0.5], [-0.5, 1.0], [f32::INFINITY, 0.0], [0.0; 2]] {
            let mut out = [0.0];
            engine.entropy_of_probabilities(Rows::new(&bad, 2).unwrap(), &mut out).unwrap();
            assert!(out[0].is_nan(), "{bad:?}");
        }
    }
}

/// What part of its bound an error is.
fn of_bound(error: f64, bound: f64) -> f64 {
    if error == 0.0 {
        0.0
    } else if error.is_nan() {
        f64::INFINITY
    } else {
        error.abs() / bound
    }
}

fn varentropy_error(engine: Engine, x: &[f32], temperature: f64) -> f64 {
    let (want, entropy) = (reference::varentropy(x, temperature), reference::entropy(x, temperature));
    let bound = 1e-6 * (want + entropy * want.sqrt()) + 1e-12;
    of_bound(varentropy(engine, x, temperature) - want, bound)
}

fn expected_value_error(engine: Engine, x: &[f32], values: &[f32], temperature: f64) -> f64 {
    let mut out = [0.0];
    let rows = Rows::new(x, x.len()).unwrap();
    engine.expected_value_with(rows, values, &mut out, &at(temperature)).unwrap();
    let sizes: Vec<f32> = values.iter().map(|value| value.abs()).collect();
    let bound = 4.0 * U * reference::expected_value(x, &sizes, temperature);
    of_bound(out[0] - reference::expected_value(x, values, temperature), bound)
}

#[test]
fn short_forms_are_the_long_ones() {
    let (x, mut random) = ([1.0, 3.0, 2.0, 0.5, -1.0, 0.25], Random(3));
    let x = x.map(|x| x + random.uniform(-0.1, 0.1));
    let rows = Rows::new(&x, 3).unwrap();
    for engine in engines() {
        let (mut short, mut long) = ([RowStatistics::default(); 2], [RowStatistics::default(); 2]);
        engine.statistics(rows, &mut short).unwrap();
        engine.statistics_with(rows, &Statistics::default(), &mut long, &mut []).unwrap();
        assert!(short == long && !short[0].max.is_nan());
        let (mut short, mut long) = ([-7.0; 2], [-7.0; 2]);
        engine.varentropy(rows, &mut short).unwrap();
        engine.varentropy_with(rows, &mut long, &at(1.0)).unwrap();
        assert!(short == long && short[0] > 0.0);
    }
}

/// Of probabilities as they are, and of the largest logit alone, in one segment or several.
#[test]
fn expected_values_of_what_is_given_and_of_the_largest() {
    for engine in engines() {
        for cols in [1, 17, 5000, 9001] {
            let mut random = Random(cols as u64);
            let mut x: Vec<f32> = (0..3 * cols).map(|_| random.unit() as f32 / cols as f32).collect();
            let mut values: Vec<f32> = (0..cols).map(|_| random.normal(3.0)).collect();
            let largest = [0, cols / 2, cols - 1];
            largest.iter().enumerate().for_each(|(row, at)| x[row * cols + at] = 0.75);
            let (rows, mut out) = (Rows::new(&x, cols).unwrap(), [-7.0; 3]);
            engine.expected_value_of_probabilities(rows, &values, &mut out).unwrap();
            for (x, got) in x.chunks(cols).zip(out) {
                let terms = || x.iter().zip(&values).map(|(&p, &value)| f64::from(p) * f64::from(value));
                let (want, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                assert!((got - want).abs() < 1e-12 * size, "{}, {cols}: {got} {want}", engine.isa());
            }
            engine.expected_value_with(rows, &values, &mut out, &at(0.0)).unwrap();
            assert_eq!(out, largest.map(|at| f64::from(values[at])), "{}, {cols}", engine.isa());
            // The same as with options that change nothing.
            let mut same = [-7.0; 3];
            engine.expected_value(rows, &values, &mut out).unwrap();
            engine.expected_value_with(rows, &values, &mut same, &at(1.0)).unwrap();
            assert_eq!(out.map(f64::to_bits), same.map(f64::to_bits));
            values[largest[1]] = -f32::NAN;
            engine.expected_value_with(rows, &values, &mut out, &at(0.0)).unwrap();
            assert_eq!(out[1].to_bits(), f64::NAN.to_bits());
            engine.expected_value_of_probabilities(rows, &values, &mut out).unwrap();
            assert_eq!(out[1].to_bits(), f64::NAN.to_bits());
        }
    }
    let (nothing, mut out) = (Rows::new(&[], 3).unwrap(), [-7.0; 2]);
    Engine::new().expected_value(nothing, &[], &mut []).unwrap();
    let rows = Rows::new(&[0.5; 6], 3).unwrap();
    for values in [&[1.0; 2][..], &[1.0; 4]] {
        let error = Engine::new().expected_value_of_probabilities(rows, values, &mut out).unwrap_err();
        assert!(error.to_string().contains("values"), "{error}");
    }
    assert_eq!(out, [-7.0; 2]);
}

#[test]
fn moments_of_named_rows_are_within_their_bounds() {
    for engine in engines() {
        let (mut varentropies, mut values) = (0.0_f64, 0.0_f64);
        for len in lengths(&[262_145]).filter(|&len| suits(engine, len)) {
            let mut random = Random(len as u64);
            let worth: Vec<f32> = (0..len).map(|_| random.normal(3.0)).collect();
            for (name, x) in named_rows(len) {
                for temperature in [1.0, 0.7, 3.0] {
                    let context = format!("{}: {name}, {len} at {temperature}", engine.isa());
                    let error = varentropy_error(engine, &x, temperature);
                    assert!(error <= 1.0, "{context}: varentropy {error}");
                    varentropies = varentropies.max(error);
                    let error = expected_value_error(engine, &x, &worth, temperature);
                    assert!(error <= 0.75, "{context}: expected value {error}");
                    values = values.max(error);
                }
            }
        }
        println!("{:8} of the bound: varentropy {varentropies:.3}, expected value {values:.3}", engine.isa());
    }
}

fn any_row() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        4 => -20.0_f32..20.0,
        2 => -300.0_f32..300.0,
        1 => (-3_i8..3).prop_map(f32::from),
        1 => Just(f32::NEG_INFINITY),
    ];
    (proptest::collection::vec(logit, 1..400), -1e4_f32..1e4, any::<bool>()).prop_map(
        |(mut row, first, far)| {
            row[0] = if far { first } else { first / 1e4 };
            row
        },
    )
}

/// A row's statistics the long way.
fn plainly(x: &[f32], chosen: usize, most: usize, temperature: f64) -> (RowStatistics, Vec<usize>) {
    let mut log_probabilities = vec![0.0; x.len()];
    reference::log_softmax(x, temperature, &mut log_probabilities);
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[b].partial_cmp(&x[a]).unwrap().then(a.cmp(&b)));
    let scaled = |x: f32| f64::from(x) / temperature;
    let rest: f64 = x.iter().map(|&y| (scaled(y) - scaled(x[order[0]])).exp()).sum();
    let statistics = RowStatistics {
        max: x[order[0]],
        argmax: order[0],
        max_log_probability: log_probabilities[order[0]],
        logsumexp: scaled(x[order[0]]) + rest.ln(),
        entropy: reference::entropy(x, temperature),
        varentropy: reference::varentropy(x, temperature),
        chosen: Some(Chosen {
            log_probability: log_probabilities[chosen],
            rank: x.iter().filter(|&&y| y >= x[chosen]).count(),
        }),
    };
    order.truncate(most);
    (statistics, order)
}

fn close(got: f64, want: f64, relative: f64, absolute: f64) -> bool {
    got == want || (got - want).abs() <= relative * want.abs() + absolute
}

proptest! {
    #![proptest_config(random_cases(600))]

    #[test]
    fn any_row_tells_what_sorting_tells(
        x in any_row(),
        seed in any::<u64>(),
        temperature in prop_oneof![Just(1.0), 0.01..100.0_f64],
    ) {
        let mut random = Random(seed);
        let (chosen, most) = (random.below(x.len()), random.below(x.len() + 1).min(40));
        let (want, order) = plainly(&x, chosen, most, temperature);
        let mut options = Statistics::default();
        options.temperature = temperature;
        let classes = [chosen];
        options.chosen = Some(Classes::from(&classes));
        let mut first = None;
        for engine in engines() {
            let (mut out, mut top) = ([RowStatistics::default()], vec![Candidate::default(); most]);
            engine.statistics_with(Rows::new(&x, x.len()).unwrap(), &options, &mut out, &mut top).unwrap();
            let got = out[0];
            let context = format!("{}: {got:?} {want:?}", engine.isa());
            prop_assert!((got.max, got.argmax) == (want.max, want.argmax), "{}", context);
            prop_assert!(close(got.logsumexp, want.logsumexp, 1e-14, 3e-7), "{}", context);
            prop_assert!(close(got.max_log_probability, want.max_log_probability, 4e-7, 1e-40), "{}", context);
            prop_assert!(close(got.entropy, want.entropy, 1e-6, 1e-12), "{}", context);
            prop_assert!(varentropy_error(engine, &x, temperature) <= 1.0, "{}", context);
            prop_assert_eq!(got.varentropy.to_bits(), varentropy(engine, &x, temperature).to_bits());
            prop_assert_eq!(got.entropy.to_bits(), entropy(engine, &x, temperature).to_bits());
            let (got, want) = (got.chosen.unwrap(), want.chosen.unwrap());
            prop_assert!(close(got.log_probability, want.log_probability, 4e-7, 1e-40), "{}", context);
            prop_assert_eq!(got.rank, want.rank, "{}", context);
            prop_assert_eq!(&top.iter().map(|candidate| candidate.class).collect::<Vec<_>>(), &order);
            for candidate in &top {
                let mut of_it = options;
                let class = [candidate.class];
                of_it.chosen = Some(Classes::from(&class));
                engine.statistics_with(Rows::new(&x, x.len()).unwrap(), &of_it, &mut out, &mut []).unwrap();
                prop_assert_eq!(out[0].chosen.unwrap().log_probability, candidate.log_probability);
            }
            if engine.isa().is_fused() {
                let bits = format!("{got:?} {top:?}");
                prop_assert_eq!(first.get_or_insert_with(|| bits.clone()), &bits, "{}", engine.isa());
            }
        }
    }
}

/// Batches of any size, threads, and rows that are bad among others.
#[test]
fn a_batch_is_its_rows() {
    for (rows, cols) in [(1, 300_000), (40, 9), (300, 1000), (5, 70_000)] {
        let mut random = Random(cols as u64);
        let mut x: Vec<f32> = (0..rows * cols).map(|_| random.uniform(-30.0, 40.0)).collect();
        if rows > 3 {
            x[2 * cols] = f32::NAN;
            x[3 * cols + 1] = f32::INFINITY;
            x[..cols].fill(f32::NEG_INFINITY);
        }
        let classes: Vec<i32> =
            (0..rows).map(|i| if i % 7 == 5 { -100 } else { (i * 31 % cols) as i32 }).collect();
        let mut options = Statistics::default();
        options.chosen = Some(Classes::from(&classes));
        let run = |engine: Engine, from: usize, to: usize| {
            let (mut out, mut top) =
                (vec![RowStatistics::default(); to - from], vec![Candidate::default(); 3 * (to - from)]);
            let mut options = options;
            options.chosen = Some(Classes::from(&classes[from..to]));
            let rows = Rows::new(&x[from * cols..to * cols], cols).unwrap();
            engine.statistics_with(rows, &options, &mut out, &mut top).unwrap();
            format!("{out:?} {top:?}")
        };
        let want = run(Engine::new().serial(), 0, rows);
        for pool in pools(1..=4) {
            let threads = pool.current_num_threads();
            assert!(
                pool.install(|| run(Engine::new(), 0, rows)) == want,
                "{rows} x {cols}, {threads} threads"
            );
        }
        if rows < 100 {
            let (mut out, mut top) = (String::new(), String::new());
            for row in 0..rows {
                let (one, other) = run(Engine::new(), row, row + 1)
                    .split_once("] [")
                    .map(|(a, b)| (a.to_owned(), b.to_owned()))
                    .unwrap();
                out += &format!(", {}", &one[1..]);
                top += &format!(", {}", &other[..other.len() - 1]);
            }
            assert_eq!(format!("[{}] [{}]", &out[2..], &top[2..]), want, "{rows} x {cols}");
        }
    }
}

#[test]
fn nothing_is_open_at_temperature_0() {
    for engine in engines() {
        assert_eq!(varentropy(engine, &[1.0, 3.0, 3.0, 2.0], 0.0), 0.0);
        assert_eq!(entropy(engine, &[1.0, 3.0, 3.0, 2.0], 0.0), 0.0);
        for bad in [[f32::NAN, 1.0], [f32::INFINITY, 1.0], [f32::NEG_INFINITY; 2]] {
            assert!(varentropy(engine, &bad, 0.0).is_nan() && entropy(engine, &bad, 0.0).is_nan(), "{bad:?}");
        }
    }
}

#[test]
fn a_row_without_a_distribution_tells_nothing() {
    for bad in [[f32::NAN, 1.0], [f32::INFINITY, 1.0], [f32::NEG_INFINITY; 2]] {
        let (mut out, mut top) = ([RowStatistics::default()], [Candidate::default(); 2]);
        let mut options = Statistics::default();
        options.chosen = Some(Classes::from(&[1]));
        Engine::new().statistics_with(Rows::new(&bad, 2).unwrap(), &options, &mut out, &mut top).unwrap();
        assert!(out[0].max.is_nan() && out[0].entropy.is_nan() && out[0].logsumexp.is_nan(), "{bad:?}");
        assert!(out[0].chosen.is_some_and(|chosen| chosen.log_probability.is_nan() && chosen.rank == 0));
        assert!(top.iter().all(|candidate| candidate.log_probability.is_nan()));
    }
}

#[test]
fn what_is_wrong_is_named() {
    let x = [0.0; 6];
    let x = Rows::new(&x, 3).unwrap();
    let said = |options: Statistics<'_>, top: usize| {
        let mut out = [RowStatistics::default(); 2];
        let error = Engine::new()
            .statistics_with(x, &options, &mut out, &mut vec![Candidate::default(); top])
            .unwrap_err();
        assert!(out.iter().all(|row| row.max.is_nan()), "something has been written");
        error.to_string()
    };
    let mut options = Statistics::default();
    assert!(said(options, 3).starts_with("3 elements are not a whole number of rows of 2 columns"));
    assert_eq!(said(options, 8), "the number of candidates is 4: it must be at most the number of columns");
    options.temperature = 0.0;
    assert_eq!(said(options, 0), "the temperature of statistics is 0: it must be above 0");
    options.temperature = -1.0;
    assert_eq!(said(options, 0), "the temperature is -1: it must be 0 or more");
    options.temperature = 1.0;
    options.chosen = Some(Classes::from(&[0, 9]));
    assert_eq!(said(options, 0), "the target of row 1 is 9, which is none of the 3 classes");
}
