//! Rows that are split over processes: the bits of the whole, or its bounds, whatever has them.

mod common;

use std::ops::Range;

use common::*;
use logits::{
    Engine, Error, MaskedRows, RowPart, RowStatistics, Rows, RowsMut, Softmax, Statistics, reference,
};
use proptest::prelude::*;

/// What is known of columns of one row.
fn part(engine: Engine, x: &[f32], first_column: usize, temperature: f64) -> RowPart {
    let mut out = [RowPart::default()];
    if !x.is_empty() {
        engine.parts(Rows::new(x, x.len()).unwrap(), first_column, temperature, &mut out).unwrap();
    }
    out[0]
}

/// What is known of a row, by parts that begin where they are told, merged from the left.
fn merged(engine: Engine, x: &[f32], starts: &[usize], temperature: f64) -> RowPart {
    let part = |range: Range<usize>| part(engine, &x[range.clone()], range.start, temperature);
    ranges(starts, x.len()).map(part).fold(RowPart::default(), RowPart::merge)
}

fn ranges(starts: &[usize], len: usize) -> impl Iterator<Item = Range<usize>> {
    let ends = starts.iter().copied().skip(1).chain([len]);
    starts.iter().zip(ends).map(|(&from, to)| from..to)
}

fn whole(engine: Engine, x: &[f32], temperature: f64) -> RowStatistics {
    let (mut out, mut options) = ([RowStatistics::default()], Statistics::default());
    options.temperature = temperature;
    engine.statistics_with(Rows::new(x, x.len()).unwrap(), &options, &mut out, &mut []).unwrap();
    out[0]
}

/// All of it, so that equal means the same bits.
fn bits(row: &RowStatistics) -> [u64; 6] {
    let numbers = [row.max_log_probability, row.logsumexp, row.entropy, row.varentropy].map(f64::to_bits);
    let [log_probability, logsumexp, entropy, varentropy] = numbers;
    [u64::from(row.max.to_bits()), row.argmax as u64, log_probability, logsumexp, entropy, varentropy]
}

fn close(got: f64, want: f64, relative: f64, absolute: f64) -> bool {
    got == want || (got - want).abs() <= relative * want.abs() + absolute
}

/// Whether a row's statistics are within the bounds of the whole's, which are within theirs: twice as far in all.
fn assert_close(got: &RowStatistics, want: &RowStatistics, context: &str) {
    let context = format!("{context}: {got:?} {want:?}");
    assert_eq!((got.max, got.argmax), (want.max, want.argmax), "{context}");
    assert!(close(got.max_log_probability, want.max_log_probability, 8e-7, 1e-40), "{context}");
    assert!(close(got.logsumexp, want.logsumexp, 1e-14, 6e-7), "{context}");
    assert!(close(got.entropy, want.entropy, 2e-6, 1e-12), "{context}");
    let bound = 2e-6 * want.entropy * want.varentropy.sqrt() + 1e-12;
    assert!(close(got.varentropy, want.varentropy, 2e-6, bound), "{context}");
}

#[test]
fn segments_merged_from_the_left_are_the_whole() {
    for len in [1, 64, 65, 4095, 4096, 4097, 8192, 12_288, 70_001] {
        for engine in engines().filter(|&engine| suits(engine, len)) {
            let starts: Vec<usize> = (0..len).step_by(RowPart::SEGMENT).collect();
            for (name, x) in named_rows(len) {
                for temperature in [1.0, 0.7, 3.0] {
                    let got = merged(engine, &x, &starts, temperature).finish();
                    let want = whole(engine, &x, temperature);
                    let context = format!("{}: {name}, {len} at {temperature}", engine.isa());
                    assert_eq!(bits(&got), bits(&want), "{context}");
                    // Parts of several segments each are merged in another order.
                    let some: Vec<usize> = starts.iter().copied().step_by(3).collect();
                    assert_close(&merged(engine, &x, &some, temperature).finish(), &want, &context);
                }
            }
        }
    }
}

