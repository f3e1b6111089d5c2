//! The headers of `.npy` files.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar, WriteOptions, WriterBuilder};

use super::{ElementType, Float, Integer, Layout, Number, Shape};

/// How an `.npy` file begins.
pub const MAGIC: &[u8] = b"\x93NUMPY";

/// More than the header of any array of numbers takes. What claims more would have so much memory made ready for it.
const LONGEST_HEADER: u32 = 1 << 16;

/// How deep brackets may stand within each other: in the header of an array of numbers they are two, of one of records some more.
/// A parser that tries one kind of brackets after the other takes up to three times as long for each.
const DEEPEST: usize = 6;

pub(super) fn read_header<T: ElementType>(source: &mut impl Read, what: &str) -> Result<Layout<T>> {
    let header = header_bytes(source)
        .and_then(|bytes| Ok(NpyHeader::from_reader(&mut bytes.as_slice())?))
        .context("cannot read the .npy header")?;
    let element_type = element_type(&header.dtype(), what)?;
    let shape: Vec<usize> =
        header.shape().iter().map(|&axis| usize::try_from(axis)).collect::<Result<_, _>>()?;
    // With at most one axis longer than 1, both orders are the same bytes.
    let one_order = shape.iter().filter(|&&axis| axis != 1).count() <= 1;
    ensure!(
        header.order() == Order::C || one_order,
        "shape {} is stored in Fortran order, column by column, so its rows cannot be read one after the other; \
         save numpy.ascontiguousarray(x)",
        Shape(&shape)
    );
    Ok(Layout { shape, element_type, tensor: None, gap: 0 })
}

/// All up to the elements, if it is no more than a header may be.
fn header_bytes(source: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut read = |count: u32| -> Result<Vec<u8>> {
        let (before, end) = (bytes.len(), bytes.len() + count as usize);
        source.take(count.into()).read_to_end(&mut bytes)?;
        ensure!(bytes.len() == end, "it ends within it");
        Ok(bytes[before..].to_vec())
    };
    // Magic, version, and the length in two bytes, or since version 2 in four.
    let start = read(10)?;
    let mut length = [start[8], start[9], 0, 0];
    if start[6] > 1 {
        length[2..].copy_from_slice(&read(2)?);
    }
    let length = u32::from_le_bytes(length);
    ensure!(length <= LONGEST_HEADER, "it takes {length} bytes, more than that of any array of numbers");
    check_text(&read(length)?)?;
    Ok(bytes)
}

/// Refuses what a parser would take too long for, and axes whose product, which the parser computes, is none.
fn check_text(text: &[u8]) -> Result<()> {
    let (mut depth, mut elements, mut rest) = (0_usize, 1_u64, text);
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            // Names and types are no axes.
            b'\'' | b'"' => {
                let end = rest.iter().position(|&other| other == byte || other == b'\\');
                let Some(end) = end.filter(|&end| rest[end] == byte) else {
                    bail!("it has a string without an end")
                };
                rest = &rest[end + 1..];
            }
            b'0'..=b'9' => {
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'.';
                let end = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
                let number = &text[text.len() - rest.len() - 1..][..end + 1];
                let number = str::from_utf8(number)?;
                let axis: u64 = number.parse().context(number.to_owned())?;
                let product = elements.checked_mul(axis.max(1));
                elements = product.with_context(|| format!("{number} is too large for an axis"))?;
                rest = &rest[end..];
            }
            _ => {}
        }
        ensure!(depth <= DEEPEST, "it has brackets within brackets, more than {DEEPEST} deep");
    }
    Ok(())
}

fn element_type<T: ElementType>(dtype: &DType, what: &str) -> Result<T> {
    let Some(element_type) = number(dtype).and_then(|number| T::try_from(number).ok()) else {
        bail!(
            "the element type is {}; {what} are {}: save x.astype('{}')",
            dtype.descr(),
            T::NAMES,
            T::NUMPY
        );
    };
    if let DType::Plain(plain) = dtype {
        let descr = dtype.descr();
        ensure!(
            plain.endianness() != Endianness::Big,
            "the element type {descr} is big-endian; save x.astype({})",
            descr.replace('>', "<")
        );
    }
    Ok(element_type)
}

fn number(dtype: &DType) -> Option<Number> {
    let DType::Plain(plain) = dtype else { return None };
    let bytes = usize::try_from(plain.size_field()).ok()?;
    Some(match (plain.type_char(), bytes) {
        (TypeChar::Float, 2) => Number::Float(Float::F16),
        (TypeChar::Float, 4) => Number::Float(Float::F32),
        (TypeChar::Float, 8) => Number::Float(Float::F64),
        (TypeChar::Int, 1 | 2 | 4 | 8) => Number::Integer(Integer::Signed { bytes }),
        (TypeChar::Uint, 1 | 2 | 4 | 8) => Number::Integer(Integer::Unsigned { bytes }),
        _ => return None,
    })
}

/// Writes the header of an array of this element type, `<f4` say, and shape.
pub fn write_header(out: &mut impl Write, element_type: &str, shape: &[usize]) -> io::Result<()> {
    let shape: Vec<u64> = shape.iter().map(|&axis| axis as u64).collect();
    let element_type = DType::new_scalar(element_type.parse().map_err(io::Error::other)?);
    WriteOptions::new_header_only().dtype(element_type).shape(&shape).writer(out).write_header_only()?;
    Ok(())
}
