//! An array file, read as blocks of rows of `f32`, whatever its format and element type.
//!
//! The rows run along the last axis. Nothing is held but one block, so a file may be larger than memory and may be
//! a pipe.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};

use crate::{Usage, text, warn};

pub mod npy;
pub mod safetensors;

/// How much of a file is read at a time; a row that is longer is taken whole.
const BLOCK_BYTES: usize = 8 << 20;

/// A type of elements, or one of several.
pub trait ElementType: Copy + fmt::Display + TryFrom<Number> {
    /// What the error on any other type says it should have been.
    const NAMES: &str;
    /// One of them, as NumPy writes it.
    const NUMPY: &str;
    fn number(self) -> Number;
}

/// The floating-point types that are read. All but `f32` are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float {
    F16,
    Bf16,
    F32,
    F64,
}

/// The types of classes that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integer {
    Signed { bytes: usize },
    Unsigned { bytes: usize },
}

/// All types that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    Float(Float),
    Integer(Integer),
}

impl Number {
    fn bytes(self) -> usize {
        match self {
            Self::Float(Float::F16 | Float::Bf16) => 2,
            Self::Float(Float::F32) => 4,
            Self::Float(Float::F64) => 8,
            Self::Integer(Integer::Signed { bytes } | Integer::Unsigned { bytes }) => bytes,
        }
    }
}

impl ElementType for Float {
    const NAMES: &str = "f32, f64, f16 (and bf16 in .safetensors)";
    const NUMPY: &str = "<f4";

    fn number(self) -> Number {
        Number::Float(self)
    }
}

impl ElementType for Integer {
    const NAMES: &str = "integers";
    const NUMPY: &str = "<i8";

    fn number(self) -> Number {
        Number::Integer(self)
    }
}

impl ElementType for Number {
    const NAMES: &str = "integers, or probabilities of f32, f64 or f16";
    const NUMPY: &str = "<i8";

    fn number(self) -> Number {
        self
    }
}

impl TryFrom<Number> for Float {
    type Error = Number;

    fn try_from(number: Number) -> Result<Self, Number> {
        if let Number::Float(float) = number { Ok(float) } else { Err(number) }
    }
}

impl TryFrom<Number> for Integer {
    type Error = Number;

    fn try_from(number: Number) -> Result<Self, Number> {
        if let Number::Integer(integer) = number { Ok(integer) } else { Err(number) }
    }
}

/// Classes as they are read: as the library takes them, and none is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassIds {
    Signed(Vec<i64>),
    Unsigned(Vec<u64>),
}

/// Little-endian elements, appended to `out`.
fn each<const N: usize, T>(bytes: &[u8], out: &mut Vec<T>, element: impl Fn([u8; N]) -> T) {
    out.extend(bytes.as_chunks::<N>().0.iter().map(|&bytes| element(bytes)));
}

impl Float {
    /// Appends little-endian elements to `out`.
    fn convert(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F16 => each(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Self::Bf16 => each(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Self::F32 => each(bytes, out, f32::from_le_bytes),
            Self::F64 => each(bytes, out, |bytes| f64::from_le_bytes(bytes) as f32),
        }
    }
}

impl Integer {
    /// Little-endian elements.
    fn convert(self, bytes: &[u8]) -> ClassIds {
        let (mut signed, mut unsigned) = (Vec::new(), Vec::new());
        match self {
            Self::Signed { bytes: 1 } => each(bytes, &mut signed, |bytes| i8::from_le_bytes(bytes).into()),
            Self::Signed { bytes: 2 } => each(bytes, &mut signed, |bytes| i16::from_le_bytes(bytes).into()),
            Self::Signed { bytes: 4 } => each(bytes, &mut signed, |bytes| i32::from_le_bytes(bytes).into()),
            Self::Signed { .. } => each(bytes, &mut signed, i64::from_le_bytes),
            Self::Unsigned { bytes: 1 } => each(bytes, &mut unsigned, |[byte]| byte.into()),
            Self::Unsigned { bytes: 2 } => {
                each(bytes, &mut unsigned, |bytes| u16::from_le_bytes(bytes).into());
            }
            Self::Unsigned { bytes: 4 } => {
                each(bytes, &mut unsigned, |bytes| u32::from_le_bytes(bytes).into());
            }
            Self::Unsigned { .. } => each(bytes, &mut unsigned, u64::from_le_bytes),
        }
        match self {
            Self::Signed { .. } => ClassIds::Signed(signed),
            Self::Unsigned { .. } => ClassIds::Unsigned(unsigned),
        }
    }
}

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed { bytes } => write!(f, "i{}", bytes * 8),
            Self::Unsigned { bytes } => write!(f, "u{}", bytes * 8),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(float) => float.fmt(f),
            Self::Integer(integer) => integer.fmt(f),
        }
    }
}

