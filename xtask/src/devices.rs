//! The devices on which the tests run: the matrix.
//!
//! On Linux these are two software drivers that everyone can have, chosen because they differ: lavapipe has f16 and subgroups
//! of 8, SwiftShader has no f16, subgroups of 4 and small limits. A person's own GPU comes last. The newest lavapipe, which has matrix
//! units, is apart: on it only those plans are tested that the others have not.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::Root;
use crate::process;
use crate::setup::Browser;
use crate::vulkan::{self, Libraries};

/// A device, and how a test gets it and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub name: &'static str,
    /// The drivers that the Vulkan loader may see; none means that it looks for itself.
    icds: Vec<PathBuf>,
    /// A part of the adapter's name, for `GRISTMILL_ADAPTER`.
    adapter: Option<&'static str>,
    /// What runs a test on it, with arguments; none where tests run by themselves.
    runner: Vec<String>,
}

impl Device {
    /// A processor that acts as a GPU.
    pub fn is_software(&self) -> bool {
        self.adapter.is_some()
    }

    /// Makes a command run on this device.
    pub fn choose(&self, command: &mut Command) -> Result<(), String> {
        match self.adapter {
            Some(name) => command.env("GRISTMILL_ADAPTER", name),
            None => command.env_remove("GRISTMILL_ADAPTER"),
        };
        if !self.icds.is_empty() {
            vulkan::show_only(command, &self.icds)?;
        }
        if !self.runner.is_empty() {
            process::run_by(command, &self.runner);
        }
        Ok(())
    }
}

/// Makes a command find no device, so that a test that needs one fails where it says that it needs none.
pub fn hide_all(command: &mut Command) {
    command.env_remove("GRISTMILL_ADAPTER");
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        command.env(name, "none");
    }
}

/// The newest lavapipe.
pub fn newest_lavapipe(root: Root) -> Device {
    Device { name: "newest lavapipe", icds: vec![root.icd], adapter: Some("llvmpipe"), runner: root.runner }
}

/// A place in the matrix, and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Here(Device),
    /// It must be there and is not, for this reason.
    Missing(String),
    /// It is there and cannot be tested on, for this reason.
    LeftOut(String),
}

/// The matrix of this machine: each place with its name.
pub fn matrix(browser: Option<&Browser>) -> Vec<(String, Place)> {
    if !cfg!(target_os = "linux") {
        let name = "this machine's GPU";
        let device = Device { name, icds: Vec::new(), adapter: None, runner: Vec::new() };
        return vec![(name.to_owned(), Place::Here(device))];
    }
    let found = vulkan::find();
    let mut devices = vec![
        software("lavapipe", "llvmpipe", found.named(&["lvp"])),
        software("SwiftShader", "SwiftShader", swiftshader(browser)),
    ];
    devices.extend(gpu_vendors(Path::new("/")).into_iter().map(|vendor| gpu(vendor, &found)));
    devices
}

fn software(name: &'static str, adapter: &'static str, icds: Vec<PathBuf>) -> (String, Place) {
    let place = if icds.is_empty() {
        Place::Missing(format!("{name} is not installed: no ICD file of it was found"))
    } else {
        Place::Here(Device { name, icds, adapter: Some(adapter), runner: Vec::new() })
    };
    (name.to_owned(), place)
}

/// A GPU of this PCI vendor. One that cannot be tested on is no failure, since nothing here could mend it.
fn gpu(vendor: u32, found: &vulkan::Found) -> (String, Place) {
    let (name, prefixes) = match vendor {
        0x8086 => ("Intel GPU", ["intel", "intel"]),
        0x1002 => ("AMD GPU", ["radeon", "amd"]),
        0x10de => ("NVIDIA GPU", ["nvidia", "nouveau"]),
        // The display adapters of virtual machines, most of which have no Vulkan.
        _ => {
            let reason = "which Vulkan drivers are of this vendor is not known here";
            return (format!("GPU of PCI vendor {vendor:#06x}"), Place::LeftOut(reason.to_owned()));
        }
    };
    let icds = found.named(&prefixes);
    let place = if icds.is_empty() {
        Place::LeftOut("it has no Vulkan driver here".to_owned())
    } else {
        Place::Here(Device { name, icds, adapter: None, runner: Vec::new() })
    };
    (name.to_owned(), place)
}

