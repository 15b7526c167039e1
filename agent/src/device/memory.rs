//! Memory of the machine, and of the control group that the hive is in, from the kernel's own texts. Pure.

/// Bytes in all and free for new processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    pub free: u64,
}

/// Reads `/proc/meminfo`: MemTotal and MemAvailable, which counts what the kernel gives back when asked.
pub fn parse_meminfo(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    let (total, free) = (field("MemTotal")?, field("MemAvailable").or_else(|| field("MemFree"))?);
    Some(Memory { total, free: free.min(total) })
}

/// One control group's limit and use, as its files say them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// `memory.max` (v2) or `memory.limit_in_bytes` (v1).
    pub limit: String,
    /// `memory.current` or `memory.usage_in_bytes`.
    pub usage: String,
    /// `memory.stat`.
    pub stat: String,
}

impl Group {
    /// None without a limit. Cached pages of files that nobody uses are free for the asking.
    fn memory(&self) -> Option<Memory> {
        let total: u64 = self.limit.trim().parse().ok()?;
        let usage: u64 = self.usage.trim().parse().ok()?;
        let stat = |name: &str| {
            self.stat.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<u64>().ok())
        };
        let inactive = stat("total_inactive_file").or_else(|| stat("inactive_file")).unwrap_or(0);
        Some(Memory { total, free: total.saturating_sub(usage.saturating_sub(inactive)) })
    }
}

/// What is left of the machine's memory for a process in these groups, the innermost and all around it.
pub fn within(machine: Memory, groups: &[Group]) -> Memory {
    groups
        .iter()
        .filter_map(Group::memory)
        .fold(machine, |m, g| Memory { total: m.total.min(g.total), free: m.free.min(g.free) })
}

/// The folders of a process's control group and all above it, below the mount, from `/proc/self/cgroup`.
pub fn group_folders(text: &str) -> Vec<String> {
    let v2 = text.lines().find_map(|l| l.strip_prefix("0::"));
    let v1 = || {
        let line = text.lines().find(|l| l.split(':').nth(1).is_some_and(|c| c.split(',').any(|c| c == "memory")))?;
        line.splitn(3, ':').nth(2).map(|p| ("memory", p))
    };
    let Some((prefix, path)) = v1().or_else(|| v2.map(|p| ("", p))) else { return vec![] };
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != "..").collect();
    let folder = |n: usize| std::iter::once(prefix).chain(parts[..n].iter().copied()).filter(|p| !p.is_empty());
    (0..=parts.len()).rev().map(|n| folder(n).collect::<Vec<_>>().join("/")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str =
        "MemTotal:        7911088 kB\nMemFree:          123456 kB\nMemAvailable:    5000000 kB\nBuffers: 1 kB\n";

    fn group(limit: &str, usage: &str, stat: &str) -> Group {
        Group { limit: limit.into(), usage: usage.into(), stat: stat.into() }
    }

    #[test]
    fn available_is_what_counts_as_free() {
        let memory = parse_meminfo(MEMINFO).unwrap();
        assert_eq!((memory.total, memory.free), (7_911_088 * 1024, 5_000_000 * 1024));
        let old = parse_meminfo("MemTotal: 10 kB\nMemFree: 4 kB\n").unwrap();
        assert_eq!(old.free, 4096);
        assert_eq!(parse_meminfo("MemTotal: 10\n"), None);
        assert_eq!(parse_meminfo(""), None);
    }

    #[test]
    fn the_tightest_group_decides() {
        let machine = Memory { total: 1000, free: 900 };
        let groups = [
            group("max\n", "5\n", ""),
            group("500\n", "300\n", "anon 1\ninactive_file 100\n"),
            group("800", "790", ""),
        ];
        assert_eq!(within(machine, &groups), Memory { total: 500, free: 10 });
        assert_eq!(within(machine, &groups[..2]), Memory { total: 500, free: 300 });
        assert_eq!(within(machine, &[group("9223372036854771712", "1", "")]), machine);
        assert_eq!(within(machine, &[]), machine);
    }

    #[test]
    fn groups_are_found_in_both_versions() {
        assert_eq!(group_folders("0::/user.slice/a.scope\n"), ["user.slice/a.scope", "user.slice", ""]);
        let v1 = "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/ignored\n";
        assert_eq!(group_folders(v1), ["memory/docker/abc", "memory/docker", "memory"]);
        assert_eq!(group_folders("0::/\n"), [""]);
        assert!(group_folders("").is_empty());
    }
}