/// What a header says about the array behind it.
struct Layout<T> {
    shape: Vec<usize>,
    element_type: T,
    /// The name of the array within its file, where it has one.
    tensor: Option<String>,
    /// Bytes between the header and the array.
    gap: u64,
}

/// An open array file.
///
/// Numbers come in rows along the last axis; of classes, whatever their shape, each is a row of one.
pub struct Array<T = Float> {
    /// How messages call the file.
    pub name: String,
    /// The name of the array within its file, where it has one.
    pub tensor: Option<String>,
    pub shape: Vec<usize>,
    pub element_type: T,
    rows: usize,
    cols: usize,
    next_row: usize,
    source: Source,
    bytes: Vec<u8>,
}

impl Array {
    /// Opens `path`, or standard input for `-`, up to the first element. The content tells the format, not the name. `what`
    /// is how messages call what the array holds.
    pub fn open(path: &Path, tensor: Option<&str>, what: &str) -> Result<Self> {
        Self::open_with(path, |source, magic| {
            if magic.starts_with(npy::MAGIC) {
                ensure!(
                    tensor.is_none(),
                    "--tensor names a tensor of a .safetensors file, but this is an .npy file"
                );
                npy::read_header(source, what)
            } else if safetensors::is_header(magic) {
                safetensors::read_header(source, tensor, what)
            } else {
                bail!("is neither an .npy nor a .safetensors file: {}", guess(magic))
            }
        })
    }

    /// What the array is, as the line above its numbers.
    pub fn title(&self) -> String {
        let rows = if self.rows == 1 { "row" } else { "rows" };
        format!("{} · {} {rows} · {} classes", text::printable(&self.name), self.rows, self.cols)
    }

    /// The same where some rows do not count.
    pub fn title_without(&self, rows: usize) -> String {
        let left_out = if rows > 0 { format!(" · {rows} left out") } else { String::new() };
        self.title() + &left_out
    }

    /// Says so if the elements are not read as they are.
    pub fn warn_of_conversion(&self) {
        if self.element_type != Float::F32 {
            warn(&format!("{}: note: {} converted to f32", self.name, self.element_type));
        }
    }

    /// Rows that make a block of reasonable size.
    pub fn rows_per_block(&self) -> usize {
        (BLOCK_BYTES / 4 / self.cols.max(1)).max(1)
    }

    /// Replaces `block` by the next `rows` rows, or as many as are left. No rows left: an empty block.
    pub fn read_rows(&mut self, rows: usize, block: &mut Vec<f32>) -> Result<()> {
        block.clear();
        self.read(rows)?;
        self.element_type.convert(&self.bytes, block);
        Ok(())
    }
}

impl Array<Integer> {
    /// The next `rows` classes, or as many as are left.
    pub fn read_classes(&mut self, rows: usize) -> Result<ClassIds> {
        self.read(rows)?;
        Ok(self.element_type.convert(&self.bytes))
    }
}

impl Array<Number> {
    /// The same file, as what it has been found to be.
    pub fn with<T>(self, element_type: T) -> Array<T> {
        let Self { name, tensor, shape, element_type: _, rows, cols, next_row, source, bytes } = self;
        Array { name, tensor, shape, element_type, rows, cols, next_row, source, bytes }
    }
}

impl<T: ElementType> Array<T> {
    /// [`Array::open`] for what goes with an array, in a file without names.
    pub fn open_npy(path: &Path, what: &str) -> Result<Self> {
        Self::open_with(path, |source, magic| {
            ensure!(
                magic.starts_with(npy::MAGIC),
                "is no .npy file, from which {what} are read: {}",
                if safetensors::is_header(magic) { "it is a .safetensors file" } else { guess(magic) }
            );
            npy::read_header(source, what)
        })
    }

    fn open_with(
        path: &Path,
        read_header: impl FnOnce(&mut Source, &[u8]) -> Result<Layout<T>>,
    ) -> Result<Self> {
        let name = display_name(path);
        Self::open_named(path, read_header, name.clone()).context(name)
    }

