//! stub skeleton
#![allow(missing_docs, dead_code, unused)]
mod error; mod element; mod rows; mod stub;
pub use error::Error; pub use element::Element; pub use rows::{Rows,RowsMut}; pub use stub::*;
