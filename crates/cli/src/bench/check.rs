//! Every kernel against the f64 definition, before anything is timed.

use anyhow::Result;
use logits::{Engine, Error, Isa, Rows, RowsMut, reference};
use serde::Serialize;
use timing::{Operation, uniform};

/// Around vectors, groups of vectors, and the segments that long rows are cut into.
fn lengths() -> impl Iterator<Item = usize> {
    (1..=70).chain(4095..=4097)
}

/// How an error is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Units in the last place of the exact result.
    Ulp,
    Absolute,
}

/// The worst that one kernel did.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Checked {
    pub isa: &'static str,
    pub operation: Operation,
    pub worst_error: f64,
    pub promised_error: f64,
    pub unit: Unit,
}

impl Checked {
    pub fn holds(&self) -> bool {
        self.worst_error <= self.promised_error // NaN does not
    }
}

/// What the library promises for these rows. Without fused multiply-add it promises half of it.
fn promise(operation: Operation, isa: Isa) -> (f64, Unit) {
    let (error, unit) = match operation {
        Operation::Softmax | Operation::LogSoftmax => (3.0, Unit::Ulp),
        Operation::Logsumexp => (4e-7, Unit::Absolute),
    };
    (if isa.is_fused() { error } else { 2.0 * error }, unit)
}

/// Rows of one length, and what is to come out of them.
struct Case {
    cols: usize,
    logits: Vec<f32>,
    softmax: Vec<f64>,
    log_softmax: Vec<f64>,
    logsumexp: Vec<f64>,
}

impl Case {
    /// Uniform; one class 60 ahead; offset by 3000; every third class masked.
    fn new(cols: usize) -> Self {
        let mut logits: Vec<f32> = uniform(cols as u64).take(4 * cols).collect();
        logits[cols + cols / 2] = 70.0;
        logits[2 * cols..3 * cols].iter_mut().for_each(|x| *x += 3000.0);
        let masked = logits[3 * cols..].iter_mut().enumerate().filter(|(class, _)| class % 3 == 1);
        masked.for_each(|(_, x)| *x = f32::NEG_INFINITY);

        let (mut softmax, mut log_softmax) = (vec![0.0; 4 * cols], vec![0.0; 4 * cols]);
        for (row, logits) in logits.chunks_exact(cols).enumerate() {
            let columns = row * cols..(row + 1) * cols;
            reference::softmax(logits, 1.0, &mut softmax[columns.clone()]);
            reference::log_softmax(logits, 1.0, &mut log_softmax[columns]);
        }
        let logsumexp = logits.chunks_exact(cols).map(reference::logsumexp).collect();
        Self { cols, logits, softmax, log_softmax, logsumexp }
    }

    fn worst_error(&self, engine: &Engine, operation: Operation) -> Result<f64, Error> {
        let input = Rows::new(&self.logits, self.cols)?;
        let mut out = vec![0.0_f32; self.logits.len()];
        let output = RowsMut::new(&mut out, self.cols)?;
        Ok(match operation {
            Operation::Softmax => {
                engine.softmax(input, output)?;
                worst(&out, &self.softmax, softmax_error)
            }
            Operation::LogSoftmax => {
                engine.log_softmax(input, output)?;
                worst(&out, &self.log_softmax, log_softmax_error)
            }
            Operation::Logsumexp => {
                let mut sums = vec![0.0; self.logsumexp.len()];
                engine.logsumexp(input, &mut sums)?;
                worst(&sums, &self.logsumexp, logsumexp_error)
            }
        })
    }
}

/// The largest error, NaN if there is one.
fn worst<T: Copy>(got: &[T], want: &[f64], error: impl Fn(T, f64) -> f64) -> f64 {
    let errors = got.iter().zip(want).map(|(&got, &want)| error(got, want));
    errors.fold(0.0, |worst, error| if error > worst || error.is_nan() { error } else { worst })
}

/// In ULP. Of subnormal results two steps are allowed whatever the promise, and no more.
fn softmax_error(got: f32, want: f64) -> f64 {
    let error = reference::ulp_error(got, want);
    match want < f64::from(f32::MIN_POSITIVE) {
        true if error <= 2.0 => 0.0,
        true => f64::INFINITY,
        false => error,
    }
}

/// In ULP, of what is more than 2^-126 off. A masked class is -inf, and nothing near it.
fn log_softmax_error(got: f32, want: f64) -> f64 {
    let got_exactly = f64::from(got);
    if got_exactly == want || (got_exactly - want).abs() <= f64::from(f32::MIN_POSITIVE) {
        0.0
    } else if want.is_infinite() {
        f64::INFINITY
    } else {
        reference::ulp_error(got, want)
    }
}

/// Absolute, of what is more than 2^-50 of the result off.
fn logsumexp_error(got: f64, want: f64) -> f64 {
    ((got - want).abs() - 2_f64.powi(-50) * want.abs()).max(0.0)
}

/// The worst error of each operation on each instruction set.
pub fn run(isas: &[Isa]) -> Result<Vec<Checked>> {
    let cases: Vec<Case> = lengths().map(Case::new).collect();
    let mut checked = Vec::new();
    for &isa in isas {
        let engine = Engine::new().with_isa(isa)?.serial();
        for operation in Operation::ALL {
            let mut worst_error = 0.0_f64;
            for case in &cases {
                let error = case.worst_error(&engine, operation)?;
                if error > worst_error || error.is_nan() {
                    worst_error = error;
                }
            }
            let (promised_error, unit) = promise(operation, isa);
            checked.push(Checked { isa: isa.name(), operation, worst_error, promised_error, unit });
        }
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_results_are_caught() {
        assert_eq!(softmax_error(0.5, 0.5), 0.0);
        assert!(softmax_error(0.5, 0.500_001) > 3.0);
        assert!(softmax_error(f32::from_bits(3), 0.0) > 3.0, "a masked class has no probability");
        assert_eq!(softmax_error(f32::from_bits(1), 0.0), 0.0);
        assert!(log_softmax_error(-1e30, f64::NEG_INFINITY) > 3.0);
        assert_eq!(log_softmax_error(f32::NEG_INFINITY, f64::NEG_INFINITY), 0.0);
        assert_eq!(log_softmax_error(0.0, -1e-40), 0.0);
        assert!(log_softmax_error(-2.0, -2.000_01) > 3.0);
        assert!(logsumexp_error(1.0, 1.000_001) > 4e-7);
        for checked in [f64::NAN, f64::INFINITY, 3.1] {
            let checked = Checked {
                isa: "scalar",
                operation: Operation::Softmax,
                worst_error: checked,
                promised_error: 3.0,
                unit: Unit::Ulp,
            };
            assert!(!checked.holds());
        }
        let not_a_number = worst(&[0.5, f32::NAN, 0.5], &[0.5; 3], softmax_error);
        assert!(not_a_number.is_nan() || not_a_number > 3.0);
        assert!(worst(&[0.5, f64::NAN, 0.5], &[0.5; 3], |got, want| got - want).is_nan());
    }

    #[test]
    fn a_case_holds_four_kinds_of_rows() {
        let case = Case::new(5);
        assert!((case.softmax[5 + 2] - 1.0).abs() < 1e-9);
        assert!(case.logsumexp[2] > 2990.0);
        assert_eq!((case.softmax[16], case.log_softmax[16]), (0.0, f64::NEG_INFINITY));
    }
}
