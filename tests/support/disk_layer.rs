//! The layer that stands between the daemon and the archive's disk (`disk_layer.c`), and the slow disk that it can be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What makes a process load the layer.
pub fn preload() -> (&'static str, String) {
    ("LD_PRELOAD", text(layer()))
}

pub fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// The compiled layer.
fn layer() -> &'static Path {
    static LAYER: OnceLock<PathBuf> = OnceLock::new();
    LAYER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (source, built) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/disk_layer.c"), "disk_layer.so");
        let own = folder.join(format!("{built}.{}", std::process::id()));
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&own)
            .arg(source)
            .status()
            .expect("there is a C compiler");
        assert!(status.success(), "{source} compiles");
        // Another test may do the same right now.
        fs::rename(&own, folder.join(built)).unwrap();
        folder.join(built)
    })
}

/// A disk that takes only so much a second, or nothing, or keeps nothing, below one folder. What is written to it is waited for, as where
/// the kernel's own memory for it is full.
pub struct SlowDisk {
    root: PathBuf,
    pace: PathBuf,
}

impl SlowDisk {
    /// Of what is below `root`; `pace` lies elsewhere.
    pub fn new(root: &Path, pace: &Path) -> Self {
        SlowDisk { root: root.to_owned(), pace: pace.to_owned() }
    }

    /// What a process has to be started with.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [preload(), ("TARSIER_DISK_ROOT", text(&self.root)), ("TARSIER_DISK_PACE", text(&self.pace))]
    }

    /// From now on it takes so many bytes a second; 0: it stalls.
    pub fn takes(&self, bytes_a_second: u64) {
        self.says(&bytes_a_second.to_string());
    }

    /// From now on it takes all, and fails to make it durable.
    pub fn keeps_nothing(&self) {
        self.says("-1");
    }

    fn says(&self, pace: &str) {
        // Never seen half written.
        let beside = self.pace.with_extension("new");
        fs::write(&beside, pace).unwrap();
        fs::rename(&beside, &self.pace).unwrap();
    }
}
