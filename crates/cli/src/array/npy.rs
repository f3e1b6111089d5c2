//! The headers of `.npy` files.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar, WriteOptions, WriterBuilder};

use super::{ElementType, Float, Integer, Layout, Number, Shape};

/// How an `.npy` file begins.
pub const MAGIC: &[u8] = b"\x93NUMPY";

pub(super) fn read_header<T: ElementType>(source: &mut impl Read, what: &str) -> Result<Layout<T>> {
    let header = NpyHeader::from_reader(source).context("cannot read the .npy header")?;
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
