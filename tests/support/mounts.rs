//! Disks of a test's own: full, small, read-only.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const INSIDE: &str = "TARSIER_TEST_OWN_MOUNTS";

/// Runs the test named `test` once more in a mount namespace of its own, which takes its mounts with it when it
/// ends. True in there; false outside, where all is done by then.
#[track_caller]
pub fn in_own_mounts(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // SAFETY: asks for a number.
    let is_root = unsafe { libc::geteuid() } == 0;
    let status = Command::new("unshare")
        .args(if is_root { &["--mount"][..] } else { &["--user", "--map-root-user", "--mount"][..] })
        .arg(std::env::current_exe().unwrap())
        .args(["--include-ignored", "--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare is installed");
    assert!(status.success(), "{test} in its own mount namespace: {status}");
    false
}

/// A small disk in memory, mounted at a folder.
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    #[track_caller]
    pub fn mount(at: &Path, megabytes: u32) -> Self {
        fs::create_dir_all(at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=755"), "tmpfs", at.to_str().unwrap()]);
        SmallDisk { at: at.to_owned() }
    }

    /// Lets the disk at `at` be seen at `place` too, until that is hidden.
    #[track_caller]
    pub fn show(at: &Path, place: &Path) -> Shown {
        let shown = Shown { at: at.to_owned(), place: place.to_owned() };
        shown.show_again();
        shown
    }

    /// Only for a disk on which no file is open for writing.
    #[track_caller]
    pub fn set_read_only(&self, read_only: bool) {
        let how = if read_only { "remount,ro" } else { "remount,rw" };
        run("mount", &["-o", how, self.at.to_str().unwrap()]);
    }

    pub fn free_bytes(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.at).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// As [`SmallDisk::mount`], with ext4 on a loop device, whose image is made (see `can_mount_ext4.sh`).
    #[track_caller]
    pub fn mount_ext4(image: &Path, at: &Path, megabytes: u32) -> Self {
        File::create(image).unwrap().set_len(u64::from(megabytes) << 20).unwrap();
        run("mkfs.ext4", &["-q", "-m", "0", "-F", image.to_str().unwrap()]);
        Self::mount_again(image, at)
    }

    /// Mounts an image that was made before.
    #[track_caller]
    pub fn mount_again(image: &Path, at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        run("mount", &["-o", "loop", image.to_str().unwrap(), at.to_str().unwrap()]);
        SmallDisk { at: at.to_owned() }
    }

    /// The file system meets an error and takes nothing more, as when a disk dies.
    #[track_caller]
    pub fn fails(&self) {
        run("mount", &["-o", "remount,abort", self.at.to_str().unwrap()]);
    }

    #[track_caller]
    pub fn unmount(self) {
        run("umount", &[self.at.to_str().unwrap()]);
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    /// Somebody else's file takes room until only so much is left; 0: until nothing goes in any more.
    pub fn fill_up_to(&self, left_bytes: u64) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.ballast()).unwrap();
        let block = vec![0x55u8; 64 << 10];
        loop {
            let room = self.free_bytes().saturating_sub(left_bytes);
            if room == 0 && left_bytes > 0 {
                return;
            }
            let piece = &block[..(room.max(1) as usize).min(block.len())];
            if file.write_all(piece).is_err() {
                return;
            }
        }
    }

    /// The other's file goes.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

/// A place at which a disk is mounted beside its own.
pub struct Shown {
    at: PathBuf,
    place: PathBuf,
}

impl Shown {
    /// Unmounts it there, whoever has files of it open.
    #[track_caller]
    pub fn hide(&self) {
        run("umount", &["--lazy", self.place.to_str().unwrap()]);
    }

    #[track_caller]
    pub fn show_again(&self) {
        run("mount", &["--bind", self.at.to_str().unwrap(), self.place.to_str().unwrap()]);
    }
}

/// What an image that is mounted holds at one moment, as a power cut would leave it.
#[track_caller]
pub fn snapshot(image: &Path) -> Vec<u8> {
    let mut last = Vec::new();
    // Two that are equal are one that nothing was written into meanwhile.
    for _ in 0..20 {
        let now = fs::read(image).unwrap();
        if now == last {
            return now;
        }
        last = now;
    }
    panic!("{} never rests", image.display());
}

/// Mends what a failure left, as a start of the machine does.
#[track_caller]
pub fn check_ext4(image: &Path) {
    let status = Command::new("e2fsck").arg("-fy").arg(image).output().expect("e2fsprogs is installed").status;
    // 1: mended.
    assert!(matches!(status.code(), Some(0 | 1)), "e2fsck: {status}");
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
