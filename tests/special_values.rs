//! NaN, infinities, masks, the ends of the temperature, shapes that are wrong: what becomes of them, and of their neighbours.

mod common;

use std::mem::MaybeUninit;

use common::*;
use logits::{Engine, Error, Isa, MaskedRows, Rows, RowsMut, Softmax, reference};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

/// The one NaN that is written.
fn is_canonical_nan(y: &f32) -> bool {
    y.to_bits() == NAN.to_bits()
}

/// Lengths around a vector, a group and a segment.
const AROUND: [usize; 9] = [1, 2, 15, 16, 17, 130, 4095, 4097, 8200];

/// Places in a row worth a special value: all of a short one, some of a long one.
fn places(len: usize) -> impl Iterator<Item = usize> {
    let step = if len <= 130 { 1 } else { 61 * one_of() };
    (0..len).step_by(step).chain([len - 1, len.min(4096) - 1, 4096.min(len - 1)])
}

#[test]
fn a_nan_anywhere_makes_its_row_nan() {
    for engine in engines() {
        for len in AROUND {
            for place in places(len) {
                for others in [0.5, f32::NEG_INFINITY, INF] {
                    let mut x = vec![others; len];
                    // A signalling NaN with a payload and a sign: nothing of it may show.
                    x[place] = f32::from_bits(0xff81_2345);
                    let context = format!("{}: {place} of {len}", engine.isa());
                    for temperature in [1.0, 0.5, 0.0] {
                        let y = softmax(engine, &x, temperature);
                        assert!(y.iter().all(is_canonical_nan), "softmax, {context} at {temperature}");
                        let y = log_softmax(engine, &x, temperature);
                        assert!(y.iter().all(is_canonical_nan), "log-softmax, {context} at {temperature}");
                        let y = entropy(engine, &x, temperature);
                        assert_eq!(y.to_bits(), f64::NAN.to_bits(), "entropy, {context} at {temperature}");
                    }
                    assert!(logsumexp(engine, &x).is_nan(), "logsumexp, {context}");
                }
            }
        }
    }
}

#[test]
fn an_infinity_makes_its_row_nan_and_its_logsumexp_infinite() {
    for engine in engines() {
        for len in AROUND {
            for place in places(len) {
                for others in [-3.0, f32::NEG_INFINITY, INF] {
                    let mut x = vec![others; len];
                    x[place] = INF;
                    for temperature in [1.0, 0.5, 0.0] {
                        assert!(softmax(engine, &x, temperature).iter().all(is_canonical_nan));
                        assert!(log_softmax(engine, &x, temperature).iter().all(is_canonical_nan));
                        assert!(entropy(engine, &x, temperature).is_nan());
                    }
                    assert_eq!(logsumexp(engine, &x), f64::INFINITY, "{}: {place} of {len}", engine.isa());
                }
            }
        }
    }
}

#[test]
fn what_is_masked_gets_nothing() {
    for engine in engines() {
        for len in AROUND.into_iter().filter(|&len| len > 1) {
            for place in places(len) {
                for logit in [0.0, -300.0, 300.0, -1e30, 1e30, f32::MAX, f32::MIN] {
                    let mut x = vec![f32::NEG_INFINITY; len];
                    x[place] = logit;
                    for temperature in [1.0, 0.3, 7.0, 0.0, f64::INFINITY] {
                        let context =
                            format!("{}: {logit} at {place} of {len}, T = {temperature}", engine.isa());
                        let y = softmax(engine, &x, temperature);
                        let certain = if engine.isa().is_fused() { 0.0 } else { f32::EPSILON };
                        assert!((y[place] - 1.0).abs() <= certain, "{context}: {}", y[place]);
                        assert_eq!(y.iter().filter(|&&y| y.to_bits() == 0).count(), len - 1, "{context}");
                        let y = log_softmax(engine, &x, temperature);
                        assert_eq!(y[place].to_bits(), 0, "{context}");
                        assert_eq!(
                            y.iter().filter(|&&y| y == f32::NEG_INFINITY).count(),
                            len - 1,
                            "{context}"
                        );
                    }
                    let lse = logsumexp(engine, &x);
                    assert!(
                        (lse - f64::from(logit)).abs() <= 2.5e-7 + f64::from(logit).abs() * 2_f64.powi(-50)
                    );
                }
            }
        }
    }
}

