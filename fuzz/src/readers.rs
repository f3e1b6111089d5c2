//! The readers of `.npy` and `.safetensors` files: of any bytes they make numbers or an error, and of a file the same as of
//! a pipe, in blocks of any size.
//!
//! They are compiled here from the sources of the command, which is no library.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use half::{bf16, f16};

use crate::array::{Array, ClassIds, Float, Integer, Number, npy, safetensors};
use crate::bytes::Bytes;

/// A pipe takes as much before anybody reads.
const PIPE: usize = 1 << 16;

/// A file in memory that is written anew each time, without a name of its own.
static FILE: LazyLock<Mutex<File>> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let file = if memory.is_dir() { tempfile::tempfile_in(memory) } else { tempfile::tempfile() };
    Mutex::new(file.expect("a temporary file"))
});

pub fn check(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    match bytes.byte() % 8 {
        0 | 1 => read_all(bytes.luck, bytes.rest()),
        2..=4 => read_all(bytes.luck, &npy_file(&mut bytes)),
        5 | 6 => read_all(bytes.luck, &safetensors_file(&mut bytes)),
        _ => written_headers(&mut bytes),
    }
}

/// The path of something that is open.
fn path_of(file: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn pipe_with(bytes: &[u8]) -> Option<OwnedFd> {
    if bytes.len() > PIPE {
        return None;
    }
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(bytes).expect("room in the pipe");
    Some(reader.into())
}

/// Reads a file for logits, and if `luck` wants that as a pipe, or for targets and for classes.
fn read_all(luck: u64, content: &[u8]) {
    let file = FILE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    file.set_len(0).expect("a file");
    file.write_all_at(content, 0).expect("a file");
    let path = path_of(&*file);

    let logits = Array::<Float>::open(&path, None, "logits").map(|array| floats(array, 3));
    let pipe = if luck & 0x300 == 0 { pipe_with(content) } else { None };
    let from_pipe = pipe.as_ref().map(|pipe| Array::<Float>::open(&path_of(pipe), None, "logits"));
    let from_pipe = from_pipe.map(|array| array.map(|array| floats(array, usize::MAX)));
    match (&logits, &from_pipe) {
        (Ok(Ok(file)), Some(Ok(Ok(pipe)))) => {
            assert_eq!(file.shape, pipe.shape);
            let same = file.numbers.iter().zip(&pipe.numbers).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same && file.numbers.len() == pipe.numbers.len(), "a pipe has other numbers");
        }
        // What a file lacks is known when it is opened, and of a pipe when it ends.
        (Ok(Ok(_)), Some(_)) => panic!("a pipe cannot be read, but a file can"),
        (_, Some(Ok(Ok(pipe)))) => {
            assert!(pipe.numbers.is_empty(), "a file cannot be read, but a pipe can: {:?}", pipe.shape);
        }
        _ => {}
    }
    if let Ok(Ok(found)) = &logits {
        judge(content, found);
    }

    match luck & 0xc00 {
        0 => {
            if let Ok(array) = Array::<Number>::open_npy(&path, "targets") {
                match array.element_type {
                    Number::Float(float) => drop(floats(array.with(float), 7)),
                    Number::Integer(integer) => drop(classes(array.with(integer))),
                }
            }
        }
        0x400 => {
            if let Ok(array) = Array::<Integer>::open_npy(&path, "classes") {
                drop(classes(array));
            }
        }
        _ => {}
    }
}

/// What was read of a file.
struct Found {
    shape: Vec<usize>,
    tensor: Option<String>,
    element_type: Float,
    numbers: Vec<f32>,
}

/// Reads all rows in blocks, of which some are passed over and asked for again.
fn floats(mut array: Array, block_rows: usize) -> anyhow::Result<Found> {
    let (rows, cols) = (array.rows(), array.cols());
    let shape = array.shape.clone();
    assert!(
        shape
            .iter()
            .try_fold(1_usize, |product, &axis| product.checked_mul(axis))
            .is_none_or(|all| all == rows * cols)
    );
    let _ = (array.title(), array.title_without(3), array.ensure_filled(), array.ensure_row(rows / 2));
    // Rows without columns are as many as a header says, and nothing is read of them.
    let block_rows = block_rows.min(array.rows_per_block());
    let (mut numbers, mut block) = (Vec::new(), Vec::new());
    loop {
        array.read_rows(block_rows, &mut block)?;
        if block.is_empty() {
            break;
        }
        assert!(block.len() <= block_rows.saturating_mul(cols) && block.len() % cols == 0, "half a row");
        numbers.extend_from_slice(&block);
    }
    assert_eq!(numbers.len(), rows * cols, "not all that the header says");
    Ok(Found { shape, tensor: array.tensor.clone(), element_type: array.element_type, numbers })
}

