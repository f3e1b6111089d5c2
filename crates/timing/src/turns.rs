//! Timing candidates in turns: in each round every one gives a sample, in an order of its own, so that nobody always works
//! with the caches that the same other one has left.

use std::time::Duration;

/// A sample is as many iterations as take this long: much longer than reading the clock takes.
const SAMPLE: Duration = Duration::from_micros(200);

/// Fewer rounds make no median; more do not make a better one.
const ROUNDS: std::ops::RangeInclusive<usize> = 15..=301;

/// The samples of a candidate.
#[derive(Debug)]
pub struct Samples {
    /// Iterations in each sample.
    pub iterations: usize,
    /// Seconds an iteration, ascending.
    pub seconds: Vec<f64>,
}

impl Samples {
    pub fn median(&self) -> f64 {
        let middle = self.seconds.len() / 2;
        if self.seconds.len() % 2 == 1 {
            self.seconds[middle]
        } else {
            (self.seconds[middle - 1] + self.seconds[middle]) / 2.0
        }
    }
}

/// Times candidates for about `time`; `run` takes one of them and a number of iterations, and `progress` hears how much of
/// the time is over.
///
/// # Errors
///
/// The first of `run`.
pub fn in_turns<C, E>(
    candidates: &[C],
    time: Duration,
    mut run: impl FnMut(&C, usize) -> Result<Duration, E>,
    mut progress: impl FnMut(f64),
) -> Result<Vec<Samples>, E> {
    progress(0.0);
    let mut samples = Vec::new();
    let mut round = Duration::ZERO;
    for candidate in candidates {
        let (iterations, elapsed) = calibrate(|iterations| run(candidate, iterations))?;
        samples.push(Samples { iterations, seconds: Vec::new() });
        round += elapsed;
    }
    let rounds = (time.as_secs_f64() / round.as_secs_f64()) as usize;
    let rounds = rounds.clamp(*ROUNDS.start(), *ROUNDS.end());
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let mut random = Random(1);
    for round in 0..rounds {
        progress(round as f64 / rounds as f64);
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last + 1));
        }
        for &index in &order {
            let iterations = samples[index].iterations;
            let elapsed = run(&candidates[index], iterations)?;
            samples[index].seconds.push(elapsed.as_secs_f64() / iterations as f64);
        }
    }
    for samples in &mut samples {
        samples.seconds.sort_unstable_by(f64::total_cmp);
    }
    Ok(samples)
}

/// Knuth's linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// How many iterations fill a sample, and how long they took; everything is warm after it.
fn calibrate<E>(mut run: impl FnMut(usize) -> Result<Duration, E>) -> Result<(usize, Duration), E> {
    let mut iterations = 1;
    loop {
        let elapsed = run(iterations)?;
        if elapsed >= SAMPLE {
            return Ok((iterations, elapsed));
        }
        let missing = SAMPLE.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        iterations = (iterations as f64 * missing.clamp(1.1, 10.0)).ceil() as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_few() {
        let median = |seconds: &[f64]| Samples { iterations: 1, seconds: seconds.to_vec() }.median();
        assert_eq!(median(&[1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 3.0, 4.0]), 2.5);
    }

    #[test]
    fn samples_are_long_and_turns_change() {
        let mut calls = Vec::new();
        let run = |&candidate: &u32, iterations: usize| {
            calls.push((candidate, iterations));
            Ok::<_, ()>(Duration::from_micros(u64::from(candidate)) * iterations as u32)
        };
        let samples = in_turns(&[50, 300], Duration::ZERO, run, |_| {}).unwrap();
        assert_eq!((samples[0].iterations, samples[1].iterations), (4, 1));
        assert!(samples.iter().all(|samples| samples.seconds.len() == 15));
        assert_eq!(samples[0].median(), 50e-6);
        let rounds: Vec<_> = calls[calls.len() - 30..].chunks(2).collect();
        for order in [[(50, 4), (300, 1)], [(300, 1), (50, 4)]] {
            assert!(rounds.contains(&&order[..]), "{rounds:?}");
        }
    }
}
