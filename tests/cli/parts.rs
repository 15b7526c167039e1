//! The parts as processes: their folders, their links, their end.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rustix::process::Signal;

use crate::support::{Sandbox, status, wait_until};

#[test]
fn links_are_the_part_that_they_name() {
    let sandbox = Sandbox::new();
    for (name, args, says) in [
        ("queen-rbee", vec!["--help"], "--gateway-listen"),
        ("rbee-hive", vec!["daemon", "--help"], "--hive-listen"),
        ("llm-worker-rbee", vec!["--help"], "--model"),
        ("rbee-keeper", vec!["--help"], "apply"),
    ] {
        let link = sandbox.path(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rbee"), &link).expect("a link");
        let told = sandbox.finish(sandbox.foreign(&link, &args), &args, "").ok();
        assert!(told.stdout.contains(says), "{told:#?}");
    }
}

fn walk(folder: &Path, see: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        see(&entry.path());
        if entry.path().is_dir() {
            walk(&entry.path(), see);
        }
    }
}

#[test]
fn the_home_is_private_and_no_log_holds_a_token() {
    let sandbox = Sandbox::new();
    let _up = sandbox.up();
    sandbox.run(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/quickstart")]).ok();
    sandbox.run(&["wait", "--for=condition=Ready", "worker/tinybee", "--timeout=60s"]).ok();
    let token = fs::read_to_string(sandbox.home().join("queen/admin.token")).expect("the administrator's token");
    let (mut logs, mut secrets) = (0, 0);
    walk(&sandbox.home(), &mut |path| {
        let mode = fs::symlink_metadata(path).map(|m| m.permissions().mode() & 0o777).unwrap_or_default();
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            return;
        }
        let Ok(bytes) = fs::read(path) else { return };
        let text = String::from_utf8_lossy(&bytes);
        let secret = text.contains("PRIVATE KEY") || text.contains(token.trim());
        if path.extension().is_some_and(|e| e == "log") {
            logs += 1;
            assert!(!secret, "a secret in {}", path.display());
        } else if secret {
            secrets += 1;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    });
    assert!(logs >= 1 && secrets >= 2, "{logs} logs, {secrets} files with secrets");
}

#[test]
fn sigterm_drains_and_leaves_no_process() {
    let sandbox = Sandbox::new();
    let mut up = sandbox.up();
    sandbox.run(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/quickstart")]).ok();
    sandbox.run(&["wait", "--for=condition=Ready", "worker/tinybee", "--timeout=60s"]).ok();
    up.running.signal(Signal::TERM);
    assert_eq!(up.running.wait(40), 0, "{}", up.running.stderr());
    sandbox.nothing_left();
    assert!(!sandbox.home().join("queen/queen.json").exists());
}

#[test]
fn a_second_queen_of_the_same_home_is_refused() {
    let sandbox = Sandbox::new();
    let _up = sandbox.up();
    let args = ["queen", "--gateway-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"];
    sandbox.run(&args).refused(1, &["queen.lock", "--data-dir"]);
}

#[test]
fn addresses_come_from_config_yaml() {
    let sandbox = Sandbox::new();
    sandbox.write("home/config.yaml", "gatewayListen: 127.0.0.1:0\napiListen: 127.0.0.1:0\nhiveListen: 127.0.0.1:0\n");
    let running = sandbox.start(&["up"]);
    let ready = format!("{}/readyz", running.url("gateway"));
    wait_until("the gateway is ready", 30, || status(&ready) == Some(200));
}

#[test]
fn two_hives_join_by_token_and_share_the_replicas() {
    let sandbox = Sandbox::new();
    let queen = sandbox.start(&["queen", "--gateway-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"]);
    let api = queen.url("api server");
    queen.url("gateway");
    let token = sandbox.run(&["token"]).ok().stdout;
    let hives: Vec<_> = ["a", "b"]
        .iter()
        .map(|name| {
            let folder = sandbox.path(&format!("hive-{name}")).display().to_string();
            sandbox.start(&[
                "hive",
                "--queen",
                &api,
                "--token",
                token.trim(),
                "--name",
                name,
                "--data-dir",
                &folder,
                "--hive-listen",
                "127.0.0.1:0",
            ])
        })
        .collect();
    hives.iter().for_each(|h| drop(h.url("hive")));
    wait_until("both hives are Ready", 40, || {
        sandbox
            .run(&["get", "hives", "--no-headers"])
            .stdout
            .lines()
            .filter(|l| l.split_whitespace().nth(1) == Some("True"))
            .count()
            == 2
    });
    let manifest = "apiVersion: rbee.dev/v1alpha1\nkind: Model\nmetadata: {name: bee}\nspec: {uri: 'builtin:tinybee'}\n---\napiVersion: rbee.dev/v1alpha1\nkind: Worker\nmetadata: {name: bee}\nspec: {modelRef: {name: bee}, replicas: 4, backend: cpu}\n";
    sandbox.feed(&["apply", "-f", "-"], manifest).ok();
    sandbox.run(&["wait", "--for=condition=Ready", "worker/bee", "--timeout=60s"]).ok();
    let rows = sandbox.run(&["get", "assignments", "--no-headers"]).ok().stdout;
    let on = |hive: &str| rows.lines().filter(|l| l.split_whitespace().nth(2) == Some(hive)).count();
    assert_eq!((on("a"), on("b")), (2, 2), "{rows}");
}
