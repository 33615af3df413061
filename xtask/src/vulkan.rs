//! Finding the Vulkan drivers of a Linux machine without loading one.
//!
//! The Vulkan loader (`libvulkan.so.1`) reads small JSON files, the ICD files, of which each names the library of a driver. A
//! driver is there when the loader, the file and the library are. Files without their library are common: a container that
//! mounts NVIDIA's file only, or what an uninstalled driver left behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{process, workspace};

/// What was found, and where it was looked for.
pub struct Found {
    /// Whether `libvulkan.so.1` is there.
    pub loader: bool,
    /// The ICD files whose libraries are there.
    pub icds: Vec<PathBuf>,
    /// The places where ICD files were looked for, for an error message.
    pub searched: Vec<PathBuf>,
}

impl Found {
    /// Whether a program can get any device at all.
    pub fn any(&self) -> bool {
        self.loader && !self.icds.is_empty()
    }

    /// The ICD files whose names begin so, for example `lvp` for Mesa's software driver.
    #[cfg(feature = "web")]
    pub fn named(&self, prefixes: &[&str]) -> Vec<PathBuf> {
        let begins = |file: &&PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        self.icds.iter().filter(begins).cloned().collect()
    }
}

/// Makes a command see these drivers and no others.
pub fn show_only(command: &mut Command, icds: &[PathBuf]) -> Result<(), String> {
    let list = std::env::join_paths(icds).map_err(|e| format!("{icds:?}: {e}"))?;
    // Loaders before 1.3.207 know only the second name.
    command.env("VK_DRIVER_FILES", &list).env("VK_ICD_FILENAMES", &list);
    Ok(())
}

