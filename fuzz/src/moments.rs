//! Entropy and its kin, expected values, statistics, parts of rows, calibration.

use logits::{
    Candidate, Chosen, Classes, Engine, Error, RowPart, RowStatistics, Rows, Statistics, reference,
};

use crate::bytes::Bytes;
use crate::judge::{
    Kind, Table, U, assert_near, assert_refused, at, bits, effective, first_maximum, is_temperature, kind,
    on_all,
};

pub fn check(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    match bytes.byte() % 16 {
        0..=2 => entropies(&mut bytes),
        3 => of_probabilities(&mut bytes),
        4..=6 => expected_value(&mut bytes),
        7 => expected_value_of_probabilities(&mut bytes),
        8..=11 => statistics(&mut bytes),
        12 | 13 => parts(&mut bytes),
        14 => any_bytes_are_a_part(&mut bytes),
        _ => calibration(&mut bytes),
    }
}

fn entropy_bound(want: f64) -> f64 {
    (1e-6 * want).max(1e-12)
}

fn varentropy_bound(want: f64, entropy: f64) -> f64 {
    (3e-6 * (want + entropy * want.sqrt())).max(1e-12)
}

fn entropies(bytes: &mut Bytes<'_>) {
    let (form, temperature, gap) = (bytes.byte() % 3, bytes.temperature(), bytes.below(3));
    let x = Table::new(bytes.shape(), gap, |cols| bytes.row(cols));
    let run = |engine: Engine, out: &mut [f64]| match form {
        0 => engine.entropy_with(x.view(), out, &at(temperature)),
        1 => engine.perplexity_with(x.view(), out, &at(temperature)),
        _ => engine.varentropy_with(x.view(), out, &at(temperature)),
    };
    if !is_temperature(temperature) {
        return assert_refused(run(Engine::new(), &mut vec![7.0; x.rows]), temperature);
    }
    on_all(
        bytes.luck,
        x.rows * x.cols,
        |engine| {
            let mut out = vec![7.0; x.rows];
            run(engine, &mut out).expect("nothing to refuse");
            bits(&out)
        },
        |got, _, isa| {
            for (x, got) in x.each().zip(got) {
                let got = f64::from_bits(*got);
                let context = || format!("{isa:?}, form {form}, temperature {temperature:e}, row {x:?}");
                if kind(x) != Kind::Fine {
                    assert!(got.to_bits() == f64::NAN.to_bits(), "{got:e}: {}", context());
                    continue;
                }
                let of = |moment: fn(&[f32], f64) -> f64| {
                    // One of them is certain.
                    if temperature == 0.0 { 0.0 } else { moment(x, effective(temperature)) }
                };
                let entropy = of(reference::entropy);
                match form {
                    0 => assert_near(got, entropy, entropy_bound(entropy), context),
                    1 => {
                        let want = entropy.exp();
                        let bound = want * (entropy_bound(entropy).exp_m1() + 1e-15);
                        assert_near(got, want, bound, context);
                        assert!(got >= 1.0, "less than one choice: {}", context());
                    }
                    _ => {
                        let want = of(reference::varentropy);
                        assert_near(got, want, varentropy_bound(want, entropy), context);
                        assert!(got >= 0.0, "a variance below 0: {}", context());
                    }
                }
            }
        },
    );
}

/// Entropy and varentropy of numbers that are normalised first; nothing where one of them is no probability.
fn given(p: &[f32]) -> Option<(f64, f64)> {
    if p.iter().any(|p| !(0.0..f32::INFINITY).contains(p)) || p.iter().all(|&p| p == 0.0) {
        return None;
    }
    // Without the largest the sum of the others is exact enough for its logarithm to be near 0.
    let top = first_maximum(p);
    let most = f64::from(p[top]);
    let others: f64 = p.iter().enumerate().filter(|(i, _)| *i != top).map(|(_, &p)| f64::from(p)).sum();
    let log_share = (others / most).ln_1p();
    let surprise = |p: f32| (most / f64::from(p)).ln() + log_share;
    let share = |p: f32| f64::from(p) / (others + most);
    let positive = || p.iter().copied().filter(|&p| p > 0.0);
    let entropy = positive().map(|p| share(p) * surprise(p)).sum::<f64>();
    let varentropy = positive().map(|p| share(p) * (surprise(p) - entropy).powi(2)).sum();
    Some((entropy, varentropy))
}