    fn open_named(
        path: &Path,
        read_header: impl FnOnce(&mut Source, &[u8]) -> Result<Layout<T>>,
        name: String,
    ) -> Result<Self> {
        let mut source = Source::open(path)?;
        let magic = source.peek()?;
        let Layout { shape, element_type, tensor, gap } = read_header(&mut source, &magic)?;
        source.skip(gap)?;

        let (axes, cols) = match (element_type.number(), shape.split_last()) {
            (Number::Integer(_), _) => (&shape[..], 1),
            (Number::Float(_), Some((&cols, axes))) => (axes, cols),
            (Number::Float(_), None) => bail!(
                "is a single number (shape ()): rows run along the last axis, and it has none; \
                 save it with shape (1,) if that is what you mean"
            ),
        };
        let rows = axes.iter().try_fold(1_usize, |product, &axis| product.checked_mul(axis));
        // A row must have a length even where there is none.
        let bytes_per_row = cols.checked_mul(element_type.number().bytes());
        let bytes = rows.zip(bytes_per_row).and_then(|(rows, bytes)| rows.checked_mul(bytes));
        let (Some(rows), Some(bytes)) = (rows, bytes) else {
            bail!("the header is corrupt: shape {} is larger than any file", Shape(&shape));
        };
        let array =
            Self { name, tensor, shape, element_type, rows, cols, next_row: 0, source, bytes: Vec::new() };
        if let Some(found) = array.source.remaining()?
            && found < bytes as u64
        {
            bail!(array.truncated(found as usize));
        }
        Ok(array)
    }

    /// Refuses a row that is not there.
    pub fn ensure_row(&self, row: usize) -> Result<()> {
        ensure!(
            row < self.rows,
            "{}: there is no row {row}: {}",
            self.name,
            match self.rows {
                0 => "it has none".into(),
                rows => format!("the last of its {rows} rows is {}", rows - 1),
            }
        );
        Ok(())
    }

    /// Refuses an array of which nothing could be said.
    pub fn ensure_filled(&self) -> Result<()> {
        ensure!(
            self.rows > 0 && self.cols > 0,
            "{}: shape {}: there is nothing in it",
            self.name,
            Shape(&self.shape)
        );
        Ok(())
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    fn bytes_per_row(&self) -> usize {
        self.cols * self.element_type.number().bytes()
    }

    /// Reads the bytes of the next `rows` rows, or of as many as are left.
    fn read(&mut self, rows: usize) -> Result<()> {
        let rows = rows.min(self.rows - self.next_row);
        let wanted = rows * self.bytes_per_row();
        self.bytes.clear();
        // Memory grows with what arrives, not with what the header of a pipe claims.
        (&mut self.source).take(wanted as u64).read_to_end(&mut self.bytes).context(self.name.clone())?;
        if self.bytes.len() < wanted {
            let before = self.next_row * self.bytes_per_row();
            bail!("{}: {}", self.name, self.truncated(before + self.bytes.len()));
        }
        self.next_row += rows;
        Ok(())
    }

    /// Passes over `rows` rows, without reading them where the file can seek.
    pub fn skip_rows(&mut self, rows: usize) -> Result<()> {
        let rows = rows.min(self.rows - self.next_row);
        self.source.skip((rows * self.bytes_per_row()) as u64).context(self.name.clone())?;
        self.next_row += rows;
        Ok(())
    }

    fn truncated(&self, found: usize) -> String {
        let element = self.element_type.number().bytes();
        format!(
            "is truncated: shape {} of {} takes {} bytes of data, found {found} (it ends in row {}, column {})",
            Shape(&self.shape),
            self.element_type,
            self.rows * self.bytes_per_row(),
            found / element / self.cols,
            found / element % self.cols,
        )
    }
}

/// What a row of an array called `name` is, as the line above its numbers.
pub fn title_of_row(name: &str, row: usize, rows: usize, classes: usize) -> String {
    format!("{} · row {row} of {rows} · {classes} classes", text::printable(name))
}

/// How messages call `path`.
pub fn display_name(path: &Path) -> String {
    if is_standard_stream(path) { "standard input".into() } else { path.display().to_string() }
}

/// Refuses a command line that takes two files from standard input.
pub fn ensure_one_stream(inputs: &[&Path]) -> Result<()> {
    let streams = inputs.iter().filter(|path| is_standard_stream(path)).count();
    ensure!(streams < 2, Usage("standard input, -, can be one of the files only".into()));
    Ok(())
}

/// Whether `path` is `-`.
pub fn is_standard_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A shape, written as Python writes it.
pub struct Shape<'a>(pub &'a [usize]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [only] => write!(f, "({only},)"),
            axes => write!(f, "({})", axes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// What a file that begins so might be instead.
fn guess(magic: &[u8]) -> &'static str {
    match magic {
        [] => "it is empty",
        [b'P', b'K', ..] => "it is a zip archive, as .npz and .pt files are: extract the array first",
        _ if magic.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            "it looks like text; numpy.save writes an .npy file"
        }
        _ => "its first bytes are those of something else",
    }
}

