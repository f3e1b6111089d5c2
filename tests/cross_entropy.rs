//! Cross-entropy against PyTorch's table and against the definition in f64, and what it says of bad input.

mod common;
mod tables;

use common::*;
use logits::{CrossEntropy, Engine, Error, Loss, RowLoss, Rows, Smoothed, Targets, reference};
use proptest::prelude::*;
use tables::{cross_entropies, number, numbers};

/// Of any loss; derived in the source.
const MAX_RELATIVE: f64 = 4e-7;

/// What a cap adds to that, for each unit of the cap.
const MAX_OF_CAP: f64 = 4.3e-7;

/// Whether a number is right; PyTorch itself is so only within some `2^-52` of its largest terms.
fn agrees(got: f64, want: f64, relative: f64, absolute: f64) -> bool {
    got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= relative * want.abs() + absolute
}

#[test]
fn pytorch_says_the_same() {
    let mut departures = 0;
    for case in cross_entropies() {
        for engine in engines() {
            let mut rows = vec![RowLoss::default(); case.rows().rows()];
            let loss =
                engine.cross_entropy_with(case.rows(), case.targets(), &case.options(), &mut rows).unwrap();
            if case.departs() {
                departures += 1;
                assert!(!loss.sum.is_nan(), "{}: {loss:?}", case.name);
                continue;
            }
            let context = format!("{}, {}: {loss:?} {rows:?}", engine.isa(), case.name);
            // The square of logsumexp has its error twice.
            let absolute = if case.value["z_loss"].is_null() { 1e-14 } else { 1e-6 };
            let relative = MAX_RELATIVE + MAX_OF_CAP * case.options().softcap.unwrap_or(0.0);
            let agrees = |got: f64, want: f64| agrees(got, want, relative, absolute);
            for (row, want) in rows.iter().zip(numbers(&case.value["losses"])) {
                assert!(agrees(row.loss, want), "{context}: {want}");
            }
            assert!(agrees(loss.sum, number(&case.value["sum"])), "{context}");
            assert!(agrees(loss.mean(), number(&case.value["mean"])), "{context}");
        }
    }
    assert!(departures > 0);
}

/// What each class of a row counts.
fn coefficients(
    options: &CrossEntropy<'_>,
    class: Option<usize>,
    probabilities: &[f32],
    cols: usize,
) -> Vec<f64> {
    let over = cols as f64;
    let smoothing = match options.smoothed {
        Smoothed::Others => options.label_smoothing * over / (over - 1.0).max(1.0),
        _ => options.label_smoothing,
    };
    (0..cols)
        .map(|c| {
            let q =
                class.map_or_else(|| f64::from(probabilities[c]), |class| f64::from(u8::from(c == class)));
            let weight = options.weights.map_or(1.0, |weights| f64::from(weights[c]));
            weight * ((1.0 - smoothing) * q + smoothing / over)
        })
        .collect()
}

fn relative_error(got: f64, want: f64) -> f64 {
    if got == want || got.is_nan() && want.is_nan() {
        0.0
    } else if (got - want).is_finite() {
        // Below the smallest term there is nothing.
        (got - want).abs() / want.abs().max(1e-50)
    } else {
        f64::INFINITY
    }
}