/// Reads all classes.
fn classes(mut array: Array<Integer>) -> anyhow::Result<()> {
    let rows = array.rows();
    let mut found = 0;
    loop {
        let read = match array.read_classes(5)? {
            ClassIds::Signed(classes) => classes.len(),
            ClassIds::Unsigned(classes) => classes.len(),
        };
        found += read;
        if read == 0 {
            break;
        }
    }
    assert_eq!(found, rows, "not all that the header says");
    Ok(())
}

/// Numbers are those behind the header, wherever that ends.
fn judge(content: &[u8], found: &Found) {
    let start = if content.starts_with(npy::MAGIC) {
        let long = content[6] >= 2;
        let length =
            |bytes: &[u8]| bytes.iter().rev().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
        if long { 12 + length(&content[8..12]) } else { 10 + length(&content[8..10]) }
    } else {
        let header: [u8; 8] = content[..8].try_into().expect("a header");
        let json_len = u64::from_le_bytes(header) as usize;
        let json: serde_json::Value = serde_json::from_slice(&content[8..8 + json_len]).expect("read before");
        let name = found.tensor.as_deref().expect("a name");
        8 + json_len + json[name]["data_offsets"][0].as_u64().expect("an offset") as usize
    };
    let data = &content[start..];
    let bytes = match found.element_type {
        Float::F16 | Float::Bf16 => 2,
        Float::F32 => 4,
        Float::F64 => 8,
    };
    for (i, &got) in found.numbers.iter().enumerate() {
        let element = &data[i * bytes..][..bytes];
        let half = || u16::from_le_bytes(element.try_into().expect("two bytes"));
        let want = match found.element_type {
            Float::F16 => f16::from_bits(half()).to_f32(),
            Float::Bf16 => bf16::from_bits(half()).to_f32(),
            Float::F32 => f32::from_le_bytes(element.try_into().expect("four bytes")),
            Float::F64 => f64::from_le_bytes(element.try_into().expect("eight bytes")) as f32,
        };
        assert!(got.to_bits() == want.to_bits(), "element {i} is {got:e} and not {want:e}");
    }
}

fn axis(bytes: &mut Bytes<'_>) -> u64 {
    match bytes.byte() {
        0..=15 => bytes.of(&[0, 1, u64::MAX, 1 << 63, 1 << 62, 1 << 32, 1 << 31, i64::MAX as u64]),
        16..=23 => bytes.word(),
        byte => u64::from(byte % 9),
    }
}

/// An `.npy` file that is nearly one.
fn npy_file(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let descr = bytes.of(&[
        "'<f4'",
        "'<f8'",
        "'<f2'",
        "'<i8'",
        "'|u1'",
        "'|i1'",
        "'<u2'",
        "'<i4'",
        "'>f4'",
        "'<c8'",
        "'<f16'",
        "[('a', '<f4')]",
        "'<U3'",
        "('<f4', (2,))",
        "'|O'",
        "''",
        "None",
        "'<f4",
    ]);
    let order = bytes.of(&["False", "False", "False", "True", "0", "'C'"]);
    let axes: Vec<String> = (0..bytes.below(5)).map(|_| axis(bytes).to_string()).collect();
    let shape = match axes.as_slice() {
        [only] => format!("({only},)"),
        axes => format!("({})", axes.join(", ")),
    };
    let mut header = match bytes.byte() {
        0..=7 => format!("{{'shape': {shape}, 'descr': {descr}, 'fortran_order': {order}}}"),
        8..=11 => format!("{{'descr': {descr}, 'shape': {shape}}}"),
        12..=15 => "[".repeat(bytes.below(5000)),
        _ => format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"),
    };
    // Some of it is something else.
    if bytes.byte() < 64 {
        let mut broken = header.into_bytes();
        for _ in 0..1 + bytes.below(3) {
            let at = bytes.below(broken.len().max(1));
            if let Some(byte) = broken.get_mut(at) {
                *byte = bytes.byte();
            }
        }
        header = String::from_utf8_lossy(&broken).into_owned();
    }
    header.push('\n');
    let version = bytes.of(&[1, 1, 1, 2, 3, 0, 9]);
    let mut file = npy::MAGIC.to_vec();
    file.extend([version, 0]);
    let length = match bytes.byte() {
        0..=7 => bytes.word() as u32,
        _ => header.len() as u32,
    };
    if version == 1 {
        file.extend((length as u16).to_le_bytes());
    } else {
        file.extend(length.to_le_bytes());
    }
    file.extend(header.as_bytes());
    file.extend(bytes.rest());
    file
}

