//! Means, and how far they may be from those of all that could have been drawn.

use crate::text;

/// `sum / weight` of numbers that come one by one, and its standard error.
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate {
    count: usize,
    sum: f64,
    weight: f64,
    /// Deviations `d` are taken from this much for each weight `w`, so that little cancels: the first quotient.
    centre: f64,
    /// The sums of `d`, of `d^2`, of `d w`, and of `w^2`.
    deviations: f64,
    squares: f64,
    products: f64,
    weights: f64,
}

impl Estimate {
    /// A number that has its weight in it already.
    pub fn add(&mut self, number: f64, weight: f64) {
        if self.count == 0 && weight > 0.0 {
            self.centre = number / weight;
        }
        let deviation = number - self.centre * weight;
        self.count += 1;
        self.sum += number;
        self.weight += weight;
        self.deviations += deviation;
        self.squares += deviation * deviation;
        self.products += deviation * weight;
        self.weights += weight * weight;
    }

    pub fn mean(&self) -> f64 {
        self.sum / self.weight
    }

    /// Of the mean, as that of a quotient of sums; NaN for fewer than two numbers.
    pub fn standard_error(&self) -> f64 {
        let shift = self.deviations / self.weight;
        let squares = self.squares - 2.0 * shift * self.products + shift * shift * self.weights;
        let count = self.count as f64;
        (squares.clamp(0.0, f64::INFINITY) * count / (count - 1.0)).sqrt() / self.weight
    }
}

/// A number and its standard error, each `width` wide; only the number where there is no error.
pub fn with_error(number: f64, error: f64, width: usize) -> String {
    let aligned = |number| text::right(&text::decimals(number, 6), width);
    if error.is_finite() { format!("{} ± {}", aligned(number), aligned(error)) } else { aligned(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_the_mean() {
        let mut estimate = Estimate::default();
        [1e6 + 1.0, 1e6 + 2.0, 1e6 + 3.0, 1e6 + 6.0].into_iter().for_each(|number| estimate.add(number, 1.0));
        assert_eq!(estimate.mean(), 1e6 + 3.0);
        // The sum of squares is 14, its mean over three 14/3, that of the mean a quarter of it.
        assert!((estimate.standard_error() - (14.0_f64 / 12.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn weights_of_one_size_change_nothing() {
        let (mut plain, mut weighted) = (Estimate::default(), Estimate::default());
        for number in [1.0, 2.0, 6.0] {
            plain.add(number, 1.0);
            weighted.add(number * 0.25, 0.25);
        }
        assert_eq!(plain.mean(), weighted.mean());
        assert!((plain.standard_error() - weighted.standard_error()).abs() < 1e-12);
    }

    #[test]
    fn one_number_has_no_error() {
        let mut estimate = Estimate::default();
        estimate.add(0.5, 1.0);
        assert_eq!(with_error(estimate.mean(), estimate.standard_error(), 0), "0.500000");
        estimate.add(1.5, 1.0);
        assert_eq!(with_error(estimate.mean(), estimate.standard_error(), 9), " 1.000000 ±  0.500000");
    }
}
