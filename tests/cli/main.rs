//! The command line as people use it: the real executable, an empty home, whole outputs.

#[path = "../support/mod.rs"]
mod support;

mod manifests;
mod parts;
mod verbs;

use support::Sandbox;

#[test]
fn help_and_version_need_nothing() {
    let sandbox = Sandbox::new();
    let version = sandbox.run(&["--version"]).ok().stdout;
    assert_eq!(version, format!("rbee {}\n", env!("CARGO_PKG_VERSION")));
    let help = sandbox.run(&["--help"]).ok().stdout;
    for verb in [
        "infer",
        "up",
        "queen",
        "hive",
        "worker",
        "apply",
        "get",
        "describe",
        "wait",
        "scale",
        "delete",
        "kubeconfig",
        "crds",
        "token",
    ] {
        assert!(help.lines().any(|l| l.trim_start().starts_with(&format!("{verb} "))), "no {verb} in {help}");
    }
    assert!(!sandbox.home().exists(), "a look at the help made a home");
}

#[test]
fn wrong_usage_exits_2_and_says_nothing_on_stdout() {
    let sandbox = Sandbox::new();
    for (args, says) in [
        (vec!["frobnicate"], "frobnicate"),
        (vec!["infer"], "--prompt"),
        (vec!["infer", "--prompt", "x", "--max-tokens", "many"], "many"),
        (vec!["up", "--gateway-listen", "here"], "here"),
    ] {
        let told = sandbox.run(&args).refused(2, &[says]);
        assert_eq!(told.stdout, "");
    }
}

#[test]
fn every_flag_of_a_part_has_a_variable_and_a_key_of_the_configuration() {
    let sandbox = Sandbox::new();
    let help = sandbox.run(&["up", "--help"]).ok().stdout;
    for (flag, variable, key) in [
        ("--gateway-listen", "RBEE_GATEWAY_LISTEN", "gatewayListen"),
        ("--api-listen", "RBEE_API_LISTEN", "apiListen"),
        ("--hive-listen", "RBEE_HIVE_LISTEN", "hiveListen"),
    ] {
        for word in [flag, variable, key] {
            assert!(help.contains(word), "no {word} in {help}");
        }
    }
}

#[test]
fn a_key_of_config_yaml_that_no_flag_has_is_refused_with_its_name() {
    let sandbox = Sandbox::new();
    sandbox.write("home/config.yaml", "gatewayLisen: 127.0.0.1:0\n");
    sandbox.run(&["get", "models"]).refused(2, &["config.yaml", "gatewayLisen"]);
}

#[test]
fn the_definitions_are_the_files_in_git() {
    let sandbox = Sandbox::new();
    let printed = sandbox.run(&["crds"]).ok().stdout;
    let mut printed: Vec<&str> = printed.split("---\n").filter(|d| !d.trim().is_empty()).collect();
    printed.sort_unstable();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/crds");
    let mut kept: Vec<String> = std::fs::read_dir(folder)
        .expect("manifests/crds")
        .map(|e| std::fs::read_to_string(e.expect("an entry").path()).expect("a file"))
        .collect();
    kept.sort_unstable();
    assert_eq!(printed, kept);
}