#[test]
fn rows_of_nothing_but_masks() {
    for engine in engines() {
        for len in AROUND.into_iter().chain([300_000]) {
            let x = vec![f32::NEG_INFINITY; len];
            for temperature in [1.0, 0.5, 0.0, f64::INFINITY] {
                assert!(softmax(engine, &x, temperature).iter().all(is_canonical_nan));
                assert!(log_softmax(engine, &x, temperature).iter().all(is_canonical_nan));
                assert!(entropy(engine, &x, temperature).is_nan());
                let options = Softmax { temperature, masked_rows: MaskedRows::Zeros };
                let rows = Rows::new(&x, len).unwrap();
                let mut y = vec![0.5; len];
                engine.softmax_with(rows, RowsMut::new(&mut y, len).unwrap(), &options).unwrap();
                assert!(y.iter().all(|y| y.to_bits() == 0));
                engine.log_softmax_with(rows, RowsMut::new(&mut y, len).unwrap(), &options).unwrap();
                assert!(y.iter().all(|&y| y == f32::NEG_INFINITY));
            }
            assert_eq!(logsumexp(engine, &x), f64::NEG_INFINITY);
        }
    }
}

/// The answer to masked rows is not that to broken ones, in a batch and at any temperature.
#[test]
fn rows_that_are_broken_are_not_masked() {
    const NONE: f32 = f32::NEG_INFINITY;
    for engine in engines() {
        for len in [2, 17, 5000] {
            // As many narrow rows as are read together, and some.
            let mut x = vec![NONE; 21 * len];
            for three in x.chunks_mut(3 * len) {
                (three[len - 1], three[2 * len - 1]) = (f32::NAN, f32::INFINITY);
            }
            for temperature in [1.0, 0.5, 0.0, f64::INFINITY] {
                let options = Softmax { temperature, masked_rows: MaskedRows::Zeros };
                let mut y = vec![0.5; x.len()];
                let rows = Rows::new(&x, len).unwrap();
                engine.softmax_with(rows, RowsMut::new(&mut y, len).unwrap(), &options).unwrap();
                for y in y.chunks(3 * len) {
                    let (broken, masked) = y.split_at(2 * len);
                    assert!(broken.iter().all(is_canonical_nan), "{}: {temperature}", engine.isa());
                    assert!(masked.iter().all(|y| y.to_bits() == 0), "{}: {temperature}", engine.isa());
                }
                let mut same = x.clone();
                engine.softmax_in_place_with(RowsMut::new(&mut same, len).unwrap(), &options).unwrap();
                assert!(same.iter().zip(&y).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }
}

/// Of a row that is too long for its terms to be kept: what lies far below the others, and what is masked throughout.
#[test]
fn segments_of_every_kind_are_in_a_long_row() {
    let mut random = Random(3);
    let mut x: Vec<f32> = (0..66 * SEGMENT).map(|_| random.uniform(-9.0, 9.0)).collect();
    for (i, segment) in x.chunks_mut(SEGMENT).enumerate() {
        match i % 3 {
            0 => segment[7 + i] = -3000.0,
            1 => segment.fill(f32::NEG_INFINITY),
            _ => {}
        }
    }
    let mut want = vec![0.0; x.len()];
    reference::softmax(&x, 1.0, &mut want);
    for engine in engines().filter(|&engine| suits(engine, x.len())) {
        let found = worst(&softmax(engine, &x, 1.0), &want);
        let most = if engine.isa().is_fused() { 3.0 } else { 4.0 };
        assert!(found.ulp <= most && found.steps <= 2.0, "{}: {found:?}", engine.isa());
    }
}

#[test]
fn a_segment_of_masks_is_nothing() {
    for engine in engines() {
        for max in [-300.0, -200.0, 0.0, 200.0, 3000.0] {
            let row = named_rows(SEGMENT)[0].1.iter().map(|x| x + max).collect::<Vec<f32>>();
            let masks = vec![f32::NEG_INFINITY; SEGMENT];
            for x in [
                [&row[..], &masks].concat(),
                [&masks[..], &row].concat(),
                [&masks[..], &row, &masks].concat(),
            ] {
                assert_eq!(logsumexp(engine, &x).to_bits(), logsumexp(engine, &row).to_bits());
                assert_eq!(entropy(engine, &x, 1.0).to_bits(), entropy(engine, &row, 1.0).to_bits());
                let mut y = softmax(engine, &x, 1.0);
                y.retain(|&y| y > 0.0);
                assert_eq!(y, softmax(engine, &row, 1.0));
                let mut y = log_softmax(engine, &x, 1.0);
                y.retain(|&y| y > f32::NEG_INFINITY);
                assert_eq!(y, log_softmax(engine, &row, 1.0));
            }
        }
    }
}

#[test]
fn bad_rows_leave_the_others_alone() {
    for cols in [3, 16, 100, 5000] {
        let mut random = Random(1);
        let good: Vec<f32> = (0..7 * cols).map(|_| random.uniform(-9.0, 9.0)).collect();
        let mut bad = good.clone();
        bad[cols] = NAN;
        bad[3 * cols + 2] = INF;
        bad[5 * cols..6 * cols].fill(f32::NEG_INFINITY);
        for engine in engines() {
            let run = |x: &[f32]| {
                let mut y = vec![0.0; x.len()];
                let rows = Rows::new(x, cols).unwrap();
                engine.softmax(rows, RowsMut::new(&mut y, cols).unwrap()).unwrap();
                y
            };
            let (want, got) = (run(&good), run(&bad));
            for row in [0, 2, 4, 6] {
                assert_eq!(want[row * cols..][..cols], got[row * cols..][..cols]);
            }
            for row in [1, 3, 5] {
                assert!(got[row * cols..][..cols].iter().all(is_canonical_nan));
            }
        }
    }
}

#[test]
fn the_ends_of_the_temperature() {
    let x = [1.0, 3.0, f32::NEG_INFINITY, 3.0, -0.0, 0.0];
    for engine in engines() {
        for (coldest, first) in [(0.0, true), (-0.0, true), (1e-300, false), (f64::MIN_POSITIVE, false)] {
            let share = if first { [1.0, 0.0] } else { [0.5, 0.5] };
            let y = softmax(engine, &x, coldest);
            assert_eq!(y, [0.0, share[0], 0.0, share[1], 0.0, 0.0], "{} at {coldest}", engine.isa());
            let y = log_softmax(engine, &x, coldest);
            assert_eq!(y.map_exp(), [0.0, share[0], 0.0, share[1], 0.0, 0.0]);
        }
        for hottest in [f64::INFINITY, 1e300] {
            let y = softmax(engine, &x, hottest);
            assert_eq!(y, [0.2, 0.2, 0.0, 0.2, 0.2, 0.2], "{} at {hottest}", engine.isa());
            let y = log_softmax(engine, &[f32::MAX, f32::MIN, f32::NEG_INFINITY], hottest);
            assert_eq!(y, [-std::f32::consts::LN_2, -std::f32::consts::LN_2, f32::NEG_INFINITY]);
        }
        // Below 2^-160 the temperature is 2^-160.
        let coldest = 2_f64.powi(-160);
        assert_eq!(log_softmax(engine, &[0.0, -1e-12], 1e-300), log_softmax(engine, &[0.0, -1e-12], coldest));
        // Differences of the largest floats overflow; their quotients need not.
        let y = log_softmax(engine, &[f32::MAX, f32::MIN], 2.0);
        assert_eq!(y, [0.0, f32::MIN]);
        // The first of the largest, wherever it stands.
        for len in AROUND {
            for place in places(len) {
                let mut x = vec![-1.0; len];
                x[place..].fill(2.0);
                let y = softmax(engine, &x, 0.0);
                assert_eq!(
                    (y.iter().sum::<f32>(), y[place]),
                    (1.0, 1.0),
                    "{}: {place} of {len}",
                    engine.isa()
                );
            }
        }
    }
}

/// Products of halves that are beyond the floats are no error of a quotient that is not.
#[test]
fn quotients_near_the_largest_float_are_floats() {
    for engine in engines() {
        for (x, temperature) in [(-2.06_f32, 6.064_371_338_089_224e-39), (-3.4e38, 1.000_01), (-1.7e38, 0.5)]
        {
            for part in 0..200 {
                let x = [0.0, x * (1.0 - part as f32 * 1e-4)];
                let want = f64::from(x[1]) / temperature;
                let got = log_softmax(engine, &x, temperature)[1];
                let error = logits::reference::ulp_error(got, want);
                let promised = if engine.isa().is_fused() { 7.0 } else { 9.0 };
                assert!(error <= promised, "{}: {x:?} at {temperature}: {got} {want}", engine.isa());
            }
        }
    }
}

trait MapExp {
    fn map_exp(&self) -> Vec<f32>;
}

impl MapExp for Vec<f32> {
    fn map_exp(&self) -> Vec<f32> {
        self.iter().map(|y| y.exp()).collect()
    }
}

#[test]
fn a_row_of_one_is_certain() {
    let mut random = Random(3);
    for engine in fused() {
        for _ in 0..2000 {
            let x = [random.uniform(-300.0, 300.0)];
            assert_eq!(softmax(engine, &x, 1.0), [1.0], "{}: {x:?}", engine.isa());
            assert_eq!(log_softmax(engine, &x, 1.0)[0].to_bits(), 0);
        }
    }
}

#[test]
fn what_is_refused_leaves_the_output_alone() {
    let engine = Engine::new();
    let x = [1.0; 12];
    let rows = Rows::new(&x, 4).unwrap();
    let mut y = [7.0; 12];
    for temperature in [-1.0, f64::NAN, f64::NEG_INFINITY] {
        let out = RowsMut::new(&mut y, 4).unwrap();
        let error = engine.softmax_with(rows, out, &at(temperature)).unwrap_err();
        assert!(matches!(error, Error::Temperature { .. }));
        let out = RowsMut::new(&mut y, 4).unwrap();
        assert!(engine.log_softmax_in_place_with(out, &at(temperature)).is_err());
    }
    let out = RowsMut::new(&mut y, 3).unwrap();
    let error = engine.softmax(rows, out).unwrap_err();
    assert_eq!(error, Error::ShapeMismatch { input: (3, 4), output: (4, 3) });
    assert_eq!(error.to_string(), "the input is 3 x 4 (rows x columns) but the output is 4 x 3");
    let error = engine.logsumexp(rows, &mut [0.0; 2]).unwrap_err();
    assert_eq!(error, Error::LengthMismatch { rows: 3, len: 2 });
    let mut short = [MaybeUninit::new(7.0); 8];
    let error = engine.softmax_uninit(rows, &mut short).unwrap_err();
    assert_eq!(error, Error::ShapeMismatch { input: (3, 4), output: (2, 4) });
    let error = engine.log_softmax_uninit(rows, &mut short[..7]).unwrap_err();
    assert_eq!(error, Error::RaggedRows { len: 7, cols: 4, stride: 4 });
    assert_eq!(y, [7.0; 12]);
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        assert_eq!(engine.with_isa(isa).unwrap_err(), Error::IsaUnavailable { isa });
    }
}

#[test]
fn shapes() {
    let x = [0.0; 12];
    assert_eq!(Rows::new(&x, 0).unwrap_err(), Error::NoColumns { len: 12 });
    assert_eq!(Rows::new(&x, 5).unwrap_err(), Error::RaggedRows { len: 12, cols: 5, stride: 5 });
    assert_eq!(Rows::new(&x, 13).unwrap_err(), Error::RaggedRows { len: 12, cols: 13, stride: 13 });
    assert_eq!(Rows::strided(&x, 5, 4).unwrap_err(), Error::StrideTooShort { stride: 4, cols: 5 });
    assert_eq!(Rows::strided(&x[..11], 3, 4).unwrap().rows(), 3);
    let error = Rows::strided(&x[..10], 3, 4).unwrap_err();
    assert_eq!(error, Error::RaggedRows { len: 10, cols: 3, stride: 4 });
    assert!(error.to_string().ends_with("begin 4 elements apart: the last of them has 2"), "{error}");
    assert_eq!(format!("{:?}", Rows::new(&x, 4).unwrap()), "Rows { rows: 3, cols: 4, stride: 4, .. }");
    // A batch of no rows is a batch.
    let engine = Engine::new();
    for cols in [0, 1, 9] {
        let rows = Rows::new(&x[..0], cols).unwrap();
        assert_eq!(rows.rows(), 0);
        engine.softmax(rows, RowsMut::new(&mut [], cols).unwrap()).unwrap();
        engine.softmax_in_place(RowsMut::new(&mut [], cols).unwrap()).unwrap();
        engine.logsumexp(rows, &mut []).unwrap();
        assert!(engine.log_softmax_uninit(rows, &mut []).unwrap().is_empty());
    }
    logits::softmax(&[], &mut []);
    logits::log_softmax_in_place(&mut []);
    assert_eq!(logits::logsumexp(&[]), f64::NEG_INFINITY);
}

#[test]
#[should_panic = "lengths of input and output"]
fn unequal_lengths_panic() {
    logits::softmax(&[0.0; 3], &mut [0.0; 2]);
}

/// Where all is nearly certain, nothing but the exact form of it is right at all; and masks have no part in it.
#[test]
fn a_small_entropy_is_as_exact_as_any_other() {
    for engine in engines() {
        for lead in [1.0, 20.0, 60.0, 100.0] {
            for others in [1, 15, 200, 5000] {
                let mut x = vec![0.0; others];
                x.insert(others / 2, lead);
                let n = others as f64;
                let rest = n * f64::from(-lead).exp();
                let want = rest.ln_1p() + f64::from(lead) * rest / (1.0 + rest);
                for masks in [0, 1, 4096] {
                    x.extend(vec![f32::NEG_INFINITY; masks]);
                    let got = entropy(engine, &x, 1.0);
                    let context = format!("{}: {lead} before {others}, {masks} masks", engine.isa());
                    assert!((got / want - 1.0).abs() < 1e-6, "{context}: {got:e} for {want:e}");
                }
            }
        }
        // Of several that are first, all count; but at temperature 0 only one of them.
        let ties = [3.0, 1.0, 3.0, f32::NEG_INFINITY, 3.0];
        assert!((entropy(engine, &ties, 1e-3) - 3_f64.ln()).abs() < 1e-6);
        assert_eq!(entropy(engine, &ties, 0.0), 0.0);
        assert!((entropy(engine, &ties, f64::INFINITY) - 4_f64.ln()).abs() < 1e-6);
    }
}

/// As many as there are, and no error that stays behind: what is refused has its reason named and nothing written.
#[test]
fn numbers_of_rows() {
    let (x, engine) = ([0.0; 12], Engine::new());
    let rows = Rows::new(&x, 4).unwrap();
    let mut out = [0.5; 2];
    let refused = logits::Error::LengthMismatch { rows: 3, len: 2 };
    assert_eq!(engine.entropy(rows, &mut out), Err(refused.clone()));
    assert_eq!(engine.perplexity(rows, &mut out), Err(refused));
    let mut out = [0.5; 3];
    let negative = engine.entropy_with(rows, &mut out, &at(-1.0));
    assert_eq!(negative, Err(logits::Error::Temperature { temperature: -1.0 }));
    assert_eq!(out, [0.5; 3]);
    engine.perplexity(rows, &mut out).unwrap();
    assert!(out.iter().all(|y| (y - 4.0).abs() < 1e-5), "{out:?}");
    assert!(logits::entropy(&[]).is_nan());
}