/// Every option on every named row, in rows of several segments as well.
#[test]
fn losses_of_named_rows_are_within_the_derived_bound() {
    let mut most = engines_with_worst::<f64>();
    for len in lengths(&[70_001]) {
        let mut random = Random(len as u64);
        let mut probabilities: Vec<f32> = (0..len).map(|_| random.unit() as f32).collect();
        let total: f32 = probabilities.iter().sum();
        probabilities.iter_mut().for_each(|p| *p = if *p < 0.2 { 0.0 } else { *p / total });
        let weights: Vec<f32> = (0..len).map(|i| (i % 3) as f32 * 0.7).collect();
        for (name, x) in named_rows(len) {
            let best = (0..len).fold(0, |best, i| if x[i] > x[best] { i } else { best });
            for (i, class) in [best, len / 2, 0].into_iter().enumerate() {
                for smoothing in [0.0, 0.1, 1.0] {
                    let mut options = CrossEntropy::default();
                    options.label_smoothing = smoothing;
                    options.weights = (len % 2 == 1).then_some(&weights);
                    options.smoothed = if i == 1 { Smoothed::Others } else { Smoothed::All };
                    if options.smoothed == Smoothed::Others && smoothing == 1.0 {
                        continue;
                    }
                    let want = |class| {
                        reference::cross_entropy(&x, &coefficients(&options, class, &probabilities, len))
                    };
                    // The probabilities once.
                    let want = (want(Some(class)), (i == 0).then(|| want(None)));
                    for (engine, most) in most.iter_mut().filter(|(engine, _)| suits(*engine, len)) {
                        let (rows, mut out) = (Rows::new(&x, len).unwrap(), [RowLoss::default()]);
                        let context = format!("{}: {name}, {len}, {smoothing}", engine.isa());
                        engine.cross_entropy_with(rows, &[class], &options, &mut out).unwrap();
                        let error = relative_error(out[0].loss, want.0);
                        assert!(error < MAX_RELATIVE, "{context}: {} {}", out[0].loss, want.0);
                        *most = most.max(error);
                        if let Some(want) = want.1 {
                            let targets = Rows::new(&probabilities, len).unwrap();
                            engine.cross_entropy_with(rows, targets, &options, &mut out).unwrap();
                            let error = relative_error(out[0].loss, want);
                            assert!(error < MAX_RELATIVE, "{context}, probabilities: {} {want}", out[0].loss);
                            *most = most.max(error);
                        }
                    }
                }
            }
        }
    }
    for (engine, most) in most {
        println!("{:8} {most:.3e}", engine.isa());
    }
}

/// A loss with a cap is as exact as its logits, also one that is close to 0; and none is negative.
#[test]
fn losses_of_capped_rows_are_within_the_derived_bound() {
    let mut most = engines_with_worst::<f64>();
    for len in LENGTHS {
        for (name, x) in named_rows(len) {
            let best = (0..len).fold(0, |best, i| if x[i] > x[best] { i } else { best });
            for (class, cap, smoothing) in [(best, 30.0, 0.0), (len / 2, 0.5, 0.1), (0, 5.0, 0.0)] {
                let mut options = CrossEntropy::default();
                options.label_smoothing = smoothing;
                options.softcap = Some(cap);
                let mut capped = vec![0.0; len];
                reference::softcap(&x, cap, &mut capped);
                let want = reference::cross_entropy(&capped, &coefficients(&options, Some(class), &[], len));
                let bound = MAX_RELATIVE + MAX_OF_CAP * cap;
                for (engine, most) in most.iter_mut().filter(|(engine, _)| suits(*engine, len)) {
                    let (rows, mut out) = (Rows::new(&x, len).unwrap(), [RowLoss::default()]);
                    engine.cross_entropy_with(rows, &[class], &options, &mut out).unwrap();
                    let error = relative_error(out[0].loss, want);
                    let context = format!("{}: {name}, {len}, cap {cap}", engine.isa());
                    assert!(error < bound, "{context}: {} {want}", out[0].loss);
                    assert!(out[0].loss >= 0.0 || want.is_nan(), "{context}");
                    *most = most.max(error / bound);
                }
            }
        }
    }
    for (engine, most) in most {
        println!("{:8} {most:.3} of the bound", engine.isa());
    }
}

/// What is masked is not capped, and a cap that is too large for a float, or too small, is no other cap.
#[test]
fn caps_at_the_edge() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let loss = |x: &[f32], class: usize, cap: f64| {
        let (mut options, mut out) = (CrossEntropy::default(), [RowLoss::default()]);
        options.softcap = Some(cap);
        Engine::new()
            .cross_entropy_with(Rows::new(x, x.len()).unwrap(), &[class], &options, &mut out)
            .unwrap();
        out[0].loss
    };
    assert_eq!(loss(&[7.0, -inf], 0, 3.0), 0.0);
    assert_eq!(loss(&[7.0, -inf], 1, 3.0), f64::INFINITY);
    assert!(loss(&[-inf, -inf], 1, 3.0).is_nan() && loss(&[nan, 1.0], 1, 3.0).is_nan());
    // Of what is not masked nothing is infinite.
    assert_eq!(loss(&[inf, -f32::MAX, -inf], 1, 40.0), 80.0);
    for cap in [1e-300, 1e-40, f64::MIN_POSITIVE] {
        assert!((loss(&[1.0, 2.0, 0.0], 1, cap) - 3_f64.ln()).abs() < 1e-6, "{cap:e}");
    }
    for cap in [1e30, 3e38, 1e300] {
        let plain = -((1.0_f64).exp() / (1.0 + 1_f64.exp())).ln();
        assert!((loss(&[1.0, 2.0], 1, cap) - plain).abs() < 1e-6, "{cap:e}");
    }
}

