//! The yardstick: the loops one writes without a library. They are not to be improved.

pub fn softmax(logits: &[f32], out: &mut [f32]) {
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, &x| max.max(x));
    for (out, &x) in out.iter_mut().zip(logits) {
        *out = (x - max).exp();
    }
    let sum: f32 = out.iter().sum();
    for out in out {
        *out /= sum;
    }
}

pub fn softmax_in_place(row: &mut [f32]) {
    let max = row.iter().fold(f32::NEG_INFINITY, |max, &x| max.max(x));
    for x in row.iter_mut() {
        *x = (*x - max).exp();
    }
    let sum: f32 = row.iter().sum();
    for x in row {
        *x /= sum;
    }
}

pub fn log_softmax(logits: &[f32], out: &mut [f32]) {
    let normalizer = logsumexp(logits);
    for (out, &x) in out.iter_mut().zip(logits) {
        *out = x - normalizer;
    }
}

pub fn log_softmax_in_place(row: &mut [f32]) {
    let normalizer = logsumexp(row);
    for x in row {
        *x -= normalizer;
    }
}

pub fn logsumexp(logits: &[f32]) -> f32 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, &x| max.max(x));
    let sum: f32 = logits.iter().map(|&x| (x - max).exp()).sum();
    max + sum.ln()
}

pub fn entropy(logits: &[f32]) -> f32 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, &x| max.max(x));
    let sum: f32 = logits.iter().map(|&x| (x - max).exp()).sum();
    let log_sum = sum.ln();
    logits
        .iter()
        .map(|&x| {
            let log_p = (x - max) - log_sum;
            -log_p.exp() * log_p
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loops_compute_what_they_are_compared_with() {
        let logits = [1.0_f32, -2.0, 0.5, 3.0];
        let (mut want, mut want_log) = ([0.0; 4], [0.0; 4]);
        logits::reference::softmax(&logits, 1.0, &mut want);
        logits::reference::log_softmax(&logits, 1.0, &mut want_log);
        let (mut out, mut in_place) = ([0.0; 4], logits);
        softmax(&logits, &mut out);
        softmax_in_place(&mut in_place);
        assert_eq!(out, in_place);
        assert!(out.iter().zip(want).all(|(&got, want)| (f64::from(got) - want).abs() < 1e-6));
        let (mut out, mut in_place) = ([0.0; 4], logits);
        log_softmax(&logits, &mut out);
        log_softmax_in_place(&mut in_place);
        assert_eq!(out, in_place);
        assert!(out.iter().zip(want_log).all(|(&got, want)| (f64::from(got) - want).abs() < 1e-6));
        let want = logits::reference::entropy(&logits, 1.0);
        assert!((f64::from(entropy(&logits)) - want).abs() < 1e-6);
    }
}
