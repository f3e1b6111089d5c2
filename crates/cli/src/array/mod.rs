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

use crate::warn;

pub mod npy;
pub mod safetensors;

/// How much of a file is read at a time; a row that is longer is taken whole.
const BLOCK_BYTES: usize = 8 << 20;

/// The element types that are read. All but `f32` are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    F16,
    Bf16,
    F32,
    F64,
}

impl ElementType {
    /// What the error on any other type says it should have been.
    pub const NAMES: &str = "f32, f64, f16 (and bf16 in .safetensors)";

    fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Appends little-endian elements to `out`.
    fn convert(self, bytes: &[u8], out: &mut Vec<f32>) {
        fn each<const N: usize>(bytes: &[u8], out: &mut Vec<f32>, element: impl Fn([u8; N]) -> f32) {
            out.extend(bytes.as_chunks::<N>().0.iter().map(|&bytes| element(bytes)));
        }
        match self {
            Self::F16 => each(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Self::Bf16 => each(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Self::F32 => each(bytes, out, f32::from_le_bytes),
            Self::F64 => each(bytes, out, |bytes| f64::from_le_bytes(bytes) as f32),
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

/// What a header says about the array behind it.
struct Layout {
    shape: Vec<usize>,
    element_type: ElementType,
    /// The name of the array within its file, where it has one.
    tensor: Option<String>,
    /// Bytes between the header and the array.
    gap: u64,
}

/// An open array file.
pub struct Array {
    /// How messages call the file.
    pub name: String,
    /// The name of the array within its file, where it has one.
    pub tensor: Option<String>,
    pub shape: Vec<usize>,
    pub element_type: ElementType,
    rows: usize,
    cols: usize,
    next_row: usize,
    source: Source,
    bytes: Vec<u8>,
}

impl Array {
    /// Opens `path`, or standard input for `-`, up to the first element. The content tells the format, not the name.
    pub fn open(path: &Path, tensor: Option<&str>) -> Result<Self> {
        let name = display_name(path);
        Self::open_named(path, tensor, name.clone()).context(name)
    }

    fn open_named(path: &Path, tensor: Option<&str>, name: String) -> Result<Self> {
        let mut source = Source::open(path)?;
        let magic = source.peek()?;
        let layout = if magic.starts_with(npy::MAGIC) {
            ensure!(
                tensor.is_none(),
                "--tensor names a tensor of a .safetensors file, but this is an .npy file"
            );
            npy::read_header(&mut source)?
        } else if safetensors::is_header(&magic) {
            safetensors::read_header(&mut source, tensor)?
        } else {
            bail!(unknown_format(&magic));
        };
        source.skip(layout.gap)?;

        let Layout { shape, element_type, tensor, .. } = layout;
        let Some(&cols) = shape.last() else {
            bail!(
                "is a single number (shape ()): softmax runs along the last axis, and it has none; \
                 save it with shape (1,) if that is what you mean"
            );
        };
        let count =
            |axes: &[usize]| axes.iter().try_fold(1_usize, |product, &axis| product.checked_mul(axis));
        let rows = count(&shape[..shape.len() - 1]);
        let bytes = count(&shape).and_then(|elements| elements.checked_mul(element_type.bytes()));
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

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows that make a block of reasonable size.
    pub fn rows_per_block(&self) -> usize {
        (BLOCK_BYTES / (self.cols * 4).max(1)).max(1)
    }

    /// Says so if the elements are not read as they are.
    pub fn warn_of_conversion(&self) {
        if self.element_type != ElementType::F32 {
            warn(&format!("{}: note: {} converted to f32", self.name, self.element_type));
        }
    }

    /// Replaces `block` by the next `rows` rows, or as many as are left. No rows left: an empty block.
    pub fn read_rows(&mut self, rows: usize, block: &mut Vec<f32>) -> Result<()> {
        block.clear();
        let rows = rows.min(self.rows - self.next_row);
        let wanted = rows * self.cols * self.element_type.bytes();
        self.bytes.clear();
        // Memory grows with what arrives, not with what the header of a pipe claims.
        (&mut self.source).take(wanted as u64).read_to_end(&mut self.bytes).context(self.name.clone())?;
        if self.bytes.len() < wanted {
            let before = self.next_row * self.cols * self.element_type.bytes();
            bail!("{}: {}", self.name, self.truncated(before + self.bytes.len()));
        }
        self.element_type.convert(&self.bytes, block);
        self.next_row += rows;
        Ok(())
    }

    /// Passes over `rows` rows, without reading them where the file can seek.
    pub fn skip_rows(&mut self, rows: usize) -> Result<()> {
        let rows = rows.min(self.rows - self.next_row);
        let bytes = (rows * self.cols * self.element_type.bytes()) as u64;
        self.source.skip(bytes).context(self.name.clone())?;
        self.next_row += rows;
        Ok(())
    }

    fn truncated(&self, found: usize) -> String {
        let element = self.element_type.bytes();
        format!(
            "is truncated: shape {} of {} takes {} bytes of data, found {found} (it ends in row {}, column {})",
            Shape(&self.shape),
            self.element_type,
            self.rows * self.cols * element,
            found / element / self.cols,
            found / element % self.cols,
        )
    }
}

/// How messages call `path`.
pub fn display_name(path: &Path) -> String {
    if is_standard_stream(path) { "standard input".into() } else { path.display().to_string() }
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

fn unknown_format(magic: &[u8]) -> String {
    let hint = match magic {
        [] => "it is empty",
        [b'P', b'K', ..] => "it is a zip archive, as .npz and .pt files are: extract the array first",
        _ if magic.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            "it looks like text; numpy.save writes an .npy file"
        }
        _ => "its first bytes are those of neither",
    };
    format!("is neither an .npy nor a .safetensors file: {hint}")
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
        let of = |element_type: ElementType, bytes: &[u8]| {
            let mut out = Vec::new();
            element_type.convert(bytes, &mut out);
            out
        };
        assert_eq!(of(ElementType::F32, &(-1.5_f32).to_le_bytes()), [-1.5]);
        assert_eq!(of(ElementType::F64, &1e300_f64.to_le_bytes()), [f32::INFINITY]);
        assert_eq!(of(ElementType::F16, &f16::from_f32(-1.5).to_le_bytes()), [-1.5]);
        assert_eq!(of(ElementType::Bf16, &bf16::from_f32(-1.5).to_le_bytes()), [-1.5]);
    }
}
