//! `cargo xtask bench`: the main job.

use crate::workspace::Workspace;
use crate::{process, setup};

/// A driver, then `cargo bench` with the person's own arguments.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<(), String> {
    setup::driver()?;
    let mut cargo = process::cargo(workspace, "bench --package gristmill --bench ops --");
    cargo.args(args);
    process::run(&mut cargo)
}
