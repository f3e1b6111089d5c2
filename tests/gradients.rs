//! Gradients against PyTorch's table, against finite differences of the definition, and in all forms.

mod common;
mod tables;

use common::*;
use logits::{CrossEntropy, Engine, Reduction, Rows, RowsMut, Targets, reference};
use tables::{cross_entropies, numbers};

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn pytorch_says_the_same_of_cross_entropy() {
    for case in cross_entropies() {
        for engine in engines() {
            for (reduction, want) in [
                (Reduction::Sum, &case.value["gradient_sum"]),
                (Reduction::Mean, &case.value["gradient_mean"]),
            ] {
                let mut got = vec![-7.0; case.logits.len()];
                let out = RowsMut::new(&mut got, case.cols).unwrap();
                engine
                    .cross_entropy_gradient(case.rows(), case.targets(), &case.options(), reduction, out)
                    .unwrap();
                let mut in_place = case.logits.clone();
                let place = RowsMut::new(&mut in_place, case.cols).unwrap();
                engine
                    .cross_entropy_gradient_in_place(place, case.targets(), &case.options(), reduction)
                    .unwrap();
                assert_eq!(bits(&got), bits(&in_place), "{}: in place", case.name);
                let want = numbers(want);
                // Of an ignored row without a distribution PyTorch's gradient is NaN, and 0 here.
                let ignored = case.name.contains("ignored row masked");
                for (i, (&got, want)) in got.iter().zip(want).enumerate() {
                    if want.is_nan() && ignored {
                        assert_eq!(got, 0.0, "{}", case.name);
                        continue;
                    }
                    let error = (f64::from(got) - want).abs();
                    // Some parts that cancel, and the error of capped logits.
                    let scale = want.abs().max(1.0) + 0.2 * case.options().softcap.unwrap_or(0.0);
                    assert!(
                        error <= 1e-6 * scale || want.is_nan() && got.is_nan(),
                        "{}, {}, {reduction:?}: element {i} is {got} and not {want}",
                        engine.isa(),
                        case.name
                    );
                }
            }
        }
    }
}

/// Every option against the differences of the definition in f64, in rows of several segments as well.
#[test]
fn differences_of_the_definition_are_the_gradient() {
    for engine in best_and_portable() {
        for cols in [1, 2, 17, 64, 300, 4097] {
            let mut random = Random(cols as u64);
            let x: Vec<f32> = (0..cols).map(|_| random.uniform(-3.0, 3.0)).collect();
            let q: Vec<f32> = (0..cols).map(|_| random.unit() as f32 / cols as f32).collect();
            let weights: Vec<f32> = (0..cols).map(|_| random.uniform(0.0, 2.0)).collect();
            for form in 0..32 {
                let mut options = CrossEntropy::default();
                options.label_smoothing = if form & 1 != 0 { 0.2 } else { 0.0 };
                options.weights = (form & 2 != 0).then_some(&weights);
                options.z_loss = if form & 4 != 0 { 0.01 } else { 0.0 };
                options.softcap = (form & 16 != 0).then_some(4.0);
                let class = cols * 2 / 3;
                let (rows, mut got) = (Rows::new(&x, cols).unwrap(), vec![0.0; cols]);
                let out = RowsMut::new(&mut got, cols).unwrap();
                let b: Vec<f64> = (0..cols)
                    .map(|c| {
                        let target =
                            if form & 8 != 0 { f64::from(q[c]) } else { f64::from(u8::from(c == class)) };
                        let spread = options.label_smoothing / cols as f64;
                        options.weights.map_or(1.0, |weights| f64::from(weights[c]))
                            * ((1.0 - options.label_smoothing) * target + spread)
                    })
                    .collect();
                if form & 8 != 0 {
                    let targets = Rows::new(&q, cols).unwrap();
                    engine.cross_entropy_gradient(rows, targets, &options, Reduction::Sum, out).unwrap();
                } else {
                    let targets = [class];
                    engine.cross_entropy_gradient(rows, &targets, &options, Reduction::Sum, out).unwrap();
                }
                let loss = |i: usize, by: f32| {
                    let mut moved = x.clone();
                    moved[i] += by;
                    let mut y: Vec<f64> = moved.iter().copied().map(f64::from).collect();
                    if let Some(cap) = options.softcap {
                        reference::softcap(&moved, cap, &mut y);
                    }
                    let lse = reference::logsumexp(&y);
                    (reference::cross_entropy(&y, &b) + options.z_loss * lse * lse, f64::from(moved[i]))
                };
                for i in [0, cols / 2, class, cols - 1] {
                    let ((above, to), (below, from)) = (loss(i, 1e-2), loss(i, -1e-2));
                    let slope = (above - below) / (to - from);
                    assert!(
                        (f64::from(got[i]) - slope).abs() < 2e-5,
                        "{cols} columns, {form}: {} {slope}",
                        got[i]
                    );
                }
                if options.softcap.is_some() {
                    continue;
                }
                // The parts of a row sum up to what the square adds.
                let (sum, from_square) = (
                    got.iter().map(|&g| f64::from(g)).sum::<f64>(),
                    2.0 * options.z_loss * reference::logsumexp(&x),
                );
                assert!((sum - from_square).abs() < 2e-6, "{cols} columns, {form}: {sum} {from_square}");
            }
        }
    }
}