/// On one thread or several, of all columns or of some.
#[test]
fn a_batch_is_its_rows() {
    for (rows, cols, stride) in [(1, 300_000, 300_000), (40, 9, 11), (300, 1000, 1003), (5, 70_000, 70_000)] {
        let mut random = Random(cols as u64);
        let mut x: Vec<f32> = (0..rows * stride).map(|_| random.uniform(-30.0, 40.0)).collect();
        if rows > 3 {
            x[2 * stride] = f32::NAN;
            x[3 * stride + 1] = f32::INFINITY;
            x[..cols].fill(f32::NEG_INFINITY);
        }
        let view = Rows::strided(&x, cols, stride).unwrap();
        let engine = Engine::new();
        let run = |out: &mut [RowPart]| engine.parts(view, 1000, 0.9, out).unwrap();
        let want: Vec<_> =
            (0..rows).map(|row| part(engine.serial(), view.row(row), 1000, 0.9).to_bytes()).collect();
        for pool in pools(1..=4) {
            let threads = pool.current_num_threads();
            let mut out = vec![RowPart::default(); rows];
            pool.install(|| run(&mut out));
            let got: Vec<_> = out.iter().map(RowPart::to_bytes).collect();
            assert!(got == want, "{rows} x {cols}, {threads} threads");
        }
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

/// Merges neighbours until there is one.
fn as_a_tree(parts: &[RowPart]) -> RowPart {
    match parts {
        [] => RowPart::default(),
        [part] => *part,
        _ => {
            let (left, right) = parts.split_at(parts.len() / 2);
            as_a_tree(left).merge(as_a_tree(right))
        }
    }
}

proptest! {
    #![proptest_config(random_cases(600))]

    #[test]
    fn any_split_of_any_row_is_within_the_bounds(
        x in any_row(),
        seed in any::<u64>(),
        temperature in prop_oneof![Just(1.0), 0.01..100.0_f64],
    ) {
        let mut random = Random(seed);
        let mut starts: Vec<usize> = (0..random.below(9)).map(|_| random.below(x.len() + 1)).collect();
        starts.push(0);
        starts.sort_unstable();
        let target = x[random.below(x.len())];
        let (want, entropy) = (reference::varentropy(&x, temperature), reference::entropy(&x, temperature));
        let mut log_probabilities = vec![0.0; x.len()];
        reference::log_softmax(&x, temperature, &mut log_probabilities);
        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let argmax = x.iter().position(|&x| x == max).unwrap();
        let chosen = log_probabilities[x.iter().position(|&x| x == target).unwrap()];
        let logsumexp = f64::from(max) / temperature - log_probabilities[argmax];
        for engine in engines() {
            let part = |range: Range<usize>| part(engine, &x[range.clone()], range.start, temperature);
            let parts: Vec<_> = ranges(&starts, x.len()).map(part).collect();
            for row in [merged(engine, &x, &starts, temperature), as_a_tree(&parts)] {
                let got = row.finish();
                let context = format!("{}: {got:?} of {starts:?}", engine.isa());
                prop_assert!((got.max, got.argmax) == (max, argmax), "{}", context);
                prop_assert!(close(got.logsumexp, logsumexp, 1e-14, 3e-7), "{}", context);
                prop_assert!(close(got.max_log_probability, log_probabilities[argmax], 4e-7, 1e-40), "{}", context);
                prop_assert!(close(got.entropy, entropy, 1e-6, 1e-12), "{}", context);
                let bound = 1e-6 * entropy * want.sqrt() + 1e-12;
                prop_assert!(close(got.varentropy, want, 1e-6, bound), "{}: {}", context, want);
                prop_assert!(close(row.log_probability(target), chosen, 4e-7, 1e-40), "{}: {}", context, chosen);
                prop_assert_eq!(row.loss(target), -row.log_probability(target));
                let shares: f64 = parts.iter().map(|part| part.share(&row)).sum();
                prop_assert!(close(shares, 1.0, 0.0, 1e-12), "{}: shares of {}", context, shares);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_part(bytes in proptest::collection::vec(any::<u8>(), 2 * RowPart::BYTES)) {
        let (left, right) = bytes.split_at(RowPart::BYTES);
        let [left, right] = [left, right].map(|bytes| RowPart::from_bytes(bytes.try_into().unwrap()));
        let row = left.merge(right);
        let _ = (row.finish(), row.loss(1.0), left.share(&row), row.share(&right));
    }
}

#[test]
fn bytes_are_the_same_part() {
    for (name, x) in named_rows(5000) {
        let part = part(Engine::new(), &x, 1 << 20, 0.3);
        assert_eq!(RowPart::from_bytes(&part.to_bytes()), part, "{name}");
    }
}

/// The first of the largest is the one with the least column, in whatever order parts come together.
#[test]
fn parts_come_in_any_order() {
    for engine in engines() {
        for (left, right, argmax) in [
            (&[0.0, 3.0, 1.0][..], &[3.0, 2.0][..], 1),
            (&[0.0, 3.5], &[1.0, 3.0], 1),
            (&[0.0, 3.0], &[1.0, 3.5], 3),
            (&[-0.0, -0.0], &[-0.0], 0),
        ] {
            let parts = [part(engine, left, 0, 0.7), part(engine, right, left.len(), 0.7)];
            for row in [parts[0].merge(parts[1]), parts[1].merge(parts[0])].map(|row| row.finish()) {
                assert_eq!(row.argmax, argmax, "{}: {left:?} {right:?}", engine.isa());
                assert!(row.max != 0.0 || row.max.is_sign_positive());
            }
        }
    }
}

#[test]
fn nothing_changes_nothing() {
    let engine = Engine::new();
    let masked = part(engine, &[f32::NEG_INFINITY; 100], 0, 2.0);
    for (name, x) in named_rows(5000) {
        let part = part(engine, &x, 100, 0.7);
        for nothing in [RowPart::default(), masked] {
            for row in [part.merge(nothing), nothing.merge(part)] {
                assert_eq!(row.to_bytes(), part.to_bytes(), "{name}");
            }
            assert_eq!(nothing.share(&part), 0.0, "{name}");
        }
        assert_eq!(part.share(&part), 1.0, "{name}");
    }
    let row = masked.merge(masked).merge(RowPart::default());
    assert_eq!(bits(&row.finish()), bits(&RowStatistics::default()));
    assert!(row.loss(f32::NEG_INFINITY).is_nan() && masked.share(&row).is_nan());
}

#[test]
fn a_bad_part_is_a_bad_row() {
    let engine = Engine::new();
    let good = part(engine, &[1.0, 300.0, -4.0], 0, 1.0);
    let masked = part(engine, &[f32::NEG_INFINITY; 2], 0, 1.0);
    assert_eq!((good.loss(f32::NEG_INFINITY), good.loss(300.0)), (f64::INFINITY, 0.0));
    for bad in [[f32::NAN, 1.0], [f32::INFINITY, 1.0], [f32::NAN, f32::NEG_INFINITY]] {
        let bad = part(engine, &bad, 3, 1.0);
        for parts in [[bad, good, masked], [good, bad, good], [masked, bad, bad], [good, masked, bad]] {
            let row = as_a_tree(&parts);
            assert_eq!(bits(&row.finish()), bits(&RowStatistics::default()));
            assert!(row.loss(1.0).is_nan() && row.log_probability(1.0).is_nan() && good.share(&row).is_nan());
        }
    }
    // Of different distributions.
    let warm = part(engine, &[1.0], 3, 2.0);
    assert_eq!(bits(&good.merge(warm).finish()), bits(&RowStatistics::default()));
}

/// Every process makes the softmax of what it has.
#[test]
fn a_softmax_by_parts() {
    let engine = Engine::new();
    let masked = Softmax { masked_rows: MaskedRows::Zeros, ..Default::default() };
    let mut worst = 0.0_f64;
    for (name, x) in named_rows(9001) {
        let row = merged(engine, &x, &[0, 3000, 3500, 7000], 1.0);
        let mut want = vec![0.0; x.len()];
        reference::softmax(&x, 1.0, &mut want);
        for from in [0, 3000, 3500, 7000] {
            let here = &x[from..(from + 3500).min(x.len())];
            let mut y = vec![0.0; here.len()];
            let rows = RowsMut::new(&mut y, here.len()).unwrap();
            engine.softmax_with(Rows::new(here, here.len()).unwrap(), rows, &masked).unwrap();
            let share = part(engine, here, from, 1.0).share(&row);
            for (y, want) in y.iter().zip(&want[from..]) {
                let got = f64::from(*y) * share;
                let error = (got - want).abs() / want.max(f64::from(f32::MIN_POSITIVE));
                assert!(error < 1e-6, "{name}: {got} for {want}");
                worst = worst.max(error);
            }
        }
    }
    println!("the worst relative error is {worst:.2e}");
}

/// At a temperature without end all that is not masked is as probable, and what is masked is not.
#[test]
fn temperatures_end_where_those_of_softmax_do() {
    let x = [1.0, f32::NEG_INFINITY, 3.0];
    let row = part(Engine::new(), &x, 0, f64::INFINITY);
    assert!(close(row.loss(1.0), 2_f64.ln(), 4e-7, 0.0));
    assert_eq!(row.loss(f32::NEG_INFINITY), f64::INFINITY);
    let mut options = Statistics::default();
    options.temperature = f64::INFINITY;
    options.chosen = Some((&[1]).into());
    let mut out = [RowStatistics::default()];
    Engine::new().statistics_with(Rows::new(&x, 3).unwrap(), &options, &mut out, &mut []).unwrap();
    assert_eq!(out[0].chosen.unwrap().log_probability, f64::NEG_INFINITY);
}

#[test]
fn what_is_wrong_is_named() {
    let x = [0.0; 6];
    let x = Rows::new(&x, 3).unwrap();
    let mut out = [RowPart::default(); 3];
    let mut said = |temperature: f64, rows: usize| {
        let error = Engine::new().parts(x, 0, temperature, &mut out[..rows]).unwrap_err();
        assert!(out.iter().all(|part| *part == RowPart::default()), "something has been written");
        error
    };
    assert_eq!(said(1.0, 3), Error::LengthMismatch { rows: 2, len: 3 });
    assert_eq!(said(-1.0, 2), Error::Temperature { temperature: -1.0 });
    assert_eq!(said(0.0, 2).to_string(), "the temperature of parts is 0: it must be above 0");
}
