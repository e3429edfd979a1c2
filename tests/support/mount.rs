//! A small file system of its own, to be filled up or made read-only.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs; unmounted when dropped, also on a panic.
pub struct Tmpfs {
    at: PathBuf,
}

impl Tmpfs {
    /// Mounts one of `bytes` on `at`, or says why that is not permitted here.
    pub fn mount(at: &Path, bytes: usize) -> Result<Tmpfs, String> {
        std::fs::create_dir_all(at).map_err(|err| err.to_string())?;
        let size = format!("size={bytes}");
        run(&["mount", "-t", "tmpfs", "-o", &size, "posthorn-test"], at)?;
        Ok(Tmpfs { at: at.to_owned() })
    }

    pub fn set_read_only(&self, yes: bool) -> Result<(), String> {
        run(&["mount", "-o", if yes { "remount,ro" } else { "remount,rw" }], &self.at)
    }

    /// Writes a file until there is no room left for it.
    pub fn fill(&self) {
        let mut ballast = File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("an empty file needs no room");
        // Smaller and smaller pieces, until not one byte fits.
        let mut piece = 1 << 16;
        while piece > 0 {
            match ballast.write(&vec![0xaa; piece]) {
                Ok(1..) => {}
                Ok(0) | Err(_) => piece /= 2,
            }
        }
    }

    /// Takes the ballast away.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("the ballast is there");
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still hold a file.
        if let Err(why) = run(&["umount", "-l"], &self.at) {
            eprintln!("could not unmount {}: {why}", self.at.display());
        }
    }
}

fn run(command: &[&str], at: &Path) -> Result<(), String> {
    let ran = Command::new(command[0]).args(&command[1..]).arg(at).output();
    let output = ran.map_err(|err| format!("{}: {err}", command[0]))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
