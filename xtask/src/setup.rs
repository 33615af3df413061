//! Set-up: each part looks first, acts only when something is missing, says what it does, and looks again.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::args::Piece;
use crate::workspace::{self, Workspace};
use crate::{debian, process, vulkan};

const WASM: &str = "wasm32-unknown-unknown";

/// `cargo xtask setup`: one part, or all of them.
pub fn run(workspace: &Workspace, piece: Piece) -> Result<(), String> {
    let all = piece == Piece::All;
    if all || piece == Piece::Checks {
        checks()?;
    }
    if all || piece == Piece::Driver {
        driver()?;
    }
    if all || piece == Piece::Web {
        web(workspace)?;
    }
    if all || piece == Piece::Browser {
        browser()?;
    }
    if all || piece == Piece::Lavapipe {
        match debian::missing(debian::LAVAPIPE) {
            None => drop(debian::root(debian::LAVAPIPE)?),
            Some(reason) if all => eprintln!("no newest lavapipe: {reason}"),
            Some(reason) => return Err(format!("no newest lavapipe: {reason}")),
        }
    }
    Ok(())
}

/// Any Vulkan driver will do: the best one on the machine is used.
pub fn driver() -> Result<(), String> {
    vulkan_driver(|found| found.any(), "no Vulkan driver")
}

/// Mesa's software driver, which the test matrix needs also on a machine that has a GPU.
#[cfg(feature = "web")]
pub fn software_driver() -> Result<(), String> {
    let wanted = |found: &vulkan::Found| found.loader && !found.named(&["lvp"]).is_empty();
    vulkan_driver(wanted, "no software Vulkan driver (lavapipe)")
}

fn vulkan_driver(wanted: impl Fn(&vulkan::Found) -> bool, missing: &str) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        // macOS has Metal and Windows has DX12. Any other system answers for itself: asking for an adapter fails with a reason.
        return Ok(());
    }
    let found = vulkan::find();
    if wanted(&found) {
        return say_driver(&found);
    }
    let why = reasons(&found, missing);
    if !has_apt() {
        return Err(format!(
            "{why}. Install Mesa's Vulkan drivers and the Vulkan loader: \
             Fedora: `dnf install mesa-vulkan-drivers vulkan-loader`; \
             Arch: `pacman -S vulkan-swrast vulkan-icd-loader`; \
             openSUSE: `zypper install libvulkan_lvp libvulkan1`; \
             Alpine: `apk add mesa-vulkan-swrast vulkan-loader`"
        ));
    }
    apt_install(&["mesa-vulkan-drivers", "libvulkan1"], &why)?;
    let found = vulkan::find();
    if wanted(&found) {
        say_driver(&found)
    } else {
        let why = reasons(&found, missing);
        Err(format!("{why}, although mesa-vulkan-drivers and libvulkan1 are installed"))
    }
}

fn say_driver(found: &vulkan::Found) -> Result<(), String> {
    let names: Vec<_> = found.icds.iter().map(|file| file.file_stem().unwrap_or_default().to_string_lossy()).collect();
    eprintln!("Vulkan drivers: {}", names.join(", "));
    Ok(())
}

fn reasons(found: &vulkan::Found, missing: &str) -> String {
    let loader = if found.loader { "is" } else { "is not" };
    let searched: Vec<_> = found.searched.iter().map(|place| place.display().to_string()).collect();
    format!(
        "{missing} was found (libvulkan.so.1 {loader} there; ICD files with their libraries: {}; looked in {})",
        found.icds.len(),
        searched.join(", ")
    )
}