/// What is nearly certain has a gradient that is nearly 0, and not what rounding leaves of 1 - 1.
#[test]
fn a_small_gradient_at_the_target_is_exact() {
    for engine in engines() {
        let x = [0.0, 30.0, -1.0, -2.0];
        let mut got = [0.0; 4];
        let out = RowsMut::new(&mut got, 4).unwrap();
        let options = CrossEntropy::default();
        engine
            .cross_entropy_gradient(Rows::new(&x, 4).unwrap(), &[1], &options, Reduction::Mean, out)
            .unwrap();
        let others: f64 = [-30.0_f64, -31.0, -32.0].iter().map(|x| x.exp()).sum();
        assert!((f64::from(got[1]) / -(others / (1.0 + others)) - 1.0).abs() < 1e-6, "{}", engine.isa());
    }
}

/// So is one of a logit far beyond the cap, where `1 - tanh^2` would be what rounding leaves.
#[test]
fn a_small_gradient_beyond_the_cap_is_exact() {
    let cap = 3.0;
    let mut options = CrossEntropy::default();
    options.softcap = Some(cap);
    for engine in engines() {
        for x in [0.0, 1e-20, 0.1, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 100.0, f32::MAX, f32::INFINITY] {
            for x in [x, -x] {
                let (logits, mut got) = ([x, 1.0, f32::NEG_INFINITY], [7.0; 3]);
                let out = RowsMut::new(&mut got, 3).unwrap();
                let rows = Rows::new(&logits, 3).unwrap();
                engine.cross_entropy_gradient(rows, &[0], &options, Reduction::Sum, out).unwrap();
                if x == f32::NEG_INFINITY {
                    assert_eq!(got[0], 0.0);
                    continue;
                }
                let a = f64::from(x) / cap;
                let slope = slope_at(a);
                let [y, other] = [a, 1.0 / cap].map(|a| cap * a.tanh());
                let want = -slope / (1.0 + (y - other).exp());
                // Twice the rounding of `2 a`, and of the logits.
                let bound = 2e-6 + 3e-7 * a.abs().min(40.0) + 5e-7 * cap;
                let error = (f64::from(got[0]) - want).abs();
                let isa = engine.isa();
                assert!(error <= bound * want.abs() + 1e-34, "{isa}: {x}: {} {want}", got[0]);
                assert_eq!(got[2], 0.0, "{isa}: {x}");
            }
        }
    }
}

/// `1 - tanh(a)^2`.
fn slope_at(a: f64) -> f64 {
    let q = 2.0 / ((2.0 * a.abs()).exp() + 1.0);
    q * (2.0 - q)
}

