//! Driving the command as a process.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use npyz::WriterBuilder;
use tempfile::TempDir;

pub const OCR_LOGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/ocr_logits.npy");
pub const OCR_CLASSES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/ocr_classes.txt");

/// Logits of a classifier of handwritten digits, or the digits that they are.
pub fn digits(part: &str) -> String {
    format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/digits_{}.npy"), part)
}

/// A directory to work in, and the command run there.
pub struct Place(TempDir);

/// How a run ended.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The command with these arguments, split at spaces.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logits"));
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        for variable in ["LOGITS_ISA", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &str) -> Run {
        finish(&mut self.command(arguments))
    }

    /// Runs the command with these bytes on standard input.
    pub fn run_with_input(&self, arguments: &str, input: &[u8]) -> Run {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A run that fails early does not read it all.
        let _ = child.stdin.take().unwrap().write_all(input);
        Run::from(child.wait_with_output().unwrap())
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Writes an `.npy` file of any type.
    pub fn save<T: npyz::AutoSerialize + Copy>(&self, name: &str, shape: &[u64], data: &[T]) {
        self.write(name, npy(shape, data));
    }

    /// Reads an `.npy` file of `f32`: its shape and its elements.
    pub fn load(&self, name: &str) -> (Vec<u64>, Vec<f32>) {
        parse_npy(&fs::read(self.path(name)).unwrap())
    }

    /// The same of `f64`.
    pub fn load_doubles(&self, name: &str) -> (Vec<u64>, Vec<f64>) {
        let file = fs::read(self.path(name)).unwrap();
        let file = npyz::NpyFile::new(&file[..]).unwrap();
        (file.shape().to_vec(), file.into_vec().unwrap())
    }

    pub fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl From<std::process::Output> for Run {
    fn from(output: std::process::Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Self { code: output.status.code(), stdout: output.stdout, stderr }
    }
}

impl Run {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// The first number behind `label`.
    #[track_caller]
    pub fn number(&self, label: &str) -> f64 {
        let text = self.text();
        let behind = text.split_once(label).unwrap_or_else(|| panic!("{label} is not in\n{text}")).1;
        behind.split_whitespace().next().unwrap().trim_end_matches('%').parse().unwrap()
    }

    /// Done, with nothing to say on standard error.
    #[track_caller]
    pub fn quietly(self) -> Self {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""));
        self
    }

    /// Ended with this code, and a message with all these parts.
    #[track_caller]
    pub fn says(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {:?}", self.stderr);
        }
        self
    }
}

pub fn finish(command: &mut Command) -> Run {
    Run::from(command.output().unwrap())
}

pub fn npy<T: npyz::AutoSerialize + Copy>(shape: &[u64], data: &[T]) -> Vec<u8> {
    let mut file = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut file);
    let mut writer = options.begin_nd().unwrap();
    writer.extend(data.iter().copied()).unwrap();
    writer.finish().unwrap();
    file
}

/// The bytes of an `.npy` file whose header says what no writer here would.
pub fn npy_with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{header}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

pub fn parse_npy(file: &[u8]) -> (Vec<u64>, Vec<f32>) {
    let file = npyz::NpyFile::new(file).unwrap();
    (file.shape().to_vec(), file.into_vec().unwrap())
}

/// Logits that are all different.
pub fn some_logits(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919) % 10_007) as f32 / 500.0 - 10.0).collect()
}

/// Rows of `cols` as softmax, or log-softmax, is defined.
#[track_caller]
pub fn assert_softmax(got: &[f32], logits: &[f32], cols: usize, temperature: f64, log: bool) {
    assert_eq!(got.len(), logits.len());
    let mut want = vec![0.0; cols];
    for (got, logits) in got.chunks(cols).zip(logits.chunks(cols)) {
        if log {
            logits::reference::log_softmax(logits, temperature, &mut want);
        } else {
            logits::reference::softmax(logits, temperature, &mut want);
        }
        for (&got, &want) in got.iter().zip(&want) {
            let error = logits::reference::ulp_error(got, want);
            assert!(error <= 6.0, "{got} instead of {want}: {error} ULP");
        }
    }
}

/// `path` as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