/// The wasm target, and that wasm-bindgen's two halves have one version. The half that runs here is part of this program.
pub fn web(workspace: &Workspace) -> Result<(), String> {
    let lock = workspace::read_text(&workspace.root.join("Cargo.lock"))?;
    let version = |package| {
        workspace::locked_version(&lock, package).ok_or_else(|| format!("Cargo.lock has no package `{package}`"))
    };
    let (page, ours) = (version("wasm-bindgen")?, version("wasm-bindgen-cli-support")?);
    if page != ours {
        return Err(format!(
            "Cargo.lock has wasm-bindgen {page} but wasm-bindgen-cli-support {ours}: set the latter to \"={page}\" in \
             xtask/Cargo.toml"
        ));
    }
    eprintln!("wasm-bindgen: {page}");

    if has_wasm_target() {
        eprintln!("wasm target: {WASM}");
        return Ok(());
    }
    if process::on_path("rustup").is_none() {
        return Err(format!(
            "the target {WASM} is missing and there is no rustup: install the Rust standard library for it \
             (Debian, Ubuntu: `apt-get install libstd-rust-dev-wasm32`; Fedora: `dnf install rust-std-static-{WASM}`)"
        ));
    }
    eprintln!("the target {WASM} is missing: adding it with rustup");
    install(Command::new("rustup").args(["target", "add", WASM]))?;
    if has_wasm_target() { Ok(()) } else { Err(format!("rustup added {WASM}, but `rustc` does not have it")) }
}

fn has_wasm_target() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", WASM]);
    process::read(&mut rustc).is_ok_and(|dir| Path::new(dir.trim()).is_dir())
}

/// rustfmt and clippy, which rustup's minimal profile leaves out.
pub fn checks() -> Result<(), String> {
    for (component, command) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let mut version = Command::new(process::cargo_program());
        version.args([command, "--version"]);
        if let Ok(version) = process::read(&mut version) {
            eprintln!("{component}: {}", version.trim());
            continue;
        }
        if process::on_path("rustup").is_none() {
            return Err(format!(
                "`cargo {command}` is missing and there is no rustup: install {component} as you installed Rust"
            ));
        }
        eprintln!("{component} is missing: adding it with rustup");
        install(Command::new("rustup").args(["component", "add", component]))?;
    }
    Ok(())
}

/// A Chromium and the ChromeDriver of the same version.
#[cfg_attr(not(feature = "web"), allow(dead_code, reason = "only `test` drives it"))]
pub struct Browser {
    pub chromium: PathBuf,
    pub chromedriver: PathBuf,
}

/// Finds or installs a browser that a test can drive.
pub fn browser() -> Result<Browser, String> {
    if let Some(browser) = find_browser()? {
        return Ok(browser);
    }
    let why = "Chromium or ChromeDriver is missing";
    if cfg!(target_os = "macos") {
        return Err(format!("{why}. Install both: `brew install --cask google-chrome chromedriver`"));
    }
    if cfg!(windows) {
        return Err(format!(
            "{why}. Put chrome.exe and the chromedriver.exe of the same version on the PATH: \
             `npx @puppeteer/browsers install chrome@stable` and `npx @puppeteer/browsers install chromedriver@stable`"
        ));
    }
    if is_ubuntu(&std::fs::read_to_string("/etc/os-release").unwrap_or_default()) {
        // Ubuntu's packages of that name only call snap, which a container seldom has.
        let by_hand = "`npx @puppeteer/browsers install chrome@stable` and `npx @puppeteer/browsers install \
                       chromedriver@stable`, and put the two programs on the PATH as `chromium` and `chromedriver`";
        if process::on_path("snap").is_none() {
            return Err(format!(
                "{why}. On Ubuntu they come as a snap, and there is no snap here. Install them by hand: {by_hand}"
            ));
        }
        eprintln!("{why}: installing the snap `chromium`, which has both");
        install(as_root("snap")?.args(["install", "chromium"]))
            .map_err(|e| format!("{e}. If snaps cannot work here, install them by hand: {by_hand}"))?;
    } else if has_apt() {
        apt_install(&["chromium", "chromium-driver"], why)?;
    } else {
        return Err(format!(
            "{why}. Install both: Fedora: `dnf install chromium chromedriver`; Arch: `pacman -S chromium`; \
             openSUSE: `zypper install chromium chromedriver`; Alpine: `apk add chromium chromium-chromedriver`"
        ));
    }
    find_browser()?.ok_or_else(|| format!("{why}, although they are installed: are they on the PATH?"))
}

