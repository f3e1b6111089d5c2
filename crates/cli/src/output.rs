//! An output that appears whole or not at all: it is written beside its place and renamed when it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, StdoutLock, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use same_file::Handle;
use tempfile::NamedTempFile;

use crate::array::{Array, display_name, is_standard_stream, npy};
use crate::{Usage, interrupt};

/// Where a result goes.
pub struct Output {
    /// How messages call it.
    name: String,
    target: Target,
}

enum Target {
    Stdout(StdoutLock<'static>),
    /// A device or a named pipe: there is nothing beside it, and renaming over it would replace it.
    Special(File),
    Beside {
        file: NamedTempFile,
        place: PathBuf,
    },
}

impl Output {
    /// An output at `path`; standard output for none, and for `-`. Nothing is at `path` before [`Output::finish`].
    pub fn create(path: Option<&Path>) -> Result<Self> {
        match path.filter(|path| !is_standard_stream(path)) {
            None => Ok(Self { name: "standard output".into(), target: Target::Stdout(io::stdout().lock()) }),
            Some(path) => {
                let name = path.display().to_string();
                let target = Self::open(path).with_context(|| format!("{name}: cannot write"))?;
                Ok(Self { name, target })
            }
        }
    }

    fn open(path: &Path) -> Result<Target> {
        // Through symbolic links, so that the link stays and what it names is replaced.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let existing = fs::metadata(&place).ok();
        match &existing {
            Some(metadata) if metadata.is_dir() => bail!(io::Error::from(io::ErrorKind::IsADirectory)),
            Some(metadata) if !metadata.is_file() => {
                return Ok(Target::Special(OpenOptions::new().write(true).open(&place)?));
            }
            Some(metadata) if metadata.permissions().readonly() => bail!("the file there is read-only"),
            _ => {}
        }
        let directory = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !directory.is_dir() {
            bail!("there is no directory {}", directory.display());
        }
        let stem = place.file_name().unwrap_or_default().to_string_lossy();
        let mut temporary = interrupt::temporary();
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{stem}.");
        builder.prefix(&prefix).suffix(".partial");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What any program that creates a file asks for; the process's mask applies.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(directory)?;
        if let Some(metadata) = existing {
            file.as_file().set_permissions(metadata.permissions())?;
        }
        *temporary = Some(file.path().to_owned());
        Ok(Target::Beside { file, place })
    }

    /// Writes it all, or says to where it could not.
    pub fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let target: &mut dyn Write = match &mut self.target {
            Target::Stdout(stdout) => stdout,
            Target::Special(file) => file,
            Target::Beside { file, .. } => file,
        };
        write(target).with_context(|| format!("{}: cannot write", self.name))
    }

    /// The output is complete: it appears in its place.
    pub fn finish(mut self) -> Result<()> {
        self.write(|target| target.flush())?;
        if let Target::Beside { file, place } = self.target {
            let mut temporary = interrupt::temporary();
            file.persist(place).map_err(|error| error.error).with_context(|| self.name.clone())?;
            *temporary = None;
        }
        Ok(())
    }
}

/// A number for each row, as `f64`, in an `.npy` file, if one is asked for.
pub struct PerRow(Option<Output>);

impl PerRow {
    /// For the rows of `array`.
    pub fn create(path: Option<&Path>, array: &Array, inputs: &[&Path]) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let mut output = create_beside_text(path, inputs)?;
        // A row alone is one row still.
        let axes = array.shape.split_last().map_or(&[][..], |(_, axes)| axes);
        let shape = if axes.is_empty() { &[1] } else { axes };
        output.write(|out| npy::write_header(&mut { out }, "<f8", shape))?;
        Ok(Self(Some(output)))
    }

    pub fn write(&mut self, numbers: &[f64]) -> Result<()> {
        let Some(output) = &mut self.0 else { return Ok(()) };
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        output.write(|out| out.write_all(&bytes))
    }

    /// The file is complete.
    pub fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), Output::finish)
    }
}

/// An output at `path` of a command that prints something too, made of `inputs`.
pub fn create_beside_text(path: &Path, inputs: &[&Path]) -> Result<Output> {
    ensure!(
        !is_standard_stream(path),
        Usage("what is printed goes to standard output: name a file instead of -".into())
    );
    for input in inputs {
        ensure!(
            !is_same_file(input, path),
            "{}: is an input file too ({})",
            path.display(),
            display_name(input)
        );
    }
    interrupt::watch()?;
    Output::create(Some(path))
}

/// What was to be printed has been, or there was no room for it.
pub fn printed<T>(result: io::Result<T>) -> Result<T> {
    result.context("standard output: cannot write")
}

/// The error of writing itself, by which a closed pipe is known.
pub fn csv_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Whether writing to `output` would replace the file that `input` names.
pub fn is_same_file(input: &Path, output: &Path) -> bool {
    // Handles are opened files, and a named pipe must not be opened just to look at it.
    let is_file = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if !is_file(output) {
        return false;
    }
    let input = match is_standard_stream(input) {
        true => Handle::stdin(),
        false if is_file(input) => Handle::from_path(input),
        false => return false,
    };
    // What cannot be opened is said where it is opened.
    matches!((input, Handle::from_path(output)), (Ok(input), Ok(output)) if input == output)
}
