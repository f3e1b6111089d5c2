//! The filters of samplers, carried out by sorting all of the vocabulary in f64.

use alloc::vec::Vec;

use libm::{exp, log, sqrt};

use super::Sum;

/// Tokens that are left of a row, and their temperature.
#[derive(Debug, Clone)]
pub struct Left {
    /// Ids and logits, the most probable first, and of equal ones the lowest id.
    tokens: Vec<(usize, f32)>,
    temperature: f64,
}

impl Left {
    /// All tokens of a row that are not masked.
    ///
    /// # Panics
    ///
    /// If there is none, or a NaN.
    #[must_use]
    pub fn all(x: &[f32]) -> Self {
        let tokens = x.iter().copied().enumerate().filter(|(_, x)| *x != f32::NEG_INFINITY);
        let mut tokens: Vec<_> = tokens.collect();
        tokens.sort_by(|a, b| b.1.partial_cmp(&a.1).expect("numbers"));
        assert!(!tokens.is_empty(), "nothing is left");
        Self { tokens, temperature: 1.0 }
    }

    /// The ids, in their order.
    #[must_use]
    pub fn ids(&self) -> Vec<usize> {
        let mut ids: Vec<_> = self.tokens.iter().map(|token| token.0).collect();
        ids.sort_unstable();
        ids
    }

    /// The ids, the most probable first, with their probabilities.
    #[must_use]
    pub fn probabilities(&self) -> Vec<(usize, f64)> {
        let mass = self.mass();
        self.tokens.iter().map(|&(id, x)| (id, exp(self.exponent(x)) / mass)).collect()
    }

    fn exponent(&self, x: f32) -> f64 {
        (f64::from(x) - f64::from(self.tokens[0].1)) / self.temperature
    }

    fn mass(&self) -> f64 {
        let mut mass = Sum::default();
        for &(_, x) in &self.tokens {
            mass.add(exp(self.exponent(x)));
        }
        mass.value()
    }

    /// As many of some tokens, by their places in the order, as it takes until those before have some mass.
    fn until(&self, order: &[usize], mass: f64, min_keep: usize) -> usize {
        let (mut before, target) = (Sum::default(), mass * self.mass());
        for (count, &place) in order.iter().enumerate() {
            if count >= min_keep && before.value() >= target {
                return count;
            }
            before.add(exp(self.exponent(self.tokens[place].1)));
        }
        order.len()
    }

    /// `T`; below 1e-5 the first maximum.
    pub fn temperature(&mut self, temperature: f64) {
        if temperature < 1e-5 { self.tokens.truncate(1) } else { self.temperature = temperature }
    }

    /// The `k` largest, and what is as large as the last of them, if ties are kept.
    pub fn top_k(&mut self, k: usize, keep_ties: bool, min_keep: usize) {
        let k = k.max(min_keep);
        if let Some(&(_, last)) = self.tokens.get(k - 1) {
            self.tokens = self
                .tokens
                .iter()
                .copied()
                .enumerate()
                .filter_map(|(place, token)| (place < k || keep_ties && token.1 == last).then_some(token))
                .collect();
        }
    }

    /// The smallest set of the most probable with a part of the mass.
    pub fn top_p(&mut self, p: f64, min_keep: usize) {
        let order: Vec<usize> = (0..self.tokens.len()).collect();
        let kept = self.until(&order, p, min_keep);
        self.tokens.truncate(kept);
    }

    /// Those with at least this part of the largest probability.
    pub fn min_p(&mut self, m: f64, min_keep: usize) {
        self.truncate_below(log(m), min_keep);
    }

    fn truncate_below(&mut self, exponent: f64, min_keep: usize) {
        let kept = self.tokens.iter().filter(|token| self.exponent(token.1) >= exponent).count();
        self.tokens.truncate(kept.max(min_keep));
    }

    /// The smallest set of the most typical with a part of the mass.
    pub fn typical(&mut self, mass: f64, min_keep: usize) {
        let (mut weighted, all) = (Sum::default(), self.mass());
        for &(_, x) in &self.tokens {
            let z = self.exponent(x);
            if exp(z) > 0.0 {
                weighted.add(exp(z) * z);
            }
        }
        let mean = weighted.value() / all;
        // |-log p - H|, where both contain the logarithm of the mass.
        let key = |place: usize| (self.exponent(self.tokens[place].1) - mean).abs();
        let mut order: Vec<usize> = (0..self.tokens.len()).collect();
        order.sort_by(|&a, &b| {
            key(a).partial_cmp(&key(b)).expect("numbers").then(self.tokens[a].0.cmp(&self.tokens[b].0))
        });
        order.truncate(self.until(&order, mass, min_keep));
        order.sort_unstable();
        self.tokens = order.into_iter().map(|place| self.tokens[place]).collect();
    }

    /// Those within `n` standard deviations of the largest.
    pub fn top_n_sigma(&mut self, n: f64, min_keep: usize) {
        let count = self.tokens.len() as f64;
        let mean = |of: &dyn Fn(f64) -> f64| {
            let mut sum = Sum::default();
            self.tokens.iter().for_each(|token| sum.add(of(f64::from(token.1))));
            sum.value() / count
        };
        let center = mean(&|x| x);
        let sigma = sqrt(mean(&|x| (x - center) * (x - center)));
        let least = f64::from(self.tokens[0].1) - n * sigma;
        let kept = self.tokens.iter().filter(|token| f64::from(token.1) >= least).count();
        self.tokens.truncate(kept.max(min_keep));
    }

    /// Without the most probable, of those with at least this probability all but the last.
    pub fn xtc(&mut self, threshold: f64, min_keep: usize) {
        let least = log(threshold) + log(self.mass());
        let choices = self.tokens.iter().filter(|token| self.exponent(token.1) >= least).count();
        if choices > 1 && self.tokens.len() - (choices - 1) >= min_keep {
            self.tokens.drain(..choices - 1);
        }
    }

    /// Those with a surprise of at most `mu` bits.
    pub fn mirostat(&mut self, mu: f64, min_keep: usize) {
        self.truncate_below(log(self.mass()) - mu * core::f64::consts::LN_2, min_keep);
    }
}