/// Rows of all lengths, with a row that is bad: both gradients within their bounds, in place and not, strided and not.
#[test]
fn softmax_and_log_softmax_go_back() {
    for engine in engines() {
        for cols in [1, 5, 16, 17, 64, 129, 1000, 4097, 9000] {
            const ROWS: usize = 5;
            let mut random = Random(cols as u64);
            let x: Vec<f32> = (0..ROWS * cols).map(|_| random.uniform(-9.0, 9.0)).collect();
            let mut g: Vec<f32> = (0..ROWS * cols).map(|_| random.uniform(-1.0, 1.0)).collect();
            g[2 * cols] = f32::NAN;
            for log in [false, true] {
                let y: Vec<f32> = x
                    .chunks(cols)
                    .flat_map(|x| if log { log_softmax(engine, x, 1.0) } else { softmax(engine, x, 1.0) })
                    .collect();
                let output = Rows::new(&y, cols).unwrap();
                let mut got = vec![-7.0; ROWS * (cols + 3)];
                let out = RowsMut::strided(&mut got, cols, cols + 3).unwrap();
                let gradient = Rows::new(&g, cols).unwrap();
                let mut in_place = g.clone();
                let place = RowsMut::new(&mut in_place, cols).unwrap();
                if log {
                    engine.log_softmax_backward(output, gradient, out).unwrap();
                    engine.log_softmax_backward_in_place(output, place).unwrap();
                } else {
                    engine.softmax_backward(output, gradient, out).unwrap();
                    engine.softmax_backward_in_place(output, place).unwrap();
                }
                for row in 0..ROWS {
                    let (from, got) = (row * cols, &got[row * (cols + 3)..][..cols]);
                    let (y, g) = (&y[from..from + cols], &g[from..from + cols]);
                    assert_eq!(bits(got), bits(&in_place[from..from + cols]), "{cols} columns, row {row}");
                    if row == 2 {
                        assert!(got.iter().all(|x| x.is_nan()));
                        continue;
                    }
                    let mut want = vec![0.0; cols];
                    let sum: f64 = if log {
                        reference::log_softmax_backward(y, g, &mut want);
                        g.iter().map(|&g| f64::from(g)).sum()
                    } else {
                        reference::softmax_backward(y, g, &mut want);
                        y.iter().zip(g).map(|(&p, &g)| f64::from(p) * f64::from(g)).sum()
                    };
                    const U: f64 = 1.0 / (1 << 24) as f64;
                    for i in 0..cols {
                        let bound = if log {
                            3.0 * U * f64::from(y[i]).exp() * sum.abs() + U * want[i].abs()
                        } else {
                            let (p, g) = (f64::from(y[i]), f64::from(g[i]));
                            3.0 * U * p.abs() * ((g - sum).abs() + U * sum.abs())
                        };
                        // Where results are subnormal they come in steps.
                        let error = (f64::from(got[i]) - want[i]).abs();
                        assert!(
                            error <= bound + 2_f64.powi(-149),
                            "{}: {cols} columns, log {log}: {} {} {bound:e}",
                            engine.isa(),
                            got[i],
                            want[i]
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn what_has_no_probability_has_no_gradient() {
    let (p, g, mut out) = ([0.0, 1.0], [f32::INFINITY, 2.0], [7.0; 2]);
    let rows = |x| Rows::new(x, 2).unwrap();
    Engine::new().softmax_backward(rows(&p), rows(&g), RowsMut::new(&mut out, 2).unwrap()).unwrap();
    assert_eq!(out, [0.0, 0.0]);
    let y = [f32::NEG_INFINITY, 0.0];
    let g = [0.5, 2.0];
    Engine::new().log_softmax_backward(rows(&y), rows(&g), RowsMut::new(&mut out, 2).unwrap()).unwrap();
    assert_eq!(out, [0.5, -0.5]);
}

/// Also where it comes of operands that are NaN themselves, or of infinities.
#[test]
fn a_gradient_that_is_no_number_is_the_one_nan() {
    let (inf, nan) = (f32::INFINITY, f32::from_bits(0xffc0_1234));
    for engine in engines() {
        for g in [[nan, 1.0, 2.0], [inf, 1.0, -inf], [inf, -1.0, inf], [-inf, nan, 0.0]] {
            let (p, y, mut got) = ([0.5, 0.25, 0.25], [-1.0, -2.0, nan], [7.0; 3]);
            let rows = |x| Rows::new(x, 3).unwrap();
            let is_one = |got: &[f32]| got.iter().all(|y| !y.is_nan() || y.to_bits() == f32::NAN.to_bits());
            engine.softmax_backward(rows(&p), rows(&g), RowsMut::new(&mut got, 3).unwrap()).unwrap();
            assert!(got.iter().any(|y| y.is_nan()) && is_one(&got), "{}: {got:?} of {g:?}", engine.isa());
            engine.log_softmax_backward(rows(&y), rows(&g), RowsMut::new(&mut got, 3).unwrap()).unwrap();
            assert!(got.iter().any(|y| y.is_nan()) && is_one(&got), "{}: {got:?} of {g:?}", engine.isa());
            let options = CrossEntropy::default();
            let out = RowsMut::new(&mut got, 3).unwrap();
            engine.cross_entropy_gradient(rows(&g), &[1], &options, Reduction::Sum, out).unwrap();
            assert!(got.iter().all(|y| y.is_nan()) && is_one(&got), "{}: {got:?} of {g:?}", engine.isa());
        }
    }
}

/// Of a target that is smoothed away not even what is no float counts.
#[test]
fn what_does_not_count_may_be_any_size() {
    let (x, q, weights) = ([1.0, 2.0, 0.5], [3e38, 0.5, 0.25], [2.0, 1.0, 1.0]);
    let mut options = CrossEntropy::default();
    options.label_smoothing = 1.0;
    options.weights = Some(&weights);
    let gradient = |engine: Engine, q: &[f32; 3]| {
        let (mut got, targets) = ([7.0; 3], Targets::from(Rows::new(q, 3).unwrap()));
        let out = RowsMut::new(&mut got, 3).unwrap();
        let x = Rows::new(&x, 3).unwrap();
        engine.cross_entropy_gradient(x, targets, &options, Reduction::Sum, out).unwrap();
        got
    };
    for engine in engines() {
        assert_eq!(gradient(engine, &q), gradient(engine, &[0.3, 0.3, 0.4]), "{}", engine.isa());
    }
}

/// What is within the floats at the end is within them on the way.
#[test]
fn large_gradients_are_as_exact_as_small_ones() {
    let (y, mut got) = ([f32::MIN, -0.5, 0.0], [7.0; 3]);
    for engine in engines() {
        for size in [1.0, 1e18, 1e19, 2e22, 1e37] {
            let g = [2.0 * size, -size, 0.5 * size];
            let rows = |x| Rows::new(x, 3).unwrap();
            engine.log_softmax_backward(rows(&y), rows(&g), RowsMut::new(&mut got, 3).unwrap()).unwrap();
            let mut want = [0.0; 3];
            reference::log_softmax_backward(&y, &g, &mut want);
            for (got, want) in got.iter().zip(want) {
                let error = (f64::from(*got) - want).abs();
                assert!(error < 1e-6 * f64::from(size), "{}, {size:e}: {got} {want}", engine.isa());
            }
        }
    }
}

/// Down to the least of all floats.
#[test]
fn small_probabilities_have_gradients() {
    let (y, g) = ([-87.0, -88.5, -95.0, -102.0, -0.1], [0.0, 0.0, 0.0, 0.0, 1000.0]);
    for engine in engines() {
        let (mut got, mut want) = ([7.0; 5], [0.0; 5]);
        let rows = |x| Rows::new(x, 5).unwrap();
        engine.log_softmax_backward(rows(&y), rows(&g), RowsMut::new(&mut got, 5).unwrap()).unwrap();
        reference::log_softmax_backward(&y, &g, &mut want);
        for (got, want) in got.iter().zip(want) {
            let error = (f64::from(*got) - want).abs();
            assert!(error <= 2e-7 * want.abs() + 2_f64.powi(-149), "{}: {got:e} {want:e}", engine.isa());
        }
    }
}

#[test]
fn shapes_that_differ_are_named() {
    let (p, g, mut out) = ([0.0; 6], [0.0; 8], [7.0; 8]);
    let error = Engine::new()
        .softmax_backward(
            Rows::new(&p, 3).unwrap(),
            Rows::new(&g, 4).unwrap(),
            RowsMut::new(&mut out, 4).unwrap(),
        )
        .unwrap_err();
    assert_eq!(error.to_string(), "probabilities are 2 x 3 (rows x columns) but their gradients are 2 x 4");
    assert_eq!(out, [7.0; 8]);
}

/// Threads, instruction sets and streaming do not show.
#[test]
fn gradients_have_the_same_bits_everywhere() {
    for (rows, cols) in [(70, 9), (70, 700), (3, 150_000)] {
        let mut random = Random(rows as u64);
        let x: Vec<f32> = (0..rows * cols).map(|_| random.uniform(-30.0, 40.0)).collect();
        let g: Vec<f32> = (0..rows * cols).map(|_| random.uniform(-1.0, 1.0)).collect();
        let classes: Vec<usize> = (0..rows).map(|_| random.below(cols)).collect();
        let mut options = CrossEntropy::default();
        options.label_smoothing = 0.1;
        let mut capped = options;
        capped.softcap = Some(20.0);
        let run = |engine: Engine| {
            let (x, g) = (Rows::new(&x, cols).unwrap(), Rows::new(&g, cols).unwrap());
            let mut out = vec![vec![0.0; rows * cols]; 4];
            let [a, b, c, d] = &mut out[..] else { unreachable!() };
            for (options, out) in [(&options, a), (&capped, d)] {
                let out = RowsMut::new(out, cols).unwrap();
                engine.cross_entropy_gradient(x, &classes, options, Reduction::Mean, out).unwrap();
            }
            engine.softmax_backward(x, g, RowsMut::new(b, cols).unwrap()).unwrap();
            engine.log_softmax_backward(x, g, RowsMut::new(c, cols).unwrap()).unwrap();
            out.iter().map(|y| bits(y)).collect::<Vec<_>>()
        };
        let want = run(Engine::new().serial());
        // The best instruction set here need not be fused.
        let want_fused = fused().next().map(&run);
        for engine in fused() {
            assert_eq!(Some(run(engine)), want_fused, "{}", engine.isa());
            assert_eq!(Some(run(engine.stream_from(0))), want_fused, "{}, streamed", engine.isa());
        }
        for pool in pools(1..=4) {
            let threads = pool.current_num_threads();
            assert!(pool.install(|| run(Engine::new())) == want, "{threads} threads");
        }
    }
}

/// A mean by weights that are no normal floats is one by their quotients.
#[test]
fn weights_of_a_mean_may_be_any_size() {
    let (x, q) = ([1.0, 2.0, 0.5], [0.5, 0.25, 0.25]);
    for engine in engines() {
        let gradient = |targets: Targets<'_>, size: f32| {
            let (mut got, weights) = ([7.0; 3], [size, 2.0 * size, 4.0 * size]);
            let mut options = CrossEntropy::default();
            options.label_smoothing = 0.25;
            options.weights = Some(&weights);
            let out = RowsMut::new(&mut got, 3).unwrap();
            let x = Rows::new(&x, 3).unwrap();
            engine.cross_entropy_gradient(x, targets, &options, Reduction::Mean, out).unwrap();
            got
        };
        let classes = |size| gradient(Targets::from(&[1]), size);
        let probabilities = |size| gradient(Targets::from(Rows::new(&q, 3).unwrap()), size);
        for size in [2_f32.powi(-144), 2_f32.powi(100)] {
            assert_eq!(classes(size), classes(1.0), "{}, {size:e}", engine.isa());
        }
        // There each row counts as 1.
        assert!(probabilities(2_f32.powi(-144)).iter().all(|y| y.is_finite()), "{}", engine.isa());
    }
}
