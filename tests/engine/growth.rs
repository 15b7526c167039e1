//! A worker's memory: at most what was estimated, and no more after 10,000 requests than after 2,000.

use futures::StreamExt as _;
use rbee_model::gguf::Header;
use rbee_model::testing::ModelSpec;
use rbee_model::{builtin, memory::estimate};
use serde_json::json;

use crate::support::{Sandbox, missing};
use crate::worker::{Worker, memory};

/// Requests after which memory is looked at.
const EARLY: usize = 2_000;
const LATE: usize = 10_000;
/// What allocators and pools may still take between the two, in bytes.
const ALLOWED: u64 = 3 << 20;

/// Sends that many requests of several kinds, four at a time; some with the same beginning, some with their own.
fn requests(url: &str, numbers: std::ops::Range<usize>) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let one = |number: usize| {
            let (client, url) = (client.clone(), format!("{url}/v1/completions"));
            let prompt = format!("the same beginning {}{}", "and more ".repeat(number % 5), number);
            let body = json!({
                "model": "m", "prompt": prompt, "max_tokens": 1 + number % 8, "seed": number,
                "temperature": number % 2, "stream": number.is_multiple_of(3),
            });
            async move {
                let answer = client.post(url).body(body.to_string()).header("content-type", "application/json").send();
                let answer = answer.await.expect("an answer");
                assert_eq!(answer.status(), 200);
                answer.bytes().await.expect("its body");
            }
        };
        futures::stream::iter(numbers).for_each_concurrent(4, one).await;
    });
}

#[test]
fn ten_thousand_requests_leave_nothing_behind() {
    if std::env::var_os("RBEE_TEST_EVERYTHING").is_none() {
        return missing("the time for 10,000 requests (RBEE_TEST_EVERYTHING)");
    }
    let sandbox = Sandbox::new();
    let spec = ModelSpec { context: 128, ..ModelSpec::default() };
    let worker = Worker::ready(&sandbox, &sandbox.write("tiny.gguf", spec.file().bytes()), &["--slots", "4"]);
    requests(&worker.url, 0..EARLY);
    let early = memory(worker.running.pid(), "RssAnon");
    requests(&worker.url, EARLY..LATE);
    let late = memory(worker.running.pid(), "RssAnon");
    println!("{early} bytes after {EARLY} requests, {late} after {LATE}");
    assert!(late < early + ALLOWED, "{early} bytes after {EARLY} requests, {late} after {LATE}");
    worker.text("hi", 4);
}

#[test]
fn full_slots_take_no_more_than_was_estimated() {
    let sandbox = Sandbox::new();
    let long = ModelSpec { context: 4096, ..ModelSpec::of("llama").unwrap_or_default() };
    let tinybee = builtin::get("tinybee").expect("tinybee is built in").bytes.to_vec();
    for (name, bytes, context) in [("tinybee", tinybee, 256), ("long", long.file().bytes(), 4096)] {
        let summary = Header::from_bytes(&bytes).expect("a sound header").summary();
        let expected = estimate(&summary, 4, context).total;
        let path = sandbox.write(&format!("{name}.gguf"), bytes);
        let worker = Worker::ready(&sandbox, &path, &["--slots", "4", "--context-length", &context.to_string()]);
        std::thread::scope(|scope| {
            for slot in 0..4 {
                let (worker, prompt) = (&worker, format!("{slot}{}", "x".repeat(context as usize / 2)));
                scope.spawn(move || worker.text(&prompt, 40));
            }
        });
        let peak = memory(worker.running.pid(), "VmHWM");
        println!("{name}: {peak} bytes, {expected} were estimated");
        assert!(peak <= expected, "{name}: {peak} bytes, {expected} were estimated");
    }
}
