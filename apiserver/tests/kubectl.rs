//! The real kubectl against the server. Where there is none this says so loudly and passes.

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use rbee_apiserver::ApiServer;
use support::{Served, config};

struct Kubectl {
    folder: tempfile::TempDir,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn fails(self) -> String {
        assert_ne!(self.code, 0, "{}", self.out);
        self.err
    }
}

impl Kubectl {
    fn run(&self, line: &str, stdin: &str) -> Ran {
        let words = line.split(' ').map(|w| w.replace('+', " "));
        let home = self.folder.path();
        let mut child = Command::new("kubectl")
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("KUBECONFIG", home.join("kubeconfig"))
            .env("KUBE_EDITOR", "sed -i s/size:.4/size:\\ 5/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin.as_bytes()).unwrap();
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
    }
}

fn there_is_kubectl() -> bool {
    let there = std::env::var_os("PATH").is_some_and(|p| {
        std::env::split_paths(&p).any(|d: std::path::PathBuf| Path::new(&d).join("kubectl").is_file())
    });
    if !there {
        eprintln!("SKIPPED: there is no kubectl on this machine, so nothing was tried with it");
    }
    there
}

const WIDGET: &str =
    "apiVersion: test.dev/v1\nkind: Widget\nmetadata: {name: a, labels: {app: x}}\nspec: {mode: fast, size: 4}\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_people_type() {
    if !there_is_kubectl() {
        return;
    }
    let server = Served::start(ApiServer::open(config(None)).await.unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kubeconfig"), server.kubeconfig()).unwrap();
    let k = Kubectl { folder };
    tokio::task::spawn_blocking(move || everything(&k)).await.unwrap();
    server.stop().await;
}

fn everything(k: &Kubectl) {
    let run = |line: &str| k.run(line, "");
    run("version").ok();
    assert!(run("api-resources --api-group=test.dev").ok().contains("widgets"));
    assert!(run("api-versions").ok().contains("test.dev/v1"));
    assert_eq!(k.run("apply -f -", WIDGET).ok(), "widget.test.dev/a created\n");
    assert_eq!(k.run("apply -f -", WIDGET).ok(), "widget.test.dev/a unchanged\n");
    assert_eq!(k.run("diff -f -", WIDGET).code, 0);
    let table = run("get wi").ok();
    assert!(table.starts_with("NAME   MODE\na      fast"), "{table}");
    assert!(run("get wi a -o yaml").ok().contains("kind: Widget"));
    assert_eq!(run("get wi -l app=x -o name").ok(), "widget.test.dev/a\n");
    assert_eq!(run("get wi --field-selector spec.mode=slow -o name").ok(), "");
    assert!(run("describe wi a").ok().contains("Events:"));
    assert!(run("explain widget.spec.mode").ok().contains("FIELD: mode"));
    assert_eq!(run("scale wi/a --replicas=3").ok(), "widget.test.dev/a scaled\n");
    assert_eq!(run("label wi a y=z").ok(), "widget.test.dev/a labeled\n");
    assert_eq!(run("annotate wi a note=hello").ok(), "widget.test.dev/a annotated\n");
    assert_eq!(run("edit wi a").ok(), "widget.test.dev/a edited\n");
    assert_eq!(run("get wi a -o jsonpath={.spec.size}").ok(), "5");
    assert_eq!(run("patch wi a --type=merge -p {\"spec\":{\"size\":6}}").ok(), "widget.test.dev/a patched\n");
    assert!(run("patch wi a --type=merge -p {\"spec\":{\"size\":60}}").fails().contains("spec.size"));
    assert_eq!(
        k.run("apply --server-side --force-conflicts -f -", WIDGET).ok(),
        "widget.test.dev/a serverside-applied\n"
    );
    run("patch wi a --subresource=status --type=merge -p {\"status\":{\"phase\":\"on\"}}").ok();
    assert!(run("wait wi/a --for=jsonpath={.status.phase}=on --timeout=5s").ok().contains("condition met"));
    assert!(run("create namespace x").ok().contains("created"));
    assert!(run("create configmap c --from-literal=a=b").ok().contains("created"));
    assert!(run("create secret generic s --from-literal=a=b").ok().contains("created"));
    assert_eq!(run("auth can-i create widgets.test.dev").ok(), "yes\n");
    assert!(run("auth whoami").ok().contains("rbee:admin"));
    run("events").ok();
    assert!(run("get wi none").fails().contains("(NotFound)"));
    assert!(run("get nothings").fails().contains("the server doesn't have a resource type \"nothings\""));
    assert!(
        k.run("create -f -", &WIDGET.replace("size: 4", "sizes: 4").replace("name: a", "name: b"))
            .fails()
            .contains("unknown field \"spec.sizes\"")
    );
    assert!(run("get --raw /readyz").ok().contains("ok"));
    assert!(k.run("delete -f -", WIDGET).ok().contains("deleted"));
    run("delete namespace x").ok();
}
