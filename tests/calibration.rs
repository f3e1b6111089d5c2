//! Calibration of a classifier of handwritten digits that is too sure of itself, and of made-up ones.

mod common;

use common::*;
use logits::{Calibration, Engine, Error, Rows, reference};

/// The elements of a file of NumPy's, which is little-endian and in C's order.
fn npy<const BYTES: usize, T>(name: &str, number: fn([u8; BYTES]) -> T) -> Vec<T> {
    let file = std::fs::read(format!("{}/examples/data/{name}.npy", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let header = usize::from(u16::from_le_bytes([file[8], file[9]]));
    file[10 + header..].as_chunks::<BYTES>().0.iter().map(|&bytes| number(bytes)).collect()
}

fn digits(which: &str) -> (Vec<f32>, Vec<i64>) {
    let logits = npy(&format!("digits_{which}_logits"), f32::from_le_bytes);
    (logits, npy(&format!("digits_{which}_labels"), i64::from_le_bytes))
}

fn near(got: f64, want: f64) -> bool {
    (got - want).abs() < 5e-5
}

#[test]
fn the_digits_need_a_temperature_of_two() {
    let ((validation, labels), (test, test_labels)) = (digits("val"), digits("test"));
    for engine in engines() {
        let (x, y) = (Rows::new(&validation, 10).unwrap(), Rows::new(&test, 10).unwrap());
        let temperature = engine.fit_temperature(x, &labels).unwrap();
        assert!((temperature - 2.056).abs() < 5e-4, "{}: {temperature}", engine.isa());
        let before = engine.calibration(x, &labels, 1.0).unwrap();
        let after = engine.calibration(x, &labels, temperature).unwrap();
        assert!(near(before.nll, 0.7120) && near(after.nll, 0.5270), "{before:?} {after:?}");
        let before = engine.calibration(y, &test_labels, 1.0).unwrap();
        let after = engine.calibration(y, &test_labels, temperature).unwrap();
        assert!(near(before.nll, 0.7352) && near(after.nll, 0.5378), "{before:?} {after:?}");
        assert!(near(before.ece, 0.0987) && near(after.ece, 0.0291), "{before:?} {after:?}");
        assert_eq!(before.accuracy, after.accuracy);
    }
}

/// The same, the long way.
fn plainly(x: &[f32], cols: usize, labels: &[i64], temperature: f64) -> Calibration {
    let mut want = Calibration { temperature, ..Calibration::default() };
    for (x, &label) in x.chunks(cols).zip(labels).filter(|(_, label)| **label != -100) {
        let mut p = vec![0.0; cols];
        reference::softmax(x, temperature, &mut p);
        let best = (0..cols).fold(0, |best, i| if x[i] > x[best] { i } else { best });
        let is_right = f64::from(u8::from(best as i64 == label));
        want.count += 1;
        want.nll -= p[label as usize].ln();
        want.accuracy += is_right;
        want.brier += p
            .iter()
            .enumerate()
            .map(|(c, p)| (p - f64::from(u8::from(c as i64 == label))).powi(2))
            .sum::<f64>();
        let bin = &mut want.bins[(p[best] * 15.0).ceil() as usize - 1];
        bin.count += 1;
        bin.confidence += p[best];
        bin.accuracy += is_right;
    }
    let all = want.count as f64;
    (want.nll, want.accuracy, want.brier) = (want.nll / all, want.accuracy / all, want.brier / all);
    for bin in want.bins.iter_mut().filter(|bin| bin.count > 0) {
        (bin.confidence, bin.accuracy) = (bin.confidence / bin.count as f64, bin.accuracy / bin.count as f64);
        let gap = (bin.accuracy - bin.confidence).abs();
        want.ece += gap * bin.count as f64 / all;
        want.mce = want.mce.max(gap);
    }
    want
}

#[test]
fn everything_is_as_defined() {
    for (rows, cols) in [(1, 2), (700, 10), (300, 100), (3, 9000)] {
        let mut random = Random(cols as u64);
        let mut x: Vec<f32> = (0..rows * cols).map(|_| random.normal(2.0)).collect();
        // Segments with shifts of their own, none of which is nothing beside the others.
        for (i, x) in x.iter_mut().enumerate().filter(|_| cols > SEGMENT) {
            *x += [700.0, 702.0, 701.0][i % cols / SEGMENT];
        }
        let labels: Vec<i64> =
            (0..rows).map(|i| if i % 9 == 4 { -100 } else { random.below(cols) as i64 }).collect();
        for temperature in [1.0, 0.6, 2.5] {
            let want = plainly(&x, cols, &labels, temperature);
            for engine in engines() {
                let got = engine.calibration(Rows::new(&x, cols).unwrap(), &labels, temperature).unwrap();
                let pairs = [
                    (got.nll, want.nll),
                    (got.accuracy, want.accuracy),
                    (got.brier, want.brier),
                    (got.ece, want.ece),
                    (got.mce, want.mce),
                ];
                assert!(pairs.iter().all(|(got, want)| (got - want).abs() < 2e-6), "{got:?} {want:?}");
                assert_eq!(got.bins.map(|bin| bin.count), want.bins.map(|bin| bin.count));
                assert_eq!((got.temperature, got.count), (temperature, want.count));
            }
        }
    }
}

/// No temperature beside it has a smaller loss.
#[test]
fn the_temperature_is_the_best() {
    for (sigma, noise) in [(0.5, 1.0), (4.0, 6.0), (40.0, 10.0)] {
        let (rows, cols) = (600, 12);
        let mut random = Random(7);
        let mut x: Vec<f32> = (0..rows * cols).map(|_| random.normal(sigma)).collect();
        let labels: Vec<u8> = (0..rows).map(|_| random.below(cols) as u8).collect();
        for (row, &label) in x.chunks_mut(cols).zip(&labels) {
            row[usize::from(label)] += random.normal(noise).abs();
        }
        let engine = Engine::new();
        let x = Rows::new(&x, cols).unwrap();
        let temperature = engine.fit_temperature(x, &labels).unwrap();
        let loss = |temperature| engine.calibration(x, &labels, temperature).unwrap().nll;
        assert!(loss(temperature) < loss(temperature * 1.01), "{sigma}: {temperature}");
        assert!(loss(temperature) < loss(temperature / 1.01), "{sigma}: {temperature}");
    }
}

/// Also of rows of several segments, which lie apart, and with labels that do not count.
#[test]
fn the_temperature_of_long_rows_is_the_best() {
    let (rows, cols) = (9, 9000);
    let mut random = Random(8);
    let x: Vec<f32> =
        (0..rows * cols).map(|i| random.normal(2.0) + (300 + 2 * (i % cols / SEGMENT)) as f32).collect();
    let best = |row: &[f32]| (0..cols).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    // Some of the first, some anywhere.
    let label = |(i, row)| match i % 3 {
        0 => best(row) as i64,
        1 => 77,
        _ => -100,
    };
    let labels: Vec<i64> = x.chunks(cols).enumerate().map(label).collect();
    for engine in engines() {
        let temperature = engine.fit_temperature(Rows::new(&x, cols).unwrap(), &labels).unwrap();
        let loss = |temperature| plainly(&x, cols, &labels, temperature).nll;
        let least = loss(temperature);
        assert!(
            least < loss(temperature * 1.001) && least < loss(temperature / 1.001),
            "{}: {temperature}",
            engine.isa()
        );
    }
}

#[test]
fn what_has_no_best_temperature() {
    let engine = Engine::new();
    let right = [5.0, 0.0, 0.0, 5.0];
    let rows = Rows::new(&right, 2).unwrap();
    let temperature = engine.fit_temperature(rows, &[0, 1]).unwrap();
    assert!(temperature < 0.1 && engine.calibration(rows, &[0, 1], temperature).unwrap().nll < 1e-30);
    assert!(engine.fit_temperature(rows, &[1, 0]).unwrap() > 999.0);
    let masked = [f32::NEG_INFINITY, 0.0];
    let error = engine.fit_temperature(Rows::new(&masked, 2).unwrap(), &[0]).unwrap_err();
    assert_eq!(error.to_string(), "the mean loss of the labels is inf: it must be finite, to have a minimum");
    let error = engine.fit_temperature(rows, &[-100, -100]).unwrap_err();
    assert!(matches!(error, Error::OutOfRange { .. }));
    let error = engine.calibration(rows, &[0, 2], 1.0).unwrap_err();
    assert_eq!(error.to_string(), "the target of row 1 is 2, which is none of the 2 classes");
    // A row without a distribution does not count, and has no loss.
    let broken = [f32::NAN, 0.0, 0.0, 0.0];
    let found = engine.calibration(Rows::new(&broken, 2).unwrap(), &[0, 1], 1.0).unwrap();
    assert_eq!((found.count, found.accuracy), (1, 0.0));
    let error = engine.fit_temperature(Rows::new(&broken, 2).unwrap(), &[0, 1]).unwrap_err();
    assert_eq!(error.to_string(), "the mean loss of the labels is NaN: it must be finite, to have a minimum");
}
