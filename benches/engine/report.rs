//! Figures as a table: medians, ranges, the ratio of medians.

use crate::plan::{Metric, Settings};
use std::collections::HashMap;

pub const HEAD: &str = "| model | metric | rbee | llama.cpp | ratio [per round] |\n| --- | --- | --- | --- | --- |";

/// What was measured of one model, by side and metric, round after round.
pub struct Figures {
    sides: Vec<&'static str>,
    values: HashMap<(usize, Metric), Vec<f64>>,
    loads: Vec<String>,
}

impl Figures {
    pub fn new(sides: Vec<&'static str>) -> Self {
        Self { sides, values: HashMap::new(), loads: Vec::new() }
    }

    pub fn add(&mut self, side: usize, metric: Metric, value: f64) {
        self.values.entry((side, metric)).or_default().push(value);
    }

    pub fn load(&mut self, average: String) {
        self.loads.push(average);
    }

    pub fn print(&self, settings: &Settings<'_>) {
        let name = settings.model.file_stem().unwrap_or_default().to_string_lossy();
        for &metric in settings.metrics {
            let none = Vec::new();
            let ours = self.values.get(&(0, metric)).unwrap_or(&none);
            let theirs = self.values.get(&(1, metric)).unwrap_or(&none);
            let ratio = match theirs.is_empty() || ours.is_empty() {
                true => "-".to_owned(),
                false => {
                    let rounds: Vec<f64> = ours.iter().zip(theirs).map(|(o, t)| o / t).collect();
                    format!("{:.2} {}", median(ours) / median(theirs), range(&rounds))
                }
            };
            println!("| {name} | {metric:?}, {} | {} | {} | {ratio} |", metric.unit(), cell(ours), cell(theirs));
        }
        println!(
            "\n{}: {} rounds, load before each: {}; sides: {}\n",
            name,
            settings.rounds,
            self.loads.join(" "),
            self.sides.join(", ")
        );
    }
}

fn cell(values: &[f64]) -> String {
    if values.is_empty() { "-".to_owned() } else { format!("{:.2} {}", median(values), range(values)) }
}

fn range(values: &[f64]) -> String {
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    format!("[{low:.2}-{high:.2}]")
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}

pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

/// The CPU, its class, and what is used of it.
pub fn machine(threads: usize) -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).and_then(|l| l.split_once(':'));
        line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let flags = field("flags");
    let has = |flag: &str| flags.split(' ').any(|f| f == flag);
    let classes: Vec<&str> = ["avx2", "avx_vnni", "avx512_vnni", "amx_int8"].into_iter().filter(|f| has(f)).collect();
    let amx = if std::env::var_os("GGML_NO_AMX").is_some() { "; llama.cpp without AMX" } else { "" };
    format!("CPU: {} ({}), {threads} threads{amx}", field("model name"), classes.join(", "))
}
