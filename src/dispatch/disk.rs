//! The driver's pipeline cache, kept on disk between runs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct DiskCache {
    pub cache: wgpu::PipelineCache,
    path: PathBuf,
}

impl DiskCache {
    /// Opens the cache of this adapter. `None` where the backend has none or there is no directory for it:
    /// a cache only saves time, so its absence is not an error.
    #[allow(unsafe_code, reason = "handing old bytes to the driver, justified below")]
    pub fn open(adapter: &wgpu::AdapterInfo, device: &wgpu::Device) -> Option<Self> {
        let name = wgpu::util::pipeline_cache_key(adapter)?;
        let path = directory()?.join(name);
        let data = std::fs::read(&path).ok();
        // SAFETY: the bytes were written by `save` below, under a name that holds vendor and device, in one rename, so
        // that no half-written file is ever seen; wgpu checks its own header, and the driver its, before use.
        let cache = unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("gristmill"),
                data: data.as_deref(),
                fallback: true,
            })
        };
        Some(Self { cache, path })
    }

    /// Writes what the driver has now. Failure costs the next run some time and nothing else.
    pub fn save(&self) {
        let Some(data) = self.cache.get_data() else { return };
        let Some(dir) = self.path.parent() else { return };
        // A process may have several.
        static SAVED: AtomicU64 = AtomicU64::new(0);
        let number = SAVED.fetch_add(1, Ordering::Relaxed);
        let temporary = self.path.with_extension(format!("{}-{number}", std::process::id()));
        let written = std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&temporary, data))
            .and_then(|()| std::fs::rename(&temporary, &self.path));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
    }
}

/// `GRISTMILL_CACHE`, which may be `none`, else the user's cache directory.
fn directory() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(chosen) = set("GRISTMILL_CACHE") {
        return Some(chosen).filter(|dir| dir.as_os_str() != "none");
    }
    let home = || set("HOME");
    let base = if cfg!(windows) {
        set("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        home().map(|h| h.join("Library/Caches"))
    } else {
        set("XDG_CACHE_HOME").or_else(|| home().map(|h| h.join(".cache")))
    };
    base.map(|b| b.join("gristmill"))
}
