//! The headers of `.npy` files.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar, WriteOptions, WriterBuilder};

use super::{ElementType, Layout, Shape};

/// How an `.npy` file begins.
pub const MAGIC: &[u8] = b"\x93NUMPY";

pub(super) fn read_header(source: &mut impl Read) -> Result<Layout> {
    let header = NpyHeader::from_reader(source).context("cannot read the .npy header")?;
    let element_type = element_type(&header.dtype())?;
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

fn element_type(dtype: &DType) -> Result<ElementType> {
    if let DType::Plain(plain) = dtype
        && plain.type_char() == TypeChar::Float
    {
        let element_type = match plain.size_field() {
            2 => Some(ElementType::F16),
            4 => Some(ElementType::F32),
            8 => Some(ElementType::F64),
            _ => None,
        };
        if let Some(element_type) = element_type {
            ensure!(
                plain.endianness() != Endianness::Big,
                "the element type {} is big-endian; save x.astype('<f{}')",
                dtype.descr(),
                plain.size_field()
            );
            return Ok(element_type);
        }
    }
    bail!("the element type is {}; logits are {}: save x.astype('<f4')", dtype.descr(), ElementType::NAMES)
}

/// Writes the header of an `f32` array of this shape.
pub fn write_header(out: &mut impl Write, shape: &[usize]) -> io::Result<()> {
    let shape: Vec<u64> = shape.iter().map(|&axis| axis as u64).collect();
    let f32_little_endian = DType::new_scalar("<f4".parse().map_err(io::Error::other)?);
    WriteOptions::new_header_only().dtype(f32_little_endian).shape(&shape).writer(out).write_header_only()?;
    Ok(())
}
