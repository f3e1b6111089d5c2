use crate::*;
use core::mem::MaybeUninit;
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)] #[non_exhaustive]
pub enum Isa { Scalar, Portable, Avx2, Avx512, Neon }
#[derive(Debug, Clone, PartialEq, Eq)] pub struct ParseIsaError(String);
impl core::fmt::Display for ParseIsaError { fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { write!(f, "{}", self.0) } }
impl core::error::Error for ParseIsaError {}
impl Isa {
  pub const ALL: [Isa; 5] = [Isa::Scalar, Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Neon];
  pub fn detect() -> Isa { Isa::Scalar }
  pub fn is_available(self) -> bool { matches!(self, Isa::Scalar | Isa::Portable) }
  pub fn available() -> impl Iterator<Item = Isa> { Self::ALL.into_iter().filter(|i| i.is_available()) }
  pub fn is_fused(self) -> bool { self != Isa::Portable }
  pub fn name(self) -> &'static str { match self { Isa::Scalar => "scalar", Isa::Portable => "portable", Isa::Avx2 => "avx2", Isa::Avx512 => "avx512", Isa::Neon => "neon" } }
  pub fn from_env() -> Result<Option<Isa>, ParseIsaError> { Ok(None) }
}
impl core::fmt::Display for Isa { fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { f.pad(self.name()) } }
impl core::str::FromStr for Isa { type Err = ParseIsaError; fn from_str(s: &str) -> Result<Self, ParseIsaError> { Isa::ALL.into_iter().find(|i| i.name() == s).ok_or_else(|| ParseIsaError(format!("`{s}` is not an instruction set"))) } }
#[derive(Debug, Clone, Copy)] pub struct Engine { isa: Isa }
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)] #[non_exhaustive] pub enum MaskedRows { #[default] Nan, Zeros }
#[derive(Debug, Clone, Copy, PartialEq)] pub struct Softmax { pub temperature: f64, pub masked_rows: MaskedRows }
impl Default for Softmax { fn default() -> Self { Self { temperature: 1.0, masked_rows: MaskedRows::Nan } } }
fn one(x: &[f32], t: f64, log: bool) -> Vec<f32> { let m = x.iter().map(|&v| f64::from(v)/t).fold(f64::NEG_INFINITY, f64::max); let s: f64 = x.iter().map(|&v| (f64::from(v)/t-m).exp()).sum(); x.iter().map(|&v| { let d = f64::from(v)/t-m; (if log { d - s.ln() } else { d.exp()/s }) as f32 }).collect() }
impl Engine {
  pub fn new() -> Self { Self { isa: Isa::Scalar } }
  pub fn with_isa(mut self, isa: Isa) -> Result<Self, Error> { self.isa = isa; Ok(self) }
  pub fn serial(self) -> Self { self }
  pub fn isa(&self) -> Isa { self.isa }
  pub fn softmax(&self, x: Rows<'_>, out: RowsMut<'_>) -> Result<(), Error> { self.softmax_with(x, out, &Softmax::default()) }
  pub fn log_softmax(&self, x: Rows<'_>, out: RowsMut<'_>) -> Result<(), Error> { self.log_softmax_with(x, out, &Softmax::default()) }
  pub fn softmax_with(&self, x: Rows<'_>, mut out: RowsMut<'_>, o: &Softmax) -> Result<(), Error> { for r in 0..x.rows() { let v = one(x.row(r), o.temperature, false); out.row_mut(r).copy_from_slice(&v) } Ok(()) }
  pub fn log_softmax_with(&self, x: Rows<'_>, mut out: RowsMut<'_>, o: &Softmax) -> Result<(), Error> { for r in 0..x.rows() { let v = one(x.row(r), o.temperature, true); out.row_mut(r).copy_from_slice(&v) } Ok(()) }
  pub fn softmax_in_place(&self, mut x: RowsMut<'_>) -> Result<(), Error> { for r in 0..x.rows() { let v = one(x.row_mut(r), 1.0, false); x.row_mut(r).copy_from_slice(&v) } Ok(()) }
  pub fn log_softmax_in_place(&self, mut x: RowsMut<'_>) -> Result<(), Error> { for r in 0..x.rows() { let v = one(x.row_mut(r), 1.0, true); x.row_mut(r).copy_from_slice(&v) } Ok(()) }
  pub fn softmax_in_place_with(&self, mut x: RowsMut<'_>, o: &Softmax) -> Result<(), Error> { for r in 0..x.rows() { let v = one(x.row_mut(r), o.temperature, false); x.row_mut(r).copy_from_slice(&v) } Ok(()) }
  pub fn log_softmax_in_place_with(&self, mut x: RowsMut<'_>, o: &Softmax) -> Result<(), Error> { for r in 0..x.rows() { let v = one(x.row_mut(r), o.temperature, true); x.row_mut(r).copy_from_slice(&v) } Ok(()) }
  pub fn softmax_uninit<'a>(&self, x: Rows<'_>, out: &'a mut [MaybeUninit<f32>]) -> Result<&'a mut [f32], Error> { todo!() }
  pub fn log_softmax_uninit<'a>(&self, x: Rows<'_>, out: &'a mut [MaybeUninit<f32>]) -> Result<&'a mut [f32], Error> { todo!() }
  pub fn logsumexp(&self, x: Rows<'_>, out: &mut [f64]) -> Result<(), Error> { for r in 0..x.rows() { out[r] = logsumexp(x.row(r)) } Ok(()) }
}
pub fn softmax(x: &[f32], y: &mut [f32]) { y.copy_from_slice(&one(x, 1.0, false)) }
pub fn log_softmax(x: &[f32], y: &mut [f32]) { y.copy_from_slice(&one(x, 1.0, true)) }
pub fn softmax_in_place(x: &mut [f32]) { let v = one(x, 1.0, false); x.copy_from_slice(&v) }
pub fn log_softmax_in_place(x: &mut [f32]) { let v = one(x, 1.0, true); x.copy_from_slice(&v) }
pub fn logsumexp(x: &[f32]) -> f64 { let m = x.iter().map(|&v| f64::from(v)).fold(f64::NEG_INFINITY, f64::max); let s: f64 = x.iter().map(|&v| (f64::from(v)-m).exp()).sum(); m + s.ln() }
pub const COMPILED_TARGET_FEATURES: &str = "";
pub mod reference {}
