//! How far a run has come.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over so many elements, counted in bytes. Shown on a terminal only, and only once a run takes a moment.
pub fn bar(elements: usize) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:40.cyan/dim} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}")
            .expect("the template is well-formed");
    ProgressBar::new((elements * size_of::<f32>()) as u64).with_style(style)
}

/// A block of elements has been dealt with.
pub fn advance(bar: &ProgressBar, block: &[f32]) {
    bar.inc(size_of_val(block) as u64);
}
