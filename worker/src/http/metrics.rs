//! `/metrics` in Prometheus' text format.

use super::App;
use crate::scheduler::Snapshot;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use std::fmt::Write as _;
use std::sync::Arc;

pub async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let text = render(&app.stats.snapshot(), u64::from(app.slots), &app.model_ref);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn render(numbers: &Snapshot, slots: u64, model: &str) -> String {
    let model = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let mut out = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
        let _ = writeln!(out, "# HELP rbee_worker_{name} {help}\n# TYPE rbee_worker_{name} {kind}");
        for (label, value) in values {
            let _ = writeln!(out, "rbee_worker_{name}{{model=\"{model}\"{label}}} {value}");
        }
    };
    let Snapshot { waiting, running, prompt_tokens, prompt_tokens_reused, generated_tokens, .. } = *numbers;
    let Snapshot { finished, canceled, failed, rejected, .. } = *numbers;
    metric("slots", "gauge", "Requests that can be computed at once.", &[("", slots)]);
    metric("requests_running", "gauge", "Requests in slots.", &[("", running)]);
    metric("requests_waiting", "gauge", "Requests in the queue.", &[("", waiting)]);
    metric("prompt_tokens_total", "counter", "Tokens of prompts that were computed.", &[("", prompt_tokens)]);
    let help = "Tokens of prompts that were not computed, as a slot held them already.";
    metric("prompt_tokens_reused_total", "counter", help, &[("", prompt_tokens_reused)]);
    metric("generated_tokens_total", "counter", "Tokens of answers.", &[("", generated_tokens)]);
    let outcomes = [
        (",outcome=\"finished\"", finished),
        (",outcome=\"canceled\"", canceled),
        (",outcome=\"failed\"", failed),
        (",outcome=\"rejected\"", rejected),
    ];
    metric("requests_total", "counter", "Requests that ended, by outcome.", &outcomes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let numbers = Snapshot { running: 2, finished: 7, prompt_tokens_reused: 5, ..Snapshot::default() };
        let text = render(&numbers, 4, "a\"b");
        assert!(text.contains("rbee_worker_prompt_tokens_reused_total{model=\"a\\\"b\"} 5\n"), "{text}");
        assert!(text.contains("# TYPE rbee_worker_requests_total counter\n"));
        assert!(text.contains("rbee_worker_requests_total{model=\"a\\\"b\",outcome=\"finished\"} 7\n"), "{text}");
        assert!(text.contains("rbee_worker_requests_running{model=\"a\\\"b\"} 2\n"));
    }
}
