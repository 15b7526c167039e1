//! A kube-apiserver that nobody here wrote, with etcd and the controller manager, on loopback.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::missing;

/// etcd, kube-apiserver and kube-controller-manager on loopback; stopped when dropped.
pub struct Cluster {
    folder: PathBuf,
    /// Path of an administrator's kubeconfig.
    pub kubeconfig: String,
}

impl Cluster {
    /// Starts it with its data under `folder`; none where a program that it needs is not on this machine.
    pub fn start(folder: PathBuf) -> Option<Self> {
        for program in ["go", "etcd", "openssl", "python3"] {
            let found = Command::new("sh").args(["-c", &format!("command -v {program} >/dev/null")]).status();
            if !found.is_ok_and(|s| s.success()) {
                missing(program);
                return None;
            }
        }
        let output = Command::new(script("up")).arg(&folder).output().expect("the script runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let kubeconfig = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
        Some(Self { folder, kubeconfig })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new(script("down")).arg(&self.folder).status();
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster").join(name)
}