fn any_logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -20.0_f32..20.0,
        2 => -300.0_f32..300.0,
        1 => Just(f32::NEG_INFINITY),
        1 => prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(1e30_f32)],
    ]
}

proptest! {
    #![proptest_config(random_cases(500))]

    /// A batch of any size gives what its rows give alone, on one thread or several and on every fused instruction set.
    #[test]
    fn a_batch_is_its_rows(
        cols in prop_oneof![1_usize..20, 20_usize..300],
        cells in proptest::collection::vec(any_logit(), 40 * 300),
        smoothing in prop_oneof![2 => Just(0.0), 1 => 0.0..1.0_f64],
        weighted in any::<bool>(),
        softcap in proptest::option::of(0.1..100.0_f64),
        seed in any::<u64>(),
    ) {
        let mut random = Random(seed);
        let rows = 1 + random.below(40);
        let x = &cells[..rows * cols];
        let classes: Vec<i64> =
            (0..rows).map(|_| if random.below(5) == 0 { -100 } else { random.below(cols) as i64 }).collect();
        let weights: Vec<f32> = (0..cols).map(|_| random.uniform(0.0, 2.0)).collect();
        let mut options = CrossEntropy::default();
        options.label_smoothing = smoothing;
        options.weights = weighted.then_some(&weights);
        options.z_loss = if smoothing > 0.5 { 1e-4 } else { 0.0 };
        options.softcap = softcap;
        let bits = |row: &RowLoss| [row.loss.to_bits(), row.weight.to_bits(), row.logsumexp.to_bits()];
        let mut want = None;
        for engine in fused() {
            let mut together = vec![RowLoss::default(); rows];
            let total =
                engine.cross_entropy_with(Rows::new(x, cols).unwrap(), &classes, &options, &mut together).unwrap();
            let mut sum = Loss::default();
            for row in 0..rows {
                let mut alone = [RowLoss { loss: -7.0, ..Default::default() }];
                let x = Rows::new(&x[row * cols..][..cols], cols).unwrap();
                let loss = engine.cross_entropy_with(x, &classes[row..=row], &options, &mut alone).unwrap();
                prop_assert_eq!(bits(&alone[0]), bits(&together[row]), "{} row {}", engine.isa(), row);
                sum = sum.merge(loss);
            }
            prop_assert_eq!(sum.sum.to_bits(), total.sum.to_bits());
            prop_assert_eq!((sum.weight, sum.count), (total.weight, total.count));
            let bits: Vec<_> = together.iter().map(bits).collect();
            prop_assert_eq!(want.get_or_insert_with(|| bits.clone()), &bits, "{}", engine.isa());
        }
    }
}

/// As few classes as lanes, and sixteen rows and more, which are read together: also where one of them is none, or leads.
#[test]
fn few_classes_are_as_exact() {
    for engine in engines() {
        for cols in [2, 5, 10, 16] {
            for spread in [3.0, 30.0, 300.0] {
                let (rows, mut random) = (40, Random(cols as u64));
                let mut x: Vec<f32> = (0..rows * cols).map(|_| random.uniform(-spread, spread)).collect();
                // Some with as many as two largest.
                x.chunks_mut(cols)
                    .step_by(3)
                    .for_each(|x| x[cols - 1] = x[..cols - 1].iter().copied().fold(x[0], f32::max));
                let classes: Vec<i64> = (0..rows).map(|_| random.below(cols) as i64).collect();
                let mut out = vec![RowLoss::default(); rows];
                engine.cross_entropy(Rows::new(&x, cols).unwrap(), &classes, &mut out).unwrap();
                for ((x, &class), got) in x.chunks(cols).zip(&classes).zip(out) {
                    let b: Vec<f64> = (0..cols).map(|c| f64::from(u8::from(c as i64 == class))).collect();
                    let (want, logsumexp) = (reference::cross_entropy(x, &b), reference::logsumexp(x));
                    let bound = 5e-7 * want + 1e-15;
                    assert!((got.loss - want).abs() <= bound, "{}: {x:?} {got:?} {want}", engine.isa());
                    assert!((got.logsumexp - logsumexp).abs() < 4e-7 + 1e-14 * spread, "{got:?} {logsumexp}");
                    assert_eq!(got.weight, 1.0);
                }
            }
        }
    }
}