fn of_probabilities(bytes: &mut Bytes<'_>) {
    let gap = bytes.below(3);
    let p = Table::new(bytes.shape(), gap, |cols| bytes.probabilities(cols));
    on_all(
        bytes.luck,
        p.rows * p.cols,
        |engine| {
            let mut out = vec![7.0; 2 * p.rows];
            let (entropies, varentropies) = out.split_at_mut(p.rows);
            engine.entropy_of_probabilities(p.view(), entropies).expect("nothing to refuse");
            engine.varentropy_of_probabilities(p.view(), varentropies).expect("nothing to refuse");
            bits(&out)
        },
        |got, _, isa| {
            for (row, p) in p.each().enumerate() {
                let got = [got[row], got[row + got.len() / 2]].map(f64::from_bits);
                let context = || format!("{isa:?}, probabilities {p:?}");
                let Some((entropy, varentropy)) = given(p) else {
                    assert!(got.iter().all(|got| got.is_nan()), "{got:?}: {}", context());
                    continue;
                };
                // Of numbers that do not add up to 1 logarithms are larger than their differences.
                let sum: f64 = p.iter().map(|&p| f64::from(p)).sum();
                let size = 1.0 + sum.ln().abs();
                assert_near(got[0], entropy, 1e-9 * entropy + 1e-12 * size, context);
                let bound = 1e-9 * varentropy + 1e-12 * (size + entropy) * (size + entropy);
                assert_near(got[1], varentropy, bound, context);
            }
        },
    );
}

fn expected_value(bytes: &mut Bytes<'_>) {
    let (temperature, gap) = (bytes.temperature(), bytes.below(3));
    let x = Table::new(bytes.shape(), gap, |cols| bytes.row(cols));
    let values = bytes.row(x.cols);
    let run = |engine: Engine, out: &mut [f64]| {
        engine.expected_value_with(x.view(), &values, out, &at(temperature))
    };
    if !is_temperature(temperature) {
        return assert_refused(run(Engine::new(), &mut vec![7.0; x.rows]), temperature);
    }
    let sizes: Vec<f32> = values.iter().map(|value| value.abs()).collect();
    let are_finite = values.iter().all(|value| value.is_finite());
    on_all(
        bytes.luck,
        x.rows * x.cols,
        |engine| {
            let mut out = vec![7.0; x.rows];
            run(engine, &mut out).expect("nothing to refuse");
            bits(&out)
        },
        |got, _, isa| {
            for (x, got) in x.each().zip(got) {
                let got = f64::from_bits(*got);
                let context =
                    || format!("{isa:?}, temperature {temperature:e}, row {x:?}, values {values:?}");
                if kind(x) != Kind::Fine {
                    assert!(got.is_nan(), "{got:e}: {}", context());
                } else if temperature == 0.0 {
                    assert_near(got, f64::from(values[first_maximum(x)]), 0.0, context);
                } else if are_finite {
                    let want = |values: &[f32]| reference::expected_value(x, values, effective(temperature));
                    let most = sizes.iter().fold(0.0_f32, |most, &size| most.max(size));
                    // What is less probable than that has no term.
                    let bound = 4.0 * U * want(&sizes) + f64::from(most) * LEAST * x.len() as f64;
                    assert_near(got, want(&values), bound, context);
                }
            }
        },
    );
}

/// Terms are floats in units of `2^-64` at most: what is smaller than the least of them is lost.
const LEAST: f64 = 1e-50;

