//! The temporary file of an output must not outlive a run that is interrupted.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

/// The file to remove when a signal comes. Whoever creates or renames it holds this lock meanwhile, so that the
/// signal finds the file either named here or not there at all.
static TEMPORARY: Mutex<Option<PathBuf>> = Mutex::new(None);

pub fn temporary() -> MutexGuard<'static, Option<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock is handed back, to be held until the process ends: no new file may appear.
fn remove_temporary() -> MutexGuard<'static, Option<PathBuf>> {
    let mut temporary = temporary();
    if let Some(path) = temporary.take() {
        // If this fails there is nobody left to tell.
        let _ = std::fs::remove_file(path);
    }
    temporary
}

/// From now on SIGINT and SIGTERM remove the temporary file before they end the process as they always do, so that a
/// shell sees 130 or 143 and a loop around this command stops.
#[cfg(unix)]
pub fn watch() -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};

    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).context("cannot handle signals")?;
    std::thread::spawn(move || {
        for signal in &mut signals {
            let _until_the_end = remove_temporary();
            if signal_hook::low_level::emulate_default_handler(signal).is_err() {
                std::process::exit(128 + signal);
            }
        }
    });
    Ok(())
}

/// From now on Ctrl-C removes the temporary file before it ends the process.
#[cfg(not(unix))]
pub fn watch() -> Result<()> {
    ctrlc::set_handler(|| {
        let _until_the_end = remove_temporary();
        std::process::exit(130);
    })
    .context("cannot handle Ctrl-C")
}