/// Chromium brings SwiftShader, in its own directory and outside of what the loader searches.
fn swiftshader(browser: Option<&Browser>) -> Vec<PathBuf> {
    const DIRS: [&str; 6] = [
        "/usr/lib/chromium",
        "/usr/lib/chromium-browser",
        "/usr/lib64/chromium-browser",
        "/opt/google/chrome",
        "/snap/chromium/current/usr/lib/chromium-browser",
        "/usr/lib64/chromium",
    ];
    let libraries = Libraries::of_this_machine();
    let beside = browser
        .and_then(|browser| browser.chromium.canonicalize().ok())
        .and_then(|file| file.parent().map(Path::to_path_buf));
    beside
        .into_iter()
        .chain(DIRS.iter().map(PathBuf::from))
        .map(|dir| dir.join("vk_swiftshader_icd.json"))
        .find(|icd| vulkan::has_library(icd, &libraries))
        .into_iter()
        .collect()
}

/// The PCI vendors of the GPUs below this root, each once. Mesa installs the drivers of many GPUs at once, so the drivers do
/// not tell which GPU is there.
fn gpu_vendors(root: &Path) -> Vec<u32> {
    let mut vendors = Vec::new();
    for entry in std::fs::read_dir(root.join("sys/class/drm")).into_iter().flatten().flatten() {
        // A render node is a GPU; a card without one is only a display.
        if !entry.file_name().to_string_lossy().starts_with("renderD") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path().join("device/vendor")).unwrap_or_default();
        vendors.extend(u32::from_str_radix(text.trim().trim_start_matches("0x"), 16));
    }
    // Machines that only compute have no render node.
    if root.join("proc/driver/nvidia/gpus").is_dir() {
        vendors.push(0x10de);
    }
    vendors.sort_unstable();
    vendors.dedup();
    vendors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    // Only there are lists of paths joined by a colon.
    #[cfg(unix)]
    #[test]
    fn a_device_is_chosen_by_the_environment() {
        let (_, place) = software("lavapipe", "llvmpipe", vec!["/a.json".into(), "/b.json".into()]);
        let mut command = Command::new("cargo");
        let Place::Here(device) = place else { unreachable!("it has drivers") };
        device.choose(&mut command).expect("the paths can be joined");
        assert_eq!(
            process::shown(&command),
            "GRISTMILL_ADAPTER=llvmpipe VK_DRIVER_FILES=/a.json:/b.json VK_ICD_FILENAMES=/a.json:/b.json cargo"
        );
        let (_, missing) = software("SwiftShader", "SwiftShader", Vec::new());
        assert!(matches!(missing, Place::Missing(reason) if reason.contains("SwiftShader is not installed")));
        let root = Root {
            runner: vec!["/root/ld.so".into(), "--library-path".into(), "/root/lib".into()],
            icd: "/c.json".into(),
        };
        let mut command = Command::new("cargo");
        newest_lavapipe(root).choose(&mut command).expect("the paths can be joined");
        let shown = process::shown(&command);
        assert!(shown.contains("_UNKNOWN_LINUX_GNU_RUNNER='/root/ld.so --library-path /root/lib'"), "{shown}");
        assert!(shown.contains("VK_DRIVER_FILES=/c.json"), "{shown}");
    }

    #[test]
    fn a_gpu_that_cannot_be_tested_on_is_in_the_matrix_with_its_reason() {
        let icds = ["/lvp_icd.json", "/radeon_icd.json"].map(PathBuf::from).to_vec();
        let found = vulkan::Found { loader: true, icds, searched: Vec::new() };
        let left_out = |vendor| match gpu(vendor, &found) {
            (name, Place::LeftOut(reason)) => (name, reason),
            here => unreachable!("{here:?}"),
        };
        assert_eq!(left_out(0x10de), ("NVIDIA GPU".to_owned(), "it has no Vulkan driver here".to_owned()));
        let (name, reason) = left_out(0x1af4);
        assert!(name == "GPU of PCI vendor 0x1af4" && reason.contains("not known here"), "{name}: {reason}");
        let (name, place) = gpu(0x1002, &found);
        assert!(name == "AMD GPU" && matches!(place, Place::Here(d) if d.icds == [Path::new("/radeon_icd.json")]));
    }

    #[test]
    fn gpus_are_told_by_their_render_nodes() {
        let root = std::env::temp_dir().join(format!("gristmill-gpus-{}", std::process::id()));
        for (node, vendor) in [("card0", "0x1af4"), ("renderD128", "0x8086"), ("renderD129", "0x10de")] {
            let dir = root.join("sys/class/drm").join(node).join("device");
            std::fs::create_dir_all(&dir).expect("a directory");
            std::fs::write(dir.join("vendor"), format!("{vendor}\n")).expect("a file");
        }
        std::fs::create_dir_all(root.join("proc/driver/nvidia/gpus")).expect("a directory");
        assert_eq!(gpu_vendors(&root), [0x10de, 0x8086]);
        assert!(gpu_vendors(&root.join("nothing")).is_empty());
        std::fs::remove_dir_all(&root).expect("it was there");
    }
}
