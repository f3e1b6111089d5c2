//! stub
/// An element
pub trait Element: Copy + Send + Sync + core::fmt::Debug + 'static {}
impl Element for f32 {}
