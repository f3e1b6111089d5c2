//! What every measurement here shares: the cells that are measured, the buffers and logits they are measured on, the
//! loops that everything is compared with, and a clock that lets all candidates take turns, so that ratios hold even where
//! the machine is busy or changes its clock.

mod buffers;
mod cell;
mod rows;
pub mod scalar_loop;
mod turns;

pub use buffers::Buffers;
pub use cell::{Cell, GRID, Layout, Operation, Shape};
pub use rows::{Logits, uniform};
pub use turns::{Samples, in_turns};
