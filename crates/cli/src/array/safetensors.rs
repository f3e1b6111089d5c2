//! The headers of `.safetensors` files: a length of eight bytes, that much JSON, and the tensors one after the other.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::{ElementType, Float, Layout};

/// What the format allows, so that a corrupt length does not ask for all the memory there is.
const LONGEST_HEADER: u64 = 100_000_000;

/// Whether a file that begins so is a `.safetensors` file: the length of the header, then an opening brace.
pub fn is_header(start: &[u8]) -> bool {
    start.split_first_chunk().is_some_and(|(length, json)| {
        (2..=LONGEST_HEADER).contains(&u64::from_le_bytes(*length)) && json.first() == Some(&b'{')
    })
}

pub(super) fn read_header(source: &mut impl Read, tensor: Option<&str>, what: &str) -> Result<Layout<Float>> {
    let header = read_metadata(source).context("cannot read the .safetensors header")?;
    let names = header.offset_keys();
    let name = match (tensor, names.as_slice()) {
        (Some(name), _) => name,
        (None, []) => bail!("holds no tensors"),
        (None, [only]) => only,
        (None, several) => {
            bail!("holds {} tensors; choose one with --tensor: {}", several.len(), listed(several))
        }
    };
    let Some(info) = header.info(name) else {
        bail!("has no tensor `{name}`; it holds {}", listed(&names));
    };
    let element_type = match info.dtype {
        Dtype::F16 => Float::F16,
        Dtype::BF16 => Float::Bf16,
        Dtype::F32 => Float::F32,
        Dtype::F64 => Float::F64,
        other => bail!("tensor `{name}` is of type {other}; {what} are {}", Float::NAMES),
    };
    let gap = info.data_offsets.0 as u64;
    Ok(Layout { shape: info.shape.clone(), element_type, tensor: Some(name.to_owned()), gap })
}

fn read_metadata(source: &mut impl Read) -> Result<Metadata> {
    let mut length = [0; 8];
    source.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut json = Vec::new();
    source.take(length).read_to_end(&mut json)?;
    ensure!(json.len() as u64 == length, "it takes {length} bytes, found {}", json.len());
    Ok(serde_json::from_slice(&json)?)
}

/// Names of tensors for a message, which a model of a thousand tensors must not flood.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

/// Writes the header of a file with one `f32` tensor.
pub fn write_header(out: &mut impl Write, tensor: &str, shape: &[usize]) -> io::Result<()> {
    let bytes = shape.iter().product::<usize>() * size_of::<f32>();
    let info = TensorInfo { dtype: Dtype::F32, shape: shape.to_vec(), data_offsets: (0, bytes) };
    let metadata = Metadata::new(None, vec![(tensor.to_owned(), info)]).map_err(io::Error::other)?;
    let mut json = serde_json::to_vec(&metadata)?;
    json.resize(json.len().next_multiple_of(8), b' '); // the data is to be aligned
    out.write_all(&(json.len() as u64).to_le_bytes())?;
    out.write_all(&json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_header_reads_back() {
        let mut file = Vec::new();
        write_header(&mut file, "probabilities", &[2, 3]).unwrap();
        assert_eq!(file.len() % 8, 0);
        assert!(is_header(&file));
        let layout = read_header(&mut file.as_slice(), None, "logits").unwrap();
        assert_eq!((layout.shape, layout.tensor.as_deref()), (vec![2, 3], Some("probabilities")));
        assert_eq!((layout.element_type, layout.gap), (Float::F32, 0));
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let names: Vec<String> = (0..25).map(|i| format!("t{i}")).collect();
        assert!(listed(&names).ends_with("`t19` and 5 more"));
    }
}