fn expected_value_of_probabilities(bytes: &mut Bytes<'_>) {
    let p = Table::new(bytes.shape(), bytes.below(3), |cols| bytes.probabilities(cols));
    let values = bytes.row(p.cols);
    on_all(
        bytes.luck,
        p.rows * p.cols,
        |engine| {
            let mut out = vec![7.0; p.rows];
            engine.expected_value_of_probabilities(p.view(), &values, &mut out).expect("nothing to refuse");
            bits(&out)
        },
        |got, _, isa| {
            for (p, got) in p.each().zip(got) {
                let terms = || {
                    let pairs = p.iter().zip(&values);
                    pairs.filter(|(p, _)| **p != 0.0).map(|(&p, &value)| f64::from(p) * f64::from(value))
                };
                let (want, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                let context = || format!("{isa:?}, probabilities {p:?}, values {values:?}");
                if size.is_finite() || want.is_nan() {
                    assert_near(f64::from_bits(*got), want, size * p.len() as f64 * f64::EPSILON, context);
                }
            }
        },
    );
}

/// A row's statistics the long way.
fn plainly(x: &[f32], chosen: usize, temperature: f64) -> (RowStatistics, Vec<f64>) {
    let mut log_probabilities = vec![0.0; x.len()];
    reference::log_softmax(x, temperature, &mut log_probabilities);
    let first = first_maximum(x);
    let statistics = RowStatistics {
        max: x[first],
        argmax: first,
        max_log_probability: log_probabilities[first],
        logsumexp: f64::from(x[first]) / temperature - log_probabilities[first],
        entropy: reference::entropy(x, temperature),
        varentropy: reference::varentropy(x, temperature),
        chosen: Some(Chosen {
            log_probability: log_probabilities[chosen],
            rank: x.iter().filter(|&&other| other >= x[chosen]).count(),
        }),
    };
    (statistics, log_probabilities)
}

fn assert_log_probability(got: f64, want: f64, context: impl Fn() -> String) {
    assert_near(got, want, 4e-7 * want.abs() + LEAST, &context);
    assert!(got <= 0.0, "more than certain: {}", context());
}

fn assert_statistics(got: &RowStatistics, want: &RowStatistics, context: impl Fn() -> String) {
    assert!(got.max == want.max && got.argmax == want.argmax, "{got:?} and not {want:?}: {}", context());
    assert_log_probability(got.max_log_probability, want.max_log_probability, &context);
    let bound = 3e-7 + 2_f64.powi(-50) * want.logsumexp.abs();
    assert_near(got.logsumexp, want.logsumexp, bound, &context);
    assert_near(got.entropy, want.entropy, entropy_bound(want.entropy), &context);
    assert_near(got.varentropy, want.varentropy, varentropy_bound(want.varentropy, want.entropy), &context);
}

/// All of it, as bits.
fn bits_of(row: &RowStatistics) -> [u64; 8] {
    let numbers = [row.max_log_probability, row.logsumexp, row.entropy, row.varentropy].map(f64::to_bits);
    let [log_probability, logsumexp, entropy, varentropy] = numbers;
    let chosen = row.chosen.unwrap_or_default();
    [
        u64::from(row.max.to_bits()),
        row.argmax as u64,
        log_probability,
        logsumexp,
        entropy,
        varentropy,
        chosen.log_probability.to_bits(),
        chosen.rank as u64 | u64::from(row.chosen.is_some()) << 63,
    ]
}

fn statistics(bytes: &mut Bytes<'_>) {
    let (temperature, gap) = (bytes.temperature(), bytes.below(3));
    let x = Table::new(bytes.shape(), gap, |cols| bytes.row(cols));
    let most = bytes.below(x.cols.min(9) + 1);
    let classes: Vec<i32> = (0..x.rows)
        .map(|_| if bytes.byte().is_multiple_of(8) { -100 } else { bytes.below(x.cols) as i32 })
        .collect();
    let mut options = Statistics::default();
    (options.temperature, options.chosen) = (temperature, Some(Classes::from(&classes)));
    let run = |engine: Engine| {
        let (mut out, mut top) =
            (vec![RowStatistics::default(); x.rows], vec![Candidate::default(); most * x.rows]);
        engine.statistics_with(x.view(), &options, &mut out, &mut top).map(|()| (out, top))
    };
    if !is_temperature(temperature) {
        return assert_refused(run(Engine::new()), temperature);
    }
    if temperature == 0.0 {
        assert!(matches!(run(Engine::new()), Err(Error::OutOfRange { .. })));
        return;
    }
    on_all(
        bytes.luck,
        x.rows * x.cols,
        |engine| {
            let (out, top) = run(engine).expect("nothing to refuse");
            let top: Vec<_> = top.iter().map(|top| (top.class, top.log_probability.to_bits())).collect();
            (out.iter().map(bits_of).collect::<Vec<_>>(), top)
        },
        |(rows, top), _, isa| {
            for (i, (x, got)) in x.each().zip(rows).enumerate() {
                let context =
                    || format!("{isa:?}, temperature {temperature:e}, row {x:?}, chosen {classes:?}");
                let top = &top[i * most..][..most];
                let [max, argmax, log_probability, logsumexp, entropy, varentropy, of_chosen, rank] = *got;
                let [log_probability, logsumexp, entropy, varentropy, of_chosen] =
                    [log_probability, logsumexp, entropy, varentropy, of_chosen].map(f64::from_bits);
                let got = RowStatistics {
                    max: f32::from_bits(max as u32),
                    argmax: argmax as usize,
                    max_log_probability: log_probability,
                    logsumexp,
                    entropy,
                    varentropy,
                    chosen: None,
                };
                let class = usize::try_from(classes[i]).ok();
                assert_eq!(rank >> 63 == 1, class.is_some());
                let rank = (rank << 1 >> 1) as usize;
                if kind(x) != Kind::Fine {
                    assert!(
                        entropy.is_nan() && varentropy.is_nan() && logsumexp.is_nan() && got.max.is_nan()
                    );
                    assert!(class.is_none() || of_chosen.is_nan() && rank == 0);
                    assert!(top.iter().all(|top| f64::from_bits(top.1).is_nan()));
                    continue;
                }
                let (want, logs) = plainly(x, class.unwrap_or(0), effective(temperature));
                assert_statistics(&got, &want, context);
                if class.is_some() {
                    let chosen = want.chosen.expect("a class");
                    assert_eq!(rank, chosen.rank, "{}", context());
                    assert_log_probability(of_chosen, chosen.log_probability, context);
                }
                let mut order: Vec<usize> = (0..x.len()).collect();
                order.sort_by(|&a, &b| x[b].partial_cmp(&x[a]).expect("numbers").then(a.cmp(&b)));
                for (top, &want) in top.iter().zip(&order) {
                    assert_eq!(top.0, want, "{}", context());
                    assert_log_probability(f64::from_bits(top.1), logs[want], context);
                }
            }
        },
    );
}

/// One row, read in parts, which are merged from the left and as a tree, and sent.
fn parts(bytes: &mut Bytes<'_>) {
    let temperature = effective(bytes.temperature());
    if !is_temperature(temperature) {
        return;
    }
    let (_, cols) = bytes.shape();
    let x = bytes.row(cols);
    let mut starts: Vec<usize> = (0..bytes.below(6)).map(|_| bytes.below(cols + 1)).collect();
    starts.push(0);
    starts.sort_unstable();
    let part = |engine: Engine, from: usize, to: usize| {
        let mut out = [RowPart::default()];
        if from < to {
            let columns = Rows::new(&x[from..to], to - from).expect("a row");
            engine.parts(columns, from, temperature, &mut out).expect("nothing to refuse");
        }
        RowPart::from_bytes(&out[0].to_bytes())
    };
    let target = x[bytes.below(cols)];
    on_all(
        bytes.luck,
        cols,
        |engine| {
            let ends = starts.iter().copied().skip(1).chain([cols]);
            let parts: Vec<RowPart> =
                starts.iter().zip(ends).map(|(&from, to)| part(engine, from, to)).collect();
            let row = parts.iter().copied().fold(RowPart::default(), RowPart::merge);
            let tree = as_a_tree(&parts);
            let shares: f64 = parts.iter().map(|part| part.share(&row)).sum();
            let segments = (0..cols).step_by(RowPart::SEGMENT);
            let whole = segments
                .map(|from| part(engine, from, cols.min(from + RowPart::SEGMENT)))
                .fold(RowPart::default(), RowPart::merge);
            let (mut statistics, mut options) = ([RowStatistics::default()], Statistics::default());
            options.temperature = temperature;
            let rows = Rows::new(&x, cols).expect("a row");
            engine.statistics_with(rows, &options, &mut statistics, &mut []).expect("nothing to refuse");
            let same = bits_of(&whole.finish()) == bits_of(&statistics[0]);
            assert!(same, "segments are not the whole: {whole:?} {statistics:?}");
            let loss = [row.loss(target), tree.loss(target), shares].map(f64::to_bits);
            (bits_of(&row.finish()), bits_of(&tree.finish()), loss)
        },
        |(row, tree, loss), _, isa| {
            let [loss, loss_of_tree, shares] = loss.map(f64::from_bits);
            let context = || format!("{isa:?}, temperature {temperature:e}, row {x:?}, starts {starts:?}");
            if kind(&x) != Kind::Fine {
                assert!(loss.is_nan() && loss_of_tree.is_nan() && f64::from_bits(row[2]).is_nan());
                return;
            }
            let chosen = x.iter().position(|&other| other == target).expect("it is one of them");
            let (want, logs) = plainly(&x, chosen, temperature);
            for got in [row, tree] {
                let numbers = [got[2], got[3], got[4], got[5]].map(f64::from_bits);
                let [max_log_probability, logsumexp, entropy, varentropy] = numbers;
                let got = RowStatistics {
                    max: f32::from_bits(got[0] as u32),
                    argmax: got[1] as usize,
                    max_log_probability,
                    logsumexp,
                    entropy,
                    varentropy,
                    chosen: None,
                };
                assert_statistics(&got, &want, context);
            }
            assert_log_probability(-loss, logs[chosen], context);
            assert_log_probability(-loss_of_tree, logs[chosen], context);
            assert_near(shares, 1.0, 6e-7, context);
        },
    );
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

/// What was not sent by anybody who means well does no harm either.
fn any_bytes_are_a_part(bytes: &mut Bytes<'_>) {
    let mut part = || RowPart::from_bytes(&std::array::from_fn(|_| bytes.byte()));
    let (left, right) = (part(), part());
    let row = left.merge(right);
    let _ = (row.finish(), row.loss(1.0), left.share(&row), row.share(&right));
    assert!(RowPart::from_bytes(&row.to_bytes()).to_bytes() == row.to_bytes());
}

fn calibration(bytes: &mut Bytes<'_>) {
    let temperature = bytes.temperature();
    let (_, cols) = bytes.shape();
    let (rows, cols) = (1 + bytes.below(5), cols.min(300));
    let x = Table::new((rows, cols), 0, |cols| bytes.row(cols));
    let labels: Vec<i64> = (0..rows)
        .map(|_| if bytes.byte().is_multiple_of(8) { -100 } else { bytes.below(cols) as i64 })
        .collect();
    let run = |engine: Engine| engine.calibration(x.view(), &labels, temperature);
    if !is_temperature(temperature) {
        return assert_refused(run(Engine::new()), temperature);
    }
    if temperature == 0.0 {
        assert!(matches!(run(Engine::new()), Err(Error::OutOfRange { .. })));
        return;
    }
    let counts = || x.each().zip(&labels).filter(|(x, label)| **label >= 0 && kind(x) == Kind::Fine);
    on_all(
        bytes.luck,
        rows * cols,
        |engine| {
            let found = run(engine).expect("nothing to refuse");
            // Debug tells one NaN from no other, and numbers as exactly as they are.
            (
                format!("{found:?}"),
                [found.nll, found.accuracy, found.brier, found.ece, found.mce].map(f64::to_bits),
                found.count,
            )
        },
        |(_, numbers, count), _, isa| {
            let [nll, accuracy, brier, ece, mce] = numbers.map(f64::from_bits);
            let context = || format!("{isa:?}, temperature {temperature:e}, {x:?}, labels {labels:?}");
            let all = counts().count();
            assert_eq!(*count, all, "{}", context());
            let (mut want, mut right, mut squares) = (0.0, 0, 0.0);
            for (x, &label) in counts() {
                let (mut logs, label) = (vec![0.0; cols], label as usize);
                reference::log_softmax(x, effective(temperature), &mut logs);
                want -= logs[label];
                right += usize::from(first_maximum(x) == label);
                let parts =
                    logs.iter().enumerate().map(|(c, log)| log.exp() - f64::from(u8::from(c == label)));
                squares += parts.map(|part| part * part).sum::<f64>();
            }
            let all = all as f64;
            let bound = 4e-7 * (want / all).abs() + LEAST;
            assert_near(nll, want / all, bound, context);
            assert_near(accuracy, right as f64 / all, 1e-15, context);
            assert_near(brier, squares / all, 4e-6, context);
            let bounded = |part: f64| part.is_nan() && all == 0.0 || (0.0..=1.0 + 1e-6).contains(&part);
            assert!(
                bounded(ece) && bounded(mce) && (ece <= mce + 1e-12 || all == 0.0),
                "{ece} {mce}: {}",
                context()
            );
        },
    );
    let fitted = Engine::new().fit_temperature(x.view(), &labels);
    let loss = |temperature: f64| {
        let rows = x.each().zip(&labels).filter(|(_, label)| **label >= 0);
        let losses = rows.map(|(x, &label)| {
            let mut logs = vec![0.0; cols];
            reference::log_softmax(x, temperature, &mut logs);
            -logs[label as usize]
        });
        losses.sum::<f64>()
    };
    let count = labels.iter().filter(|&&label| label >= 0).count();
    if count == 0 || !loss(1.0).is_finite() {
        assert!(matches!(fitted, Err(Error::OutOfRange { .. })), "{fitted:?} of {x:?}, {labels:?}");
        return;
    }
    let fitted = fitted.expect("a finite loss");
    assert!((0.999e-3..=1001.0).contains(&fitted), "{fitted} of {x:?}, {labels:?}");
    let found = loss(fitted);
    for beside in [fitted * 1.01, fitted / 1.01, 1.0] {
        let other = loss(beside.clamp(1e-3, 1e3));
        let bound = 1e-6 * (found + 1e-9);
        assert!(
            found <= other + bound,
            "{found:e} at {fitted}, but {other:e} at {beside}: {x:?}, {labels:?}"
        );
    }
}
