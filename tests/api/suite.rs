//! Runs every case on a server and compares the transcripts with what was recorded.

use std::{fs, path::PathBuf};

use crate::{cases, script::Script, servers::Server};

/// Lines shown around the first that differs.
const AROUND: usize = 8;

fn recorded(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/api/recorded").join(format!("{case}.txt"))
}

/// Runs the cases, or the one that `RBEE_API_CASE` names.
async fn transcripts(server: &Server, cases: Vec<(&'static str, cases::Run)>) -> Vec<(&'static str, String)> {
    let one = std::env::var("RBEE_API_CASE").ok();
    let mut told = vec![];
    for (name, run) in cases.into_iter().filter(|(name, _)| one.as_deref().is_none_or(|one| one == *name)) {
        let mut script = Script::start(server, name).await;
        run(&mut script).await;
        told.push((name, script.end()));
    }
    told
}

/// Where a transcript first differs from what was recorded.
fn difference(case: &str, text: &str) -> Option<String> {
    let wanted = fs::read_to_string(recorded(case)).unwrap_or_default();
    if wanted == text {
        return None;
    }
    let (wanted, got): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), text.lines().collect());
    let same = wanted.iter().zip(&got).take_while(|(a, b)| a == b).count();
    let request = got[..same.min(got.len())].iter().rposition(|l| l.starts_with("> ")).map_or("", |at| got[at]);
    let part = |lines: &[&str]| {
        lines[same.saturating_sub(AROUND).min(lines.len())..(same + AROUND).min(lines.len())].join("\n")
    };
    Some(format!(
        "== {case}, line {}: {request}\n-- recorded:\n{}\n-- answered:\n{}\n",
        same + 1,
        part(&wanted),
        part(&got)
    ))
}

fn record(transcripts: &[(&str, String)]) {
    if std::env::var_os("RBEE_RECORD").is_some() {
        for (case, text) in transcripts {
            fs::write(recorded(case), text).expect("a transcript is written");
        }
    }
}

fn compare(transcripts: &[(&str, String)]) {
    let differ: Vec<String> = transcripts.iter().filter_map(|(case, text)| difference(case, text)).collect();
    if let Some(folder) = std::env::var_os("RBEE_API_TOLD") {
        for (case, text) in transcripts {
            fs::write(PathBuf::from(&folder).join(format!("{case}.txt")), text).expect("a transcript is written");
        }
    }
    assert!(differ.is_empty(), "{} of {} cases differ:\n{}", differ.len(), transcripts.len(), differ.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_server_answers_as_a_kube_apiserver() {
    let server = Server::embedded().await;
    compare(&transcripts(&server, cases::shared()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_server_alone_answers_as_recorded() {
    let server = Server::embedded().await;
    let told = transcripts(&server, cases::embedded_alone()).await;
    record(&told);
    compare(&told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kube_apiserver_answers_as_recorded() {
    let Some(server) = Server::kubernetes().await else { return };
    let told = transcripts(&server, cases::shared()).await;
    record(&told);
    compare(&told);
}