/// Looks at this machine.
pub fn find() -> Found {
    let libraries = Libraries::of_this_machine();
    let searched = places(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    Found {
        loader: libraries.has("libvulkan.so.1"),
        icds: icd_files(&searched).into_iter().filter(|file| has_library(file, &libraries)).collect(),
        searched,
    }
}

/// The files and directories where the loader looks, by its own rules: a list of files in the environment replaces the
/// directories.
fn places(var: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let split = |list: String| std::env::split_paths(&list).collect::<Vec<_>>();
    if let Some(list) = var("VK_DRIVER_FILES").or_else(|| var("VK_ICD_FILENAMES")) {
        return split(list);
    }
    let home = var("HOME").map(PathBuf::from);
    let in_home = |below: &str| home.as_ref().map(|home| home.join(below)).into_iter().collect();
    let dirs = |name: &str, otherwise: Vec<PathBuf>| var(name).map_or(otherwise, split);

    let mut roots = Vec::new();
    roots.extend(dirs("XDG_CONFIG_HOME", in_home(".config")));
    roots.extend(dirs("XDG_CONFIG_DIRS", vec!["/etc/xdg".into()]));
    roots.extend(["/usr/local/etc".into(), "/etc".into()]);
    roots.extend(dirs("XDG_DATA_HOME", in_home(".local/share")));
    roots.extend(dirs("XDG_DATA_DIRS", vec!["/usr/local/share".into(), "/usr/share".into()]));

    let added = var("VK_ADD_DRIVER_FILES").map_or_else(Vec::new, split);
    let mut places = added;
    places.extend(roots.into_iter().map(|root| root.join("vulkan").join("icd.d")));
    places
}

/// The ICD files in these places, of which each is a file or a directory of files.
fn icd_files(places: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for place in places {
        if place.is_file() {
            files.push(place.clone());
        } else {
            files.extend(workspace::files_with_extension(place, "json"));
        }
    }
    files
}

/// Whether the library that an ICD file names is there.
pub fn has_library(icd: &Path, libraries: &Libraries) -> bool {
    let Ok(text) = std::fs::read_to_string(icd) else {
        return false;
    };
    let json: Value = serde_json::from_str(&text).unwrap_or_default();
    match json["ICD"]["library_path"].as_str() {
        // The loader takes a name with a slash as a path from the ICD file, and leaves one without to the linker.
        Some(path) if path.contains('/') => icd.parent().unwrap_or(Path::new("/")).join(path).is_file(),
        Some(name) => libraries.has(name),
        None => false,
    }
}

/// The shared libraries that a program can load by their names.
#[derive(Default)]
pub struct Libraries {
    cached: BTreeSet<String>,
    dirs: Vec<PathBuf>,
}

impl Libraries {
    /// The dynamic linker's cache, and the directories that are searched without it (some distributions have no cache).
    pub fn of_this_machine() -> Self {
        let ldconfig = process::on_path("ldconfig").unwrap_or_else(|| "/sbin/ldconfig".into());
        let listing = process::read(Command::new(ldconfig).arg("-p")).unwrap_or_default();
        let mut dirs: Vec<PathBuf> =
            std::env::var_os("LD_LIBRARY_PATH").map_or_else(Vec::new, |list| std::env::split_paths(&list).collect());
        let arch = std::env::consts::ARCH;
        for dir in ["/lib", "/usr/lib", "/usr/local/lib", "/lib64", "/usr/lib64"] {
            dirs.push(dir.into());
            dirs.push(Path::new(dir).join(format!("{arch}-linux-gnu")));
        }
        Self { cached: names_in_cache(&listing), dirs }
    }

    fn has(&self, name: &str) -> bool {
        self.cached.contains(name) || self.dirs.iter().any(|dir| dir.join(name).exists())
    }
}

/// The names in what `ldconfig -p` prints: `libvulkan.so.1 (libc6,x86-64) => /lib/…` on a line.
fn names_in_cache(listing: &str) -> BTreeSet<String> {
    listing
        .lines()
        .filter(|line| line.contains("=>"))
        .filter_map(|line| line.split_whitespace().next().map(String::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'a>(vars: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_string())
    }

    #[test]
    fn the_usual_directories() {
        let places = places(with(&[("HOME", "/home/miller")]));
        for dir in ["/etc", "/usr/share", "/usr/local/share", "/home/miller/.local/share"] {
            assert!(places.contains(&Path::new(dir).join("vulkan/icd.d")), "{dir}: {places:?}");
        }
    }

    // Only there are lists of paths joined by a colon.
    #[cfg(unix)]
    #[test]
    fn a_list_of_files_replaces_them() {
        let new = ("VK_DRIVER_FILES", "/a.json:/b.json");
        let old = ("VK_ICD_FILENAMES", "/c.json");
        assert_eq!(places(with(&[old, new])), [Path::new("/a.json"), Path::new("/b.json")]);
        assert_eq!(places(with(&[old])), [Path::new("/c.json")]);
    }

    #[test]
    fn a_file_without_its_library_is_no_driver() {
        let dir = std::env::temp_dir().join(format!("gristmill-icd-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let icd = |name: &str, library: &str| {
            let file = dir.join(name);
            let text = format!(r#"{{"file_format_version": "1.0.0", "ICD": {{"library_path": "{library}"}}}}"#);
            std::fs::write(&file, text).expect("a file");
            file
        };
        let by_name = icd("a.json", "libvulkan_lvp.so");
        let beside = icd("b.json", "./libvk.so");
        let gone = icd("c.json", "/opt/gone/libvk.so");
        std::fs::write(dir.join("d.json"), "{").expect("a file");
        std::fs::write(dir.join("libvk.so"), "").expect("a file");

        let listing = "2 libs found in cache `/etc/ld.so.cache'\n\tlibvulkan_lvp.so (libc6,x86-64) => /usr/lib/x.so\n";
        let libraries = Libraries { cached: names_in_cache(listing), dirs: Vec::new() };
        let files = icd_files(&[dir.join("none.d"), dir.clone()]);
        assert_eq!(files.len(), 4);
        let usable: Vec<_> = files.iter().filter(|file| has_library(file, &libraries)).collect();
        assert_eq!(usable, [&by_name, &beside]);
        assert!(!has_library(&by_name, &Libraries::default()));
        assert!(!has_library(&gone, &libraries));
        std::fs::remove_dir_all(&dir).expect("it was there");
    }
}