/// Where the bytes come from.
enum Source {
    File(File),
    Stream(Box<dyn Read>),
}

impl Source {
    /// Enough to tell the formats apart.
    const MAGIC_BYTES: u64 = 9;

    fn open(path: &Path) -> io::Result<Self> {
        if is_standard_stream(path) {
            return Ok(Self::Stream(Box::new(io::stdin().lock())));
        }
        let file = File::open(path)?;
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(if kind.is_file() { Self::File(file) } else { Self::Stream(Box::new(file)) })
    }

    /// The first bytes, which stay to be read.
    fn peek(&mut self) -> io::Result<Vec<u8>> {
        let mut magic = Vec::new();
        self.take(Self::MAGIC_BYTES).read_to_end(&mut magic)?;
        match self {
            Self::File(file) => file.rewind()?,
            Self::Stream(stream) => {
                let rest = std::mem::replace(stream, Box::new(io::empty()));
                *stream = Box::new(Cursor::new(magic.clone()).chain(rest));
            }
        }
        Ok(magic)
    }

    /// Passes over `bytes` bytes. Beyond the end of a pipe there is silence: the read that follows finds nothing.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match self {
            Self::File(file) => {
                let offset = i64::try_from(bytes).map_err(io::Error::other)?;
                file.seek(SeekFrom::Current(offset))?;
            }
            Self::Stream(stream) => {
                io::copy(&mut stream.take(bytes), &mut io::sink())?;
            }
        }
        Ok(())
    }

    /// The bytes left, where that is known beforehand.
    fn remaining(&self) -> io::Result<Option<u64>> {
        match self {
            Self::File(file) => {
                let position = (&mut &*file).stream_position()?;
                Ok(Some(file.metadata()?.len().saturating_sub(position)))
            }
            Self::Stream(_) => Ok(None),
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Stream(stream) => stream.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_read_as_in_python() {
        let shape = |axes: &[usize]| Shape(axes).to_string();
        assert_eq!((shape(&[]), shape(&[3]), shape(&[3, 4])), ("()".into(), "(3,)".into(), "(3, 4)".into()));
    }

    #[test]
    fn every_element_type_converts() {
        let of = |float: Float, bytes: &[u8]| {
            let mut out = Vec::new();
            float.convert(bytes, &mut out);
            out
        };
        assert_eq!(of(Float::F32, &(-1.5_f32).to_le_bytes()), [-1.5]);
        assert_eq!(of(Float::F64, &1e300_f64.to_le_bytes()), [f32::INFINITY]);
        assert_eq!(of(Float::F16, &f16::from_f32(-1.5).to_le_bytes()), [-1.5]);
        assert_eq!(of(Float::Bf16, &bf16::from_f32(-1.5).to_le_bytes()), [-1.5]);

        let signed = |bytes: &[u8]| Integer::Signed { bytes: bytes.len() }.convert(bytes);
        let unsigned = |bytes: &[u8]| Integer::Unsigned { bytes: bytes.len() }.convert(bytes);
        let minus_two = ClassIds::Signed(vec![-2]);
        assert_eq!(signed(&(-2_i8).to_le_bytes()), minus_two);
        assert_eq!(signed(&(-2_i16).to_le_bytes()), minus_two);
        assert_eq!(signed(&(-2_i32).to_le_bytes()), minus_two);
        assert_eq!(signed(&(-2_i64).to_le_bytes()), minus_two);
        assert_eq!(unsigned(&[254]), ClassIds::Unsigned(vec![254]));
        assert_eq!(unsigned(&u16::MAX.to_le_bytes()), ClassIds::Unsigned(vec![u16::MAX.into()]));
        assert_eq!(unsigned(&u32::MAX.to_le_bytes()), ClassIds::Unsigned(vec![u32::MAX.into()]));
        assert_eq!(unsigned(&u64::MAX.to_le_bytes()), ClassIds::Unsigned(vec![u64::MAX]));
    }
}