/// Of a segment that is masked throughout there is no distance, however far the others are from 0.
#[test]
fn a_masked_segment_moves_nothing() {
    let level = -1e30;
    let mut x = vec![f32::NEG_INFINITY; SEGMENT];
    x.extend([level; 5]);
    let mut q = vec![0.0; SEGMENT];
    q.extend([0.2; 5]);
    for engine in engines() {
        let mut out = [RowLoss::default()];
        let rows = |x| Rows::new(x, SEGMENT + 5).unwrap();
        engine.cross_entropy_with(rows(&x), rows(&q), &CrossEntropy::default(), &mut out).unwrap();
        assert!((out[0].loss - 5_f64.ln()).abs() < 1e-6, "{}: {}", engine.isa(), out[0].loss);
    }
}

/// Rows of many segments over threads.
#[test]
fn threads_do_not_show() {
    let (rows, cols) = (3, 300_000);
    let mut random = Random(1);
    let x: Vec<f32> = (0..rows * cols).map(|_| random.uniform(-40.0, 40.0)).collect();
    for softcap in [None, Some(20.0)] {
        let mut options = CrossEntropy::default();
        options.label_smoothing = 0.1;
        options.softcap = softcap;
        let classes = [7_u32, 299_999, 4096];
        let run = |engine: Engine| {
            let mut out = [RowLoss::default(); 3];
            engine.cross_entropy_with(Rows::new(&x, cols).unwrap(), &classes, &options, &mut out).unwrap();
            out
        };
        let want = run(Engine::new().serial());
        for pool in pools(1..=5) {
            let threads = pool.current_num_threads();
            assert_eq!(pool.install(|| run(Engine::new())), want, "{threads} threads, cap {softcap:?}");
        }
    }
}

/// Also where it comes of a target that is none.
#[test]
fn a_loss_that_is_no_number_is_the_one_nan() {
    let x = [1.0, 2.0, f32::NEG_INFINITY];
    for engine in engines() {
        for q in
            [[f32::NAN, 0.5, 0.5], [-0.5, 1.0, 0.5], [f32::INFINITY, -1.0, 0.0], [-1.0, 0.5, f32::INFINITY]]
        {
            let (x, q, mut out) =
                (Rows::new(&x, 3).unwrap(), Rows::new(&q, 3).unwrap(), [RowLoss::default()]);
            let loss = engine.cross_entropy(x, q, &mut out).unwrap();
            for value in [out[0].loss, loss.sum] {
                assert!(!value.is_nan() || value.to_bits() == f64::NAN.to_bits(), "{}", engine.isa());
            }
        }
    }
}

#[test]
fn every_integer_is_a_class() {
    let x = [0.0, 1.0, 2.0, 5.0, 6.0, 7.0];
    let x = Rows::new(&x, 3).unwrap();
    let mut out = [RowLoss::default(); 2];
    let want = Engine::new().cross_entropy(x, &[2_i64, 1], &mut out).unwrap();
    macro_rules! same {
        ($($integer:ty)*) => {
            $(assert_eq!(Engine::new().cross_entropy(x, &[2 as $integer, 1], &mut out).unwrap(), want);)*
        };
    }
    same!(i8 i16 i32 i64 isize u8 u16 u32 u64 usize);
    let one_hot = [0.0, 0.0, 1.0, 0.0, 1.0, 0.0];
    let loss = Engine::new().cross_entropy(x, Rows::new(&one_hot, 3).unwrap(), &mut out).unwrap();
    assert!((loss.sum / want.sum - 1.0).abs() < 1e-6 && loss.count == 2);
}

