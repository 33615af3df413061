//! `cargo xtask registers`: what a GPU's compiler makes of the kernels, where no GPU is.

use std::process::Command;

use crate::debian::Root;
use crate::workspace::Workspace;
use crate::{debian, process, vulkan};

/// The GPU that is compiled for, by RADV's name: RDNA3, with matrix units of 16 by 16.
const FAMILY: &str = "navi31";

/// The driver, then the program with the person's own arguments.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<(), String> {
    if let Some(reason) = debian::missing(debian::RADV) {
        return Err(format!("no {}: {reason}", debian::RADV.what));
    }
    process::run(&mut command(workspace, debian::root(debian::RADV)?, args)?)
}

/// In the profile and with the packages of the tests, which have compiled nearly all of it; it is the driver that works.
pub fn command(workspace: &Workspace, root: Root, args: &[String]) -> Result<Command, String> {
    let mut cargo = process::cargo(
        workspace,
        "bench --profile dev --package gristmill --package gristmill-www --bench registers --",
    );
    cargo.args(args);
    vulkan::show_only(&mut cargo, &[root.icd])?;
    process::run_by(&mut cargo, &root.runner);
    cargo.env("RADV_FORCE_FAMILY", FAMILY);
    Ok(cargo)
}