fn find_browser() -> Result<Option<Browser>, String> {
    const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
    const CHROMEDRIVER: [&str; 2] = ["chromedriver", "chromium.chromedriver"];
    let first = |names: &[&str]| {
        let mut files: Vec<_> = names.iter().filter_map(|name| process::on_path(name)).collect();
        files.extend(names.iter().map(|name| Path::new("/snap/bin").join(name)));
        let mac = Path::new("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome");
        if names.contains(&"google-chrome") {
            files.push(mac.into());
        }
        files.into_iter().find_map(|file| Some((version_of(&file)?, file)))
    };
    let (Some((chromium_version, chromium)), Some((driver_version, chromedriver))) =
        (first(&CHROMIUM), first(&CHROMEDRIVER))
    else {
        return Ok(None);
    };
    eprintln!("browser: {chromium_version} ({})", chromium.display());
    eprintln!("WebDriver: {driver_version} ({})", chromedriver.display());
    // ChromeDriver drives its own major version only, and says so late and unclearly.
    if major(&chromium_version) != major(&driver_version) {
        return Err(format!(
            "{} is \"{chromium_version}\" but {} is \"{driver_version}\": their major versions must be the same",
            chromium.display(),
            chromedriver.display()
        ));
    }
    Ok(Some(Browser { chromium, chromedriver }))
}

/// What a browser says of itself. None when it does not run: Ubuntu's `chromium-browser` is a note to install the snap.
fn version_of(file: &Path) -> Option<String> {
    if !file.is_file() {
        return None;
    }
    if cfg!(windows) {
        // There, `chrome --version` opens a window.
        return Some(file.display().to_string());
    }
    let text = process::read(Command::new(file).arg("--version")).ok()?;
    Some(text.lines().next().unwrap_or_default().trim().to_string())
}

/// 156, of `Chromium 156.0.7100.3 built on Debian` or `ChromeDriver 156.0.7100.3 (…)`.
fn major(version: &str) -> Option<u32> {
    version.split_whitespace().find_map(|word| word.split_once('.')?.0.parse().ok())
}

fn is_ubuntu(os_release: &str) -> bool {
    os_release.lines().any(|line| matches!(line.trim(), "ID=ubuntu" | "ID=\"ubuntu\""))
}

pub(crate) fn has_apt() -> bool {
    cfg!(target_os = "linux") && process::on_path("apt-get").is_some()
}

/// Installs packages of Debian or Ubuntu, after a line that says why.
pub(crate) fn apt_install(packages: &[&str], why: &str) -> Result<(), String> {
    eprintln!("{why}: installing {} with apt", packages.join(" and "));
    install(as_root("apt-get")?.arg("update"))?;
    let mut apt = as_root("apt-get")?;
    apt.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    install(&mut apt)
}

/// Runs an installer. What it prints goes to the error output: `cargo xtask bench --json > file` may be the first command.
pub(crate) fn install(command: &mut Command) -> Result<(), String> {
    process::run(command.stdout(std::io::stderr()))
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    process::read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// A command for which one must be root: through sudo, unless we are.
pub(crate) fn as_root(program: &str) -> Result<Command, String> {
    const ASK_NOTHING: (&str, &str) = ("DEBIAN_FRONTEND", "noninteractive");
    if is_root() {
        let mut command = Command::new(program);
        command.env(ASK_NOTHING.0, ASK_NOTHING.1);
        return Ok(command);
    }
    if process::on_path("sudo").is_none() {
        return Err(format!("`{program}` must run as root, and there is no sudo: run this command as root"));
    }
    let mut command = Command::new("sudo");
    // sudo forgets the environment, so it is set behind it.
    command.args(["env", &format!("{}={}", ASK_NOTHING.0, ASK_NOTHING.1), program]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_browsers() {
        assert_eq!(major("Chromium 156.0.7100.3 built on Debian GNU/Linux 12"), Some(156));
        assert_eq!(major("ChromeDriver 155.0.1.2 (0f3e)"), Some(155));
        assert_eq!(major("Google Chrome for Testing 140.0.1.2"), Some(140));
        assert_eq!(major("please run `snap install chromium`"), None);
    }

    #[test]
    fn ubuntu_is_told_from_debian() {
        assert!(is_ubuntu("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n"));
        assert!(!is_ubuntu("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n"));
        assert!(!is_ubuntu("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
    }
}