#[test]
fn nobody_counts_and_means_something() {
    let mut out = [RowLoss { loss: 3.0, weight: 3.0, logsumexp: 3.0 }];
    let loss =
        Engine::new().cross_entropy(Rows::new(&[f32::NAN, 1.0], 2).unwrap(), &[-100], &mut out).unwrap();
    assert_eq!((loss, out[0]), (Loss::default(), RowLoss::default()));
    assert!(loss.mean().is_nan());
    assert_eq!((loss.mean_or(0.0), loss.mean_or(3.5)), (0.0, 3.5));
    assert_eq!(Targets::from(&[0, 1, 1]).rows(), 3);
    let loss = Loss { sum: 6.0, weight: 4.0, count: 3 };
    assert_eq!((loss.mean(), loss.mean_or(3.5), loss.perplexity()), (1.5, 1.5, 1.5_f64.exp()));
}

/// Before anything is written.
#[test]
fn what_is_wrong_is_named() {
    let x = [0.0; 6];
    let x = Rows::new(&x, 3).unwrap();
    let before = RowLoss { loss: -7.0, weight: -7.0, logsumexp: -7.0 };
    let said = |targets: Targets<'_>, options: CrossEntropy<'_>, len: usize| -> String {
        let mut out = vec![before; len];
        let error: Error = Engine::new().cross_entropy_with(x, targets, &options, &mut out).unwrap_err();
        assert!(out.iter().all(|row| *row == before), "something has been written");
        error.to_string()
    };
    let plain = CrossEntropy::default();
    let with = |change: &dyn Fn(&mut CrossEntropy<'static>)| {
        let mut options = CrossEntropy::default();
        change(&mut options);
        options
    };
    let good = Targets::from(&[0, 1]);
    assert_eq!(
        said(Targets::from(&[0, 3]), plain, 2),
        "the target of row 1 is 3, which is none of the 3 classes"
    );
    assert_eq!(
        said(Targets::from(&[-1_i8, 3]), plain, 2),
        "the target of row 0 is -1, which is none of the 3 classes"
    );
    assert_eq!(
        said(Targets::from(&[u64::MAX, 0]), plain, 2),
        "the target of row 0 is 18446744073709551615, which is none of the 3 classes"
    );
    assert_eq!(said(Targets::from(&[0]), plain, 2), "there are 2 rows of logits but 1 targets");
    assert_eq!(
        said(Targets::from(Rows::new(&[0.0; 8], 4).unwrap()), plain, 2),
        "the logits are 2 x 3 (rows x classes) but their target probabilities are 2 x 4"
    );
    assert_eq!(said(good, plain, 1), "the output takes one number for each of 2 rows but holds 1");
    assert_eq!(
        said(good, with(&|o| o.weights = Some(&[1.0])), 2),
        "weights must be one number for each of 3 columns but are 1"
    );
    assert_eq!(
        said(good, with(&|o| o.weights = Some(&[1.0, -2.0, 1.0])), 2),
        "a class weight is -2: it must be 0 or more, and finite"
    );
    assert_eq!(
        said(good, with(&|o| o.label_smoothing = 1.5), 2),
        "the label smoothing is 1.5: it must be from 0 to 1"
    );
    assert_eq!(
        said(good, with(&|o| o.z_loss = f64::NAN), 2),
        "the z-loss is NaN: it must be 0 or more, and finite"
    );
    for (cap, text) in [(0.0, "0"), (-1.0, "-1"), (f64::INFINITY, "inf"), (f64::NAN, "NaN")] {
        assert_eq!(
            said(good, with(&|o| o.softcap = Some(cap)), 2),
            format!("the softcap is {text}: it must be above 0, and finite")
        );
    }
    // -100 is ignored unless one asks for something else.
    assert_eq!(
        said(Targets::from(&[-100, 0]), with(&|o| o.ignore_index = None), 2),
        "the target of row 0 is -100, which is none of the 3 classes"
    );
}
