//! The processor as a device: its name, and the machine's memory.

use std::io;
#[cfg(target_os = "linux")]
use std::path::Path;

use rbee_crds::{
    Backend,
    hive::{Device, HiveBackend},
};

#[cfg(target_os = "linux")]
use super::memory;
use super::{Inventory, InventoryError, memory::Memory};

/// The CPU backend.
#[derive(Debug)]
pub struct Cpu {
    name: String,
}

impl Cpu {
    /// Reads once what does not change.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|t| model_name(&t));
        let model = model.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        Self { name: format!("{model}, {cores} cores") }
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

/// The first `model name` of `/proc/cpuinfo`.
fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|l| l.starts_with("model name"))?;
    let words: Vec<&str> = line.split_once(':')?.1.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

impl Inventory for Cpu {
    fn read(&self) -> Result<Option<HiveBackend>, InventoryError> {
        let memory = machine_memory().map_err(|source| InventoryError { what: "the machine's memory", source })?;
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let device = Device {
            index: 0,
            name: self.name.clone(),
            memory_bytes: bytes(memory.total),
            memory_free_bytes: Some(bytes(memory.free)),
        };
        Ok(Some(HiveBackend { name: Backend::Cpu, devices: vec![device] }))
    }
}

#[cfg(target_os = "linux")]
fn machine_memory() -> io::Result<Memory> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let machine = memory::parse_meminfo(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo has no MemTotal and MemAvailable"))?;
    // Without control groups there are no limits of theirs.
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups: Vec<_> =
        memory::group_folders(&own).iter().filter_map(|f| group(&Path::new("/sys/fs/cgroup").join(f))).collect();
    Ok(memory::within(machine, &groups))
}

#[cfg(target_os = "linux")]
fn group(folder: &Path) -> Option<memory::Group> {
    let read = |names: [&str; 2]| names.iter().find_map(|n| std::fs::read_to_string(folder.join(n)).ok());
    Some(memory::Group {
        limit: read(["memory.max", "memory.limit_in_bytes"])?,
        usage: read(["memory.current", "memory.usage_in_bytes"])?,
        stat: read(["memory.stat", "memory.stat"]).unwrap_or_default(),
    })
}

#[cfg(not(target_os = "linux"))]
fn machine_memory() -> io::Result<Memory> {
    let number = |name: &str| -> io::Result<u64> {
        let output = std::process::Command::new("/usr/sbin/sysctl").args(["-n", name]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("sysctl {name} says {text:?}")))
    };
    let total = number("hw.memsize")?;
    let pages = number("vm.page_free_count")?.saturating_add(number("vm.page_purgeable_count").unwrap_or(0));
    Ok(Memory { total, free: pages.saturating_mul(number("hw.pagesize")?).min(total) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_without_its_padding() {
        let text = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)   CPU @ 2.20GHz\nmodel name\t: other\n";
        assert_eq!(model_name(text).as_deref(), Some("Intel(R) Xeon(R) CPU @ 2.20GHz"));
        assert_eq!(model_name("processor: 0\n"), None);
    }

    #[test]
    fn this_machine_has_memory() {
        let backend = Cpu::new().read().unwrap().unwrap();
        let device = &backend.devices[0];
        assert!(device.memory_bytes > 0 && device.memory_free_bytes.unwrap() <= device.memory_bytes, "{device:?}");
    }
}
