//! `cargo xtask describe`: what a checkpoint holds.

use std::path::Path;

use crate::process;
use crate::workspace::Workspace;

/// Runs the library's example, for this program does not link the library: it is to build in seconds.
pub fn run(workspace: &Workspace, file: &Path) -> Result<(), String> {
    // Cargo is started in the root of the workspace.
    let file = std::path::absolute(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut cargo = process::cargo(workspace, "run --quiet --package gristmill --example describe --");
    cargo.arg(file);
    process::run(&mut cargo)
}
