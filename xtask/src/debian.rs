//! Drivers of another Debian than the machine's, in roots of their own.
//!
//! Mesa's lavapipe has had matrix units since 26.1, which no released distribution ships yet; and RADV compiled for GPUs that are not there until
//! 25.2, which Debian 13 ships. Their packages are unpacked into a directory of the user's cache by debootstrap. Nothing there is
//! installed, nor mounted, nor run as root afterwards: a program is run by that root's own dynamic linker, with that root's libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process;
use crate::setup::{apt_install, as_root, has_apt, install, is_root};

/// A driver of a suite of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    name: &'static str,
    /// How the driver's ICD file begins.
    driver: &'static str,
    /// What it is, for messages.
    pub what: &'static str,
}

/// Lavapipe with matrix units.
pub const LAVAPIPE: Suite = Suite { name: "forky", driver: "lvp", what: "newest lavapipe" };
/// RADV that compiles for an AMD GPU which is not there.
pub const RADV: Suite = Suite { name: "trixie", driver: "radeon", what: "RADV without a GPU" };

const MIRROR: &str = "http://deb.debian.org/debian";
/// Debootstrap of an older distribution does not know the suite's name; all suites of Debian are made alike.
const SCRIPT: &str = "/usr/share/debootstrap/scripts/sid";
const PACKAGES: &str = "mesa-vulkan-drivers,libvulkan1";
/// The keys by which the mirror's lists of packages are signed, and these have the packages' digests: it is asked by http, and what it says is
/// unpacked as root.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A root that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The dynamic linker and its arguments, before the program that is to be run.
    pub runner: Vec<String>,
    /// The ICD file of the driver, which names its library in the root.
    pub icd: PathBuf,
}

/// Why there can be none here.
pub fn missing(suite: Suite) -> Option<String> {
    if linker().is_none() {
        return Some(format!(
            "it is made of Debian's packages for Linux on x86-64 or arm64, with glibc; this is another {}",
            std::env::consts::OS
        ));
    }
    let dir = match dir(suite) {
        Ok(dir) => dir,
        Err(reason) => return Some(reason),
    };
    if dir.is_dir() {
        return None;
    }
    if !has_apt() {
        return Some("it is made by debootstrap, which is installed by apt, and there is no apt".into());
    }
    if !is_root() && process::on_path("sudo").is_none() {
        return Some("debootstrap must run as root, and there is no sudo".into());
    }
    None
}

/// Finds the root or makes it.
pub fn root(suite: Suite) -> Result<Root, String> {
    let dir = dir(suite)?;
    if dir.is_dir() {
        let root =
            whole(&dir, suite.driver).map_err(|e| format!("{e}. Remove {} and run this again", dir.display()))?;
        eprintln!("{}: in {}", suite.what, dir.display());
        return Ok(root);
    }
    // Only root has `sbin` on its path.
    let program = |name: &str| process::on_path(name).is_some() || Path::new("/usr/sbin").join(name).is_file();
    let packages = missing_packages(program, Path::new(KEYRING));
    if !packages.is_empty() {
        apt_install(&packages, "what unpacks Debian's packages and checks their signatures is missing")?;
    }
    // A root that stands at its place is whole: it is made beside it. What an interrupted run left there is removed.
    let half = dir.with_extension("part");
    if half.exists() {
        eprintln!("{} was left half made: removing it", half.display());
        install(as_root("rm")?.args(["--recursive", "--one-file-system"]).arg(&half))?;
    }
    std::fs::create_dir_all(&half).map_err(|e| format!("{}: {e}", half.display()))?;
    eprintln!("there is no {}: unpacking that of Debian {} into {} (600 MB)", suite.what, suite.name, dir.display());
    install(unpacking(&mut as_root("debootstrap")?, suite, &half))?;
    whole(&half, suite.driver)?;
    install(as_root("mv")?.arg(&half).arg(&dir))?;
    whole(&dir, suite.driver)
}

/// What must be installed before a root can be made. Debootstrap only recommends the two others.
fn missing_packages(program: impl Fn(&str) -> bool, keyring: &Path) -> Vec<&'static str> {
    let needed = [
        ("debootstrap", program("debootstrap")),
        ("debian-archive-keyring", keyring.is_file()),
        ("gpgv", program("gpgv")),
    ];
    needed.into_iter().filter(|(_, there)| !there).map(|(package, _)| package).collect()
}

/// The arguments of debootstrap. Left to itself it warns where there is no keyring, and goes on unchecked.
fn unpacking<'a>(debootstrap: &'a mut Command, suite: Suite, dir: &Path) -> &'a mut Command {
    let (keyring, include) = (format!("--keyring={KEYRING}"), format!("--include={PACKAGES}"));
    debootstrap
        .args(["--force-check-gpg", &keyring, "--variant=minbase", &include, suite.name])
        .arg(dir)
        .args([MIRROR, SCRIPT])
}

