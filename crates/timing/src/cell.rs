//! What is measured together: an operation on a shape, by so many threads, from somewhere to somewhere.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use clap::ValueEnum;
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    Softmax,
    LogSoftmax,
    Logsumexp,
}

impl Operation {
    pub const ALL: [Self; 3] = [Self::Softmax, Self::LogSoftmax, Self::Logsumexp];

    pub fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::LogSoftmax => "log-softmax",
            Self::Logsumexp => "logsumexp",
        }
    }

    /// What is read and written for each element.
    pub fn bytes_per_element(self) -> usize {
        match self {
            Self::Softmax | Self::LogSoftmax => 8,
            Self::Logsumexp => 4,
        }
    }

    /// Whether the operation makes something else of this layout than of the others.
    pub fn has_layout(self, layout: Layout) -> bool {
        self != Self::Logsumexp || layout != Layout::InPlace
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub rows: usize,
    pub cols: usize,
}

impl Shape {
    pub const fn new(rows: usize, cols: usize) -> Self {
        Self { rows, cols }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}x{}", self.rows, self.cols))
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<NonZeroUsize>().ok().map(NonZeroUsize::get);
        let parsed =
            text.split_once(['x', 'X']).and_then(|(rows, cols)| Some((number(rows)?, number(cols)?)));
        match parsed {
            Some((rows, cols))
                if rows.checked_mul(cols).is_some_and(|elements| elements as u64 <= 1 << 32) =>
            {
                Ok(Self { rows, cols })
            }
            Some(_) => Err("the buffers would take more than 32 GiB".into()),
            None => Err("a shape is ROWSxCOLS, like 64x1000".into()),
        }
    }
}

/// Single rows from a digit classifier to the vocabulary of Gemma; attention heads; routers; batches of logits.
pub const GRID: [Shape; 16] = [
    Shape::new(1, 7),
    Shape::new(1, 64),
    Shape::new(1, 1000),
    Shape::new(1, 4096),
    Shape::new(1, 32_000),
    Shape::new(1, 128_256),
    Shape::new(1, 262_144),
    Shape::new(64, 64),
    Shape::new(256, 8),
    Shape::new(256, 128),
    Shape::new(256, 1000),
    Shape::new(4096, 64),
    Shape::new(4096, 1024),
    Shape::new(16_384, 1024),
    Shape::new(512, 32_768),
    Shape::new(64, 128_256),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// From one buffer into another, both aligned to 64 bytes
    OutOfPlace,
    /// The buffer becomes its own result (nothing changes for logsumexp: it is left out)
    InPlace,
    /// Out of place, both buffers one element off
    Misaligned,
}

/// What is measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub shape: Shape,
    pub threads: usize,
    pub layout: Layout,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { rows, cols } = self.shape;
        let threads = if self.threads == 1 { "1 thread".into() } else { format!("{} threads", self.threads) };
        let layout = match self.layout {
            Layout::OutOfPlace => "out of place",
            Layout::InPlace => "in place",
            Layout::Misaligned => "out of place, one element off",
        };
        write!(f, "{rows} x {cols}, {threads}, {layout}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_parse_or_say_how() {
        assert_eq!("64x1000".parse(), Ok(Shape::new(64, 1000)));
        for bad in ["", "64", "0x4", "4x", "-1x4", "4x4x4"] {
            assert!(bad.parse::<Shape>().unwrap_err().contains("ROWSxCOLS"), "{bad}");
        }
        assert!("99999999x99999999".parse::<Shape>().unwrap_err().contains("32 GiB"));
    }
}
