//! `/metrics` in Prometheus' text form, from the state as it is. Pure.

use std::{collections::BTreeMap, fmt::Write};

use rbee_crds::hive::HiveBackend;

use crate::supervise::view::ReplicaView;

/// The text that a scrape gets.
pub fn render(hive: &str, views: &[ReplicaView], backends: &[HiveBackend]) -> String {
    let mut text = String::new();
    let hive = escape(hive);
    let mut states = BTreeMap::<String, u64>::new();
    for report in views.iter().filter_map(|v| v.report.as_ref()) {
        *states.entry(format!("{:?}", report.state)).or_default() += 1;
    }
    head(&mut text, "rbee_hive_workers", "gauge", "Assignments of this hive by state.");
    for (state, count) in states {
        line(&mut text, "rbee_hive_workers", &format!("hive=\"{hive}\",state=\"{state}\""), count);
    }
    let of = |view: &ReplicaView| {
        let key = &view.key;
        format!("hive=\"{hive}\",namespace=\"{}\",assignment=\"{}\"", escape(&key.namespace), escape(&key.name))
    };
    head(
        &mut text,
        "rbee_hive_worker_restarts_total",
        "counter",
        "Processes that were started in place of another one.",
    );
    for view in views {
        line(&mut text, "rbee_hive_worker_restarts_total", &of(view), view.restarts);
    }
    head(&mut text, "rbee_hive_worker_requests_in_flight", "gauge", "Requests as the last health check saw them.");
    for (view, report) in views.iter().filter_map(|v| Some((v, v.report.as_ref()?))) {
        line(&mut text, "rbee_hive_worker_requests_in_flight", &of(view), report.in_flight);
    }
    for (name, help) in [
        ("rbee_hive_device_memory_bytes", "Memory of a device."),
        ("rbee_hive_device_memory_free_bytes", "Free memory of a device."),
    ] {
        head(&mut text, name, "gauge", help);
        for (backend, device) in backends.iter().flat_map(|b| b.devices.iter().map(move |d| (b.name, d))) {
            let free = name.ends_with("free_bytes");
            let value = if free { device.memory_free_bytes } else { Some(device.memory_bytes) };
            let labels = format!("hive=\"{hive}\",backend=\"{backend}\",device=\"{}\"", device.index);
            line(&mut text, name, &labels, value.unwrap_or(0));
        }
    }
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name}{{{labels}}} {value}");
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbee_crds::{Backend, hive::Device};

    #[test]
    fn devices_have_their_memory() {
        let device = Device { index: 0, name: "x".into(), memory_bytes: 10, memory_free_bytes: Some(4) };
        let text = render("a\"b", &[], &[HiveBackend { name: Backend::Cpu, devices: vec![device] }]);
        assert!(
            text.contains("rbee_hive_device_memory_bytes{hive=\"a\\\"b\",backend=\"cpu\",device=\"0\"} 10\n"),
            "{text}"
        );
        assert!(
            text.contains("rbee_hive_device_memory_free_bytes{hive=\"a\\\"b\",backend=\"cpu\",device=\"0\"} 4\n"),
            "{text}"
        );
    }
}