/// Where it is.
fn dir(suite: Suite) -> Result<PathBuf, String> {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    let dir = cache
        .ok_or("neither XDG_CACHE_HOME nor HOME says where it could be kept")?
        .join(format!("gristmill-{}", suite.name));
    // Cargo cuts the line that runs a test at blanks.
    let blank = dir.to_string_lossy().contains(char::is_whitespace);
    if blank { Err(format!("there is a blank in {}", dir.display())) } else { Ok(dir) }
}

/// The dynamic linker of this architecture, below the root.
fn linker() -> Option<&'static str> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return None;
    }
    match std::env::consts::ARCH {
        "x86_64" => Some("lib64/ld-linux-x86-64.so.2"),
        "aarch64" => Some("lib/ld-linux-aarch64.so.1"),
        _ => None,
    }
}

/// What is in the root, if it is all there.
fn whole(dir: &Path, driver: &str) -> Result<Root, String> {
    let there = |file: PathBuf| {
        if file.is_file() {
            Ok(file)
        } else {
            Err(format!("{} is not whole: {} is missing", dir.display(), file.display()))
        }
    };
    let linker = there(dir.join(linker().ok_or("no glibc")?))?;
    let libraries = dir.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    there(libraries.join("libvulkan.so.1"))?;
    let icds = crate::workspace::files_with_extension(&dir.join("usr/share/vulkan/icd.d"), "json");
    let named = |file: &&PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(driver));
    let icd =
        icds.iter().find(named).ok_or_else(|| format!("{} is not whole: no ICD file of {driver}", dir.display()))?;
    // A bare name would be looked up among this machine's libraries.
    let text = crate::workspace::read_text(icd)?;
    let mut json: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", icd.display()))?;
    let library = json["ICD"]["library_path"].as_str().and_then(|path| Path::new(path).file_name()).map(PathBuf::from);
    let library = there(libraries.join(library.ok_or_else(|| format!("{} names no library", icd.display()))?))?;
    json["ICD"]["library_path"] = Value::String(library.display().to_string());
    let icd = dir.with_extension("json");
    std::fs::write(&icd, json.to_string()).map_err(|e| format!("{}: {e}", icd.display()))?;
    let runner = vec![linker.display().to_string(), "--library-path".into(), libraries.display().to_string()];
    Ok(Root { runner, icd })
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_unpacked_unchecked() {
        let mut command = Command::new("debootstrap");
        let shown = process::shown(unpacking(&mut command, LAVAPIPE, Path::new("/cache/half")));
        assert_eq!(
            shown,
            "debootstrap --force-check-gpg --keyring=/usr/share/keyrings/debian-archive-keyring.gpg --variant=minbase \
             --include=mesa-vulkan-drivers,libvulkan1 forky /cache/half http://deb.debian.org/debian \
             /usr/share/debootstrap/scripts/sid"
        );
        let all = ["debootstrap", "debian-archive-keyring", "gpgv"];
        assert_eq!(missing_packages(|_| false, Path::new("/no/keyring.gpg")), all);
        assert_eq!(missing_packages(|name| name == "debootstrap", &std::env::current_exe().expect("a file")), all[2..]);
        assert_eq!(missing_packages(|_| true, Path::new("/no/keyring.gpg")), all[1..2]);
    }

    #[test]
    fn a_root_is_whole_or_an_error() {
        let dir = std::env::temp_dir().join(format!("gristmill-root-{}", std::process::id()));
        let Some(linker) = linker() else { return };
        let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let icd = r#"{"ICD": {"api_version": "1.4", "library_path": "libvulkan_lvp.so"}}"#;
        let files = [
            (linker.to_owned(), ""),
            (format!("{libraries}/libvulkan.so.1"), ""),
            ("usr/share/vulkan/icd.d/lvp_icd.json".to_owned(), icd),
            (format!("{libraries}/libvulkan_lvp.so"), ""),
        ];
        for (name, text) in &files {
            let told = whole(&dir, "lvp").expect_err("a file is missing");
            assert!(told.contains("is not whole"), "{told}");
            let file = dir.join(name);
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
            std::fs::write(file, text).expect("a file");
        }
        let root = whole(&dir, "lvp").expect("all is there");
        assert_eq!(root.runner[0], dir.join(linker).display().to_string());
        let icd = std::fs::read_to_string(&root.icd).expect("a file");
        assert!(icd.contains(&dir.join(libraries).join("libvulkan_lvp.so").display().to_string()), "{icd}");
        std::fs::remove_dir_all(&dir).expect("it was there");
        std::fs::remove_file(&root.icd).expect("it was there");
    }
}
