//! How far a run has come.

use indicatif::{ProgressBar, ProgressStyle};

/// Does `work` below a bar over so many elements, counted in bytes, which is gone afterwards. It is shown on a terminal
/// only, and only once a run takes a moment.
pub fn over<T>(elements: usize, work: impl FnOnce(&ProgressBar) -> T) -> T {
    let style =
        ProgressStyle::with_template("{bar:40.cyan/dim} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}")
            .expect("the template is well-formed");
    let bar = ProgressBar::new(elements.saturating_mul(size_of::<f32>()) as u64).with_style(style);
    let result = work(&bar);
    bar.finish_and_clear();
    result
}

/// A block of elements has been dealt with.
pub fn advance(bar: &ProgressBar, block: &[f32]) {
    bar.inc(size_of_val(block) as u64);
}
