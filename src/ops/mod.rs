//! The operations, one a file, and what they share.

mod apart;
mod backward;
mod calibration;
mod cross_entropy;
mod divergence;
mod entropy;
mod expected_value;
mod factor;
mod first;
mod jensen_shannon;
mod kl;
mod log_softmax;
mod logsumexp;
mod loss_gradient;
mod losses;
mod moments;
mod normalizer;
mod one_hot;
mod options;
mod softcap;
mod softmax;
mod statistics;
mod targets;
mod temperature;

pub use calibration::{Calibration, CalibrationBin};
pub use cross_entropy::{CrossEntropy, Loss, RowLoss, Smoothed};
pub use divergence::{Distribution, Divergence};
pub use entropy::entropy;
pub use log_softmax::{log_softmax, log_softmax_in_place};
pub use logsumexp::logsumexp;
pub use loss_gradient::Reduction;
pub use options::{MaskedRows, Softmax};
pub use softmax::{softmax, softmax_in_place};
pub use statistics::{Candidate, Chosen, RowStatistics, Statistics};
pub use targets::{Classes, Targets};