/// A `.safetensors` file that is nearly one.
fn safetensors_file(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut offset = 0_u64;
    for i in 0..bytes.below(3) {
        let dtype = bytes.of(&["F32", "F64", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "F4", "f32"]);
        let axes: Vec<u64> = (0..bytes.below(4)).map(|_| axis(bytes)).collect();
        let element = match dtype {
            "F64" | "I64" => 8_u64,
            "F32" => 4,
            "F16" | "BF16" => 2,
            _ => 1,
        };
        let size = axes.iter().fold(element, |product, &axis| product.wrapping_mul(axis));
        let (mut from, mut to) = (offset, offset.wrapping_add(size));
        match bytes.byte() {
            0..=7 => from = bytes.word(),
            8..=15 => to = bytes.word(),
            16..=23 => (from, to) = (to, from),
            _ => {}
        }
        offset = to;
        let axes: Vec<String> = axes.iter().map(u64::to_string).collect();
        let name = bytes.of(&["a", "b", "__metadata__", "", "\\u0007"]);
        entries.push(format!(
            "\"{name}{i}\":{{\"dtype\":\"{dtype}\",\"shape\":[{}],\"data_offsets\":[{from},{to}]}}",
            axes.join(",")
        ));
    }
    if bytes.byte() < 16 {
        entries.push("\"__metadata__\":{\"format\":\"pt\"}".into());
    }
    let mut json = format!("{{{}}}", entries.join(","));
    if bytes.byte() < 8 {
        json = "{\"a\":".repeat(1 + bytes.below(3000));
    }
    let mut json = json.into_bytes();
    if bytes.byte() < 48 {
        let at = bytes.below(json.len());
        json[at] = bytes.byte();
    }
    let length = match bytes.byte() {
        0..=7 => bytes.word() >> (bytes.byte() % 64),
        _ => json.len() as u64,
    };
    let mut file = length.to_le_bytes().to_vec();
    file.extend(json);
    file.extend(bytes.rest());
    file
}

/// What the command writes it reads.
fn written_headers(bytes: &mut Bytes<'_>) {
    let shape: Vec<usize> = (0..1 + bytes.below(3)).map(|_| bytes.below(6)).collect();
    let elements: usize = shape.iter().product();
    let numbers: Vec<f32> = (0..elements).map(|_| bytes.float()).collect();
    let mut file = Vec::new();
    if bytes.byte().is_multiple_of(2) {
        npy::write_header(&mut file, "<f4", &shape).expect("memory");
    } else {
        safetensors::write_header(&mut file, "probabilities", &shape).expect("memory");
    }
    let header = file.len();
    file.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
    let missing = bytes.below(3).min(file.len() - header);
    file.truncate(file.len() - missing);

    let pipe = pipe_with(&file).expect("a small file");
    let found = Array::<Float>::open(&path_of(&pipe), None, "logits").and_then(|array| floats(array, 2));
    if missing > 0 {
        assert!(found.is_err(), "{missing} bytes are missing, and nobody says so");
        return;
    }
    let found = found.expect("what was written");
    assert_eq!(found.shape, shape);
    assert!(found.numbers.iter().zip(&numbers).all(|(a, b)| a.to_bits() == b.to_bits()));
    read_all(0, &file);
}
