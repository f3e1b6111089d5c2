//! The numbers of one row: its probabilities at several temperatures, and what is derived from them.

use logits::{Engine, Error, Rows, RowsMut, Softmax};

/// Whether a row is a distribution at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Regular,
    /// There is NaN, first in this column.
    Nan(usize),
    /// There is +inf, first in this column.
    Infinite(usize),
    /// -inf throughout.
    Masked,
}

impl Condition {
    pub fn of(logits: &[f32]) -> Self {
        if let Some(col) = logits.iter().position(|x| x.is_nan()) {
            Self::Nan(col)
        } else if let Some(col) = logits.iter().position(|&x| x == f32::INFINITY) {
            Self::Infinite(col)
        } else if logits.iter().all(|&x| x == f32::NEG_INFINITY) {
            Self::Masked
        } else {
            Self::Regular
        }
    }

    /// What to say instead of numbers.
    pub fn complaint(self) -> Option<String> {
        match self {
            Self::Regular => None,
            Self::Nan(col) => Some(format!("NaN in column {col}: every probability is NaN")),
            Self::Infinite(col) => {
                Some(format!("+inf in column {col}: every probability is NaN, the logsumexp +inf"))
            }
            Self::Masked => Some(
                "-inf throughout, entirely masked: no class has a probability, the logsumexp is -inf".into(),
            ),
        }
    }
}

/// The row as a distribution at one temperature.
pub struct Distribution {
    log_probabilities: Vec<f32>,
    /// Of the logits divided by the temperature; none at T = 0.
    pub logsumexp: Option<f64>,
    /// In nats.
    pub entropy: f64,
    /// The largest probability.
    pub confidence: f64,
}

impl Distribution {
    fn new(engine: &Engine, logits: &[f32], temperature: f64) -> Result<Self, Error> {
        let cols = logits.len();
        let options = Softmax { temperature, ..Softmax::default() };
        let mut log_probabilities = vec![0.0_f32; cols];
        engine.log_softmax_with(
            Rows::new(logits, cols)?,
            RowsMut::new(&mut log_probabilities, cols)?,
            &options,
        )?;

        let best = argmax(logits);
        let highest = f64::from(log_probabilities[best]);
        let logsumexp = if temperature == 1.0 {
            let mut logsumexp = [0.0];
            engine.logsumexp(Rows::new(logits, cols)?, &mut logsumexp)?;
            Some(logsumexp[0])
        } else {
            (temperature > 0.0).then(|| f64::from(logits[best]) / temperature - highest)
        };
        let mut entropy = [0.0];
        engine.entropy_with(Rows::new(logits, cols)?, &mut entropy, &options)?;
        let [entropy] = entropy;
        Ok(Self { log_probabilities, logsumexp, entropy, confidence: highest.exp() })
    }

    pub fn probability(&self, class: usize) -> f64 {
        f64::from(self.log_probabilities[class]).exp()
    }

    /// The probability of all classes but these, added up without cancellation.
    pub fn rest(&self, without: &[usize]) -> f64 {
        let others = (0..self.log_probabilities.len()).filter(|class| !without.contains(class));
        others.map(|class| self.probability(class)).sum()
    }

    pub fn perplexity(&self) -> f64 {
        self.entropy.exp()
    }
}

/// A row at several temperatures.
pub struct RowNumbers {
    pub condition: Condition,
    /// One for each temperature, in order; none unless the row is regular.
    pub distributions: Vec<Distribution>,
}

impl RowNumbers {
    pub fn new(engine: &Engine, logits: &[f32], temperatures: &[f64]) -> Result<Self, Error> {
        let condition = Condition::of(logits);
        let distributions = match condition {
            Condition::Regular => temperatures
                .iter()
                .map(|&temperature| Distribution::new(engine, logits, temperature))
                .collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        Ok(Self { condition, distributions })
    }
}

/// The class with the highest logit, the first of them.
pub fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = class;
        }
    }
    best
}

/// The `count` classes with the highest logits, highest first, ties to the lower class.
pub fn top(logits: &[f32], count: usize) -> Vec<usize> {
    let order = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    let mut classes: Vec<usize> = (0..logits.len()).collect();
    if (1..classes.len()).contains(&count) {
        classes.select_nth_unstable_by(count - 1, order);
    }
    classes.truncate(count);
    classes.sort_unstable_by(order);
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_classes_come_in_order() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0, 2.0];
        assert_eq!(top(&logits, 3), [1, 3, 4]);
        assert!(top(&logits, 0).is_empty());
        assert_eq!(top(&logits, 9), [1, 3, 4, 0, 2]);
        assert_eq!(argmax(&logits), 1);
    }

    #[test]
    fn even_classes_make_a_perplexity_of_their_number() {
        let mut logits = [2.5_f32; 8];
        logits[3] = f32::NEG_INFINITY;
        let numbers = RowNumbers::new(&Engine::new(), &logits, &[0.5, 1.0, 2.0]).unwrap();
        for (distribution, temperature) in numbers.distributions.iter().zip([0.5, 1.0, 2.0]) {
            assert!((distribution.perplexity() - 7.0).abs() < 1e-5);
            assert!((distribution.logsumexp.unwrap() - (2.5 / temperature + 7_f64.ln())).abs() < 1e-6);
            assert!((distribution.confidence - 1.0 / 7.0).abs() < 1e-7);
            assert!((distribution.rest(&[0, 1]) - 5.0 / 7.0).abs() < 1e-6);
        }
    }

    #[test]
    fn entropy_is_that_of_the_definition() {
        let logits: Vec<f32> = (0..500).map(|i| ((i * 37 % 101) as f32).sqrt()).collect();
        for temperature in [0.1, 0.7, 1.0, 3.0] {
            let numbers = RowNumbers::new(&Engine::new(), &logits, &[temperature]).unwrap();
            let want = logits::reference::entropy(&logits, temperature);
            assert!((numbers.distributions[0].entropy / want - 1.0).abs() < 1e-6, "at {temperature}");
        }
    }

    #[test]
    fn conditions_are_told_apart() {
        assert_eq!(Condition::of(&[0.0, f32::NEG_INFINITY]), Condition::Regular);
        assert_eq!(Condition::of(&[f32::INFINITY, f32::NAN]), Condition::Nan(1));
        assert_eq!(Condition::of(&[0.0, f32::INFINITY]), Condition::Infinite(1));
        assert_eq!(Condition::of(&[f32::NEG_INFINITY]), Condition::Masked);
    }
}
